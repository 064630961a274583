# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
from typing import Any

import numpy as np
import pytest
import torch

from vqdna_hf.data.collators import IGNORE_INDEX, MaskedNucleotideCollator, NucleotideCollator
from vqdna_hf.model.tokenization_vqdna import MASK_ID, build_tokenizer


def random_items(count: int, bases: int, n_share: float = 0.0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(7)
    items = []
    for _ in range(count):
        ids = rng.integers(5, 9, bases).astype(np.uint8)
        ids[rng.random(bases) < n_share] = 9
        items.append({"input_ids": ids, "seed": int(rng.integers(2**63))})
    return items


def run_lengths(chosen: np.ndarray) -> np.ndarray:
    """Lengths of the runs of True that touch neither end of a row."""
    lengths: list[int] = []
    for row in chosen:
        edges = np.flatnonzero(np.diff(row.astype(int)))
        starts = [e for e in edges if not row[e]]
        ends = [e for e in edges if row[e]]
        ends = [e for e in ends if e > starts[0]] if starts else []
        lengths.extend(end - start for start, end in zip(starts, ends, strict=False))
    return np.array(lengths)


def test_batch_equals_the_tokenizers() -> None:
    texts = ["ACGT", "NNA", "G"]
    tokenizer = build_tokenizer()
    items = [{"input_ids": tokenizer(text, add_special_tokens=False).input_ids} for text in texts]
    batch = NucleotideCollator(pad_to_multiple_of=8)(items)
    expected = tokenizer(texts, padding=True, pad_to_multiple_of=8, return_tensors="pt")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    pair = NucleotideCollator()([{"input_ids": [5, 6], "pair_ids": np.array([7], dtype=np.uint8)}])
    assert pair["input_ids"][0].tolist() == tokenizer("AC", "G").input_ids


def test_labels() -> None:
    def labels(values: list[Any], **options: Any) -> torch.Tensor:
        items = [{"input_ids": [5, 6, 7], "labels": value} for value in values]
        return NucleotideCollator(**options)(items)["labels"]

    assert labels([1, 0]).tolist() == [1, 0]
    assert labels([1, 0]).dtype == torch.int64
    assert labels([0.5, 2]).dtype == torch.float32
    assert labels([[0.0, 1.0], [1.0, 1.0]]).shape == (2, 2)
    assert labels([[0, 1, 2], [1, 1, 1]], token_labels=True)[0].tolist() == [-100, 0, 1, 2, -100]
    with pytest.raises(ValueError, match="3 bases but 2 labels"):
        labels([[0, 1]], token_labels=True)
    with pytest.raises(ValueError, match=r"items \[1\] of the batch have no labels"):
        NucleotideCollator()([{"input_ids": [5], "labels": 1}, {"input_ids": [5]}])
    with pytest.raises(ValueError, match="token_labels=True"):
        labels([[0, 1], [1]])


@pytest.mark.parametrize("collator", [NucleotideCollator(max_length=6), MaskedNucleotideCollator(max_length=6)])
def test_refusals(collator: Any) -> None:
    assert collator([{"input_ids": [5, 6, 7, 8]}])["input_ids"].shape == (1, 6)
    for ids, message in [
        ([5, 6, 1, 5], r"item 1 of the batch: id 1 \(\[UNK\]\) at position 2 \(0-based\).*correct"),
        ([2, 5, 3], r"id 2 \(\[CLS\]\) at position 0.*add_special_tokens=False"),
        ([5, 10], r"id 10 \(no token\) at position 1"),
        ([], "at least one base"),
        ([5] * 5, "item 1 of the batch has 5 bases, but max_length 6 leaves room for 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            collator([{"input_ids": [5]}, {"input_ids": ids}])
    with pytest.raises(ValueError, match="the batch is empty"):
        collator([])


def test_masks_depend_on_the_item_alone() -> None:
    items = [dict(item, input_ids=item["input_ids"][: 20 + 9 * i]) for i, item in enumerate(random_items(6, 80))]
    for collator in (MaskedNucleotideCollator(0.3), MaskedNucleotideCollator(0.3, mean_span_length=4)):
        together = collator(items)
        backwards = collator(items[::-1])
        for index, item in enumerate(items):
            alone = collator([item])
            length = len(item["input_ids"]) + 2
            for key in ("input_ids", "labels", "attention_mask"):
                assert torch.equal(alone[key][0], together[key][index, :length])
                assert torch.equal(alone[key][0], backwards[key][5 - index, :length])
        assert (together["labels"][0, 22:] == IGNORE_INDEX).all()
        other = collator([dict(item, seed=item["seed"] ^ 1) for item in items])
        assert not torch.equal(other["labels"], together["labels"])


def test_without_a_seed_torch_decides() -> None:
    collator = MaskedNucleotideCollator()
    item = {"input_ids": [5, 6, 7, 8] * 20}
    torch.manual_seed(0)
    first, second = collator([item]), collator([item])
    torch.manual_seed(0)
    again = collator([item])
    assert torch.equal(first["labels"], again["labels"])
    assert not torch.equal(first["labels"], second["labels"])


@pytest.mark.parametrize(("probability", "span"), [(0.25, 1.0), (0.15, 3.0), (0.25, 5.0), (0.5, 2.0)])
def test_share_and_span_length(probability: float, span: float) -> None:
    items = random_items(100, 1000)
    labels = MaskedNucleotideCollator(probability, mean_span_length=span)(items)["labels"].numpy()[:, 1:-1]
    chosen = labels != IGNORE_INDEX
    # The deviation of the share grows with the spans: about sqrt(2 * span) times that of independent draws.
    tolerance = 5 * np.sqrt(probability / chosen.size * 2 * span)
    assert chosen.mean() == pytest.approx(probability, abs=tolerance)
    for edge in (chosen[:, :5], chosen[:, -5:]):
        assert edge.mean() == pytest.approx(probability, abs=0.12)
    lengths = run_lengths(chosen)
    expected = span if span > 1 else 1 / (1 - probability)
    assert lengths.mean() == pytest.approx(expected, rel=0.06)
    assert lengths.std() == pytest.approx(np.sqrt(expected * (expected - 1)), rel=0.12)  # geometric


def test_fates_and_targets() -> None:
    items = random_items(60, 500, n_share=0.1)
    clean = NucleotideCollator()(items)["input_ids"]
    batch = MaskedNucleotideCollator(0.3)(items)
    chosen = batch["labels"] != IGNORE_INDEX
    assert torch.equal(batch["labels"][chosen], clean[chosen])
    assert set(batch["labels"][chosen].tolist()) == {5, 6, 7, 8}  # neither N nor a special token
    assert torch.equal(batch["input_ids"][~chosen], clean[~chosen])
    result, target = batch["input_ids"][chosen], clean[chosen]
    assert (result == MASK_ID).float().mean() == pytest.approx(0.8, abs=0.02)
    assert (result == target).float().mean() == pytest.approx(0.1, abs=0.02)
    replaced = (result != MASK_ID) & (result != target)
    assert replaced.float().mean() == pytest.approx(0.1, abs=0.02)
    shift = torch.bincount((result[replaced] - target[replaced]) % 4, minlength=4) / replaced.sum()
    assert shift.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.07)


def test_code_level_leaves_inputs_clean_and_chooses_the_same() -> None:
    items = random_items(5, 100)
    clean = NucleotideCollator()(items)["input_ids"]
    code = MaskedNucleotideCollator(mask_level="code")(items)
    nucleotide = MaskedNucleotideCollator(mask_level="nucleotide")(items)
    assert torch.equal(code["input_ids"], clean)
    assert torch.equal(code["labels"], nucleotide["labels"])
    assert not torch.equal(nucleotide["input_ids"], clean)


@pytest.mark.parametrize("span", [1.0, 8.0])
def test_patches_are_chosen_whole(span: float) -> None:
    items = random_items(200, 401)
    clean = NucleotideCollator()(items)["input_ids"][:, 1:401].unflatten(1, (100, 4))
    batch = MaskedNucleotideCollator(0.25, mean_span_length=span, patch_size=4)(items)
    chosen = (batch["labels"] != IGNORE_INDEX)[:, 1:401].unflatten(1, (100, 4))
    assert torch.equal(chosen.all(-1), chosen.any(-1))
    assert chosen.float().mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 / 20000 * 2 * span / 4))
    last = batch["labels"][:, 401] != IGNORE_INDEX  # a patch of one base
    assert last.float().mean() == pytest.approx(0.25, abs=0.12)
    shown = batch["input_ids"][:, 1:401].unflatten(1, (100, 4))[chosen.all(-1)]
    before = clean[chosen.all(-1)]
    is_masked, is_same = shown == MASK_ID, shown == before
    assert torch.equal(is_masked.all(-1), is_masked.any(-1)), "the bases of a patch share their fate"
    assert torch.equal(is_same.all(-1), is_same.any(-1))
    assert is_masked.float().mean() == pytest.approx(0.8, abs=0.03)
    assert is_same.float().mean() == pytest.approx(0.1, abs=0.03)
    runs = run_lengths(chosen.any(-1).numpy())
    assert runs.mean() == pytest.approx(max(span / 4, 1 / 0.75), rel=0.1)


def test_patches_begin_anew_in_each_sequence_and_leave_n_alone() -> None:
    ids = np.array([5, 6, 7, 8, 9, 9, 5], dtype=np.uint8)
    collator = MaskedNucleotideCollator(0.4, patch_size=3)
    labels = collator([{"input_ids": ids, "pair_ids": ids[:4], "seed": seed} for seed in range(300)])["labels"]
    chosen = labels != IGNORE_INDEX
    assert not chosen[:, [0, 5, 6, 8, 13]].any(), "special tokens and N"
    for patch in ([1, 2, 3], [9, 10, 11]):
        assert torch.equal(chosen[:, patch].all(1), chosen[:, patch].any(1))
    columns = chosen.float()[:, [1, 4, 7, 9, 12]].T
    assert columns.mean(1).tolist() == pytest.approx([0.4] * 5, abs=0.12)
    assert np.abs(np.corrcoef(columns.numpy()) - np.eye(5)).max() < 0.25, "patches are chosen on their own"
    alone = MaskedNucleotideCollator(1e-6, patch_size=3)([{"input_ids": ids, "seed": seed} for seed in range(60)])
    found = {tuple(row.nonzero().flatten().tolist()) for row in alone["labels"] != IGNORE_INDEX}
    assert found == {(1, 2, 3), (4,), (7,)}, "at least one patch is chosen"


def test_at_least_one_position_where_there_is_a_letter() -> None:
    for collator in (MaskedNucleotideCollator(1e-6), MaskedNucleotideCollator(1e-6, mean_span_length=3)):
        batch = collator([{"input_ids": [9, 9, 6, 9, 8], "seed": i} for i in range(50)])
        chosen = batch["labels"] != IGNORE_INDEX
        assert chosen.sum(1).tolist() == [1] * 50
        assert set(chosen.nonzero()[:, 1].tolist()) == {3, 5}
        assert (collator([{"input_ids": [9, 9], "seed": 1}])["labels"] == IGNORE_INDEX).all()


@pytest.mark.parametrize("patch_size", [1, 4])
@pytest.mark.parametrize("span", [1, 1.5, 3, 4, 6, 12])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.7, 0.9, 0.99])
def test_what_is_accepted_makes_batches_of_that_share(probability: float, span: float, patch_size: int) -> None:
    """Refused is what spans with one free base, or patch, between them cannot reach, and nothing else."""
    run = max(span / patch_size, 1)
    options: dict[str, Any] = {"mask_probability": probability, "mean_span_length": span, "patch_size": patch_size}
    if run > 1 and probability > run / (run + 1):
        with pytest.raises(ValueError, match="cannot be reached"):
            MaskedNucleotideCollator(**options)
        return
    labels = MaskedNucleotideCollator(**options)(random_items(20, 2000))["labels"][:, 1:-1]
    tolerance = 5 * np.sqrt(probability * (1 - probability) / labels.numel() * 2 * run * patch_size)
    assert (labels != IGNORE_INDEX).float().mean() == pytest.approx(probability, abs=tolerance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_probability": 0}, "mask_probability is 0"),
        ({"mask_probability": 1.0}, "mask_probability is 1.0"),
        ({"mean_span_length": 0.5}, "mean_span_length is 0.5"),
        ({"mean_span_length": float("nan")}, "mean_span_length is nan"),
        ({"mask_replace_probability": 0.95}, "must not exceed 1 together"),
        ({"mask_level": "base"}, "mask_level is 'base': give one of nucleotide, code"),
        ({"mask_probability": 0.9, "mean_span_length": 2}, "cannot be reached"),
        ({"max_length": 2}, "max_length is 2"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of is 0"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"patch_size": 0, "mean_span_length": 3}, "patch_size is 0"),
        ({"mean_span_length": float("inf")}, "mean_span_length is inf"),
        ({"mask_probability": 0.7, "mean_span_length": 6, "patch_size": 4}, "spans of 1.5 patches with a free patch"),
    ],
)
def test_option_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedNucleotideCollator(**options)
