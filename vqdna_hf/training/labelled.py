# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Labelled sequences on their way to Trainer: labels that agree over the splits, and token ids that fit the model."""

from collections.abc import Mapping
from typing import Any

from datasets import Dataset

from vqdna_hf.data import (
    LabelledSequences,
    check_class_labels,
    check_float_labels,
    check_labels_known,
    number_of_labels,
)

__all__ = ["labels_of_splits", "tokenize_labelled"]


def labels_of_splits(
    splits: Mapping[str, LabelledSequences],
    regression: bool = False,
    num_labels: int | None = None,
    way_out: str = "number the classes 0, 1, 2, ..., or ask for --problem_type regression if these are measurements",
) -> tuple[dict[str, list], int]:
    """The labels of each split, checked, and the number of outputs.

    Args:
        splits: `train`, `dev`, `test`, or some of them.
        regression: numbers instead of classes.
        num_labels: that the model knows; default: those of the training set, or of the first split without one.
        way_out: what the caller can do about a label that is no class.

    Returns:
        Labels by split, one a sequence, and the number of outputs (1 for regression).

    Raises:
        ValueError: on a label that is no class or no number, or a class that training does not know; it names file and
            row.

    Example:

    >>> splits = {"train": LabelledSequences(["ACG", "TTA"], None, ["0", "1"], "train.csv")}
    >>> labels_of_splits(splits)
    ({'train': [0, 1]}, 2)
    """
    if regression:
        return {split: check_float_labels(data.labels or [], data.path) for split, data in splits.items()}, 1
    labels = {split: check_class_labels(data.labels or [], data.path, way_out) for split, data in splits.items()}
    if num_labels is None:
        reference = "train" if "train" in labels else next(iter(labels))
        num_labels = number_of_labels(labels[reference], splits[reference].path)
    for split, data in splits.items():
        check_labels_known(labels[split], num_labels, data.path)
    return labels, num_labels


def tokenize_labelled(
    data: LabelledSequences,
    labels: list,
    tokenizer: Any,
    max_length: int,
    truncate: bool = False,
    way_out: str = "raise --model_max_length (if the model reads that much), or cut with --truncate",
) -> Dataset:
    """One row a sequence: `input_ids`, `attention_mask`, `labels`.

    Args:
        data: as read.
        labels: one a sequence.
        tokenizer: of the model.
        max_length: tokens that are read at most, special ones included.
        truncate: cut longer sequences instead of refusing them.
        way_out: what the caller can do about a sequence that is longer.

    Raises:
        ValueError: if `max_length` leaves no room for a base, or a sequence is longer.

    Example:

    >>> from vqdna_hf.model.tokenization_vqdna import build_tokenizer
    >>> data = LabelledSequences(["ACG", "TT"], None, ["0", "1"], "train.csv")
    >>> tokenize_labelled(data, [0, 1], build_tokenizer(), max_length=8)["input_ids"][1]
    [2, 8, 8, 3]
    """
    if max_length < (least := 3 if data.pairs is None else 5):
        raise ValueError(f"--model_max_length {max_length} leaves no room: at least {least}, special tokens included")
    encoded = tokenizer(data.sequences, data.pairs, truncation=truncate, max_length=max_length)
    for row, ids in enumerate(encoded["input_ids"], start=1):
        if len(ids) > max_length:
            raise ValueError(
                f"{data.path}, row {row}: {len(ids)} tokens, special tokens included, and at most {max_length} are "
                f"read: {way_out}"
            )
    return Dataset.from_dict({**encoded, "labels": labels})
