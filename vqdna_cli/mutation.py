# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verb `mutate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options
from vqdna_cli.options import BatchBases, Bed, Device, Dtype, Genome, Model, Output, Rename, Restart, Strand


def mutate(
    genome: Genome,
    model: Model,
    region: Annotated[
        str | None,
        typer.Argument(
            metavar="REGION", help="NAME:START-END, from 1, the end included; or a record. A short genome needs none."
        ),
    ] = None,
    output: Output = Path("scan.parquet"),
    bed: Bed = None,
    rename: Rename = None,
    scores: Annotated[
        str,
        typer.Option(metavar="auto|LIST", help="Of llr, probability, distance, codes: what the model has a head for."),
    ] = "auto",
    label: Annotated[
        str | None, typer.Option(metavar="LABEL", help="Of a classifier: name or number; class 1 of two.")
    ] = None,
    strand: Strand = "both",
    window: Annotated[
        int | None,
        typer.Option(help="Nucleotides read around a position; default: at most 512, of a classifier the region."),
    ] = None,
    layer: Annotated[int, typer.Option(help="Of the distance: 0 is the embedding, -1 the last.")] = -1,
    png: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the first score as a heat map.")] = None,
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Draw all scores as a heat map that shows values; works offline.")
    ] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
    restart: Restart = False,
) -> None:
    """Replace each base of a region by the three others, and score what that changes.

    Example: `vqdna mutate genome.fa chr1:1,000-1,200 -m runs/mlm -o scan.parquet --png scan.png --html scan.html`

    A masked LM gives log p(alt) - log p(ref), a classifier the change of a label's log-odds and probability, other
    models how far hidden states move, and every model how many bases get another code. Interrupted, the same
    command goes on.
    """
    from vqdna_hf import inference

    options.quiet_unless_watched()
    report = inference.mutate(
        model, genome, region, output, bed=bed, rename=rename, scores=scores, label=label, strand=strand, window=window,
        layer=layer, png=png, html=html, device=device, dtype=dtype, batch_bases=options.batch_bases(batch_bases),
        restart=restart,
    )  # fmt: skip
    options.say(report)
    if report.unknown:
        print(f"{report.unknown:,} positions are N and have no rows", file=sys.stderr)
    for picture in report.pictures:
        print(picture, file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command()(mutate)
