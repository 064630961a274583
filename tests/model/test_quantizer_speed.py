# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A guard against a slow or greedy quantizer: ratios alone, with bounds that a busy machine keeps.

The figures themselves are in `benchmarks/RESULTS.md`.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def quantizer_section() -> Iterator[Any]:
    """The benchmark's own comparison, so that the guard measures what the tables do."""
    sys.path.insert(0, str(BENCHMARKS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other on a busy machine would be all that is measured
    try:
        from speed import quantizer

        yield quantizer
    finally:
        torch.set_num_threads(threads)
        sys.path.remove(str(BENCHMARKS))


def context(quantizer_section: Any, **values: Any) -> Any:
    return quantizer_section.Context(CPU, **values)


def test_codes_equal_those_of_the_peers(quantizer_section: Any) -> None:
    for levels in (1, 2):
        case = quantizer_section.Case.make(context(quantizer_section), 2048, 256, levels, 32)
        codes = {name: step() for name, step in case.ways().items()}
        ours = codes.pop(quantizer_section.OURS)
        assert ours.shape == (4, levels, 512)
        for name, theirs in codes.items():
            assert case.disagreements(ours, theirs) <= 4, name
        # A comparison that lets everything pass would be none.
        with pytest.raises(ValueError, match="codes of level 0 differ"):
            case.disagreements(ours, (ours + 1) % 256)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_step_is_much_faster_than_the_peer_and_not_slower_than_the_plain_way(
    levels: int, quantizer_section: Any
) -> None:
    where = context(quantizer_section, repeats=15)
    case = quantizer_section.Case.make(where, 4096, 1024, levels, 128)
    timings = quantizer_section.compare(case.ways(), where)
    ours = timings[quantizer_section.OURS]
    peer = quantizer_section.peer_name(levels)
    if importlib.util.find_spec("vector_quantize_pytorch") is not None:
        assert peer in timings  # or nothing would be compared
        assert ours.times_faster_than(timings[peer]) > 2  # measured: 5
    assert ours.times_faster_than(timings[quantizer_section.PLAIN]) > 1 / 1.1  # measured: 1.4


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="peak memory is measured on Linux")
def test_a_step_holds_far_less_than_all_distances(quantizer_section: Any) -> None:
    peaks: dict[tuple[str, int], int] = {}
    for entries in (512, 2048):
        case = quantizer_section.Case.make(context(quantizer_section), 32768, entries, 1, 32)
        ways = case.ways()
        for name in (quantizer_section.OURS, quantizer_section.PLAIN):
            ways[name]()
            peaks[name, entries] = quantizer_section.peak_memory(ways[name], CPU)
    assert peaks[quantizer_section.OURS, 2048] < peaks[quantizer_section.PLAIN, 2048] / 2
    # All distances would be 200 MB more, and are with the plain way: so the measurement can tell.
    assert peaks[quantizer_section.OURS, 2048] < peaks[quantizer_section.OURS, 512] + 32e6
    assert peaks[quantizer_section.PLAIN, 2048] > peaks[quantizer_section.PLAIN, 512] + 100e6


def test_the_section_runs(quantizer_section: Any) -> None:
    rows = list(quantizer_section.run(context(quantizer_section, quick=True, repeats=2)))
    tables = {row["table"] for row in rows}
    assert tables == {quantizer_section.SPEED, quantizer_section.MEMORY, quantizer_section.GROWTH}
    for table in tables:
        columns = {tuple(row) for row in rows if row["table"] == table and "note" not in row}
        assert len(columns) == 1, table
