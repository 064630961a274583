# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verb `variants`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options
from vqdna_cli.options import BatchBases, Device, Dtype, Genome, Model, Rename, Restart, Strand


def variants(
    genome: Genome,
    calls: Annotated[str, typer.Argument(metavar="CALLS", help="VCF, plain, gzip or bgzip; `-` reads standard input.")],
    model: Model,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The annotated VCF: .vcf or .vcf.gz, `-` for stdout."),
    ] = None,
    table: Annotated[
        Path | None, typer.Option("--table", "-t", metavar="FILE", help=".parquet, .tsv or .tsv.gz, `-` for stdout.")
    ] = None,
    scores: Annotated[
        str, typer.Option(metavar="LIST", help="Of llr (needs a masked-LM head), distance, codes.")
    ] = "llr,distance,codes",
    strand: Strand = "both",
    window: Annotated[
        int | None,
        typer.Option(help="Nucleotides around a variant, best those of training; default: 512, or what it reads."),
    ] = None,
    layer: Annotated[int, typer.Option(help="Whose hidden states are compared: 0 is the embedding, -1 the last.")] = -1,
    max_length: Annotated[int, typer.Option(help="Of alleles, without the bases that REF and ALT share.")] = 50,
    rename: Rename = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a VCF that does not fit the genome.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
    restart: Restart = False,
) -> None:
    """Score single-nucleotide variants and short insertions and deletions of a VCF.

    Example: `vqdna variants genome.fa.gz calls.vcf.gz -m runs/mlm -o calls.scored.vcf.gz -t scores.parquet`

    Each ALT gets a masked log-likelihood ratio (below 0: the model prefers REF), distances of hidden states, and the
    codes that change at each level. What cannot be scored, such as a REF that the genome does not have, is left out of
    the table, named in the VCF (VQDNA_SKIPPED), and counted at the end. Interrupted, the same command goes on where it
    stopped.
    """
    from vqdna_hf import inference
    from vqdna_hf.data.jobs import process_place

    if output is None and table is None:
        raise ValueError("nothing to write: give --output calls.scored.vcf.gz, --table scores.parquet, or both")
    options.quiet_unless_watched()
    report = inference.score_variants(
        model, genome, calls, output, table, scores=scores, strand=strand, window=window, layer=layer,
        max_length=max_length, rename=rename, strict=strict, device=device, dtype=dtype,
        batch_bases=options.batch_bases(batch_bases), restart=restart,
    )  # fmt: skip
    options.say(report.job)
    if process_place()[0] == 0:  # the others have seen their share alone
        print(report.summary, file=sys.stderr)


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command()(variants)
