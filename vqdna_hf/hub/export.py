"""Write a model as one self-contained Hub folder: weights, code, tokenizer, card."""

import json
from pathlib import Path

from transformers import PreTrainedModel

from vqdna_hf.data.files import atomic_folder, write_text
from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.tokenization_vqdna import build_tokenizer


def check_export_folder(folder: str | Path) -> None:
    """Refuse a place for an export that holds something else than an earlier export.

    Raises:
        ValueError: if `folder` is a file, or a folder with content but without a configuration of this package.
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


def export(model: PreTrainedModel, folder: str | Path, card: str | None = None) -> None:
    """Write `folder` so that it loads with the Auto classes where this package is not installed.

    The folder is written beside its place and moved there when it is whole; an older one is replaced.

    Args:
        model: any class of this package, the codec included.
        folder: of the result. Its parent is made if need be.
        card: the text of `README.md`; default: none.

    Raises:
        ValueError: if a codebook was never trained: such a model has no vocabulary; or if `folder` holds something
            else than an earlier export.
    """
    check_export_folder(folder)
    untrained = [
        name.removesuffix(".initialized")
        for name, value in model.named_buffers()
        if name.endswith(".initialized") and not bool(value)
    ]
    if untrained:
        raise ValueError(f"{', '.join(untrained)}: this codebook was never trained; train the codec first (stage 1)")
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        build_tokenizer(getattr(model.config, "max_position_embeddings", 8192)).save_pretrained(temporary)
        if card is not None:
            write_text(temporary / "README.md", card)
