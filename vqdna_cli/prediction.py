# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verb `predict`."""

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
    Source,
    Strand,
)


def predict(
    source: Source,
    model: Model,
    output: Output = Path("predictions.parquet"),
    bed: Bed = None,
    rename: Rename = None,
    strand: Strand = "forward",
    window: Annotated[
        int | None, typer.Option(help="Nucleotides read at once; needed for sequences that are longer than is read.")
    ] = None,
    overlap: Overlap = None,
    label: Annotated[str | None, typer.Option(help="Whose values a bedGraph or BigWig holds.")] = None,
    track_line: Annotated[
        str | None, typer.Option("--track-line", metavar="NAME", help="Begin a bedGraph with a line `track`.")
    ] = None,
    sequence_column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of a table: the column of sequences; given twice, those of pairs."),
    ] = None,
    label_column: LabelColumn = None,
    id_column: IdColumn = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_bases: BatchBases = "auto",
    restart: Restart = False,
) -> None:
    """Ask a fine-tuned model: labels and probabilities, or numbers, for sequences, windows or each base.

    Example: `vqdna predict genome.fa.gz --bed peaks.bed -m runs/tuned --strand both -o predictions.tsv`

    Which it is the model says. With `--window` a classifier of sequences answers all along a genome. Formats: .parquet,
    .tsv, .tsv.gz, .npz, .bed, and one label's values along a genome as .bedgraph, .bedgraph.gz or .bw (BigWig).
    Interrupted, the same command goes on where it stopped.
    """
    from vqdna_hf import inference

    options.quiet_unless_watched()
    report = inference.predict(
        model, source, output, bed=bed, rename=rename, strand=strand, window=window, overlap=overlap, label=label,
        track_line=track_line, sequence_column=sequence_column or None, label_column=label_column,
        id_column=id_column, device=device, dtype=dtype, batch_bases=options.batch_bases(batch_bases),
        restart=restart,
    )  # fmt: skip
    options.say(report)


def register(app: typer.Typer) -> None:
    """Add the verb of this module."""
    app.command()(predict)
