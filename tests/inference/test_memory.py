# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Memory does not grow with the genome: 300 Mbp, one record of 200 Mbp among them, through the command."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_memory.py"


def load_benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_memory", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_300_mbp_stay_under_3_gb(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 2e9:
        pytest.skip("needs 2 GB of temporary space")
    row = load_benchmark().measure(300, tmp_path)
    assert row["peak_gb"] < 3
    places = pq.read_table(tmp_path / "300.parquet", columns=["name", "start", "end"])
    assert pc.sum(pc.subtract(places["end"], places["start"])).as_py() == 300_000_000
    assert len(pc.unique(places["name"])) == 101
