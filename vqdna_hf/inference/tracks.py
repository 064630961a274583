# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Tracks for genome browsers: one value a base as bedGraph or BigWig. Positions are 0-based and half-open."""

import contextlib
import errno
import gzip
import itertools
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vqdna_hf.data.intervals import Region

BEDGRAPH_ENDINGS = (".bedgraph", ".bedgraph.gz", ".bg", ".bg.gz")
BIGWIG_ENDINGS = (".bw", ".bigwig")
TRACK_ENDINGS = (*BEDGRAPH_ENDINGS, *BIGWIG_ENDINGS)

_BIGWIG_MAGIC = bytes.fromhex("26fc8f88")
_ENTRY_BYTES = 12
_VALUE_BYTES = 4
_ZOOM_BYTES = 5  # of all zoom levels, for each run or base: 32 for ten of them, then for four times as many, and so on
_SPARE_BYTES = 1 << 20


class Runs(NamedTuple):
    """Stretches of one chromosome, in order, with one value each.

    Attributes:
        chrom: its name.
        starts, ends: (n,) int64.
        values: (n,) float32.

    Example:

    >>> Runs("chr1", np.array([0, 10]), np.array([10, 20]), np.array([0.5, 1], np.float32)).chrom
    'chr1'
    """

    chrom: str
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    values: NDArray[np.float32]


def sort_regions(regions: Sequence[Region], lengths: Mapping[str, int]) -> list[Region]:
    """Put regions into the order of the genome, as tracks need them.

    Args:
        regions: in any order.
        lengths: bases of each chromosome, in the genome's order.

    Raises:
        ValueError: if two overlap: a track holds one value a base.

    Example:

    >>> sort_regions([Region("chr1", 5, 9, "b", "."), Region("chr1", 0, 6, "a", ".")], {"chr1": 10})
    Traceback (most recent call last):
    ...
    ValueError: regions 'a' (0-6) and 'b' (5-9) of chr1 overlap, and a track holds one value a base: merge them, or \
write Parquet
    """
    place = {chrom: number for number, chrom in enumerate(lengths)}
    ordered = sorted(regions, key=lambda region: (place[region.chrom], region.start, region.end))
    for one, other in itertools.pairwise(ordered):
        if one.chrom == other.chrom and other.start < one.end:
            raise ValueError(
                f"regions {one.name!r} ({one.start}-{one.end}) and {other.name!r} ({other.start}-{other.end}) of "
                f"{one.chrom} overlap, and a track holds one value a base: merge them, or write Parquet"
            )
    return ordered


def merge_runs(runs: Iterable[Runs]) -> Iterator[Runs]:
    """Make one run of neighbours with equal values, also where one piece ends and the next begins.

    Args:
        runs: in order.

    Example:

    >>> pieces = [Runs("chr1", np.array([at, at + 1]), np.array([at + 1, at + 2]), np.float32([1, 1])) for at in (0, 2)]
    >>> [(run.starts.tolist(), run.ends.tolist()) for run in merge_runs(pieces)]
    [([0], [4])]
    """
    last: Runs | None = None  # a single run that may go on
    for piece in runs:
        if last is not None and last.chrom == piece.chrom:
            piece = Runs(
                piece.chrom, *(np.concatenate(pair) for pair in zip(last[1:], piece[1:], strict=True))  # type: ignore[arg-type]
            )  # fmt: skip
        elif last is not None:
            yield last
        # To the bit, so that -0.0 stays what it is.
        bits = piece.values.view(np.int32)
        firsts = np.flatnonzero(np.r_[True, (bits[1:] != bits[:-1]) | (piece.starts[1:] != piece.ends[:-1])])
        ends = piece.ends[np.r_[firsts[1:] - 1, len(piece.ends) - 1]]
        starts, values = piece.starts[firsts], piece.values[firsts]
        if len(starts) > 1:
            yield Runs(piece.chrom, starts[:-1], ends[:-1], values[:-1])
        last = Runs(piece.chrom, starts[-1:], ends[-1:], values[-1:])
    if last is not None:
        yield last


def write_bedgraph(runs: Iterable[Runs], path: Path, *, packed: bool = False, track_line: str | None = None) -> None:
    """Write a bedGraph: chromosome, start, end and value, neighbours with equal values as one line.

    Values are the shortest text that reads back to the same float32.

    Args:
        runs: in order.
        path: where to.
        packed: with gzip.
        track_line: the name for a line `track` at the top, which the browser of UCSC wants, and other tools do not.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.bedgraph"
    >>> write_bedgraph([Runs("chr1", np.array([0, 1]), np.array([1, 2]), np.float32([0.1, 0.1]))], path)
    >>> path.read_text()
    'chr1\\t0\\t2\\t0.1\\n'
    """
    with open_packed(path, packed) as stream:
        if track_line is not None:
            stream.write(f'track type=bedGraph name="{track_line.replace(chr(34), chr(39))}"\n'.encode())
        for run in merge_runs(runs):
            columns = [pa.array(values).cast(pa.string()) for values in run[1:]]
            lines = pc.binary_join_element_wise(pa.scalar(run.chrom), *columns, "\t")
            stream.write(("\n".join(lines.to_pylist()) + "\n").encode())


@contextlib.contextmanager
def open_packed(path: Path, packed: bool) -> Iterator[IO[bytes]]:
    """Open a file for writing; with gzip, no name and no time go in: equal content, equal bytes.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.gz"
    >>> with open_packed(path, True) as stream:
    ...     _ = stream.write(b"text")
    >>> gzip.decompress(path.read_bytes())
    b'text'
    """
    with open(path, "wb") as stream:
        if packed:
            with gzip.GzipFile("", "wb", 6, stream, mtime=0) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield stream


def import_bigwig() -> Any:
    """The library that writes BigWig.

    Raises:
        ValueError: if it is not installed.

    Example:

    >>> hasattr(import_bigwig(), "open")
    True
    """
    try:
        import pyBigWig
    except ImportError as error:
        raise ValueError("BigWig needs pyBigWig: pip install 'vqdna_hf[tracks]', or write bedGraph") from error
    if not pyBigWig.numpy:
        raise ValueError("this pyBigWig was built without numpy: install it anew, or write bedGraph")
    return pyBigWig


def write_bigwig(runs: Iterable[Runs], path: Path, lengths: Mapping[str, int]) -> None:
    """Write a BigWig, values as float32.

    The library never says that no space is left: it hangs, or leaves a file that is cut short. So there is room made
    before each step, and the file is checked at the end.

    Args:
        runs: in the order of `lengths`, at least one.
        path: where to.
        lengths: bases of each chromosome, in order.

    Raises:
        OSError: if no space is left, or the file is not as it should be.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.bw"
    >>> write_bigwig([Runs("chr1", np.array([2]), np.array([8]), np.float32([0.5]))], path, {"chr1": 10})
    >>> import_bigwig().open(str(path)).intervals("chr1")
    ((2, 8, 0.5),)
    """
    library = import_bigwig()
    path.write_bytes(b"")  # it crashes where it cannot open a file
    _make_room(path, sum(len(chrom) + 16 for chrom in lengths) + _SPARE_BYTES)
    track = library.open(os.fspath(path), "w")
    bases = entries = 0
    try:
        track.addHeader(list(lengths.items()))
        for run in merge_runs(runs):
            _make_room(path, _ENTRY_BYTES * len(run.starts) + _SPARE_BYTES)
            _add(track, run)
            bases += int((run.ends - run.starts).sum())
            entries += len(run.starts)
        # Base by base there may be three times as many entries as runs.
        _make_room(path, _ZOOM_BYTES * min(bases, 3 * entries) + _SPARE_BYTES)
    except RuntimeError as error:
        raise OSError(errno.EIO, f"BigWig cannot be written ({' '.join(str(error).split())})") from error
    finally:
        track.close()
    with open(path, "rb") as stream:
        stream.seek(-len(_BIGWIG_MAGIC), os.SEEK_END)
        is_whole = stream.read() == _BIGWIG_MAGIC
    with contextlib.closing(library.open(os.fspath(path))) as written:
        if not is_whole or written.header()["nBasesCovered"] != bases:
            raise OSError(errno.ENOSPC, "the BigWig was cut short")


def _add(track: Any, run: Runs) -> None:
    """As runs, or base by base, whichever is smaller: a base needs a third of the space of a run."""
    lengths = run.ends - run.starts
    if lengths.sum() > _ENTRY_BYTES // _VALUE_BYTES * len(lengths):
        chroms = [run.chrom] * len(lengths)
        track.addEntries(chroms, run.starts.tolist(), ends=run.ends.tolist(), values=run.values.tolist())
        return
    gaps = np.flatnonzero(run.starts[1:] != run.ends[:-1]) + 1
    for first, last in itertools.pairwise([0, *gaps.tolist(), len(lengths)]):
        values = np.repeat(run.values[first:last], lengths[first:last])
        track.addEntries(run.chrom, int(run.starts[first]), values=values, span=1, step=1)


def _make_room(path: Path, size: int) -> None:
    """Raise what the system raises where a file cannot grow by so many bytes."""
    at = path.stat().st_size
    if not hasattr(os, "posix_fallocate"):
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    scratch = path.with_name(f"{path.name}.room")
    try:
        with open(scratch, "wb") as stream:
            os.posix_fallocate(stream.fileno(), at, size)
    finally:
        scratch.unlink(missing_ok=True)
