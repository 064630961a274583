# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`handler.py` as Inference Endpoints call it: from the folder, in a process where `vqdna_hf` does not exist."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from clean_process import run_without_package
from example_scripts import TINY_CODEC, TINY_MODEL

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
    build_tokenizer,
    reverse_complement,
)
from vqdna_hf.hub import export
from vqdna_hf.model.handler import EndpointHandler
from vqdna_hf.model.pipeline_vqdna import read_nucleotides

SIZES: dict[str, Any] = {**TINY_MODEL, "max_position_embeddings": 66, "initializer_range": 0.3}
LABELS: dict[str, Any] = {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}}
CLASSES = {
    "bare": VQDNAModel,
    "mlm": VQDNAForMaskedLM,
    "classifier": VQDNAForSequenceClassification,
    "tokens": VQDNAForTokenClassification,
}
SEQUENCE = "ACGTTGCANNGATTAC"
LONG = "".join(random.Random(1).choices("ACGT", k=200))
VERY_LONG = "".join(random.Random(2).choices("ACGT", k=10_000))

# name: (folder, request); a good request is answered, and the answer is compared with the model itself below.
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "labels": ("classifier", {"inputs": SEQUENCE}),
    "labels of a list": ("classifier", {"inputs": [SEQUENCE, "GGC"], "parameters": {}}),
    "labels of a list of one": ("classifier", {"inputs": ["GGC"]}),
    "best label": ("classifier", {"inputs": SEQUENCE, "parameters": {"top_k": 1}}),
    "logits": ("classifier", {"inputs": SEQUENCE, "parameters": {"function_to_apply": "none"}}),
    "pair": ("classifier", {"inputs": {"text": "ACGT", "text_pair": "GGC"}}),
    "lower case": ("classifier", {"inputs": SEQUENCE.lower().replace("t", "u")}),
    "masked": ("mlm", {"inputs": "ACG[MASK]TT"}),
    "masked list": ("mlm", {"inputs": ["ACG[MASK]TT", "[MASK]GGC"], "parameters": {"top_k": 2}}),
    "masked list of one": ("mlm", {"inputs": ["ACG[MASK]TT"]}),
    "two masks": ("mlm", {"inputs": "A[MASK]G[MASK]TT", "parameters": {"targets": ["A", "C"]}}),
    "embedding of a masked LM": ("mlm", {"inputs": SEQUENCE, "options": {"wait_for_model": True}}),
    "embedding": ("bare", {"inputs": SEQUENCE, "parameters": None}),
    "embeddings": ("bare", {"inputs": [SEQUENCE, "GGC"]}),
    "both strands": ("bare", {"inputs": SEQUENCE, "parameters": {"strand": "both", "pooling": "max"}}),
    "both strands, other": (
        "bare",
        {"inputs": reverse_complement(SEQUENCE), "parameters": {"strand": "both", "pooling": "max"}},
    ),
    "layer": ("bare", {"inputs": SEQUENCE, "parameters": {"layer": 0}}),
    "each nucleotide": ("bare", {"inputs": LONG, "parameters": {"pooling": "none", "window": 40, "overlap": 8}}),
    "embedding of a classifier": ("classifier", {"inputs": SEQUENCE, "parameters": {"task": "embedding"}}),
    "entities": ("tokens", {"inputs": SEQUENCE}),
    "groups": ("tokens", {"inputs": [SEQUENCE, "GGC"], "parameters": {"aggregation_strategy": "simple"}}),
    "codes": ("codec", {"inputs": SEQUENCE}),
    "codes of a list": ("codec", {"inputs": [SEQUENCE, "GGC"]}),
    "codes of a very long sequence": ("codec", {"inputs": VERY_LONG}),
    "codes of a classifier": ("classifier", {"inputs": SEQUENCE, "parameters": {"task": "codes"}}),
    "embedding of a codec": ("codec", {"inputs": SEQUENCE, "parameters": {"task": "embedding"}}),
}
BAD: dict[str, tuple[str, Any, str]] = {
    "no inputs": ("classifier", {"sequence": SEQUENCE}, "inputs is missing"),
    "no object": ("classifier", SEQUENCE, "inputs is missing"),
    "nothing": ("classifier", {"inputs": None}, "inputs must be a string of nucleotides, got NoneType"),
    "a number": ("classifier", {"inputs": 7}, "inputs must be a string of nucleotides, got int"),
    "a number in a list": ("bare", {"inputs": ["ACGT", 7]}, "inputs[1] must be a string of nucleotides, got int"),
    "a list in a list": ("bare", {"inputs": [["ACGT"]]}, "inputs[0] must be a string of nucleotides, got list"),
    "an object": ("mlm", {"inputs": {"text": "ACGT"}}, "inputs must be a string of nucleotides, got dict"),
    "half a pair": ("classifier", {"inputs": {"text": "ACGT"}}, "inputs: a pair is {'text': ..., 'text_pair': ...}"),
    "a bad pair": ("classifier", {"inputs": {"text": "A", "text_pair": "A-"}}, "inputs.text_pair: '-' at position 1"),
    "an empty list": ("bare", {"inputs": []}, "inputs is an empty list"),
    "an empty sequence": ("classifier", {"inputs": ["ACGT", ""]}, "inputs[1] is empty"),
    "a letter": ("classifier", {"inputs": ["ACGT", "AC-GT"]}, "inputs[1]: '-' at position 2 is no nucleotide"),
    "a letter beside a mask": ("mlm", {"inputs": "[MASK]AC-GT"}, "inputs: '-' at position 8 is no nucleotide"),
    "a mask for a classifier": ("classifier", {"inputs": "A[MASK]"}, "inputs: '[' at position 1 is no nucleotide"),
    "no mask": ("mlm", {"inputs": ["A[MASK]", "ACG"]}, "inputs[1] holds no [MASK]"),
    "too long": ("classifier", {"inputs": ["A", LONG]}, "inputs[1] has 200 nucleotides, text-classification reads at"),
    "too long a pair": ("classifier", {"inputs": {"text": "A" * 32, "text_pair": "A" * 32}}, "reads at most 63"),
    "too long a masked": ("mlm", {"inputs": LONG + "[MASK]"}, "inputs has 201 nucleotides, fill-mask reads at most 64"),
    "too long for codes": ("codec", {"inputs": "A" * 1_000_001}, "at most 1000000 are answered at once"),
    "too many": ("bare", {"inputs": ["A"] * 257}, "inputs has 257 sequences, at most 256"),
    "parameters": ("bare", {"inputs": "ACGT", "parameters": [1]}, "parameters must be an object, got [1]"),
    "an unknown parameter": (
        "bare",
        {"inputs": "ACGT", "parameters": {"pool": "max"}},
        "parameters.pool is unknown: did you mean 'pooling'?",
    ),
    "another task's parameter": (
        "classifier",
        {"inputs": "ACGT", "parameters": {"strand": "both"}},
        "parameters.strand is unknown: for the task text-classification there are task, function_to_apply, top_k",
    ),
    "an unknown task": (
        "bare",
        {"inputs": "ACGT", "parameters": {"task": "fill-mask"}},
        "parameters.task is 'fill-mask', this model knows codes, embedding",
    ),
    "a task that is a list": ("bare", {"inputs": "ACGT", "parameters": {"task": ["codes"]}}, "parameters.task is"),
    "top_k": ("classifier", {"inputs": "ACGT", "parameters": {"top_k": 0}}, "parameters.top_k is 0"),
    "top_k as text": ("mlm", {"inputs": "[MASK]", "parameters": {"top_k": "2"}}, "parameters.top_k is '2'"),
    "targets": ("mlm", {"inputs": "[MASK]", "parameters": {"targets": ["N"]}}, "parameters.targets is ['N']"),
    "a function": (
        "classifier",
        {"inputs": "ACGT", "parameters": {"function_to_apply": "log"}},
        "parameters.function_to_apply is 'log': choose one of",
    ),
    "an aggregation": (
        "tokens",
        {"inputs": "ACGT", "parameters": {"aggregation_strategy": 1}},
        "parameters.aggregation_strategy is 1: choose one of",
    ),
    "labels": ("tokens", {"inputs": "ACGT", "parameters": {"ignore_labels": "no"}}, "parameters.ignore_labels is 'no'"),
    "pooling": ("bare", {"inputs": "ACGT", "parameters": {"pooling": "sum"}}, "pooling='sum': choose one of"),
    "a window": ("bare", {"inputs": "ACGT", "parameters": {"window": 65}}, "window=65: this model reads 1 to 64"),
    "a layer": ("bare", {"inputs": "ACGT", "parameters": {"layer": [1]}}, "layer=[1] must be a whole number"),
}

ENDPOINT = """
import importlib.util
torch.use_deterministic_algorithms(True)
handlers = {}
for name, folder in arguments["folders"].items():
    # As the inference toolkit does it.
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("handler", os.path.join(folder, "handler.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handlers[name] = module.EndpointHandler(folder)
report["good"], report["bad"], report["still"] = {}, {}, {}
for name, (folder, request) in arguments["good"].items():
    answer = handlers[folder](request)
    report["good"][name] = json.loads(json.dumps(answer))
    assert handlers[folder](request) == answer, name
for name, (folder, request) in arguments["bad"].items():
    try:
        report["bad"][name] = {"answer": handlers[folder](request)}
    except Exception as error:
        # What the inference toolkit sends with status 400 is str(error).
        found = {"error": str(error), "type": type(error).__name__, "chained": error.__cause__ is not None}
        report["bad"][name] = found
for name, (folder, request) in arguments["good"].items():
    report["still"][name] = handlers[folder](request) == report["good"][name]

def fail(*args, **kwargs):
    raise KeyError("/some/internal/path")
works = handlers["bare"]._pipelines["embedding"]
handlers["bare"]._pipelines["embedding"] = fail
try:
    handlers["bare"]({"inputs": "ACGT"})
except RuntimeError as error:
    report["failure"] = str(error)
handlers["bare"]._pipelines["embedding"] = works
handlers["bare"]({"inputs": "ACGT"})
report["training"] = any(handler.model.training for handler in handlers.values())
"""


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, initializer_range=0.3)).train()
    codec(torch.randint(5, 9, (8, 60)))
    codec.eval()
    models: dict[str, Any] = {"codec": codec}
    for name, cls in CLASSES.items():
        models[name] = cls.from_codec(codec, **SIZES, **LABELS).eval()
    return models


@pytest.fixture(scope="module")
def report(models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("exports")
    for name, model in models.items():
        export(model, root / name)
    return run_without_package(
        ENDPOINT,
        tmp_path_factory.mktemp("home"),
        folders={name: str(root / name) for name in models},
        good=GOOD,
        bad={name: (folder, request) for name, (folder, request, _) in BAD.items()},
    )


@pytest.fixture
def good(report: dict[str, Any]) -> dict[str, Any]:
    return report["good"]


def run(model: Any, *text: str) -> Any:
    with torch.no_grad():
        return model(build_tokenizer()(*text, return_tensors="pt").input_ids, output_hidden_states=True)


def by_label(answer: list[dict[str, Any]]) -> dict[str, float]:
    return {entry["label"]: entry["score"] for entry in answer}


def test_a_classifier_gives_every_label(good: dict[str, Any], models: dict[str, Any]) -> None:
    logits = run(models["classifier"], SEQUENCE).logits[0]
    expected = dict(zip(("no", "yes"), logits.softmax(-1).tolist(), strict=True))
    assert by_label(good["labels"]) == pytest.approx(expected, abs=1e-5)
    assert by_label(good["logits"]) == pytest.approx(dict(zip(("no", "yes"), logits.tolist(), strict=True)), abs=1e-5)
    assert good["labels"][0]["score"] > good["labels"][1]["score"]
    assert good["best label"] == good["labels"][:1]
    assert good["lower case"] == good["labels"]
    other = run(models["classifier"], "GGC").logits[0].softmax(-1).tolist()
    found = [by_label(answer) for answer in good["labels of a list"]]
    assert found == [pytest.approx(expected, abs=1e-5), pytest.approx(dict(zip(("no", "yes"), other)), abs=1e-5)]  # noqa: B905
    assert [by_label(answer) for answer in good["labels of a list of one"]] == [pytest.approx(found[1], abs=1e-5)]
    pair = run(models["classifier"], "ACGT", "GGC").logits[0].softmax(-1).tolist()
    assert sorted(by_label(good["pair"]).values()) == pytest.approx(sorted(pair), abs=1e-5)


def test_a_masked_sequence_is_filled_with_nucleotides(good: dict[str, Any], models: dict[str, Any]) -> None:
    answer = good["masked"]
    assert {entry["token_str"] for entry in answer} == set("ACGT")
    scores = run(models["mlm"], "ACG[MASK]TT").logits[0, 4].softmax(-1)
    for entry in answer:
        assert entry["score"] == pytest.approx(scores[entry["token"]].item(), abs=1e-5)
        assert entry["sequence"] == f"ACG{entry['token_str']}TT"
    assert good["masked list of one"] == [answer]
    assert [len(entries) for entries in good["masked list"]] == [2, 2]
    assert good["masked list"][0][0]["token_str"] == answer[0]["token_str"]
    assert [{entry["token_str"] for entry in mask} for mask in good["two masks"]] == [{"A", "C"}] * 2


def test_embeddings_are_the_mean_over_nucleotides(good: dict[str, Any], models: dict[str, Any]) -> None:
    for name, request in (("bare", "embedding"), ("mlm", "embedding of a masked LM")):
        expected = run(models[name], SEQUENCE).hidden_states[-1][0, 1:-1].mean(0)
        assert good[request] == pytest.approx(expected.tolist(), abs=1e-5)
    expected = run(models["classifier"], SEQUENCE).hidden_states[-1][0, 1:-1].mean(0)
    assert good["embedding of a classifier"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert good["embeddings"][0] == pytest.approx(good["embedding"], abs=1e-5)
    assert len(good["embeddings"]) == 2
    first = run(models["bare"], SEQUENCE).hidden_states[0][0, 1:-1].mean(0)
    assert good["layer"] == pytest.approx(first.tolist(), abs=1e-5)
    assert [len(row) for row in good["each nucleotide"]] == [16] * len(LONG)


def test_both_strands_make_one_embedding(good: dict[str, Any], models: dict[str, Any]) -> None:
    strands = [
        run(models["bare"], text).hidden_states[-1][0, 1:-1].amax(0)
        for text in (SEQUENCE, reverse_complement(SEQUENCE))
    ]
    assert good["both strands"] == pytest.approx(torch.stack(strands).mean(0).tolist(), abs=1e-5)
    assert good["both strands, other"] == pytest.approx(good["both strands"], abs=1e-6)


def test_each_nucleotide_gets_its_label(good: dict[str, Any], models: dict[str, Any]) -> None:
    logits = run(models["tokens"], SEQUENCE).logits[0, 1:-1]
    assert [entry["entity"] for entry in good["entities"]] == [("no", "yes")[i] for i in logits.argmax(-1)]
    scores = logits.softmax(-1).amax(-1).tolist()
    assert [entry["score"] for entry in good["entities"]] == pytest.approx(scores, abs=1e-5)
    assert [entry["start"] for entry in good["entities"]] == list(range(len(SEQUENCE)))
    assert ["".join(group["word"] for group in answer) for answer in good["groups"]] == [SEQUENCE, "GGC"]


def test_codes_are_those_of_the_codec(good: dict[str, Any], models: dict[str, Any]) -> None:
    codec = models["codec"]

    def codes(text: str) -> list[list[int]]:
        return codec.encode(build_tokenizer()(text, return_tensors="pt").input_ids).codes[0, :, 1:-1].tolist()

    assert good["codes"] == codes(SEQUENCE)
    assert len({code for level in good["codes"] for code in level}) > 2
    assert good["codes of a list"] == [codes(SEQUENCE), codes("GGC")]
    assert good["codes of a classifier"] == codes(SEQUENCE)
    assert good["codes of a very long sequence"] == codes(VERY_LONG)  # read in windows
    ids = build_tokenizer()(SEQUENCE, return_tensors="pt").input_ids
    vectors = codec.encode(ids).quantized[0, 1:-1]
    assert good["embedding of a codec"] == pytest.approx(vectors.mean(0).tolist(), abs=1e-5)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_one_clear_sentence(name: str, report: dict[str, Any]) -> None:
    found = report["bad"][name]
    assert BAD[name][2] in found.get("error", f"answered: {found}")
    assert found["type"] == "ValueError"
    assert "\n" not in found["error"]
    assert not found["chained"]


def test_the_handler_goes_on_after_bad_requests(report: dict[str, Any]) -> None:
    assert report["still"] == dict.fromkeys(GOOD, True)
    assert not report["training"]


def test_a_failure_of_the_model_tells_nothing_of_the_machine(report: dict[str, Any]) -> None:
    assert report["failure"] == "the model could not answer: the reason is in the endpoint's log"


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_code_may_stand_for_several_nucleotides(stride: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride, initializer_range=0.3)).train()
    codec(torch.randint(5, 9, (8, 60)))
    positions = 64 // stride + 4
    model = VQDNAForMaskedLM.from_codec(codec.eval(), **{**SIZES, "max_position_embeddings": positions}).eval()
    export(model, tmp_path / "mlm")
    handler = EndpointHandler(tmp_path / "mlm")
    for text in ("A", SEQUENCE, VERY_LONG[: 8191 + stride]):  # the last is read in windows
        codes = codec.encode(read_nucleotides(text)[None]).codes[0].tolist()
        assert handler({"inputs": text, "parameters": {"task": "codes"}}) == codes
        assert len(codes[0]) == -(-len(text) // stride)
    masked = LONG[:30] + "[MASK]" + LONG[31:62]  # with two special tokens, all that the model reads
    scores = run(model, masked).logits[0, 31].softmax(-1)
    for entry in handler({"inputs": masked}):
        assert entry["score"] == pytest.approx(scores[entry["token"]].item(), abs=1e-5)
    with pytest.raises(ValueError, match="inputs has 63 nucleotides, fill-mask reads at most 62"):
        handler({"inputs": masked + "A"})
    found = handler({"inputs": LONG[:62], "parameters": {"pooling": "none"}})
    assert torch.allclose(torch.tensor(found), run(model, LONG[:62]).hidden_states[-1][0, 1:-1], atol=1e-5)


def test_every_export_holds_the_handler_and_nothing_to_install(models: dict[str, Any], tmp_path: Path) -> None:
    export(models["bare"], tmp_path / "bare")
    source = Path(__file__).parents[2] / "vqdna_hf" / "model" / "handler.py"
    assert (tmp_path / "bare" / "handler.py").read_bytes() == source.read_bytes()
    assert not (tmp_path / "bare" / "requirements.txt").exists()
    assert json.loads((tmp_path / "bare" / "config.json").read_text())["architectures"] == ["VQDNAModel"]
