# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What codes say without any training of a backbone: logistic regression on bags of codes and on mean code vectors."""

import warnings
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from vqdna_hf.evaluation.gue_sets import GueSet
from vqdna_hf.evaluation.metrics import classification_metrics
from vqdna_hf.evaluation.vocabularies import Vocabulary, bag_of_codes, mean_vectors_of_bag

Features = Any  # (N, F): a sparse matrix, or an array

MAX_TRAIN = 6_000
"""Training sequences of a probe, if nothing else is said: a seeded, stratified sample of larger sets."""

STRENGTHS = tuple(10.0**power for power in range(-3, 3))
"""The values of C that cross-validation chooses from; for dense features also 10^3 and 10^4.

The best C of mean vectors is often the last, and the grid ends there all the same. Measured on one codec (objective
`window`, 128 features, 6,000 rows; tf/0, tf/3, mouse/0 and prom/prom_core_all of GUE, three seeds of the folds): the
best C up to 10^8 has a cross-validated MCC 0.000 to 0.014 (mean 0.004) above that of the best up to 10^4, where folds
differ by 0.004 to 0.03 (standard deviation); the MCC on the test set moves by -0.006 to 0.015, half a standard error
at most.
"""

FOLDS = 3
FEATURES = ("bag", "mean")
_METRICS = ("matthews_correlation", "f1", "accuracy")


def stratified_sample(labels: ArrayLike, size: int | None, seed: int = 0) -> NDArray[np.int64]:
    """Rows of a sample that has the classes' shares, in ascending order; all of them, if there are no more.

    Args:
        labels: (N,) class of each row.
        size: rows wanted, at least one a class; None for all.
        seed: of the choice.

    Raises:
        ValueError: if a class has one row only, and not all rows are taken.

    Example:

    >>> rows = stratified_sample([0] * 60 + [1] * 30, 30)
    >>> len(rows), int((rows >= 60).sum())
    (30, 10)
    """
    labels = np.asarray(labels)
    if size is None or size >= len(labels):
        return np.arange(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    size = max(size, len(counts))
    if len(labels) - size < len(counts):  # too few are left over to be stratified
        return np.arange(len(labels))
    if counts.min() < 2:
        rare = classes[counts.argmin()]
        raise ValueError(f"class {rare} has a single row: no stratified sample can be drawn; add some")
    chosen, _ = train_test_split(np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed)
    return np.sort(chosen)


def linear_probe(
    train_features: Features,
    train_labels: ArrayLike,
    test_features: Features,
    test_labels: ArrayLike,
    *,
    max_train: int | None = MAX_TRAIN,
    seed: int = 0,
    overlap: ArrayLike | None = None,
) -> dict[str, Any]:
    """Logistic regression whose strength is chosen by cross-validation on the training set alone.

    Sparse features are shares of codes: their square roots (Hellinger: counts then vary about as much whatever their
    mean), each divided by its largest value in train, so that the penalty weighs rare and common codes alike and zeros
    stay zeros. Dense ones are standardised. Solvers: L-BFGS for sparse features, Newton's method for dense ones.

    Args:
        train_features, test_features: (N, F) sparse or dense.
        train_labels, test_labels: (N,) class ids.
        max_train: a stratified sample of so many training rows is used; None for all.
        seed: of the sample and the folds.
        overlap: (test,) bool, True for test rows that also stand in train: what is measured without them is told, too.

    Returns:
        `matthews_correlation`, `f1` (macro), `accuracy`, `collapsed` on the whole test set; `C`, whether it is the
        first or last of those tried (`at_edge`), and the mean `cross_validated` Matthews correlation it was chosen by;
        `train`, `test`, `features` (numbers); `seconds`; with `overlap` also `matthews_correlation_without_overlap` and
        `overlapping`, how many these are.

    Raises:
        ValueError: if train has one class or a class with a single row, or test has a class that train has not.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> features, labels = rng.normal(size=(200, 2)), np.arange(200) % 2
    >>> features[:, 0] += 4 * labels
    >>> found = linear_probe(features[:100], labels[:100], features[100:], labels[100:])
    >>> found["matthews_correlation"] > 0.8, found["train"], found["collapsed"]
    (True, 100, False)
    """
    start = perf_counter()
    classes, wanted, answers = _class_ids(np.asarray(train_labels), np.asarray(test_labels))
    rows = stratified_sample(wanted, max_train, seed)
    train, test = _scaled(train_features[rows], test_features)
    model = _fit(train, wanted[rows], seed)
    metrics = classification_metrics(logits := model.predict_log_proba(test), answers)
    found = {
        **{name: metrics[name] for name in _METRICS},
        "collapsed": bool(metrics["collapsed"]),
        "C": float(model.C_),
        "at_edge": float(model.C_) in (min(model.Cs_), max(model.Cs_)),
        "cross_validated": float(np.max(np.mean(model.scores_, axis=0))),
        "train": len(rows),
        "test": len(answers),
        "features": int(train.shape[1]),
        "classes": len(classes),
    }
    others = {} if overlap is None else _without(np.asarray(overlap, dtype=np.bool_), logits, answers)
    return {**found, **others, "seconds": round(perf_counter() - start, 2)}


def _without(overlap: NDArray[np.bool_], logits: NDArray[np.floating], answers: NDArray[np.int64]) -> dict[str, Any]:
    metrics = {} if overlap.all() else classification_metrics(logits[~overlap], answers[~overlap])
    return {
        "overlapping": int(overlap.sum()),
        "matthews_correlation_without_overlap": metrics.get("matthews_correlation"),
    }


def _fit(features: Features, labels: NDArray[np.int64], seed: int) -> LogisticRegressionCV:
    rarest = _rarest(labels, np.arange(labels.max() + 1))
    is_sparse = sparse.issparse(features)
    model = LogisticRegressionCV(
        Cs=list(STRENGTHS) if is_sparse else [*STRENGTHS, 1e3, 1e4],
        cv=StratifiedKFold(min(FOLDS, rarest), shuffle=True, random_state=seed),
        scoring="matthews_corrcoef",
        # Mean code vectors are so correlated that L-BFGS stops far from the answer.
        solver="lbfgs" if is_sparse else "newton-cholesky",
        l1_ratios=(0.0,),
        use_legacy_attributes=False,
        max_iter=300,
        tol=1e-3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the weakest penalties, which need no exact answer
        return model.fit(features, labels)


def check_probed(sets: Sequence[GueSet], max_train: int | None = MAX_TRAIN, seed: int = 0) -> None:
    """Refuse sets that cannot be probed, before anything is encoded.

    Args:
        sets: labelled.
        max_train, seed: as they will be given to `probe_sets`.

    Raises:
        ValueError: for a set of pairs, of one class, with a class that only test has, or with fewer than 2 rows of a
            class in the sample that is trained on; it names the set and the file.

    Example:

    >>> from vqdna_hf.data import LabelledSequences
    >>> table = LabelledSequences(["AAAC", "GGGT", "AAAT"], None, None, "table.csv")
    >>> labels = {split: [0, 1, 1] for split in ("train", "dev", "test")}
    >>> check_probed([GueSet("own", dict.fromkeys(labels, table), labels, 2)])
    Traceback (most recent call last):
    ...
    ValueError: own, table.csv: class 0 has 1 of 3 training rows: 2 at least are needed; add some or leave this set out
    """
    for one in sets:
        where = f"{one.name}, {one.splits['train'].path}"
        if one.splits["train"].pairs is not None:
            raise ValueError(f"{where}: pairs of sequences have no single bag of codes: leave this set out (--set)")
        try:
            classes, labels, _ = _class_ids(np.asarray(one.labels["train"]), np.asarray(one.labels["test"]))
            _rarest(labels[stratified_sample(labels, max_train, seed)], classes)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error


def _rarest(labels: NDArray[np.int64], classes: NDArray[Any]) -> int:
    """How many rows the rarest class has, two at least."""
    counts = np.bincount(labels, minlength=len(classes))
    if (least := int(counts.min())) < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]} has {least} of {len(labels)} training rows: 2 at least are needed; "
            "add some or leave this set out"
        )
    return least


def probe_sets(
    vocabulary: Vocabulary,
    sets: Sequence[GueSet],
    *,
    features: Sequence[str] | None = None,
    levels: Sequence[int] | None = None,
    max_train: int | None = MAX_TRAIN,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Probe a vocabulary on labelled sets: each is encoded once, and only what is used of it.

    Args:
        vocabulary: any.
        sets: from `read_sets(find_sets(folder).choose(None))`.
        features: of `bag` and `mean` (code vectors); default: what the vocabulary has.
        levels: of the bag, from 0, coarse to fine; default: all. Means are of all levels.
        max_train, seed: see `linear_probe`.

    Returns:
        By the name of the set and of the features, what `linear_probe` gives, and the `seconds` that encoding took.

    Raises:
        ValueError: for unknown features, means of codes without vectors, or what `check_probed` refuses.

    Example:

    >>> from vqdna_hf.data import LabelledSequences
    >>> from vqdna_hf.evaluation.vocabularies import KmerVocabulary
    >>> table = LabelledSequences(["AAAC", "GGGT", "AAAT", "GGGC"] * 3, None, None, "table.csv")
    >>> labels = {split: [0, 1] * 6 for split in ("train", "dev", "test")}
    >>> own = GueSet("own", dict.fromkeys(labels, table), labels, 2)
    >>> probe_sets(KmerVocabulary(2), [own])["own"]["bag"]["matthews_correlation"]
    1.0
    """
    chosen = tuple(features or (FEATURES if vocabulary.vectors() is not None else FEATURES[:1]))
    if unknown := [name for name in chosen if name not in FEATURES]:
        raise ValueError(f"features {', '.join(unknown)}: choose of {', '.join(FEATURES)}")
    if "mean" in chosen and vocabulary.vectors() is None:
        raise ValueError(f"{vocabulary.name}: its codes have no vectors; the probe's features are bag")
    check_probed(sets, max_train, seed)
    return {one.name: _probe_set(vocabulary, one, chosen, levels, max_train, seed) for one in sets}


def _probe_set(
    vocabulary: Vocabulary,
    one: GueSet,
    features: Sequence[str],
    levels: Sequence[int] | None,
    max_train: int | None,
    seed: int,
) -> dict[str, Any]:
    start = perf_counter()
    rows = stratified_sample(one.labels["train"], max_train, seed)
    train, test = one.splits["train"].sequences, one.splits["test"].sequences
    bags = [bag_of_codes(vocabulary, [train[row] for row in rows]), bag_of_codes(vocabulary, test)]
    found: dict[str, Any] = {"seconds": round(perf_counter() - start, 2)}
    labels = np.asarray(one.labels["train"])[rows]
    for name in features:
        if name == "mean":
            pair: list[Features] = [mean_vectors_of_bag(vocabulary, bag) for bag in bags]
        else:
            pair = [_of_levels(bag, vocabulary.sizes, levels) for bag in bags]
        found[name] = linear_probe(
            pair[0], labels, pair[1], one.labels["test"], max_train=None, seed=seed, overlap=one.overlap
        )
    return found


def _of_levels(bag: sparse.csr_matrix, sizes: Sequence[int], levels: Sequence[int] | None) -> sparse.csr_matrix:
    if levels is None:
        return bag
    edges = np.cumsum([0, *sizes])
    return sparse.hstack([bag[:, edges[level] : edges[level + 1]] for level in levels], format="csr")


def _class_ids(train: NDArray[Any], test: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    classes, wanted = np.unique(train, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"the training labels are all {classes.tolist()}: a probe needs two classes")
    if strange := sorted(set(np.unique(test).tolist()) - set(classes.tolist())):
        raise ValueError(f"test has labels {strange} that train has not ({classes.tolist()})")
    return classes, wanted, np.searchsorted(classes, test)


def _scaled(train: Features, test: Features) -> tuple[Any, Any]:
    if sparse.issparse(train):
        scaler = MaxAbsScaler().fit(train.sqrt())
        return scaler.transform(train.sqrt()), scaler.transform(test.sqrt())
    standard = StandardScaler().fit(train)
    return standard.transform(train), standard.transform(test)
