"""Pre-train a baseline by masked modelling: the same windows, steps, optimiser and size as stage 2, another vocabulary.

    python examples/run_baseline.py examples/recipes/tiny/mlm.yaml --vocabulary 3mer \
        --like runs/codec --train_files yeast.fa.gz ecoli.fa.gz --output_dir runs/3mer

Vocabularies: base, 3mer, 3mer-overlapping, 6mer, 6mer-overlapping, bpe; vq and hrq run `run_mlm.py` on the codec in
`--like`; cnn is never pre-trained: its folder holds random weights, to be fine-tuned. `--like` is the folder of stage 1
(with the `model_config` of the recipe), or of stage 2: vocabulary and backbone get as many parameters, within 3 %.
`--window` is in bases, whatever a token holds. Logs masked nucleotide accuracy on the held-out windows of stage 2.
"""

import argparse
import itertools
import logging
import runpy
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from transformers import TrainingArguments, set_seed

from vqdna_hf import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.data import decode_ids
from vqdna_hf.evaluation.baselines import (
    SequenceEncoder,
    TokenMaskingCollator,
    build_baseline,
    build_baseline_tokenizer,
    compared_parameters,
    masked_token_metrics,
    masked_token_sums,
    train_bpe,
)
from vqdna_hf.training import (
    CorpusArguments,
    RunRecorder,
    VQDNATrainer,
    find_checkpoint,
    load_config,
    parse_arguments,
    parse_configuration,
    run_script,
)

logger = logging.getLogger(__name__)


@dataclass
class BaselineArguments:
    """Which baseline, and whose size it has."""

    vocabulary: Literal["base", "3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe", "vq", "hrq", "cnn"] = (
        field(metadata={"help": "What a token is; vq and hrq are stage 2 itself."})
    )
    like: str = field(metadata={"help": "The codec (stage 1) or model (stage 2) that it is compared with."})
    model_config: str | None = field(
        default=None, metadata={"help": "JSON mapping of VQDNAConfig keys, as in stage 2, where --like is a codec."}
    )
    mask_probability: float = field(default=0.25, metadata={"help": "Share of the tokens to hide."})
    parameter_tolerance: float = field(
        default=0.03, metadata={"help": "How far the parameters may be from those of --like, as a share."}
    )
    bpe_vocab_size: int = field(default=4096, metadata={"help": "Entries of the BPE, special tokens included."})
    bpe_bases: int = field(default=10_000_000, metadata={"help": "Bases of training windows to learn the BPE from."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete the checkpoints of an earlier run in output_dir."}
    )


def reference(args: BaselineArguments) -> VQDNAConfig:
    """The configuration of the VQDNA model to compare with."""
    overrides = parse_configuration(VQDNAConfig, args.model_config, "--model_config")
    try:
        config = load_config(VQDNAConfig, args.like)
    except ValueError:
        codec = load_config(VQDNACodecConfig, args.like)
        return VQDNAConfig(codec_config=codec.to_dict(), **overrides)
    for key, value in overrides.items():
        if getattr(config, key) != value:
            raise ValueError(
                f"--model_config says {key}={value}, and the model in {args.like} has {getattr(config, key)}: "
                "give the codec's folder, or leave --model_config away"
            )
    return config


def learn_bpe(args: BaselineArguments, corpus_args: CorpusArguments, dataset: Any, seed: int) -> Any:
    """A BPE of windows like those that are trained on."""
    wanted = args.bpe_bases if corpus_args.streaming else min(args.bpe_bases, dataset.corpus.bases)
    number = max(1, wanted // corpus_args.window)

    def sequences() -> Iterator[str]:
        items = dataset
        if not corpus_args.streaming:
            windows = corpus_args.training_windows(dataset.corpus, number, seed, batch_size=1)
            items = (windows[index] for index in range(number))
        for item in itertools.islice(items, number):
            yield decode_ids(item["input_ids"])

    logger.info("learning a BPE of %d entries from %d windows", args.bpe_vocab_size, number)
    return train_bpe(sequences(), args.bpe_vocab_size)


def run_stage_2(vocabulary: str, like: str | None, words: list[str]) -> None:
    """VQ and HRQ are no baselines: hand over to `run_mlm.py`, which leaves the process."""
    if like is None:
        raise ValueError(f"--vocabulary {vocabulary} needs --like, the folder of stage 1 (run_codec.py)")
    levels = load_config(VQDNACodecConfig, like).num_quantizers
    if (levels == 1) != (vocabulary == "vq"):
        raise ValueError(
            f"--vocabulary {vocabulary}: the codec in {like} has {levels} codebook{'s' * (levels > 1)}, which is "
            f"{'vq' if levels == 1 else 'hrq'}"
        )
    script = str(Path(__file__).with_name("run_mlm.py"))
    sys.argv = [script, *words, "--codec_path", like]
    runpy.run_path(script, run_name="__main__")


def write_untrained(like: VQDNAConfig, args: BaselineArguments, training_args: TrainingArguments) -> None:
    """The CNN's folder: random weights and a tokenizer."""
    set_seed(training_args.seed)
    model = build_baseline("cnn", like, tolerance=args.parameter_tolerance)
    logger.info("cnn: %s parameters; %s: %s", compared_parameters(model), args.like, compared_parameters(like))
    # A head belongs to a task, and starts anew with it.
    trunk = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    folder = str(training_args.output_dir)
    model.save_pretrained(folder, state_dict=trunk)
    build_baseline_tokenizer("cnn", model_max_length=like.max_position_embeddings).save_pretrained(folder)
    logger.info("%s: a CNN is not pre-trained; fine-tune it as it is", folder)


def make_encoder(
    args: BaselineArguments, corpus_args: CorpusArguments, dataset: Any, checkpoint: str | None, longest: int, seed: int
) -> SequenceEncoder:
    """The tokens; a run that is resumed has its own already."""
    if checkpoint is not None:
        encoder = SequenceEncoder.from_pretrained(checkpoint)
        if encoder.vocabulary != args.vocabulary:
            raise ValueError(f"{checkpoint} was trained with --vocabulary {encoder.vocabulary}, not {args.vocabulary}")
        return encoder
    bpe = learn_bpe(args, corpus_args, dataset, seed) if args.vocabulary == "bpe" else None
    return SequenceEncoder(build_baseline_tokenizer(args.vocabulary, bpe, model_max_length=longest))


def main() -> int:
    """Parse, read, train, evaluate, save."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    own.add_argument("--vocabulary")
    own.add_argument("--like")
    known, words = own.parse_known_args()
    if known.vocabulary in ("vq", "hrq"):
        run_stage_2(known.vocabulary, known.like, words)
    args, corpus_args, training_args = parse_arguments((BaselineArguments, CorpusArguments, TrainingArguments))
    like = reference(args)
    longest = like.max_position_embeddings
    if corpus_args.window + 2 > longest:
        raise ValueError(
            f"window={corpus_args.window} and two special tokens are more than max_position_embeddings={longest}"
        )
    checkpoint = find_checkpoint(
        training_args.output_dir, training_args.resume_from_checkpoint, args.overwrite_output_dir
    )
    if args.vocabulary == "cnn":
        write_untrained(like, args, training_args)
        return 0
    recorder = RunRecorder("mlm", (args, corpus_args, training_args), checkpoint)
    if args.vocabulary != "bpe":  # before anything is read: the sizes may not fit
        build_baseline(args.vocabulary, like, tolerance=args.parameter_tolerance)
    train_dataset, eval_dataset = corpus_args.datasets(training_args)
    encoder = make_encoder(args, corpus_args, train_dataset, checkpoint, longest, training_args.seed)
    set_seed(training_args.seed)
    model = build_baseline(args.vocabulary, like, encoder.tokenizer, args.parameter_tolerance)
    ours, theirs = compared_parameters(model), compared_parameters(like)
    logger.info("%s: %s parameters; %s: %s", args.vocabulary, ours, args.like, theirs)
    recorder.describe(
        model,
        lambda: corpus_args.rows(train_dataset, eval_dataset),
        windows=len(eval_dataset),
        window=corpus_args.window,
        compared_parameters=ours.total,
        compared_parameters_of_like=theirs.total,
    )
    trainer = VQDNATrainer(
        model=model,
        args=training_args,
        data_collator=TokenMaskingCollator(encoder, args.mask_probability),
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=encoder.tokenizer,
        sums_function=recorder.counting(masked_token_sums(encoder)),
        metrics_function=masked_token_metrics,
        log_mfu=False,  # the formula is of the package's own models
        callbacks=[recorder],
    )
    if not trainer.train_and_report(checkpoint, overwrite=args.overwrite_output_dir):
        return 130
    trainer.evaluate_and_report()
    recorder.finish(["eval_results.json"])
    return 0


if __name__ == "__main__":
    run_script(main)
