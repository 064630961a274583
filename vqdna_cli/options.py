# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Options that verbs share: each has one name, one meaning and one default."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Genome = Annotated[str, typer.Argument(metavar="GENOME", help="FASTA, plain, gzip or bgzip; `-` reads standard input.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="FASTA (plain, gzip or bgzip; `-` is standard input), or a table of sequences (CSV, TSV, JSON, Parquet).",
    ),
]
SequenceColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Of a table: the column of sequences.")]
LabelColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Of a table: the column of known labels, which is kept.")
]
IdColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a table: what a row is called; default: id or name, else its number."),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="MODEL", help="Checkpoint: a folder (of a run or an export) or a Hub id."),
]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", help="Its ending chooses the format; `-` is standard output (TSV)."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]
Dtype = Annotated[str, typer.Option(help="auto (as saved), float32, bfloat16 or float16.")]
BatchBases = Annotated[
    str,
    typer.Option("--batch-bases", metavar="N|auto", help="Nucleotides read at once; halved when memory runs out."),
]
Strand = Annotated[str, typer.Option(metavar="STRAND", help="forward, reverse or both.")]
Bed = Annotated[
    str | None, typer.Option("--bed", metavar="BED", help="Only these regions; `-` reads them from standard input.")
]
Rename = Annotated[
    str | None,
    typer.Option(metavar="auto|TABLE", help="Match names: `auto` tries chr1 for 1, or a table of two columns."),
]
Restart = Annotated[bool, typer.Option("--restart", help="Drop what an interrupted run has left, and begin anew.")]
Window = Annotated[int | None, typer.Option(help="Nucleotides read at once; default: what the model reads.")]
Overlap = Annotated[int | None, typer.Option(help="Of neighbouring windows, in nucleotides.")]


def batch_bases(value: str) -> int | None:
    """Read `--batch-bases`: None stands for automatic.

    Raises:
        ValueError: if it is neither `auto` nor a whole number above 0.
    """
    if value == "auto":
        return None
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(f"--batch-bases {value}: give a number of nucleotides above 0, or auto")
    return int(value)


def say(report: Any) -> None:
    """One line on standard error about what was written; standard output is for data."""
    taken = f", {report.resumed} of {report.units} units were there already" if report.resumed else ""
    place = "standard output" if str(report.output) == "-" else report.output
    print(f"{place}: {report.bases:,} bases{taken}", file=sys.stderr)


def quiet_unless_watched() -> None:
    """Progress bars are for terminals; in a log they are noise."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars
        from transformers.utils import logging

        disable_progress_bars()
        logging.disable_progress_bar()
