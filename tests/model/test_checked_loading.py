# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Folders that are whole load in every way Transformers knows; folders that are not are refused by tensor."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from clean_process import run_without_package
from example_scripts import TINY_CODEC, TINY_MODEL
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAModel,
    VQDNATokenizer,
)
from vqdna_hf.hub import export
from vqdna_hf.model.modeling_vqdna_codec import VQDNACheckpointError

IDS = torch.tensor([[2, 5, 6, 7, 8, 8, 5, 9, 3], [2, 7, 7, 4, 5, 3, 0, 0, 0]])
CODEBOOK = "codec.quantizer.codebooks.0.embed"


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def codec() -> VQDNACodecModel:
    torch.manual_seed(0)
    model = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    with torch.no_grad():
        model(torch.randint(5, 9, (4, 40)))
    return model.eval()


@pytest.fixture(scope="module")
def mlm(codec: VQDNACodecModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported masked language model."""
    folder = tmp_path_factory.mktemp("export") / "mlm"
    export(VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL), folder)
    return folder


@pytest.fixture(scope="module")
def classifier(codec: VQDNACodecModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported classifier of three classes."""
    folder = tmp_path_factory.mktemp("export") / "classifier"
    export(VQDNAForSequenceClassification.from_codec(codec, **TINY_MODEL, num_labels=3), folder)
    return folder


def damaged(source: Path, target: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A copy of an export whose tensors went through `change`."""
    target.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (target / file.name).write_bytes(file.read_bytes())
    tensors = load_file(source / "model.safetensors")
    change(tensors)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_a_missing_tensor_is_named(mlm: Path, tmp_path: Path) -> None:
    folder = damaged(mlm, tmp_path / "m", lambda tensors: tensors.pop(f"vqdna.{CODEBOOK}"))
    for kind, name in ((VQDNAForMaskedLM, f"vqdna.{CODEBOOK}"), (VQDNAModel, CODEBOOK)):
        with pytest.raises(ValueError, match=rf"{folder}: the weights do not fit .* {name} is missing"):
            kind.from_pretrained(folder)


def test_a_missing_weight_of_the_saved_head_is_named(mlm: Path, tmp_path: Path) -> None:
    folder = damaged(mlm, tmp_path / "m", lambda tensors: tensors.pop("nucleotide_decoder.weight"))
    with pytest.raises(VQDNACheckpointError, match=r"nucleotide_decoder\.weight is missing"):
        VQDNAForMaskedLM.from_pretrained(folder)
    VQDNAModel.from_pretrained(folder)  # which has no head, so nothing is missing


def test_another_shape_is_named_with_both_shapes(mlm: Path, tmp_path: Path) -> None:
    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"vqdna.{CODEBOOK}"] = tensors[f"vqdna.{CODEBOOK}"][:4].clone()

    folder = damaged(mlm, tmp_path / "m", shrink)
    with pytest.raises(ValueError, match=rf"{CODEBOOK} has shape \(4, 16\) in the file and \(8, 16\) in the model"):
        VQDNAForMaskedLM.from_pretrained(folder)
    with pytest.raises(RuntimeError):  # as Transformers raises it
        VQDNAForMaskedLM.from_pretrained(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_broken_codebook_is_named(value: float, mlm: Path, tmp_path: Path) -> None:
    folder = damaged(mlm, tmp_path / "m", lambda tensors: tensors[f"vqdna.{CODEBOOK}"][3].fill_(value))
    with pytest.raises(ValueError, match=rf"vqdna\.{CODEBOOK} holds NaN or infinity"):
        VQDNAForMaskedLM.from_pretrained(folder)


def test_the_codec_is_checked_as_well(codec: VQDNACodecModel, tmp_path: Path) -> None:
    export(codec, tmp_path / "codec")
    folder = damaged(tmp_path / "codec", tmp_path / "c", lambda tensors: tensors.pop("decoder.output.bias"))
    with pytest.raises(ValueError, match=r"decoder\.output\.bias is missing"):
        VQDNACodecModel.from_pretrained(folder)


def test_pickles_are_never_read(mlm: Path, tmp_path: Path) -> None:
    folder = damaged(mlm, tmp_path / "m", lambda tensors: None)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        VQDNAForMaskedLM.from_pretrained(folder)


def loading_report(kind: type, folder: Path, **arguments: Any) -> tuple[Any, str]:
    """The model, and what Transformers said while it loaded."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = transformers_logging.get_logger("transformers")
    logger.addHandler(handler)
    try:
        return kind.from_pretrained(folder, **arguments), "\n".join(lines)
    finally:
        logger.removeHandler(handler)


def test_another_number_of_labels_warns_about_the_head_alone(mlm: Path, classifier: Path) -> None:
    """From another head: the whole head is new. From this head: the last layer, and only when asked for."""
    model, said = loading_report(AutoModelForSequenceClassification, mlm, num_labels=5)
    assert model.classifier.weight.shape == (5, 16)
    assert [name for name in ("classifier.weight", "classifier.bias") if name in said] == [
        "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    assert "vqdna." not in said
    with pytest.raises(ValueError, match=r"classifier\.weight has shape \(3, 16\) .* ignore_mismatched_sizes=True"):
        AutoModelForSequenceClassification.from_pretrained(classifier, num_labels=5)
    model, said = loading_report(
        AutoModelForSequenceClassification, classifier, num_labels=5, ignore_mismatched_sizes=True
    )
    assert model.classifier.weight.shape == (5, 16)
    assert said.count("MISMATCH") >= 2
    assert "classifier.weight" in said
    assert "vqdna." not in said
    assert "head.dense" not in said


def test_a_whole_folder_loads_without_a_word(classifier: Path) -> None:
    _, said = loading_report(AutoModelForSequenceClassification, classifier)
    assert said == ""


def test_with_the_package_hub_objects_are_its_own(mlm: Path) -> None:
    """Whether code is trusted or not: what is imported wins over what the folder brings."""
    for trust in ({}, {"trust_remote_code": True}):
        assert type(AutoModel.from_pretrained(mlm, **trust)) is VQDNAModel
    assert type(AutoTokenizer.from_pretrained(mlm)) is VQDNATokenizer


@pytest.mark.parametrize("scaled", [False, True])
def test_input_beyond_the_positions_needs_scaled_rotary_positions(scaled: bool, codec: VQDNACodecModel) -> None:
    values = TINY_MODEL | {"max_position_embeddings": 16}
    model = VQDNAModel.from_codec(codec, **values).eval()
    if scaled:
        parameters = {"rope_type": "linear", "rope_theta": 160_000.0, "factor": 2.0}
        config = model.config.to_dict() | {
            "rope_parameters": {"full_attention": parameters, "sliding_attention": parameters}
        }
        model = VQDNAModel(type(model.config).from_dict(config)).eval()
    ids = torch.randint(5, 9, (1, 20))
    if scaled:
        assert model(ids).last_hidden_state.shape == (1, 20, 16)
    else:
        with pytest.raises(ValueError, match=r"the input has 20 positions.*at most 16: split it"):
            model(ids)


def test_built_under_another_default_dtype_the_codebooks_are_fp32() -> None:
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.bfloat16)
        model = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))
    finally:
        torch.set_default_dtype(default)
    assert {value.dtype for value in model.encoder.quantizer.state_dict().values()} == {torch.float32}
    assert model.decoder.output.weight.dtype == torch.bfloat16


ELSEWHERE = """
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer
ids = torch.tensor(arguments["ids"])
trust = {"trust_remote_code": True}
expected = AutoModelForMaskedLM.from_pretrained(arguments["mlm"], **trust)

def logits(model):
    with torch.no_grad():
        output = model.eval()(ids)
    return output.logits, output.codes

wanted, wanted_codes = logits(expected)
ways = {
    "device_map": {"device_map": "auto"},
    "low_cpu_mem_usage": {"low_cpu_mem_usage": True},
}
for name, extra in ways.items():
    got, codes = logits(AutoModelForMaskedLM.from_pretrained(arguments["mlm"], **trust, **extra))
    report[name] = torch.equal(got, wanted) and torch.equal(codes, wanted_codes)
expected.save_pretrained("sharded", max_shard_size="8KB")
report["shards"] = len([file for file in os.listdir("sharded") if file.endswith(".safetensors")])
got, codes = logits(AutoModelForMaskedLM.from_pretrained("sharded", **trust))
report["sharded"] = torch.equal(got, wanted) and torch.equal(codes, wanted_codes)

half = AutoModelForMaskedLM.from_pretrained(arguments["mlm"], **trust, dtype=torch.bfloat16)
half.save_pretrained("half")
again = AutoModelForMaskedLM.from_pretrained("half", **trust)
report["half dtype"] = str(again.dtype)
report["half codebooks"] = sorted({str(b.dtype) for b in again.vqdna.codec.quantizer.buffers()})
report["half equal"] = torch.equal(logits(half)[0], logits(again)[0])
report["half difference"] = (logits(half)[0].float() - wanted).abs().max().item()
report["half as fp32"] = str(AutoModelForMaskedLM.from_pretrained("half", **trust, dtype=torch.float32).dtype)

config = AutoConfig.from_pretrained(arguments["mlm"], **trust)
with torch.device("meta"):
    empty = AutoModelForMaskedLM.from_config(config, **trust)
report["meta"] = sorted({value.device.type for value in empty.state_dict().values()})
empty.to_empty(device="cpu")
empty.load_state_dict(expected.state_dict())
report["meta keys"] = empty.state_dict().keys() == expected.state_dict().keys()

broken = arguments["broken"]
try:
    AutoModel.from_pretrained(broken, **trust)
    report["broken"] = "loaded"
except ValueError as error:
    report["broken"] = str(error)
try:
    AutoTokenizer.from_pretrained(arguments["mlm"], **trust)(["ACGT", "AC-GT"])
    report["gap"] = "read"
except ValueError as error:
    report["gap"] = str(error)
"""


@pytest.fixture(scope="module")
def elsewhere(mlm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process without the package finds."""
    home = tmp_path_factory.mktemp("home")
    broken = damaged(mlm, home / "broken", lambda tensors: tensors.pop(f"vqdna.{CODEBOOK}"))
    return run_without_package(ELSEWHERE, home, ids=IDS.tolist(), mlm=str(mlm), broken=str(broken))


@pytest.mark.parametrize("way", ["device_map", "low_cpu_mem_usage", "sharded"])
def test_every_way_of_loading_gives_the_same_to_the_bit(way: str, elsewhere: dict[str, Any]) -> None:
    assert elsewhere[way] is True
    assert elsewhere["shards"] > 2


def test_half_precision_is_kept_and_leaves_the_codebooks(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["half dtype"] == "torch.bfloat16"
    assert elsewhere["half codebooks"] == ["torch.float32"]
    assert elsewhere["half equal"] is True
    assert 0 < elsewhere["half difference"] < 0.05
    assert elsewhere["half as fp32"] == "torch.float32"


def test_on_the_meta_device_nothing_is_made(elsewhere: dict[str, Any]) -> None:
    assert elsewhere["meta"] == ["meta"]
    assert elsewhere["meta keys"] is True


def test_remote_code_refuses_as_the_package_does(elsewhere: dict[str, Any]) -> None:
    assert f"{CODEBOOK} is missing" in elsewhere["broken"]
    assert "sequence 1 of the batch: '-' at position 2 is no nucleotide" in elsewhere["gap"]


def test_the_folder_names_every_auto_class(mlm: Path) -> None:
    config = json.loads((mlm / "config.json").read_text())
    assert config["auto_map"].keys() == {
        "AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification",
        "AutoModelForTokenClassification",
    }  # fmt: skip
    tokenizer = json.loads((mlm / "tokenizer_config.json").read_text())
    assert tokenizer["auto_map"] == {"AutoTokenizer": ["tokenization_vqdna.VQDNATokenizer", None]}


def reconfigured(source: Path, target: Path, **values: Any) -> Path:
    """A copy of an export whose configuration says something else."""
    damaged(source, target, lambda tensors: None)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **values}))
    return target


def test_what_is_left_over_is_named(mlm: Path, codec: VQDNACodecModel, tmp_path: Path) -> None:
    """A smaller configuration than the weights is another model, however well it loads."""
    config = json.loads((mlm / "config.json").read_text())["codec_config"]
    smaller = {**config, "codebook_sizes": [8], "tap_positions": [1], "num_blocks": 1}
    folder = reconfigured(mlm, tmp_path / "m", codec_config=smaller)
    with pytest.raises(ValueError, match=r"vqdna\.codec\.blocks\.1\.depthwise\.bias is left over"):
        VQDNAForMaskedLM.from_pretrained(folder)
    export(codec, tmp_path / "codec")
    folder = reconfigured(tmp_path / "codec", tmp_path / "c", **smaller)
    with pytest.raises(ValueError, match=r"decoder\.blocks\.1\.depthwise\.bias is left over"):
        VQDNACodecModel.from_pretrained(folder)


def test_the_codec_never_starts_anew(classifier: Path, tmp_path: Path) -> None:
    """`ignore_mismatched_sizes` is for heads: a codebook made anew would be no vocabulary."""
    config = json.loads((classifier / "config.json").read_text())["codec_config"]
    folder = reconfigured(classifier, tmp_path / "m", codec_config={**config, "codebook_sizes": [8, 32]})
    with pytest.raises(ValueError, match=r"codebooks\.1\.embed has shape \(16, 16\) in the file and \(32, 16\)"):
        VQDNAForSequenceClassification.from_pretrained(folder, ignore_mismatched_sizes=True)


def test_pickles_are_not_read_on_request_either(mlm: Path) -> None:
    with pytest.raises(ValueError, match="safetensors alone, never from pickles"):
        VQDNAForMaskedLM.from_pretrained(mlm, use_safetensors=False)


def test_another_type_of_model_is_said(mlm: Path, codec: VQDNACodecModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="this is a model of type vqdna, and one of type vqdna_codec is needed"):
        VQDNACodecModel.from_pretrained(mlm)
    export(codec, tmp_path / "codec")
    with pytest.raises(ValueError, match="this is a model of type vqdna_codec, and one of type vqdna is needed"):
        VQDNAModel.from_pretrained(tmp_path / "codec")


def test_weights_that_cannot_be_read_are_said_with_their_folder(mlm: Path, tmp_path: Path) -> None:
    folder = damaged(mlm, tmp_path / "m", lambda tensors: None)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{folder}: the weights cannot be read"):
        VQDNAForMaskedLM.from_pretrained(folder)


def test_more_layers_than_layer_types_are_refused(mlm: Path) -> None:
    with pytest.raises(ValueError, match="num_hidden_layers=4 and 1 layer_types: there must be one for each layer"):
        VQDNAForMaskedLM.from_pretrained(mlm, num_hidden_layers=4)


@pytest.mark.parametrize("on_disk", ["codec", "code_embeddings", "backbone"])
def test_offloaded_weights_give_the_same(on_disk: str, mlm: Path, tmp_path: Path) -> None:
    """Weights on disk are fetched when their module is called: none may be read past its module."""
    parts = ("codec", "code_projection", "code_embeddings", "backbone")
    places = {part: "disk" if part == on_disk else "cpu" for part in parts}
    model = VQDNAModel.from_pretrained(mlm, device_map=places, offload_folder=tmp_path / "off")
    assert "meta" in {value.device.type for value in model.parameters()}
    expected = VQDNAModel.from_pretrained(mlm)
    with torch.no_grad():
        found, wanted = model(IDS), expected(IDS)
    assert torch.equal(found.codes, wanted.codes)
    assert torch.equal(found.last_hidden_state, wanted.last_hidden_state)


def test_the_cls_token_is_found_behind_padding_on_the_left(codec: VQDNACodecModel) -> None:
    model = VQDNAForSequenceClassification.from_codec(codec, **TINY_MODEL, classifier_pooling="cls").eval()
    sequence = torch.tensor([[2, 5, 6, 7, 3]])
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), sequence], 1)
    with torch.no_grad():
        wanted = model(sequence).logits
        for mask in (None, (padded != 0).long()):
            torch.testing.assert_close(model(padded, attention_mask=mask).logits, wanted, atol=1e-5, rtol=0)
