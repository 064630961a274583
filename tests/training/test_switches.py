# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What makes training faster or smaller is a switch, and changes nothing that it should not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import (
    TINY_CODEC,
    classification_arguments,
    codec_arguments,
    logged,
    mlm_arguments,
    run_example,
)
from transformers import TrainingArguments

from vqdna_hf.training import parse_arguments

STAGES = ("run_codec", "run_mlm", "run_classification")


@pytest.fixture(scope="module")
def runs(genome: Path, promoters: Path, codec_folder: Path, mlm_folder: Path, tmp_path_factory: Any) -> Any:
    """Runs a stage for three steps and gives its losses; each set of switches once."""
    known: dict[Any, list[float]] = {}

    def run(stage: str, **switches: Any) -> list[float]:
        key = (stage, *sorted(switches.items()))
        if key not in known:
            folder = tmp_path_factory.mktemp("run")
            common = {"max_steps": 3, "save_strategy": "no", "learning_rate": 1e-3, "use_cpu": True, **switches}
            if stage == "run_codec":
                arguments = codec_arguments(genome, folder, **common)
            elif stage == "run_mlm":
                arguments = mlm_arguments(genome, codec_folder, folder, **common)
            else:
                arguments = classification_arguments(
                    promoters, mlm_folder, folder, **common, eval_strategy="no", load_best_model_at_end=False
                )
            assert run_example(stage, **arguments) == 0
            known[key] = [entry["loss"] for entry in logged(folder) if "loss" in entry]
            assert len(known[key]) == 3
        return known[key]

    return run


@pytest.mark.parametrize("stage", STAGES)
def test_bf16(stage: str, runs: Any) -> None:
    """Within 3 %: activations have 8 bits, and a code may change where two entries are nearly as near."""
    assert runs(stage, bf16=True) == pytest.approx(runs(stage), rel=0.03)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_gradient_checkpointing(stage: str, runs: Any) -> None:
    """To rounding: the same is computed, again."""
    assert runs(stage, gradient_checkpointing=True) == pytest.approx(runs(stage), rel=1e-5)


def test_fused_adamw_is_the_default_and_one_of_two(runs: Any, tmp_path: Path) -> None:
    assert TrainingArguments(str(tmp_path)).optim == "adamw_torch_fused"
    assert runs("run_mlm", optim="adamw_torch") == pytest.approx(runs("run_mlm"), rel=1e-5)


@pytest.mark.parametrize("stage", STAGES)
def test_compile(stage: str, runs: Any) -> None:
    """The graphs that the compiler gets, run as they are: its own code takes a minute a stage to make on a CPU.

    `tests/model/test_compile.py` and the benchmark compare that code.
    """
    try:
        compiled = runs(stage, torch_compile=True, torch_compile_backend="eager")
    finally:
        torch.compiler.reset()
    assert compiled == pytest.approx(runs(stage), rel=1e-5)


def test_recipes_for_gpus_run_on_a_cpu(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = ["--output_dir", str(tmp_path), "--bf16", "true"]
    assert parse_arguments((TrainingArguments,), [*flags, "--use_cpu", "true"])[0].bf16 is True
    if torch.accelerator.is_available():
        pytest.skip("there is an accelerator")
    (arguments,) = parse_arguments((TrainingArguments,), flags)
    assert arguments.bf16 is False
    assert "training in fp32" in caplog.text


def test_codes_for_several_bases_through_the_scripts(genome: Path, promoters: Path, tmp_path: Path) -> None:
    """Stages 1 to 3 with one code for 4 nucleotides, hidden together."""
    codec = {**TINY_CODEC, "codec_stride": 4}
    assert run_example("run_codec", **codec_arguments(genome, tmp_path / "codec", codec_config=codec)) == 0
    options = mlm_arguments(genome, tmp_path / "codec", tmp_path / "mlm", mask_patches=True)
    assert run_example("run_mlm", **options) == 0
    entry = next(entry for entry in logged(tmp_path / "mlm") if "loss" in entry)
    assert entry["mfu"] > 0
    assert 0 <= entry["code_accuracy_level2"] <= 1
    options = classification_arguments(promoters, tmp_path / "mlm", tmp_path / "fine", save_strategy="no")
    options |= {"eval_strategy": "no", "load_best_model_at_end": False}
    assert run_example("run_classification", **options) == 0


def test_throughput_is_logged(genome: Path, codec_folder: Path, tmp_path: Path) -> None:
    """Windows of 32 bases are full, and a switch turns the measurement off."""
    for log_mfu in (True, False):
        folder = tmp_path / str(log_mfu)
        assert run_example("run_mlm", **mlm_arguments(genome, codec_folder, folder, log_mfu=log_mfu)) == 0
        entries = [entry for entry in logged(folder) if "loss" in entry]
        assert [entry["real_positions"] for entry in entries] == [1.0, 1.0]
        assert all(entry["bases_per_second"] > 0 for entry in entries)
        if log_mfu:
            assert all(entry["mfu"] > 0 and entry["model_tflops_per_second"] > 0 for entry in entries)
        else:
            assert not any("mfu" in entry or "model_tflops_per_second" in entry for entry in entries)
