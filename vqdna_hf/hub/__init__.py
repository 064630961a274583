"""Out to the Hub: self-contained folders, cards, atomic files."""

from vqdna_hf.data.files import atomic_folder, write_json, write_text

from .card import markdown_table, write_card
from .export import check_export_folder, export

__all__ = ["atomic_folder", "check_export_folder", "export", "markdown_table", "write_card", "write_json", "write_text"]
