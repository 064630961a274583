# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`torch.compile`: how many graphs, how many compilations, and results equal to eager's."""

import copy
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from torch import Tensor, nn
from torch._dynamo.backends.registry import lookup_backend

from vqdna_hf import (
    Codebook,
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.model import nearest_vqdna
from vqdna_hf.model.modeling_vqdna import VQDNAPreTrainedModel

CLASSES = [VQDNAModel, VQDNAForMaskedLM, VQDNAForSequenceClassification, VQDNAForTokenClassification]
LAYERS: dict[str, dict[str, Any]] = {
    "global": {},
    "sliding": {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 8},
}
HAS_COMPILER = any(shutil.which(name) for name in ("g++", "clang++", "c++"))


class Counting:
    """A backend that counts the graphs that it is handed."""

    def __init__(self, backend: str = "eager") -> None:
        self.backend = lookup_backend(backend)
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        self.graphs += 1
        return self.backend(graph, inputs)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few vectors and few entries at a time, so that both ways to cut the distances are taken."""
    monkeypatch.setattr(nearest_vqdna, "_MAX_DISTANCES_PER_CHUNK", 64)
    monkeypatch.setattr(nearest_vqdna, "_ENTRIES_PER_CHUNK", 5)


def trained_codec(**values: Any) -> VQDNACodecModel:
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**{**TINY_CODEC, **values})).train()
    codec(torch.randint(5, 9, (4, 40)))
    return codec.eval()


def make(cls: type[VQDNAPreTrainedModel], **values: Any) -> VQDNAPreTrainedModel:
    return cls.from_codec(trained_codec(), **{**TINY_MODEL, **values}).eval()


def padded_batch(batch: int = 3, length: int = 20) -> tuple[Tensor, Tensor]:
    ids = torch.randint(5, 9, (batch, length), generator=torch.Generator().manual_seed(length))
    ids[:, 0], ids[:, -1] = 2, 3
    ids[0, length // 2] = 4
    ids[-1, length - length // 3 :] = 0
    return ids, (ids != 0).long()


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("cls", CLASSES)
def test_the_forward_is_one_graph(cls: type[VQDNAPreTrainedModel], layers: str) -> None:
    model, counting = make(cls, **LAYERS[layers]), Counting()
    with torch.no_grad():
        found = torch.compile(model, backend=counting, fullgraph=True)(*padded_batch())
        expected = model(*padded_batch())
    assert counting.graphs == 1
    torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=0)
    if "codes" in expected:
        assert torch.equal(found.codes, expected.codes)


@pytest.mark.parametrize("values", [{}, {"average_strands": True}], ids=["one strand", "both strands"])
def test_the_classifier_with_labels_is_one_graph(values: dict[str, Any]) -> None:
    model, counting = make(VQDNAForSequenceClassification, **values).train(), Counting()
    labels = torch.tensor([0, 1, 1])
    found = torch.compile(model, backend=counting, fullgraph=True)(*padded_batch(), labels=labels)
    assert counting.graphs == 1
    torch.testing.assert_close(found.loss, model(*padded_batch(), labels=labels).loss)


def test_the_token_classifier_with_labels_is_one_graph() -> None:
    model, counting = make(VQDNAForTokenClassification), Counting()
    ids, mask = padded_batch()
    labels = torch.where(ids > 4, ids % 2, -100)
    found = torch.compile(model, backend=counting, fullgraph=True)(ids, mask, labels=labels)
    assert counting.graphs == 1
    torch.testing.assert_close(found.loss, model(ids, mask, labels=labels).loss)


@pytest.mark.parametrize("mask_level", ["nucleotide", "code"])
@pytest.mark.parametrize("captured", [False, True], ids=["default", "captured"])
def test_the_masked_language_model_with_labels_breaks_once(mask_level: str, captured: bool) -> None:
    """Where the masked positions are counted; never, if Dynamo is told to capture operators of that kind."""
    model = make(VQDNAForMaskedLM, mask_level=mask_level).train()
    ids, mask = padded_batch()
    labels = torch.full_like(ids, -100)
    labels[:, 4:8] = ids[:, 4:8]
    masked = torch.where(labels == -100, ids, 4) if mask_level == "nucleotide" else ids
    counting = Counting()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=captured):
        found = torch.compile(model, backend=counting, fullgraph=captured)(masked, mask, labels=labels)
    assert counting.graphs == (1 if captured else 2)
    expected = model(masked, mask, labels=labels)
    torch.testing.assert_close(found.loss, expected.loss)
    assert torch.equal(found.code_targets, expected.code_targets)
    assert len(found.code_targets) == 12
    found.loss.backward()
    gradient = model.code_decoders[0].weight.grad.clone()
    model.zero_grad()
    expected.loss.backward()
    torch.testing.assert_close(gradient, model.code_decoders[0].weight.grad)


def encoders() -> dict[str, nn.Module]:
    return {"model": make(VQDNAModel), "codec": trained_codec()}


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", ["model", "codec"])
def test_encode_is_one_graph_in_chunks_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, counting = encoders()[kind], Counting("aot_eager")
    ids, mask = padded_batch(6, 50)
    with torch.no_grad():
        found = torch.compile(module.encode, backend=counting, fullgraph=True)(ids, mask)
        in_chunks = module.encode(ids, mask)
    monkeypatch.undo()
    with torch.no_grad():
        whole = module.encode(ids, mask)
    assert counting.graphs == 1
    assert torch.equal(found.codes, whole.codes)
    assert torch.equal(in_chunks.codes, whole.codes)
    assert len(whole.codes[:, 1].unique()) > 8  # or the comparison says little
    assert torch.equal(found.quantized, whole.quantized)


def test_decode_is_one_graph() -> None:
    codec, counting = trained_codec(), Counting()
    with torch.no_grad():
        codes = codec.encode(*padded_batch()).codes
        found = torch.compile(codec.decode, backend=counting, fullgraph=True)(codes)
        torch.testing.assert_close(found, codec.decode(codes))
    assert counting.graphs == 1


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("kind", ["encode", "forward"])
def test_a_new_length_compiles_nothing(kind: str) -> None:
    model, counting = make(VQDNAForTokenClassification, **LAYERS["sliding"]), Counting()
    function = model.vqdna.encode if kind == "encode" else model
    compiled = torch.compile(function, backend=counting, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for batch, length in ((2, 20), (3, 33), (4, 57), (5, 100), (2, 11), (9, 128)):
            found, expected = compiled(*padded_batch(batch, length)), function(*padded_batch(batch, length))
            if kind == "encode":
                assert torch.equal(found.codes, expected.codes)
            else:
                torch.testing.assert_close(found.logits, expected.logits, atol=1e-6, rtol=0)
            assert counting.graphs == 1


def test_a_training_step_of_the_codec_moves_codebooks_as_eager_does() -> None:
    """In one graph: neither which positions count nor which entries are dead is looked up on the way."""
    eager = trained_codec(objective="window").train()
    compiled_codec, counting = copy.deepcopy(eager), Counting()
    compiled = torch.compile(compiled_codec, backend=counting)
    loss, found = eager(*padded_batch()).loss, compiled(*padded_batch()).loss
    assert counting.graphs == 1
    torch.testing.assert_close(found, loss)
    loss.backward()
    found.backward()
    torch.testing.assert_close(compiled_codec.encoder.stem.weight.grad, eager.encoder.stem.weight.grad)
    state = compiled_codec.state_dict()
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(state[name], value, atol=1e-6, rtol=1e-6, msg=name)
    assert float(state["encoder.quantizer.codebooks.1.num_updates"]) == 2


@pytest.mark.skipif(not HAS_COMPILER, reason="Inductor needs a C++ compiler")
def test_inductor_gives_the_same_codes_and_the_same_moving_averages() -> None:
    """The default backend. It has dropped `alpha` of `add_` behind a matrix product: the update uses `lerp_`."""
    codec = trained_codec()
    with torch.no_grad():
        found = torch.compile(codec.encode, fullgraph=True)(*padded_batch(4, 64))
        expected = codec.encode(*padded_batch(4, 64))
    assert torch.equal(found.codes, expected.codes)
    torch.testing.assert_close(found.quantized, expected.quantized)

    torch.manual_seed(0)
    eager, vectors = Codebook(8, 4), torch.randn(200, 4)
    eager.initialize(vectors)
    other, codes = copy.deepcopy(eager), eager.nearest(vectors)
    eager.update(vectors + 1, codes)
    torch.compile(other.update, fullgraph=True)(vectors + 1, codes)
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=1e-5, rtol=1e-5, msg=name)
