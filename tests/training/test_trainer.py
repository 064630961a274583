# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What `VQDNATrainer` adds to Transformers' Trainer, and what it must leave as it is."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, classification_arguments, codec_arguments, logged, run_example
from transformers import TrainingArguments, set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data import Corpus, NucleotideCollator, WindowDataset
from vqdna_hf.training import (
    CodebookMonitor,
    GracefulInterrupt,
    VQDNATrainer,
    codec_metrics,
    codec_sums,
    count_parameters,
    find_checkpoint,
    list_checkpoints,
)


def test_gradient_accumulation_is_a_large_batch(promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    """4 x 2 and 1 x 8: the same mean, hence the same loss and gradient, to fp32 rounding (1e-5 relative)."""
    logs = []
    for batch, accumulation in ((8, 1), (2, 4)):
        folder = tmp_path / str(batch)
        arguments = classification_arguments(
            promoters,
            mlm_folder,
            folder,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            learning_rate=1e-3,
            warmup_steps=0,
        )
        assert run_example("run_classification", **arguments) == 0
        logs.append([entry for entry in logged(folder) if "loss" in entry])
    for large, small in zip(*logs, strict=True):
        assert small["loss"] == pytest.approx(large["loss"], rel=1e-5)
        assert small["grad_norm"] == pytest.approx(large["grad_norm"], rel=1e-4)
    assert 0.5 < logs[0][0]["loss"] < 1.0, "a mean over sequences, not a sum"


def make_trainer(folder: Path, dataset: Any, **kwargs: Any) -> VQDNATrainer:
    """A tiny codec's trainer."""
    set_seed(0)
    arguments = TrainingArguments(
        output_dir=str(folder),
        prediction_loss_only=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        save_strategy="no",
        **{"logging_steps": 1, "per_device_train_batch_size": 4, **kwargs},
    )
    return VQDNATrainer(
        model=VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)),
        args=arguments,
        data_collator=NucleotideCollator(),
        train_dataset=dataset,
        eval_dataset=dataset,
        sums_function=codec_sums,
        metrics_function=codec_metrics,
    )


@pytest.fixture
def windows() -> WindowDataset:
    """Eight windows of 32 bases an epoch."""
    text = "".join("ACGT"[number] for number in torch.randint(4, (2000,), generator=torch.Generator().manual_seed(0)))
    return WindowDataset(Corpus.from_sequences([text]), window=32, num_samples=8, seed=0)


@pytest.mark.parametrize("strategy", ["random", "sequential"])
def test_each_epoch_reads_new_windows(strategy: str, windows: WindowDataset, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, windows, num_train_epochs=3, train_sampling_strategy=strategy)
    seen: list[tuple[int, ...]] = []
    collate = NucleotideCollator()

    def watch(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        seen.extend(tuple(item["input_ids"].tolist()) for item in items)
        return collate(items)

    trainer.data_collator = watch
    trainer.train()
    assert len(seen) == 24
    assert len(set(seen)) == 24


def test_logged_metrics_cover_the_whole_window(windows: WindowDataset, tmp_path: Path) -> None:
    """With logging every 2 steps, an entry sums up both batches, not the last."""
    trainer = make_trainer(tmp_path, windows, num_train_epochs=1, logging_steps=2, learning_rate=0.0)
    seen: list[float] = []
    inner = trainer._sums_function
    assert inner is not None

    def watch(inputs: Any, outputs: Any, config: Any) -> dict[str, torch.Tensor]:
        sums = inner(inputs, outputs, config)
        seen.append(sums["positions"].item())
        return sums

    trainer._sums_function = watch
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert seen == [128.0, 128.0]
    accuracy = entry["reconstruction_accuracy"]
    assert accuracy * 256 == pytest.approx(round(accuracy * 256), abs=1e-3)
    assert entry["bases_per_second"] > 0
    assert all(isinstance(value, int | float) for value in entry.values()), "numbers, not text"


def test_evaluation_does_not_depend_on_the_batch_size(windows: WindowDataset, tmp_path: Path) -> None:
    results = []
    for size in (1, 3, 8):
        trainer = make_trainer(tmp_path, windows, per_device_eval_batch_size=size)
        metrics = trainer.evaluate()
        timing = ("runtime", "per_second", "preparation_time")
        results.append({name: value for name, value in metrics.items() if not any(word in name for word in timing)})
    assert "eval_codebook_perplexity_level2" in results[0]
    for other in results[1:]:
        assert other == pytest.approx(results[0], rel=1e-5)


def test_training_speed_leaves_evaluation_out(windows: WindowDataset, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, windows)
    start = trainer._throughput._start
    seconds = trainer.evaluate()["eval_runtime"]
    assert trainer._throughput._start - start >= seconds * 0.5


def test_checkpoint_limits(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path, max_steps=5, save_steps=1, save_total_limit=2)
    assert run_example("run_codec", **arguments) == 0
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-5"]


def test_the_best_codec_can_be_kept(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(
        genome,
        tmp_path,
        max_steps=4,
        save_steps=2,
        eval_steps=2,
        eval_strategy="steps",
        load_best_model_at_end=True,
        metric_for_best_model="reconstruction_accuracy",
    )
    assert run_example("run_codec", **arguments) == 0
    scores = {
        entry["step"]: entry["eval_reconstruction_accuracy"]
        for entry in logged(tmp_path)
        if "eval_reconstruction_accuracy" in entry
    }
    assert scores.keys() == {2, 4}


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    for step in (9, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-200").mkdir()
    assert [path.name for path in list_checkpoints(tmp_path)] == [
        "checkpoint-9",
        "checkpoint-10",
        "checkpoint-100",
    ]
    for value in ("True", "true", "latest", True):
        assert find_checkpoint(tmp_path, value) == str(tmp_path / "checkpoint-100")
    for value in (None, "False", False):
        with pytest.raises(ValueError, match="holds checkpoint-100 of an earlier run"):
            find_checkpoint(tmp_path, value)
    assert list_checkpoints(tmp_path / "missing") == []


def test_a_collapsed_codebook_is_told_once_a_level(caplog: pytest.LogCaptureFixture) -> None:
    monitor = CodebookMonitor([100, 100], threshold=0.02)
    caplog.set_level(logging.WARNING, logger="vqdna_hf")
    arguments = (None, None, None)
    fine = {"eval_codebook_perplexity_level1": 2.1, "eval_codebook_perplexity_level2": 50.0}
    monitor.on_evaluate(*arguments, metrics=fine)  # type: ignore[arg-type]
    assert not caplog.records
    for _ in range(2):
        monitor.on_evaluate(*arguments, metrics={**fine, "eval_codebook_perplexity_level2": 1.9})  # type: ignore[arg-type]
    assert len(caplog.records) == 1
    assert "codebook of level 2 has collapsed: perplexity 1.9 of 100 entries" in caplog.text


def test_a_level_that_uses_too_few_entries_ends_the_training() -> None:
    monitor = CodebookMonitor([100, 200], min_usage=0.6)
    metrics = {"eval_codebook_usage_level1": 0.61, "eval_codebook_usage_level2": 0.6}
    monitor.on_evaluate(None, None, None, metrics=metrics)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level 2 uses 59% of its 200 entries, and min_codebook_usage asks for 60%"):
        monitor.on_evaluate(None, None, None, metrics=metrics | {"eval_codebook_usage_level2": 0.59})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"min_codebook_usage=60 must be in \[0, 1\]"):
        CodebookMonitor([100], min_usage=60)


def test_codebooks_are_no_parameters_but_are_counted() -> None:
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))
    counts = count_parameters(codec)
    assert counts["codebook_values"] == (8 + 16) * 16
    assert counts["parameters"] == counts["trainable"] == sum(p.numel() for p in codec.parameters())


def test_the_interrupt_is_not_left_installed_after_a_failure(windows: WindowDataset, tmp_path: Path) -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    trainer = make_trainer(tmp_path, windows)
    assert isinstance(trainer.interrupt, GracefulInterrupt)

    def fail(items: Any) -> dict[str, torch.Tensor]:
        assert signal.getsignal(signal.SIGTERM) == trainer.interrupt._handle
        raise ValueError("an item is broken")

    trainer.data_collator = fail
    with pytest.raises(ValueError, match="an item is broken"):
        trainer.train_and_report(None)
    assert signal.getsignal(signal.SIGTERM) is before
