"""Stage 1: learn the vocabulary from genomes.

    python examples/run_codec.py examples/recipes/tiny/codec.yaml \
        --train_files yeast.fa.gz ecoli.fa.gz --output_dir runs/codec

Reads FASTA files (or a Parquet corpus), trains the codec, and logs reconstruction accuracy, the parts of the loss,
and usage and perplexity of each codebook on held-out sequences. `--help` lists all flags; any of them may stand in
the recipe. Ctrl-C saves; the same command with `--resume_from_checkpoint` goes on.
"""

import logging
from dataclasses import dataclass, field
from functools import partial

from transformers import TrainingArguments, set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data import NucleotideCollator
from vqdna_hf.training import (
    CodebookMonitor,
    CorpusArguments,
    DistillationTrainer,
    RunRecorder,
    Teacher,
    VQDNATrainer,
    codec_metrics,
    codec_sums,
    count_parameters,
    find_checkpoint,
    load_pretrained,
    parse_arguments,
    parse_configuration,
    run_script,
)

logger = logging.getLogger(__name__)


@dataclass
class CodecArguments:
    """What codec to train."""

    codec_config: str | None = field(
        default=None, metadata={"help": 'JSON mapping of VQDNACodecConfig keys: {"codebook_sizes": [512]}.'}
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A trained codec to go on from, instead of codec_config."}
    )
    teacher: str | None = field(
        default=None,
        metadata={"help": "A pre-trained language model: the coarse codes learn to predict one of its layers."},
    )
    teacher_layer: int | None = field(
        default=None, metadata={"help": "Which layer: 0 are the embeddings; default: the middle one."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete the checkpoints of an earlier run in output_dir."}
    )
    min_codebook_usage: float = field(
        default=0.0,
        metadata={"help": "End training when an evaluation finds a level that uses a smaller share."},
    )
    log_mfu: bool = field(
        default=True,
        metadata={"help": "Log the model's FLOPs, and their share of what the device does in matrix products."},
    )


def make_codec(args: CodecArguments, teacher: Teacher | None = None) -> VQDNACodecModel:
    """A new codec, or the one to go on from; with a teacher its objective is distillation."""
    overrides = parse_configuration(VQDNACodecConfig, args.codec_config, "--codec_config")
    taught = {} if teacher is None else teacher.codec_settings
    if clash := [key for key, value in taught.items() if overrides.get(key, value) != value]:
        raise ValueError(f"--codec_config sets {', '.join(clash)}, which --teacher decides: leave it out")
    if args.model_name_or_path is None:
        return VQDNACodecModel(VQDNACodecConfig(**{**overrides, **taught}))
    if overrides:
        raise ValueError("give codec_config or model_name_or_path, not both: a trained codec keeps its configuration")
    codec = load_pretrained(VQDNACodecModel, args.model_name_or_path)
    return codec if teacher is None else teacher.take_over(codec)


def main() -> int:
    """Parse, read, train, evaluate, save."""
    codec_args, corpus_args, training_args = parse_arguments((CodecArguments, CorpusArguments, TrainingArguments))
    checkpoint = find_checkpoint(
        training_args.output_dir, training_args.resume_from_checkpoint, codec_args.overwrite_output_dir
    )
    recorder = RunRecorder("codec", (codec_args, corpus_args, training_args), checkpoint)
    set_seed(training_args.seed)
    teacher = None
    if codec_args.teacher is not None:
        teacher = Teacher.load(codec_args.teacher, codec_args.teacher_layer)
    codec = make_codec(codec_args, teacher)
    train_dataset, eval_dataset = corpus_args.datasets(training_args)
    logger.info("codec: %s", count_parameters(codec))
    recorder.describe(
        codec,
        lambda: corpus_args.rows(train_dataset, eval_dataset),
        windows=len(eval_dataset),
        window=corpus_args.window,
    )
    monitor = CodebookMonitor(codec.config.codebook_sizes, min_usage=codec_args.min_codebook_usage)
    make_trainer = VQDNATrainer if teacher is None else partial(DistillationTrainer, teacher=teacher)
    trainer = make_trainer(
        model=codec,
        args=training_args,
        data_collator=NucleotideCollator(),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        sums_function=recorder.counting(codec_sums),
        metrics_function=codec_metrics,
        log_mfu=codec_args.log_mfu,
        callbacks=[monitor, recorder],
    )
    if not trainer.train_and_report(checkpoint, overwrite=codec_args.overwrite_output_dir):
        return 130
    trainer.evaluate_and_report()
    recorder.finish(["eval_results.json"])
    return 0


if __name__ == "__main__":
    run_script(main)
