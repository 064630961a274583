"""Command lines of the example scripts: dataclasses filled from a recipe (YAML) and flags, old spellings included."""

import difflib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser

logger = logging.getLogger(__name__)

# What Transformers 5 dropped or renamed, and DNABERT-2's own names. None: accepted, and without effect.
LEGACY_ARGUMENTS: dict[str, tuple[str | None, str]] = {
    "evaluation_strategy": ("eval_strategy", "renamed in Transformers 5"),
    "warmup_ratio": ("warmup_steps", "warmup_steps takes a fraction now"),
    "no_cuda": ("use_cpu", "renamed in Transformers 5"),
    "checkpointing": ("gradient_checkpointing", "renamed"),
    "find_unused_parameters": ("ddp_find_unused_parameters", "renamed"),
    "max_seq_length": ("model_max_length", "the same thing"),
    "push_to_hub_token": ("hub_token", "renamed in Transformers 5"),
    "logging_dir": (None, "set the environment variable TENSORBOARD_LOGGING_DIR instead"),
    "save_safetensors": (None, "weights are always safetensors"),
    "kmer": (None, "the vocabulary is learned: there are no k-mers"),
    "use_fast_tokenizer": (None, "there is one tokenizer, and it is fast"),
    "include_inputs_for_metrics": (None, "dropped by Transformers 5"),
}


def parse_arguments(types: Sequence[type], argv: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Fill dataclasses from `[RECIPE.yaml] [--flag value ...]`; flags win over the recipe.

    Flags that hold a dictionary (JSON) are merged into the recipe's dictionary, key by key.

    Args:
        types: dataclasses, `TrainingArguments` among them.
        argv: default `sys.argv[1:]`.

    Returns:
        One instance of each type, in order.

    Raises:
        ValueError: on an unreadable recipe, or a key or flag that does not exist, with the nearest one that does.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe: dict[str, Any] = {}
    parser = HfArgumentParser(tuple(types))  # type: ignore[arg-type]
    known = {action.dest for action in parser._actions}
    if argv and argv[0].endswith((".yaml", ".yml", ".json")):
        recipe = _read_recipe(argv.pop(0), known)
    argv = modernize_arguments(argv)
    dictionaries = {key: value for key, value in recipe.items() if isinstance(value, dict)}
    for action in parser._actions:
        if action.dest in recipe:
            action.required = False
    parser.set_defaults(**{k: json.dumps(v) if isinstance(v, dict) else v for k, v in recipe.items()})
    namespace, unknown = parser.parse_known_args(argv)
    for flag in unknown:
        if flag.startswith("-"):
            name = flag.lstrip("-").split("=")[0]
            raise ValueError(f"unknown flag {flag.split('=')[0]}{_nearest(name, known, '--')}; --help lists all")
    if unknown:
        raise ValueError(f"values without a flag: {' '.join(unknown)}")
    for key, base in dictionaries.items():
        own = getattr(namespace, key)
        setattr(namespace, key, json.dumps({**base, **parse_dictionary(own, f"--{key}")}))
    parser.set_defaults(**vars(namespace))
    # Everything is parsed; the parser's own method makes the dataclasses of it (and runs their __post_init__).
    return tuple(parser.parse_dict({k: v for k, v in vars(namespace).items() if k in known}, allow_extra_keys=True))


def _read_recipe(path: str, known: set[str]) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"cannot read the recipe {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"{path}: a recipe is a mapping of flag names to values")
    for key in recipe:
        if key not in known:
            raise ValueError(f"{path}: unknown key {key!r}{_nearest(str(key), known)}")
    return recipe


def _nearest(name: str, known: set[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f": did you mean {prefix}{near[0]}?" if near else ""


def parse_dictionary(value: str | dict | None, where: str) -> dict[str, Any]:
    """Read a flag that holds a JSON (or YAML) mapping; None is the empty one.

    >>> parse_dictionary('{"codebook_sizes": [512]}', "--codec_config")
    {'codebook_sizes': [512]}
    """
    if value is None or isinstance(value, dict):
        return dict(value or {})
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not a JSON mapping: {value}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f'{where} takes a JSON mapping such as \'{{"key": 1}}\', not {value!r}')
    return parsed


def modernize_arguments(argv: Sequence[str]) -> list[str]:
    """Translate old spellings, one line of warning each, so that old shell scripts run.

    >>> modernize_arguments(["--evaluation_strategy", "steps", "--kmer", "-1", "--resume_from_checkpoint"])
    ['--eval_strategy', 'steps', '--resume_from_checkpoint', 'True']
    """
    result: list[str] = []
    queue = _split_flags(argv)
    for flag, values in queue:
        name = flag.lstrip("-")
        if name == "group_by_length":
            logger.warning("--group_by_length is --train_sampling_strategy group_by_length in Transformers 5")
            flag, values = "--train_sampling_strategy", ["group_by_length"]
        elif name == "fp16" and not torch.cuda.is_available() and _truthy(values):
            logger.warning("--fp16 needs a GPU: training in fp32")
            continue
        elif name == "resume_from_checkpoint" and not values:
            values = ["True"]
        elif name in LEGACY_ARGUMENTS:
            new, why = LEGACY_ARGUMENTS[name]
            logger.warning("--%s %s: %s", name, f"is --{new} now" if new else "is ignored", why)
            if new is None:
                continue
            flag = f"--{new}"
        result += [flag, *values] if flag else values
    return result


def _truthy(values: Sequence[str]) -> bool:
    return not values or values[0].lower() in ("true", "1", "yes")


def _split_flags(argv: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Group a command line into (flag, values); values in front of the first flag get the flag ''."""
    groups: list[tuple[str, list[str]]] = []
    for word in argv:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            groups.append((flag, [value] if equals else []))
        elif groups:
            groups[-1][1].append(word)
        else:
            groups.append(("", [word]))
    return groups


def run_script(main: Callable[[], int | None]) -> None:
    """Run a script's main and exit: 0 done, 2 bad input, 130 interrupted and saved.

    Bad input is one clear line on standard error; `VQDNA_DEBUG=1` shows the traceback as well.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        code = main() or 0
    except (ValueError, StrictDataclassError, OSError) as error:
        if os.environ.get("VQDNA_DEBUG"):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)
