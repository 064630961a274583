# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Attention implementations give equal answers, however they are chosen; gradient checkpointing changes nothing."""

import importlib.util
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from torch import Tensor
from transformers import ModernBertModel

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.model.modeling_vqdna import VQDNAPreTrainedModel

CLASSES = [VQDNAModel, VQDNAForMaskedLM, VQDNAForSequenceClassification, VQDNAForTokenClassification]
LAYERS: dict[str, dict[str, Any]] = {
    "global": {"num_hidden_layers": 2},
    # Every second layer looks 4 positions to either side; the padding below is longer than that.
    "sliding": {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 8},
}
HAS_COMPILER = any(shutil.which(name) for name in ("g++", "clang++", "c++"))
HAS_FLASH = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None


def make(cls: type[VQDNAPreTrainedModel], layers: str = "global", **values: Any) -> VQDNAPreTrainedModel:
    torch.manual_seed(0)
    return cls(VQDNAConfig(**{**TINY_MODEL, **LAYERS[layers], **values}, codec_config=TINY_CODEC)).eval()


def padded_batch() -> tuple[Tensor, Tensor]:
    """Three sequences of 40, 29 and 12 positions."""
    ids = torch.randint(5, 10, (3, 40), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = 2
    ids[0, 7] = 4
    for row, length in enumerate((40, 29, 12)):
        ids[row, length - 1] = 3
        ids[row, length:] = 0
    return ids, (ids != 0).long()


@torch.no_grad()
def answer(model: VQDNAPreTrainedModel, implementation: str) -> Tensor:
    """What the model says at real positions (or of real sequences)."""
    ids, mask = padded_batch()
    model.set_attn_implementation(implementation)
    assert model.base_model.backbone.config._attn_implementation == implementation
    found = model(ids.to(model.device), mask.to(model.device))[0]
    return found[mask.bool()] if found.dim() == 3 else found


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("cls", CLASSES)
def test_sdpa_is_eager(cls: type[VQDNAPreTrainedModel], layers: str) -> None:
    model = make(cls, layers)
    torch.testing.assert_close(answer(model, "sdpa"), answer(model, "eager"), atol=1e-5, rtol=0)


@pytest.mark.skipif(not HAS_COMPILER, reason="flex attention is compiled, and there is no C++ compiler")
@pytest.mark.parametrize("layers", LAYERS)
def test_flex_attention_is_eager(layers: str) -> None:
    for cls in CLASSES:
        model = make(cls, layers)
        torch.testing.assert_close(answer(model, "flex_attention"), answer(model, "eager"), atol=1e-5, rtol=0)


@pytest.mark.skipif(not HAS_FLASH, reason="flash attention needs a GPU and the package flash-attn")
@pytest.mark.parametrize("layers", LAYERS)
def test_flash_attention_is_eager(layers: str) -> None:
    for cls in CLASSES:
        model = make(cls, layers, hidden_size=64).to("cuda", torch.bfloat16)
        torch.testing.assert_close(answer(model, "flash_attention_2"), answer(model, "eager"), atol=5e-2, rtol=5e-2)


def test_sliding_windows_are_real() -> None:
    # Otherwise the comparisons above would say nothing of the window.
    wide, narrow = make(VQDNAModel), make(VQDNAModel, "sliding")
    narrow.load_state_dict(wide.state_dict())
    assert (answer(wide, "sdpa") - answer(narrow, "sdpa")).abs().max() > 1e-3


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "flex_attention"])
def test_it_can_be_chosen_in_three_ways(implementation: str, tmp_path: Path) -> None:
    model = make(VQDNAForMaskedLM)
    model.save_pretrained(tmp_path)
    loaded = VQDNAForMaskedLM.from_pretrained(tmp_path, attn_implementation=implementation)
    config = VQDNAConfig(**TINY_MODEL, codec_config=TINY_CODEC, attn_implementation=implementation)
    model.set_attn_implementation(implementation)
    for chosen in (loaded, VQDNAForMaskedLM(config), model):
        assert chosen.config._attn_implementation == implementation
        assert chosen.vqdna.backbone.config._attn_implementation == implementation


def test_choosing_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Stock code warns of `codec_config`, a configuration whose module it does not find; the codec has no attention."""
    model = make(VQDNAForMaskedLM)
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        for implementation in ("eager", "sdpa"):
            model.set_attn_implementation(implementation)
            assert model.config._attn_implementation == implementation
        model.set_attn_implementation({"": "eager"})
        assert model.config._attn_implementation == "eager"
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records


@pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_flash_attention_without_its_package_is_the_stock_import_error(tmp_path: Path) -> None:
    model = make(VQDNAModel)
    with pytest.raises(ImportError) as stock:
        ModernBertModel(model.config).set_attn_implementation("flash_attention_2")
    with pytest.raises(ImportError) as ours:
        model.set_attn_implementation("flash_attention_2")
    assert str(ours.value) == str(stock.value)
    assert "FlashAttention2" in str(ours.value)
    assert model.config._attn_implementation == "sdpa"  # still usable
    model.save_pretrained(tmp_path)
    with pytest.raises(ImportError, match="FlashAttention2"):
        VQDNAModel.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


@pytest.mark.skipif(importlib.util.find_spec("kernels") is not None, reason="kernels is installed")
def test_hub_kernels_without_their_package_are_the_stock_import_error() -> None:
    with pytest.raises(ImportError, match="kernels"):
        make(VQDNAModel).set_attn_implementation("kernels-community/flash-attn")


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(ValueError, match="bogus"):
        make(VQDNAModel).set_attn_implementation("bogus")


def test_eager_gives_attentions() -> None:
    ids, mask = padded_batch()
    for cls in CLASSES:
        model = make(cls)
        model.set_attn_implementation("eager")
        attentions = model(ids, mask, output_attentions=True).attentions
        assert [tuple(layer.shape) for layer in attentions] == [(3, 2, 40, 40)] * 2
        torch.testing.assert_close(attentions[1].sum(-1)[0], torch.ones(2, 40))
        assert attentions[0][2, :, :12, 12:].max() == 0  # nothing looks at padding


def test_sdpa_gives_attentions_as_stock_modernbert_does() -> None:
    ids, mask = padded_batch()
    model = make(VQDNAModel)
    stock = model.backbone(inputs_embeds=torch.randn(2, 5, 16), output_attentions=True).attentions
    assert model(ids, mask, output_attentions=True).attentions == stock


def loss_and_gradients(model: VQDNAForMaskedLM) -> tuple[Tensor, dict[str, Tensor]]:
    ids, mask = padded_batch()
    labels = torch.where((torch.arange(40) % 5 == 2) & (ids > 4) & (ids < 9), ids, -100)
    loss = model(torch.where(labels == -100, ids, 4), mask, labels=labels).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "trainable"])
@pytest.mark.parametrize("use_reentrant", [True, False], ids=["reentrant", "not reentrant"])
def test_gradient_checkpointing_changes_nothing(use_reentrant: bool, frozen: bool) -> None:
    """Equal loss, equal gradients, and codebooks that move once a step although layers are computed twice."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (4, 40)))
    models = [
        VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL, freeze_codec=frozen).train(),
        VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL, freeze_codec=frozen).train(),
    ]
    models[1].load_state_dict(models[0].state_dict())
    models[1].gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    assert models[1].is_gradient_checkpointing
    calls: list[int] = []
    models[1].vqdna.backbone.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    before = float(models[0].vqdna.codec.quantizer.codebooks[0].num_updates)
    (loss, gradients), (again, same) = map(loss_and_gradients, models)
    assert len(calls) == 2  # forward and recomputation: it is at work
    torch.testing.assert_close(again, loss, atol=1e-6, rtol=0)
    assert same.keys() == gradients.keys()
    assert any("codec.stem" in name for name in gradients) is not frozen
    for name, gradient in gradients.items():
        torch.testing.assert_close(same[name], gradient, atol=1e-6, rtol=1e-5, msg=name)
    for model in models:
        for codebook in model.vqdna.codec.quantizer.codebooks:
            assert float(codebook.num_updates) == before + (not frozen)
    for name, value in models[0].vqdna.codec.quantizer.state_dict().items():
        assert torch.equal(models[1].vqdna.codec.quantizer.state_dict()[name], value), name
