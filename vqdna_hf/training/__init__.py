"""Trainer glue: arguments, metrics, callbacks, checkpoints. No readers here."""

from .arguments import (
    modernize_arguments,
    parse_arguments,
    parse_configuration,
    parse_dictionary,
    run_script,
)
from .callbacks import CodebookMonitor, GracefulInterrupt
from .checkpoints import CheckpointError, check_writable, find_checkpoint, list_checkpoints
from .corpora import CorpusArguments
from .finetuning import (
    HEAD,
    LORA_TARGETS,
    add_lora,
    freeze_codec,
    load_adapter,
    load_config,
    load_pretrained,
    lora_config,
    random_initialization,
    save_adapted_config,
)
from .flops import forward_flops, measured_matrix_rate, model_flops
from .labelled import labels_of_splits, tokenize_labelled
from .metrics import codec_metrics, codec_sums, masked_lm_metrics, masked_lm_sums
from .provenance import RunRecorder, parent_record, read_run
from .sources import corpus_rows, file_sha256, table_rows
from .teachers import DistillationTrainer, Teacher
from .trainer import VQDNATrainer, count_parameters

__all__ = [
    "HEAD",
    "LORA_TARGETS",
    "CheckpointError",
    "CodebookMonitor",
    "CorpusArguments",
    "DistillationTrainer",
    "GracefulInterrupt",
    "RunRecorder",
    "Teacher",
    "VQDNATrainer",
    "add_lora",
    "check_writable",
    "codec_metrics",
    "codec_sums",
    "corpus_rows",
    "count_parameters",
    "file_sha256",
    "find_checkpoint",
    "forward_flops",
    "freeze_codec",
    "labels_of_splits",
    "list_checkpoints",
    "load_adapter",
    "load_config",
    "load_pretrained",
    "lora_config",
    "masked_lm_metrics",
    "masked_lm_sums",
    "measured_matrix_rate",
    "model_flops",
    "modernize_arguments",
    "parent_record",
    "parse_arguments",
    "parse_configuration",
    "parse_dictionary",
    "random_initialization",
    "read_run",
    "run_script",
    "save_adapted_config",
    "table_rows",
    "tokenize_labelled",
]
