# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Verbs that train: `learn-vocabulary`, `pretrain`, `finetune`, thin doors to the scripts of `examples/`.

Their words go to the script unchanged: the same flags, the same recipes, the same exit codes. In an installed package
the scripts are `vqdna_cli/scripts/`.
"""

import importlib.util
import inspect
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import typer
from typer.core import TyperCommand

SCRIPTS = {"learn-vocabulary": "run_codec", "pretrain": "run_mlm", "finetune": "run_classification"}
"""The script behind each verb."""

_HERE = Path(__file__).resolve().parent
_HELP = ("-h", "--help")


class _Door(TyperCommand):
    """Reads none of its words: `--help` and all others are for the script."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words as they are."""
        super().parse_args(ctx, [])
        ctx.args = list(args)
        return ctx.args


def learn_vocabulary(context: typer.Context) -> int:
    """Learn the vocabulary from genomes (stage 1): FASTA files or a built corpus in, a codec out.

    Example: `vqdna learn-vocabulary tiny/codec.yaml --train_files yeast.fa.gz ecoli.fa.gz --output_dir runs/codec`

    Interrupted, the same command goes on with `--resume_from_checkpoint`.
    """
    return run_stage("learn-vocabulary", context.args)


def pretrain(context: typer.Context) -> int:
    """Pre-train a language model on the learned vocabulary (stage 2): genomes and a codec in, a masked model out.

    Example: `vqdna pretrain tiny/mlm.yaml --codec_path runs/codec --train_files corpus --output_dir runs/mlm`

    Interrupted, the same command goes on with `--resume_from_checkpoint`.
    """
    return run_stage("pretrain", context.args)


def finetune(context: typer.Context) -> int:
    """Fine-tune on labelled sequences (stage 3): a GUE folder or CSV files and a model in, a classifier out.

    Example: `vqdna finetune tiny/classification.yaml --model_name_or_path runs/mlm --data_path GUE --output_dir tuned`

    Interrupted, the same command goes on with `--resume_from_checkpoint`.
    """
    return run_stage("finetune", context.args)


_VERBS = {"learn-vocabulary": learn_vocabulary, "pretrain": pretrain, "finetune": finetune}


def run_stage(verb: str, words: Sequence[str]) -> int:
    """Run the script behind a verb in this process.

    Args:
        verb: a key of `SCRIPTS`.
        words: what stands behind it; a recipe that is no file here is looked for among those that come along.

    Returns:
        The script's exit code: 0 done, 2 bad input, 130 interrupted and saved.
    """
    from huggingface_hub.errors import StrictDataclassError

    words = list(words)
    if any(word in _HELP for word in words):
        print(_help(verb))
    if words and (recipe := _packaged_recipe(words[0])) is not None:
        words[0] = str(recipe)
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    before, sys.argv = sys.argv, [f"vqdna {verb}", *words]
    try:
        return load_script(SCRIPTS[verb]).main() or 0
    except StrictDataclassError as error:  # a value that a configuration refuses
        raise ValueError(str(error)) from error
    except SystemExit as done:  # of `--help`
        return done.code if isinstance(done.code, int) else int(done.code is not None)
    finally:
        sys.argv = before


def scripts_folder() -> Path:
    """Where the scripts are: in the installed package, else in the checkout around it.

    Raises:
        ValueError: if they are in neither.

    Example:

    >>> (scripts_folder() / "run_mlm.py").is_file()
    True
    """
    for folder in (_HERE / "scripts", _HERE.parent / "examples"):
        if (folder / f"{SCRIPTS['pretrain']}.py").is_file():
            return folder
    raise ValueError("the training scripts are missing from this installation: install vqdna_hf again")


def load_script(name: str) -> ModuleType:
    """Import a script without running it."""
    full_name = f"vqdna_cli.scripts.{name}"
    spec = importlib.util.spec_from_file_location(full_name, scripts_folder() / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}.py cannot be read: install vqdna_hf again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


def _packaged_recipe(word: str) -> Path | None:
    """The recipe that a first word such as `tiny/mlm.yaml` names, if there is no such file here."""
    if not word.endswith((".yaml", ".yml")) or Path(word).exists():
        return None
    recipe = scripts_folder() / "recipes" / word
    return recipe if recipe.is_file() else None


def _help(verb: str) -> str:
    folder = scripts_folder()
    recipes = sorted(path.relative_to(folder / "recipes").as_posix() for path in folder.glob("recipes/*/*.yaml"))
    suffix = SCRIPTS[verb].removeprefix("run_")
    fitting = ", ".join(recipe for recipe in recipes if recipe.endswith(f"/{suffix}.yaml"))
    return (
        f"{inspect.getdoc(_VERBS[verb])}\n\n"
        f"Words go to {SCRIPTS[verb]}.py: [RECIPE.yaml] [--flag value ...]. Recipes that come along: {fitting}.\n"
    )


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    for name, verb in _VERBS.items():
        app.command(name, cls=_Door, add_help_option=False)(verb)
