# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The linear probe. Run: pytest tests/evaluation/test_probe.py"""

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from vqdna_hf.data import LabelledSequences
from vqdna_hf.evaluation.gue_sets import GueSet
from vqdna_hf.evaluation.probe import STRENGTHS, linear_probe, probe_sets, stratified_sample
from vqdna_hf.evaluation.vocabularies import KmerVocabulary, bag_of_codes


def labelled(count: int, seed: int, motif: str = "TATAAA") -> tuple[list[str], list[int]]:
    """Random sequences of 60; half of them carry a motif somewhere."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 2).tolist()
    texts = []
    for label in labels:
        text = "".join(rng.choice(list("ACGT"), 60))
        place = rng.integers(54)
        texts.append(text[:place] + motif + text[place + 6 :] if label else text)
    return texts, labels


def make_set(train: tuple[list[str], list[int]], test: tuple[list[str], list[int]], name: str = "own") -> GueSet:
    splits = {"train": train, "dev": train, "test": test}
    return GueSet(
        name,
        {split: LabelledSequences(texts, None, None, f"{split}.csv") for split, (texts, _) in splits.items()},
        {split: labels for split, (_, labels) in splits.items()},
        2,
    )


def probe(vocabulary: KmerVocabulary, train: Any, test: Any, **options: Any) -> dict[str, Any]:
    bags = [bag_of_codes(vocabulary, texts) for texts, _ in (train, test)]
    return linear_probe(bags[0], train[1], bags[1], test[1], **options)


def test_a_motif_of_six_is_found_by_words_not_by_single_bases() -> None:
    train, test = labelled(600, 1), labelled(400, 2)
    words, bases = probe(KmerVocabulary(4), train, test), probe(KmerVocabulary(1), train, test)
    assert words["matthews_correlation"] > 0.6
    assert bases["matthews_correlation"] < words["matthews_correlation"] - 0.1
    assert words["C"] in STRENGTHS
    assert (words["train"], words["test"], words["features"]) == (600, 400, 256)
    assert not words["collapsed"]


def test_labels_without_meaning_cannot_be_learnt() -> None:
    (texts, labels), (others, answers) = labelled(400, 3), labelled(400, 4)
    rng = np.random.default_rng(0)
    found = probe(KmerVocabulary(2), (texts, rng.permutation(labels)), (others, rng.permutation(answers)))
    assert abs(found["matthews_correlation"]) < 0.15  # two standard errors are 0.1


def test_dense_and_sparse_features_agree_where_both_are_enough() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    features = rng.random((600, 6)) + 2.0 * (labels[:, None] == np.arange(6))
    for kind in (features, sparse.csr_matrix(features)):
        found = linear_probe(kind[:300], labels[:300], kind[300:], labels[300:])
        assert found["matthews_correlation"] > 0.95
        assert found["classes"] == 3


def test_results_depend_on_the_seed_alone() -> None:
    train, test = labelled(300, 1), labelled(100, 2)
    one, other = (probe(KmerVocabulary(3), train, test, max_train=200, seed=5) for _ in range(2))
    assert one["train"] == 200
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_collapsed_probe_is_flagged() -> None:
    nothing = sparse.csr_matrix((40, 4), dtype=np.float32)
    found = linear_probe(nothing, [0, 0, 0, 1] * 10, nothing, [0, 1] * 20)
    assert found["collapsed"] is True
    assert found["matthews_correlation"] == 0.0


@pytest.mark.parametrize("size", [10, 11, 60, 89, 90, None])
def test_samples_keep_the_shares_of_classes(size: int | None) -> None:
    labels = [0] * 60 + [1] * 20 + [2] * 10
    rows = stratified_sample(labels, size, seed=1)
    assert len(set(rows.tolist())) == len(rows) >= min(size or 90, 90)
    counts = np.bincount(np.array(labels)[rows], minlength=3) / len(rows)
    np.testing.assert_allclose(counts, [6 / 9, 2 / 9, 1 / 9], atol=0.1)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, stratified_sample(labels, size, seed=1))


def test_overlapping_test_rows_are_counted_and_left_out() -> None:
    train, (texts, answers) = labelled(300, 1), labelled(60, 2)
    # Sequences of train, of which the test says the opposite: with them the score must be lower.
    lies = [1 - label for label in train[1][:30]]
    own = make_set(train, (texts + train[0][:30], answers + lies))
    found = probe_sets(KmerVocabulary(4), [own])["own"]["bag"]
    assert found["overlapping"] == 30
    assert found["test"] == 90
    assert found["matthews_correlation_without_overlap"] > found["matthews_correlation"] + 0.2
    alone = probe_sets(KmerVocabulary(4), [make_set(train, (texts, answers))])["own"]["bag"]
    assert found["matthews_correlation_without_overlap"] == pytest.approx(alone["matthews_correlation"])


def test_only_what_is_used_is_encoded() -> None:
    read: list[int] = []

    class Counting(KmerVocabulary):
        def encode(self, sequences):  # type: ignore[no-untyped-def]
            read.append(len(sequences))
            return super().encode(sequences)

    own = make_set(labelled(300, 1), labelled(50, 2))
    found = probe_sets(Counting(2), [own], max_train=100)
    assert read == [100, 50]
    assert found["own"]["bag"]["train"] == 100


def test_bad_input_is_refused() -> None:
    bag = bag_of_codes(KmerVocabulary(1), ["ACGT"] * 4)
    with pytest.raises(ValueError, match="needs two classes"):
        linear_probe(bag, [1, 1, 1, 1], bag, [1, 1, 1, 1])
    with pytest.raises(ValueError, match=r"test has labels \[2\] that train has not"):
        linear_probe(bag, [0, 1, 0, 1], bag, [0, 1, 2, 1])
    with pytest.raises(ValueError, match="class 1 has 1 of 4 training rows"):
        linear_probe(bag, [0, 1, 0, 0], bag, [0, 1, 0, 1])
    own = make_set((["ACGT"] * 4, [0, 1, 0, 1]), (["ACGT"], [0]))
    with pytest.raises(ValueError, match="features words: choose of bag, mean"):
        probe_sets(KmerVocabulary(1), [own], features=["words"])
    with pytest.raises(ValueError, match="no vectors"):
        probe_sets(KmerVocabulary(1), [own], features=["mean"])
    pairs = LabelledSequences(["ACGT"], ["ACGT"], None, "a.csv")
    labels = {split: [0] for split in ("train", "dev", "test")}
    two = GueSet("two", dict.fromkeys(labels, pairs), labels, 2)
    with pytest.raises(ValueError, match=r"two, a\.csv: pairs"):
        probe_sets(KmerVocabulary(1), [two])


@pytest.mark.parametrize(
    ("labels", "max_train", "message"),
    [
        ([0] * 30 + [1] * 30 + [2], None, "own, train.csv: class 2 has 1 of 61 training rows"),
        ([0] * 30 + [1] * 30 + [2], 20, "own, train.csv: class 2 has a single row"),
        ([0] * 300 + [1] * 300 + [2] * 2, 20, "own, train.csv: class 2 has [01] of 20 training rows"),
        ([0] * 30, None, "own, train.csv: the training labels are all"),
    ],
)
def test_sets_that_cannot_be_probed_are_named_before_anything_is_encoded(
    labels: list[int], max_train: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KmerVocabulary, "encode", lambda *_: pytest.fail("encoded"))
    fine = make_set(labelled(60, 1), labelled(20, 2), "fine")
    own = make_set((["ACGT"] * len(labels), labels), (["ACGT"], [0]))
    with pytest.raises(ValueError, match=message):
        probe_sets(KmerVocabulary(1), [fine, own], max_train=max_train)


def test_a_strength_at_the_edge_of_the_grid_is_told() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    for shift, at_edge in ((0.0, None), (1e3, True)):  # separable without end: no penalty is the best
        features = rng.normal(size=(400, 3))
        features[:, 0] += shift * labels
        found = linear_probe(features[:200], labels[:200], features[200:], labels[200:])
        assert found["at_edge"] is (found["C"] in (1e-3, 1e4))
        assert at_edge is None or found["at_edge"] is at_edge
