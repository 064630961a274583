# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Verbs that publish: `push`, `export`, `card`."""

from pathlib import Path
from typing import Annotated

import typer

from vqdna_cli.options import quiet_unless_watched


def push(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="Where to: organisation/name.")],
    folder: Annotated[Path, typer.Option(help="The export to publish.")] = Path("vqdna-hrq"),
    private: Annotated[bool, typer.Option("--private", help="Create the repository as a private one.")] = False,
    revision: Annotated[str, typer.Option(metavar="BRANCH", help="The branch; it is created if need be.")] = "main",
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and send nothing.")] = False,
) -> None:
    """Publish an export to the Hub: weights, code, tokenizer and card in one commit.

    Example: `vqdna push my-lab/vqdna-yeast --folder vqdna-hrq --dry-run`

    Log in first (`hf auth login`, or set `HF_TOKEN`). Stale shards and code of an earlier export are deleted in the
    same commit; whatever else is in the repository stays.
    """
    from vqdna_hf.hub import push as push_folder

    quiet_unless_watched()
    print(push_folder(folder, repo, private=private, revision=revision, message=message, dry_run=dry_run))


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run, or one of its checkpoints.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The export; an earlier one is replaced.")],
    codec: Annotated[
        Path | None, typer.Option(metavar="RUN", help="The run of stage 1: its whole codec goes along, for decoding.")
    ] = None,
) -> None:
    """Write a trained model, a codec or any head, as a folder that loads without this package.

    Example: `vqdna export runs/tuned vqdna-hrq --codec runs/codec`

    A card in the run (`README.md`) goes along; `vqdna card` writes one.
    """
    from vqdna_hf.hub import export_run

    quiet_unless_watched()
    print(f"{folder}: {export_run(run, folder, codec)}")


def card(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the repository: organisation/name.")],
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Finished runs that differ in the seed alone."),
    ],
    control: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="A run from random weights; may be repeated.")
    ] = None,
    export: Annotated[Path | None, typer.Option(metavar="FOLDER", help="The export that gets the card.")] = None,
    card_dir: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the card is kept, as NAME.md.")] = Path(
        "model_cards"
    ),
    summary: Annotated[str, typer.Option(help="What the model is for, in a sentence.")] = "",
    limits: Annotated[str, typer.Option(help="What it cannot do.")] = "",
) -> None:
    """Write a model card from the records of finished runs, mean and sd over their seeds.

    Example: `vqdna card my-lab/vqdna-yeast runs/seed0 runs/seed1 --control runs/random --export vqdna-hrq`

    The table says what was measured: a sentence of yours about a metric may hold no number at all.
    """
    from vqdna_hf.hub import model_card, write_card_files

    text = model_card(name, runs, controls=control or [], summary=summary, limits=limits)
    for file in write_card_files(text, runs[0], export_dir=export, card_dir=card_dir):
        print(file)


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    for verb in (push, export, card):
        app.command()(verb)
