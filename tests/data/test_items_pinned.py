# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows and masks stay what they are: a run resumed under a newer version reads on as it began."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from vqdna_hf.data import Corpus, FastaRecord, MaskedNucleotideCollator, NucleotideCollator, TiledDataset, WindowDataset
from vqdna_hf.data.generators import generators

# Made with the code of one item and one generator at a time that these functions replaced.
PINNED = {
    "windows0": "8c7672e1ab218478",
    "windows3": "82aa825ececf5419",
    "plain": "31dc09554ff78276",
    "masked": "7d44578d86d2f9fe",
    "spans": "c4563a07257354fa",
    "code": "25c3641c529385ce",
    "rare": "d53d20a591dc48f6",
    "fates": "e429297d17a9b237",
    "tiles": "b1a756eeec9afbf5",
    "pairs": "07a3f4ccad16a612",
    "masked_pairs": "f2beaf6c37baa149",
    "unseeded": "638a11b2babda771",
}

COLLATORS: dict[str, Any] = {
    "plain": NucleotideCollator(pad_to_multiple_of=8),
    "masked": MaskedNucleotideCollator(),
    "spans": MaskedNucleotideCollator(0.3, mean_span_length=4),
    "code": MaskedNucleotideCollator(mask_level="code"),
    "rare": MaskedNucleotideCollator(1e-4),
    "fates": MaskedNucleotideCollator(0.5, 2.0, 0.3, 0.5),
}


def digest(values: Any) -> str:
    """Of arrays, with their types and shapes."""
    found = hashlib.sha256()
    for value in values:
        array = np.ascontiguousarray(np.asarray(value))
        found.update(str((array.dtype.str, array.shape)).encode() + array.tobytes())
    return found.hexdigest()[:16]


def batch_digest(batch: dict[str, torch.Tensor]) -> str:
    return digest(batch[name] for name in sorted(batch))


def items_digest(items: list[dict[str, Any]]) -> str:
    return digest(value for item in items for value in (item["input_ids"], np.int64(item["seed"])))


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Long and short records, with runs of N and with single ones."""
    rng = np.random.default_rng(3)
    records = []
    for number, size in enumerate((4000, 90, 700, 1, 37)):
        ids = rng.integers(5, 9, size).astype(np.uint8)
        if number == 0:
            ids[500:1500] = 9
            ids[rng.random(size) < 0.02] = 9
        records.append(FastaRecord(str(number), str(number), ids, "x"))
    return Corpus(records, [1, 30, 2, 1, 5])


@pytest.fixture(scope="module")
def items(corpus: Corpus) -> list[dict[str, Any]]:
    dataset = WindowDataset(corpus, window=96, num_samples=300, seed=11)
    dataset.set_epoch(3)
    return dataset.__getitems__(range(300))


@pytest.mark.parametrize("at_once", [1, 30, 300])
def test_windows(at_once: int, corpus: Corpus) -> None:
    dataset = WindowDataset(corpus, window=96, num_samples=300, seed=11)
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        found = [item for i in range(0, 300, at_once) for item in dataset.__getitems__(range(i, i + at_once))]
        assert items_digest(found) == PINNED[f"windows{epoch}"]
    assert items_digest(list(TiledDataset(corpus, window=96, seed=2))) == PINNED["tiles"]


@pytest.mark.parametrize("name", COLLATORS)
def test_masks(name: str, items: list[dict[str, Any]]) -> None:
    collator = COLLATORS[name]
    batch = collator(items)
    assert batch_digest(batch) == PINNED[name]
    for start in (0, 10):  # few items take another way
        few = collator(items[start : start + 10])
        length = few["input_ids"].shape[1]
        for key, value in few.items():
            assert torch.equal(value, batch[key][start : start + 10, :length])


def test_pairs_and_items_without_seed(items: list[dict[str, Any]]) -> None:
    pairs = [
        {**one, "pair_ids": other["input_ids"], "labels": np.float32(1)}
        for one, other in zip(items[:20], items[20:40], strict=True)
    ]
    assert batch_digest(NucleotideCollator()(pairs)) == PINNED["pairs"]
    assert batch_digest(MaskedNucleotideCollator()(pairs)) == PINNED["masked_pairs"]
    torch.manual_seed(0)
    unseeded = [{"input_ids": item["input_ids"]} for item in items[:30]]
    assert batch_digest(MaskedNucleotideCollator()(unseeded)) == PINNED["unseeded"]


def test_the_type_of_ids_does_not_matter(items: list[dict[str, Any]]) -> None:
    collator = MaskedNucleotideCollator()
    for change in (list, np.int64, torch.as_tensor):
        convert = (lambda ids: ids.astype(np.int64)) if change is np.int64 else change
        other = [{**item, "input_ids": convert(item["input_ids"])} for item in items[:30]]
        assert batch_digest(collator(other)) == batch_digest(collator(items[:30]))


@pytest.mark.parametrize(
    "seeds",
    [
        [[5, 0, index] for index in range(40)],
        [[index * 2**50 + 3] for index in range(40)],
        [[2**32 - 20 + index] for index in range(40)],
        [[7, 2**32 - 20 + index] for index in range(40)],
        [[2**32 - 20 + index, 7] for index in range(40)],
        [[2**40, 3, index] for index in range(40)],
        [[2**40, 2**40, 2**40 + index] for index in range(40)],
        [[2**80 + index] for index in range(40)],
        [[1, 2, 3, 4, index] for index in range(40)],
        [[index] * (1 + index % 3) for index in range(40)],
        [[0, 0]] * 40,
        [[3, 1]],
    ],
    ids=lambda seeds: str(seeds[-1]),
)
def test_generators_are_numpys(seeds: list[list[int]]) -> None:
    found = []
    for seed, rng in zip(seeds, generators(seeds), strict=True):
        expected = np.random.default_rng(seed)
        assert rng.bit_generator.state == expected.bit_generator.state
        found.append(rng.integers(7, size=3).tolist() == expected.integers(7, size=3).tolist())  # leaves half a word
    assert all(found)
    with pytest.raises(ValueError, match="non-negative"):
        list(generators([[-1]] * 40))
