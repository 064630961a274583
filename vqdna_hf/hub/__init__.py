"""Out to the Hub: self-contained folders, cards, atomic files."""

from .export import export
from .files import atomic_folder, write_json, write_text

__all__ = ["atomic_folder", "export", "write_json", "write_text"]
