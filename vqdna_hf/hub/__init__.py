"""Out to the Hub: self-contained folders, cards, atomic files."""

from vqdna_hf.data.files import atomic_folder, write_json, write_text

from .card import model_card, validate_card, validate_card_on_hub, write_card_files
from .card_text import markdown_table
from .export import check_export_folder, export
from .export_run import export_run
from .onnx import OnnxReport, export_onnx
from .publishable import check_publishable
from .push import FileChange, PushResult, push
from .quantize import INT8_EXCLUDED, int8_config
from .runs import load_controls, load_run, load_runs, measured_results

__all__ = [
    "INT8_EXCLUDED",
    "FileChange",
    "OnnxReport",
    "PushResult",
    "atomic_folder",
    "check_export_folder",
    "check_publishable",
    "export",
    "export_onnx",
    "export_run",
    "int8_config",
    "load_controls",
    "load_run",
    "load_runs",
    "markdown_table",
    "measured_results",
    "model_card",
    "push",
    "validate_card",
    "validate_card_on_hub",
    "write_card_files",
    "write_json",
    "write_text",
]
