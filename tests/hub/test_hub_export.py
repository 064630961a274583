# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A folder for the Hub: code, weights, tokenizer, card; loads in a process without this package."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from transformers import AutoTokenizer, PreTrainedModel

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
)
from vqdna_hf.hub import export

IDS = torch.tensor([[2, 5, 6, 7, 8, 8, 5, 9, 3]])


def trained_codec() -> VQDNACodecModel:
    """Codebooks that data have filled."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (4, 40)))
    return codec.eval()


def make(kind: str) -> PreTrainedModel:
    """A model of each kind."""
    if kind == "codec":
        return trained_codec()
    cls = VQDNAForMaskedLM if kind == "mlm" else VQDNAForSequenceClassification
    return cls.from_codec(trained_codec(), **TINY_MODEL).eval()


@pytest.mark.parametrize("kind", ["codec", "mlm", "classifier"])
def test_the_folder_is_complete(kind: str, tmp_path: Path) -> None:
    model = make(kind)
    export(model, tmp_path / "model", card="# A card\n")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    code = {
        "configuration_vqdna.py",
        "modeling_vqdna_codec.py",
        "quantization_vqdna.py",
        "tokenization_vqdna.py",
    }
    if kind != "codec":
        code.add("modeling_vqdna.py")
    assert code | {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= files
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert "AutoModel" in config["auto_map"]
    again = type(model).from_pretrained(tmp_path / "model").eval()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    assert torch.allclose(again(IDS).logits, model(IDS).logits, atol=1e-6)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("ACGTTAN")["input_ids"] == IDS[0].tolist()
    assert tokenizer.model_max_length == getattr(model.config, "max_position_embeddings", 8192)


def test_without_a_card_there_is_none(tmp_path: Path) -> None:
    export(make("codec"), tmp_path / "model")
    assert not (tmp_path / "model" / "README.md").exists()


STRANGER = """
import sys
sys.modules["vqdna_hf"] = None  # importing it raises ImportError
import torch
from transformers import AutoModelForMaskedLM
model = AutoModelForMaskedLM.from_pretrained(sys.argv[1], trust_remote_code=True).eval()
with torch.no_grad():
    print("sum", repr(model(torch.tensor([[2, 5, 6, 7, 8, 8, 5, 9, 3]])).logits.double().sum().item()))
"""


def test_it_loads_where_the_package_is_not(tmp_path: Path) -> None:
    model = make("mlm")
    export(model, tmp_path / "model")
    result = subprocess.run(
        [sys.executable, "-c", STRANGER, str(tmp_path / "model")],
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = float(result.stdout.split("sum")[-1])
    assert found == pytest.approx(model(IDS).logits.double().sum().item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["codec", "model"])
def test_an_untrained_codebook_is_refused(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: PreTrainedModel = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))
    if kind == "model":
        model = VQDNAForMaskedLM(VQDNAConfig(**TINY_MODEL, codec_config=TINY_CODEC))
    with pytest.raises(ValueError, match=r"quantizer\.codebooks\.0.*was never trained"):
        export(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_an_older_export_is_replaced_and_kept_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model"
    export(make("codec"), target, card="first")
    (target / "stale.py").write_text("")
    export(make("mlm"), target, card="second")
    assert not (target / "stale.py").exists()
    assert (target / "README.md").read_text() == "second"
    before = {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()}

    def fail(self: PreTrainedModel, folder: Path, *args: Any, **kwargs: Any) -> None:
        (Path(folder) / "config.json").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(VQDNACodecModel, "save_pretrained", fail)
    with pytest.raises(OSError, match="No space left"):
        export(make("codec"), target, card="third")
    assert {path.name: path.read_bytes() for path in target.iterdir() if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_everyone_may_read_it(tmp_path: Path) -> None:
    export(make("mlm"), tmp_path / "model")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o644}


def test_what_is_no_export_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is no earlier export"):
        export(make("mlm"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    export(make("mlm"), tmp_path / "model")
    export(make("codec"), tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "vqdna_codec"
