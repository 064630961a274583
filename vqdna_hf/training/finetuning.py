"""What fine-tuning needs around a model: loading that refuses, a random control, adapters."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from vqdna_hf.data.files import write_json
from vqdna_hf.model.configuration_vqdna import LORA_TARGETS, VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.modeling_vqdna_codec import VQDNACheckpointError

logger = logging.getLogger(__name__)

HEAD = ("classifier.", "head.")
"""The parameters that fine-tuning starts anew when the folder has none for its labels."""

ADAPTERS = "adapter_model.safetensors"
ADAPTED_CONFIG = "model_config.json"
"""Beside adapters: the configuration of the model they were trained in."""


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without Transformers' report about heads: what it would warn of is refused or told in one line here."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)


def _no_folder(error: OSError) -> str:
    return f"no such folder in {Path.cwd()}, and as a Hub id it cannot be had: {str(error).splitlines()[0]}"


def _check_folder(folder: Path, wanted: str) -> None:
    """Refuse what is plainly no model of the wanted type, before the Hub is asked for it."""
    if not folder.is_dir() and (folder.is_absolute() or len(folder.parts) != 2 or ".." in folder.parts):
        raise ValueError(f"{folder}: no such model folder (in {Path.cwd()}), and no Hub id (organisation/name)")
    if folder.is_dir() and not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        raise ValueError(f"{folder}: not a model's folder: it holds no config.json")
    if (folder / "config.json").is_file():
        found = json.loads((folder / "config.json").read_text()).get("model_type")
        if found != wanted:
            raise ValueError(
                f"{folder} holds a model of type {found}, and one of type {wanted} is needed here"
                f"{_way_out(found, folder)}"
            )


def _way_out(found: Any, folder: Path) -> str:
    if found == VQDNACodecConfig.model_type:  # the vocabulary alone: an easy mistake
        return f": make a language model of this codec first (vqdna pretrain --codec_path {folder}), and give that"
    if found == VQDNAConfig.model_type:
        return ": give the folder of stage 1 (vqdna learn-vocabulary)"
    return ""


def load_config(config_class: type[PreTrainedConfig], path: str | PathLike) -> PreTrainedConfig:
    """Load a model's configuration alone; the errors are those of `load_pretrained`.

    Example:

    >>> import tempfile
    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> load_config(VQDNAConfig, tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...: not a model's folder: it holds no config.json
    """
    _check_folder(Path(path), config_class.model_type)
    try:
        return config_class.from_pretrained(path)
    except OSError as error:
        raise ValueError(f"{path}: {_no_folder(error)}") from error


def load_pretrained(
    cls: type[PreTrainedModel], path: str | PathLike, new: Sequence[str] = (), **overrides: Any
) -> PreTrainedModel:
    """Load a model and refuse a folder whose weights and configuration disagree.

    Args:
        cls: the class to load.
        path: a folder or Hub id.
        new: prefixes of the parameters that may start anew, such as `HEAD`; the others must be there and fit.
        overrides: keys of the configuration; with another `num_labels` the classifier starts anew.

    Raises:
        ValueError: if there is no such folder, its weights cannot be read, or are missing, left over, or of another
            shape.

    Example:

    >>> import tempfile
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAModel
    >>> load_pretrained(VQDNAModel, tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...: not a model's folder: it holds no config.json
    """
    _check_folder(Path(path), cls.config_class.model_type)
    try:
        with _quiet_loading():
            model, info = cls.from_pretrained(path, output_loading_info=True, ignore_mismatched_sizes=True, **overrides)
    except VQDNACheckpointError:
        raise
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights cannot be read: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: {_no_folder(error)}") from error
    # `from_pretrained` has refused the rest; here a new head must be wanted, and other shapes are for heads alone.
    absent = sorted([*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])])
    wrong = [name for name in absent if not name.startswith(tuple(new))]
    if wrong and all(name.startswith(HEAD) for name in wrong):
        raise ValueError(f"{path}: there is no trained classifier for these labels: train it first (--do_train)")
    if wrong:
        raise ValueError(
            f"{path}: the weights do not fit the configuration: {', '.join(wrong[:3])} ({len(wrong)} tensors) missing, "
            "or of another shape"
        )
    if absent:
        logger.info("new weights: %s", ", ".join(absent))
    return model


def random_initialization(model: PreTrainedModel, input_ids: Tensor) -> PreTrainedModel:
    """The same architecture with random weights: the control that says what pre-training is worth.

    Codebooks are filled with the random encoder's latents of `input_ids`, as a first training batch would fill
    them: with an empty codebook the control would be a straw man.

    Args:
        model: gives class and configuration.
        input_ids: (B, L) nucleotide ids of some training sequences.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAForSequenceClassification
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForSequenceClassification(config)
    >>> control = random_initialization(model, torch.randint(5, 9, (4, 32)))
    >>> [bool(book.initialized) for book in control.vqdna.codec.quantizer.codebooks]
    [True, True]
    """
    fresh = type(model)(model.config)
    codec = fresh.vqdna.codec
    codec.train()
    with torch.no_grad():
        codec(input_ids)
    fresh.train(model.training)  # freezes the codec again, if the configuration says so
    return fresh


def freeze_codec(model: PreTrainedModel) -> None:
    """Keep the codec still, codebooks included: they are buffers, which `requires_grad_(False)` does not stop.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAForSequenceClassification
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForSequenceClassification(config)
    >>> model.config.freeze_codec = False
    >>> freeze_codec(model.train())
    >>> model.vqdna.codec.training, any(weight.requires_grad for weight in model.vqdna.codec.parameters())
    (False, False)
    """
    model.base_model.config.freeze_codec = True
    model.base_model.train(model.training)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ValueError("adapters (--use_lora) need PEFT: pip install 'vqdna_hf[peft]'") from error
    return peft


def lora_config(
    model: PreTrainedModel,
    rank: int = 8,
    alpha: int = 32,
    dropout: float = 0.05,
    targets: str | Sequence[str] | None = None,
) -> Any:
    """The `peft.LoraConfig` that fits a model, for those who use PEFT themselves.

    It adapts four layers in each of the backbone's: attention in and out, MLP in and out. Of a classifier, the head is
    trained in full and saved along. A base from the Hub is recorded with its revision.

    Args:
        model: any model of this package but the codec.
        rank, alpha, dropout: of the adapters.
        targets: names of linear layers of the backbone; default `LORA_TARGETS`.

    Raises:
        ValueError: if `peft` is not installed, the model is a codec or has adapters already, or a target matches no
            layer of the backbone.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAForTokenClassification
    >>> model = VQDNAForTokenClassification(VQDNAConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    >>> config = lora_config(model, rank=4)
    >>> config.task_type.value, sorted(config.target_modules), config.modules_to_save
    ('TOKEN_CLS', ['Wi', 'Wo', 'Wqkv'], ['head', 'classifier'])
    """
    peft = _peft()
    backbone = getattr(getattr(model, "base_model", None), "backbone", None)
    if backbone is None:
        raise ValueError(
            f"{type(model).__name__} has no backbone to adapt: give a language model of this package, without adapters "
            "(merge those that are there: merge_and_unload)"
        )
    targets = [targets] if isinstance(targets, str) else list(targets or LORA_TARGETS)
    targets = [target.strip() for target in targets]
    linear = {name.rsplit(".", 1)[-1] for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
    if unknown := [target for target in targets if target not in linear]:
        raise ValueError(f"LoRA targets {unknown} match no module; this backbone has {sorted(linear)}")
    kinds = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
    # PEFT has no word for masked language models: there it takes the class down instead.
    task = next((task for ending, task in kinds.items() if type(model).__name__.endswith(ending)), None)
    if task is None and model.base_model is model:
        task = "FEATURE_EXTRACTION"
    return peft.LoraConfig(
        task_type=peft.TaskType(task) if task else None,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        modules_to_save=[prefix.rstrip(".") for prefix in reversed(HEAD)] if hasattr(model, "classifier") else None,
        revision=getattr(model.config, "_commit_hash", None),
    )


def add_lora(
    model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: str | Sequence[str] | None = None
) -> Any:
    """Put low-rank adapters on the backbone, and give the `peft.PeftModel`; see `lora_config` for arguments and errors.

    The codec is frozen: adapters save parameters only, and codebooks that move would be lost.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAForSequenceClassification
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForSequenceClassification(config)
    >>> adapted = add_lora(model, rank=4, alpha=8, dropout=0.0)
    >>> sum(hasattr(module, "lora_A") for module in adapted.modules())  # four a layer
    8
    """
    config = lora_config(model, rank, alpha, dropout, targets)
    freeze_codec(model)
    return _peft().get_peft_model(model, config)


def save_adapted_config(model: nn.Module, folder: str | PathLike) -> None:
    """Write down the configuration that adapters were trained with, which PEFT does not keep.

    Labels, pooling and strands are the model's and not the adapters': the base's own configuration knows others.
    `VQDNATrainer` calls this whenever it saves adapters.

    Args:
        model: with or without adapters.
        folder: of the adapters; gets `model_config.json`.

    Example:

    >>> import tempfile
    >>> from types import SimpleNamespace
    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> folder = tempfile.mkdtemp()
    >>> save_adapted_config(SimpleNamespace(config=VQDNAConfig(num_labels=5)), folder)
    >>> len(json.loads((Path(folder) / ADAPTED_CONFIG).read_text())["id2label"])
    5
    """
    values = model.config.to_dict()
    for name in ("auto_map", "custom_pipelines", "_name_or_path"):
        values.pop(name, None)
    write_json(Path(folder) / ADAPTED_CONFIG, values)


def load_adapter(cls: type[PreTrainedModel], path: str | PathLike, is_trainable: bool = False, **overrides: Any) -> Any:
    """Load adapters on their base, with the labels, the pooling and the strands they were trained with.

    `AutoPeftModelForSequenceClassification.from_pretrained(path)` does the same where the base's own configuration
    fits; otherwise it must be told: `num_labels=5`, and `ignore_mismatched_sizes=True` if the base has a classifier for
    other labels; `classifier_pooling` and `average_strands` too, without which it answers otherwise, silently.

    Args:
        cls: the class of the model.
        path: the adapters' folder. Its base is found as `adapter_config.json` names it.
        is_trainable: whether to go on training.
        overrides: keys of the configuration.

    Returns:
        The `peft.PeftModel`.

    Raises:
        ValueError: if `path` holds no adapters, or as `load_pretrained` for the base; if a tensor of the adapters is
            missing or holds NaN or infinity. Pickled adapters (`adapter_model.bin`) are not read.

    Example:

    >>> import tempfile
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAForSequenceClassification
    >>> load_adapter(VQDNAForSequenceClassification, tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...: holds no adapters (there is no adapter_config.json)
    """
    peft, folder = _peft(), Path(path)
    if not (folder / "adapter_config.json").is_file():
        raise ValueError(f"{folder}: holds no adapters (there is no adapter_config.json)")
    if not (folder / ADAPTERS).is_file():
        raise ValueError(f"{folder}: holds no {ADAPTERS}: adapters are read from safetensors alone, never from pickles")
    adapter = json.loads((folder / "adapter_config.json").read_text())
    if (folder / ADAPTED_CONFIG).is_file():
        values = json.loads((folder / ADAPTED_CONFIG).read_text())
        overrides = {"config": cls.config_class.from_dict({**values, **overrides})}
    elif (labels := _labels_of_adapter(folder)) is not None:
        overrides = {"num_labels": labels, **overrides}
    base = adapter["base_model_name_or_path"]
    if not base:
        raise ValueError(f"{folder / 'adapter_config.json'} names no base_model_name_or_path: load the base yourself")
    if adapter.get("revision"):
        overrides["revision"] = adapter["revision"]
    model = load_pretrained(cls, base, HEAD, **overrides)
    try:
        adapted = peft.PeftModel.from_pretrained(model, folder, is_trainable=is_trainable)
    except (KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / ADAPTERS} does not fit {cls.__name__} on {base}: {error}") from error
    _check_adapters(peft.get_peft_model_state_dict(adapted), folder)
    return adapted


def _check_adapters(expected: dict[str, Tensor], folder: Path) -> None:
    """PEFT warns of a missing tensor and leaves it at its random start."""
    with safe_open(folder / ADAPTERS, framework="pt") as tensors:
        there = set(tensors.keys())
    for name, value in expected.items():
        if name not in there:
            raise ValueError(f"{folder / ADAPTERS}: {name} is missing: get the folder anew from where it was saved")
        if not value.isfinite().all():
            raise ValueError(f"{folder / ADAPTERS}: {name} holds NaN or infinity")


def _labels_of_adapter(folder: Path) -> int | None:
    """How many labels the classifier saved with the adapters has, if there is one."""
    with safe_open(folder / ADAPTERS, framework="pt") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys() if name.endswith("classifier.weight")]  # noqa: SIM118
    return shapes[0][0] if shapes else None
