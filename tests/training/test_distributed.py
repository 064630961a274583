# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Two CPU processes under torchrun (gloo, loopback)."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

from example_scripts import (
    EXAMPLES,
    classification_arguments,
    codec_arguments,
    flags,
    logged,
    process_environment,
)

# Notes which windows each process reads, then runs the script that follows.
WATCHED = """
import os, runpy, sys
from vqdna_hf.data import WindowDataset
original = WindowDataset.__getitems__
def watched(self, indices):
    with open(os.path.join(os.environ["WATCH"], os.environ["RANK"]), "a") as stream:
        stream.writelines(f"{self.epoch} {index}\\n" for index in indices)
    return original(self, indices)
WindowDataset.__getitems__ = watched
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def torchrun(script: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes, one thread each."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--rdzv_backend",
        "c10d",
        "--rdzv_endpoint",
        "127.0.0.1:0",
        *script,
    ]
    return subprocess.run(
        command,
        env={**process_environment(), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_codec_on_two_processes(genome: Path, tmp_path: Path) -> None:
    """It finishes, logs once, and the two processes read different windows, others in the second epoch."""
    driver = tmp_path / "watched.py"
    driver.write_text(textwrap.dedent(WATCHED))
    # 4,500 bases are 140 windows: at 2 x 35 a step, two steps an epoch.
    arguments = codec_arguments(
        genome,
        tmp_path / "run",
        use_cpu=True,
        max_steps=-1,
        num_train_epochs=2,
        per_device_train_batch_size=35,
    )
    script = [str(driver), str(EXAMPLES / "run_codec.py"), *flags(**arguments)]
    result = torchrun(script, WATCH=str(tmp_path))
    assert result.returncode == 0, result.stderr[-3000:]
    log = logged(tmp_path / "run")
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2, 3, 4]
    assert result.stdout.count("'loss'") == 4, "the other process keeps quiet"
    read = [set((tmp_path / rank).read_text().splitlines()) for rank in "01"]
    assert not read[0] & read[1]
    assert {line.split()[0] for line in read[0] | read[1]} == {"0", "1"}, "an epoch reads windows of its own"
    assert len(read[0] | read[1]) == 280
    results = json.loads((tmp_path / "run" / "eval_results.json").read_text())
    assert 0 < results["eval_reconstruction_accuracy"] < 1


def test_classification_on_two_processes(promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    """One file of predictions with each row once, though 10 rows do not divide among batches of 2 x 4."""
    arguments = classification_arguments(
        promoters, mlm_folder, tmp_path, use_cpu=True, max_steps=1, per_device_eval_batch_size=4
    )
    result = torchrun([str(EXAMPLES / "run_classification.py"), *flags(**arguments)])
    assert result.returncode == 0, result.stderr[-3000:]
    lines = (tmp_path / "results" / "run" / "predictions.csv").read_text().splitlines()
    expected = [line.split(",")[0] for line in (promoters / "test.csv").read_text().splitlines()]
    assert [line.split(",")[0] for line in lines] == expected
