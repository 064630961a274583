# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Sums over batches give the metrics of the joined data."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from torch import Tensor

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM
from vqdna_hf.training import codec_metrics, codec_sums, masked_lm_metrics, masked_lm_sums

PAD, CLS, SEP, MASK, A, C, G, T, N = 0, 2, 3, 4, 5, 6, 7, 8, 9


def sequences() -> list[list[int]]:
    """Seven sequences of 6 to 24 bases, with an N here and there."""
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(5, 9, (length,), generator=generator).tolist() for length in (6, 24, 9, 17, 11, 20, 8)]
    rows[1][3] = rows[4][0] = N
    return rows


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """(B, L)."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])


def batch(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """With special tokens and padding."""
    input_ids = pad([[CLS, *row, SEP] for row in rows], PAD)
    return {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long()}


def masked_batch(rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Every third base is a target: shown as [MASK], or (every sixth) as it is."""
    inputs = batch(rows)
    chosen = (
        (torch.arange(inputs["input_ids"].shape[1]) % 3 == 1) & (inputs["input_ids"] >= A) & (inputs["input_ids"] < N)
    )
    kept = torch.arange(inputs["input_ids"].shape[1]) % 6 == 4
    labels = torch.where(chosen, inputs["input_ids"], -100)
    return {**inputs, "input_ids": torch.where(chosen & ~kept, MASK, inputs["input_ids"]), "labels": labels}


def total(model: Any, batches: Sequence[dict[str, Tensor]], sums_function: Callable[..., Any]) -> dict[str, Tensor]:
    """What Trainer adds up."""
    added: dict[str, Tensor] = {}
    for inputs in batches:
        with torch.no_grad():
            sums = sums_function(inputs, model(**inputs), model.config)
        for name, value in sums.items():
            added[name] = added.get(name, torch.zeros(())) + value
    return added


@pytest.fixture(scope="module", params=["reconstruction", "window"])
def codec(request: pytest.FixtureRequest) -> VQDNACodecModel:
    """Untrained, but with codebooks that data have filled."""
    torch.manual_seed(0)
    model = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, objective=request.param)).train()
    model(**batch(sequences()))
    return model.eval()


@pytest.mark.parametrize("parts", [[1] * 7, [3, 4], [5, 2]])
def test_codec_sums_over_batches(codec: VQDNACodecModel, parts: list[int]) -> None:
    rows = sequences()
    batches = [batch(part) for part in torch.arange(7).split(parts) for part in [[rows[i] for i in part]]]
    together = codec_metrics(total(codec, [batch(rows)], codec_sums))
    assert codec_metrics(total(codec, batches, codec_sums)) == pytest.approx(together, rel=1e-5)
    assert ("window_accuracy" in together) is (codec.config.objective == "window")


def test_codec_metrics_against_a_count_by_hand(codec: VQDNACodecModel) -> None:
    """Position by position, with no batch and no padding; N is no target and its code is not counted."""
    correct, positions, used = 0, 0, [[0] * 8, [0] * 16]
    loss = 0.0
    for row in sequences():
        with torch.no_grad():
            output = codec(torch.tensor([row]))
        for index, base in enumerate(row):
            if base == N:
                continue
            positions += 1
            correct += int(output.logits[0, index].argmax()) == base - A
            loss -= output.logits[0, index].log_softmax(-1)[base - A].item()
            for level in (0, 1):
                used[level][int(output.codes[0, level, index])] += 1
    metrics = codec_metrics(total(codec, [batch(sequences()[:3]), batch(sequences()[3:])], codec_sums))
    assert metrics["reconstruction_accuracy"] == pytest.approx(correct / positions)
    assert metrics["reconstruction_loss"] == pytest.approx(loss / positions, rel=1e-4)
    for level, counts in enumerate(used, start=1):
        entropy = -sum(count / positions * math.log(count / positions) for count in counts if count)
        assert metrics[f"codebook_perplexity_level{level}"] == pytest.approx(math.exp(entropy), rel=1e-5)
        assert metrics[f"codebook_usage_level{level}"] == pytest.approx(sum(c > 0 for c in counts) / len(counts))


@pytest.mark.parametrize("stride", [2, 4])
def test_codes_that_stand_for_several_bases(stride: int) -> None:
    """Sequences of 6 to 24 bases: a code counts once, with any base that is none of N; the last may be broken."""
    codec_config = {**TINY_CODEC, "codec_stride": stride, "objective": "window"}
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**codec_config)).train()
    rows = sequences()
    codec(**batch(rows))
    codec.eval()
    together = total(codec, [batch(rows)], codec_sums)
    pieces = [row[start : start + stride] for row in rows for start in range(0, len(row), stride)]
    assert together["codes_level1"].sum() == together["patches"] == sum(any(base != N for base in p) for p in pieces)
    assert together["positions"] == sum(base != N for row in rows for base in row)
    apart = total(codec, [batch(rows[:3]), batch(rows[3:])], codec_sums)
    assert codec_metrics(apart) == pytest.approx(codec_metrics(together), rel=1e-5)

    model = VQDNAForMaskedLM(VQDNAConfig(**TINY_MODEL, codec_config=codec_config)).eval()
    apart = total(model, [masked_batch(rows[:3]), masked_batch(rows[3:])], masked_lm_sums)
    together = total(model, [masked_batch(rows)], masked_lm_sums)
    assert masked_lm_metrics(apart) == pytest.approx(masked_lm_metrics(together), rel=1e-4)
    shown = masked_batch(rows)["input_ids"]
    hidden = [row[1 + start : 1 + start + stride] for row in shown for start in range(0, len(row), stride)]
    assert together["masked_codes"] == sum(bool((piece == MASK).any()) for piece in hidden)


@pytest.fixture(scope="module", params=["nucleotide", "code"])
def language_model(request: pytest.FixtureRequest) -> VQDNAForMaskedLM:
    """Untrained."""
    torch.manual_seed(0)
    return VQDNAForMaskedLM(VQDNAConfig(**TINY_MODEL, codec_config=TINY_CODEC, mask_level=request.param)).eval()


@pytest.mark.parametrize("parts", [[1] * 7, [3, 4], [5, 2]])
def test_masked_lm_sums_over_batches(language_model: VQDNAForMaskedLM, parts: list[int]) -> None:
    rows = sequences()
    batches = [masked_batch(part) for part in torch.arange(7).split(parts) for part in [[rows[i] for i in part]]]
    together = masked_lm_metrics(total(language_model, [masked_batch(rows)], masked_lm_sums))
    assert masked_lm_metrics(total(language_model, batches, masked_lm_sums)) == pytest.approx(together, rel=1e-4)
    assert {"code_accuracy_level1", "code_accuracy_level2"} <= together.keys()


class Outputs(dict):
    """What a masked language model returns: a dictionary."""


def test_only_masks_count() -> None:
    """A model that copies is right at every target that is shown, and must score nothing for it."""
    config = VQDNAConfig(**TINY_MODEL, codec_config=TINY_CODEC)
    input_ids = torch.tensor([[CLS, MASK, C, MASK, T, A, SEP]])
    labels = torch.tensor([[-100, A, C, G, A, -100, -100]])  # shown as it is: C; shown as another base: T for A
    copied = torch.nn.functional.one_hot(torch.where(input_ids == MASK, G, input_ids), 10).float() * 9
    codes = torch.zeros(1, 2, 7, dtype=torch.long)
    codes[..., [0, -1]] = -1
    code_targets = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]])  # of A, C, G, A
    level1 = torch.nn.functional.one_hot(torch.tensor([0, 2, 1, 6]), 8).float()
    level2 = torch.nn.functional.one_hot(torch.tensor([1, 3, 5, 7]), 16).float()
    outputs = Outputs(logits=copied, codes=codes, code_targets=code_targets, code_logits=(level1, level2))
    inputs = {"input_ids": input_ids, "labels": labels}
    metrics = masked_lm_metrics(masked_lm_sums(inputs, outputs, config))
    assert metrics["masked_accuracy"] == 0.5  # G at two masks: right once
    assert metrics["commonest_base_accuracy"] == 0.5  # A and G stand behind the masks
    assert metrics["code_accuracy_level1"] == 0.5  # rows 0 and 2 of the four
    assert metrics["code_accuracy_level2"] == 1.0
    right, wrong = math.exp(9) / (math.exp(9) + 9), 1 / (math.exp(9) + 9)
    assert metrics["nucleotide_loss"] == pytest.approx(-(math.log(right) + math.log(wrong)) / 2, rel=1e-5)
    assert metrics["mlm_perplexity"] == pytest.approx(math.exp(metrics["nucleotide_loss"]), rel=1e-5)
    sums = masked_lm_sums(inputs, outputs, config)
    assert sums["positions"].item() == 5


def test_nothing_masked_gives_numbers_not_nan() -> None:
    config = VQDNAConfig(**TINY_MODEL, codec_config=TINY_CODEC)
    model = VQDNAForMaskedLM(config).eval()
    inputs = {**batch([[A, C, G]]), "labels": torch.full((1, 5), -100)}
    metrics = masked_lm_metrics(total(model, [inputs], masked_lm_sums))
    assert metrics["masked_accuracy"] == 0
    assert all(math.isfinite(value) for value in metrics.values())
