"""Trainer glue: arguments, metrics, callbacks, checkpoints. No readers here."""

from .arguments import (
    modernize_arguments,
    parse_arguments,
    parse_configuration,
    parse_dictionary,
    run_script,
)
from .callbacks import CodebookMonitor, GracefulInterrupt
from .checkpoints import CheckpointError, find_checkpoint, list_checkpoints
from .corpora import CorpusArguments
from .finetuning import HEAD, LORA_TARGETS, add_lora, freeze_codec, load_config, load_pretrained, random_initialization
from .metrics import codec_metrics, codec_sums, masked_lm_metrics, masked_lm_sums
from .trainer import VQDNATrainer, count_parameters

__all__ = [
    "HEAD",
    "LORA_TARGETS",
    "CheckpointError",
    "CodebookMonitor",
    "CorpusArguments",
    "GracefulInterrupt",
    "VQDNATrainer",
    "add_lora",
    "codec_metrics",
    "codec_sums",
    "count_parameters",
    "find_checkpoint",
    "freeze_codec",
    "list_checkpoints",
    "load_config",
    "load_pretrained",
    "masked_lm_metrics",
    "masked_lm_sums",
    "modernize_arguments",
    "parse_arguments",
    "parse_configuration",
    "parse_dictionary",
    "random_initialization",
    "run_script",
]
