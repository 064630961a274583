# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Verbs that measure: `evaluate gue`, `evaluate make-species`, and those that other modules add."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options, vocabulary

evaluate = typer.Typer(name="evaluate", help="Measure a checkpoint: GUE, held-out genomes, the vocabulary.")

Checkpoint = Annotated[
    str,
    typer.Argument(
        metavar="CHECKPOINT", help="Folder of a checkpoint, or of any classifier and tokenizer that Transformers loads."
    ),
]
Seeds = Annotated[str, typer.Option(metavar="N,N,...", help="One run each; a mean of fewer than three is no score.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME", help="Such as tf/0; may be repeated. Default: every complete set."),
]


@evaluate.command()
def gue(
    checkpoint: Checkpoint,
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="GUE, a part of it, or any folder in its layout.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="A JSON for each run, summary.json, table.md.")
    ],
    sets: Sets = None,
    protocol: Annotated[str, typer.Option(help="published, or cpu (at most 300 steps: no GUE score).")] = "published",
    seeds: Seeds = "0,1,2",
    epochs: Annotated[float | None, typer.Option(help="Passes over train.")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Optimizer steps at most.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak.")] = None,
    lr_scheduler: Annotated[str | None, typer.Option(help="linear, cosine or constant_with_warmup.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences a step.")] = None,
    eval_steps: Annotated[int | None, typer.Option(help="Steps between looks at dev; default: an epoch.")] = None,
    max_dev: Annotated[int | None, typer.Option(help="Sequences of dev that are used; test is always whole.")] = None,
    random_init: Annotated[
        bool, typer.Option("--random-init", "--random_init", help="Random weights: the control.")
    ] = False,
    use_lora: Annotated[bool, typer.Option("--use-lora", "--use_lora", help="Train adapters and the head.")] = False,
    lora_r: Annotated[int, typer.Option("--lora-r", "--lora_r", help="Rank of the adapters.")] = 8,
    lora_alpha: Annotated[int, typer.Option("--lora-alpha", "--lora_alpha", help="Scale of the adapters.")] = 32,
    average_strands: Annotated[
        bool, typer.Option("--average-strands", "--average_strands", help="Average both strands' logits.")
    ] = False,
    keep_models: Annotated[
        Path | None,
        typer.Option("--keep-models", "--keep_models", metavar="FOLDER", help="Keep the models of new runs there."),
    ] = None,
) -> None:
    """Fine-tune on GUE and measure on its test sets, several seeds each, beside what papers report.

    Example: `vqdna evaluate gue runs/mlm --data GUE --protocol cpu -o results/mlm`

    All sets are checked before the first run. Interrupted, the same command goes on with the runs that are missing.
    """
    from vqdna_hf.evaluation.classifiers import Variant
    from vqdna_hf.evaluation.gue import evaluate_gue
    from vqdna_hf.evaluation.gue_table import gue_table

    options.quiet_unless_watched()
    overrides = {
        "num_train_epochs": epochs, "max_steps": max_steps, "learning_rate": learning_rate,
        "lr_scheduler": lr_scheduler, "warmup_steps": warmup_steps, "weight_decay": weight_decay,
        "batch_size": batch_size, "eval_steps": eval_steps, "max_dev": max_dev,
    }  # fmt: skip
    variant = Variant(
        random_init=random_init, use_lora=use_lora, lora_r=lora_r, lora_alpha=lora_alpha,
        average_strands=average_strands,
    )  # fmt: skip
    summary = evaluate_gue(
        checkpoint, data, output, sets=sets, protocol=protocol, overrides=overrides, seeds=_numbers(seeds),
        variant=variant, keep_models=keep_models, say=_say,
    )  # fmt: skip
    print(gue_table(summary), end="")


@evaluate.command("make-species")
def make_species(
    genomes: Annotated[
        Path, typer.Argument(metavar="GENOMES", help="Folder with index.tsv (file, accession, species, group).")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Gets a folder for each set, such as species-1000.")
    ],
    by: Annotated[str, typer.Option(help="species, or group (kingdom).")] = "species",
    windows: Annotated[
        list[int] | None, typer.Option("--window", help="Bases; may be repeated, one set each. Default: 1000.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", help="A species or group; may be repeated. Default: all that fit."),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option("--group", metavar="NAME", help="Only these; default for species: vertebrate and human."),
    ] = None,
    train: Annotated[int, typer.Option(help="Windows of each class.")] = 400,
    dev: Annotated[int, typer.Option(help="The same.")] = 50,
    test: Annotated[int, typer.Option(help="The same.")] = 50,
    max_n: Annotated[float, typer.Option(help="Leave windows with a larger share of N out.")] = 0.05,
    max_shared: Annotated[
        float, typer.Option(help="Largest share of 31-mers that dev and test may share with the splits before.")
    ] = 0.05,
    split_single: Annotated[
        bool, typer.Option("--split-single", help="Cut a record in three, with gaps, where a class has too few.")
    ] = False,
    gap: Annotated[int, typer.Option(help="Between the parts of such a record, in bases.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
) -> None:
    """Make sets that ask for the species or the kingdom of a window, split by whole contigs.

    Example: `vqdna evaluate make-species genomes --window 1000 --window 4000 -o species`

    What is written is in the layout of GUE: `vqdna evaluate gue CHECKPOINT --data species -o results`. `manifest.json`
    says which contigs are in which split, and which classes were left out and why.
    """
    from vqdna_hf.evaluation.species import SpeciesPolicy, make_species_sets

    policies = [
        SpeciesPolicy(
            by=by, window=window, train=train, dev=dev, test=test, max_n=max_n, max_shared=max_shared,
            split_single=split_single, gap=gap, seed=seed,
        )
        for window in dict.fromkeys(windows or [1000])
    ]  # fmt: skip
    manifests = make_species_sets(genomes, output, policies=policies, classes=classes or None, groups=groups or None)
    for policy, manifest in zip(policies, manifests, strict=True):
        _say(f"{output / policy.name}: {len(manifest['classes'])} classes: {', '.join(manifest['classes'])}")
        for name, reason in {**manifest["unreadable"], **manifest["left_out"]}.items():
            _say(f"  left out: {name}: {reason}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _numbers(text: str) -> list[int]:
    """Read `0,1,2`.

    Raises:
        ValueError: if it is something else.
    """
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() for word in words):
        raise ValueError(f"--seeds {text}: give whole numbers, none below 0, such as 0,1,2")
    return [int(word) for word in words]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module, and that of the vocabulary."""
    vocabulary.register_on(evaluate)
    app.add_typer(evaluate)
