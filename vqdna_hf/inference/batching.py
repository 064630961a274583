# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Batches of as many nucleotides as fit: when memory runs out they are halved, and nothing is lost."""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqdna_hf.model.tokenization_vqdna import CLS_ID, PAD_ID, SEP_ID

logger = logging.getLogger(__name__)
T = TypeVar("T")

_CPU_BYTES = 1 << 28
_GPU_SHARE = 8
_TENSORS = 4
_FEWEST, _MOST = 1 << 13, 1 << 20


class OutOfMemoryError(OSError):
    """Not even one sequence fits. The machine's fault, not the input's: what a job has computed is kept.

    Example:

    >>> issubclass(OutOfMemoryError, OSError)
    True
    """


class Batcher:
    """Reads many sequences in batches of about equal length; remembers what fits.

    Args:
        batch_bases: nucleotides a batch, padding counted; a batch holds at least one sequence. Default: what fits four
            of the model's widest tensors into 256 MB on a CPU, into an eighth of the free memory on a GPU.
        device, width: where the model is, and its floats a nucleotide where it is widest; for the default.

    Raises:
        ValueError: if `batch_bases` is below 1.

    Example:

    >>> batcher = Batcher(10)
    >>> batcher.map([3, 9, 3, 3], lambda numbers: [len(numbers)] * len(numbers))
    [3, 1, 3, 3]
    """

    def __init__(self, batch_bases: int | None = None, device: torch.device | None = None, width: int = 2048) -> None:
        if batch_bases is not None and batch_bases < 1:
            raise ValueError(f"batch_bases={batch_bases}: at least 1 nucleotide must be read at once")
        self.batch_bases = batch_bases or _fitting(device, width)

    def map(self, lengths: Sequence[int], compute: Callable[[list[int]], Sequence[T]]) -> list[T]:
        """Compute something of every sequence.

        Args:
            lengths: of the sequences, in nucleotides.
            compute: takes the numbers of the sequences of a batch, and gives one result for each.

        Returns:
            The results in the order of the sequences.

        Raises:
            OutOfMemoryError: if memory does not even hold one sequence.
        """
        results: list[Any] = [None] * len(lengths)
        # Equal lengths side by side, so that little is padded; the sort is stable, so batches are always the same.
        waiting = sorted(range(len(lengths)), key=lambda number: -lengths[number])
        while waiting:
            batch = waiting[: max(self.batch_bases // max(lengths[waiting[0]], 1), 1)]
            try:
                values = compute(batch)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                self._halve(batch, lengths[batch[0]], error)
                continue
            for number, value in zip(batch, values, strict=True):
                results[number] = value
            waiting = waiting[len(batch) :]
        return results

    def map_distinct(
        self, sequences: Sequence[NDArray[np.uint8]], compute: Callable[[list[NDArray[np.uint8]]], Sequence[T]]
    ) -> list[T]:
        """Compute something of every sequence, once of those that are equal.

        Args:
            sequences: (n,) ids each.
            compute: takes the sequences of a batch, and gives one result for each.

        Returns:
            The results in the order of the sequences.

        Raises:
            OutOfMemoryError: if memory does not even hold one sequence.

        Example:

        >>> one, other = np.array([5, 6], np.uint8), np.array([7], np.uint8)
        >>> Batcher(1).map_distinct([one, other, one], lambda batch: [print("read") or len(ids) for ids in batch])
        read
        read
        [2, 1, 2]
        """
        numbers: dict[bytes, int] = {}
        places = [numbers.setdefault(ids.tobytes(), len(numbers)) for ids in sequences]
        distinct = [np.frombuffer(ids, dtype=np.uint8) for ids in numbers]
        found = self.map([*map(len, distinct)], lambda chosen: compute([distinct[number] for number in chosen]))
        return [found[place] for place in places]

    def _halve(self, batch: list[int], longest: int, error: Exception) -> None:
        if len(batch) == 1:
            raise OutOfMemoryError(
                f"out of memory with a single sequence of {longest} nucleotides: give a smaller --window, another "
                "--device, or --dtype bfloat16"
            ) from error
        self.batch_bases = max(len(batch) // 2, 1) * longest
        error.__traceback__ = None  # its frames hold the tensors
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        logger.warning("out of memory: going on with %d nucleotides a batch", self.batch_bases)


def _fitting(device: torch.device | None, width: int) -> int:
    on_gpu = device is not None and device.type == "cuda"
    budget = torch.cuda.mem_get_info(device)[0] // _GPU_SHARE if on_gpu else _CPU_BYTES
    return min(max(budget // (_TENSORS * 4 * width), _FEWEST), _MOST)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(phrase in str(error) for phrase in ("out of memory", "not enough memory", "can't allocate memory"))


def pad_batch(sequences: Sequence[NDArray[np.uint8]], special: bool) -> tuple[Tensor, Tensor]:
    """Put sequences of unequal length side by side.

    Args:
        sequences: (n,) nucleotide ids each.
        special: put `[CLS]` before and `[SEP]` behind each.

    Returns:
        `input_ids` and `attention_mask` (B, L), int64; with `special` L is that of the longest plus 2.

    Example:

    >>> ids, mask = pad_batch([np.array([5, 6], np.uint8), np.array([7], np.uint8)], special=True)
    >>> ids.tolist(), mask.tolist()
    ([[2, 5, 6, 3], [2, 7, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]])
    """
    more = 2 if special else 0
    longest = max(map(len, sequences)) + more
    ids = np.full((len(sequences), longest), PAD_ID, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        ids[row, more // 2 : more // 2 + len(sequence)] = sequence
        mask[row, : len(sequence) + more] = 1
        if special:
            ids[row, 0], ids[row, len(sequence) + 1] = CLS_ID, SEP_ID
    return torch.from_numpy(ids), torch.from_numpy(mask)


def rows_of(values: Tensor, lengths: Sequence[int], special: bool) -> Iterator[NDArray[Any]]:
    """Undo `pad_batch` for results with one row a position, (B, L, ...): those of each sequence alone, on the CPU.

    Example:

    >>> [rows.tolist() for rows in rows_of(torch.arange(8).view(2, 4), [2, 1], special=True)]
    [[1, 2], [5]]
    """
    start = 1 if special else 0
    on_cpu = values.cpu().numpy()
    for row, length in enumerate(lengths):
        yield on_cpu[row, start : start + length]
