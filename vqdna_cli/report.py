# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verb `report`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options
from vqdna_cli.options import BatchBases, Device, Dtype, Rename


def report(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A codec or a language model: a folder or a Hub id.")
    ],
    genome: Annotated[str, typer.Option("--genome", "-g", metavar="GENOME", help="FASTA, plain, gzip or bgzip.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page; its name ends in .html.")
    ] = Path("report.html"),
    region: Annotated[
        str | None,
        typer.Option(metavar="CHROM:START-END", help="What to show: bases count from 1, the end is included."),
    ] = None,
    annotation: Annotated[str | None, typer.Option(metavar="FILE", help="GFF3, GTF or BED, plain or gzip.")] = None,
    gene: Annotated[str | None, typer.Option(metavar="NAME", help="Show this gene of the annotation.")] = None,
    rename: Rename = None,
    flank: Annotated[int, typer.Option(help="Bases to show on each side of the gene.")] = 200,
    sample_bases: Annotated[
        int, typer.Option("--sample-bases", help="Bases read for usage and logos, drawn at random.")
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
) -> None:
    """Show what the codes of a vocabulary mean, in one HTML page that needs no network.

    Example: `vqdna report runs/codec --genome yeast.fa.gz --annotation genes.gff3 --gene TFC3 -o report.html`

    Usage and perplexity of each level, a sequence logo for each code, a map of code vectors, and the codes of both
    strands along a region or a gene.
    """
    from vqdna_hf.evaluation.report_page import write_vocabulary_report

    options.quiet_unless_watched()
    data = write_vocabulary_report(
        checkpoint, genome, output, region=region, annotation=annotation, gene=gene, rename=rename, flank=flank,
        sample_bases=sample_bases, seed=seed, device=device, dtype=dtype,
        batch_bases=options.batch_bases(batch_bases),
    )  # fmt: skip
    print(f"{output}: {data.sampled:,} bases sampled, {data.region.region.length:,} shown", file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command()(report)
