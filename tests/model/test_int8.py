# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""int8 weights by torchao: which modules, equal codes, save and load again, with the package and without."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC
from torch import Tensor, nn

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.hub import INT8_EXCLUDED, export, export_onnx, int8_config
from vqdna_hf.model.modeling_vqdna import VQDNAPreTrainedModel

CLASSES = [VQDNAModel, VQDNAForMaskedLM, VQDNAForSequenceClassification, VQDNAForTokenClassification]
WIDE: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "max_position_embeddings": 128,
}

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchao") is None, reason="torchao is not installed: make int8 brings it"
)


def saved(cls: type[VQDNAPreTrainedModel], folder: Path) -> VQDNAPreTrainedModel:
    """A model with learnt codebooks, exported into `folder`."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (4, 40)))
    model = cls.from_codec(codec, **WIDE).eval()
    export(model, folder)
    return model


def padded_batch() -> tuple[Tensor, Tensor]:
    ids = torch.randint(5, 9, (8, 100), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 2, 3
    ids[-1, 60:] = 0
    return ids, (ids != 0).long()


def quantized_modules(model: nn.Module) -> set[str]:
    return {name.removesuffix(".weight") for name, p in model.named_parameters() if type(p) is not nn.Parameter}


def linear_modules(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@pytest.mark.parametrize("cls", CLASSES)
@torch.no_grad()
def test_all_but_the_codec_is_quantized_and_survives_saving(cls: type[VQDNAPreTrainedModel], tmp_path: Path) -> None:
    model = saved(cls, tmp_path / "model")
    small = cls.from_pretrained(tmp_path / "model", quantization_config=int8_config()).eval()
    expected = {name for name in linear_modules(model) if "codec." not in name}
    assert quantized_modules(small) == expected
    assert len(expected) >= 9
    ids, mask = padded_batch()
    exact, rounded = model(ids, mask)[0], small(ids, mask)[0]
    assert 0 < (exact - rounded)[:7].abs().max() < 0.05 * exact.abs().max()
    assert torch.equal(small.base_model.encode(ids, mask).codes, model.base_model.encode(ids, mask).codes)
    small.save_pretrained(tmp_path / "small")
    assert weight_bytes(tmp_path / "small") < 0.35 * weight_bytes(tmp_path / "model")
    again = cls.from_pretrained(tmp_path / "small").eval()
    assert quantized_modules(again) == expected
    assert torch.equal(again(ids, mask)[0], rounded)
    assert torch.equal(again.base_model.encode(ids, mask).codes, model.base_model.encode(ids, mask).codes)


@torch.no_grad()
def test_codes_change_unless_both_names_are_excluded(tmp_path: Path) -> None:
    """Names are matched from the start: `codec` alone does not protect the codec within a head."""
    model = saved(VQDNAForMaskedLM, tmp_path / "model")
    ids, mask = padded_batch()
    config = int8_config()
    assert config.modules_to_not_convert == INT8_EXCLUDED == ["codec", "vqdna.codec"]
    config.modules_to_not_convert = ["codec"]
    broken = VQDNAForMaskedLM.from_pretrained(tmp_path / "model", quantization_config=config).eval()
    assert "vqdna.codec.stem_projection" in quantized_modules(broken)
    assert not torch.equal(broken.vqdna.encode(ids, mask).codes, model.vqdna.encode(ids, mask).codes)


STRANGER = """
import json, sys
sys.modules["vqdna_hf"] = None  # importing it raises ImportError
import torch
from torchao.quantization import Int8WeightOnlyConfig
from transformers import AutoModelForMaskedLM, TorchAoConfig
folder, out = sys.argv[1:]
int8 = TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=["codec", "vqdna.codec"])
small = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True, quantization_config=int8).eval()
small.save_pretrained(out)
again = AutoModelForMaskedLM.from_pretrained(out, trust_remote_code=True).eval()
ids = torch.tensor([[2, *([5, 6, 7, 8, 8, 5] * 9), 3]])
with torch.no_grad():
    first, second = small(ids), again(ids)
print("found", json.dumps({
    "same": torch.equal(first.logits, second.logits), "codes": second.codes.tolist(),
    "logits": second.logits.tolist(), "quantized": sum(type(p) is not torch.nn.Parameter for p in again.parameters()),
}))
"""


@torch.no_grad()
def test_remote_code_is_quantized_alike(tmp_path: Path) -> None:
    model = saved(VQDNAForMaskedLM, tmp_path / "model")
    result = subprocess.run(
        [sys.executable, "-c", STRANGER, str(tmp_path / "model"), str(tmp_path / "small")],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.split("found")[-1])
    ids = torch.tensor([[2, *([5, 6, 7, 8, 8, 5] * 9), 3]])
    small = VQDNAForMaskedLM.from_pretrained(tmp_path / "model", quantization_config=int8_config()).eval()
    assert found["same"]
    assert found["quantized"] == len(quantized_modules(small))
    assert found["codes"] == model(ids).codes.tolist()
    torch.testing.assert_close(torch.tensor(found["logits"]), small(ids).logits, atol=1e-5, rtol=0)
    # What a stranger saved, the package reads.
    again = VQDNAForMaskedLM.from_pretrained(tmp_path / "small").eval()
    assert torch.equal(again(ids).logits, small(ids).logits)


def test_a_quantized_model_is_no_onnx_graph(tmp_path: Path) -> None:
    saved(VQDNAModel, tmp_path / "model")
    small = VQDNAModel.from_pretrained(tmp_path / "model", quantization_config=int8_config())
    with pytest.raises(ValueError, match="quantized by torchao"):
        export_onnx(small, tmp_path / "onnx", check=False)


def test_without_torchao_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'vqdna_hf\[int8\]'"):
        int8_config()
