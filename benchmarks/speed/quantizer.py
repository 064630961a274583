# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The quantizer's training step (forward, backward, moving averages) beside `vector-quantize-pytorch` and `cdist`.

One codebook against `VectorQuantize`, two against `ResidualVQ` with two: the second tap is half the first, with which
H(2) = 2 Z(2) - e is the plain residual. All have the same code vectors, data, mask and straight-through gradient; the
peer's rotation trick and its replacement of dead codes are off, while ours re-seeds as always.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speed.measure import Context, Row, Timing, compare, free_memory, peak_memory
from vqdna_hf.model.quantization_vqdna import HierarchicalResidualQuantizer

TITLE = "Quantizer: forward, backward and update of the codebooks"

WIDTH = 384
ENTRIES = 2048
LENGTH = 512
DECAY = 0.99
OURS, PLAIN, FLOOR = "vqdna_hf", "torch.cdist", "its matrix products alone"
TOLERANCE = 1e-6
"""Relative difference of two distances, in float64, below which fp32 may choose either entry."""

LABELS = {1: "1 codebook", 2: "2 codebooks"}
SPEED, MEMORY, GROWTH = "Speed of a training step", "Peak memory of a training step", "Growth of the peak memory"


class PlainQuantizer(nn.Module):
    """What one writes first: all distances by `torch.cdist`, `argmin`, `index_add_` for the moving averages."""

    def __init__(self, entries: list[Tensor]) -> None:
        super().__init__()
        self.embeds = nn.ModuleList(_Buffers(level) for level in entries)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize (B, L, D) under a mask (B, L): codes (B, Q, L), vectors (B, L, D), loss."""
        codes, losses, total, residual = [], [], torch.zeros_like(x), x
        for book in self.embeds:
            flat = residual.detach().reshape(-1, x.shape[-1])
            index = torch.cdist(flat, book.embed).argmin(-1)
            entries = F.embedding(index, book.embed).view_as(x)
            losses.append(F.mse_loss(residual[mask], entries[mask]))
            book.update(flat[mask.view(-1)], index[mask.view(-1)])
            codes.append(index.view(mask.shape).masked_fill(~mask, -1))
            total = total + residual + (entries - residual).detach()
            residual = residual - entries
        return torch.stack(codes, 1), total * mask.unsqueeze(-1), torch.stack(losses).mean()


class _Buffers(nn.Module):
    embed: Tensor
    embed_sum: Tensor
    cluster_size: Tensor

    def __init__(self, entries: Tensor) -> None:
        super().__init__()
        self.register_buffer("embed", entries.clone())
        self.register_buffer("embed_sum", entries.clone())
        self.register_buffer("cluster_size", torch.ones(len(entries), device=entries.device))

    @torch.no_grad()
    def update(self, vectors: Tensor, index: Tensor) -> None:
        """Move the averages by the vectors (N, D) of the entries `index` (N,)."""
        counts = torch.zeros_like(self.cluster_size).index_add_(0, index, torch.ones_like(index, dtype=torch.float32))
        self.cluster_size.lerp_(counts, 1 - DECAY)
        self.embed_sum.lerp_(torch.zeros_like(self.embed).index_add_(0, index, vectors), 1 - DECAY)
        self.embed.copy_(self.embed_sum / self.cluster_size.clamp(min=1e-5).unsqueeze(-1))


@dataclass
class Case:
    """Data for one comparison, and the ways to quantize them.

    Attributes:
        x: (B, L, D); mask: (B, L); gradient: (B, L, D) of the output.
        entries: (K, D) of each level.
    """

    x: Tensor
    mask: Tensor
    gradient: Tensor
    entries: list[Tensor]

    @classmethod
    def make(cls, context: Context, vectors: int, size: int, levels: int, width: int) -> "Case":
        """Random normal vectors and entries, the hardest data to tell apart; nine positions in ten are real."""
        generator = torch.Generator().manual_seed(0)
        length = min(LENGTH, vectors)
        shape = (vectors // length, length)
        x = torch.randn(*shape, width, generator=generator).to(context.device)
        mask = (torch.rand(*shape, generator=generator) < 0.9).to(context.device)
        entries = [torch.randn(size, width, generator=generator).to(context.device) for _ in range(levels)]
        return cls(x, mask, x, entries)

    def ways(self, peers: bool = True) -> dict[str, Callable[[], Tensor]]:
        """By name: a training step, which returns the codes (B, Q, L)."""
        found = {OURS: self._ours()}
        if peers:
            with contextlib.suppress(ImportError):
                found[peer_name(len(self.entries))] = self._peer()
            found[PLAIN] = self._plain()
        return found

    def _ours(self) -> Callable[[], Tensor]:
        size, width = self.entries[0].shape
        quantizer = HierarchicalResidualQuantizer([size] * len(self.entries), width, decay=DECAY).to(self.x.device)
        for book, entries in zip(quantizer.codebooks, self.entries, strict=True):
            book.embed.copy_(entries)
            book.embed_sum.copy_(entries)
            book.initialized.fill_(1.0)
        taps = [(self.x / 2 if level else self.x).detach().requires_grad_() for level in range(len(self.entries))]

        def step() -> Tensor:
            output = quantizer(taps, self.mask)
            torch.autograd.backward([output.quantized, output.commitment_loss], [self.gradient, None])
            for tap in taps:
                tap.grad = None
            return output.codes

        return step

    def _peer(self) -> Callable[[], Tensor]:
        from vector_quantize_pytorch import ResidualVQ, VectorQuantize

        size, width = self.entries[0].shape
        levels = len(self.entries)
        options = {"dim": width, "codebook_size": size, "decay": DECAY, "rotation_trick": False}
        quantizer = VectorQuantize(**options) if levels == 1 else ResidualVQ(num_quantizers=levels, **options)
        quantizer = quantizer.to(self.x.device).train()
        for layer, entries in zip(quantizer.layers if levels > 1 else [quantizer], self.entries, strict=True):
            layer._codebook.embed.data.copy_(entries.unsqueeze(0))
            layer._codebook.embed_avg.data.copy_(entries.unsqueeze(0))
        x = self.x.detach().requires_grad_()

        def step() -> Tensor:
            quantized, codes, loss = quantizer(x, mask=self.mask)
            torch.autograd.backward([quantized, loss.sum()], [self.gradient, None])
            x.grad = None
            return codes.unsqueeze(1) if levels == 1 else codes.movedim(-1, 1)

        return step

    def _plain(self) -> Callable[[], Tensor]:
        quantizer = PlainQuantizer(self.entries).train()
        x = self.x.detach().requires_grad_()

        def step() -> Tensor:
            codes, quantized, loss = quantizer(x, self.mask)
            torch.autograd.backward([quantized, loss], [self.gradient, None])
            x.grad = None
            return codes

        return step

    def products(self) -> Callable[[], None]:
        """The products of vectors and entries that no way can do without, a thousand vectors at a time."""
        flat = self.x.view(-1, self.x.shape[-1])
        rows = 8192 if flat.is_cuda else 1024
        out = flat.new_empty(rows, len(self.entries[0]))

        def step() -> None:
            for entries in self.entries:
                for part in flat.split(rows):
                    torch.mm(part, entries.t(), out=out[: len(part)])

        return step

    def disagreements(self, codes: Tensor, others: Tensor) -> int:
        """How many codes differ. Raises if one does that fp32 could tell apart.

        Args:
            codes, others: (B, Q, L).
        """
        differ = codes != others
        vectors = self.x.double()
        for level, entries in enumerate(self.entries):
            batch, position = differ[:, level].nonzero(as_tuple=True)
            distances = [
                (vectors[batch, position] - entries.double()[found[batch, level, position].clamp(min=0)]).norm(dim=-1)
                for found in (codes, others)
            ]
            relative = ((distances[0] - distances[1]).abs() / distances[0]).max().item() if len(batch) else 0.0
            if relative > TOLERANCE:
                raise ValueError(f"codes of level {level} differ where distances do, by a share of {relative:.1e}")
            if level + 1 < len(self.entries):
                # Where a level differs by rounding, the next one is fed another residual: nothing to compare.
                differ[:, level + 1] &= ~differ[:, level]
                vectors = vectors - F.embedding(codes[:, level].clamp(min=0), entries.double())
        return int(differ.sum())


def peer_name(levels: int) -> str:
    """The class of `vector-quantize-pytorch` with as many codebooks."""
    return "VectorQuantize" if levels == 1 else "ResidualVQ"


def run(context: Context) -> Iterator[Row]:
    """Speed and equal codes, then peak memory at up to a million vectors, then how it grows."""
    width, size = (16, 32) if context.quick else (WIDTH, ENTRIES)
    try:
        import vector_quantize_pytorch  # noqa: F401
    except ImportError as error:
        yield {"table": SPEED, "note": f"Without vector-quantize-pytorch: {error}"}
    if context.quick:
        timed, large = {1: 1024, 2: 1024}, 2048
    elif context.on_gpu:
        timed, large = {1: 1 << 20, 2: 1 << 18}, 1 << 20
    else:
        timed, large = {1: 1 << 16, 2: 1 << 15}, 1 << 20
    for levels, vectors in timed.items():
        yield from speed(context, vectors, size, levels, width)
    if large not in timed.values():
        if context.out_of_time(90):
            yield context.left_out(SPEED, f"{large:,} vectors")
        else:
            yield from speed(context, large, size, 1, width, peers=False)
    for vectors in (timed[1], large):
        if context.out_of_time():
            yield context.left_out(MEMORY, f"{vectors:,} vectors")
        else:
            yield from memory(context, vectors, size, width)
    if context.out_of_time():
        yield context.left_out(GROWTH, "the growth of memory")
    else:
        yield from growth(context, timed[1] if not context.on_gpu else 1 << 18, size, width)


def speed(context: Context, vectors: int, size: int, levels: int, width: int, peers: bool = True) -> Iterator[Row]:
    """Rows of `SPEED`; codes are compared at the first step, where all have the same entries."""
    case = Case.make(context, vectors, size, levels, width)
    ways = case.ways(peers)
    first: dict[str, Tensor] = {}

    def keeping(name: str, step: Callable[[], Tensor]) -> Callable[[], object]:
        return lambda: first.setdefault(name, step())

    timed: dict[str, Callable[[], object]] = {name: keeping(name, step) for name, step in ways.items()}
    timings = compare({**timed, FLOOR: case.products()}, context, repeats=None if peers else 3)
    ours = timings.pop(OURS)
    for name, theirs in timings.items():
        differ = case.disagreements(first[OURS], first[name]) if name in first else None
        yield {
            "table": SPEED,
            "quantizer": LABELS[levels],
            "vectors": vectors,
            "entries": size,
            "beside": name,
            "times faster": theirs.error or ours.times_faster_than(theirs),
            "vectors/s, ours": vectors / ours.median,
            "vectors/s, theirs": _rate(vectors, theirs),
            "codes that differ": differ,
            "rounds": len(theirs.seconds),
        }


def _rate(vectors: int, timing: Timing) -> float | str:
    return timing.error or vectors / timing.median


def memory(context: Context, vectors: int, size: int, width: int) -> Iterator[Row]:
    """Rows of `MEMORY`: outputs and gradients are in it, the input is not."""
    case = Case.make(context, vectors, size, 1, width)
    peaks = {name: _peak(name, step, case, context) for name, step in case.ways().items()}
    ours = peaks.pop(OURS)
    outputs = 2 * case.x.numel() * 4  # the code vectors and the gradient of the input
    for name, theirs in peaks.items():
        yield {
            "table": MEMORY,
            "vectors": vectors,
            "entries": size,
            "beside": name,
            "times less": theirs / ours if isinstance(theirs, int) and isinstance(ours, int) else theirs,
            "MB, ours": ours / 1e6 if isinstance(ours, int) else ours,
            "MB, theirs": theirs / 1e6 if isinstance(theirs, int) else theirs,
            "MB of outputs and gradients": outputs / 1e6,
        }


def _peak(name: str, step: Callable[[], object], case: Case, context: Context) -> int | str:
    """Bytes, or why there are none."""
    distances = case.x[..., 0].numel() * len(case.entries[0]) * 4
    if not context.on_gpu and name != OURS:
        # A process that is killed for memory tells nothing. The factors were measured where everything fits.
        free = free_memory(context)
        needed = distances * (1.5 if name == PLAIN else 6)
        if needed > 0.8 * free:
            return f"not run: about {needed / 1e9:.0f} GB of {free / 1e9:.0f} GB free"
    try:
        return peak_memory(step, context.device)
    except (torch.OutOfMemoryError, MemoryError):
        return "out of memory"
    finally:
        if context.on_gpu:
            torch.cuda.empty_cache()


def growth(context: Context, vectors: int, size: int, width: int) -> Iterator[Row]:
    """Rows of `GROWTH`: what is held beyond outputs and gradients when N, or K, is four times as large."""
    cases = {"N": [(vectors // 4, size), (vectors, size)], "K": [(vectors // 4, size // 2), (vectors // 4, size * 2)]}
    for grows, ends in cases.items():
        peaks: dict[str, list[float]] = {}
        for number, entries in ends:
            case = Case.make(context, number, entries, 1, width)
            for name, step in case.ways().items():
                peak = _peak(name, step, case, context)
                beyond = peak - 2 * case.x.numel() * 4 if isinstance(peak, int) else math.nan
                peaks.setdefault(name, []).append(max(beyond, 1e6) / 1e6)  # the kernel counts no finer
        for name, (first, last) in peaks.items():
            yield {
                "table": GROWTH,
                "way": name,
                "what grows": f"{grows}, from {ends[0][grows == 'K']} to {ends[1][grows == 'K']}",
                "log-log slope": math.log(last / first, 4),
                "MB before": first,
                "MB after": last,
            }
    note = "Beyond outputs and gradients, our memory is codes (8 bytes a vector), chunks, and copies of K x D numbers."
    yield {"table": GROWTH, "note": note}
