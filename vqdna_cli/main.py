# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The command `vqdna <verb>`: each verb reads its words, calls one function of the package, and prints the result.

The command is a package of its own beside `vqdna_hf`: importing that takes seconds (torch, transformers), and `--help`
must not. Heavy imports stand inside the verbs.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from vqdna_cli import corpus, embedding, evaluation, hub, mutation, prediction, report, sequences, stages, variation

app = typer.Typer(
    name="vqdna",
    add_completion=False,
    pretty_exceptions_enable=False,  # errors are one line; see `main`
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        print(f"vqdna_hf {importlib.metadata.version('vqdna_hf')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """VQDNA: genome language models whose vocabulary is learned.

    Example: `vqdna encode genome.fa.gz -m vqdna-hrq -o codes.parquet`
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


for module in (sequences, embedding, prediction, variation, mutation, corpus, stages, evaluation, report, hub):
    module.register(app)


def _end_in_order() -> Any:
    """Let SIGTERM, as batch systems send it, end the command as an exception does: temporary files go.

    Returns:
        The handler to put back; None where this is not the main thread, which alone may set one.
    """

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, end)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and give its exit code: 0 done, 2 bad input, 130 interrupted.

    Bad input is one clear line on standard error; `VQDNA_DEBUG=1` shows the traceback as well.

    Args:
        arguments: the words behind `vqdna`; default: those of the process.

    Example:

    >>> main(["push", "my-lab/vqdna-yeast", "--folder", "no/such/folder"])
    2
    """
    before = _end_in_order()
    try:
        code = app(args=arguments, prog_name="vqdna", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except BrokenPipeError:  # who read our output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain when it closes it
        code = 0
    except Exception as error:
        # typer's own errors say in `format_message` what was wrong with the words.
        message = getattr(error, "format_message", error.__str__)()
        is_input = isinstance(error, (ValueError, OSError)) or hasattr(error, "format_message")
        if os.environ.get("VQDNA_DEBUG") or not is_input:
            raise
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        code = 2
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
    if code == 130:
        print("interrupted", file=sys.stderr)
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
