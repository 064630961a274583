# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`torch.export` and ONNX: one graph for every batch and length, equal to the model."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from torch import Tensor
from transformers import PreTrainedModel

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.hub import OnnxReport, export_onnx
from vqdna_hf.hub import onnx as hub_onnx
from vqdna_hf.model.modeling_vqdna import VQDNAPreTrainedModel

SLIDING = {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 8}
# The traced shape is among them; a single sequence, a single base, the model's longest, and more than 16 sequences,
# where PyTorch's convolution takes another path.
SHAPES = [(2, 16), (1, 3), (1, 128), (3, 50), (5, 128), (17, 21)]

needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed",
)


def trained_codec(stride: int = 1) -> VQDNACodecModel:
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride)).train()
    codec(torch.randint(5, 9, (4, 40)))
    return codec.eval()


def make(cls: type[VQDNAPreTrainedModel], stride: int = 1, **values: Any) -> VQDNAPreTrainedModel:
    return cls.from_codec(trained_codec(stride), **{**TINY_MODEL, **values}).eval()


def padded_batch(batch: int, length: int) -> dict[str, Tensor]:
    """The last of several sequences has 4 positions, so that rows of the sliding windows see padding alone."""
    ids = torch.randint(5, 9, (batch, length), generator=torch.Generator().manual_seed(length))
    ids[:, 0], ids[:, -1] = 2, 3
    if batch > 1:
        ids[0, 5], ids[1, 6] = 4, 9
        ids[-1, 3], ids[-1, 4:] = 3, 0
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def exported(model: PreTrainedModel, longest: int | None) -> torch.nn.Module:
    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1, max=longest)
    shapes = {name: {0: batch, 1: length} for name in ("input_ids", "attention_mask")}
    return torch.export.export(model, (), padded_batch(2, 16), dynamic_shapes=shapes, strict=False).module()


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (VQDNAModel, {}),
        (VQDNAModel, SLIDING),
        (VQDNAForMaskedLM, SLIDING),
        (VQDNAForSequenceClassification, {"average_strands": True}),
        (VQDNAForSequenceClassification, {"classifier_pooling": "max"}),
        (VQDNAForTokenClassification, SLIDING),
    ],
)
def test_torch_export_is_exact_at_every_batch_and_length(
    cls: type[VQDNAPreTrainedModel], values: dict[str, Any]
) -> None:
    model = make(cls, **values)
    graph = exported(model, 128)
    for batch, length in SHAPES:
        inputs = padded_batch(batch, length)
        with torch.no_grad():
            found, expected = graph(**inputs), model(**inputs)
        assert found.keys() == expected.keys()
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], atol=1e-6, rtol=0)
        if "codes" in expected:
            assert torch.equal(found["codes"], expected["codes"])
    with pytest.raises((AssertionError, RuntimeError)):
        graph(**padded_batch(1, 129))  # longer than the model reads


def test_torch_export_of_the_codec_is_exact_at_every_batch_and_length() -> None:
    codec = trained_codec()
    codec.forward = codec.encode  # type: ignore[method-assign]  # what is exported is a module's forward
    graph = exported(codec, None)
    for batch, length in [*SHAPES, (2, 1000)]:
        inputs = padded_batch(batch, length)
        with torch.no_grad():
            found, expected = graph(**inputs), codec.encode(**inputs)
        assert torch.equal(found["codes"], expected.codes)
        torch.testing.assert_close(found["quantized"], expected.quantized)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_torch_export_with_a_stride(stride: int) -> None:
    model = make(VQDNAModel, stride, max_position_embeddings=128 // stride + 4)
    assert model.config.max_input_tokens == 128
    graph = exported(model, 128)
    for batch, length in SHAPES:
        inputs = padded_batch(batch, length)
        real = inputs["attention_mask"].bool()
        with torch.no_grad():
            found, expected = graph(**inputs), model(**inputs)
        torch.testing.assert_close(found[0][real], expected[0][real], atol=1e-6, rtol=0)
        assert torch.equal(found["codes"], with_room(expected["codes"], found["codes"]))


def with_room(codes: Tensor, like: Tensor) -> Tensor:
    """With a stride a graph has room for some patches more than a batch has: nothing stands there."""
    return torch.nn.functional.pad(codes, (0, like.shape[2] - codes.shape[2]), value=-1)


def check_against(model: PreTrainedModel, path: Path, first: str) -> float:
    """The largest difference of ONNX Runtime's answers at real positions; codes are equal."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [(x.name, x.shape, x.type) for x in session.get_inputs()] == [
        (name, ["batch", "length"], "tensor(int64)") for name in ("input_ids", "attention_mask")
    ]
    assert [x.name for x in session.get_outputs()] == [first, "codes"]
    worst = 0.0
    for batch, length in SHAPES:
        inputs = padded_batch(batch, length)
        answer, codes = map(
            torch.from_numpy, session.run(None, {name: value.numpy() for name, value in inputs.items()})
        )
        with torch.no_grad():
            expected = model(**inputs, return_dict=True)[first]
            assert torch.equal(codes, with_room(model.base_model.encode(**inputs).codes, codes))
        difference = (answer - expected).abs()
        assert difference.shape == expected.shape
        if difference.dim() == 3:
            difference = difference[inputs["attention_mask"].bool()]
        worst = max(worst, float(difference.max()))
    return worst


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreTrainedModel, OnnxReport]:
    """A bare model with both kinds of layers, set to an attention that ONNX does not have, and its graph."""
    model = make(VQDNAModel, **SLIDING).train()
    model.set_attn_implementation("flex_attention")
    report = export_onnx(model, tmp_path_factory.mktemp("graphs") / "onnx")
    assert model.training
    assert model.config._attn_implementation == "flex_attention"  # the model is left as it was
    model.set_attn_implementation("sdpa")
    return model.eval(), report


@needs_onnx
def test_onnx_of_encoder_and_backbone(bare: tuple[PreTrainedModel, OnnxReport]) -> None:
    model, report = bare
    assert report.outputs == ("last_hidden_state", "codes")
    assert report.max_difference is not None
    assert 0 < report.max_difference < 1e-4
    assert report.different_codes == 0
    assert report.checked_codes > 500
    assert check_against(model, report.path, "last_hidden_state") < 1e-4
    files = {path.name for path in report.path.parent.iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"} <= files
    assert json.loads((report.path.parent / "config.json").read_text())["model_type"] == "vqdna"
    assert b"site-packages" not in report.path.read_bytes()  # no paths of this machine


@needs_onnx
def test_onnx_of_a_classifier_with_both_strands(tmp_path: Path) -> None:
    model = make(VQDNAForSequenceClassification, average_strands=True)
    report = export_onnx(model, tmp_path / "onnx", check=False)
    assert report.max_difference is None
    assert check_against(model, report.path, "logits") < 1e-4


@needs_onnx
@pytest.mark.parametrize(("kind", "stride"), [("bare", 2), ("codec", 4), ("tokens", 8)])
def test_onnx_with_a_stride(kind: str, stride: int, tmp_path: Path) -> None:
    """Batch and length vary, answers are per nucleotide; the codes are the model's, and nothing behind them."""
    model: PreTrainedModel = trained_codec(stride)
    if kind != "codec":
        cls = VQDNAModel if kind == "bare" else VQDNAForTokenClassification
        model = make(cls, stride, max_position_embeddings=128 // stride + 4)
    report = export_onnx(model, tmp_path / "onnx")
    assert report.different_codes == 0
    assert report.checked_codes > 100
    assert check_against(model, report.path, report.outputs[0]) < 1e-4
    longest = json.loads((tmp_path / "onnx" / "tokenizer_config.json").read_text())["model_max_length"]
    assert longest == (8192 if kind == "codec" else 128)


@needs_onnx
def test_a_graph_that_disagrees_is_not_written(
    bare: tuple[PreTrainedModel, OnnxReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of another model stands in for a wrong one: other weights first, other codes then."""
    model, report = bare
    monkeypatch.setattr(hub_onnx, "_write_graph", lambda graph, path, longest: shutil.copy(report.path, path))
    other = make(VQDNAModel, **SLIDING)
    other.load_state_dict(model.state_dict())
    export_onnx(other, tmp_path / "right")
    with torch.no_grad():
        other.backbone.layers[0].mlp.Wo.weight.mul_(-3)
    with pytest.raises(ValueError, match="off the model at batch"):
        export_onnx(other, tmp_path / "wrong")
    with torch.no_grad():
        other.codec.quantizer.codebooks[0].embed.copy_(other.codec.quantizer.codebooks[0].embed.flip(0))
    with pytest.raises(ValueError, match="no mere ties"):
        export_onnx(other, tmp_path / "wrong")
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


@needs_onnx
def test_only_an_earlier_graph_is_replaced(
    bare: tuple[PreTrainedModel, OnnxReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, report = bare
    monkeypatch.setattr(hub_onnx, "_write_graph", lambda graph, path, longest: shutil.copy(report.path, path))
    model.save_pretrained(tmp_path / "model")
    before = {path.name for path in (tmp_path / "model").iterdir()}
    with pytest.raises(ValueError, match=r"is no earlier ONNX export: try .*model/onnx"):
        export_onnx(model, tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == before
    export_onnx(model, tmp_path / "model" / "onnx", check=False)
    (tmp_path / "model" / "onnx" / "stale.txt").write_text("")
    export_onnx(model, tmp_path / "model" / "onnx", check=False)
    assert not (tmp_path / "model" / "onnx" / "stale.txt").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        export_onnx(model, tmp_path / "file")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_what_is_not_installed_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(ValueError, match=rf"needs .*{missing}.*: pip install 'vqdna_hf\[onnx\]'"):
        export_onnx(make(VQDNAModel), tmp_path / "onnx")
    assert not list(tmp_path.iterdir())
