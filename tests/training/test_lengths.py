# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Batches of like length: little padding, the same answers, and resumed to the bit."""

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from example_scripts import assert_same_weights, classification_arguments, codec_arguments, logged, run_example
from torch import Tensor, nn
from transformers import EvalPrediction, TrainingArguments

from vqdna_hf.data import NucleotideCollator
from vqdna_hf.training import VQDNATrainer
from vqdna_hf.training.samplers import GroupedSampler, SortedSampler


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GUE folder of sequences of 20 to 99 bases: 96, 40 and 41 of them."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(0)
    for split, size in (("train", 96), ("dev", 40), ("test", 41)):
        with (folder / f"{split}.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["sequence", "label"])
            for _ in range(size):
                label = int(rng.integers(2))
                table.writerow(["".join(rng.choice(list("AACG" if label else "ACTT"), rng.integers(20, 100))), label])
    return folder


def arguments(mixed: Path, model: Path, folder: Path, **values: Any) -> dict[str, Any]:
    common = {"max_steps": -1, "learning_rate": 1e-3, "eval_strategy": "no", "load_best_model_at_end": False}
    return classification_arguments(mixed, model, folder, **{**common, "num_train_epochs": 2, **values})


def predictions(folder: Path) -> list[dict[str, str]]:
    with (folder / "results" / "run" / "predictions.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_grouping_pays_and_is_resumed_to_the_bit(mixed: Path, mlm_folder: Path, tmp_path: Path) -> None:
    """12 steps an epoch: on from the middle of either, and from between them."""
    grouped = {"train_sampling_strategy": "group_by_length", "save_strategy": "steps", "save_steps": 6}
    options = arguments(mixed, mlm_folder, tmp_path / "whole", **grouped, save_total_limit=9, logging_steps=12)
    assert run_example("run_classification", **options) == 0
    shares = [entry["real_positions"] for entry in logged(tmp_path / "whole") if "loss" in entry]
    assert len(shares) == 2
    assert min(shares) > 0.85  # of 96 sequences; a test below has more
    for step in (6, 12, 18):
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "whole" / f"checkpoint-{step}", folder / f"checkpoint-{step}")
        assert run_example("run_classification", "--resume_from_checkpoint", **{**options, "output_dir": folder}) == 0
        assert_same_weights(tmp_path / "whole", folder)


def test_predictions_keep_the_order_of_the_data(mixed: Path, mlm_folder: Path, tmp_path: Path) -> None:
    with (mixed / "test.csv").open() as stream:
        expected = list(csv.DictReader(stream))
    assert run_example("run_classification", **arguments(mixed, mlm_folder, tmp_path / "model")) == 0
    tables = []
    for strategy in ("random", "group_by_length"):
        options = arguments(mixed, tmp_path / "model", tmp_path / strategy, train_sampling_strategy=strategy)
        assert run_example("run_classification", **options, do_predict=True, per_device_eval_batch_size=8) == 0
        tables.append(predictions(tmp_path / strategy))
        assert [(row["sequence"], row["label"]) for row in tables[-1]] == [
            (row["sequence"], row["label"]) for row in expected
        ]
    for one, other in zip(*tables, strict=True):
        assert float(one["probability_1"]) == pytest.approx(float(other["probability_1"]), abs=2e-6)


def test_nineteen_of_twenty_positions_are_real() -> None:
    """Lengths of 20 to 2,000, evenly by their logarithm, in batches of 32: random, as sorted, as grouped."""
    lengths = np.exp(np.random.default_rng(0).uniform(np.log(20), np.log(2000), 20_000)).astype(int).tolist()

    def share(order: Any) -> float:
        batches = np.array([lengths[index] for index in order]).reshape(-1, 32)
        return batches.sum() / (batches.max(1).sum() * 32)

    epochs = [0]
    grouped = GroupedSampler(lengths, 32, 0, lambda: epochs[-1])
    assert share(np.random.default_rng(1).permutation(20_000)) < 0.4
    assert share(grouped) > 0.95
    assert share(SortedSampler(lengths)) > 0.99
    first = list(grouped)
    epochs.append(1)
    assert sorted(grouped) == sorted(first) == list(range(20_000))
    assert list(grouped) != first


def test_restoring_nested_answers() -> None:
    sampler = SortedSampler([1, 3, 2, 3])
    assert list(sampler) == [1, 3, 2, 0]
    answers = {"a": (np.array([1, 3, 2, 0]), None), "b": [np.array([[1], [3], [2], [0]])]}
    restored = sampler.restore(answers)
    assert restored["a"][0].tolist() == [0, 1, 2, 3]
    assert restored["a"][1] is None
    assert restored["b"][0].tolist() == [[0], [1], [2], [3]]


class Echo(nn.Module):
    """Answers with twice the ids, a row an item; its loss is the mean of the batch's labels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": labels.float().mean() * self.weight / 2, "logits": self.weight * input_ids}


def echo_trainer(folder: Path, measure: Any, **values: Any) -> tuple[VQDNATrainer, list[dict[str, Any]]]:
    """Batches of at most 4 out of 11 items of 1 to 29 bases; an item's label is its place."""
    rng = np.random.default_rng(0)
    rows = [{"input_ids": rng.integers(5, 9, size), "labels": place} for place, size in enumerate(range(1, 31, 3))]
    rng.shuffle(rows)
    rows.append({"input_ids": np.array([5, 6]), "labels": 10})
    arguments = TrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, per_device_eval_batch_size=4, remove_unused_columns=False,
        train_sampling_strategy="group_by_length", **values,
    )  # fmt: skip
    collator = NucleotideCollator()
    return VQDNATrainer(model=Echo(), args=arguments, data_collator=collator, compute_metrics=measure), rows


def test_metrics_are_measured_in_the_order_of_the_data(tmp_path: Path) -> None:
    """Predictions, labels, inputs; by `evaluate` and `predict`, and again after a measure that failed."""
    seen: list[EvalPrediction] = []

    def measure(answers: EvalPrediction) -> dict[str, float]:
        seen.append(answers)
        if len(seen) == 1:
            raise RuntimeError("not this time")
        return {"first": float(answers.label_ids[0])}

    trainer, rows = echo_trainer(tmp_path, measure, include_for_metrics=["inputs", "loss"])
    with pytest.raises(RuntimeError, match="not this time"):
        trainer.predict(rows)
    assert trainer.compute_metrics is measure
    output = trainer.predict(rows)
    assert trainer.evaluate(rows)["eval_first"] == output.metrics["test_first"] == rows[0]["labels"]
    assert trainer.compute_metrics is measure
    expected = [row["labels"] for row in rows]
    assert output.label_ids.tolist() == expected
    for answers in seen:
        assert answers.label_ids.tolist() == expected
        np.testing.assert_array_equal(answers.predictions, output.predictions)
        for ids, doubled, row in zip(answers.inputs, answers.predictions, rows, strict=True):
            size = len(row["input_ids"]) + 1
            assert ids[1:size].tolist() == row["input_ids"].tolist()
            assert doubled[1:size].tolist() == (2 * row["input_ids"]).tolist()
        # Of a batch all have its loss: the longest four are one batch.
        longest = np.argsort([-len(row["input_ids"]) for row in rows])[:4]
        assert answers.losses[longest].tolist() == [np.mean(np.array(expected)[longest])] * 4


@pytest.mark.parametrize("accumulation", [None, 2])
def test_unconcatenated_batches_are_of_the_data_in_its_order(accumulation: int | None, tmp_path: Path) -> None:
    seen: list[EvalPrediction] = []

    def measure(answers: EvalPrediction) -> dict[str, float]:
        seen.append(answers)
        return {}

    options = {"eval_do_concat_batches": False, "eval_accumulation_steps": accumulation}
    trainer, rows = echo_trainer(tmp_path, measure, **options)
    output = trainer.predict(rows)
    for answers in (output, *seen):
        assert [labels.tolist() for labels in answers.label_ids] == [
            [row["labels"] for row in rows[start : start + 4]] for start in (0, 4, 8)
        ]
        for doubled, start in zip(answers.predictions, (0, 4, 8), strict=True):
            for line, row in zip(doubled, rows[start : start + 4], strict=True):
                assert line[1 : len(row["input_ids"]) + 1].tolist() == (2 * row["input_ids"]).tolist()
    assert len(seen) == 1


def test_metrics_batch_by_batch_see_the_order_of_the_data(tmp_path: Path) -> None:
    labels: list[int] = []

    def measure(answers: EvalPrediction, compute_result: bool) -> dict[str, float]:
        labels.extend(torch.as_tensor(answers.label_ids).tolist())
        return {"count": len(labels)} if compute_result else {}

    trainer, rows = echo_trainer(tmp_path, measure, batch_eval_metrics=True)
    output = trainer.predict(rows)
    assert labels == output.label_ids.tolist() == [row["labels"] for row in rows]
    assert output.metrics["test_count"] == 11


def test_dropping_the_last_batch_leaves_the_rest_in_order(tmp_path: Path) -> None:
    """Eleven items in batches of 4: the three shortest are left out."""
    trainer, rows = echo_trainer(tmp_path, None, dataloader_drop_last=True)
    longest = sorted(np.argsort([-len(row["input_ids"]) for row in rows], kind="stable")[:8])
    assert trainer.predict(rows).label_ids.tolist() == [rows[place]["labels"] for place in longest]


def test_short_records_get_batches_of_like_length(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of 20 to 127 bases, with windows of 128."""
    rng = np.random.default_rng(0)
    records = ["".join(rng.choice(list("ACGT"), size)) for size in rng.integers(20, 128, 400)]
    genome = tmp_path / "short.fa"
    genome.write_text("".join(f">r{number}\n{text}\n" for number, text in enumerate(records)))
    caplog.set_level(logging.INFO)
    shares = {}
    common = {"window": 128, "per_device_train_batch_size": 8, "lr_scheduler_type": "constant", "max_eval_windows": 2}
    for buckets in (True, False):
        options = codec_arguments(genome, tmp_path / str(buckets), **common, max_steps=50, logging_steps=50)
        assert run_example("run_codec", **options, length_buckets=buckets) == 0
        shares[buckets] = next(entry["real_positions"] for entry in logged(tmp_path / str(buckets)) if "loss" in entry)
        assert ("batches get windows of like length" in caplog.text) is buckets
        assert ("of the computed positions are padding" in caplog.text) is not buckets
        caplog.clear()
    assert shares[True] > 0.95
    assert shares[False] < 0.9
    assert run_example("run_codec", **codec_arguments(genome, tmp_path / "whole", **common, max_steps=6)) == 0
    for steps in (3, 6):
        options = codec_arguments(genome, tmp_path / "halves", **common, max_steps=steps)
        assert run_example("run_codec", "--resume_from_checkpoint", **options) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "halves")
