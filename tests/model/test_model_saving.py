# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Saved folders, loaded where `vqdna_hf` does not exist: the code that travels must be enough."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from clean_process import run_without_package

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
    build_tokenizer,
)

CODEC = {
    "hidden_size": 16, "stem_size": 8, "num_blocks": 2, "tap_positions": [1, 2], "codebook_sizes": [8, 16],
    "codebook_dim": 12, "initializer_range": 0.3,
}  # fmt: skip
BACKBONE: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "initializer_range": 0.2, "num_labels": 3, "global_attn_every_n_layers": 2, "local_attention": 8,
}  # fmt: skip
MODELS = {
    "AutoModel": VQDNAModel,
    "AutoModelForMaskedLM": VQDNAForMaskedLM,
    "AutoModelForSequenceClassification": VQDNAForSequenceClassification,
    "AutoModelForTokenClassification": VQDNAForTokenClassification,
}
CODE_FILES = {
    "configuration_vqdna.py", "embeddings_vqdna.py", "modeling_vqdna.py", "modeling_vqdna_codec.py",
    "nearest_vqdna.py", "patching_vqdna.py", "pipeline_vqdna.py", "quantization_vqdna.py", "tokenization_vqdna.py",
}  # fmt: skip

# What a user without the package does. Each folder holds input and expected answer beside the weights.
ELSEWHERE = """
def check(name, folder):
    answers = torch.load(f"{folder}/answers.pt")
    kind = getattr(transformers, name)
    model, info = kind.from_pretrained(folder, trust_remote_code=True, output_loading_info=True)
    key, expected = answers["key"], answers["expected"]
    with torch.no_grad():
        output = model(answers["input_ids"])
    entry = {"class": type(model).__name__, "module": type(model).__module__,
             "loading": {k: sorted(map(str, v)) for k, v in info.items() if v},
             "equal": torch.equal(output[key], expected), "codes": torch.equal(output.codes, answers["codes"])
             if "codes" in output else None}
    model.save_pretrained(f"{folder}_again")
    again = kind.from_pretrained(f"{folder}_again", trust_remote_code=True)
    with torch.no_grad():
        entry["equal_again"] = torch.equal(again(answers["input_ids"])[key], expected)
    entry["files_again"] = sorted(os.listdir(f"{folder}_again"))
    entry["auto_map_again"] = json.load(open(f"{folder}_again/config.json")).get("auto_map")
    report[os.path.basename(folder)] = entry

for name, folder in arguments["pairs"]:
    check(name, folder)
# A folder saved from one head opens with every other: the shared weights come along, the head is new.
mlm = arguments["mlm"]
answers = torch.load(f"{mlm}/answers.pt")
for name in ("AutoModel", "AutoModelForSequenceClassification", "AutoModelForTokenClassification"):
    model = getattr(transformers, name).from_pretrained(mlm, trust_remote_code=True)
    with torch.no_grad():
        found = model.base_model(answers["input_ids"])
    codec = model.train().base_model.codec
    report[f"mlm as {name}"] = {"class": type(model).__name__,
                                "equal": torch.equal(found.last_hidden_state, answers["hidden"]),
                                "frozen": not any(p.requires_grad for p in codec.parameters())}
tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(mlm)  # without trusting code
report["tokenizer"] = [type(tokenizer).__module__, tokenizer("acgunR").input_ids]
try:
    transformers.AutoModel.from_pretrained(mlm, trust_remote_code=False)
except ValueError as error:
    report["untrusted"] = "trust_remote_code" in str(error)
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread_and_a_fixed_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One saved folder for each Auto class, and the codec's; each with input and answer in `answers.pt`."""
    root = tmp_path_factory.mktemp("saved")
    ids = torch.randint(5, 9, (2, 30))
    ids[:, 0], ids[0, -1], ids[1, 20], ids[1, 21:], ids[0, 4], ids[0, 9] = 2, 3, 3, 0, 4, 9
    codec = VQDNACodecModel(VQDNACodecConfig(**CODEC)).train()
    with torch.no_grad():
        codec(torch.randint(5, 9, (8, 60)))
        codec.eval()
        models: dict[str, Any] = {name: kind.from_codec(codec, **BACKBONE).eval() for name, kind in MODELS.items()}
        result = {}
        for name, model in (models | {"codec": codec}).items():
            folder = root / name
            model.save_pretrained(folder)
            output = model(ids)
            key = "last_hidden_state" if name == "AutoModel" else "logits"
            answers = {
                "input_ids": ids,
                "key": key,
                "expected": output[key],
                "codes": codec.encode(ids).codes,
            }
            if name != "codec":
                answers["hidden"] = model.base_model(ids).last_hidden_state
            torch.save(answers, folder / "answers.pt")
            result[name] = folder
    build_tokenizer().save_pretrained(result["AutoModelForMaskedLM"])
    return result


@pytest.fixture(scope="module")
def report(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process without `vqdna_hf` finds in the folders."""
    pairs = [("AutoModel" if name == "codec" else name, str(folder)) for name, folder in folders.items()]
    home = tmp_path_factory.mktemp("home")
    return run_without_package(ELSEWHERE, home, pairs=pairs, mlm=str(folders["AutoModelForMaskedLM"]))


@pytest.mark.parametrize("name", [*MODELS, "codec"])
def test_a_saved_folder_is_complete(name: str, folders: dict[str, Path]) -> None:
    files = {path.name for path in folders[name].iterdir()}
    assert {"config.json", "model.safetensors"} <= files
    expected = CODE_FILES - ({"embeddings_vqdna.py", "modeling_vqdna.py"} if name == "codec" else set())
    assert {file for file in files if file.endswith(".py")} == expected
    auto_map = json.loads((folders[name] / "config.json").read_text())["auto_map"]
    if name == "codec":
        assert auto_map == {
            "AutoConfig": "configuration_vqdna.VQDNACodecConfig",
            "AutoModel": "modeling_vqdna_codec.VQDNACodecModel",
        }
    else:
        assert auto_map.keys() == {"AutoConfig", *MODELS}


@pytest.mark.parametrize("name", [*MODELS, "codec"])
def test_without_the_package_the_answers_are_equal_to_the_bit(name: str, report: dict[str, Any]) -> None:
    entry = report[name]
    assert entry["class"] == (VQDNACodecModel if name == "codec" else MODELS[name]).__name__
    assert entry["module"].startswith("transformers_modules.")
    assert entry["loading"] == {}  # nothing missing, unexpected or mismatched
    assert entry["equal"]
    assert entry["codes"] in (True, None)


@pytest.mark.parametrize("name", [*MODELS, "codec"])
def test_what_remote_code_saves_loads_again(name: str, report: dict[str, Any], folders: dict[str, Path]) -> None:
    entry = report[name]
    assert entry["equal_again"]
    originals = {path.name for path in folders[name].iterdir() if path.suffix == ".py"}
    assert {file for file in entry["files_again"] if file.endswith(".py")} == originals
    assert entry["auto_map_again"] == json.loads((folders[name] / "config.json").read_text())["auto_map"]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "AutoModelForMaskedLM"])
def test_a_masked_language_model_opens_as_any_other_head(name: str, report: dict[str, Any]) -> None:
    assert report[f"mlm as {name}"] == {"class": MODELS[name].__name__, "equal": True, "frozen": True}


def test_the_tokenizer_needs_no_trust(report: dict[str, Any]) -> None:
    module, ids = report["tokenizer"]
    assert module.startswith("transformers.")
    assert ids == [2, 5, 6, 7, 8, 9, 9, 3]


def test_untrusted_code_is_not_run(report: dict[str, Any]) -> None:
    assert report["untrusted"]


@pytest.mark.parametrize("name", MODELS)
def test_with_the_package_every_tensor_comes_back(name: str, folders: dict[str, Path], tmp_path: Path) -> None:
    model = MODELS[name].from_pretrained(folders[name])
    with torch.no_grad():
        for index, tensor in enumerate(model.state_dict().values()):
            tensor.copy_(torch.randn(tensor.shape).abs() + 0.01 * index)
    model.save_pretrained(tmp_path)
    loaded = MODELS[name].from_pretrained(tmp_path)
    expected = model.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, expected[key]), key
    answers = torch.load(folders[name] / "answers.pt")
    with torch.no_grad():  # the rotary positions are in no file: equal logits need them rebuilt
        key = answers["key"]
        assert torch.equal(loaded(answers["input_ids"])[key], model.eval()(answers["input_ids"])[key])


def test_codebooks_stay_fp32_in_a_language_model_of_half_precision(folders: dict[str, Path]) -> None:
    model = VQDNAModel.from_pretrained(folders["AutoModel"], dtype=torch.bfloat16)
    original = VQDNAModel.from_pretrained(folders["AutoModel"])
    assert model.code_projection.weight.dtype == torch.bfloat16
    assert model.codec.stem.weight.dtype == torch.bfloat16
    for name, value in original.codec.quantizer.state_dict().items():
        assert model.codec.quantizer.state_dict()[name].dtype == torch.float32
        assert torch.equal(model.codec.quantizer.state_dict()[name], value)
