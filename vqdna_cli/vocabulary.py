# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verb `evaluate vocabulary`: every measure of a learned vocabulary into one record."""

from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options
from vqdna_cli.options import Device

Codec = Annotated[str, typer.Argument(metavar="CODEC", help="A codec, or any model with one: a folder or a Hub id.")]
Record = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The record, .json; only a record is overwritten.")
]
Part = Annotated[
    list[str] | None,
    typer.Option(
        "--part",
        metavar="NAME",
        help="Only reconstruction, usage, kmers, offsets, strand, stability, leak, annotation, probe; repeatable. "
        "One that cannot be made is then an error, else it is left out.",
    ),
]


def vocabulary(
    codec: Codec,
    output: Record = Path("vocabulary.json"),
    genome: Annotated[
        str | None, typer.Option(metavar="FASTA", help="Measured on it: all but the probe. Plain, gzip or bgzip.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "--data_path", "--data-path", metavar="FOLDER", help="GUE, or sets like it: probed."),
    ] = None,
    annotation: Annotated[
        list[str] | None, typer.Option(metavar="GFF3|BED", help="Of the genome; may be given several times.")
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME", help="Such as tf/0; may be repeated. Default: every complete set."),
    ] = None,
    parts: Part = None,
    name: Annotated[str | None, typer.Option(help="What to call it in tables; default: the folder's name.")] = None,
    max_bases: Annotated[int, typer.Option(min=1, help="Of the genome, encoded on both strands.")] = 200_000,
    positions: Annotated[int, typer.Option(min=1, help="That are substituted, each three times.")] = 300,
    leak_steps: Annotated[int, typer.Option(min=1, help="Of training of the predictor that looks for the leak.")] = 150,
    max_train: Annotated[
        int, typer.Option(min=0, help="Training sequences of a probe, a stratified sample; 0 takes all.")
    ] = 6_000,
    seed: Annotated[int, typer.Option(help="Of all samples.")] = 0,
    device: Device = "cpu",
) -> None:
    """Measure a learned vocabulary: what it keeps, uses, means, leaks, and what a linear probe reads in it.

    Example: `vqdna evaluate vocabulary runs/codec --genome G.fa --data GUE --annotation A.gff3 -o record.json`

    The record is one JSON with the command, the seed, the wall time and the machine. Inputs are checked first.
    """
    from time import perf_counter

    from vqdna_hf.evaluation.records import write_record
    from vqdna_hf.evaluation.vocabulary import KIND, Budget, bases_of_training, check_output, measure_vocabulary
    from vqdna_hf.inference.outputs import output_ending

    options.quiet_unless_watched()
    output_ending(output, (".json",), tuple(path for path in (genome, *(annotation or ())) if path is not None))
    check_output(output)
    start = perf_counter()
    budget = Budget(
        max_bases=max_bases, positions=positions, leak_steps=leak_steps, max_train=max_train or None, seed=seed
    )
    results = measure_vocabulary(
        codec, genome=genome, gue=data, annotation=annotation, sets=sets, parts=parts or None, budget=budget,
        device=device,
    )  # fmt: skip
    name = name or results["codec"]["name"]
    write_record(
        output, kind=KIND, name=name, results=results, seeds=[seed], bases_seen=bases_of_training(codec),
        seconds=perf_counter() - start,
    )  # fmt: skip
    measured = [part for part in results if part not in ("codec", "budget", "seconds", "left_out", "genome")]
    left_out = "".join(f"; no {part}: {why}" for part, why in results["left_out"].items())
    typer.echo(f"{output}: {name}, {', '.join(measured)}{left_out}", err=True)


def register_on(evaluate: typer.Typer) -> None:
    """Add the verb of this module to `vqdna evaluate`."""
    evaluate.command()(vocabulary)
