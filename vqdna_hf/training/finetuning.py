"""What fine-tuning needs around a model: loading that refuses, a random control, adapters."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

logger = logging.getLogger(__name__)

LORA_TARGETS = ("Wqkv", "Wo", "Wi")
"""The linear layers of the backbone: attention in and out, MLP in and out."""


HEAD = ("classifier.", "head.")
"""The parameters that fine-tuning starts anew when the folder has none for its labels."""


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
            raise ValueError(f"{folder} holds a model of type {found}, and one of type {wanted} is needed here")


def load_config(config_class: type[PreTrainedConfig], path: str | PathLike) -> PreTrainedConfig:
    """Load a model's configuration alone; the errors are those of `load_pretrained`."""
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
    """
    _check_folder(Path(path), cls.config_class.model_type)
    try:
        with _quiet_loading():
            model, info = cls.from_pretrained(path, output_loading_info=True, ignore_mismatched_sizes=True, **overrides)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: the weights cannot be read: {error}") from error
    except OSError as error:
        raise ValueError(f"{path}: {_no_folder(error)}") from error
    mismatched = [key[0] for key in info["mismatched_keys"]]
    absent = sorted([*info["missing_keys"], *mismatched])
    # Heads of another task are left over on purpose; layers of the model itself mean another configuration.
    left_over = [name for name in info["unexpected_keys"] if name.startswith(("vqdna.", "encoder.", "decoder."))]
    wrong = [name for name in absent if not name.startswith(tuple(new))] + sorted(left_over)
    if wrong and all(name.startswith(HEAD) for name in wrong):
        raise ValueError(f"{path}: there is no trained classifier for these labels: train it first (--do_train)")
    if wrong:
        raise ValueError(
            f"{path}: the weights do not fit the configuration: {', '.join(wrong[:3])} "
            f"({len(wrong)} tensors) missing, left over, or of another shape"
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
    """
    fresh = type(model)(model.config)
    codec = fresh.vqdna.codec
    codec.train()
    with torch.no_grad():
        codec(input_ids)
    fresh.train(model.training)  # freezes the codec again, if the configuration says so
    return fresh


def freeze_codec(model: PreTrainedModel) -> None:
    """Keep the codec still, codebooks included: they are buffers, which `requires_grad_(False)` does not stop."""
    model.vqdna.config.freeze_codec = True
    model.vqdna.train(model.training)


def add_lora(
    model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: Sequence[str] | None = None
) -> nn.Module:
    """Put low-rank adapters on the backbone; the head is trained in full and saved with them.

    The codec is frozen: adapters save parameters only, and codebooks that move would be lost.

    Args:
        model: a sequence or token classifier.
        rank, alpha, dropout: of the adapters.
        targets: names of linear layers; default `LORA_TARGETS`.

    Raises:
        ValueError: if `peft` is not installed, or a target matches no module.
    """
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise ValueError("--use_lora needs PEFT: pip install 'vqdna_hf[peft]'") from error
    targets = [target.strip() for target in (targets or LORA_TARGETS)]
    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.vqdna.backbone.named_modules()
        if isinstance(module, nn.Linear)
    }
    if unknown := [target for target in targets if target not in linear]:
        raise ValueError(f"LoRA targets {unknown} match no module; this backbone has {sorted(linear)}")
    freeze_codec(model)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        modules_to_save=["head", "classifier"],
    )
    return get_peft_model(model, config)
