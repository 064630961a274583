"""Write a model as one self-contained Hub folder: weights, code, tokenizer, card."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from vqdna_hf.data.files import atomic_folder, write_text
from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.handler import EndpointHandler
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel, broken_codebooks
from vqdna_hf.model.tokenization_vqdna import build_tokenizer


def check_export_folder(folder: str | Path) -> None:
    """Refuse a place for an export that holds something else than an earlier export.

    Raises:
        ValueError: if `folder` is a file, or a folder with content but without a configuration of this package.

    Example:

    >>> check_export_folder("a/place/that/is/free")
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        model_type = json.loads((folder / "config.json").read_text()).get("model_type")
    except (OSError, ValueError):
        model_type = None
    if model_type not in (VQDNAConfig.model_type, VQDNACodecConfig.model_type):
        raise ValueError(f"{folder} is there already and is no earlier export: choose another place, or move it away")


def _refuse_broken(model: PreTrainedModel) -> None:
    if broken := broken_codebooks(model):
        raise ValueError(f"{broken[0]}: this codebook is no vocabulary")
    untrained = [
        name.removesuffix(".initialized")
        for name, value in model.named_buffers()
        if name.endswith(".initialized") and not bool(value)
    ]
    if untrained:
        raise ValueError(f"{', '.join(untrained)}: this codebook was never trained; train the codec first (stage 1)")


def _refuse_other_codec(model: PreTrainedModel, codec: VQDNACodecModel) -> None:
    """The full codec beside a language model must have the encoder and codebooks that the language model reads with."""
    if getattr(model.config, "model_type", None) != VQDNAConfig.model_type:
        raise ValueError("codec is for the export of a language model: a codec is exported whole")
    theirs, ours = codec.encoder.state_dict(), model.base_model.codec.state_dict()
    for name in sorted(theirs.keys() | ours.keys()):
        if name not in theirs or name not in ours or not _same_bits(theirs[name], ours[name]):
            raise ValueError(
                f"codec.{name} of the model is not encoder.{name} of the given codec: "
                "give the codec that the model was made from, or leave it out"
            )


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.cpu(), other.cpu())


def export(
    model: PreTrainedModel,
    folder: str | Path,
    card: str | None = None,
    *,
    codec: VQDNACodecModel | None = None,
    max_shard_size: int | str | None = None,
) -> None:
    """Write `folder` so that it loads with the Auto classes where this package is not installed.

    It holds `config.json`, the weights (safetensors), the tokenizer, the code of models and pipeline, and `handler.py`
    for Inference Endpoints. The folder is written beside its place and moved there when it is whole; an older one is
    replaced.

    Args:
        model: any class of this package, the codec included.
        folder: of the result. Its parent is made if need be.
        card: the text of `README.md`; default: none.
        codec: the whole codec of a language model, which itself holds its encoder only. It is written to the subfolder
            `codec`, without code of its own: `AutoModel.from_pretrained(folder, subfolder="codec",
            trust_remote_code=True)` loads it, `decode` included.
        max_shard_size: of one file of weights, in bytes or as `"5GB"`; default: Transformers'.

    Raises:
        ValueError: if a codebook was never trained or holds NaN: such a model has no vocabulary; if a tensor of
            `codec` is not the model's; or if `folder` holds something else than an earlier export.

    Example:

    >>> import tempfile
    >>> config = VQDNACodecConfig(
    ...     hidden_size=16, stem_size=8, num_blocks=2, tap_positions=[1, 2], codebook_sizes=[8, 16], codebook_dim=16
    ... )
    >>> codec = VQDNACodecModel(config).train()
    >>> output = codec(torch.randint(5, 9, (4, 40)))  # fills the codebooks
    >>> with tempfile.TemporaryDirectory() as parent:
    ...     export(codec, f"{parent}/codec", card="# My codec")
    ...     sorted(path.name for path in Path(parent, "codec").iterdir() if path.suffix in (".safetensors", ".md"))
    ['README.md', 'model.safetensors']
    """
    check_export_folder(folder)
    _refuse_broken(model)
    if codec is not None:
        _refuse_other_codec(model, codec)
    sharding: dict[str, Any] = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary, **sharding)
        if codec is not None:
            codec.save_pretrained(temporary / "codec", **sharding)
            (temporary / "codec").chmod(0o755)
            for code in (temporary / "codec").glob("*.py"):
                code.unlink()  # the loader takes it from the root
        build_tokenizer(getattr(model.config, "max_input_tokens", 8192)).save_pretrained(temporary)
        shutil.copyfile(inspect.getfile(EndpointHandler), temporary / "handler.py")
        if card is not None:
            write_text(temporary / "README.md", card)
