"""Whether a folder may go to the Hub: one of our exports, whole, without pickles, and nothing else in it."""

import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, metadata_load
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID, CLS_ID, IUPAC_LETTERS, SEP_ID, VOCABULARY
from vqdna_hf.training.saved import saved_class

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_CODE = re.compile(
    r"(configuration|embeddings|modeling|nearest|patching|pipeline|quantization|tokenization)_vqdna(_\w+)?\.py"
)
_INDEX = "model.safetensors.index.json"
_CODEC = "codec"  # the subfolder in which an export may carry the whole codec, decoder included
_GRAPH = {  # what `export_onnx` writes, at the place that its documentation names
    f"onnx/{name}"
    for name in ("model.onnx", "model.onnx.data", "config.json", "tokenizer.json", "tokenizer_config.json")
}
_NEEDED = ("config.json", "tokenizer.json", "tokenizer_config.json", "README.md")
_ALLOWED = {
    *_NEEDED, *_GRAPH, f"{_CODEC}/config.json", "generation_config.json", "special_tokens_map.json", "requirements.txt",
    "LICENSE", "NOTICE", "CITATION.cff",
}  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
_HANDLER = "handler.py"
_SOURCE = Path(inspect.getfile(VQDNAConfig)).parent  # where the code of an export comes from
_CODE_OF_LANGUAGE_MODEL = {"modeling_vqdna.py", "embeddings_vqdna.py"}
_CODE_OF_CODEC = {path.name for path in _SOURCE.glob("*_vqdna*.py")} - _CODE_OF_LANGUAGE_MODEL
_CODE_OF = {
    VQDNACodecConfig.model_type: _CODE_OF_CODEC,
    VQDNAConfig.model_type: _CODE_OF_CODEC | _CODE_OF_LANGUAGE_MODEL,
}
# What loaders take by its name alone: adapters, tokens, weights of other names and frameworks.
_LOADED_UNASKED = re.compile(
    r"(codec/)?(adapter_config\.json|adapter_model[^/]*|(added_tokens|special_tokens_map)\.json|[^/]*\.safetensors|"
    r"((pytorch|tf|flax)_model|model)[^/]*\.(bin|h5|msgpack|safetensors|ckpt)(\.index[^/]*(\.json)?)?|model\.ckpt\.index)"
)


def is_export_file(path: str) -> bool:
    """Whether this name belongs to an export alone, so that a newer export without the file makes it stale.

    Weights, shards and their index, the package's own code, the codec's subfolder, and the ONNX graph, which would be
    of other weights; anything else in a repository may be the user's.

    >>> ours = ("model-00002-of-00003.safetensors", "modeling_vqdna.py", "onnx/model.onnx")
    >>> [is_export_file(name) for name in ours]
    [True, True, True]
    >>> [is_export_file(name) for name in ("notes.md", "handler.py", "plots/model.safetensors", ".gitattributes")]
    [False, False, False, False]
    """
    own = _GRAPH | {f"{_CODEC}/config.json"}
    return path in own or _is_weights(path) or _CODE.fullmatch(path) is not None


def changes_loading(path: str) -> bool:
    """Whether a file that is no part of an export changes what is loaded from a repository that holds it.

    >>> [changes_loading(name) for name in ("adapter_config.json", "pytorch_model.bin", "model.fp16.safetensors")]
    [True, True, True]
    >>> [changes_loading(name) for name in ("notes.md", "training_args.bin", "plots/model.safetensors")]
    [False, False, False]
    """
    return _LOADED_UNASKED.fullmatch(path) is not None


def _is_weights(path: str) -> bool:
    name = path.removeprefix(f"{_CODEC}/")
    return name == _INDEX or _WEIGHTS.fullmatch(name) is not None


def check_publishable(folder: str | Path) -> list[str]:
    """Check a folder before any of it is sent, by reading headers and codebooks, not the whole of the weights.

    Args:
        folder: an export (see `export`) with its card.

    Returns:
        The files to publish, sorted; names are relative to the folder, with slashes.

    Raises:
        ValueError: that names the file (and the tensor), if the folder is no export of this package; a needed file
            is missing or cannot be read; the code is not the installed package's; the tokenizer gives other ids; the
            weights are not safetensors, are incomplete, or do not fit the configuration; a codebook is untrained or
            holds NaN or infinity; or the folder holds a link, or anything that does not belong to an export.

    Example:

    >>> check_publishable("no/such/folder")
    Traceback (most recent call last):
    ValueError: no/such/folder: no such folder; write one with `vqdna export RUN FOLDER`
    """
    names = list_publishable(folder)
    folder = Path(folder)
    models = {folder: read_config(folder)}
    if f"{_CODEC}/config.json" in names:
        models[folder / _CODEC] = read_config(folder / _CODEC)
    code = set().union(*(_CODE_OF[config["model_type"]] for config in models.values()))
    for name in [*_NEEDED, *sorted(code)]:
        if name not in names:
            card = "; a model without a card is not published" if name == "README.md" else ": export the model again"
            raise ValueError(f"{folder / name} is missing{card}")
    for name in sorted({*code, _HANDLER} & set(names)):
        _check_code(folder / name)
    for place, config in models.items():
        _check_references(place / "config.json", config, {"AutoConfig", "AutoModel"}, code)
    path = folder / "tokenizer_config.json"
    _check_references(path, _read_json(path), {"AutoTokenizer"}, code)
    for name in {"tokenizer.json", "onnx/tokenizer.json"} & set(names):
        _check_tokenizer(folder / name)
    _check_card(folder / "README.md")
    for place, config in models.items():
        _check_weights(place, config)
    return names


def list_publishable(folder: str | Path) -> list[str]:
    """The files of an export by their names alone: none is there that an export never writes, and no link.

    Args:
        folder: an export.

    Returns:
        Names relative to the folder, sorted.

    Raises:
        ValueError: if the folder is no export of this package, or holds what does not belong to one.

    Example:

    >>> list_publishable("no/such/folder")
    Traceback (most recent call last):
    ValueError: no/such/folder: no such folder; write one with `vqdna export RUN FOLDER`
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; write one with `vqdna export RUN FOLDER`")
    configs = [read_config(folder)]
    paths = sorted(folder.rglob("*"))
    for path in paths:
        if path.is_symlink():
            raise ValueError(f"{path} is a link: copy the file itself")
    names = sorted(path.relative_to(folder).as_posix() for path in paths if not path.is_dir())
    if any(name.startswith(f"{_CODEC}/") for name in names):
        configs.append(read_config(folder / _CODEC))
    code = set().union(*(_CODE_OF[config["model_type"]] for config in configs))
    for name in names:
        _check_name(folder, name, code)
    if "onnx/model.onnx" not in names and (alone := _GRAPH.intersection(names)):
        raise ValueError(f"{folder / min(alone)} stands without onnx/model.onnx: export the graph again, or delete it")
    return names


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} cannot be read: it is no JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model of this package.

    Raises:
        ValueError: if there is none, it cannot be read, or it is of another kind of model.
    """
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ValueError(f"{folder} holds an adapter, not a model: merge it into its base and export that")
        raise ValueError(f"{folder}: not a model's folder: it holds no config.json")
    config = _read_json(folder / "config.json")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in _CODE_OF:
        raise ValueError(f"{folder / 'config.json'}: model_type {model_type!r} is none of this package")
    return config


def _check_name(folder: Path, name: str, code: set[str]) -> None:
    """Refuse what an export never writes: most of it got there by accident."""
    path = folder / name
    if not path.is_file():
        raise ValueError(f"{path} is no file that can be read")
    if name in _ALLOWED or name in code or name == _HANDLER or _is_weights(name):
        return
    if re.fullmatch(r"\.eval_results/[\w.-]+\.yaml", name) or re.fullmatch(r"(\w[\w-]*/)?\w[\w-]*\.(png|svg|md)", name):
        return
    if path.suffix.lower() in _PICKLES:
        raise ValueError(f"{path} may carry a pickle: only safetensors are published; move it away")
    if any(part.startswith(".") for part in Path(name).parts):
        raise ValueError(f"{path} is a hidden file: it would be published with the rest; move it away")
    raise ValueError(f"{path} does not belong to an export: move it away, or export the model again")


def _table(path: Path, config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if not isinstance(value, dict | None):
        raise ValueError(f"{path}: {key} is {value!r}, and it must be an object")
    return value or {}


def _references(path: Path, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, module.Class) of all code that a configuration names."""
    references = {f"auto_map.{key}": value for key, value in _table(path, config, "auto_map").items()}
    for task, pipeline in _table(path, config, "custom_pipelines").items():
        key = f"custom_pipelines.{task}"
        references[key] = _table(path, {key: pipeline}, key).get("impl")
    for key, value in references.items():
        for reference in value if isinstance(value, list) else [value]:
            if reference is not None:
                yield key, str(reference)


def _check_references(path: Path, config: dict[str, Any], needed: set[str], code: set[str]) -> None:
    """What a configuration names is in the code files beside it."""
    if missing := needed - _table(path, config, "auto_map").keys():
        raise ValueError(
            f"{path} has no auto_map with {' and '.join(sorted(missing))}: nobody could load it without this package; "
            "write the folder with `vqdna export RUN FOLDER`"
        )
    for key, reference in _references(path, config):
        module, _, name = reference.rpartition(".")
        if f"{module}.py" not in code:
            raise ValueError(f"{path}: {key} names {reference!r}, which is no module of this folder")
        if not hasattr(importlib.import_module(f"vqdna_hf.model.{module}"), name):
            raise ValueError(f"{path}: {key} names {name}, and {module}.py has no such class")


def _check_code(path: Path) -> None:
    """The folder runs on the machine of whoever loads it: it is the code of this package, to the byte."""
    if path.read_bytes() != (_SOURCE / path.name).read_bytes():
        version = importlib.import_module("vqdna_hf").__version__
        raise ValueError(f"{path} is not the code of vqdna_hf {version}: export the model again")


def _check_tokenizer(path: Path) -> None:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # it knows no other class
        raise ValueError(f"{path} cannot be read: {error}") from error
    letters = IUPAC_LETTERS + IUPAC_LETTERS.lower()
    expected = [CLS_ID, *letters.encode().translate(BYTE_TO_ID), SEP_ID]
    if tokenizer.get_vocab() != {token: i for i, token in enumerate(VOCABULARY)} or (
        tokenizer.encode(letters).ids != expected
    ):
        raise ValueError(f"{path} does not give nucleotides the ids of this package: export the model again")


def _check_card(path: Path) -> None:
    try:
        metadata = metadata_load(path)
        if metadata:
            ModelCard.load(path)
    except Exception as error:  # YAML has an exception class of its own for each way to be wrong
        raise ValueError(f"{path}: the metadata cannot be read: {error}") from error
    if not metadata:
        raise ValueError(f"{path} has no metadata: a card begins with a block of YAML between two lines `---`")


def _check_weights(folder: Path, config: dict[str, Any]) -> None:
    """All tensors that the configuration asks for are there, in their shapes, and the codebooks hold a vocabulary."""
    index = folder / _INDEX
    files = sorted(path.name for path in folder.iterdir() if _WEIGHTS.fullmatch(path.name))
    if not files:
        raise ValueError(f"{folder / 'model.safetensors'} is missing: a model is published with its weights")
    where = dict(_tensors(folder, files))
    if index.is_file():
        weight_map = _table(index, _read_json(index), "weight_map")
        if wrong := [name for name, file in weight_map.items() if not isinstance(file, str)]:
            raise ValueError(f"{index}: weight_map names no file for {wrong[0]}")
        if left_over := sorted(set(files) - set(weight_map.values())):
            raise ValueError(f"{folder / left_over[0]} is not named in {_INDEX}: it is of another export")
        for name, file in weight_map.items():
            if where.get(name, (None, None))[0] != file:
                raise ValueError(f"{index} says that {name} is in {file}, and it is not")
    elif files != ["model.safetensors"]:
        raise ValueError(f"{index} is missing beside {files[0]}: the shards cannot be put together without it")
    expected = _expected_tensors(folder / "config.json", config)
    if not config.get("quantization_config"):  # which renames tensors
        for name, shape in expected.items():
            if name not in where:
                raise ValueError(f"{folder}: the weights hold no tensor {name}, which config.json asks for")
            if where[name][1] != shape:
                file, found = where[name]
                raise ValueError(f"{folder / file}: {name} has the shape {found}, and config.json asks for {shape}")
    for name in expected:
        if ".codebooks." in name and name in where:
            _check_codebook(folder / where[name][0], name)


def _tensors(folder: Path, files: list[str]) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    """(tensor, (file, shape)) by the headers, which also say whether a file is as long as it should be."""
    for file in files:
        try:
            with safe_open(folder / file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118  safe_open is no dictionary
                    yield name, (file, tuple(weights.get_slice(name).get_shape()))
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{folder / file}: the weights cannot be read: {error}") from error


def _expected_tensors(path: Path, config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of the class that was saved; built without memory, on the meta device."""
    cls = saved_class(path, config)
    for key in ("id2label", "label2id", "quantization_config"):
        _table(path, config, key)
    try:
        with torch.device("meta"):
            model = cls(cls.config_class.from_dict(config))
    except Exception as error:  # a value of the wrong type may fail anywhere
        raise ValueError(f"{path}: no {cls.__name__} can be made of it: {textwrap.shorten(str(error), 300)}") from error
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tuple(value.shape) for name, value in model.state_dict().items() if name not in tied}


def _check_codebook(path: Path, name: str) -> None:
    with safe_open(path, framework="pt") as weights:
        value = weights.get_tensor(name)
    if not bool(torch.isfinite(value).all()):
        raise ValueError(f"{path}: {name} holds NaN or infinity: this codebook is no vocabulary")
    if name.endswith(".initialized") and not bool(value):
        raise ValueError(f"{path}: {name} is 0: this codebook was never trained; train the codec first (stage 1)")
