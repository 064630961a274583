"""The command `vqdna <verb>`: each verb reads its words, calls one function of the package, and prints the result.

A new verb is a function under `@app.command()`. Heavy imports stand inside the verbs, so that `--help` stays quick.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="vqdna",
    add_completion=False,
    pretty_exceptions_enable=False,  # errors are one line; see `main`
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"vqdna_hf {importlib.metadata.version('vqdna_hf')}")
        raise typer.Exit


def _no_bars_unless_watched() -> None:
    """Progress bars are for terminals; in a log they are noise."""
    if not sys.stderr.isatty():
        from huggingface_hub.utils import disable_progress_bars
        from transformers.utils import logging

        disable_progress_bars()
        logging.disable_progress_bar()


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """VQDNA: genome language models whose vocabulary is learned.

    Example: `vqdna export runs/mlm vqdna-hrq`
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
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

    _no_bars_unless_watched()
    print(push_folder(folder, repo, private=private, revision=revision, message=message, dry_run=dry_run))


@app.command()
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

    _no_bars_unless_watched()
    print(f"{folder}: {export_run(run, folder, codec)}")


@app.command()
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code: 0 done, 2 bad input, 130 interrupted.

    Bad input is one clear line on standard error; `VQDNA_DEBUG=1` shows the traceback as well.

    Args:
        arguments: the words behind `vqdna`; default: those of the process.

    Example:

    >>> main(["push", "my-lab/vqdna-yeast", "--folder", "no/such/folder"])
    2
    """
    try:
        code = app(args=arguments, prog_name="vqdna", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        # typer's own errors say in `format_message` what was wrong with the words.
        message = getattr(error, "format_message", error.__str__)()
        is_input = isinstance(error, (ValueError, OSError)) or hasattr(error, "format_message")
        if os.environ.get("VQDNA_DEBUG") or not is_input:
            raise
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        code = 2
    if code == 130:
        print("interrupted", file=sys.stderr)
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
