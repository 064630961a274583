# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The sections on growth, scaling and start-up of `benchmarks/bench_speed.py`, at sizes that say nothing about speed.

Run: `python -m pytest tests/test_bench_growth.py`
"""

import itertools
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from speed import growth, peers, scaling, startup
from speed.measure import Context

QUICK = Context(torch.device("cpu"), quick=True, repeats=1)


def tables(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows with cells, by table; all of a table have the same columns."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        assert isinstance(row["table"], str)
        if "note" in row:
            assert set(row) == {"table", "note"}
        else:
            found.setdefault(row["table"], []).append(row)
    for of_table in found.values():
        assert len({tuple(row) for row in of_table}) == 1
        assert all(isinstance(value, (str, int, float, type(None))) for row in of_table for value in row.values())
    return found


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_power_law_has_its_exponent_as_slope(power: float) -> None:
    assert growth.slope([(size, 7 * size**power) for size in growth.doubling(4, 64)]) == pytest.approx(power)


def test_a_slope_needs_two_points() -> None:
    assert growth.slope([(8, 3.0), (16, 0.0)]) is None
    assert growth.doubling(128, 1024) == [128, 256, 512, 1024]


def test_growth_tells_every_curve_and_its_slopes() -> None:
    found = tables(growth.run(QUICK))
    curves = [(row["what"], row["pass"], row["grows"]) for row in found[growth.SLOPES]]
    assert len(curves) == len(set(curves)) == 10
    first = [row for row in found[growth.CURVES] if (row["what"], row["pass"], row["grows"]) == curves[0]]
    assert [row["size"] for row in first] == [64, 128, 256]
    assert first[0]["x the time of half the size"] is None
    for before, row in itertools.pairwise(first):
        assert row["x the time of half the size"] == pytest.approx(row["ms"] / before["ms"])
        assert row["bases/s"] == pytest.approx(row["size"] / row["ms"] * 1e3)


def test_a_curve_ends_where_the_next_point_would_not_fit() -> None:
    slow = growth.Curve("sleep", "forward", "length", lambda size: lambda: time.sleep(size / 1e3), [10, 20], 1)
    assert [point.size for point in growth.measured(slow, 0.01, QUICK)] == [10]
    assert [point.size for point in growth.measured(slow, 60.0, QUICK)] == [10, 20]


def test_scaling_counts_messages_and_puts_each_way_beside_the_one_with_less() -> None:
    found = tables(scaling.run(QUICK))
    steps, messages, estimate = found.values()
    codec = [row["way"] for row in steps if row["what"] == scaling.CODEC_STEP]
    assert codec == [scaling.ALONE, scaling.SILENT, scaling.GRADIENTS, scaling.CODEBOOKS, scaling.BUFFERS]
    # With a frozen codec there is nothing to tell of codebooks.
    model = [row["way"] for row in steps if row["what"] == scaling.MODEL_STEP]
    assert model == [scaling.ALONE, scaling.SILENT, scaling.GRADIENTS, scaling.BUFFERS]
    sent: dict[tuple[str, str], float] = {}
    for row in messages:
        key = row["what"], row["message"].partition(",")[0]
        sent[key] = sent.get(key, 0) + row["MB"] * 1e6
    config = peers.recipe("tiny")
    trained = sum(parameter.numel() for parameter in scaling.VQDNACodecModel(config.codec_config).parameters())
    assert sent[scaling.CODEC_STEP, "gradients"] == pytest.approx(4 * trained)
    # A sum of vectors and a count for each entry, and little else.
    sums = 4 * sum(size * (config.codec_config.codebook_dim + 1) for size in config.codec_config.codebook_sizes)
    assert 1.0 <= sent[scaling.CODEC_STEP, "codebooks"] / sums < 1.2
    assert (scaling.MODEL_STEP, "codebooks") not in sent
    assert [row["GPUs"] for row in estimate] == [8, 64, 8, 64]
    assert [row["codebooks / computing"] > 0 for row in estimate] == [True, True, False, False]


def test_a_ring_takes_what_the_formula_says() -> None:
    link = scaling.Link("a network", 1e9, 1e-3)
    assert scaling.message_seconds("gradients", 4, 2e9, link) == pytest.approx(2 * 3 / 4 * 2 + 6e-3)
    assert scaling.message_seconds("codebooks, all_gather", 4, 2e9, link) == pytest.approx(3 * (2 + 1e-3))
    assert scaling.message_seconds("buffers, broadcast", 4, 2e9, link) == pytest.approx(2 + 3e-3)


def test_on_a_gpu_machine_scaling_says_that_it_needs_two() -> None:
    (row,) = scaling.run(Context(torch.device("cuda"), quick=True))
    assert "two GPUs" in row["note"]


def test_start_up_tells_of_new_processes_and_of_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(startup.fresh(["import json", "json.dumps(1)"])) == 2
    with pytest.raises(RuntimeError, match="no_such_module"):
        startup.fresh(["import no_such_module"])
    monkeypatch.setattr(startup, "fresh", lambda parts: [float(2 + number) for number in range(len(parts))])
    imports, first, loading = tables(startup.run(QUICK)).values()
    assert imports[0]["x the import of torch"] == 2.0
    assert [row["what"] for row in first] == [startup.OURS, startup.SAME]
    by_name = {row["what"]: row for row in loading}
    assert list(by_name) == [startup.OURS, startup.SAME, startup.DEEP]
    sizes = [row["parameters and codebooks, M"] for row in loading]
    assert max(sizes) / min(sizes) < 1.05
    assert by_name[startup.DEEP]["tensors"] == pytest.approx(by_name[startup.OURS]["tensors"], rel=0.1)
