# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Stock pipelines on exported folders, and our own, `dna-embedding`: with the package, and where it does not exist."""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clean_process import run_without_package
from example_scripts import TINY_CODEC, TINY_MODEL
from torch.utils.data import Dataset
from transformers import PreTrainedModel, pipeline
from transformers.pipelines import PIPELINE_REGISTRY, Pipeline

from vqdna_hf import (
    DNAEmbeddingPipeline,
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
from vqdna_hf.model.pipeline_vqdna import plan_windows, read_nucleotides, stitch_windows

SIZES: dict[str, Any] = {**TINY_MODEL, "num_hidden_layers": 2, "max_position_embeddings": 66, "initializer_range": 0.3}
LABELS: dict[str, Any] = {
    "id2label": {0: "promoter", 1: "enhancer", 2: "neither"},
    "label2id": {"promoter": 0, "enhancer": 1, "neither": 2},
}
SEQUENCES = ["ACGTTGCA", "GGC", "TTACGNNACGATTTAGACC"]
LONG = "".join(random.Random(0).choices("ACGT", k=300))


@pytest.fixture(scope="module")
def models() -> dict[str, PreTrainedModel]:
    """One of each, from the same codec; weights large enough that answers differ."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, initializer_range=0.3)).train()
    codec(torch.randint(5, 9, (8, 60)))
    codec.eval()
    return {
        "codec": codec,
        "bare": VQDNAModel.from_codec(codec, **SIZES).eval(),
        "mlm": VQDNAForMaskedLM.from_codec(codec, **SIZES).eval(),
        "classifier": VQDNAForSequenceClassification.from_codec(codec, **SIZES, **LABELS).eval(),
        "tokens": VQDNAForTokenClassification.from_codec(codec, **SIZES, **LABELS).eval(),
    }


@pytest.fixture(scope="module")
def folders(models: dict[str, PreTrainedModel], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("exports")
    for name, model in models.items():
        export(model, root / name)
    return {name: root / name for name in models}


@pytest.fixture(scope="module")
def pipes(folders: dict[str, Path]) -> dict[str, Pipeline]:
    """With the package imported nothing asks for trust, and answers come from the same folders."""
    tasks = {
        "mlm": "fill-mask",
        "bare": "feature-extraction",
        "classifier": "text-classification",
        "tokens": "token-classification",
    }
    return {task: pipeline(task, model=str(folders[name]), device="cpu") for name, task in tasks.items()}


@pytest.fixture(scope="module")
def embed(folders: dict[str, Path]) -> DNAEmbeddingPipeline:
    pipe = pipeline("dna-embedding", model=str(folders["mlm"]), device="cpu", return_tensors="np")
    assert isinstance(pipe, DNAEmbeddingPipeline)
    return pipe


def states_of(model: PreTrainedModel, sequence: str, layer: int = -1) -> torch.Tensor:
    """(n, H): what the model itself gives for the nucleotides of a sequence."""
    with torch.no_grad():
        output = model.base_model(build_tokenizer()(sequence, return_tensors="pt").input_ids, output_hidden_states=True)
    return output.hidden_states[layer][0, 1:-1]


# Stock pipelines.


def test_fill_mask_gives_the_probabilities_of_the_model(
    pipes: dict[str, Pipeline], models: dict[str, PreTrainedModel]
) -> None:
    answers = pipes["fill-mask"]("ACG[MASK]TT", targets=list("ACGT"))
    assert {answer["token_str"] for answer in answers} == set("ACGT")
    with torch.no_grad():
        logits = models["mlm"](torch.tensor([[2, 5, 6, 7, 4, 8, 8, 3]])).logits[0, 4]
    expected = dict(zip("ACGT", logits.softmax(-1)[5:9].tolist(), strict=True))
    assert {answer["token_str"]: answer["score"] for answer in answers} == pytest.approx(expected, abs=1e-6)
    assert answers == sorted(answers, key=lambda answer: -answer["score"])
    best = max(expected, key=lambda letter: expected[letter])
    assert answers[0]["sequence"] == f"ACG{best}TT"


def test_fill_mask_with_several_masks_answers_each(pipes: dict[str, Pipeline]) -> None:
    answers = pipes["fill-mask"]("A[MASK]G[MASK]TT", targets=list("ACGT"), top_k=2)
    assert [len(answer) for answer in answers] == [2, 2]


def test_a_trained_model_proposes_nucleotides_alone() -> None:
    # Special tokens have logits too, and an untrained model may propose them. They are never a label, so training
    # drives them down: no mask hides them, and none has to.
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (4, 40)))
    model = VQDNAForMaskedLM.from_codec(codec.eval(), **{**TINY_MODEL, "code_loss_weight": 0}).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    for _ in range(30):
        labels = torch.randint(5, 9, (8, 24))
        model(torch.full_like(labels, 4), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    fill = pipeline("fill-mask", model=model.eval(), tokenizer=build_tokenizer(), device="cpu")
    answers = fill("ACG[MASK]TT", top_k=4)
    assert {answer["token_str"] for answer in answers} == set("ACGT")
    assert sum(answer["score"] for answer in answers) > 0.99


def test_feature_extraction_gives_the_hidden_states(
    pipes: dict[str, Pipeline], models: dict[str, PreTrainedModel]
) -> None:
    found = pipes["feature-extraction"](SEQUENCES, return_tensors=True, batch_size=3)
    for sequence, states in zip(SEQUENCES, found, strict=True):
        expected = states_of(models["bare"], sequence)
        torch.testing.assert_close(states[0, 1 : len(sequence) + 1], expected, atol=1e-5, rtol=0)


def test_text_classification_names_the_labels(pipes: dict[str, Pipeline], models: dict[str, PreTrainedModel]) -> None:
    classify = pipes["text-classification"]
    scores = {answer["label"]: answer["score"] for answer in classify("ACGTTGCA", top_k=None)}
    with torch.no_grad():
        logits = models["classifier"](build_tokenizer()("ACGTTGCA", return_tensors="pt").input_ids).logits[0]
    assert scores == pytest.approx(dict(zip(LABELS["label2id"], logits.softmax(-1).tolist(), strict=True)), abs=1e-6)
    assert classify("ACGTTGCA")[0]["label"] == max(scores, key=lambda label: scores[label])
    assert len(classify("ACGTTGCA", top_k=2)) == 2
    with torch.no_grad():
        ids = build_tokenizer()("ACGTT", "GCA", return_tensors="pt").input_ids
        logits = models["classifier"](ids).logits[0]
    pair = classify({"text": "ACGTT", "text_pair": "GCA"}, top_k=None)
    assert max(answer["score"] for answer in pair) == pytest.approx(logits.softmax(-1).max().item(), abs=1e-6)


def test_token_classification_labels_each_nucleotide(
    pipes: dict[str, Pipeline], models: dict[str, PreTrainedModel]
) -> None:
    label = pipes["token-classification"]
    sequence = SEQUENCES[2]
    answers = label(sequence)
    assert [(answer["start"], answer["end"]) for answer in answers] == [(i, i + 1) for i in range(len(sequence))]
    assert "".join(answer["word"] for answer in answers) == sequence
    with torch.no_grad():
        logits = models["tokens"](build_tokenizer()(sequence, return_tensors="pt").input_ids).logits[0, 1:-1]
    names = list(LABELS["label2id"])
    assert [answer["entity"] for answer in answers] == [names[index] for index in logits.argmax(-1).tolist()]
    assert [answer["score"] for answer in answers] == pytest.approx(logits.softmax(-1).amax(-1).tolist(), abs=1e-6)
    groups = label(sequence, aggregation_strategy="simple")
    assert 1 < len(groups) < len(sequence)
    assert "".join(group["word"] for group in groups) == sequence
    assert [group["start"] for group in groups[1:]] == [group["end"] for group in groups[:-1]]
    for group in groups:
        assert {a["entity"] for a in answers[group["start"] : group["end"]]} == {group["entity_group"]}


def scores_in(answers: Any) -> list[float]:
    """Every score, in order, however deep."""
    if isinstance(answers, dict):
        return [float(answers["score"])]
    return [score for answer in answers for score in scores_in(answer)]


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("fill-mask", {"targets": list("ACGT")}),
        ("text-classification", {"top_k": None}),
        ("token-classification", {}),
    ],
)
def test_a_batch_answers_as_one_by_one(task: str, options: dict[str, Any], pipes: dict[str, Pipeline]) -> None:
    sequences = [f"{sequence}[MASK]" if task == "fill-mask" else sequence for sequence in SEQUENCES]
    together = scores_in(pipes[task](sequences, batch_size=3, **options))
    alone = scores_in([pipes[task](sequence, **options) for sequence in sequences])
    assert len(set(alone)) > 3
    assert together == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize("task", ["fill-mask", "feature-extraction", "text-classification", "token-classification"])
def test_the_alphabet_policy_holds_in_every_pipeline(task: str, pipes: dict[str, Pipeline]) -> None:
    tail = "[MASK]" if task == "fill-mask" else ""
    expected = pipes[task]("ACGTTNNGATT" + tail)
    assert pipes[task]("acgUTnRgatu" + tail) == expected
    with pytest.raises(ValueError, match="'-' at position 3"):
        pipes[task]("ACG-TT" + tail)


# Windows.


@pytest.mark.parametrize(("window", "overlap"), [(10, 0), (10, 1), (10, 4), (10, 9), (7, 3), (1, 0)])
def test_every_position_belongs_to_the_window_in_which_it_is_most_central(window: int, overlap: int) -> None:
    for length in range(1, 45):
        plan = plan_windows(length, window, overlap)
        assert [piece.keep_start for piece in plan[1:]] == [piece.keep_end for piece in plan[:-1]]
        assert (plan[0].keep_start, plan[-1].keep_end) == (0, length)
        assert {piece.end - piece.start for piece in plan} == {min(window, length)}
        assert all(later.start <= earlier.end - overlap for earlier, later in itertools.pairwise(plan))
        for piece in plan:
            assert piece.start <= piece.keep_start < piece.keep_end <= piece.end
            for position in range(piece.keep_start, piece.keep_end):
                distances = [
                    abs(2 * position - other.start - other.end + 1)
                    for other in plan
                    if other.start <= position < other.end
                ]
                assert abs(2 * position - piece.start - piece.end + 1) == min(distances)


@pytest.mark.parametrize(
    ("values", "message"), [((0, 4, 2), "length=0"), ((9, 0, 0), "window=0"), ((9, 4, 4), "overlap=4")]
)
def test_windows_that_cover_nothing_are_refused(values: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan_windows(*values)


def test_results_that_do_not_fit_their_windows_are_refused() -> None:
    plan = plan_windows(10, 6, 2)
    with pytest.raises(ValueError, match="1 results for 2 windows"):
        stitch_windows([torch.zeros(6)], plan)
    with pytest.raises(ValueError, match="5 rows"):
        stitch_windows([torch.zeros(6), torch.zeros(5)], plan)


def test_text_is_read_as_the_tokenizer_reads_it() -> None:
    text = "acgtunACGTUNRYSWKMBDHVryswkmbdhv"
    assert read_nucleotides(text).tolist() == build_tokenizer()(text).input_ids[1:-1]


# dna-embedding.


def test_an_embedding_is_the_mean_over_nucleotides_and_n(
    embed: DNAEmbeddingPipeline, models: dict[str, PreTrainedModel]
) -> None:
    for sequence in SEQUENCES:
        vector = embed(sequence)
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, states_of(models["mlm"], sequence).mean(0), atol=1e-5)


def test_each_pooling_is_what_it_says(embed: DNAEmbeddingPipeline, models: dict[str, PreTrainedModel]) -> None:
    sequence = SEQUENCES[2]
    states = states_of(models["mlm"], sequence)
    np.testing.assert_allclose(embed(sequence, pooling="max"), states.amax(0), atol=1e-5)
    np.testing.assert_allclose(embed(sequence, pooling="none"), states, atol=1e-5)
    with torch.no_grad():
        ids = build_tokenizer()(sequence, return_tensors="pt").input_ids
        first = models["mlm"].base_model(ids).last_hidden_state[0, 0]
    np.testing.assert_allclose(embed(sequence, pooling="cls"), first, atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_any_layer_can_be_asked_for(
    layer: int, embed: DNAEmbeddingPipeline, models: dict[str, PreTrainedModel]
) -> None:
    found = embed(SEQUENCES[0], layer=layer)
    np.testing.assert_allclose(found, states_of(models["mlm"], SEQUENCES[0], layer).mean(0), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "none"])
def test_strands(pooling: str, embed: DNAEmbeddingPipeline) -> None:
    for sequence in (SEQUENCES[2], LONG):
        other = reverse_complement(sequence)
        forward, reverse, both = (
            embed(sequence, strand=strand, pooling=pooling) for strand in ("forward", "reverse", "both")
        )
        mirrored = embed(other, pooling=pooling)
        assert not np.allclose(forward, reverse, atol=1e-3)
        # Row i belongs to letter i of the text that was given, on the other strand too.
        assert np.array_equal(reverse, mirrored[::-1] if pooling == "none" else mirrored)
        np.testing.assert_allclose(both, (forward + reverse) / 2, atol=1e-6)
        swapped = embed(other, strand="both", pooling=pooling)
        np.testing.assert_allclose(both, swapped[::-1] if pooling == "none" else swapped, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "none"])
def test_a_sequence_that_fits_is_read_in_one_pass(pooling: str, embed: DNAEmbeddingPipeline) -> None:
    sequence = LONG[:64]  # the model reads 66 positions, two of them special
    once = embed(sequence, pooling=pooling)
    assert np.array_equal(embed(sequence, pooling=pooling, window=64, overlap=63), once)
    assert not np.allclose(embed(sequence, pooling=pooling, window=32), once, atol=1e-4)


def test_a_long_sequence_is_stitched_from_its_windows(
    embed: DNAEmbeddingPipeline, models: dict[str, PreTrainedModel]
) -> None:
    plan = plan_windows(len(LONG), 40, 12)
    expected = stitch_windows([states_of(models["mlm"], LONG[piece.start : piece.end]) for piece in plan], plan)
    found = embed(LONG, pooling="none", window=40, overlap=12)
    assert found.shape == (len(LONG), 16)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(embed(LONG, window=40, overlap=12), expected.mean(0), atol=1e-5)
    np.testing.assert_allclose(embed(LONG, window=40, overlap=12, pooling="max"), expected.amax(0), atol=1e-5)
    assert np.array_equal(embed(LONG, pooling="none", window=40, overlap=12), found)
    default = plan_windows(len(LONG), 64, 16)
    expected = stitch_windows([states_of(models["mlm"], LONG[piece.start : piece.end]) for piece in default], default)
    np.testing.assert_allclose(embed(LONG), expected.mean(0), atol=1e-5)


def test_windows_cut_a_sequence_into_the_same_patches_on_both_strands() -> None:
    chance = random.Random(3)
    for _ in range(300):
        stride, length, window = chance.choice([2, 4, 8]), chance.randint(1, 200), chance.randint(20, 90)
        overlap = chance.randint(0, window - 2 * stride + 1)
        plan = plan_windows(length, window, overlap, stride)
        assert [piece.keep_start for piece in plan] == [0, *(piece.keep_end for piece in plan[:-1])]
        assert plan[-1].keep_end == length
        assert len({piece.end - piece.start for piece in plan}) == 1
        assert len(plan) == 1 or window - stride < plan[0].end - plan[0].start <= window
        for piece, following in itertools.zip_longest(plan, plan[1:]):
            assert piece.start % stride == (length - piece.end) % stride == 0
            assert piece.start <= piece.keep_start < piece.keep_end <= piece.end
            assert following is None or piece.end - following.start >= overlap
        patches = [torch.arange(piece.start // stride, -(-piece.end // stride)) for piece in plan]
        assert stitch_windows(patches, plan, stride).tolist() == list(range(-(-length // stride)))
    with pytest.raises(ValueError, match="must be at least 7 longer than the overlap"):
        plan_windows(100, 16, 10, stride=4)
    with pytest.raises(ValueError, match="there must be one for 4 positions"):
        stitch_windows([torch.zeros(9)], plan_windows(9, 16, 0, stride=4), stride=4)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_a_code_may_stand_for_several_nucleotides(stride: int) -> None:
    """Windows in phase, each strand in its own; the longest is what the model reads; codecs answer per nucleotide."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride, initializer_range=0.3)).train()
    codec(torch.randint(5, 9, (8, 60)))
    model = VQDNAForMaskedLM.from_codec(codec.eval(), **{**SIZES, "max_position_embeddings": 64 // stride + 4}).eval()
    embed = pipeline("dna-embedding", model=model, tokenizer=build_tokenizer(), device="cpu", return_tensors="pt")
    text = LONG[:201]
    for options, (window, overlap) in (({}, (62, 15)), ({"window": 45, "overlap": 9}, (45, 9))):
        plan = plan_windows(len(text), window, overlap, stride)
        strands = []
        for one in (text, reverse_complement(text)):
            strands.append(stitch_windows([states_of(model, one[at.start : at.end]) for at in plan], plan))
        strands[1] = strands[1].flip(0)
        for strand, expected in zip(("forward", "reverse"), strands, strict=True):
            found = embed(text, pooling="none", strand=strand, batch_size=4, **options)
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)
        both = embed(text, strand="both", **options)
        torch.testing.assert_close(both, torch.stack(strands).mean((0, 1)), atol=2e-5, rtol=0)
        torch.testing.assert_close(embed(reverse_complement(text), strand="both", **options), both, atol=1e-6, rtol=0)
    for layer in (0, 1):
        found = embed(text[:62], pooling="none", layer=layer)
        torch.testing.assert_close(found, states_of(model, text[:62], layer), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="window=63: this model reads 1 to 62 nucleotides at once"):
        embed(text, window=63)
    embed = pipeline("dna-embedding", model=codec, tokenizer=build_tokenizer(), device="cpu", return_tensors="pt")
    expected = codec.encode(read_nucleotides(text)[None]).quantized[0].repeat_interleave(stride, 0)[: len(text)]
    found = embed([text, "ACGTA"], pooling="none", batch_size=2)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize("strand", ["forward", "both"])
def test_windows_of_several_sequences_share_batches(
    batch_size: int, strand: str, embed: DNAEmbeddingPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = [LONG, *SEQUENCES, LONG[50:250]]
    alone = [embed(sequence, strand=strand) for sequence in sequences]
    sizes = []
    original = embed._hidden_states

    def count(input_ids: torch.Tensor, *args: Any) -> torch.Tensor:
        sizes.append(len(input_ids))
        return original(input_ids, *args)

    monkeypatch.setattr(embed, "_hidden_states", count)
    together = embed(sequences, strand=strand, batch_size=batch_size)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    windows = sum(len(plan_windows(len(s), 64, 16)) for s in sequences) * (2 if strand == "both" else 1)
    assert sizes == [batch_size] * (windows // batch_size) + [windows % batch_size] * (windows % batch_size > 0)


class Rows(Dataset):  # type: ignore[type-arg]
    """As rows of `load_dataset("fasta")`; like many data sets it never says by itself that it is over."""

    def __len__(self) -> int:
        return len(SEQUENCES)

    def __getitem__(self, index: int) -> dict[str, str]:
        return {"id": f"r{index}", "description": "", "sequence": SEQUENCES[index % len(SEQUENCES)]}


def test_input_may_come_in_many_forms(embed: DNAEmbeddingPipeline) -> None:
    expected = np.stack([embed(sequence) for sequence in SEQUENCES])
    assert isinstance(embed(SEQUENCES), list)
    assert np.array_equal(np.stack(embed(tuple(SEQUENCES))), expected)
    assert np.array_equal(embed({"id": "x", "sequence": SEQUENCES[0]}), expected[0])
    assert np.array_equal(np.stack(embed([{"sequence": sequence} for sequence in SEQUENCES])), expected)
    rows = Rows()
    assert np.array_equal(np.stack(list(embed(rows[i] for i in range(3)))), expected)
    streamed = embed(sequence for sequence in SEQUENCES)
    assert not isinstance(streamed, list)
    assert np.array_equal(np.stack(list(streamed)), expected)
    assert embed([]) == []
    assert np.array_equal(embed("acgUugca"), expected[0])


def test_a_data_set_is_read_to_its_end(embed: DNAEmbeddingPipeline) -> None:
    assert len(list(embed(Rows()))) == len(Rows())


@pytest.mark.filterwarnings("error")
def test_more_windows_than_sequences_are_no_reason_to_warn(embed: DNAEmbeddingPipeline) -> None:
    assert len(embed([LONG, LONG[:200]])) == 2


def test_what_comes_back_can_be_chosen(folders: dict[str, Path]) -> None:
    embed = pipeline("dna-embedding", model=str(folders["bare"]), device="cpu")
    vector = embed("ACGT")
    assert isinstance(vector, list)
    assert isinstance(vector[0], float)
    tensor = embed("ACGT", return_tensors=True)
    assert (tensor.dtype, tensor.tolist()) == (torch.float32, vector)
    assert torch.equal(embed("ACGT", return_tensors="pt"), tensor)
    assert embed("ACGT", return_tensors="np").tolist() == vector
    assert [len(row) for row in embed("ACGT", pooling="none")] == [16] * 4
    options = pipeline("dna-embedding", model=str(folders["bare"]), device="cpu", pooling="max", strand="both")
    assert options("ACGT") == embed("ACGT", pooling="max", strand="both")
    assert options("ACGT", pooling="mean", strand="forward") == vector


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("", "the sequence is empty"),
        (["ACGT", ""], "sequence 1 is empty"),
        ("AC-GT", "the sequence: '-' at position 2 is no nucleotide"),
        (["ACGT", "ACGT\n"], r"sequence 1: '\\n' at position 4"),
        (["ACGT", "AC[MASK]"], r"sequence 1: '\[' at position 2"),
        (["ACGT", "AĀC"], "sequence 1: 'Ā' at position 1"),
        (["ACGT", 7], "sequence 1 must be a string of nucleotides, got int"),
        (["ACGT", None], "sequence 1 must be a string"),
        ([b"ACGT"], "sequence 0 must be a string of nucleotides, got bytes"),
        ([{"id": "chr1", "sequence": "AC GT"}], r"sequence 0 \('chr1'\): ' ' at position 2"),
        ([{"id": "chr1"}], "sequence 0: a dictionary needs the key 'sequence'"),
        (7, "takes a string, a list or an iterator, got int"),
    ],
)
def test_bad_input_is_refused_by_name(inputs: Any, message: str, embed: DNAEmbeddingPipeline) -> None:
    with pytest.raises(ValueError, match=message):
        embed(inputs)


def test_a_list_is_checked_before_anything_is_computed(
    embed: DNAEmbeddingPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "_forward", lambda *args, **kwargs: pytest.fail("computed"))
    with pytest.raises(ValueError, match="sequence 1"):
        embed(["ACGT", "AC-GT"])


def test_a_bad_item_of_an_iterator_is_refused_when_it_comes(embed: DNAEmbeddingPipeline) -> None:
    streamed = iter(embed(sequence for sequence in ["ACGT", "A", "A!"]))
    next(streamed)
    next(streamed)
    with pytest.raises(ValueError, match="sequence 2: '!' at position 1"):
        next(streamed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "sum"}, "pooling='sum': choose one of mean, max, cls, none"),
        ({"pooling": 3}, "pooling=3"),
        ({"strand": "minus"}, "strand='minus': choose one of forward, reverse, both"),
        ({"layer": 3}, r"layer=3: this model has hidden states 0\.\.2"),
        ({"layer": -4}, "layer=-4"),
        ({"layer": "last"}, "layer='last' must be a whole number"),
        ({"layer": True}, "layer=True must be a whole number"),
        ({"window": 65}, "window=65: this model reads 1 to 64 nucleotides at once"),
        ({"window": 0}, "window=0"),
        ({"window": 10, "overlap": 10}, "overlap=10"),
        ({"overlap": -1}, "overlap=-1"),
        ({"return_tensors": "tf"}, "return_tensors='tf'"),
        ({"poolin": "mean"}, "no option 'poolin': did you mean 'pooling'"),
        ({"truncation": True}, "no option 'truncation': there are layer, overlap"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str, embed: DNAEmbeddingPipeline) -> None:
    with pytest.raises(ValueError, match=message):
        embed("ACGT", **options)


@pytest.mark.parametrize("name", ["bare", "mlm", "classifier", "tokens"])
def test_any_head_is_passed_by(name: str, models: dict[str, PreTrainedModel]) -> None:
    embed = pipeline("dna-embedding", model=models[name], tokenizer=build_tokenizer(), device="cpu")
    expected = states_of(models[name], "ACGTT").mean(0)
    torch.testing.assert_close(embed("ACGTT", return_tensors=True), expected, atol=1e-5, rtol=0)


def test_an_adapter_is_not_passed_by(models: dict[str, PreTrainedModel]) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(1)
    base = VQDNAForSequenceClassification.from_codec(models["codec"], **SIZES).eval()
    plain = states_of(base, "ACGTT").mean(0)
    config = peft.LoraConfig(target_modules=["Wqkv"], init_lora_weights=False, task_type="SEQ_CLS")
    adapted = peft.get_peft_model(base, config).eval()
    embed = pipeline("dna-embedding", model=adapted, tokenizer=build_tokenizer(), device="cpu")
    found = embed("ACGTT", return_tensors=True)
    torch.testing.assert_close(found, states_of(base, "ACGTT").mean(0), atol=1e-5, rtol=0)
    assert not torch.allclose(found, plain, atol=1e-4)


def test_a_codec_gives_its_code_vectors(folders: dict[str, Path], models: dict[str, PreTrainedModel]) -> None:
    embed = pipeline("dna-embedding", model=str(folders["codec"]), device="cpu")
    vectors = models["codec"].encode(read_nucleotides(LONG).unsqueeze(0)).quantized[0]
    torch.testing.assert_close(embed(LONG, return_tensors=True), vectors.mean(0), atol=1e-5, rtol=0)
    # A code sees 17 nucleotides, so windows that overlap as far lose nothing.
    stitched = embed(LONG, return_tensors=True, pooling="none", window=60, overlap=17)
    torch.testing.assert_close(stitched, vectors, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="a codec has no layers"):
        embed("ACGT", layer=1)


def test_dropout_never_moves_an_embedding(models: dict[str, PreTrainedModel]) -> None:
    config = {**SIZES, "attention_dropout": 0.5, "mlp_dropout": 0.5}
    model = VQDNAModel.from_codec(models["codec"], **config).train()
    embed = pipeline("dna-embedding", model=model, tokenizer=build_tokenizer(), device="cpu")
    assert embed("ACGTT") == embed("ACGTT")


# What travels.


def test_the_task_is_registered() -> None:
    task, entry, _ = PIPELINE_REGISTRY.check_task("dna-embedding")
    assert (task, entry["impl"], entry["type"]) == ("dna-embedding", DNAEmbeddingPipeline, "text")


@pytest.mark.parametrize("name", ["bare", "mlm", "classifier", "tokens", "codec"])
def test_a_saved_folder_names_the_pipeline_and_holds_it(name: str, folders: dict[str, Path]) -> None:
    config = json.loads((folders[name] / "config.json").read_text())
    assert config["custom_pipelines"] == {
        "dna-embedding": {"impl": "pipeline_vqdna.DNAEmbeddingPipeline", "pt": ["AutoModel"], "type": "text"}
    }
    assert "custom_pipelines" not in config.get("codec_config", {})
    assert (folders[name] / "pipeline_vqdna.py").is_file()


STRANGER = """
from transformers import pipeline

def embedding(folder, **options):
    return pipeline(model=folder, trust_remote_code=True, device="cpu", **options)

folders, sequences, long = (arguments[name] for name in ("folders", "sequences", "long"))
trusted = {"trust_remote_code": True, "device": "cpu"}
fill = pipeline("fill-mask", model=folders["mlm"], **trusted)
report["fill-mask"] = fill([s + "[MASK]" for s in sequences], targets=list("ACGT"), batch_size=3)
features = pipeline("feature-extraction", model=folders["bare"], **trusted)
report["feature-extraction"] = features(sequences[0])
classify = pipeline("text-classification", model=folders["classifier"], **trusted)
report["text-classification"] = classify(sequences, top_k=None, batch_size=3)
tokens = pipeline("token-classification", model=folders["tokens"], **trusted)
found = tokens(sequences, batch_size=3)
report["token-classification"] = [[(t["entity"], float(t["score"])) for t in s] for s in found]
report["alphabet"] = classify("acgUugca", top_k=None) == classify("ACGTTGCA", top_k=None)
try:
    classify("AC-GT")
except ValueError as error:
    report["refused"] = str(error)
try:
    pipeline("dna-embedding", model=folders["mlm"], trust_remote_code=False)
except ValueError as error:
    report["untrusted"] = "trust_remote_code" in str(error)

embed = pipeline("dna-embedding", model=folders["mlm"], **trusted)
report["dna-embedding"] = embed(sequences + [long], strand="both", batch_size=4)
report["codec"] = pipeline("dna-embedding", model=folders["codec"], **trusted)(long)
bare = {name: embedding(folder) for name, folder in folders.items()}
report["bare pipeline"] = {name: [type(pipe).__name__, pipe.task] for name, pipe in bare.items()}

# Saved again from remote code: by the model, by the pipeline, by Trainer.
expected = embed(long)
model = transformers.AutoModelForMaskedLM.from_pretrained(folders["mlm"], trust_remote_code=True)
model.save_pretrained("by_model")
embed.tokenizer.save_pretrained("by_model")
embed.save_pretrained("by_pipeline")
training = transformers.TrainingArguments("by_trainer", use_cpu=True, report_to="none")
transformers.Trainer(model, training, processing_class=embed.tokenizer).save_model()
report["again"] = {}
for folder in ("by_model", "by_pipeline", "by_trainer"):
    report["again"][folder] = {
        "file": os.path.exists(f"{folder}/pipeline_vqdna.py"),
        "config": json.load(open(f"{folder}/config.json")).get("custom_pipelines"),
        "equal": embedding(folder)(long) == expected,
    }
"""


@pytest.fixture(scope="module")
def report(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process without `vqdna_hf` gets from the folders."""
    return run_without_package(
        STRANGER,
        tmp_path_factory.mktemp("home"),
        folders={name: str(folder) for name, folder in folders.items()},
        sequences=SEQUENCES,
        long=LONG,
    )


def test_stock_pipelines_answer_the_same_without_the_package(
    report: dict[str, Any], pipes: dict[str, Pipeline]
) -> None:
    masked = [f"{sequence}[MASK]" for sequence in SEQUENCES]
    expected = pipes["fill-mask"](masked, targets=list("ACGT"))
    assert scores_in(report["fill-mask"]) == pytest.approx(scores_in(expected), abs=1e-5)
    assert [[a["token_str"] for a in s] for s in report["fill-mask"]] == [[a["token_str"] for a in s] for s in expected]
    assert np.allclose(report["feature-extraction"], pipes["feature-extraction"](SEQUENCES[0]), atol=1e-5)
    expected = pipes["text-classification"](SEQUENCES, top_k=None)
    assert scores_in(report["text-classification"]) == pytest.approx(scores_in(expected), abs=1e-5)
    assert report["text-classification"][0][0]["label"] == expected[0][0]["label"]
    expected = pipes["token-classification"](SEQUENCES)
    assert [[t[0] for t in s] for s in report["token-classification"]] == [[t["entity"] for t in s] for s in expected]
    found = [score for sequence in report["token-classification"] for _, score in sequence]
    assert found == pytest.approx(scores_in(expected), abs=1e-5)


def test_the_alphabet_policy_travels(report: dict[str, Any]) -> None:
    assert report["alphabet"]
    assert "'-' at position 2" in report["refused"]


def test_the_embedding_pipeline_travels(report: dict[str, Any], embed: DNAEmbeddingPipeline) -> None:
    assert np.allclose(report["dna-embedding"], embed([*SEQUENCES, LONG], strand="both"), atol=1e-5)
    assert len(report["codec"]) == 16
    assert report["untrusted"]


def test_a_pipeline_without_a_task_embeds(report: dict[str, Any]) -> None:
    # Whatever the head: it is the only task that the folder itself names.
    assert set(map(tuple, report["bare pipeline"].values())) == {("DNAEmbeddingPipeline", "dna-embedding")}


@pytest.mark.parametrize("saver", ["by_model", "by_pipeline", "by_trainer"])
def test_the_pipeline_survives_saving_from_remote_code(saver: str, report: dict[str, Any]) -> None:
    found = report["again"][saver]
    assert found["file"]
    assert found["config"]["dna-embedding"]["impl"] == "pipeline_vqdna.DNAEmbeddingPipeline"
    assert found["equal"]


def test_a_saved_pipeline_loads_with_the_package(embed: DNAEmbeddingPipeline, tmp_path: Path) -> None:
    embed.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["custom_pipelines"]["dna-embedding"]["pt"] == ["AutoModel"]
    again = pipeline("dna-embedding", model=str(tmp_path), device="cpu")
    assert again("ACGT") == embed("ACGT").tolist()
