# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""NumPy generators of many seeds at once: the streams of `numpy.random.default_rng`, at a third of its price.

An item of a data set draws a few numbers from a generator of its own, so that it is a function of its seed alone.
Making the generator then takes longer than the draws: hashing the seed (`numpy.random.SeedSequence`) and building the
objects. Here the seeds of a batch are hashed together, and one generator is put into the state of each in turn. Both
algorithms are under NumPy's promise that streams stay as they are (NEP 19); tests compare every bit.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_FEWEST = 24  # below, one generator a seed is as fast
_LARGEST_SEED = 4_000_000_000
_POOL = 4  # words that a seed is hashed to
_WORD, _WIDE = (1 << 32) - 1, (1 << 128) - 1
_PCG64_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
_MIX_LEFT, _MIX_RIGHT = np.uint32(0xCA01F9DD), np.uint32(0x4973F715)
_HALF = np.uint32(16)


def check_seed(seed: int) -> None:
    """Refuse a seed that NumPy, torch or scikit-learn does not take; room is left to count on from it.

    Raises:
        ValueError: below 0, or above 4,000,000,000.

    Example:

    >>> check_seed(-1)
    Traceback (most recent call last):
    ...
    ValueError: seed -1: give a whole number from 0 to 4000000000
    """
    if not 0 <= seed <= _LARGEST_SEED:
        raise ValueError(f"seed {seed}: give a whole number from 0 to {_LARGEST_SEED}")


def generators(seeds: Sequence[Sequence[int]]) -> Iterator[np.random.Generator]:
    """Give for each seed what `numpy.random.default_rng(seed)` would give.

    Args:
        seeds: one or several non-negative integers each.

    Returns:
        An iterator. It may give the same generator again in another state: draw before asking for the next one.

    Example:

    >>> [int(rng.integers(1000)) for rng in generators([[7, index] for index in range(99)])][:3]
    [944, 870, 281]
    >>> [int(np.random.default_rng([7, index]).integers(1000)) for index in range(3)]
    [944, 870, 281]
    """
    words = _words(seeds) if len(seeds) >= _FEWEST else None
    if words is None:
        yield from map(np.random.default_rng, seeds)
        return
    bits = np.random.PCG64(0)
    rng = np.random.Generator(bits)
    for state_high, state_low, stream_high, stream_low in _hashed(words).tolist():
        increment = ((_join(stream_high, stream_low) << 1) | 1) & _WIDE
        start = ((increment + _join(state_high, state_low)) * _PCG64_MULTIPLIER + increment) & _WIDE
        bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": start, "inc": increment},
            "has_uint32": 0,
            "uinteger": 0,
        }
        yield rng


def _join(high: int, low: int) -> int:
    """Join two halves of 64 bits."""
    return (high << 64) | low


def _words(seeds: Sequence[Sequence[int]]) -> NDArray[np.uint32] | None:
    """Seeds as words of 32 bits, (4, seeds); None where one has more, or they are no plain numbers of 63 bits.

    Each number takes as many words as it needs, so numbers of one place must agree in that to stand in one array;
    missing words at the end count as zeros.
    """
    try:
        numbers = np.array(seeds, dtype=np.int64)
    except (OverflowError, ValueError):
        return None
    if numbers.ndim != 2 or (numbers < 0).any():
        return None
    rows: list[NDArray[np.int64]] = []
    for place, column in enumerate(numbers.T):
        rows.append(column & _WORD)
        upper = column >> 32
        is_last = place == numbers.shape[1] - 1
        if upper.any():
            if not is_last and not upper.all():
                return None
            rows.append(upper)
    if len(rows) > _POOL:
        return None
    rows += [np.zeros_like(rows[0])] * (_POOL - len(rows))
    return np.stack(rows).astype(np.uint32)


def _constants(start: int, factor: int, number: int) -> NDArray[np.uint32]:
    """The running constant of the hash: before each use, and behind the last."""
    values = [start]
    for _ in range(number):
        values.append(values[-1] * factor & _WORD)
    return np.array(values, dtype=np.uint32)


_MIXING = _constants(0x43B0D7E5, 0x931E8875, _POOL * _POOL)
_DRAWING = _constants(0x8B51F9DD, 0x58F38DED, 2 * _POOL)


def _hash(values: NDArray[np.uint32], constants: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Hash row i with constants i and i + 1."""
    values = (values ^ constants[:-1, None]) * constants[1:, None]
    return values ^ (values >> _HALF)


def _hashed(words: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """The four words of 64 bits that a `SeedSequence` gives to PCG64: (4, seeds) -> (seeds, 4)."""
    pool = _hash(words, _MIXING[: _POOL + 1])
    for source in range(_POOL):
        others = [row for row in range(_POOL) if row != source]
        first = _POOL + source * len(others)
        mixed = _MIX_LEFT * pool[others] - _MIX_RIGHT * _hash(pool[[source]], _MIXING[first : first + len(others) + 1])
        pool[others] = mixed ^ (mixed >> _HALF)
    drawn = _hash(np.concatenate([pool, pool]), _DRAWING).astype(np.uint64)
    return (drawn[0::2] | (drawn[1::2] << np.uint64(32))).T
