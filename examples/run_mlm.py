"""Stage 2: pre-train the backbone on the learned vocabulary by masked modelling.

    python examples/run_mlm.py examples/recipes/tiny/mlm.yaml \
        --codec_path runs/codec --train_files yeast.fa.gz ecoli.fa.gz --output_dir runs/mlm

Logs masked nucleotide accuracy, beside that of always saying the commonest base, and the accuracy of the codes of
each level, on held-out sequences. Ctrl-C saves; the same command with `--resume_from_checkpoint` goes on.
"""

import logging
from dataclasses import dataclass, field
from typing import Literal

from transformers import TrainingArguments, set_seed

from vqdna_hf import VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM, build_tokenizer
from vqdna_hf.data import MaskedNucleotideCollator
from vqdna_hf.training import (
    CorpusArguments,
    RunRecorder,
    VQDNATrainer,
    count_parameters,
    find_checkpoint,
    load_pretrained,
    masked_lm_metrics,
    masked_lm_sums,
    parse_arguments,
    parse_configuration,
    run_script,
)

logger = logging.getLogger(__name__)


@dataclass
class MaskedLMArguments:
    """What model to pre-train, and how to mask."""

    codec_path: str | None = field(default=None, metadata={"help": "The folder of stage 1."})
    model_config: str | None = field(
        default=None, metadata={"help": 'JSON mapping of VQDNAConfig keys: {"num_hidden_layers": 6}.'}
    )
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A pre-trained model to go on from, instead of codec_path and model_config."}
    )
    mask_level: Literal["nucleotide", "code"] = field(
        default="nucleotide",
        metadata={"help": "Hide nucleotides before the codec, or (the paper's form, which leaks) codes behind it."},
    )
    mask_probability: float = field(default=0.25, metadata={"help": "Share of the nucleotides to hide."})
    mean_span_length: float = field(default=1.0, metadata={"help": "Mean length of a hidden span; 1: single bases."})
    mask_patches: bool = field(
        default=False, metadata={"help": "Hide all nucleotides of a code together, with a codec_stride above 1."}
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete the checkpoints of an earlier run in output_dir."}
    )
    log_mfu: bool = field(
        default=True,
        metadata={"help": "Log the model's FLOPs, and their share of what the device does in matrix products."},
    )


def make_model(args: MaskedLMArguments) -> VQDNAForMaskedLM:
    """A new model around a trained codec, or the one to go on from."""
    overrides = parse_configuration(VQDNAConfig, args.model_config, "--model_config")
    for key, instead in (("codec_config", "it comes with --codec_path"), ("mask_level", "use --mask_level")):
        if key in overrides:
            raise ValueError(f"{key} does not belong into --model_config: {instead}")
    if (args.codec_path is None) == (args.model_name_or_path is None):
        raise ValueError("give --codec_path (the folder of stage 1) or --model_name_or_path (a model to go on from)")
    if args.codec_path is not None:
        codec = load_pretrained(VQDNACodecModel, args.codec_path)
        return VQDNAForMaskedLM.from_codec(codec, mask_level=args.mask_level, **overrides)
    if overrides:
        raise ValueError("model_config goes with codec_path: a pre-trained model keeps its configuration")
    return load_pretrained(VQDNAForMaskedLM, args.model_name_or_path, mask_level=args.mask_level)


def main() -> int:
    """Parse, read, train, evaluate, save."""
    mlm_args, corpus_args, training_args = parse_arguments((MaskedLMArguments, CorpusArguments, TrainingArguments))
    checkpoint = find_checkpoint(
        training_args.output_dir, training_args.resume_from_checkpoint, mlm_args.overwrite_output_dir
    )
    recorder = RunRecorder("mlm", (mlm_args, corpus_args, training_args), checkpoint)
    set_seed(training_args.seed)
    model = make_model(mlm_args)
    longest = model.config.max_input_tokens
    if corpus_args.window + 2 > longest:
        raise ValueError(
            f"window={corpus_args.window} and two special tokens are more than max_position_embeddings="
            f"{model.config.max_position_embeddings} (the longest input has {longest} tokens)"
        )
    train_dataset, eval_dataset = corpus_args.datasets(training_args)
    logger.info("model: %s", count_parameters(model))
    recorder.describe(
        model,
        lambda: corpus_args.rows(train_dataset, eval_dataset),
        windows=len(eval_dataset),
        window=corpus_args.window,
    )
    trainer = VQDNATrainer(
        model=model,
        args=training_args,
        data_collator=MaskedNucleotideCollator(
            mask_probability=mlm_args.mask_probability,
            mean_span_length=mlm_args.mean_span_length,
            mask_level=mlm_args.mask_level,
            patch_size=model.config.codec_config.codec_stride if mlm_args.mask_patches else 1,
        ),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=build_tokenizer(model_max_length=longest),
        sums_function=recorder.counting(masked_lm_sums),
        metrics_function=masked_lm_metrics,
        log_mfu=mlm_args.log_mfu,
        callbacks=[recorder],
    )
    if not trainer.train_and_report(checkpoint, overwrite=mlm_args.overwrite_output_dir):
        return 130
    trainer.evaluate_and_report()
    recorder.finish(["eval_results.json"])
    return 0


if __name__ == "__main__":
    run_script(main)
