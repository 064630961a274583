# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verb `embed`."""

from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli import options
from vqdna_cli.options import (
    BatchBases,
    Bed,
    Device,
    Dtype,
    IdColumn,
    LabelColumn,
    Model,
    Output,
    Overlap,
    Rename,
    Restart,
    SequenceColumn,
    Source,
    Strand,
    Window,
)


def embed(
    source: Source,
    model: Model,
    output: Output = Path("embeddings.parquet"),
    per: Annotated[str, typer.Option(metavar="WHAT", help="One vector a record, a window or a base.")] = "record",
    pooling: Annotated[str, typer.Option(help="Over the bases: mean, max, or cls (the vector at [CLS]).")] = "mean",
    layer: Annotated[int, typer.Option(help="Whose vectors: 0 is the embedding, -1 the last layer.")] = -1,
    bed: Bed = None,
    rename: Rename = None,
    strand: Strand = "forward",
    window: Window = None,
    overlap: Overlap = None,
    half: Annotated[bool, typer.Option("--half", help="Write float16, half the size.")] = False,
    sequence_column: SequenceColumn = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
    restart: Restart = False,
) -> None:
    """Turn sequences of any length into vectors: one a record (or region), a window, or a base.

    Example: `vqdna embed genome.fa.gz --bed promoters.bed -m vqdna-hrq --strand both -o promoters.parquet`

    A sequence longer than the model reads goes through it in windows that overlap, and each base counts where it is
    most central. N counts in the mean. Formats: .parquet, .tsv, .tsv.gz, .npz. Interrupted, the same command goes on
    where it stopped.
    """
    from vqdna_hf import inference

    options.quiet_unless_watched()
    report = inference.embed(
        model, source, output, per=per, pooling=pooling, layer=layer, bed=bed, rename=rename, strand=strand,
        window=window, overlap=overlap, half=half, sequence_column=sequence_column, label_column=label_column,
        id_column=id_column, device=device, dtype=dtype, batch_bases=options.batch_bases(batch_bases),
        restart=restart,
    )  # fmt: skip
    options.say(report)


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command()(embed)
