# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A folder for the Hub: code, weights, tokenizer, card; loads in a process without this package."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from clean_process import run_without_package
from example_scripts import TINY_CODEC, TINY_MODEL
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.hub import export
from vqdna_hf.hub.publishable import check_publishable

IDS = torch.tensor([[2, 5, 6, 7, 8, 8, 5, 9, 3]])
CLASSES = {
    "bare": VQDNAModel,
    "mlm": VQDNAForMaskedLM,
    "classifier": VQDNAForSequenceClassification,
    "tokens": VQDNAForTokenClassification,
}
KINDS = ["codec", *CLASSES]


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
    return CLASSES[kind].from_codec(trained_codec(), **TINY_MODEL).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_the_folder_is_complete(kind: str, tmp_path: Path) -> None:
    model = make(kind)
    export(model, tmp_path / "model", card="# A card\n")
    files = {path.name for path in (tmp_path / "model").iterdir()}
    code = {
        "configuration_vqdna.py",
        "handler.py",
        "modeling_vqdna_codec.py",
        "pipeline_vqdna.py",
        "nearest_vqdna.py",
        "patching_vqdna.py",
        "quantization_vqdna.py",
        "tokenization_vqdna.py",
    }
    if kind != "codec":
        code |= {"embeddings_vqdna.py", "modeling_vqdna.py"}
    assert files == code | {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    }
    assert (tmp_path / "model" / "README.md").read_text() == "# A card\n"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert "AutoModel" in config["auto_map"]
    assert config["architectures"] == [type(model).__name__]
    again = type(model).from_pretrained(tmp_path / "model").eval()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    key = "last_hidden_state" if kind == "bare" else "logits"
    assert torch.equal(again(IDS)[key], model(IDS)[key])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer("ACGTTAN")["input_ids"] == IDS[0].tolist()
    assert tokenizer.model_max_length == getattr(model.config, "max_position_embeddings", 8192)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_codec_with_a_stride_travels_and_its_tokenizer_reads_what_the_model_reads(
    stride: int, tmp_path: Path
) -> None:
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride)).train()
    codec(torch.randint(5, 9, (4, 40)))
    model = VQDNAForMaskedLM.from_codec(codec.eval(), **TINY_MODEL).eval()
    export(model, tmp_path / "model", "---\nlicense: mit\n---\n# A card\n", codec=codec)
    assert "patching_vqdna.py" in check_publishable(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.model_max_length == model.config.max_input_tokens == (128 - 4) * stride
    ids = tokenizer("ACGTTGCA" * 124, truncation=True, return_tensors="pt").input_ids
    assert ids.shape == (1, 124 * stride)
    again = VQDNAForMaskedLM.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(again(ids).logits, model(ids).logits)
    whole = VQDNACodecModel.from_pretrained(tmp_path / "model", subfolder="codec").eval()
    assert torch.equal(whole.encode(ids).codes, model(ids).codes)


def test_without_a_card_there_is_none(tmp_path: Path) -> None:
    export(make("codec"), tmp_path / "model")
    assert not (tmp_path / "model" / "README.md").exists()


STRANGER = """
ids = torch.tensor(arguments["ids"])
model = transformers.AutoModelForMaskedLM.from_pretrained(arguments["folder"], trust_remote_code=True)
codec = transformers.AutoModel.from_pretrained(arguments["folder"], subfolder="codec", trust_remote_code=True)
with torch.no_grad():
    codes = codec.encode(ids).codes
    report["logits"] = model(ids).logits.tolist()
    report["codes"] = codes.tolist()
    report["decoded"] = codec.decode(codes).tolist()
report["same codes"] = torch.equal(model.vqdna.encode(ids).codes, codes)
report["codec"] = [type(codec).__name__, type(codec).__module__.split(".")[0]]
"""


def test_it_loads_where_the_package_is_not_and_so_does_its_codec(tmp_path: Path) -> None:
    codec = trained_codec()
    model = VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL).eval()
    export(model, tmp_path / "model", codec=codec)
    files = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("codec/*")}
    assert files == {"codec/config.json", "codec/model.safetensors"}
    (tmp_path / "home").mkdir()
    report = run_without_package(STRANGER, tmp_path / "home", folder=str(tmp_path / "model"), ids=IDS.tolist())
    with torch.no_grad():
        codes = codec.encode(IDS).codes
        assert torch.equal(torch.tensor(report["logits"]), model(IDS).logits)
        assert report["codes"] == codes.tolist()
        assert torch.equal(torch.tensor(report["decoded"]), codec.decode(codes))
    assert report["same codes"]
    assert report["codec"] == ["VQDNACodecModel", "transformers_modules"]


def test_with_the_package_the_codec_beside_a_model_needs_no_trust(tmp_path: Path) -> None:
    codec = trained_codec()
    export(CLASSES["tokens"].from_codec(codec, **TINY_MODEL), tmp_path / "model", codec=codec)
    again = AutoModel.from_pretrained(tmp_path / "model", subfolder="codec")
    assert isinstance(again, VQDNACodecModel)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in codec.state_dict().items())


def test_a_codec_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    codec = trained_codec()
    model = VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL)
    with torch.no_grad():
        codec.encoder.quantizer.codebooks[1].embed_sum[3, 2] += 1e-6
    with pytest.raises(ValueError, match=r"codec\.quantizer\.codebooks\.1\.embed_sum of the model is not"):
        export(model, tmp_path / "model", codec=codec)
    deeper = VQDNACodecModel(VQDNACodecConfig(**{**TINY_CODEC, "num_blocks": 3, "tap_positions": [1, 3]}))
    deeper.encoder.load_state_dict(trained_codec().encoder.state_dict(), strict=False)
    with pytest.raises(ValueError, match=r"codec\.blocks\.2\.depthwise\.bias of the model is not"):
        export(model, tmp_path / "model", codec=deeper)
    with pytest.raises(ValueError, match="a codec is exported whole"):
        export(codec, tmp_path / "model", codec=codec)
    assert not list(tmp_path.iterdir())


def test_weights_may_be_split_over_files(tmp_path: Path) -> None:
    model = make("mlm")
    export(model, tmp_path / "model", max_shard_size="10KB")
    shards = sorted(path.name for path in (tmp_path / "model").glob("model-*.safetensors"))
    assert len(shards) > 2
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == shards
    again = VQDNAForMaskedLM.from_pretrained(tmp_path / "model")
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_no_path_of_this_machine_gets_in(kind: str, tmp_path: Path) -> None:
    codec_folder, model_folder = tmp_path / "secret-codec", tmp_path / "secret-model"
    export(trained_codec(), codec_folder)
    model: PreTrainedModel = VQDNACodecModel.from_pretrained(codec_folder)
    if kind != "codec":
        CLASSES[kind].from_codec(codec_folder, **TINY_MODEL).save_pretrained(model_folder)
        model = CLASSES[kind].from_pretrained(model_folder)
    export(model, tmp_path / "model")
    for path in (tmp_path / "model").iterdir():
        assert b"secret" not in path.read_bytes(), path.name
    # Of the codec a language model keeps the values alone: no code, no pipeline of its own.
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert not {"auto_map", "custom_pipelines"} & config.get("codec_config", {}).keys()
    assert not config.get("codec_config", {}).get("_name_or_path")


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
    codec = trained_codec()
    export(VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL), tmp_path / "model", codec=codec)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in (tmp_path / "model").rglob("*")}
    assert modes == {False: 0o644, True: 0o755}
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o755


def test_what_is_no_export_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="is no earlier export"):
        export(make("mlm"), tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    export(make("mlm"), tmp_path / "model")
    export(make("codec"), tmp_path / "model")
    assert json.loads((tmp_path / "model" / "config.json").read_text())["model_type"] == "vqdna_codec"


def test_a_broken_codebook_is_refused_by_name(tmp_path: Path) -> None:
    model = make("mlm")
    model.base_model.codec.quantizer.codebooks[1].embed[3] = float("nan")
    with pytest.raises(ValueError, match=r"vqdna\.codec\.quantizer\.codebooks\.1\.embed holds NaN or infinity"):
        export(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())
