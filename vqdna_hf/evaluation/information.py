# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What codes tell about something else: mutual information, corrected for chance."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.evaluation.vocabularies import kmers
from vqdna_hf.model.quantization_vqdna import NO_CODE

_LARGEST_TABLE = 1 << 22  # of pairs that are counted in a table; beyond it, sorting is the faster


def entropy(values: NDArray[np.integer]) -> float:
    """Of the values' frequencies, in bits (the plug-in estimate).

    Args:
        values: (N,) ids, all counted.

    Example:

    >>> entropy(np.array([0, 1, 2, 3])), entropy(np.array([7, 7]))
    (2.0, 0.0)
    """
    if values.size == 0:
        return 0.0
    return _entropy_of_counts(np.unique(values, return_counts=True)[1])


def mutual_information(
    codes: NDArray[np.integer], other: NDArray[np.integer], *, shuffles: int = 1, seed: int = 0
) -> dict[str, Any]:
    """How many bits two columns of ids share, corrected for chance.

    With many ids and few positions the plug-in estimate is far above 0 for columns that have nothing to do with each
    other. What it gives when one column is shuffled (`by_chance`) is that excess; subtracting it alone would also take
    from columns that determine each other, which have none. So the scale is stretched between the two ends, as in the
    adjusted mutual information of Vinh, Epps & Bailey (JMLR 11:2837, 2010): 0 at what chance gives, the smaller of the
    two entropies where one column determines the other.

    Args:
        codes, other: (N,) ids; positions where either is -1 are left out.
        shuffles: how many are averaged.
        seed: of the shuffles.

    Returns:
        `bits` (corrected; a little below 0 is chance), `normalised` (of the smaller entropy, 1 is all), `plug_in` and
        `by_chance` in bits, `entropy` (codes) and `entropy_other`, `positions` (N without those left out). Where one
        column is constant, or chance alone reaches the entropy (far too few positions), `bits` is 0.

    Raises:
        ValueError: if the columns differ in length.

    Example:

    >>> column = np.arange(4000) % 8
    >>> found = mutual_information(column, column // 2)
    >>> found["bits"], found["normalised"]
    (2.0, 1.0)
    """
    if codes.shape != other.shape:
        raise ValueError(f"{codes.shape} codes for {other.shape} other ids: give one of each a position")
    known = (codes != NO_CODE) & (other != NO_CODE)
    one, two = (_ranks(column[known]) for column in (codes, other))
    own, others = (_entropy_of_counts(np.bincount(ranks)) for ranks in (one, two))
    rng = np.random.default_rng(seed)
    joint = [_joint_entropy(one, two), *(_joint_entropy(one, rng.permutation(two)) for _ in range(shuffles))]
    plug_in = own + others - joint[0]
    by_chance = own + others - float(np.mean(joint[1:])) if shuffles else 0.0
    most = min(own, others)
    room = most - by_chance
    normalised = (plug_in - by_chance) / room if room > 1e-3 else 0.0
    return {
        "bits": round(normalised * most, 6),
        "normalised": round(normalised, 6),
        "plug_in": round(plug_in, 6),
        "by_chance": round(by_chance, 6),
        "entropy": round(own, 6),
        "entropy_other": round(others, 6),
        "positions": int(known.sum()),
    }


def centred_kmers(ids: NDArray[np.uint8], k: int, stride: int = 1) -> NDArray[np.int32]:
    """The k-mer around the middle of each patch of `stride` bases: what a code would be if it were a k-mer.

    Of an even k one more base stands to the right of the middle than to its left; likewise the middle of an even
    patch is the base before its half.

    Args:
        ids: (n,) nucleotide ids of one sequence.
        k: bases a word.
        stride: bases a code.

    Returns:
        (ceil(n / stride),) numbers of words, -1 where N stands in one or the sequence ends.

    Example:

    >>> from vqdna_hf.data import encode_sequence
    >>> centred_kmers(encode_sequence("AACGT", where="a test"), 3).tolist()  # ., AAC, ACG, CGT, .
    [-1, 1, 6, 27, -1]
    """
    words = np.full(len(ids), NO_CODE, dtype=np.int32)
    left = (k - 1) // 2
    found = kmers(ids, k)
    words[left : left + len(found)] = found
    patches = -(-len(ids) // stride)
    middles = np.minimum(np.arange(patches) * stride + (stride - 1) // 2, len(ids) - 1)
    return words[middles]


def _ranks(values: NDArray[np.integer]) -> NDArray[np.int64]:
    """What `np.unique` gives as the inverse, without sorting where ids are small: many times as fast."""
    if values.size and values.min() >= 0 and values.max() <= _LARGEST_TABLE:
        return (np.cumsum(np.bincount(values) > 0) - 1)[values]
    return np.unique(values, return_inverse=True)[1]


def _entropy_of_counts(counts: NDArray[np.integer]) -> float:
    share = counts[counts > 0] / max(counts.sum(), 1)
    return max(0.0, -float((share * np.log2(share)).sum()))


def _joint_entropy(one: NDArray[np.integer], two: NDArray[np.integer]) -> float:
    width = int(two.max(initial=0)) + 1
    pairs = one.astype(np.int64) * width + two
    if (int(one.max(initial=0)) + 1) * width > _LARGEST_TABLE:
        return entropy(pairs)
    return _entropy_of_counts(np.bincount(pairs))
