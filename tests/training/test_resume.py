# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs that stop and go on: resumed to the bit, interrupted by a signal, stopped by a full disk."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import (
    EXAMPLES,
    assert_same_weights,
    codec_arguments,
    example_command,
    flags,
    logged,
    mlm_arguments,
    process_environment,
    run_example,
    weights,
)

from vqdna_hf.training import VQDNATrainer

Arguments = tuple[str, dict[str, Any]]


@pytest.fixture(params=["run_codec", "run_mlm"])
def stage(request: pytest.FixtureRequest, genome: Path, codec_folder: Path, tmp_path: Path) -> Arguments:
    """A script, and arguments for runs in `tmp_path` that do not evaluate much."""
    if request.param == "run_codec":
        return "run_codec", codec_arguments(genome, tmp_path, max_eval_windows=2)
    return "run_mlm", mlm_arguments(genome, codec_folder, tmp_path, max_eval_windows=2)


def test_resumed_equals_uninterrupted_to_the_bit(stage: Arguments, tmp_path: Path) -> None:
    """2N steps at once, and N steps, a new process' worth of state, N steps."""
    script, arguments = stage
    arguments |= {"max_steps": 6, "save_steps": 3, "lr_scheduler_type": "cosine", "warmup_steps": 2}
    assert run_example(script, **{**arguments, "output_dir": tmp_path / "whole"}) == 0
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "halves" / "checkpoint-3")
    words = ["--resume_from_checkpoint"]
    assert run_example(script, *words, **{**arguments, "output_dir": tmp_path / "halves"}) == 0
    resumed = [entry["step"] for entry in logged(tmp_path / "halves") if "loss" in entry]
    assert resumed == [1, 2, 3, 4, 5, 6]
    assert_same_weights(tmp_path / "whole", tmp_path / "halves")
    start, end = weights(tmp_path / "whole" / "checkpoint-3"), weights(tmp_path / "whole")
    assert not all(torch.equal(start[name], end[name]) for name in start), "the second half trains"


def test_a_longer_run_goes_on_from_a_shorter_one(stage: Arguments, tmp_path: Path) -> None:
    """The windows of the first N steps do not depend on how many steps are planned."""
    script, arguments = stage
    arguments |= {"lr_scheduler_type": "constant"}
    assert run_example(script, **{**arguments, "output_dir": tmp_path / "whole", "max_steps": 4}) == 0
    arguments["output_dir"] = tmp_path / "halves"
    assert run_example(script, **{**arguments, "max_steps": 2}) == 0
    assert run_example(script, "--resume_from_checkpoint", **{**arguments, "max_steps": 4}) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "halves")


def test_resuming_in_the_middle_of_a_later_epoch(stage: Arguments, tmp_path: Path) -> None:
    """4,500 bases are 140 windows of 32, 5 steps of 28 an epoch: step 8 is in the second."""
    script, arguments = stage
    arguments |= {"max_steps": -1, "num_train_epochs": 3, "per_device_train_batch_size": 28, "save_steps": 8}
    assert run_example(script, **{**arguments, "output_dir": tmp_path / "whole"}) == 0
    assert logged(tmp_path / "whole")[-1]["step"] == 15
    shutil.copytree(tmp_path / "whole" / "checkpoint-8", tmp_path / "halves" / "checkpoint-8")
    arguments["output_dir"] = tmp_path / "halves"
    assert run_example(script, "--resume_from_checkpoint", **arguments) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "halves")


def test_a_half_written_checkpoint_is_passed_over(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = codec_arguments(genome, tmp_path, max_steps=4, save_steps=2)
    assert run_example("run_codec", **arguments) == 0
    finished = weights(tmp_path)
    for incomplete in ("missing", "cut"):
        state = tmp_path / "checkpoint-4" / "trainer_state.json"
        if incomplete == "missing":
            state.unlink()
        else:
            state.write_text(state.read_text()[:100])
        (tmp_path / "checkpoint-4" / "model.safetensors").write_bytes(b"half")
        assert run_example("run_codec", "--resume_from_checkpoint", **arguments) == 0, incomplete
        assert all(torch.equal(value, finished[name]) for name, value in weights(tmp_path).items())
    (tmp_path / "checkpoint-4" / "trainer_state.json").unlink()
    explicit = {**arguments, "resume_from_checkpoint": tmp_path / "checkpoint-4"}
    assert run_example("run_codec", **explicit) == 2
    assert "is no complete checkpoint (found in" in capsys.readouterr().err


def test_resuming_where_nothing_is_starts_from_the_beginning(
    genome: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """So that the same line can stand in a job script that is run again and again."""
    arguments = codec_arguments(genome, tmp_path)
    assert run_example("run_codec", "--resume_from_checkpoint", **arguments) == 0
    assert "starting from the beginning" in caplog.text


def test_a_checkpoint_written_over_is_incomplete_meanwhile(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it writes over an older checkpoint, a run must not leave a mixture called complete."""
    arguments = codec_arguments(genome, tmp_path, max_steps=2, save_steps=1)
    assert run_example("run_codec", **arguments) == 0
    seen: list[bool] = []
    original = VQDNATrainer.save_model

    def spy(self: VQDNATrainer, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("_internal_call"):
            seen.append((tmp_path / "checkpoint-2" / "trainer_state.json").exists())
        original(self, *args, **kwargs)

    monkeypatch.setattr(VQDNATrainer, "save_model", spy)
    assert run_example("run_codec", **arguments, resume_from_checkpoint=tmp_path / "checkpoint-1") == 0
    assert seen == [False]


def test_overwrite_deletes_checkpoints_and_nothing_else(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path, max_steps=2, save_steps=1)
    assert run_example("run_codec", **arguments) == 0
    (tmp_path / "checkpoint-notes.txt").write_text("mine")
    (tmp_path / "checkpoint-best").mkdir()
    assert run_example("run_codec", "--overwrite_output_dir", **{**arguments, "max_steps": 1}) == 0
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {
        "checkpoint-1",
        "checkpoint-best",
        "checkpoint-notes.txt",
    }


def test_ctrl_c_saves_and_the_resumed_run_equals_an_uninterrupted_one(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path / "stopped", max_steps=100, save_steps=1000, max_eval_windows=2)
    process = subprocess.Popen(
        example_command("run_codec", **arguments),
        env={**process_environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "'loss'" in line:
            process.send_signal(signal.SIGINT)
            break
    lines += process.stdout.readlines()
    output = "".join(lines)
    assert process.wait(timeout=60) == 130, output
    assert "Traceback" not in output
    checkpoints = sorted((tmp_path / "stopped").glob("checkpoint-*"))
    assert len(checkpoints) == 1
    step = int(checkpoints[0].name.split("-")[1])
    assert 0 < step < 100
    assert f"interrupted at step {step} of 100 and saved in {checkpoints[0]}" in output
    assert "--resume_from_checkpoint" in output
    assert not (tmp_path / "stopped" / "model.safetensors").exists(), "an unfinished run leaves no finished model"
    assert run_example("run_codec", "--resume_from_checkpoint", **arguments) == 0
    assert run_example("run_codec", **{**arguments, "output_dir": tmp_path / "whole"}) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("when", ["after the last step", "twice"])
def test_signals_at_awkward_times(
    when: str,
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the last step is evaluated, all is saved and no checkpoint is needed; twice stops at once."""
    before = signal.getsignal(signal.SIGINT)
    original = VQDNATrainer.log

    def log_and_signal(self: VQDNATrainer, logs: dict[str, float], start_time: float | None = None) -> None:
        original(self, logs, start_time)
        if "loss" in logs and self.state.global_step == 2:
            signal.raise_signal(signal.SIGINT)
            if when == "twice":
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(VQDNATrainer, "log", log_and_signal)
    steps = 2 if when == "after the last step" else 5
    arguments = codec_arguments(genome, tmp_path, max_steps=steps, save_strategy="no")
    assert run_example("run_codec", **arguments) == 130
    assert (tmp_path / "model.safetensors").exists() is (when == "after the last step")
    if when == "twice":
        assert "interrupted" in capsys.readouterr().err
    else:
        assert "training is complete and saved" in caplog.text
    assert not list(tmp_path.glob("checkpoint-*"))
    assert signal.getsignal(signal.SIGINT) is before, "the caller's own handling is back"


FULL_DISK = """
import resource, runpy, signal, sys
from transformers import Trainer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # the write fails with EFBIG instead of killing the process
original = Trainer._save_checkpoint
def save_then_fill(self, model, trial):
    original(self, model, trial)
    # Smaller than model.safetensors: the next checkpoint breaks off in the middle of it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
Trainer._save_checkpoint = save_then_fill
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_full_disk_leaves_the_last_good_checkpoint(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path / "run", max_steps=6, save_steps=2)
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(FULL_DISK),
        str(EXAMPLES / "run_codec.py"),
        *flags(**arguments),
    ]
    result = subprocess.run(
        command, env=process_environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    error = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert "could not write" in error[0]
    assert f"The last good checkpoint is {tmp_path / 'run' / 'checkpoint-2'}; free some space" in error[0]
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-2"]
    # And with space again it goes on to the end, as if nothing had been.
    assert run_example("run_codec", "--resume_from_checkpoint", **arguments) == 0
    assert run_example("run_codec", **{**arguments, "output_dir": tmp_path / "whole"}) == 0
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("part", ["_save_optimizer_and_scheduler", "_save_rng_state"])
def test_whatever_part_of_a_checkpoint_fails(
    part: str,
    genome: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = getattr(VQDNATrainer, part)

    def fail_at_the_second(self: VQDNATrainer, output_dir: str) -> None:
        if self.state.global_step == 2:
            (Path(output_dir) / "optimizer.pt").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        original(self, output_dir)

    monkeypatch.setattr(VQDNATrainer, part, fail_at_the_second)
    assert run_example("run_codec", **codec_arguments(genome, tmp_path, save_steps=1, save_total_limit=1)) == 2
    error = capsys.readouterr().err
    assert "No space left on device" in error
    assert "checkpoint-1; free some space" in error
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]
    assert json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())["global_step"] == 1


def test_the_last_save_may_fail_too(
    genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The finished model's own save, behind the last checkpoint."""
    original = VQDNATrainer.save_model

    def fail_outside(self: VQDNATrainer, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if not _internal_call:
            raise RuntimeError("PytorchStreamWriter failed writing file")
        original(self, output_dir, _internal_call)

    monkeypatch.setattr(VQDNATrainer, "save_model", fail_outside)
    assert run_example("run_codec", **codec_arguments(genome, tmp_path)) == 2
    error = capsys.readouterr().err
    assert f"could not write {tmp_path}: PytorchStreamWriter" in error
    assert "The last good checkpoint is" in error
