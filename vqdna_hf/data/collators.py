# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Items to batches: `[CLS]` bases `[SEP]`, padded on the right, with or without masks to be filled in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from vqdna_hf.data.generators import generators
from vqdna_hf.model.tokenization_vqdna import (
    CLS_ID,
    FIRST_NUCLEOTIDE_ID,
    MASK_ID,
    N_ID,
    NUM_NUCLEOTIDES,
    PAD_ID,
    SEP_ID,
    UNK_ID,
    VOCABULARY,
)

IGNORE_INDEX = -100
"""The label of positions without a target, as PyTorch's cross entropy has it."""

MaskLevel = Literal["nucleotide", "code"]

_MAX_SEED = 2**63 - 1
_CLS, _SEP = np.array([CLS_ID], dtype=np.uint8), np.array([SEP_ID], dtype=np.uint8)


@dataclass
class NucleotideCollator:
    """Join items into a batch; [UNK] and inputs that are too long are refused, never cut.

    An item has `input_ids`, (bases,) ids without special tokens; optionally `pair_ids`, a second sequence
    that follows as `[CLS] A [SEP] B [SEP]`; optionally `labels`: a number, a vector of one size for all items
    (multi-label), or with `token_labels` one label a base.

    Args:
        max_length: the longest input in tokens, special tokens included; `None` for no limit.
        pad_to_multiple_of: round the padded length up to a multiple of this.
        token_labels: labels are one a base of `input_ids`; special tokens, a pair's second sequence and
            padding get -100.

    Returns:
        When called, `input_ids` and `attention_mask`, both (B, L) int64, and `labels` where the items have
        them: (B,) int64 for whole numbers, float32 for others; (B, L) int64 with `token_labels`.

    Raises:
        ValueError: an empty batch or item, [UNK] or another special token inside a sequence, too long an
            input, or labels in some items only.

    Example:

    >>> batch = NucleotideCollator()([{"input_ids": [5, 6], "labels": 1}, {"input_ids": [7], "labels": 0}])
    >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist(), batch["labels"].tolist()
    ([[2, 5, 6, 3], [2, 7, 3, 0]], [[1, 1, 1, 1], [1, 1, 1, 0]], [1, 0])
    """

    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    token_labels: bool = False

    def __post_init__(self) -> None:
        if self.max_length is not None and self.max_length < 3:
            raise ValueError(f"max_length is {self.max_length}: [CLS], one base and [SEP] need 3")
        if self.pad_to_multiple_of is not None and self.pad_to_multiple_of < 1:
            raise ValueError(f"pad_to_multiple_of is {self.pad_to_multiple_of}: give 1 or more, or None")

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make the batch; see the class."""
        tokens, lengths = self._join(items)
        batch = self._batch(tokens, lengths)
        if any("labels" in item for item in items):
            missing = [index for index, item in enumerate(items) if item.get("labels") is None]
            if missing:
                raise ValueError(f"items {missing[:8]} of the batch have no labels, others have: label all or none")
            batch["labels"] = self._labels(items, batch["input_ids"].shape[1])
        return batch

    def _join(self, items: Sequence[dict[str, Any]]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """The tokens of all rows one behind the other, checked, and how many each row has."""
        if not items:
            raise ValueError("the batch is empty: give at least one item")
        pieces: list[NDArray[Any]] = []
        lengths = np.empty(len(items), dtype=np.int64)
        specials = 2 * len(items)
        in_order = True
        for index, item in enumerate(items):
            ids = np.asarray(item["input_ids"])
            pieces += (_CLS, ids, _SEP)
            lengths[index] = ids.size + 2
            in_order &= ids.ndim == 1 and ids.size > 0
            if item.get("pair_ids") is not None:
                ids = np.asarray(item["pair_ids"])
                pieces += (ids, _SEP)
                lengths[index] += ids.size + 1
                specials += 1
                in_order &= ids.ndim == 1 and ids.size > 0
        # All at once: of a batch in order, nothing but the special tokens set here is out of the alphabet.
        tokens = np.concatenate(pieces) if in_order else None
        if tokens is None or np.count_nonzero(_outside(tokens)) != specials:
            for index, item in enumerate(items):
                _check_ids(item["input_ids"], f"item {index} of the batch")
                if item.get("pair_ids") is not None:
                    _check_ids(item["pair_ids"], f"second sequence of item {index} of the batch")
        assert tokens is not None
        self._check_lengths(items, lengths)
        return tokens, lengths

    def _check_lengths(self, items: Sequence[dict[str, Any]], lengths: NDArray[np.int64]) -> None:
        if self.max_length is None or lengths.max() <= self.max_length:
            return
        index = int(np.argmax(lengths > self.max_length))
        specials = 2 + (items[index].get("pair_ids") is not None)
        raise ValueError(
            f"item {index} of the batch has {lengths[index] - specials} bases, but max_length "
            f"{self.max_length} leaves room for {self.max_length - specials} beside the special tokens: "
            "cut windows, or raise max_length"
        )

    def _batch(self, tokens: NDArray[Any], lengths: NDArray[np.int64]) -> dict[str, torch.Tensor]:
        """Rows of one length, from the tokens of all."""
        shown = np.arange(self._padded_length(lengths)) < lengths[:, None]
        return {
            "input_ids": _pad(tokens, shown, PAD_ID),
            "attention_mask": torch.from_numpy(shown.astype(np.int64)),
        }

    def _padded_length(self, lengths: NDArray[np.int64]) -> int:
        multiple = self.pad_to_multiple_of or 1
        return -(-int(lengths.max()) // multiple) * multiple

    def _labels(self, items: Sequence[dict[str, Any]], length: int) -> torch.Tensor:
        if not self.token_labels:
            try:
                labels = torch.as_tensor(np.asarray([item["labels"] for item in items]))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"the labels of the batch are no numbers of one shape ({error}): for one label a base "
                    "set token_labels=True"
                ) from error
            return labels.float() if labels.is_floating_point() else labels.long()
        padded = torch.full((len(items), length), IGNORE_INDEX, dtype=torch.int64)
        for index, item in enumerate(items):
            bases = len(item["input_ids"])
            if len(item["labels"]) != bases:
                raise ValueError(f"item {index} of the batch has {bases} bases but {len(item['labels'])} labels")
            padded[index, 1 : 1 + bases] = torch.as_tensor(np.asarray(item["labels"], dtype=np.int64))
        return padded


@dataclass
class MaskedNucleotideCollator:
    """Join items into a batch for a masked language model.

    Only A, C, G and T are ever chosen. With `mean_span_length` 1 each is chosen on its own with
    `mask_probability`. Above 1, chosen and free runs alternate, both with geometric lengths: a run of chosen
    positions is `mean_span_length` long on average (where no N or end cuts it), and free runs are as long as
    it takes for the expected share to stay `mask_probability` at every position. At least one position is
    chosen in each sequence that has one of the four letters.

    All randomness comes from the item's `seed`, so that a mask depends on the item alone, not on the worker,
    the batch or the run. An item without a seed gets one from torch's global generator.

    Args:
        mask_probability: expected share of chosen positions, above 0 and below 1.
        mean_span_length: 1 or more, in bases; a span of less than a patch is one patch.
        mask_replace_probability: share of the chosen that become [MASK].
        random_replace_probability: share of the chosen that become another of the four bases; the rest stay.
        mask_level: `"nucleotide"` changes `input_ids`; `"code"` leaves them clean, for models that mask codes
            instead.
        max_length: as in `NucleotideCollator`.
        pad_to_multiple_of: as in `NucleotideCollator`.
        patch_size: choose whole patches of this many bases, counted from the first base of each sequence, and treat the
            bases of a patch alike ([MASK], another base each, or left as they are); spans are runs of patches. For a
            codec whose codes stand for several bases (`codec_stride`), so that a code is hidden or clean.

    Returns:
        When called, `input_ids`, `attention_mask` and `labels`, all (B, L) int64; labels are the clean ids at
        chosen positions and -100 elsewhere.

    Raises:
        ValueError: as `NucleotideCollator`; probabilities that make no sense.

    Example:

    >>> collator = MaskedNucleotideCollator(mask_probability=0.5)
    >>> batch = collator([{"input_ids": [5, 6, 7, 8], "seed": 3}])
    >>> again = collator([{"input_ids": [5], "seed": 1}, {"input_ids": [5, 6, 7, 8], "seed": 3}])
    >>> batch["input_ids"][0].tolist() == again["input_ids"][1].tolist()
    True
    """

    mask_probability: float = 0.25
    mean_span_length: float = 1.0
    mask_replace_probability: float = 0.8
    random_replace_probability: float = 0.1
    mask_level: MaskLevel = "nucleotide"
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    patch_size: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability < 1:
            raise ValueError(f"mask_probability is {self.mask_probability}: give a share above 0 and below 1")
        if self.patch_size < 1:
            raise ValueError(f"patch_size is {self.patch_size}: a patch has at least 1 base")
        if not 1 <= self.mean_span_length < math.inf:
            raise ValueError(f"mean_span_length is {self.mean_span_length}: a span has at least 1 base, and an end")
        mask, other = self.mask_replace_probability, self.random_replace_probability
        if mask < 0 or other < 0 or mask + other > 1 + 1e-9:
            raise ValueError(
                f"mask_replace_probability {mask} and random_replace_probability {other} must not be "
                "negative and must not exceed 1 together"
            )
        if self.mask_level not in get_args(MaskLevel):
            raise ValueError(f"mask_level is {self.mask_level!r}: give one of {', '.join(get_args(MaskLevel))}")
        if self._span > 1 and self._start_probability > 1:
            spans, free = (f"{self._span:g} patches", "patch") if self.patch_size > 1 else (f"{self._span:g}", "base")
            raise ValueError(
                f"mask_probability {self.mask_probability} cannot be reached by spans of {spans} with a free {free} "
                "between them: lower it, or lengthen the spans (mean_span_length)"
            )
        self._joiner = NucleotideCollator(self.max_length, self.pad_to_multiple_of)

    @property
    def _span(self) -> float:
        """The mean length of a chosen run, in what is chosen as one: patches, which are bases where they hold one."""
        return max(self.mean_span_length / self.patch_size, 1)

    @property
    def _start_probability(self) -> float:
        """That a free base, or patch, is followed by a chosen one: balances chosen runs of `_span`."""
        return self.mask_probability / (1 - self.mask_probability) / self._span

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make the batch; see the class."""
        tokens, lengths = self._joiner._join(items)
        seeds = [item.get("seed") for item in items]
        numbers = [int(torch.randint(_MAX_SEED, ())) if seed is None else int(seed) for seed in seeds]
        chosen, fate, shift = self._draw(tokens, lengths, numbers)
        labels = np.full(len(tokens), IGNORE_INDEX, dtype=np.int64)
        positions = np.flatnonzero(chosen)
        labels[positions] = tokens[positions]
        if self.mask_level == "nucleotide":
            tokens = self._changed(tokens, positions, fate, shift)
        batch = self._joiner._batch(tokens, lengths)
        batch["labels"] = _pad(labels, batch["attention_mask"].numpy().astype(bool), IGNORE_INDEX)
        return batch

    def _draw(
        self, tokens: NDArray[Any], lengths: NDArray[np.int64], seeds: Sequence[int]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
        """Which tokens are chosen, row by row, and of each chosen one two numbers that say what becomes of it."""
        candidates = (tokens >= FIRST_NUCLEOTIDE_ID) & (tokens < FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES)
        patches = None if self.patch_size == 1 else _patch_numbers(tokens, self.patch_size)
        chosen = np.empty(len(tokens), dtype=bool)
        scratch = np.empty(int(lengths.max()))
        fates: list[NDArray[np.float64]] = []
        shifts: list[NDArray[np.int64]] = []
        start = 0
        for rng, length in zip(generators([(seed,) for seed in seeds]), lengths.tolist(), strict=True):
            row = slice(start, start + length)
            start += length
            own, free = chosen[row], candidates[row]
            if patches is not None:
                number = patches[row] - patches[row.start]
                own[:] = self._choose(int(number[-1]) + 1, rng)[number]
            elif self._span == 1:
                np.less(rng.random(out=scratch[:length]), self.mask_probability, out=own)
            else:
                own[:] = self._choose(length, rng)
            own &= free
            count = np.count_nonzero(own)
            if not count and free.any():
                place = rng.choice(np.flatnonzero(free))
                own |= free & (number == number[place]) if patches is not None else np.arange(length) == place
                count = np.count_nonzero(own)
            if self.mask_level == "code":
                continue
            if patches is None:
                fates.append(rng.random(count))
            else:
                fates.append(rng.random(len(number))[number[own]])
            shifts.append(rng.integers(1, NUM_NUCLEOTIDES, count))
        return chosen, np.concatenate(fates or [scratch[:0]]), np.concatenate(shifts or [lengths[:0]])

    def _changed(
        self, tokens: NDArray[Any], positions: NDArray[np.int64], fate: NDArray[np.float64], shift: NDArray[np.int64]
    ) -> NDArray[Any]:
        """Tokens with [MASK], or another nucleotide, or nothing new at the chosen positions."""
        to_mask = fate < self.mask_replace_probability
        to_other = ~to_mask & (fate < self.mask_replace_probability + self.random_replace_probability)
        changed = tokens.copy()
        changed[positions[to_mask]] = MASK_ID
        others = positions[to_other]
        shifted = (tokens[others].astype(np.int64) - FIRST_NUCLEOTIDE_ID + shift[to_other]) % NUM_NUCLEOTIDES
        changed[others] = FIRST_NUCLEOTIDE_ID + shifted
        return changed

    def _choose(self, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Of so many positions, or patches of them in a row."""
        span = self._span
        if span == 1:
            return rng.random(length) < self.mask_probability
        # A two-state chain started in its equilibrium, so that the share holds at the ends of a sequence as
        # well.
        state = bool(rng.random() < self.mask_probability)
        leave = {True: 1 / span, False: self._start_probability}
        runs: list[NDArray[np.bool_]] = []
        total = 0
        pairs = 4 + int(2 * length * self.mask_probability / span)
        while total < length:
            first, second = rng.geometric(leave[state], pairs), rng.geometric(leave[not state], pairs)
            lengths = np.minimum(np.stack([first, second], axis=1).reshape(-1), length)
            runs.append(np.repeat(np.resize([state, not state], 2 * pairs), lengths))
            total += int(lengths.sum())
        return np.concatenate(runs)[:length]


def _patch_numbers(tokens: NDArray[Any], patch_size: int) -> NDArray[np.int64]:
    """The number of each token's patch: each sequence is cut from its first base on, special tokens stand alone."""
    places = np.arange(len(tokens))
    is_special = _outside(tokens)
    behind = places - np.maximum.accumulate(np.where(is_special, places, 0)) - 1
    return np.cumsum(is_special | (behind % patch_size == 0)) - 1


def _outside(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether an id may not stand in a sequence; [MASK] may."""
    return (ids != MASK_ID) & ((ids < FIRST_NUCLEOTIDE_ID) | (ids > N_ID))


def _check_ids(ids: Any, where: str) -> None:
    """Refuse what is no sequence without special tokens; [MASK] may stand in it."""
    array = np.asarray(ids)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{where}: expected a sequence of at least one base, got shape {array.shape}")
    wrong = _outside(array)
    if wrong.any():
        position = int(np.argmax(wrong))
        value = int(array[position])
        token = VOCABULARY[value] if 0 <= value < len(VOCABULARY) else "no token"
        way_out = (
            "a character outside the nucleotide alphabet: correct the sequence"
            if value == UNK_ID
            else "special tokens are added here: give the bases only (add_special_tokens=False)"
        )
        raise ValueError(f"{where}: id {value} ({token}) at position {position} (0-based): {way_out}")


def _pad(values: NDArray[Any], shown: NDArray[np.bool_], value: int) -> torch.Tensor:
    """Values of all rows in a row -> (B, L) int64, where `shown` tells their places."""
    if shown.size == values.size:
        return torch.from_numpy(values.reshape(shown.shape).astype(np.int64))
    padded = np.full(shown.shape, value, dtype=np.int64)
    padded[shown] = values
    return torch.from_numpy(padded)
