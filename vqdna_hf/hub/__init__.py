"""Out to the Hub: self-contained folders, cards, atomic files."""

from .card import markdown_table, write_card
from .export import export
from .files import atomic_folder, write_json, write_text

__all__ = ["atomic_folder", "export", "markdown_table", "write_card", "write_json", "write_text"]
