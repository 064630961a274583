# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Verbs of corpora: `corpus build`, `corpus show`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from vqdna_cli import options
from vqdna_cli.options import Restart

app = typer.Typer(name="corpus", help="Corpora to learn from: build one of genomes, show what one holds.")


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="A manifest (.yaml, .tsv) with files, groups and weights; or FASTA files, folders, patterns.",
    ),
]
Folder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="FOLDER", help="The corpus; an earlier one, with no more in it, is replaced."
    ),
]
Window = Annotated[int, typer.Option(help="Bases of a window; the last one of a record may be shorter.")]
Stride = Annotated[
    int | None, typer.Option(help="Bases from the start of a window to that of the next; default: the window.")
]
MinBases = Annotated[int | None, typer.Option(help="Leave shorter windows out; default: half of the window.")]
MaxN = Annotated[float, typer.Option(help="Leave windows with a larger share of N out.")]
SplitN = Annotated[int | None, typer.Option(help="Cut records at runs of at least so many N.")]
SoftMask = Annotated[
    str,
    typer.Option(
        metavar="POLICY",
        help="Lower-case bases: ignore, keep (as lower case), mask (to N), drop (windows with too many).",
    ),
]
MaxSoft = Annotated[float, typer.Option(help="The largest share that --soft-mask drop keeps.")]
Strands = Annotated[
    str, typer.Option(metavar="POLICY", help="forward, both, or canonical (of the two, the first in the alphabet).")
]
HeldOut = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="A record, species or file for validation; may be repeated."),
]
Group = Annotated[str | None, typer.Option(help="Of files whose group nothing else names.")]
Accessions = Annotated[
    Path | None, typer.Option(metavar="TABLE", help="Columns file, accession, species, group; default: index.tsv.")
]
KeepDuplicates = Annotated[
    bool, typer.Option("--keep-duplicates", help="Keep windows that equal an earlier one, on either strand.")
]
ShardBases = Annotated[int, typer.Option(help="Of a Parquet file, about; it is held in memory.")]
Seed = Annotated[int, typer.Option(help="Of the order of windows.")]


@app.command()
def build(
    inputs: Inputs,
    output: Folder = Path("corpus"),
    window: Window = 512,
    stride: Stride = None,
    min_bases: MinBases = None,
    max_n_fraction: MaxN = 0.1,
    split_n: SplitN = None,
    soft_mask: SoftMask = "ignore",
    max_soft_fraction: MaxSoft = 0.5,
    strand: Strands = "forward",
    held_out: HeldOut = None,
    group: Group = None,
    accessions: Accessions = None,
    keep_duplicates: KeepDuplicates = False,
    shard_bases: ShardBases = 1 << 26,
    seed: Seed = 0,
    restart: Restart = False,
) -> None:
    """Cut genomes into windows: shuffled Parquet shards, a record of every source, and a dataset card.

    Example: `vqdna corpus build manifest.yaml --window 512 --held-out chr21 -o corpus`

    The folder is a dataset repository: `hf upload --repo-type dataset my-lab/corpus corpus` publishes it. Windows equal
    to held-out ones never stay in training. Interrupted, the same command goes on where it stopped.
    """
    from vqdna_hf.data.cutting import CutPolicy
    from vqdna_hf.data.shards import build_corpus

    options.quiet_unless_watched()
    policy = CutPolicy(
        window=window, stride=stride, min_bases=min_bases, max_n_fraction=max_n_fraction, split_n=split_n,
        soft_mask=soft_mask, max_soft_fraction=max_soft_fraction, strand=strand,  # type: ignore[arg-type]
    )  # fmt: skip
    report = build_corpus(
        inputs, output, policy=policy, held_out=held_out or [], group=group, accessions=accessions,
        deduplicate=not keep_duplicates, shard_bases=shard_bases, seed=seed, restart=restart,
    )  # fmt: skip
    options.say(report)


@app.command()
def show(
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help="What `vqdna corpus build` wrote, or a Hub id.")],
    verify: Annotated[bool, typer.Option("--verify", help="Compare the checksum of every shard.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
) -> None:
    """Print what a corpus is made of: windows, bases and shares of each group, GC, N, what was left out.

    Example: `vqdna corpus show corpus --verify`
    """
    from vqdna_hf.data.built import show_corpus

    shown = show_corpus(corpus, verify=verify)
    if as_json:
        print(json.dumps(shown, indent=2))
    else:
        _print_composition(corpus, shown)


def _print_composition(corpus: str, shown: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(title=escape(corpus), title_justify="left")
    for name in ("group", "split"):
        table.add_column(name)
    for name in ("windows", "bases", "share", "drawn", "GC", "N", "soft-masked"):
        table.add_column(name, justify="right")
    for row in shown["composition"]:
        table.add_row(
            escape(row["group"]), row["split"], f"{row['windows']:,}", f"{row['bases']:,}",
            *(_percent(row[name]) for name in ("share", "drawn", "gc", "n", "soft_masked")),
        )  # fmt: skip
    console.print(table)
    dropped = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in shown["dropped"].items() if count]
    lines = [f"left out: {', '.join(dropped) or 'no window'}"]
    if shown["held_out"]["names"]:
        names = shown["held_out"]["names"]
        lines.append(f"held out: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}")
    lines.append(f"input files: {len(shown['inputs']):,}, shards: {shown['shards']:,}")
    if shown["verified"]:
        lines.append(f"checksums compared: {shown['verified']:,}, all shards are as they were built")
    for line in lines:
        console.print(line, markup=False)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def register(parent: typer.Typer) -> None:
    """Add the verbs of this module."""
    parent.add_typer(app)
