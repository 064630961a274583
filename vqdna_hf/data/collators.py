# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Items to batches: `[CLS]` bases `[SEP]`, padded on the right, with or without masks to be filled in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

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
        rows = [self._tokens(item, index) for index, item in enumerate(items)]
        length = self._padded_length(rows)
        batch = _pad_rows(rows, length)
        if items and any("labels" in item for item in items):
            missing = [index for index, item in enumerate(items) if item.get("labels") is None]
            if missing:
                raise ValueError(f"items {missing[:8]} of the batch have no labels, others have: label all or none")
            batch["labels"] = self._labels(items, length)
        return batch

    def _tokens(self, item: dict[str, Any], index: int) -> NDArray[np.int64]:
        parts = [_check_ids(item["input_ids"], f"item {index} of the batch")]
        if item.get("pair_ids") is not None:
            parts.append(_check_ids(item["pair_ids"], f"second sequence of item {index} of the batch"))
        pieces: list[Any] = [[CLS_ID]]
        for part in parts:
            pieces += [part, [SEP_ID]]
        tokens = np.concatenate(pieces).astype(np.int64)
        if self.max_length is not None and len(tokens) > self.max_length:
            specials = 1 + len(parts)
            raise ValueError(
                f"item {index} of the batch has {len(tokens) - specials} bases, but max_length "
                f"{self.max_length} leaves room for {self.max_length - specials} beside the special tokens: "
                "cut windows, or raise max_length"
            )
        return tokens

    def _padded_length(self, rows: Sequence[NDArray[np.int64]]) -> int:
        if not rows:
            raise ValueError("the batch is empty: give at least one item")
        multiple = self.pad_to_multiple_of or 1
        return -(-max(len(row) for row in rows) // multiple) * multiple

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
        mean_span_length: 1 or more, in bases.
        mask_replace_probability: share of the chosen that become [MASK].
        random_replace_probability: share of the chosen that become another of the four bases; the rest stay.
        mask_level: `"nucleotide"` changes `input_ids`; `"code"` leaves them clean, for models that mask codes
            instead.
        max_length: as in `NucleotideCollator`.
        pad_to_multiple_of: as in `NucleotideCollator`.

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

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability < 1:
            raise ValueError(f"mask_probability is {self.mask_probability}: give a share above 0 and below 1")
        if not self.mean_span_length >= 1:
            raise ValueError(f"mean_span_length is {self.mean_span_length}: a span has at least 1 base")
        mask, other = self.mask_replace_probability, self.random_replace_probability
        if mask < 0 or other < 0 or mask + other > 1 + 1e-9:
            raise ValueError(
                f"mask_replace_probability {mask} and random_replace_probability {other} must not be "
                "negative and must not exceed 1 together"
            )
        if self.mask_level not in get_args(MaskLevel):
            raise ValueError(f"mask_level is {self.mask_level!r}: give one of {', '.join(get_args(MaskLevel))}")
        if self.mean_span_length > 1 and self._start_probability > 1:
            raise ValueError(
                f"mask_probability {self.mask_probability} cannot be reached by spans of "
                f"{self.mean_span_length} with a free base between them: lower it, or lengthen the spans"
            )
        self._joiner = NucleotideCollator(self.max_length, self.pad_to_multiple_of)

    @property
    def _start_probability(self) -> float:
        """That a free position is followed by a chosen one: balances chosen runs of `mean_span_length`."""
        return self.mask_probability / (1 - self.mask_probability) / self.mean_span_length

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Make the batch; see the class."""
        rows = [self._joiner._tokens(item, index) for index, item in enumerate(items)]
        length = self._joiner._padded_length(rows)
        targets = []
        for index, (item, row) in enumerate(zip(items, rows, strict=True)):
            seed = item.get("seed")
            if seed is None:
                seed = int(torch.randint(_MAX_SEED, ()))
            rows[index], labels = self._mask(row, np.random.default_rng(int(seed)))
            targets.append(labels)
        batch = _pad_rows(rows, length)
        batch["labels"] = _pad_rows(targets, length, IGNORE_INDEX)["input_ids"]
        return batch

    def _mask(self, tokens: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Choose positions of one sequence: its tokens with the changes, and its labels."""
        candidates = (tokens >= FIRST_NUCLEOTIDE_ID) & (tokens < FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES)
        chosen = self._choose(len(tokens), rng) & candidates
        if not chosen.any() and candidates.any():
            chosen[rng.choice(np.flatnonzero(candidates))] = True
        labels = np.where(chosen, tokens, IGNORE_INDEX)
        if self.mask_level == "code":
            return tokens, labels
        positions = np.flatnonzero(chosen)
        fate = rng.random(len(positions))
        to_mask = fate < self.mask_replace_probability
        to_other = ~to_mask & (fate < self.mask_replace_probability + self.random_replace_probability)
        shift = rng.integers(1, NUM_NUCLEOTIDES, len(positions))
        clean = tokens[positions]
        other = FIRST_NUCLEOTIDE_ID + (clean - FIRST_NUCLEOTIDE_ID + shift) % NUM_NUCLEOTIDES
        changed = tokens.copy()
        changed[positions] = np.where(to_mask, MASK_ID, np.where(to_other, other, clean))
        return changed, labels

    def _choose(self, length: int, rng: np.random.Generator) -> NDArray[np.bool_]:
        if self.mean_span_length == 1:
            return rng.random(length) < self.mask_probability
        # A two-state chain started in its equilibrium, so that the share holds at the ends of a sequence as
        # well.
        state = bool(rng.random() < self.mask_probability)
        leave = {True: 1 / self.mean_span_length, False: self._start_probability}
        runs: list[NDArray[np.bool_]] = []
        total = 0
        pairs = 4 + int(2 * length * self.mask_probability / self.mean_span_length)
        while total < length:
            first, second = rng.geometric(leave[state], pairs), rng.geometric(leave[not state], pairs)
            lengths = np.minimum(np.stack([first, second], axis=1).reshape(-1), length)
            runs.append(np.repeat(np.resize([state, not state], 2 * pairs), lengths))
            total += int(lengths.sum())
        return np.concatenate(runs)[:length]


def _check_ids(ids: Any, where: str) -> NDArray[np.int64]:
    """Check one sequence without special tokens; [MASK] may stand in it."""
    array = np.asarray(ids)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{where}: expected a sequence of at least one base, got shape {array.shape}")
    wrong = (array != MASK_ID) & ((array < FIRST_NUCLEOTIDE_ID) | (array > N_ID))
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
    return array.astype(np.int64)


def _pad_rows(rows: Sequence[NDArray[np.int64]], length: int, value: int = PAD_ID) -> dict[str, torch.Tensor]:
    padded = np.full((len(rows), length), value, dtype=np.int64)
    attention_mask = np.zeros((len(rows), length), dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
        attention_mask[index, : len(row)] = 1
    return {"input_ids": torch.from_numpy(padded), "attention_mask": torch.from_numpy(attention_mask)}
