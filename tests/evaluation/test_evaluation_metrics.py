# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Whole-set metrics against values by hand and against SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from vqdna_hf.evaluation import classification_metrics, regression_metrics


def one_hot(predictions: list[int], classes: int) -> np.ndarray:
    """Logits that choose these classes."""
    return np.eye(classes)[predictions]


def test_two_classes_by_hand() -> None:
    # True positives 3, false negatives 1, false positives 2, true negatives 4.
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    metrics = classification_metrics(one_hot([1, 1, 1, 0, 1, 1, 0, 0, 0, 0], 2), labels)
    assert metrics["matthews_correlation"] == pytest.approx((3 * 4 - 2 * 1) / math.sqrt(5 * 4 * 6 * 5))
    assert metrics["accuracy"] == pytest.approx(0.7)
    precision = {1: 3 / 5, 0: 4 / 5}
    recall = {1: 3 / 4, 0: 4 / 6}
    f1 = {label: 2 * precision[label] * recall[label] / (precision[label] + recall[label]) for label in (0, 1)}
    assert metrics["precision"] == pytest.approx(np.mean(list(precision.values())))
    assert metrics["recall"] == pytest.approx(np.mean(list(recall.values())))
    assert metrics["f1"] == pytest.approx(np.mean(list(f1.values())))
    assert metrics["collapsed"] == 0.0


def test_three_classes_by_hand() -> None:
    """Gorodkin's generalisation, from the confusion matrix."""
    labels, predictions = [0, 0, 1, 1, 2, 2, 2], [0, 1, 1, 1, 2, 0, 2]
    counts = np.zeros((3, 3))
    np.add.at(counts, (labels, predictions), 1)
    correct, total = np.trace(counts), counts.sum()
    true, predicted = counts.sum(1), counts.sum(0)
    expected = (correct * total - true @ predicted) / math.sqrt(
        (total**2 - predicted @ predicted) * (total**2 - true @ true)
    )
    metrics = classification_metrics(one_hot(predictions, 3), np.array(labels))
    assert metrics["matthews_correlation"] == pytest.approx(expected)
    assert metrics["accuracy"] == pytest.approx(5 / 7)


def test_metrics_of_the_whole_set_are_no_mean_over_batches() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    logits = one_hot([0, 0, 1, 1, 1, 0], 2)
    whole = classification_metrics(logits, labels)["matthews_correlation"]
    halves = [
        classification_metrics(logits[part], labels[part])["matthews_correlation"]
        for part in (slice(0, 3), slice(3, 6))
    ]
    assert whole == pytest.approx(1 / 3)
    assert np.mean(halves) == 0.0, "what averaging over batches would have said"


def test_a_run_that_always_says_the_same_is_flagged() -> None:
    metrics = classification_metrics(one_hot([1, 1, 1, 1], 2), np.array([1, 1, 1, 0]))
    assert metrics["collapsed"] == 1.0
    assert metrics["matthews_correlation"] == 0.0
    assert metrics["accuracy"] == 0.75


def test_negative_labels_are_left_out() -> None:
    logits = one_hot([1, 0, 1], 2)
    logits[1] = np.nan  # what the model says there is nobody's business
    metrics = classification_metrics(logits, np.array([1, -100, 0]))
    assert metrics["accuracy"] == 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    logits = one_hot([0, 1], 2)
    logits[1, 0] = value
    with pytest.raises(ValueError, match="not finite: training has diverged"):
        classification_metrics(logits, np.array([0, 1]))
    with pytest.raises(ValueError, match="not finite: training has diverged"):
        regression_metrics(np.array([1.0, value]), np.array([0.0, 1.0]))


def test_no_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="no labels"):
        classification_metrics(np.zeros((2, 2)), np.array([-100, -100]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_correlations_with_ties_against_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predictions, targets = rng.integers(0, 5, 40).astype(float), rng.integers(0, 4, 40).astype(float)
    metrics = regression_metrics(predictions[:, None], targets)
    assert metrics["spearman"] == pytest.approx(stats.spearmanr(predictions, targets).statistic)
    assert metrics["pearson"] == pytest.approx(stats.pearsonr(predictions, targets).statistic)
    assert metrics["mean_squared_error"] == pytest.approx(np.mean((predictions - targets) ** 2))


def test_a_constant_has_no_correlation() -> None:
    metrics = regression_metrics(np.ones(4), np.arange(4.0))
    assert (metrics["pearson"], metrics["spearman"]) == (0.0, 0.0)
