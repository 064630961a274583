"""Write a model as one self-contained Hub folder: weights, code, tokenizer, card."""

from pathlib import Path

from transformers import PreTrainedModel

from vqdna_hf.data.files import atomic_folder, write_text
from vqdna_hf.model.tokenization_vqdna import build_tokenizer


def export(model: PreTrainedModel, folder: str | Path, card: str | None = None) -> None:
    """Write `folder` so that it loads with the Auto classes where this package is not installed.

    The folder is written beside its place and moved there when it is whole; an older one is replaced.

    Args:
        model: any class of this package, the codec included.
        folder: of the result. Its parent is made if need be.
        card: the text of `README.md`; default: none.

    Raises:
        ValueError: if a codebook was never trained: such a model has no vocabulary.
    """
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
