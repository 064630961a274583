# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Clock and memory for side-by-side comparisons: rounds in turn, medians, ratios within a round, peak memory.

A busy machine slows what runs beside each other alike. So the ways to do one thing are called in turn, round after
round, and a ratio is the median of the rounds' ratios, never the ratio of two medians from different minutes.
"""

import contextlib
import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]
"""A line of a table: `table` names it, `note` alone is a line of text under it, all else are cells."""

MIN_REPEATS = 7


@dataclass
class Context:
    """What a section is told.

    Attributes:
        device: where to measure.
        quick: sizes so small that a test can run everything; the figures say nothing.
        repeats: rounds, at least `MIN_REPEATS` unless quick.
        deadline: `time.monotonic()` after which no new measurement is begun; None for none.
        cut: whether the section that runs had to leave something out for want of time.
    """

    device: torch.device
    quick: bool = False
    repeats: int = MIN_REPEATS
    deadline: float | None = None
    cut: bool = False

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a CUDA device."""
        return self.device.type == "cuda"

    def out_of_time(self, seconds: float = 0.0) -> bool:
        """Whether something that takes `seconds` would end behind the deadline."""
        return self.deadline is not None and time.monotonic() + seconds > self.deadline

    def left_out(self, table: str, what: str) -> Row:
        """A note that no time was left for something; the section then counts as cut, and is named at the end."""
        self.cut = True
        return {"table": table, "note": f"No time was left for {what}."}


@dataclass
class Timing:
    """Seconds of each round of one way, `error` instead where it could not run."""

    seconds: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds) if self.seconds else float("nan")

    def times_faster_than(self, other: "Timing") -> float:
        """The median over the rounds of the other's seconds divided by ours."""
        ratios = [theirs / ours for ours, theirs in zip(self.seconds, other.seconds, strict=False)]
        return statistics.median(ratios) if ratios else float("nan")


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def compare(
    ways: Mapping[str, Callable[[], object]], context: Context, *, repeats: int | None = None, warmup: int = 1
) -> dict[str, Timing]:
    """Call each way in turn, round after round.

    A way that runs out of memory keeps its error and is left out of further rounds; with the deadline passed, the
    rounds end early (after three at least).

    Args:
        ways: a name and what to call.
        repeats: rounds; default the context's.
        warmup: calls of each way before the first round, unmeasured.
    """
    timings = {name: Timing() for name in ways}
    for name, function in ways.items():
        with _keeping_error(timings[name]):
            for _ in range(warmup):
                seconds(function, context.device)
    for number in range(repeats or context.repeats):
        if number >= 3 and context.out_of_time():
            context.cut = True
            break
        for name, function in ways.items():
            if timings[name].error is None:
                with _keeping_error(timings[name]):
                    timings[name].seconds.append(seconds(function, context.device))
    return timings


@contextlib.contextmanager
def _keeping_error(timing: Timing) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        timing.error = f"out of memory: {str(error).splitlines()[0][:120]}"
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        timing.error = f"out of memory: {str(error).splitlines()[0][:120]}"
    if timing.error:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def peak_memory(function: Callable[[], object], device: torch.device) -> int:
    """Bytes that a call holds at most beyond what was held before it.

    On a GPU by PyTorch's allocator. On the CPU by the kernel's high-water mark of the process (Linux), after free
    memory was given back: exact to some megabytes, and only for allocations that are large beside those. Call the
    function once before, so that one-time buffers do not count.
    """
    gc.collect()
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark to what is held now
    before = _status("VmRSS")
    function()
    return max(_status("VmHWM") - before, 0)


def free_memory(context: Context) -> float:
    """Bytes that may still be taken: those of a CPU's machine, its file cache included; a GPU says so itself."""
    if context.on_gpu:
        return math.inf
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}: peak memory on the CPU is measured on Linux alone")


def matrix_rate(device: torch.device, dtype: torch.dtype, *, size: int | None = None, repeats: int = 7) -> float:
    """Floating-point operations a second of a large square matrix product on random data: the ceiling of MFU."""
    size = size or (8192 if device.type == "cuda" else 1536)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    for _ in range(3):
        left @ right
    taken = [seconds(lambda: left @ right, device) for _ in range(repeats)]
    return 2 * size**3 / statistics.median(taken)
