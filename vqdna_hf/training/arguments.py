"""Command lines of the example scripts: dataclasses filled from a recipe (YAML) and flags, old spellings included."""

import difflib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import HfArgumentParser, PreTrainedConfig

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


class _Parser(HfArgumentParser):
    """Transformers' parser; a mistake is an exception, not two screens of usage."""

    def error(self, message: str) -> NoReturn:
        """Instead of leaving the process: `run_script` says it in one line."""
        raise ValueError(f"{message}; --help lists all flags")


def parse_arguments(types: Sequence[type], argv: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Fill dataclasses from `[RECIPE.yaml] [--flag value ...]`; flags win over the recipe.

    Flags that hold a dictionary (JSON) are merged into the recipe's dictionary, key by key.

    Args:
        types: dataclasses, `TrainingArguments` among them.
        argv: default `sys.argv[1:]`.

    Returns:
        One instance of each type, in order.

    Raises:
        ValueError: on an unreadable recipe, a key or flag that does not exist (with the nearest one that does), or
            a value of the wrong type.

    Example:

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Arguments:
    ...     window: int = 128
    >>> parse_arguments((Arguments,), ["--window", "64"])[0].window
    64
    >>> parse_arguments((Arguments,), ["--windw", "64"])
    Traceback (most recent call last):
    ...
    ValueError: unknown flag --windw: did you mean --window?; --help lists all
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe: dict[str, Any] = {}
    parser = _Parser(tuple(types), allow_abbrev=False)
    known = {action.dest for action in parser._actions}
    if argv and argv[0].endswith((".yaml", ".yml", ".json")):
        recipe = _read_recipe(argv.pop(0), known)
    argv = _recipe_to_flags(parser, recipe) + modernize_arguments(argv)
    dictionaries = {key: value for key, value in recipe.items() if isinstance(value, dict)}
    namespace, unknown = parser.parse_known_args(argv)
    for flag in unknown:
        if flag.startswith("-"):
            name = flag.lstrip("-").split("=")[0]
            raise ValueError(f"unknown flag {flag.split('=')[0]}{_nearest(name, known, '--')}; --help lists all")
    if unknown:
        raise ValueError(f"values without a flag: {' '.join(unknown)}")
    _leave_bf16_to_gpus(namespace)
    for key, base in dictionaries.items():
        own = getattr(namespace, key)
        setattr(namespace, key, json.dumps({**base, **parse_dictionary(own, f"--{key}")}))
    # Everything is parsed; the parser's own method makes the dataclasses of it (and runs their __post_init__).
    return tuple(parser.parse_dict({k: v for k, v in vars(namespace).items() if k in known}, allow_extra_keys=True))


def _leave_bf16_to_gpus(namespace: Any) -> None:
    """Recipes for GPUs ask for it; where there is none, Transformers would refuse them. With `use_cpu` it is meant."""
    wanted = getattr(namespace, "bf16", False) and not getattr(namespace, "use_cpu", False)
    if wanted and not torch.accelerator.is_available():
        logger.warning("--bf16 is for a GPU, and there is none: training in fp32 (--use_cpu true with it: on the CPU)")
        namespace.bf16 = False


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


def _recipe_to_flags(parser: HfArgumentParser, recipe: dict[str, Any]) -> list[str]:
    """Spell a recipe as flags, so that its values are converted and checked exactly as typed ones are."""
    actions = {action.dest: action for action in reversed(parser._actions)}  # the first of a name, not its --no_ form
    words: list[str] = []
    for key, value in recipe.items():
        if value is None or (isinstance(value, list) and not actions[key].nargs and actions[key].type is str):
            # What no flag can say: null, and a list where Transformers takes one word or several.
            parser.set_defaults(**{key: value})
        elif isinstance(value, list) and not actions[key].nargs:
            raise ValueError(f"{key} takes one value, not a list: {value}")
        elif isinstance(value, list):
            words += [f"--{key}", *map(str, value)]
        else:
            words.append(f"--{key}={json.dumps(value) if isinstance(value, dict) else value}")
    return words


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
        raise ValueError(f"{where} takes a JSON mapping such as '{{\"key\": 1}}', not {value!r}")
    return parsed


def parse_configuration(config_class: type[PreTrainedConfig], value: str | dict | None, where: str) -> dict[str, Any]:
    """Read a flag that holds keys of a configuration, and refuse keys that it does not have.

    A configuration itself keeps keys that it does not know, so that newer files load; a flag has no such excuse.

    >>> from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
    >>> parse_configuration(VQDNACodecConfig, '{"codebooks": [512]}', "--codec_config")
    Traceback (most recent call last):
    ...
    ValueError: unknown key 'codebooks' in VQDNACodecConfig: did you mean 'codebook_sizes'? (from --codec_config)
    """
    parsed = parse_dictionary(value, where)
    known = {field.name for field in fields(config_class)} | {"global_attn_every_n_layers"}
    for key in parsed:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0.4)
            hint = f": did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown key {key!r} in {config_class.__name__}{hint} (from {where})")
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
            if not _truthy(values):
                continue
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

    Args:
        main: returns the exit code, or None for 0.

    Example:

    >>> run_script(lambda: None)
    Traceback (most recent call last):
    ...
    SystemExit: 0
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
