# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Verbs that read sequences: `encode`, `decode`."""

from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options
from vqdna_cli.options import (
    BatchBases,
    Bed,
    Device,
    Dtype,
    Genome,
    Model,
    Output,
    Rename,
    Restart,
    Strand,
    Window,
)  # fmt: skip


def encode(
    genome: Genome,
    model: Model,
    output: Output = Path("codes.parquet"),
    bed: Bed = None,
    rename: Rename = None,
    strand: Strand = "forward",
    window: Window = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
    restart: Restart = False,
) -> None:
    """Turn nucleotides into codes: one row a window, with coordinates and the codes of every level.

    Example: `vqdna encode genome.fa.gz --bed promoters.bed -m vqdna-hrq -o codes.parquet`

    Code i of a row belongs to base start + i, on both strands; -1 stands at N. Where a code stands for several bases
    (codec_stride), the column bases_per_code says for how many. Interrupted, the same command goes on where it stopped.
    """
    from vqdna_hf import inference

    options.quiet_unless_watched()
    report = inference.encode(
        model, genome, output, bed=bed, rename=rename, strand=strand, window=window, device=device, dtype=dtype,
        batch_bases=options.batch_bases(batch_bases), restart=restart,
    )  # fmt: skip
    options.say(report)


def decode(
    codes: Annotated[str, typer.Argument(metavar="CODES", help="What `vqdna encode` wrote: Parquet or TSV.")],
    model: Model,
    output: Output = Path("decoded.fa"),
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
    restart: Restart = False,
) -> None:
    """Turn codes back into nucleotides: FASTA, Parquet or TSV, on the forward strand.

    Example: `vqdna decode codes.parquet -m runs/codec -o decoded.fa`

    The codec that encoded is needed, or an export that carries it (`vqdna export --codec`).
    """
    from vqdna_hf import inference

    options.quiet_unless_watched()
    report = inference.decode(
        model, codes, output, device=device, dtype=dtype, batch_bases=options.batch_bases(batch_bases), restart=restart
    )
    options.say(report)


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    for verb in (encode, decode):
        app.command()(verb)
