# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""How time and memory grow with length and batch: curves, and slopes on log-log scales."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from speed.measure import Context, Row, compare, free_memory, peak_memory, seconds
from speed.peers import Trainee, fill_codebooks, nucleotides, ours, recipe
from vqdna_hf.model.configuration_vqdna import VQDNAConfig
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
from vqdna_hf.model.quantization_vqdna import HierarchicalResidualQuantizer

TITLE = "Growth with length and batch"

LONGEST = 32768
FORWARD, STEP = "forward", "step"
CURVES, SLOPES = "time and memory", "slopes on log-log scales, over the upper half"
SECONDS = 220.0
"""For all curves, whatever the time that is left: other sections follow."""

CALM, LONG = 1.0, 8.0
"""Seconds: what takes longer is called twice, or once."""


@dataclass
class Point:
    """What was measured at one size.

    Attributes:
        size: bases a sequence, sequences, or vectors.
        seconds: median.
        bytes: at most beyond what was held before.
        rounds: how many made the median.
    """

    size: int
    seconds: float
    bytes: int
    rounds: int


@dataclass
class Curve:
    """A way to compute, at growing sizes.

    Attributes:
        what: the model.
        passes: forward, or a step of training.
        against: what grows: `"length"`, `"batch"` or `"vectors"`.
        prepare: from a size to the call that is measured.
        sizes: ascending.
        bases: of one unit of size.
        power: the steepest growth that is expected, 1 or 2.
    """

    what: str
    passes: str
    against: str
    prepare: Callable[[int], Callable[[], object]]
    sizes: list[int]
    bases: int
    power: int = 1


def run(context: Context) -> Iterator[Row]:
    """Curve by curve, each with an equal share of what is left of `SECONDS`; the slopes at the end."""
    slopes = []
    begin = time.monotonic()
    todo = curves(context)
    end = begin + SECONDS if context.deadline is None else min(begin + SECONDS, context.deadline)
    for number, curve in enumerate(todo):
        if context.out_of_time():
            yield context.left_out(CURVES, f"{curve.what}, {curve.passes}")
            continue
        points = []
        for point in measured(curve, (end - time.monotonic()) / (len(todo) - number), context):
            points.append(point)
            yield row_of(curve, points)
        slopes.append(slope_row(curve, points))
        gc.collect()
    yield from slopes
    yield from notes(context)


def doubling(low: int, high: int) -> list[int]:
    """low, 2 low, ... high."""
    return [low << power for power in range((high // low).bit_length())]


def curves(context: Context) -> list[Curve]:
    """What grows with what, most telling first."""
    size = "base" if context.on_gpu else "tiny"
    lengths = doubling(64, 256) if context.quick else doubling(128, LONGEST)
    batches = doubling(1, 4) if context.quick else doubling(1, 64)
    vectors = doubling(256, 1024) if context.quick else doubling(1024, 2**20 if context.on_gpu else 2**17)
    batch_length = 64 if context.quick else 512
    result = []
    for passes in (FORWARD, STEP):
        for every in (1, 3):
            name = f"`{size}`, {'global attention' if every == 1 else 'global in 1 layer of 3'}"
            prepare = _model(_config(size, every), passes, context)
            result.append(Curve(name, passes, "length", prepare, lengths, 1, power=2))
        codec = _codec(size, passes, context)
        result.append(Curve(f"codec of `{size}` alone", passes, "length", codec, lengths, 1))
        quantizer = _quantizer(size, passes, context)
        result.append(Curve(f"quantizer of `{size}` alone", passes, "vectors", quantizer, vectors, 1))
        prepare = _model(_config(size, 1), passes, context, batch_length)
        result.append(Curve(f"`{size}`, {batch_length} bases", passes, "batch", prepare, batches, batch_length))
    # The quadratic ones need the most time: they come last, and take what the others leave.
    return sorted(result, key=lambda curve: curve.power)


def _config(size: str, every: int) -> VQDNAConfig:
    values = recipe(size).to_dict()
    for key in ("layer_types", "max_position_embeddings"):
        values.pop(key)
    return VQDNAConfig(**values, max_position_embeddings=LONGEST + 2, global_attn_every_n_layers=every)


def _model(
    config: VQDNAConfig, passes: str, context: Context, length: int | None = None
) -> Callable[[int], Callable[[], object]]:
    """Masked language model with a frozen codec; of `length`, or one sequence of a growing length."""
    kind = ours(config)
    held: list[Trainee] = []

    def prepare(size: int) -> Callable[[], object]:
        sequences, bases = (1, size) if length is None else (size, length)
        if not held:
            held.append(Trainee(kind, sequences, bases, context.device))
        held[0].set_batch(kind, sequences, bases)
        return held[0].forward if passes == FORWARD else held[0].step

    return prepare


def _codec(size: str, passes: str, context: Context) -> Callable[[int], Callable[[], object]]:
    """`encode`, or a step of stage 1 with its moving averages."""
    with context.device:
        codec = VQDNACodecModel(recipe(size).codec_config)
    fill_codebooks(codec.encoder)
    codec.train(passes == STEP)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=1e-5)

    def prepare(length: int) -> Callable[[], object]:
        ids = nucleotides(1, length, context.device)

        def encode() -> None:
            with torch.no_grad(), torch.autocast(context.device.type, torch.bfloat16, enabled=context.on_gpu):
                codec.encode(ids)

        def step() -> None:
            with torch.autocast(context.device.type, torch.bfloat16, enabled=context.on_gpu):
                loss = codec(ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return encode if passes == FORWARD else step

    return prepare


def _quantizer(size: str, passes: str, context: Context) -> Callable[[int], Callable[[], object]]:
    """Codes alone, or codes, loss, its gradient and the moving averages."""
    config = recipe(size).codec_config
    with context.device:
        quantizer = HierarchicalResidualQuantizer(config.codebook_sizes, config.codebook_dim)
    quantizer.train(passes == STEP)

    def prepare(vectors: int) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        shape = (1, vectors, config.codebook_dim)
        taps = [torch.randn(shape, generator=generator).to(context.device) for _ in config.codebook_sizes]

        def forward() -> None:
            with torch.no_grad():
                quantizer(taps, update=False, return_loss=False)

        def step() -> None:
            leaves = [tap.detach().requires_grad_() for tap in taps]
            output = quantizer(leaves)
            (output.quantized.square().mean() + output.commitment_loss).backward()

        return forward if passes == FORWARD else step

    return prepare


def measured(curve: Curve, share: float, context: Context) -> Iterator[Point]:
    """Point by point, while time and memory of the next one, as they are foreseen, are there."""
    end = time.monotonic() + share
    seconds_ahead, bytes_ahead = 0.0, 0.0
    for size in curve.sizes:
        point = measured_at(curve, size, seconds_ahead, context)
        if point is None:
            return
        yield point
        growth = 1.1 * 2**curve.power
        seconds_ahead, bytes_ahead = growth * point.seconds, growth * point.bytes
        whole = seconds_ahead * (1 if seconds_ahead > LONG else 2 if seconds_ahead > CALM else context.repeats + 2)
        if time.monotonic() + whole > end or context.out_of_time(whole) or bytes_ahead > 0.6 * free_memory(context):
            return


def measured_at(curve: Curve, size: int, ahead: float, context: Context) -> Point | None:
    """Time and memory at one size; None where memory does not suffice. What takes long is called but once or twice."""
    call = curve.prepare(size)
    times: list[float] = []
    holds: list[int] = []

    def timed() -> None:
        times.append(seconds(call, context.device))

    def everything() -> None:
        if ahead < LONG:
            timed()
            if times[0] < CALM:  # that was the warm-up
                times.clear()
                for _ in range(context.repeats):
                    timed()
        holds.append(peak_memory(timed, context.device))

    if compare({"": everything}, context, repeats=1, warmup=0)[""].error is not None:
        return None
    return Point(size, statistics.median(times), holds[0], len(times))


def row_of(curve: Curve, points: list[Point]) -> Row:
    """The newest point beside the one before it."""
    point = points[-1]
    before = points[-2] if len(points) > 1 else None
    return {
        "table": CURVES,
        "what": curve.what,
        "pass": curve.passes,
        "grows": curve.against,
        "size": point.size,
        "x the time of half the size": point.seconds / before.seconds if before else None,
        "x its memory": point.bytes / before.bytes if before and before.bytes else None,
        "ms": point.seconds * 1e3,
        "bases/s": point.size * curve.bases / point.seconds,
        "peak MB": point.bytes / 1e6,
        "rounds": point.rounds,
    }


def slope_row(curve: Curve, points: list[Point]) -> Row:
    """Least squares through the logarithms, over the larger half of the sizes."""
    upper = points[len(points) // 2 :] if len(points) > 3 else points[-2:]
    return {
        "table": SLOPES,
        "what": curve.what,
        "pass": curve.passes,
        "grows": curve.against,
        "slope of time": slope([(point.size, point.seconds) for point in upper]),
        "slope of memory": slope([(point.size, point.bytes) for point in upper]),
        "from": upper[0].size if upper else None,
        "to": upper[-1].size if upper else None,
        "points": len(upper),
    }


def slope(pairs: list[tuple[float, float]]) -> float | None:
    """The exponent of the power law that fits best; None of fewer than two positive points.

    >>> slope([(1, 3), (2, 12), (4, 48)])
    2.0
    """
    logs = [(math.log(x), math.log(y)) for x, y in pairs if x > 0 and y > 0]
    if len(logs) < 2:
        return None
    middle = statistics.mean(x for x, _ in logs)
    spread = sum((x - middle) ** 2 for x, _ in logs)
    return round(sum((x - middle) * y for x, y in logs) / spread, 9)


def notes(context: Context) -> Iterator[Row]:
    """How to read the slopes."""
    texts = [
        "1 is linear, 2 quadratic. A curve ends where its next point would not fit into its share of the time, or into "
        f"memory; points of more than {CALM:g} s are called once or twice. A step is forward, backward and AdamW.",
        "Attention is PyTorch's `scaled_dot_product_attention`. Of a layer with local attention it masks what is out "
        "of the window and computes it all the same: there local layers do not make the growth linear, and their mask, "
        "one value a pair of positions, takes quadratic memory. Kernels that leave out what is masked do: flash "
        'attention or flex attention (`attn_implementation="flash_attention_2"`, `"flex_attention"`).',
    ]
    if not context.on_gpu:
        texts.append(
            "Memory on the CPU is the process's high-water mark, exact to some megabytes: of little it says little."
        )
    for text in texts:
        yield {"table": SLOPES, "note": text}
