# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The baselines: equal sizes, masks that hide, and folders that load."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from transformers import AutoModelForSequenceClassification, AutoTokenizer, ModernBertForMaskedLM, set_seed

from vqdna_hf import VQDNAConfig, VQDNAModel
from vqdna_hf.data import MaskedNucleotideCollator, decode_ids, simulate_genome
from vqdna_hf.evaluation.baselines import (
    CNNForSequenceClassification,
    SequenceEncoder,
    TokenMaskingCollator,
    build_baseline,
    build_baseline_tokenizer,
    compared_parameters,
    load_baseline_classifier,
    masked_token_metrics,
    masked_token_sums,
    train_bpe,
)
from vqdna_hf.training import count_parameters

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"
ALL = ["base", "3mer", "3mer-overlapping", "cnn", "6mer", "6mer-overlapping", "bpe"]
GENOME = simulate_genome(6000, seed=5)
TINY = VQDNAConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, max_position_embeddings=128,
    codec_config={"hidden_size": 16, "stem_size": 8, "num_blocks": 2, "tap_positions": [1, 2], "codebook_dim": 16,
                  "codebook_sizes": [8, 16]},
)  # fmt: skip
MASK_ID = 4


def recipe(size: str, **values: Any) -> VQDNAConfig:
    """The model of a recipe, with other values."""
    codec = yaml.safe_load((RECIPES / size / "codec.yaml").read_text())["codec_config"]
    model = yaml.safe_load((RECIPES / size / "mlm.yaml").read_text())["model_config"]
    return VQDNAConfig(codec_config=codec, **{**model, **values})


@functools.cache
def encoder_of(vocabulary: str) -> SequenceEncoder:
    text = decode_ids(GENOME)
    bpe = train_bpe([text[start : start + 100] for start in range(0, 6000, 100)], 64) if vocabulary == "bpe" else None
    return SequenceEncoder(build_baseline_tokenizer(vocabulary, bpe))


def windows(number: int, length: int = 60, n_at: int | None = None) -> list[dict[str, Any]]:
    items = []
    for index in range(number):
        ids = GENOME[index * 50 : index * 50 + length - index % 3].copy()
        if n_at is not None:
            ids[n_at : n_at + 2] = 9
        items.append({"input_ids": ids, "seed": index})
    return items


class _Sized:
    """Stands for a tokenizer of a size, where nothing else of it is needed."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size


@pytest.mark.parametrize("vocabulary", ALL)
def test_parameters_are_equal_for_the_tiny_recipe(vocabulary: str) -> None:
    like = recipe("tiny")
    total = compared_parameters(like).total
    assert 1.1e6 < total < 1.25e6
    tokenizer: Any = _Sized(4096) if vocabulary == "bpe" else None
    model = build_baseline(vocabulary, like, tokenizer)
    assert compared_parameters(model).total == pytest.approx(total, rel=0.03)
    assert model.config.vocabulary == vocabulary
    if vocabulary != "cnn":
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "layer_types", "rope_parameters"):
            assert getattr(model.config, name) == getattr(like, name), name
        assert model.config.intermediate_size % 8 == 0


def test_what_is_counted() -> None:
    model = VQDNAModel(TINY)
    counts, parts = count_parameters(model), compared_parameters(model)
    assert parts.total == counts["parameters"] + counts["codebook_values"]
    assert parts.backbone == sum(value.numel() for value in model.backbone.parameters())
    baseline = build_baseline("3mer", TINY)
    assert isinstance(baseline, ModernBertForMaskedLM)
    assert compared_parameters(baseline).vocabulary == 74 * 16
    assert compared_parameters(baseline).total == sum(value.numel() for value in baseline.model.parameters())
    cnn = build_baseline("cnn", TINY)
    without_head = [value.numel() for name, value in cnn.named_parameters() if not name.startswith("classifier")]
    assert compared_parameters(cnn).total == sum(without_head)


@pytest.mark.parametrize("vocabulary", ["6mer", "6mer-overlapping", "bpe"])
def test_what_cannot_be_equal_is_refused_with_the_numbers(vocabulary: str) -> None:
    # The table alone is 4106 x 128 = 525,568 of 594,816 parameters.
    tokenizer: Any = _Sized(4096) if vocabulary == "bpe" else None
    small = recipe("tiny", code_embeddings=False)
    small.codec_config.codebook_sizes = [256, 512]
    with pytest.raises(ValueError, match=r"594,816 .*3% is allowed: the least .* is 7\d\d,\d\d\d .*larger model"):
        build_baseline(vocabulary, small, tokenizer)
    model = build_baseline(vocabulary, small, tokenizer, tolerance=0.25)
    assert 1.03 < compared_parameters(model).total / 594_816 < 1.25


def test_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no vocabulary '5mer'"):
        build_baseline("5mer", TINY)
    with pytest.raises(ValueError, match=r"own: train it with run_codec\.py"):
        build_baseline("hrq", TINY)
    with pytest.raises(ValueError, match="size of its tokenizer"):
        build_baseline("bpe", TINY)


def test_base_is_masked_by_the_package_itself() -> None:
    items = windows(4, n_at=7)
    ours, theirs = MaskedNucleotideCollator()(items), TokenMaskingCollator(encoder_of("base"))(items)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("vocabulary", ["3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe"])
def test_a_mask_is_a_function_of_the_item(vocabulary: str) -> None:
    collate = TokenMaskingCollator(encoder_of(vocabulary))
    items = windows(5, n_at=11)
    together, alone = collate(items), collate(items[3:4])
    length = alone["input_ids"].shape[1]
    assert torch.equal(together["input_ids"][3, :length], alone["input_ids"][0])
    assert torch.equal(together["labels"][3, :length], alone["labels"][0])
    assert together["attention_mask"][3].sum() == length
    shown, labels = together["input_ids"], together["labels"]
    clean = torch.where(labels != -100, labels, shown)
    expected = encoder_of(vocabulary)([decode_ids(item["input_ids"]) for item in items])["input_ids"]
    assert [row[row != 0].tolist() for row in clean] == expected


@pytest.mark.parametrize("vocabulary", ["3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe"])
def test_shares_of_what_is_hidden(vocabulary: str) -> None:
    encoder = encoder_of(vocabulary)
    items = [{"input_ids": simulate_genome(600, seed=index), "seed": index} for index in range(40)]
    batch = TokenMaskingCollator(encoder)(items)
    shown, labels = batch["input_ids"], batch["labels"]
    tokens = torch.from_numpy(encoder.bases)[torch.where(labels != -100, labels, shown)] > 0
    chosen = labels != -100
    assert chosen.sum() / tokens.sum() == pytest.approx(0.25, abs=0.02)
    masked = (shown == MASK_ID) & chosen
    same = (shown == labels) & chosen
    other = chosen & ~masked & ~same
    assert not (shown[~chosen] == MASK_ID).any()
    # Overlapping k-mers under one hidden nucleotide share its fate, so that [MASK] gets a little of the others' share.
    assert masked.sum() / chosen.sum() == pytest.approx(0.8, abs=0.03)
    assert 0.04 < other.sum() / chosen.sum() < 0.13
    bases = encoder.bases
    assert (bases[shown[other]] == bases[labels[other]]).all()  # as many bases as before


@pytest.mark.parametrize("vocabulary", ["3mer-overlapping", "6mer-overlapping"])
def test_no_token_that_is_shown_covers_a_hidden_base(vocabulary: str) -> None:
    encoder, items = encoder_of(vocabulary), windows(30, n_at=20)
    k = int(vocabulary[0])
    batch = TokenMaskingCollator(encoder, mask_replace_probability=1.0, random_replace_probability=0.0)(items)
    sums = masked_token_sums(encoder)(batch, {"logits": torch.zeros(*batch["input_ids"].shape, 10 + 4**k)}, None)
    hidden_count = 0
    for item, shown, labels in zip(items, batch["input_ids"], batch["labels"], strict=True):
        text = decode_ids(item["input_ids"])
        # Where each token begins, spelt out independently of the package.
        starts: list[int] = []
        for start, run in runs(text):
            count = len(run) - k + 1 if len(run) >= k else len(run)
            starts += range(start, start + count)
        seen = np.zeros(len(text), dtype=bool)
        for start, token in zip(starts, shown[1 : 1 + len(starts)].tolist(), strict=True):
            if token != MASK_ID:
                seen[start : start + encoder.bases[token]] = True
                word = "".join("ACGTN"[letter] for letter in encoder.letters[token] if letter >= 0)
                assert text[start : start + len(word)] == word
        hidden_count += int((~seen).sum())
        masked = (labels[1 : 1 + len(starts)] != -100).numpy()
        for place in np.flatnonzero(masked):  # each hidden k-mer has a base that no other token shows
            assert not seen[starts[place] : starts[place] + k].all()
    assert hidden_count > 30
    assert sums["masked"].item() == hidden_count
    assert sums["positions"].item() == sum(int((item["input_ids"] < 9).sum()) for item in items)


def runs(text: str) -> list[tuple[int, str]]:
    """Runs of A, C, G and T, and single Ns, with their places."""
    found: list[tuple[int, str]] = []
    for place, letter in enumerate(text):
        if found and letter != "N" and found[-1][1][-1] != "N":
            found[-1] = (found[-1][0], found[-1][1] + letter)
        else:
            found.append((place, letter))
    return found


@pytest.mark.parametrize("vocabulary", ["base", "3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe"])
def test_bases_seen_are_the_same_for_every_vocabulary(vocabulary: str) -> None:
    items, encoder = windows(6, n_at=30), encoder_of(vocabulary)
    batch = TokenMaskingCollator(encoder)(items)
    logits = torch.zeros(*batch["input_ids"].shape, len(encoder.bases))
    sums = masked_token_sums(encoder)(batch, {"logits": logits}, None)
    assert sums["positions"].item() == sum(int((item["input_ids"] < 9).sum()) for item in items)
    assert sums["bases"].sum() == sums["masked"] > 0
    metrics = masked_token_metrics(sums)
    if vocabulary != "bpe":  # whose tokens do not have all letters alike
        assert metrics["nucleotide_loss"] == pytest.approx(np.log(4), abs=1e-4)


@pytest.mark.parametrize("vocabulary", ["base", "3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe"])
def test_who_knows_the_tokens_is_always_right(vocabulary: str) -> None:
    encoder = encoder_of(vocabulary)
    batch = TokenMaskingCollator(encoder)(windows(6, n_at=30))
    answers = torch.where(batch["labels"] >= 0, batch["labels"], 5)
    outputs = {"logits": 40.0 * F.one_hot(answers, len(encoder.bases)).float()}
    metrics = masked_token_metrics(masked_token_sums(encoder)(batch, outputs, SimpleNamespace()))
    assert metrics["masked_accuracy"] == metrics["token_accuracy"] == 1.0
    assert metrics["nucleotide_loss"] == pytest.approx(0, abs=1e-4)


def test_the_marginal_by_hand() -> None:
    encoder = encoder_of("3mer-overlapping")
    # A C G T A with G hidden: all three 3-mers cover it.
    ids = [encoder.tokenizer.convert_tokens_to_ids(word) for word in ("Acg", "Cgt", "Gta")]
    inputs = {"input_ids": torch.tensor([[2, 4, 4, 4, 3]]), "labels": torch.tensor([[-100, *ids, -100]])}
    logits = torch.full((1, 5, 74), -50.0)
    words = {1: {"Acg": 0.6, "Aca": 0.4}, 2: {"Cgt": 0.3, "Cat": 0.7}, 3: {"Gta": 0.9, "Tta": 0.1}}
    for place, chances in words.items():
        for word, chance in chances.items():
            logits[0, place, encoder.tokenizer.convert_tokens_to_ids(word)] = float(np.log(chance))
    sums = masked_token_sums(encoder)(inputs, {"logits": logits}, None)
    # All five bases are covered by [MASK] alone; the chance of G is the mean of 0.6, 0.3 and 0.9, of C that of 1 and 1.
    assert sums["masked"].item() == 5
    assert sums["masked_correct"].item() == 5
    assert sums["token_correct"].item() == 2
    right = [1, 1, 0.6, (1 + 1) / 2, 1]
    assert sums["nucleotide_loss"].item() == pytest.approx(-np.log(right).sum(), abs=1e-4)


TRANSITIONS = np.full((4, 4), 0.05)
TRANSITIONS[[0, 1, 2, 3], [1, 3, 0, 2]] = 0.85


def chain(number: int, length: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    states = rng.integers(4, size=(number, length))
    for place in range(1, length):
        lots = rng.random(number)[:, None]
        states[:, place] = (TRANSITIONS[states[:, place - 1]].cumsum(1) < lots).sum(1)
    return [{"input_ids": (row + 5).astype(np.uint8), "seed": seed * number + i} for i, row in enumerate(states)]


def best_guess(states: np.ndarray, seen: np.ndarray) -> float:
    """The sum, over hidden places, of the chance that the best guess is right: forward and backward messages."""
    length = len(states)
    evidence = np.where(seen[:, None], np.eye(4)[states], 1.0)
    forward, backward = np.ones((length, 4)), np.ones((length, 4))
    for place in range(1, length):
        forward[place] = (forward[place - 1] * evidence[place - 1]) @ TRANSITIONS
        backward[-1 - place] = TRANSITIONS @ (backward[-place] * evidence[-place])
    posterior = forward * backward
    return float((posterior / posterior.sum(1, keepdims=True))[~seen].max(1).sum())


def test_overlapping_kmers_never_beat_the_best_guess() -> None:
    """On a Markov chain what can be known of a hidden base is known; a model that beats it has seen the base."""
    encoder = encoder_of("3mer-overlapping")
    collate = TokenMaskingCollator(encoder)
    set_seed(0)
    # Convolutions, which read neighbours within a few steps, where a transformer would need thousands.
    embedding, near, answer = (
        torch.nn.Embedding(74, 32),
        torch.nn.Conv1d(32, 128, 9, padding=4),
        torch.nn.Linear(128, 74),
    )
    optimizer = torch.optim.AdamW([*embedding.parameters(), *near.parameters(), *answer.parameters()], lr=5e-3)

    def logits_of(input_ids: torch.Tensor) -> torch.Tensor:
        return answer(near(embedding(input_ids).transpose(1, 2)).relu().transpose(1, 2))

    for step in range(150):
        batch = collate(chain(32, 40, seed=step))
        F.cross_entropy(logits_of(batch["input_ids"]).flatten(0, 1), batch["labels"].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    items = chain(200, 40, seed=1000)
    batch = collate(items)
    sums = masked_token_sums(encoder)(batch, {"logits": logits_of(batch["input_ids"]).detach()}, None)
    best = count = 0.0
    for item, shown, labels in zip(items, batch["input_ids"], batch["labels"], strict=True):
        seen = np.zeros(40, dtype=bool)
        hidden = ((shown == MASK_ID) & (labels >= 0))[1:39].numpy()
        for place in np.flatnonzero(~hidden):
            seen[place : place + 3] = True
        best += best_guess(item["input_ids"].astype(int) - 5, seen)
        count += (~seen).sum()
    assert sums["masked"].item() == count > 500
    bound, accuracy = best / count, sums["masked_correct"].item() / count
    deviation = float(np.sqrt(bound * (1 - bound) / count))
    assert accuracy < bound + 3 * deviation
    assert accuracy > 0.8 * bound  # and it has learnt what there is to learn


@pytest.mark.parametrize("vocabulary", ["base", "3mer-overlapping", "bpe", "cnn"])
def test_a_folder_loads_as_a_classifier(vocabulary: str, tmp_path: Path) -> None:
    encoder = encoder_of(vocabulary)
    model = build_baseline(vocabulary, TINY, encoder.tokenizer)
    model.save_pretrained(tmp_path)
    encoder.tokenizer.save_pretrained(tmp_path)
    loaded, tokenize = load_baseline_classifier(tmp_path, num_labels=3)
    texts = [decode_ids(GENOME[:50]), "acgunNACG"]
    batch = tokenize(texts, padding=True, return_tensors="pt")
    assert loaded(**batch).logits.shape == (2, 3)
    assert loaded.config.problem_type is None
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True)
    ours, theirs = loaded.base_model.state_dict(), stock.base_model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("classifier"))
    assert AutoTokenizer.from_pretrained(tmp_path)(texts).input_ids == tokenize(texts)["input_ids"]
    random, _ = load_baseline_classifier(tmp_path, num_labels=3, random_init=True)
    fresh = random.base_model.state_dict()
    moved = [name for name in ours if ours[name].dim() > 1 and not torch.equal(ours[name], fresh[name])]
    assert len(moved) == len([name for name in ours if ours[name].dim() > 1])
    if vocabulary == "cnn":
        assert isinstance(loaded, CNNForSequenceClassification)
    else:
        head = model.head.state_dict()
        assert all(torch.equal(head[name], loaded.head.state_dict()[name]) for name in head)
        assert loaded.config.classifier_pooling == "mean"


def test_folders_that_are_no_baseline_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_baseline_classifier(tmp_path, 2)
    TINY.save_pretrained(tmp_path / "ours")
    with pytest.raises(ValueError, match="model of type vqdna that is no baseline"):
        load_baseline_classifier(tmp_path / "ours", 2)
    build_baseline("3mer", TINY).save_pretrained(tmp_path / "mixed")
    encoder_of("base").tokenizer.save_pretrained(tmp_path / "mixed")
    with pytest.raises(ValueError, match=r"reads 3mer \(74 tokens\) and the tokenizer gives base \(10\)"):
        load_baseline_classifier(tmp_path / "mixed", 2)
