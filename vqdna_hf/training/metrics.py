"""Metrics of stages 1 and 2 as sums: added up over batches and processes, divided once, never averaged over batches."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
from vqdna_hf.model.modeling_vqdna_codec import IGNORED, window_targets
from vqdna_hf.model.patching_vqdna import lay_out
from vqdna_hf.model.quantization_vqdna import NO_CODE, code_counts, usage_and_perplexity
from vqdna_hf.model.tokenization_vqdna import (
    FIRST_NUCLEOTIDE_ID,
    MASK_ID,
    NUM_NUCLEOTIDES,
    is_nucleotide,
    is_sequence_position,
)

Sums = dict[str, Tensor]
SumsFunction = Callable[[Mapping[str, Tensor], Any, Any], Sums]
MetricsFunction = Callable[[Sums], dict[str, float]]


def _weighted(loss: Tensor | None, weight: Tensor) -> Tensor:
    return torch.zeros_like(weight) if loss is None else loss.detach().float() * weight


@torch.no_grad()
def codec_sums(inputs: Mapping[str, Tensor], outputs: Any, config: VQDNACodecConfig) -> Sums:
    """Stage 1: what one batch adds.

    Args:
        inputs: `input_ids` and `attention_mask`, (B, L).
        outputs: of `VQDNACodecModel`: logits (B, L, 4), codes (B, Q, M), each for `codec_stride` nucleotides, and the
            parts of the loss where there are any.
        config: the codec's.

    Returns:
        Float tensors, scalars or (K,) histograms of codes; those of several batches are added and handed to
        `codec_metrics`.

    Example:

    >>> from vqdna_hf import VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[4, 8])
    >>> inputs = {"input_ids": torch.tensor([[2, 5, 6, 7, 3]]), "attention_mask": torch.ones(1, 5)}
    >>> sums = codec_sums(inputs, VQDNACodecModel(config).eval()(**inputs), config)
    >>> sums["positions"].item(), sums["codes_level1"].sum().item(), sums["codes_level2"].shape
    (3.0, 3.0, torch.Size([8]))
    """
    input_ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    clean = is_nucleotide(input_ids) & mask
    targets = torch.where(clean, input_ids - FIRST_NUCLEOTIDE_ID, IGNORED)
    positions = clean.sum().float()
    patches = lay_out(input_ids, mask, config.codec_stride)
    counted = patches.any(clean)
    sums = {
        "positions": positions,
        "patches": counted.sum().float(),
        "correct": ((outputs["logits"].argmax(-1) == targets) & clean).sum().float(),
        "reconstruction_loss": _weighted(outputs.get("reconstruction_loss"), positions),
    }
    sums["commitment_loss"] = _weighted(outputs.get("commitment_loss"), sums["patches"])
    if outputs.get("distillation_loss") is not None:
        sums["distillation_loss"] = _weighted(outputs["distillation_loss"], sums["patches"])
    if config.objective != "reconstruction":
        # Positions without a nucleotide of their own see neighbours too; how many depends on the padding.
        wanted = window_targets(patches.to_grid(targets, IGNORED), config.window_radius, patches.stride)
        logits = outputs["window_logits"].float()
        sums["window_loss"] = F.cross_entropy(
            logits.flatten(0, -2), wanted.flatten(), ignore_index=IGNORED, reduction="sum"
        )
        sums["window_positions"] = (wanted != IGNORED).sum().float()
        sums["window_correct"] = (logits.argmax(-1) == wanted).sum().float()
    codes = torch.where(counted.unsqueeze(1), outputs["codes"], NO_CODE)
    for level, size in enumerate(config.codebook_sizes or ()):
        sums[f"codes_level{level + 1}"] = code_counts(codes[:, level], size)
    return sums


def codec_metrics(sums: Sums) -> dict[str, float]:
    """Stage 1: reconstruction accuracy, loss parts, and per level codebook usage and perplexity.

    Args:
        sums: what `codec_sums` gave, added over all batches and processes.

    Returns:
        Plain numbers, divided once; codebook usage is a share of the entries, perplexity a number of entries.

    Example:

    >>> sums = {name: torch.tensor(4.0) for name in ("positions", "patches", "reconstruction_loss")}
    >>> sums |= {"commitment_loss": torch.tensor(1.0), "correct": torch.tensor(3.0)}
    >>> metrics = codec_metrics(sums | {"codes_level1": torch.tensor([2.0, 2.0, 0.0])})
    >>> metrics["reconstruction_accuracy"], round(metrics["codebook_perplexity_level1"], 3)
    (0.75, 2.0)
    """
    positions = max(sums["positions"].item(), 1.0)
    metrics = {
        "reconstruction_accuracy": sums["correct"].item() / positions,
        "reconstruction_loss": sums["reconstruction_loss"].item() / positions,
        "commitment_loss": sums["commitment_loss"].item() / max(sums["patches"].item(), 1.0),
    }
    if "distillation_loss" in sums:
        metrics["distillation_loss"] = sums["distillation_loss"].item() / max(sums["patches"].item(), 1.0)
    if "window_loss" in sums:
        wanted = max(sums["window_positions"].item(), 1.0)
        metrics["window_loss"] = sums["window_loss"].item() / wanted
        metrics["window_accuracy"] = sums["window_correct"].item() / wanted
    for name, counts in sums.items():
        if name.startswith("codes_"):
            usage, perplexity = usage_and_perplexity(counts)
            metrics[f"codebook_usage_{name[6:]}"] = usage.item()
            metrics[f"codebook_perplexity_{name[6:]}"] = perplexity.item()
    return metrics


@torch.no_grad()
def masked_lm_sums(inputs: Mapping[str, Tensor], outputs: Any, config: Any) -> Sums:
    """Stage 2: what one batch adds.

    Only positions whose nucleotide the model could not see are counted: those that show `[MASK]`. The share of the
    labelled positions that the collator leaves unchanged would lift any model that copies.

    Args:
        inputs: `input_ids` and `labels`, (B, L).
        outputs: of `VQDNAForMaskedLM`: logits (B, L, V), and code logits and targets where there are any.
        config: the model's.

    Returns:
        Float tensors; those of several batches are added and handed to `masked_lm_metrics`.

    Example:

    >>> from types import SimpleNamespace
    >>> inputs = {"input_ids": torch.tensor([[2, 4, 6, 3]]), "labels": torch.tensor([[-100, 5, 6, -100]])}
    >>> outputs = {"logits": F.one_hot(torch.tensor([[0, 5, 6, 0]]), 10).float()}
    >>> sums = masked_lm_sums(inputs, outputs, SimpleNamespace(mask_level="nucleotide"))
    >>> sums["masked"].item(), sums["masked_correct"].item(), sums["bases"].tolist()
    (1.0, 1.0, [1.0, 0.0, 0.0, 0.0])
    """
    labels, input_ids = inputs["labels"], inputs["input_ids"]
    labelled = labels != IGNORED
    hidden = labelled if config.mask_level == "code" else labelled & (input_ids == MASK_ID)
    targets = labels[hidden]
    logits = outputs["logits"][hidden].float()
    sums = {
        "positions": is_nucleotide(torch.where(labelled, labels, input_ids)).sum().float(),
        "masked": hidden.sum().float(),
        "masked_correct": (logits.argmax(-1) == targets).sum().float(),
        "nucleotide_loss": F.cross_entropy(logits, targets, reduction="sum"),
        "bases": code_counts(targets - FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES),
    }
    if outputs.get("code_logits") is not None:
        # One row a code with a labelled nucleotide, in the order of the batch; it counts if one of them is hidden.
        stride = getattr(getattr(config, "codec_config", None), "codec_stride", 1)
        patches = lay_out(input_ids, inputs.get("attention_mask"), stride)
        rows = patches.any(hidden)[patches.any(labelled) & is_sequence_position(patches.first_ids)]
        sums["masked_codes"] = rows.sum().float()
        code_targets = outputs["code_targets"][rows]
        code_loss = torch.zeros((), device=labels.device)
        for level, level_logits in enumerate(outputs["code_logits"]):
            level_logits, target = level_logits[rows].float(), code_targets[:, level]
            code_loss += F.cross_entropy(level_logits, target, reduction="sum")
            sums[f"code_correct_level{level + 1}"] = (level_logits.argmax(-1) == target).sum().float()
        sums["code_loss"] = code_loss / len(outputs["code_logits"])
    return sums


def masked_lm_metrics(sums: Sums) -> dict[str, float]:
    """Stage 2: masked nucleotide accuracy beside that of always saying the commonest base; codes per level.

    Args:
        sums: what `masked_lm_sums` gave, added over all batches and processes.

    Returns:
        Plain numbers, divided once; `mlm_perplexity` is exp of the mean loss on masked nucleotides.

    Example:

    >>> sums = {"masked": torch.tensor(4.0), "masked_correct": torch.tensor(2.0)}
    >>> sums |= {"nucleotide_loss": torch.tensor(4 * math.log(3)), "bases": torch.tensor([1.0, 3.0, 0.0, 0.0])}
    >>> metrics = masked_lm_metrics(sums)
    >>> metrics["masked_accuracy"], metrics["commonest_base_accuracy"], round(metrics["mlm_perplexity"], 3)
    (0.5, 0.75, 3.0)
    """
    masked = max(sums["masked"].item(), 1.0)
    loss = sums["nucleotide_loss"].item() / masked
    metrics = {
        "masked_accuracy": sums["masked_correct"].item() / masked,
        "commonest_base_accuracy": sums["bases"].max().item() / masked,
        "nucleotide_loss": loss,
        "mlm_perplexity": math.exp(min(loss, 50.0)),
    }
    if "code_loss" in sums:
        codes = max(sums["masked_codes"].item(), 1.0)
        metrics["code_loss"] = sums["code_loss"].item() / codes
        for name, value in sums.items():
            if name.startswith("code_correct_"):
                metrics[f"code_accuracy_{name[13:]}"] = value.item() / codes
    return metrics
