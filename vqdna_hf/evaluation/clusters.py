# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""How well features separate known groups: silhouette, purity of neighbours, k-means against labels; and pictures."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import normalized_mutual_info_score, silhouette_score

from vqdna_hf.data.files import write_bytes

__all__ = [
    "LAYOUTS",
    "Features",
    "balanced_draws",
    "cluster_scores",
    "draw_panels",
    "euclidean_coordinates",
    "layout_2d",
    "purity",
]

logger = logging.getLogger(__name__)

Features: TypeAlias = NDArray[np.floating] | sparse.csr_matrix
"""(N, F), one row a sample."""

MEASURES = ("silhouette", "purity", "nmi")
"""What `cluster_scores` measures; of each, more is better."""

LAYOUTS = ("auto", "umap", "tsne", "pca")
_REDUCED = 50
# Squared distances are sums of rounded products: what differs by less than this share of the largest is equal.
_TIE = 1e-9


def balanced_draws(
    labels: Sequence[str], *, groups: int, per_group: int, draws: int, seed: int
) -> list[NDArray[np.int64]]:
    """Draw subsets with equally many samples of each of some groups, at random and without replacement.

    Args:
        labels: of the N samples; the empty label is never drawn.
        groups: how many groups a draw has, drawn from those with at least `per_group` samples.
        per_group: samples of each.
        draws, seed: how many, and what they depend on.

    Returns:
        `draws` arrays (groups * per_group,) of sample numbers, in random order.

    Raises:
        ValueError: if there are not so many groups of that size.

    Example:

    >>> draws = balanced_draws(["a", "b", "a", "", "b", "c"], groups=2, per_group=2, draws=3, seed=0)
    >>> [sorted(draw.tolist()) for draw in draws]
    [[0, 1, 2, 4], [0, 1, 2, 4], [0, 1, 2, 4]]
    """
    if min(groups, per_group) < 2 or draws < 1:
        raise ValueError(f"{draws} draws of {groups} groups of {per_group}: give at least 1, 2 and 2")
    members = {label: [n for n, own in enumerate(labels) if own == label] for label in sorted(set(labels) - {""})}
    large = [label for label, numbers in members.items() if len(numbers) >= per_group]
    if len(large) < groups:
        raise ValueError(f"{groups} groups of {per_group} samples are wanted, and {len(large)} are as large as that")
    generator = np.random.default_rng([seed, groups, per_group])
    found = []
    for _ in range(draws):
        chosen = generator.choice(len(large), groups, replace=False)
        parts = [generator.choice(members[large[group]], per_group, replace=False) for group in chosen]
        found.append(generator.permutation(np.concatenate(parts)))
    return found


def euclidean_coordinates(features: Features) -> NDArray[np.float64]:
    """Coordinates with the same Euclidean distances, in at most as many dimensions as samples: (N, F) -> (N, D).

    Features may be wide and sparse; from here on they cost what N costs.

    Example:

    >>> wide = sparse.csr_matrix(np.eye(3, 10_000))
    >>> coordinates = euclidean_coordinates(wide)
    >>> coordinates.shape[1] <= 3, round(float(np.linalg.norm(coordinates[0] - coordinates[1])), 6)
    (True, 1.414214)
    """
    if sparse.issparse(features):
        rows = sparse.csr_matrix(features, dtype=np.float64)
        gram = np.asarray((rows @ rows.T).todense())
    else:
        centred = np.asarray(features, dtype=np.float64)
        centred = centred - centred.mean(0)
        gram = centred @ centred.T
    means = gram.mean(0)
    gram = gram - means - means[:, None] + gram.mean()
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    kept = values > max(values.max(initial=0.0), 0.0) * 1e-12
    return vectors[:, kept] * np.sqrt(values[kept]) if kept.any() else np.zeros((len(gram), 1))


def purity(coordinates: NDArray[np.floating], labels: Sequence[str] | NDArray[np.intp], neighbours: int = 5) -> float:
    """The mean share of a sample's nearest neighbours, itself left out, that have its label.

    Samples that are equally far share the places that are left, so that the order of the samples does not matter.

    Args:
        coordinates: (N, D).
        labels: N of them.
        neighbours: how many, below N.

    Raises:
        ValueError: if there are not so many samples.

    Example:

    >>> purity(np.array([[0.0], [1.0], [10.0], [11.0]]), ["a", "a", "b", "b"], neighbours=1)
    1.0
    >>> purity(np.zeros((4, 1)), ["a", "a", "b", "b"], neighbours=1) == 1 / 3  # all are equally far
    True
    """
    count = len(coordinates)
    _check_neighbours(neighbours, count)
    norms = (coordinates**2).sum(1)
    distances = norms[:, None] + norms - 2 * coordinates @ coordinates.T
    slack = max(float(distances.max()), 0.0) * _TIE
    np.fill_diagonal(distances, np.inf)
    names = np.asarray(labels)
    same = names[:, None] == names
    farthest = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1 : neighbours]
    closer = distances < farthest - slack
    tied = ~closer & (distances <= farthest + slack)
    left = neighbours - closer.sum(1)
    shared = (closer & same).sum(1) + left * (tied & same).sum(1) / tied.sum(1)
    return float((shared / neighbours).mean())


def _check_neighbours(neighbours: int, count: int) -> None:
    if not 1 <= neighbours < count:
        raise ValueError(f"{neighbours} neighbours of {count} samples: give from 1 to {count - 1}")


def cluster_scores(
    features: Features,
    labels: Sequence[str],
    *,
    neighbours: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    shuffles: int = 0,
) -> dict[str, float]:
    """How well features separate labelled groups, by Euclidean distance.

    Args:
        features: (N, F), dense or sparse.
        labels: N of them, at least two different.
        neighbours: of `purity`.
        seeds: of k-means with as many clusters as labels, each the best of 4 starts.
        shuffles: how often the labels are shuffled (seeds 0, 1, ...), for chance: 0 leaves it out.

    Returns:
        `silhouette` (-1 to 1), `purity` (0 to 1), `nmi` (0 to 1: normalised mutual information of k-means' clusters and
        the labels, mean over seeds); with `shuffles` also `silhouette_chance`, `purity_chance`, `nmi_chance`.

    Raises:
        ValueError: on fewer than two labels, lengths that do not fit, or features that are not finite.

    Example:

    >>> scores = cluster_scores(np.array([[0.0], [1.0], [10.0], [11.0]]), ["a", "a", "b", "b"], neighbours=1)
    >>> {name: round(value, 3) for name, value in scores.items()}
    {'silhouette': 0.9, 'purity': 1.0, 'nmi': 1.0}
    """
    if features.shape[0] != len(labels) or len(set(labels)) < 2:
        raise ValueError(f"{features.shape[0]} samples with {len(labels)} labels, {len(set(labels))} different: need 2")
    values = features.data if sparse.issparse(features) else features
    if not np.isfinite(values).all():
        raise ValueError("the features are not finite")
    _check_neighbours(neighbours, len(labels))
    coordinates, numbers = euclidean_coordinates(features), np.unique(labels, return_inverse=True)[1]
    clusters = [_k_means(coordinates, len(set(labels)), seed) for seed in seeds]
    scores = _scores(coordinates, clusters, numbers, neighbours)
    chance = [
        _scores(coordinates, clusters, np.random.default_rng(seed).permutation(numbers), neighbours)
        for seed in range(shuffles)
    ]
    if chance:
        scores |= {f"{name}_chance": float(np.mean([scores[name] for scores in chance])) for name in MEASURES}
    return scores


def _scores(
    coordinates: NDArray[np.float64], clusters: Sequence[NDArray[np.int32]], labels: NDArray[np.intp], neighbours: int
) -> dict[str, float]:
    return {
        "silhouette": float(silhouette_score(coordinates, labels)),
        "purity": purity(coordinates, labels, neighbours),
        "nmi": float(np.mean([normalized_mutual_info_score(labels, found) for found in clusters])),
    }


def _k_means(coordinates: NDArray[np.float64], clusters: int, seed: int) -> NDArray[np.int32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different samples than clusters: that is a result
        return KMeans(clusters, n_init=4, random_state=seed).fit_predict(coordinates)


def layout_2d(features: Features, *, method: str = "auto", seed: int = 0) -> tuple[NDArray[np.float64], str]:
    """Put samples on a plane for a picture: on 50 principal components, by UMAP where it is installed.

    Args:
        features: (N, F), dense or sparse (whose components are those of a truncated SVD, not centred).
        method: `umap`, `tsne`, `pca`, or `auto`: UMAP, else t-SNE with a message.
        seed: what it depends on.

    Returns:
        (N, 2), and the method that was used.

    Raises:
        ValueError: on an unknown method, or `umap` where umap-learn is not installed.

    Example:

    >>> places, method = layout_2d(np.random.default_rng(0).random((20, 5)), method="pca")
    >>> places.shape, method
    ((20, 2), 'pca')
    """
    if method not in LAYOUTS:
        raise ValueError(f"method {method!r}: choose one of {', '.join(LAYOUTS)}")
    if method in ("auto", "umap") and find_spec("umap") is None:
        if method == "umap":
            raise ValueError('UMAP needs umap-learn: pip install "vqdna_hf[umap]"')
        logger.warning('umap-learn is not installed (pip install "vqdna_hf[umap]"): t-SNE is drawn instead')
        method = "tsne"
    method = "umap" if method == "auto" else method
    wanted = min(2 if method == "pca" else _REDUCED, features.shape[0] - 1, features.shape[1] - 1)
    kind = TruncatedSVD if sparse.issparse(features) else PCA
    reduced = kind(max(wanted, 1), random_state=seed).fit_transform(features)
    if method == "pca":
        return np.pad(reduced, ((0, 0), (0, 2 - reduced.shape[1]))), method
    if method == "tsne":
        from sklearn.manifold import TSNE

        near = min(30.0, (len(reduced) - 1) / 3)
        return TSNE(2, init="random", perplexity=near, random_state=seed).fit_transform(reduced), method
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba and umap-learn talk of threads and seeds
        from umap import UMAP

        # A spectral start needs a connected graph of neighbours, which equal samples break.
        return UMAP(n_components=2, random_state=seed, init="pca", n_jobs=1).fit_transform(reduced), method


def draw_panels(
    path: str | Path,
    panels: Mapping[str, NDArray[np.floating]],
    labels: Sequence[str],
    *,
    title: str = "",
    most_labels: int = 20,
) -> None:
    """Write a PNG of one scatter plot a panel, coloured by label.

    Args:
        path: of the PNG, written atomically.
        panels: title and (N, 2) places of each.
        labels: N of them. The most frequent get a colour; others, and the empty one, are grey.
        title: of the whole.
        most_labels: how many colours, 20 at most.

    Raises:
        ValueError: if matplotlib is not installed, or a panel has not N places.

    Example:

    >>> draw_panels("panels.png", {"one": np.zeros((3, 2))}, ["a", "b"])
    Traceback (most recent call last):
    ...
    ValueError: panel 'one' has 3 places, and there are 2 labels
    """
    for name, places in panels.items():
        if len(places) != len(labels):
            raise ValueError(f"panel {name!r} has {len(places)} places, and there are {len(labels)} labels")
    if find_spec("matplotlib") is None:
        raise ValueError('a PNG needs matplotlib: pip install "vqdna_hf[plot]"')
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = np.asarray(labels)
    counts = sorted(((int((names == name).sum()), name) for name in set(labels) - {""}), reverse=True)
    shown = sorted(name for _, name in counts[: min(most_labels, 20)])
    columns = min(3, max(len(panels), 1))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4 * columns + 1.5, 4 * rows + 0.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, (name, places) in zip(axes, panels.items(), strict=False):
        rest = ~np.isin(names, shown)
        axis.scatter(*places[rest].T, s=3, color="#cccccc", label="others")
        for number, label in enumerate(shown):
            axis.scatter(*places[names == label].T, s=4, color=colormaps["tab20"](number), label=label)
        axis.set(title=name, xticks=[], yticks=[])
    for axis in list(figure.axes)[len(panels) :]:
        axis.set_axis_off()
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8, markerscale=3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())
