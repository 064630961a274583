"""Metrics over a whole evaluation set, under the names that DNABERT-2's scripts use."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_squared_error,
    precision_score,
    recall_score,
)


def classification_metrics(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> dict[str, float]:
    """Matthews correlation, macro F1, accuracy, macro precision and recall.

    Args:
        logits: (N, C).
        labels: (N,) class ids; negative ones are left out.

    Returns:
        The five metrics, and `collapsed`: 1.0 if every prediction is the same class, which makes the rest void.

    Raises:
        ValueError: on logits that are not finite, or no labels.

    Example:

    >>> metrics = classification_metrics(np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]]), np.array([0, 1, 1]))
    >>> round(metrics["matthews_correlation"], 2), round(metrics["accuracy"], 3), metrics["collapsed"]
    (0.5, 0.667, 0.0)
    """
    labels = np.asarray(labels).reshape(-1)
    logits = np.asarray(logits)[labels >= 0]
    labels = labels[labels >= 0]
    if labels.size == 0:
        raise ValueError("there is nothing to evaluate: no labels")
    _check_finite(logits)
    predictions = logits.argmax(-1)
    return {
        "matthews_correlation": float(matthews_corrcoef(labels, predictions)),
        "f1": float(f1_score(labels, predictions, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(labels, predictions)),
        "precision": float(precision_score(labels, predictions, average="macro", zero_division=0)),
        "recall": float(recall_score(labels, predictions, average="macro", zero_division=0)),
        "collapsed": float(np.unique(predictions).size == 1),
    }


def regression_metrics(predictions: NDArray[np.floating], targets: NDArray[np.floating]) -> dict[str, float]:
    """Pearson and Spearman correlation, and mean squared error. Both inputs (N,) or (N, 1).

    Raises:
        ValueError: on predictions that are not finite.

    >>> metrics = regression_metrics(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    >>> round(metrics["spearman"], 3), round(metrics["mean_squared_error"], 3)
    (1.0, 0.333)
    """
    predictions, targets = np.asarray(predictions).reshape(-1), np.asarray(targets).reshape(-1)
    _check_finite(predictions)

    def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
        return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0

    return {
        "pearson": correlation(predictions, targets),
        "spearman": correlation(_ranks(predictions), _ranks(targets)),
        "mean_squared_error": float(mean_squared_error(targets, predictions)),
    }


def _check_finite(outputs: NDArray[np.floating]) -> None:
    if not np.isfinite(outputs).all():
        raise ValueError("the model's outputs are not finite: training has diverged; lower the learning rate")


def _ranks(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Ranks with ties shared, as Spearman's correlation wants them."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + last - 1) / 2)[inverse]
