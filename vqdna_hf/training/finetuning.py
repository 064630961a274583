"""What fine-tuning needs around a model: loading that refuses, a random control, adapters."""

import logging
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

LORA_TARGETS = ("Wqkv", "Wo", "Wi")
"""The linear layers of the backbone: attention in and out, MLP in and out."""


def load_pretrained(cls: type[PreTrainedModel], path: str | PathLike, **overrides: Any) -> PreTrainedModel:
    """Load a model and refuse a folder whose weights and configuration disagree.

    Args:
        cls: the class to load.
        path: a folder or Hub id.
        overrides: keys of the configuration; with another `num_labels` the classifier starts anew.

    Raises:
        ValueError: if weights other than a new head's are missing, or a shape differs.
    """
    try:
        model, info = cls.from_pretrained(path, output_loading_info=True, ignore_mismatched_sizes=True, **overrides)
    except RuntimeError as error:
        raise ValueError(f"{path}: {error}") from error
    head = ("classifier.", "head.")
    mismatched = [key[0] for key in info["mismatched_keys"]]
    wrong = [name for name in [*info["missing_keys"], *mismatched] if not name.startswith(head)]
    if wrong:
        raise ValueError(
            f"{path}: the weights do not fit the configuration: {', '.join(sorted(wrong)[:3])} "
            f"({len(wrong)} tensors) missing or of another shape"
        )
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


def add_lora(
    model: PreTrainedModel, rank: int, alpha: int, dropout: float, targets: Sequence[str] | None = None
) -> nn.Module:
    """Put low-rank adapters on the backbone; the head is trained in full and saved with them.

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
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        modules_to_save=["head", "classifier"],
    )
    return get_peft_model(model, config)
