# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Regions of a genome as windows that a model reads, in units of work; on both strands if asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region
from vqdna_hf.data.jobs import UNIT_BASES as UNIT_BASES
from vqdna_hf.data.jobs import unit_bases
from vqdna_hf.model.pipeline_vqdna import STRANDS, Window, plan_windows


@dataclass(frozen=True)
class Piece:
    """A window of a region.

    Args:
        region: its number.
        window: what is read and what is kept of it, in bases from the region's start on the forward strand.
        is_last: whether the region ends with it.

    Example:

    >>> Piece(0, Window(0, 100, 0, 100), is_last=True).window.end
    100
    """

    region: int
    window: Window
    is_last: bool


@dataclass(frozen=True)
class WindowUnit:
    """Consecutive windows, of one region or of many short ones.

    Example:

    >>> WindowUnit([Piece(0, Window(0, 100, 0, 90), False), Piece(0, Window(80, 150, 90, 150), True)]).bases
    150
    """

    pieces: Sequence[Piece]

    @cached_property
    def bases(self) -> int:
        """The bases that are kept."""
        return sum(piece.window.keep_end - piece.window.keep_start for piece in self.pieces)


@dataclass(frozen=True)
class WindowPlan:
    """How regions are read: windows, and units of about `unit_bases`.

    Args:
        regions: of the genome, in the order of the output.
        window: bases read at once.
        overlap: of neighbouring windows, in bases.
        unit_bases: a unit ends with the window that reaches this many.
        unit_pieces: and has at most so many windows; default: no limit.
        stride: s, nucleotides a code: windows cut no patch of either strand, see `plan_windows`.

    Raises:
        ValueError: if not `0 <= overlap < window`, or windows cannot move on by a patch.

    Example:

    >>> plan = WindowPlan([Region("chr1", 0, 10, "chr1", ".")], window=6, overlap=2, unit_bases=5)
    >>> [[piece.window.keep_start for piece in unit.pieces] for unit in plan.units()]
    [[0], [5]]
    """

    regions: Sequence[Region] = field(repr=False)
    window: int
    overlap: int
    unit_bases: int = field(default_factory=unit_bases)
    unit_pieces: int | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        plan_windows(1, self.window, self.overlap, self.stride)  # for its checks

    @property
    def bases(self) -> int:
        """Of all regions."""
        return sum(region.end - region.start for region in self.regions)

    def units(self) -> Iterator[WindowUnit]:
        """The windows in order, in units."""
        pieces: list[Piece] = []
        filled = 0
        for number, region in enumerate(self.regions):
            windows = _windows(region, self.window, self.overlap, self.stride)
            for place, window in enumerate(windows, start=1):
                pieces.append(Piece(number, window, place == len(windows)))
                filled += window.keep_end - window.keep_start
                if filled >= self.unit_bases or len(pieces) == self.unit_pieces:
                    yield WindowUnit(pieces)
                    pieces, filled = [], 0
        if pieces:
            yield WindowUnit(pieces)

    def read(self, genome: Genome, piece: Piece, reverse: bool = False) -> NDArray[np.uint8]:
        """Nucleotide ids (window,) of a piece on one strand of the genome, in that strand's own order."""
        region = self.regions[piece.region]
        ids = genome.fetch(region.chrom, region.start + piece.window.start, region.start + piece.window.end)
        return reverse_complement_array(ids) if reverse else ids

    def strands(self, piece: Piece, strand: str) -> list[bool]:
        """Whether the genome's other strand is read, for each strand asked for.

        `forward` is the region's own strand: that of a BED line with `-` is the reverse one of the genome.
        """
        own = self.regions[piece.region].strand == "-"
        return [own, not own] if strand == "both" else [own != (strand == "reverse")]

    def kept_patches(self, piece: Piece, reverse: bool) -> tuple[int, int]:
        """The kept part of a piece in whole patches of one strand of the genome, in bases from the region's start.

        Patches are counted from where the region begins on that strand; the last of them may be shorter. With s = 1
        this is what the window keeps.
        """
        window, length = piece.window, self.regions[piece.region].length
        # A patch that a border cuts goes to the window that comes next on the strand.
        borders = [
            border + (length - border) % self.stride if reverse else border - border % self.stride
            for border in (window.keep_start, window.keep_end)
        ]
        start = 0 if window.keep_start == 0 else borders[0]
        return start, length if window.keep_end == length else borders[1]

    def signs(self, pieces: Sequence[Piece], strand: str) -> list[str]:
        """Which of the genome's strands is read of each piece: `+`, `-`, or `.` for both."""
        found = [self.strands(piece, strand) for piece in pieces]
        return ["." if len(strands) == 2 else "-" if strands[0] else "+" for strands in found]


def _windows(region: Region, window: int, overlap: int, stride: int) -> list[Window]:
    """Windows in the genome's order; they are cut from the end where the region's own strand begins.

    So the answer for a region with `-` is that for its reverse complement, read as a sequence of its own.
    """
    length = region.end - region.start
    windows = plan_windows(length, window, overlap, stride)
    if region.strand != "-":
        return windows
    return [
        Window(length - end, length - start, length - keep_end, length - keep_start)
        for start, end, keep_start, keep_end in reversed(windows)
    ]


def check_strand(strand: str) -> str:
    """The strand, if it is one of `forward`, `reverse`, `both`.

    Example:

    >>> check_strand("sense")
    Traceback (most recent call last):
    ...
    ValueError: strand 'sense': choose one of forward, reverse, both
    """
    if strand not in STRANDS:
        raise ValueError(f"strand {strand!r}: choose one of {', '.join(STRANDS)}")
    return strand
