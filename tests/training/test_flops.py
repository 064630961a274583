# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The formula of model FLOPs beside what PyTorch counts while it runs."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
)
from vqdna_hf.data import MaskedNucleotideCollator, NucleotideCollator
from vqdna_hf.training import add_lora
from vqdna_hf.training.flops import StepFlops, forward_flops, measured_matrix_rate, model_flops

CODEC: dict[str, Any] = {
    "hidden_size": 32, "stem_size": 24, "codebook_dim": 40, "codebook_sizes": [64, 96], "num_blocks": 4,
    "tap_positions": [2, 4],
}  # fmt: skip
MODEL: dict[str, Any] = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}
ROWS, BASES = 4, 126


def batch(**labels: Any) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    items = [
        {"input_ids": torch.randint(5, 9, (BASES,), generator=generator).numpy(), "seed": row, **labels}
        for row in range(ROWS)
    ]
    if labels:
        return NucleotideCollator(token_labels=not isinstance(labels["labels"], int))(items)
    return MaskedNucleotideCollator(0.25)(items)


def counted(model: Any, inputs: dict[str, torch.Tensor], training: bool) -> float:
    """By PyTorch, a position: with eager attention, since it does not know the CPU's fused one."""
    if hasattr(model, "vqdna") or hasattr(model, "peft_config"):
        model.set_attn_implementation("eager")
    model.train(training)
    with FlopCounterMode(display=False) as counter:
        loss = model(**inputs).loss
        if training:
            loss.backward()
    total = counter.get_total_flops() / inputs["input_ids"].numel()
    if training:
        # It takes the gradient of a depth-wise kernel for that of a dense one.
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv1d) and module.groups > 1]
        trained = [module for module in convolutions if module.weight.requires_grad]
        stride = getattr(model.config, "codec_config", model.config).codec_stride
        total -= sum(2 * module.weight.numel() * (module.groups - 1) for module in trained) / stride
    return total


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("objective", ["reconstruction", "window"])
def test_codec(objective: str, stride: int) -> None:
    """Within 3 %, with the broken patches and special tokens that the formula leaves out: within 8."""
    config = VQDNACodecConfig(**CODEC, objective=objective, codec_stride=stride)
    inputs = batch(labels=0)
    inputs.pop("labels")
    wide = 0.03 if stride == 1 else 0.08
    for training in (False, True):
        expected = counted(VQDNACodecModel(config), inputs, training)
        assert model_flops(config, BASES + 2, training=training) == pytest.approx(expected, rel=wide), training


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"freeze_codec": False},
        {"mask_level": "code"},
        {"code_loss_weight": 0.0},
        {"codec_config": {"codec_stride": 4}},
    ],
    ids=str,
)
def test_masked_language_model(change: dict[str, Any]) -> None:
    config = VQDNAConfig(**{**MODEL, **change, "codec_config": {**CODEC, **change.get("codec_config", {})}})
    stride = config.codec_config.codec_stride
    share = 1 - 0.75**stride
    model = VQDNAForMaskedLM(config)
    for training in (False, True):
        expected = counted(model, batch(), training)
        found = model_flops(config, BASES + 2, training=training, labelled_share=share)
        assert found == pytest.approx(expected, rel=0.04 if stride == 1 else 0.1), training


def test_heads_strands_and_what_is_trained() -> None:
    config = VQDNAConfig(**MODEL, codec_config=CODEC, num_labels=3)
    tokens = VQDNAForTokenClassification(config)
    expected = counted(tokens, batch(labels=[1] * BASES), True)
    assert model_flops(config, BASES + 2, training=True, task="tokens") == pytest.approx(expected, rel=0.04)
    frozen, adapted = VQDNAForSequenceClassification(config), VQDNAForSequenceClassification(config)
    frozen.vqdna.requires_grad_(False)
    strands = VQDNAForSequenceClassification(VQDNAConfig(**{**config.to_dict(), "average_strands": True}))
    for model in (VQDNAForSequenceClassification(config), frozen, add_lora(adapted, 2, 4, 0.0), strands):
        inputs = batch(labels=1)
        step = counted(model, inputs, True)
        # Adapters add products of their own, which are not counted: two of sixty-four here.
        assert StepFlops(model)(ROWS, BASES + 2) / (ROWS * (BASES + 2)) == pytest.approx(step, rel=0.08)


def test_a_sliding_window_counts_with_its_width() -> None:
    config = VQDNAConfig(**MODEL, codec_config=CODEC, local_attention=32, global_attn_every_n_layers=3)
    assert config.layer_types == ["full_attention", "sliding_attention", "sliding_attention"]
    assert forward_flops(config, 512).attention == 4 * 64 * (512 + 33 + 33)
    assert forward_flops(config, 16).attention == 4 * 64 * 3 * 16


def test_measuring_leaves_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert measured_matrix_rate(torch.device("cpu"), torch.float32) > 0
    assert torch.equal(torch.rand(3), expected)
