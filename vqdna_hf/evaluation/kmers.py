# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Words of k bases as numbers, the same for both strands: what two sequences have in common."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data import encode_sequence

__all__ = ["canonical_kmers", "share_kmers"]

_A, _N = 5, 9  # ids of the first nucleotide and of N
_EXACT = 32  # bases in 64 bits
_ODD = np.uint64(0x9E3779B97F4A7C15)
_CHUNK = 4_000_000  # bases at once


def canonical_kmers(ids: NDArray[np.uint8], size: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The word at each place, as the smaller of itself and its reverse complement.

    Args:
        ids: (L,) of nucleotides.
        size: bases of a word, up to 64. Up to 32 a word is its number, two bits a base; longer ones are hashed from
            two halves.

    Returns:
        (L - size + 1,) words, and which of them hold no N; two empty arrays for fewer bases than a word has.

    Example:

    >>> words, whole = canonical_kmers(encode_sequence("ACGTNAC", where="a test"), 2)
    >>> words.tolist()[:3], whole.tolist()  # AC, CG, and GT as AC
    ([1, 6, 1], [True, True, True, False, False, True])
    """
    if len(ids) < size:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=bool)
    is_n = ids == _N
    bases = np.where(is_n, 0, ids - _A).astype(np.uint64)
    before = np.concatenate([[0], np.cumsum(is_n)])
    words = np.minimum(_words(bases, size), _words((3 - bases)[::-1], size)[::-1])
    return words, before[size:] == before[:-size]


def _words(bases: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    if size <= _EXACT:
        return _packed(bases, size)
    half, length = size // 2, len(bases) - size + 1
    return _packed(bases, half)[:length] * _ODD + _packed(bases, size - half)[half:]


def _packed(bases: NDArray[np.uint64], size: int) -> NDArray[np.uint64]:
    """(L,) bases 0..3 to (L - size + 1,) words, by doubling: 31 = 16 + 8 + 4 + 2 + 1."""
    words, powers, step = bases, [], 1
    while True:
        if size & step:
            powers.append((step, words))
        if 2 * step > size:
            break
        words = (words[:-step] << np.uint64(2 * step)) | words[step:]
        step *= 2
    length = len(bases) - size + 1
    packed, done = np.zeros(length, dtype=np.uint64), 0
    for step, words in reversed(powers):
        packed = (packed << np.uint64(2 * step)) | words[done : done + length]
        done += step
    return packed


def share_kmers(texts: Sequence[str], others: Iterable[str], size: int) -> NDArray[np.bool_]:
    """Which sequences have a word in common, on either strand, with any of some others.

    Args:
        texts: (N,) sequences, checked against the alphabet.
        others: more of them, read in parts: their number does not matter for memory.
        size: bases of a word; shorter sequences have none.

    Returns:
        (N,) True where a word is shared.

    Example:

    >>> share_kmers(["AACC", "AAAA", "AC"], ["TGGTTT"], 4).tolist()  # GGTT is the other strand of AACC
    [True, False, False]
    """
    owner = np.repeat(np.arange(len(texts)), [len(text) + 1 for text in texts])
    words, whole = canonical_kmers(encode_sequence("N".join(texts), where="sequences"), size)
    known, place = np.unique(words[whole], return_inverse=True)
    shared = np.zeros(len(texts), dtype=bool)
    if not known.size:
        return shared
    hit = np.zeros(len(known), dtype=bool)
    for part in _parts(others):
        there, clean = canonical_kmers(encode_sequence(part, where="sequences"), size)
        there = there[clean]
        places = np.minimum(np.searchsorted(known, there), len(known) - 1)
        hit[places[known[places] == there]] = True
    shared[owner[: len(words)][whole][hit[place]]] = True
    return shared


def _parts(texts: Iterable[str]) -> Iterator[str]:
    """Sequences joined by N, which no word spans, up to a size that memory has room for."""
    part: list[str] = []
    bases = 0
    for text in texts:
        part.append(text)
        bases += len(text)
        if bases >= _CHUNK:
            yield "N".join(part)
            part, bases = [], 0
    if part:
        yield "N".join(part)
