# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What one substitution does to the codes around it: how many change, and how far away."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.evaluation.vocabularies import Vocabulary
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES

POSITIONS = 300
"""Positions that are substituted, if nothing else is said; each three times."""

_TRIES = 50


def substitution_stability(
    vocabulary: Vocabulary, genome: Genome, *, reach: int, positions: int = POSITIONS, seed: int = 0
) -> dict[str, Any]:
    """Substitute single bases, each by all three others, and compare the codes around them.

    Args:
        vocabulary: one with codes at fixed places, learned or overlapping k-mers; BPE has none.
        genome: where positions are drawn from; places with N around them are passed over.
        reach: bases on each side within which codes are compared; of a codec `codec_config.context`. Sequences are cut
            out with twice as many, so that no code sees where they end.
        positions: how many; each stands at a random place of its patch.
        seed: of the choice.

    Returns:
        `substitutions` (three a position), `distances` in bases, of a code's patch from the patch that the base is in,
        and for each level (`levels`): `changed`, how many codes change, on average; `changed_by_transition` and
        `_by_transversion`; `unchanged`, the share of substitutions that change no code; `furthest`, the largest
        distance of a change; `by_distance`, the share of substitutions that change the code at each of `distances`.

    Raises:
        ValueError: if no place of the genome has `2 * reach` known bases on each side, or the vocabulary's codes
            shift where a base is changed.

    Example:

    >>> from vqdna_hf.data import simulate_genome
    >>> from vqdna_hf.evaluation.vocabularies import KmerVocabulary
    >>> genome = Genome.from_sequences(["a"], [simulate_genome(5_000, seed=0)])
    >>> found = substitution_stability(KmerVocabulary(3), genome, reach=4, positions=10)
    >>> found["levels"][0]["changed"], found["levels"][0]["furthest"]
    (3.0, 2)
    """
    stride = getattr(vocabulary, "stride", 1)
    patches = -(-reach // stride)
    half = 2 * patches * stride
    rng = np.random.default_rng(seed)
    windows, offsets = _windows(genome, positions, half, stride, rng)
    rows = np.arange(len(windows))
    own = windows[rows, half + offsets]
    variants = [windows]
    for step in (1, 2, 3):  # added to the base's number, modulo 4: all three others
        changed = windows.copy()
        changed[rows, half + offsets] = (own - FIRST_NUCLEOTIDE_ID + step) % NUM_NUCLEOTIDES + FIRST_NUCLEOTIDE_ID
        variants.append(changed)
    codes = vocabulary.encode([decode_ids(ids) for block in variants for ids in block])
    if len({one.shape for one in codes}) > 1:
        raise ValueError(f"{vocabulary.name}: its codes shift where a base is changed, so they cannot be compared")
    stacked = np.stack(codes).reshape(4, len(windows), len(vocabulary.sizes), -1)
    middle = half // stride
    near = stacked[..., middle - patches : middle + patches + 1]
    moved = near[1:] != near[0]  # (3, positions, Q, places)
    distances = np.arange(-patches, patches + 1) * stride
    # A and G, C and T are two apart: a step of 2 is a transition.
    transition = np.array([False, True, False])
    return {
        "positions": len(windows),
        "substitutions": 3 * len(windows),
        "distances": distances.tolist(),
        "levels": [_of_level(moved[:, :, level], distances, transition) for level in range(len(vocabulary.sizes))],
    }


def _of_level(
    moved: NDArray[np.bool_], distances: NDArray[np.int64], transition: NDArray[np.bool_]
) -> dict[str, Any]:  # fmt: skip
    counts = moved.sum(-1)
    reached = np.abs(distances)[moved.any((0, 1))]
    return {
        "changed": round(float(counts.mean()), 4),
        "changed_by_transition": round(float(counts[transition].mean()), 4),
        "changed_by_transversion": round(float(counts[~transition].mean()), 4),
        "unchanged": round(float((counts == 0).mean()), 4),
        "furthest": int(reached.max(initial=0)),
        "by_distance": moved.mean((0, 1)).round(4).tolist(),
    }


def _windows(
    genome: Genome, positions: int, half: int, stride: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(positions, 2 * half + stride) ids without N, and where in the middle patch the substituted base is."""
    length = 2 * half + stride
    room = {name: bases - length + 1 for name, bases in genome.lengths.items() if bases >= length}
    if not room:
        raise ValueError(f"{genome.path}: no record has the {length} bases that are needed around a substitution")
    names, sizes = list(room), np.array(list(room.values()))
    found: list[NDArray[np.uint8]] = []
    for _ in range(_TRIES * positions):
        if len(found) == positions:
            break
        record = rng.choice(len(names), p=sizes / sizes.sum())
        start = int(rng.integers(sizes[record]))
        ids = genome.fetch(names[record], start, start + length)
        if (ids < FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES).all():
            found.append(ids)
    if not found:
        raise ValueError(f"{genome.path}: no {length} bases without N were found to substitute one of")
    return np.stack(found), rng.integers(stride, size=len(found))
