# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of separation with numbers by hand, balanced draws, layouts and pictures."""

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import silhouette_score

from vqdna_hf.evaluation.clusters import (
    balanced_draws,
    cluster_scores,
    draw_panels,
    euclidean_coordinates,
    layout_2d,
    purity,
)

LABELS = ["a"] * 3 + ["b"] * 3
LINE = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])


def test_scores_by_hand() -> None:
    # Silhouettes: outer points 1 - 1.5 / 11 and 1 - 1.5 / 9, each twice, middle ones 1 - 1 / 10.
    silhouette = (2 * (1 - 1.5 / 11) + 2 * (1 - 1.5 / 9) + 2 * (1 - 1 / 10)) / 6
    scores = cluster_scores(LINE, LABELS, neighbours=2)
    assert scores == {"silhouette": pytest.approx(silhouette), "purity": 1.0, "nmi": pytest.approx(1.0)}
    # With three neighbours each has two of its own and one of the others.
    assert cluster_scores(LINE, LABELS, neighbours=3)["purity"] == pytest.approx(2 / 3)


def test_dense_and_sparse_features_have_the_same_scores() -> None:
    features = (np.random.default_rng(0).random((30, 200)) < 0.1).astype(np.float32)
    labels = [str(number % 3) for number in range(30)]
    dense, thin = cluster_scores(features, labels), cluster_scores(sparse.csr_matrix(features), labels)
    for measure in ("silhouette", "purity"):  # in a cloud without clusters k-means hangs on the last digits
        assert dense[measure] == pytest.approx(thin[measure], abs=1e-6)
    assert dense["silhouette"] == pytest.approx(float(silhouette_score(features, labels)), abs=1e-6)


def test_coordinates_keep_distances() -> None:
    features = np.random.default_rng(0).random((10, 300))
    found = euclidean_coordinates(features)
    assert found.shape == (10, 9)
    for one, other in ((0, 1), (3, 9)):
        expected = np.linalg.norm(features[one] - features[other])
        assert np.linalg.norm(found[one] - found[other]) == pytest.approx(expected)
    assert euclidean_coordinates(np.ones((4, 3))).tolist() == [[0.0]] * 4


def test_chance_is_what_shuffled_labels_get() -> None:
    scores = cluster_scores(np.repeat(LINE, 10, axis=0) + np.arange(60)[:, None] / 100, LABELS * 10, shuffles=5)
    assert -0.2 < scores["silhouette_chance"] < 0.05
    assert scores["purity_chance"] == pytest.approx(0.5, abs=0.1)
    assert scores["nmi_chance"] < 0.1


def test_ties_do_not_depend_on_the_order() -> None:
    places, labels = np.zeros((6, 2)), ["a", "a", "a", "b", "b", "b"]
    assert purity(places, labels, 2) == pytest.approx(2 / 5)
    # One neighbour is nearer; the other place is shared by two, of which one has the label.
    places = np.array([[0.0], [1.0], [-2.0], [2.0]])
    names = ["a", "b", "a", "b"]
    order = [3, 1, 0, 2]
    assert purity(places, names, 2) == pytest.approx(purity(places[order], [names[at] for at in order], 2))


def test_equal_samples_separate_nothing() -> None:
    scores = cluster_scores(np.ones((6, 4)), LABELS, neighbours=2)
    assert (scores["nmi"], scores["purity"]) == (0.0, pytest.approx(2 / 5))
    assert scores["silhouette"] == 0.0


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (LINE, ["a"] * 6, "6 samples with 6 labels, 1 different"),
        (LINE, ["a", "b"], "6 samples with 2 labels"),
        (LINE + np.inf, LABELS, "not finite"),
        (LINE[[0, 3]], ["a", "b"], "5 neighbours of 2 samples"),
    ],
)
def test_what_cannot_be_scored_is_refused(features: Any, labels: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_scores(features, labels)


def test_draws_are_balanced_seeded_and_without_the_empty_label() -> None:
    labels = ["a"] * 9 + ["b"] * 5 + [""] * 20 + ["c"] * 6 + ["d"] * 2
    draws = balanced_draws(labels, groups=2, per_group=5, draws=20, seed=3)
    for draw in draws:
        names = [labels[at] for at in draw]
        assert len(set(draw.tolist())) == 10
        assert sorted(names.count(name) for name in set(names)) == [5, 5]
    assert {labels[at] for draw in draws for at in draw} == {"a", "b", "c"}
    again = balanced_draws(labels, groups=2, per_group=5, draws=20, seed=3)
    assert all((one == other).all() for one, other in zip(draws, again, strict=True))
    other = balanced_draws(labels, groups=2, per_group=5, draws=20, seed=4)
    assert any((one != two).any() for one, two in zip(draws, other, strict=True))
    with pytest.raises(ValueError, match="4 groups of 5 samples are wanted, and 3 are as large"):
        balanced_draws(labels, groups=4, per_group=5, draws=1, seed=0)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_layouts_are_seeded(method: str) -> None:
    features = np.repeat(LINE, 4, axis=0) + np.random.default_rng(0).random((24, 6)) / 10
    places, used = layout_2d(features, method=method, seed=1)
    assert (places.shape, used) == ((24, 2), method)
    np.testing.assert_allclose(layout_2d(features, method=method, seed=1)[0], places, rtol=1e-4)
    thin, _ = layout_2d(sparse.csr_matrix(features), method=method)
    assert np.isfinite(thin).all()


def test_without_umap_there_is_a_message_and_another_layout(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vqdna_hf.evaluation.clusters.find_spec", lambda _: None)
    features = np.random.default_rng(0).random((12, 5))
    assert layout_2d(features)[1] == "tsne"
    assert 'pip install "vqdna_hf[umap]"' in caplog.text
    with pytest.raises(ValueError, match=r'pip install "vqdna_hf\[umap\]"'):
        layout_2d(features, method="umap")
    with pytest.raises(ValueError, match="choose one of auto, umap, tsne, pca"):
        layout_2d(features, method="mds")


def test_umap_is_asked_for_two_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first argument is the number of neighbours."""

    class Stand:
        def __init__(self, *arguments: Any, n_components: int, random_state: int, init: str, n_jobs: int) -> None:
            assert (arguments, n_components, random_state, init, n_jobs) == ((), 2, 5, "pca", 1)

        def fit_transform(self, reduced: Any) -> Any:
            return reduced[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Stand, __spec__=types.SimpleNamespace()))
    places, used = layout_2d(np.random.default_rng(0).random((12, 5)), method="auto", seed=5)
    assert (places.shape, used) == ((12, 2), "umap")


@pytest.mark.slow  # numba compiles UMAP anew in each process
def test_umap_lays_out_equal_samples_too() -> None:
    if importlib.util.find_spec("umap") is None:
        pytest.skip('umap-learn is not installed: pip install "vqdna_hf[umap]"')
    features = sparse.csr_matrix(np.repeat(np.eye(3), 10, axis=0))
    places, used = layout_2d(features, method="umap")
    assert used == "umap"
    assert np.isfinite(places).all()


def test_a_picture_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip('matplotlib is not installed: pip install "vqdna_hf[plot]"')
    path = tmp_path / "panels.png"
    panels = {str(number): np.random.default_rng(number).random((6, 2)) for number in range(4)}
    draw_panels(path, panels, [*LABELS[:5], ""], title="four")
    first = path.read_bytes()
    assert first.startswith(b"\x89PNG")
    draw_panels(path, panels, [*LABELS[:5], ""], title="four")
    assert path.read_bytes() == first
    monkeypatch.setattr("vqdna_hf.evaluation.clusters.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r'pip install "vqdna_hf\[plot\]"'):
        draw_panels(path, panels, LABELS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["panels.png"]
