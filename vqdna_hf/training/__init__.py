"""Trainer glue: arguments, metrics, callbacks, checkpoints. No readers here."""

from .arguments import modernize_arguments, parse_arguments, parse_dictionary, run_script
from .callbacks import CodebookMonitor, GracefulInterrupt
from .checkpoints import CheckpointError, find_checkpoint, list_checkpoints
from .corpora import CorpusArguments
from .metrics import codec_metrics, codec_sums, masked_lm_metrics, masked_lm_sums
from .trainer import VQDNATrainer, count_parameters

__all__ = [
    "CheckpointError",
    "CodebookMonitor",
    "CorpusArguments",
    "GracefulInterrupt",
    "VQDNATrainer",
    "codec_metrics",
    "codec_sums",
    "count_parameters",
    "find_checkpoint",
    "list_checkpoints",
    "masked_lm_metrics",
    "masked_lm_sums",
    "modernize_arguments",
    "parse_arguments",
    "parse_dictionary",
    "run_script",
]
