# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint ready to answer: in the class it was saved from, with the head that is needed, on its device."""

import copy
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from vqdna_hf.inference.batching import Batcher
from vqdna_hf.model.modeling_vqdna import (
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
)
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecEncoder, VQDNACodecModel
from vqdna_hf.training.finetuning import load_pretrained
from vqdna_hf.training.saved import merge_adapter, saved_class

Part = Literal["codec", "decoder", "backbone", "masked_lm", "sequence", "token"]

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What each part is called, and where a checkpoint that has it comes from.
_PARTS: dict[str, tuple[str, str]] = {
    "decoder": ("decoder", "give the codec of `vqdna learn-vocabulary`, or an export made with `--codec`"),
    "backbone": ("backbone", "give a model of `vqdna pretrain` or `vqdna finetune`"),
    "masked_lm": ("masked-LM head", "give a model of `vqdna pretrain`"),
    "sequence": ("classifier", "fine-tune it first: `vqdna finetune`"),
    "token": ("classifier of positions", "train a VQDNAForTokenClassification on it first"),
}
_HEADS: dict[str, type[PreTrainedModel]] = {
    "decoder": VQDNACodecModel,
    "masked_lm": VQDNAForMaskedLM,
    "sequence": VQDNAForSequenceClassification,
    "token": VQDNAForTokenClassification,
}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model in `eval()`, on its device.

    Args:
        name: what it was loaded by.
        model: in the class it was saved from; adapters are merged.
        device: where it is.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8], tap_positions=[6])
    >>> Checkpoint("codec", VQDNACodecModel(config).eval(), torch.device("cpu")).codebook_sizes
    [8]
    """

    name: str
    model: PreTrainedModel
    device: torch.device

    @property
    def is_codec(self) -> bool:
        """Whether it is a codec alone."""
        return isinstance(self.model, VQDNACodecModel)

    @property
    def encoder(self) -> VQDNACodecEncoder:
        """The codec's encoder with its codebooks."""
        return self.model.encoder if self.is_codec else self.model.base_model.codec

    @property
    def codec_config(self) -> Any:
        """The codec's configuration."""
        return self.encoder.config

    @property
    def codebook_sizes(self) -> list[int]:
        """K of each level, coarse to fine."""
        return list(self.codec_config.codebook_sizes)

    @property
    def longest_window(self) -> int | None:
        """Nucleotides that are read at once at most; None for a codec, which has no limit."""
        return None if self.is_codec else int(self.model.config.max_input_tokens) - 2

    @property
    def bases_per_code(self) -> int:
        """s, how many nucleotides a code stands for."""
        return int(self.codec_config.codec_stride)

    @property
    def codebooks_sha256(self) -> str:
        """A checksum of all code vectors, which are fp32 in every dtype: it tells one vocabulary from another."""
        digest = hashlib.sha256()
        for book in self.encoder.quantizer.codebooks:
            digest.update(book.embed.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def batcher(self, batch_bases: int | None = None) -> Batcher:
        """Batches for this model: of the size that is given, or that fits it."""
        codec = self.codec_config
        # Most of the work has one position for the nucleotides of a code; the stem and the answers have one for each.
        width, own = max(codec.expansion * codec.hidden_size, min(max(codec.codebook_sizes), 512)), codec.stem_size
        if not self.is_codec:
            config = self.model.config
            width, own = max(width, 3 * config.hidden_size, 2 * config.intermediate_size), max(own, config.hidden_size)
        return Batcher(batch_bases, self.device, max(width // self.bases_per_code, own))

    def describe(self) -> dict[str, Any]:
        """What tells it from others, for the record of a job: class, dtype, a checksum of configuration and weights."""
        digest = hashlib.sha256()
        config = self.model.config.to_dict()
        for name in ("_name_or_path", "transformers_version", "dtype", "auto_map", "custom_pipelines", "architectures"):
            config.pop(name, None)
        digest.update(repr(sorted(config.items(), key=lambda item: item[0])).encode())
        for name, value in sorted(self.model.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        return {
            "model": Path(self.name).name,
            "class": type(self.model).__name__,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "sha256": digest.hexdigest(),
        }

    def to_device(self, array: Any) -> Tensor:
        """Ids as an int64 tensor where the model is."""
        return torch.as_tensor(array).to(self.device, torch.int64, non_blocking=True)


def load_checkpoint(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    needs: Part = "codec",
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
) -> Checkpoint:
    """Load a checkpoint of this package, whatever it is, and make sure that it can do what is asked.

    Args:
        model: a folder of a run or an export, adapters (merged into their base), a Hub id, or a model in memory.
        needs: the part without which there is no answer. `codec` is in every checkpoint; `decoder` may also be in an
            export's subfolder `codec`.
        device: `auto` (a GPU where there is one, the process's own of several), or as in torch.
        dtype: `auto` (as saved), `float32`, `bfloat16` or `float16`. Codebooks stay fp32.

    Raises:
        ValueError: if there is no such checkpoint, it is damaged, lacks what is needed, or there is no such device.

    Example:

    >>> load_checkpoint("no/such/folder")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: no/such/folder: no such model folder (in ...), and no Hub id (organisation/name)
    """
    if isinstance(model, Checkpoint):
        _check_part(model.name, model.model, needs)
        return model
    place = _device(device)
    if dtype != "auto" and dtype not in _DTYPES:
        raise ValueError(f"dtype {dtype!r}: choose one of auto, {', '.join(_DTYPES)}")
    if isinstance(model, PreTrainedModel):
        loaded, name = model, model.config._name_or_path or type(model).__name__
        loaded = loaded if dtype == "auto" else copy.deepcopy(loaded).to(_DTYPES[dtype])  # the caller's stays
    else:
        name = os.fspath(model)
        loaded = _load(name, needs, {} if dtype == "auto" else {"dtype": _DTYPES[dtype]})
    _check_part(name, loaded, needs)
    return Checkpoint(name, loaded.eval().to(place), place)


def _load(name: str, needs: Part, options: dict[str, Any]) -> PreTrainedModel:
    folder = Path(name)
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return merge_adapter(folder, **options)
    if needs == "decoder" and (folder / "codec" / "config.json").is_file():
        return load_pretrained(VQDNACodecModel, folder / "codec", **options)
    if folder.is_dir() or len(folder.parts) != 2:
        return load_pretrained(_class_in(folder), folder, **options)
    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
    except OSError as error:
        problem = str(error).splitlines()[0]
        raise ValueError(f"{name}: no such folder, and as a Hub id it cannot be had: {problem}") from error
    return load_pretrained(saved_class(f"{name}: config.json", config), name, **options)


def _class_in(folder: Path) -> type[PreTrainedModel]:
    """The class that a local folder was saved from; what is no folder of a model is refused by the loader."""
    try:
        config, _ = PreTrainedConfig.get_config_dict(folder) if (folder / "config.json").is_file() else ({}, None)
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'} cannot be read: {' '.join(str(error).split())}") from error
    return saved_class(folder / "config.json", config) if config else VQDNAForMaskedLM


def _check_part(name: str, model: PreTrainedModel, needs: Part) -> None:
    if needs == "codec" or (needs == "backbone" and not isinstance(model, VQDNACodecModel)):
        return
    if needs in _HEADS and isinstance(model, _HEADS[needs]):
        return
    what, way_out = _PARTS[needs]
    raise ValueError(f"{name} has no {what} (it was saved as {type(model).__name__}): {way_out}")


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        return torch.device("cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device}: cannot be used here ({str(error).splitlines()[0]})") from error
    return place
