# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a single mutation does to codes: how many change, at which distance, how far their vectors move."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist

from vqdna_hf.evaluation.lineage_codes import CodeChanges, ReferenceCodes
from vqdna_hf.evaluation.lineages import Gene, Lineages, Mutation, substitution_effects
from vqdna_hf.model.tokenization_vqdna import NUCLEOTIDES

__all__ = [
    "Footprints",
    "compare_groups",
    "every_substitution",
    "footprints",
    "mutation_table",
    "summarize_footprints",
    "told_apart",
]

_PERMUTATIONS = 999


@dataclass(frozen=True, eq=False)
class Footprints:
    """What each of M mutations, alone on the reference, does to the codes of one level.

    Args:
        changed: (M,) how many codes change, deleted bases not counted.
        farthest: (M,) bases from the mutation to the farthest code that changes; 0 if none does.
        moved: (M,) mean Euclidean distance of the new code vector from the old, over codes that change; 0 if none does.
        total: (M,) the same, summed.
        offsets: (2 * context + 1,) how many mutations change the code at each distance, from -context (upstream) on.
        signatures: M, equal for mutations at one site if and only if they give the same codes.

    Example:

    >>> none = np.zeros(1)
    >>> Footprints(none, none, none, none, np.zeros(3), [b""]).changed.tolist()
    [0.0]
    """

    changed: NDArray[np.float64]
    farthest: NDArray[np.float64]
    moved: NDArray[np.float64]
    total: NDArray[np.float64]
    offsets: NDArray[np.float64]
    signatures: list[bytes]


def footprints(codes: ReferenceCodes, mutations: Sequence[Mutation], cache: Path | None = None) -> list[Footprints]:
    """The footprint of each mutation at each level.

    Args:
        codes: of the reference.
        mutations: M of them, each for itself.
        cache: see `ReferenceCodes.changes`.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> from vqdna_hf.evaluation.vocabularies import CodecVocabulary
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> codes = ReferenceCodes(CodecVocabulary(VQDNACodecModel(config).eval()), "ACGTTGCA" * 20)
    >>> [level.changed.shape for level in footprints(codes, [Mutation(80, 81, "T", "A81T")])]
    [(1,), (1,)]
    """
    changes = codes.changes([[mutation] for mutation in mutations], cache)
    books = codes.vocabulary.vectors()
    return [_footprints(codes, mutations, own, level, books[level]) for level, own in enumerate(changes)]


def _footprints(
    codes: ReferenceCodes, mutations: Sequence[Mutation], changes: CodeChanges, level: int, book: NDArray[np.float32]
) -> Footprints:
    count = len(mutations)
    starts = np.array([mutation.start for mutation in mutations])[changes.groups]
    lasts = np.array([mutation.end - 1 for mutation in mutations])[changes.groups]
    at = changes.positions
    offsets = np.where(at < starts, at - starts, np.where(at > lasts, at - lasts, 0))
    old = codes.reference_codes[level, at]
    distances = np.linalg.norm(book[changes.codes] - book[old], axis=1)
    changed = np.bincount(changes.groups, minlength=count).astype(np.float64)
    total = np.bincount(changes.groups, weights=distances, minlength=count).astype(np.float64)
    farthest = np.zeros(count)
    np.maximum.at(farthest, changes.groups, np.abs(offsets))
    ends = np.cumsum(changed.astype(np.int64))
    pairs = np.stack([changes.positions, changes.codes], axis=1)
    return Footprints(
        changed,
        farthest,
        total / np.maximum(changed, 1),
        total,
        np.bincount(offsets + codes.context, minlength=2 * codes.context + 1).astype(np.float64),
        [part.tobytes() for part in np.split(pairs, ends[:-1])],
    )


def summarize_footprints(codes: ReferenceCodes, found: Sequence[Footprints]) -> list[dict[str, Any]]:
    """One summary a level, coarse to fine, of what `footprints` found.

    Returns:
        `mutations`, `changed_mean`, `changed_sd`, `changed_quantiles` (0, 5, 25, 50, 75, 95, 100 %), `silent` (the
        share that changes no code), `farthest`, `half_within` (the distance within which half of all changed codes
        lie), `moved` and `typical` (the mean distance of the vectors of two random codes of the reference), `offsets`
        and `shares` (of mutations that change the code at that distance).
    """
    rows = []
    for level, own in enumerate(found):
        book = codes.vocabulary.vectors()[level]
        shares = np.bincount(codes.reference_codes[level], minlength=len(book)) / codes.reference_codes.shape[1]
        reach = np.arange(-codes.context, codes.context + 1)
        seen = own.changed > 0
        by_distance = np.bincount(np.abs(reach), weights=own.offsets)
        half = int(np.searchsorted(np.cumsum(by_distance), by_distance.sum() / 2))
        rows.append(
            {
                "mutations": len(own.changed),
                "changed_mean": float(own.changed.mean()),
                "changed_sd": float(own.changed.std()),
                "changed_quantiles": np.quantile(own.changed, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]).tolist(),
                "silent": float((~seen).mean()),
                "farthest": float(own.farthest.max()),
                "half_within": half,
                "moved": float(own.moved[seen].mean()) if seen.any() else 0.0,
                "typical": float(shares @ cdist(book, book) @ shares),
                "offsets": reach.tolist(),
                "shares": (own.offsets / len(own.changed)).round(4).tolist(),
            }
        )
    return rows


def mutation_table(
    lineages: Lineages, genes: Sequence[Gene], mutations: Sequence[Mutation], found: Sequence[Footprints]
) -> pd.DataFrame:
    """One row a mutation: what it is, how many lineages carry it, what it does to proteins and to codes.

    Columns: `mutation`, `position` (from 1), `type` (such as `C>T`, or `deletion`), `lineages`, `gene`, `effect` (such
    as `D614G`; several genes are joined by commas), `class` (`synonymous` in all its genes, `nonsynonymous` in one,
    `noncoding`, `deletion`), and for each level `changed_1`, `farthest_1`, `moved_1`, `total_1`, ...
    """
    carriers = dict(zip((mutation.name for mutation in lineages.mutations), lineages.carriers(), strict=True))
    rows = []
    for mutation in mutations:
        effects = []
        kind, type_ = "deletion", "deletion"
        if not mutation.is_deletion:
            effects = substitution_effects(lineages.reference, genes, mutation.start, mutation.alt)
            type_ = f"{lineages.reference[mutation.start]}>{mutation.alt}"
            silent = all(effect.synonymous for effect in effects)
            kind = ("synonymous" if silent else "nonsynonymous") if effects else "noncoding"
        rows.append(
            {
                "mutation": mutation.name,
                "position": mutation.start + 1,
                "type": type_,
                "lineages": carriers.get(mutation.name, 0),
                "gene": ",".join(effect.gene for effect in effects),
                "effect": ",".join(effect.name for effect in effects),
                "class": kind,
            }
        )
    table = pd.DataFrame(rows)
    for level, own in enumerate(found, start=1):
        for name in ("changed", "farthest", "moved", "total"):
            table[f"{name}_{level}"] = getattr(own, name)
    return table


def every_substitution(reference: str, gene: Gene) -> list[Mutation]:
    """All three substitutions of every base of a gene, by position.

    >>> [mutation.name for mutation in every_substitution("ACGT", Gene("g", 1, 2))]
    ['C2A', 'C2G', 'C2T']
    """
    return [
        Mutation(at, at + 1, alt, f"{reference[at]}{at + 1}{alt}")
        for at in range(gene.start, gene.end)
        for alt in NUCLEOTIDES
        if alt != reference[at]
    ]


def told_apart(mutations: Sequence[Mutation], own: Footprints) -> dict[str, float]:
    """Whether codes tell mutations from the reference and from each other.

    Returns:
        `seen`: the share of mutations that change a code; `told_apart`: of the pairs of mutations at one site, the
        share that gives different codes.

    Example:

    >>> pair = [Mutation(3, 4, "A", "C4A"), Mutation(3, 4, "T", "C4T")]
    >>> one = np.array([1.0, 0.0])
    >>> told_apart(pair, Footprints(one, one, one, one, one, [b"x", b""]))
    {'seen': 0.5, 'told_apart': 1.0}
    """
    sites: dict[tuple[int, int], list[bytes]] = {}
    for mutation, signature in zip(mutations, own.signatures, strict=True):
        sites.setdefault((mutation.start, mutation.end), []).append(signature)
    pairs = different = 0
    for found in sites.values():
        for number, one in enumerate(found):
            pairs += number
            different += sum(one != other for other in found[:number])
    return {"seen": float((own.changed > 0).mean()), "told_apart": different / pairs if pairs else float("nan")}


def compare_groups(
    values: Sequence[float] | NDArray[np.floating],
    groups: Sequence[bool] | NDArray[np.bool_],
    strata: Sequence[str] | None = None,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Whether one group has larger values than the other: a rank test, and its effect size.

    Args:
        values: (N,).
        groups: (N,) True for the first group.
        strata: compare only within these, weighted by n1 * n2 / (n1 + n2): so a difference that comes from another
            mixture of strata does not count.
        seed: of the 999 permutations within strata.

    Returns:
        `n_1`, `n_2`, `mean_1`, `mean_2`, `delta` (Cliff's: P(first > second) - P(first < second), -1 to 1) and `p`
        (two-sided; Mann-Whitney, or by permutation with strata).

    Raises:
        ValueError: if a group is empty, or no stratum has both.

    Example:

    >>> found = compare_groups([1, 2, 3, 4], [True, True, False, False])
    >>> found["delta"], round(found["p"], 3)
    (-1.0, 0.333)
    """
    x, first = np.asarray(values, dtype=np.float64), np.asarray(groups, dtype=bool)
    if first.all() or not first.any():
        raise ValueError(f"{int(first.sum())} values of {len(first)} are in the first group: both need some")
    result = {"n_1": int(first.sum()), "n_2": int((~first).sum())}
    means = {"mean_1": float(x[first].mean()), "mean_2": float(x[~first].mean())}
    if strata is None:
        test = stats.mannwhitneyu(x[first], x[~first], alternative="two-sided")
        delta = 2 * float(test.statistic) / (result["n_1"] * result["n_2"]) - 1
        return {**result, **means, "delta": delta, "p": float(test.pvalue)}
    names = np.asarray(strata)
    parts = [names == name for name in sorted(set(names.tolist()))]
    ranked = [(stats.rankdata(x[part]), first[part]) for part in parts if 0 < first[part].sum() < part.sum()]
    if not ranked:
        raise ValueError("no stratum has values of both groups")
    generator = np.random.default_rng(seed)
    delta = _stratified_delta(ranked)
    drawn = [_stratified_delta([(r, generator.permutation(own)) for r, own in ranked]) for _ in range(_PERMUTATIONS)]
    extreme = int((np.abs(drawn) >= abs(delta) - 1e-12).sum())
    return {**result, **means, "delta": delta, "p": (extreme + 1) / (_PERMUTATIONS + 1)}


def _stratified_delta(ranked: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> float:
    total = weights = 0.0
    for ranks, first in ranked:
        one, two = int(first.sum()), int((~first).sum())
        delta = 2 * (float(ranks[first].sum()) - one * (one + 1) / 2) / (one * two) - 1
        total += delta * one * two / (one + two)
        weights += one * two / (one + two)
    return total / weights
