# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows of a corpus as data sets: random ones for training, tiled ones for validation.

An item is `{"input_ids": (bases,) uint8 ids without special tokens, "seed": int}`. The seed is a function of
the item alone; collators draw their masks from it, so that neither workers nor batches nor a resumed run
change a mask.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from vqdna_hf.data.corpus import Corpus, reverse_complement_array
from vqdna_hf.data.generators import generators
from vqdna_hf.model.tokenization_vqdna import N_ID

_MAX_DRAWS = 50
_MAX_SEED = 2**63
# Sorted together by length: enough that few batches hold both short and long windows.
_BATCHES_SORTED, _WINDOWS_SORTED = 50, 4096


class WindowDataset(Dataset):
    """Random windows: item i is a pure function of `(seed, epoch, i)`, so interrupted runs resume to the bit.

    A record is drawn with probability proportional to its weight times its bases, then a start, then (with
    `reverse_complement`) the strand. Windows with too many N are drawn again, at most 50 times; then the best
    one seen is taken. Records shorter than the window are used whole.

    Where many are, most of a batch may be padding. With `batch_size` the same windows come in another order: those of
    a block of batches (50, or as many as hold 4,096 windows) are sorted by length and cut into batches, and the
    batches are shuffled. That order is a function of seed, epoch and the block's number alone, whatever `num_samples`
    is, so a longer run still only adds some; and where all windows of a block have one length, it is the order
    without. Sequences are not packed into one row instead: the codec's convolutions have no borders between
    sequences, so the codes at the ends of each would see its neighbours, and the same sequence would have other codes
    in another batch.

    Args:
        corpus: where the windows come from.
        window: bases a window, special tokens not counted.
        num_samples: items an epoch.
        seed: not negative.
        reverse_complement: give the other strand half of the time.
        max_n_fraction: the largest share of N that is not drawn again.
        batch_size: items that are read in a row as one batch, to give them like lengths. Costs each process that reads
            (each worker of a `DataLoader`) the drawing of all items in between; reading out of order is slow.

    Raises:
        ValueError: a size below 1, a negative seed, or a share outside 0..1.

    Example:

    >>> dataset = WindowDataset(Corpus.from_sequences(["ACGT" * 100]), window=32, num_samples=5, seed=1)
    >>> len(dataset), dataset[0]["input_ids"].shape
    (5, (32,))
    >>> bool((dataset[3]["input_ids"] == dataset[3]["input_ids"]).all())
    True
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        window: int,
        num_samples: int,
        seed: int,
        reverse_complement: bool = True,
        max_n_fraction: float = 0.1,
        batch_size: int | None = None,
    ) -> None:
        _check_window(window, max_n_fraction)
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}: at least 1 is needed")
        if seed < 0:
            raise ValueError(f"seed is {seed}: it must not be negative")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: at least 1 is needed, or None for windows as they are drawn")
        self.corpus = corpus
        self.window = window
        self.num_samples = num_samples
        self.seed = seed
        self.reverse_complement = reverse_complement
        self.max_n_fraction = max_n_fraction
        self.batch_size = batch_size
        mass = np.array([record.bases for record in corpus.records]) * np.array(corpus.weights)
        self._cumulative = np.cumsum(mass / mass.sum())
        # Rounding may leave the last step below 1; a draw above it would then name a record that may weigh
        # nothing.
        self._last = int(np.flatnonzero(mass)[-1])
        # In shared memory, so that workers that outlive an epoch see the new number as well.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._block: tuple[tuple[int, int], list[dict[str, Any]]] = ((-1, -1), [])

    @property
    def epoch(self) -> int:
        """The epoch whose windows are given."""
        return int(self._epoch)

    @property
    def full_share(self) -> float:
        """The expected share of positions that are no padding in batches as they are drawn, of which one row is whole.

        >>> corpus = Corpus.from_sequences(["ACGT" * 100, "ACGT" * 5])
        >>> round(WindowDataset(corpus, window=40, num_samples=1, seed=0).full_share, 4)
        0.9773
        """
        lengths = np.minimum([record.bases for record in self.corpus.records], self.window) + 2
        shares = np.diff(self._cumulative, prepend=0.0)
        return float((shares * lengths).sum() / lengths[shares > 0].max())

    def set_epoch(self, epoch: int) -> None:
        """Move to the windows of another epoch (not negative).

        Accelerate's data loaders call this on one process; on several they stop at a seedable sampler's own
        `set_epoch`, so a training loop should call it itself.
        """
        if epoch < 0:
            raise ValueError(f"epoch is {epoch}: it must not be negative")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The items of a batch: what a `DataLoader` asks for."""
        indices = [_check_index(index, len(self)) for index in indices]
        if self.batch_size is None:
            return self._items(indices)
        batches = max(_BATCHES_SORTED, -(-_WINDOWS_SORTED // self.batch_size))
        size = batches * self.batch_size
        return [self._block_of(index // size, batches, size)[index % size] for index in indices]

    def _block_of(self, number: int, batches: int, size: int) -> list[dict[str, Any]]:
        """The items of a block, in the order in which they are given."""
        if self._block[0] != (self.epoch, number):
            items = self._items(range(number * size, (number + 1) * size))
            lengths = [len(item["input_ids"]) for item in items]
            if min(lengths) < max(lengths):
                places = np.argsort(lengths, kind="stable").reshape(batches, -1)
                # The last 1 keeps this stream apart from the items' own: zeros at the end of a seed would not.
                order = np.random.default_rng([self.seed, self.epoch, number, 1]).permutation(batches)
                items = [items[place] for place in places[order].reshape(-1)]
            self._block = ((self.epoch, number), items)
        return self._block[1]

    def _items(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        epoch = self.epoch
        seeds = [(self.seed, epoch, index) for index in indices]
        return [self._item(rng) for rng in generators(seeds)]

    def _item(self, rng: np.random.Generator) -> dict[str, Any]:
        item_seed = int(rng.integers(_MAX_SEED))
        best = self._draw(rng)
        fewest = _n_fraction(best)
        for _ in range(_MAX_DRAWS - 1):
            if fewest <= self.max_n_fraction:
                break
            another = self._draw(rng)
            if (fraction := _n_fraction(another)) < fewest:
                best, fewest = another, fraction
        if self.reverse_complement and rng.random() < 0.5:
            best = reverse_complement_array(best)
        return {"input_ids": best, "seed": item_seed}

    def _draw(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        number = min(int(self._cumulative.searchsorted(rng.random(), side="right")), self._last)
        ids = self.corpus.records[number].ids
        start = int(rng.integers(max(len(ids) - self.window, 0) + 1))
        return ids[start : start + self.window]


class TiledDataset(Dataset):
    """Windows side by side, in the order of the records, on the forward strand: the same for every
    evaluation.

    Args:
        corpus: where the windows come from.
        window: bases a window; the last one of a record may be shorter.
        max_n_fraction: windows with a larger share of N are left out.
        min_bases: windows shorter than this are left out; `window // 2` by default.
        max_samples: keep only this many, evenly spread over all; all by default.
        seed: for the items' seeds (with the record's number and the start, so `max_samples` does not change
            them).

    Raises:
        ValueError: a size below 1, a share outside 0..1, or no window left.

    Example:

    >>> dataset = TiledDataset(Corpus.from_sequences(["ACGT" * 10]), window=16)
    >>> [len(item["input_ids"]) for item in dataset]
    [16, 16, 8]
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        window: int,
        max_n_fraction: float = 0.1,
        min_bases: int | None = None,
        max_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        _check_window(window, max_n_fraction)
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"max_samples is {max_samples}: at least 1 is needed, or None for all")
        if seed < 0:
            raise ValueError(f"seed is {seed}: it must not be negative")
        self.corpus = corpus
        self.window = window
        self.seed = seed
        min_bases = max(window // 2, 1) if min_bases is None else min_bases
        tiles: list[tuple[int, int]] = []
        for number, record in enumerate(corpus.records):
            starts = np.arange(0, record.bases, window)
            lengths = np.minimum(starts + window, record.bases) - starts
            unknown = np.add.reduceat(record.ids == N_ID, starts, dtype=np.int64)
            keep = (lengths >= min_bases) & (unknown <= max_n_fraction * lengths)
            tiles.extend((number, int(start)) for start in starts[keep])
        if not tiles:
            longest = max(record.bases for record in corpus.records)
            raise ValueError(
                f"no window of {min_bases} to {window} bases with at most {max_n_fraction:g} N in "
                f"{corpus!r}, whose longest record has {longest} bases: "
                "lower window or min_bases, or raise max_n_fraction"
            )
        if max_samples is not None and max_samples < len(tiles):
            # The middle of each of max_samples equal parts: evenly spread, no duplicates, no favoured end.
            spread = ((np.arange(max_samples) + 0.5) * len(tiles) / max_samples).astype(int)
            tiles = [tiles[index] for index in spread]
        self.tiles = tiles

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int) -> dict[str, Any]:
        number, start = self.tiles[_check_index(index, len(self))]
        item_seed = int(np.random.default_rng([self.seed, number, start]).integers(_MAX_SEED))
        return {"input_ids": self.corpus.records[number].ids[start : start + self.window], "seed": item_seed}


def _n_fraction(ids: NDArray[np.uint8]) -> float:
    return ids.tobytes().count(N_ID) / len(ids)  # of bytes, twice as fast as a comparison and a count


def _check_window(window: int, max_n_fraction: float) -> None:
    if window < 1:
        raise ValueError(f"window is {window}: at least 1 base is needed")
    if not 0 <= max_n_fraction <= 1:
        raise ValueError(f"max_n_fraction is {max_n_fraction}: give a share from 0 to 1")


def _check_index(index: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"item {index} of a data set of {size}")
    return int(index) % size
