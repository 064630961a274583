# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""How a corpus is cut: windows of a record, and what becomes of N, soft-masked bases, strands and short ends."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.model.tokenization_vqdna import N_ID

SoftMaskPolicy = Literal["ignore", "keep", "drop", "mask"]
StrandPolicy = Literal["forward", "both", "canonical"]

DIGEST_BYTES = 16
SPAN_BASES = 1 << 20

_N, _G, _C, _LOWER_BIT = ord("N"), ord("G"), ord("C"), 5
# Tables for `bytes.translate`, which is two to four times as fast as indexing an array by another.
_LETTERS = decode_ids(range(N_ID + 1)).encode().ljust(256, b"?")
_OTHER_STRAND = bytes.maketrans(b"ACGTNacgtn", b"TGCANtgcan")

WINDOW_FIELDS = {
    "sequence": pa.large_string(),
    "name": pa.string(),
    "start": pa.int64(),
    "end": pa.int64(),
    "reverse": pa.bool_(),
    "n": pa.int32(),
    "gc": pa.int32(),
    "soft_masked": pa.int32(),
    "held_out": pa.bool_(),
    "digest": pa.binary(DIGEST_BYTES),
}
"""Columns of a table of candidate windows; `digest` is the same for a window and its reverse complement."""


@dataclass(frozen=True)
class CutPolicy:
    """How records become windows. Sizes are in bases.

    Args:
        window: of a window; the last one of a record may be shorter.
        stride: from the start of a window to that of the next; default: `window`, so that none overlap.
        min_bases: shorter windows are left out; default: half of `window`.
        max_n_fraction: windows with a larger share of N are left out.
        split_n: cut records at runs of at least this many N, so that windows begin behind them; default: do not.
        soft_mask: lower-case letters (repeats) are read like others (`ignore`), stay lower case (`keep`), become N
            (`mask`, before N are counted), or windows with too many are left out (`drop`).
        max_soft_fraction: for `drop`, the largest share of soft-masked bases.
        strand: windows as they stand in the file (`forward`), each window and its reverse complement (`both`), or of
            these two the one that comes first in the alphabet (`canonical`).

    Raises:
        ValueError: a size below 1, a share outside 0..1, or an unknown policy.

    Example:

    >>> policy = CutPolicy(window=512, stride=256)
    >>> policy.step, policy.shortest, policy.count(1_000)
    (256, 256, 3)
    """

    window: int = 512
    stride: int | None = None
    min_bases: int | None = None
    max_n_fraction: float = 0.1
    split_n: int | None = None
    soft_mask: SoftMaskPolicy = "ignore"
    max_soft_fraction: float = 0.5
    strand: StrandPolicy = "forward"

    def __post_init__(self) -> None:
        for name in ("window", "stride", "min_bases", "split_n"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: at least 1 base is needed")
        for name in ("max_n_fraction", "max_soft_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share from 0 to 1")
        for name, known in (("soft_mask", SoftMaskPolicy), ("strand", StrandPolicy)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(get_args(known))}")
        if self.shortest > self.window:
            raise ValueError(f"min_bases is {self.min_bases}: no window of {self.window} bases would be left")

    @property
    def step(self) -> int:
        """From the start of a window to that of the next."""
        return self.stride or self.window

    @property
    def shortest(self) -> int:
        """The fewest bases of a window."""
        return max(self.window // 2, 1) if self.min_bases is None else self.min_bases

    def count(self, bases: int) -> int:
        """How many windows a piece has: the last is the first that reaches its end, or begins before it."""
        return min(1 + max(0, -(-(bases - self.window) // self.step)), -(-bases // self.step))


class Span(NamedTuple):
    """A part of a record that holds whole windows: `name`, `start`, `end`.

    >>> Span("chr1", 0, 512).bases
    512
    """

    name: str
    start: int
    end: int

    @property
    def bases(self) -> int:
        """Its length."""
        return self.end - self.start


def spans_of(genome: Genome, name: str, policy: CutPolicy, bases: int = SPAN_BASES) -> Iterator[Span]:
    """Cut a record into parts that hold whole windows: windows of the parts are those of the record.

    Args:
        genome: that holds the record.
        name: of the record.
        policy: windows, and whether runs of N split the record.
        bases: of a part, about.

    Yields:
        The parts in order; runs of N that split the record are in none.

    Raises:
        ValueError: as `Genome.fetch`.

    Example:

    >>> genome = Genome.from_sequences(["a"], ["ACGTACGTNNNNNACG"])
    >>> list(spans_of(genome, "a", CutPolicy(window=2, split_n=5), bases=4))
    [Span(name='a', start=0, end=4), Span(name='a', start=4, end=8), Span(name='a', start=13, end=16)]
    """
    windows = max(1, bases // policy.step)
    for start, end in _between_gaps(genome, name, policy.split_n):
        count = policy.count(end - start)
        for first in range(0, count, windows):
            last = min(first + windows, count) - 1
            yield Span(name, start + first * policy.step, min(start + last * policy.step + policy.window, end))


def _between_gaps(genome: Genome, name: str, least: int | None) -> Iterator[tuple[int, int]]:
    """The parts of a record between runs of at least `least` N."""
    length = genome.lengths[name]
    if least is None:
        yield 0, length
        return
    done = 0
    for start, end in _runs_of_n(genome, name, length):
        if end - start >= least:
            if start > done:
                yield done, start
            done = end
    if done < length:
        yield done, length


def _runs_of_n(genome: Genome, name: str, length: int) -> Iterator[tuple[int, int]]:
    open_since: int | None = None
    for start in range(0, length, SPAN_BASES):
        is_n = genome.fetch(name, start, min(start + SPAN_BASES, length)) == N_ID
        changes = np.flatnonzero(np.diff(is_n, prepend=open_since is not None)) + start
        for place in changes.tolist():
            if open_since is None:
                open_since = place
            else:
                yield open_since, place
                open_since = None
    if open_since is not None:
        yield open_since, length


class _Block(NamedTuple):
    """Windows of one length of one span; all but `letters` (windows, length) have one value a window."""

    name: str
    held_out: bool
    starts: NDArray[np.int64]
    letters: NDArray[np.uint8]
    reverse: NDArray[np.bool_]
    counts: dict[str, NDArray[np.int32]]
    digests: list[bytes]


def cut_windows(
    genome: Genome, spans: Sequence[tuple[Span, bool]], policy: CutPolicy
) -> tuple[pa.Table, dict[str, int]]:
    """Cut the windows of some spans.

    Args:
        genome: that holds the records.
        spans: from `spans_of`, each with whether it is held out.
        policy: which windows.

    Returns:
        A table with the columns `WINDOW_FIELDS`, in the order of the spans, `start` and `end` on the forward strand;
        and how many windows were left out, by reason: `short`, `n`, `soft_masked`.

    Raises:
        ValueError: as `Genome.fetch`.

    Example:

    >>> genome = Genome.from_sequences(["a"], ["TTTTACGTNN"])
    >>> table, dropped = cut_windows(genome, [(Span("a", 0, 10), False)], CutPolicy(window=4, strand="canonical"))
    >>> table["sequence"].to_pylist(), table["reverse"].to_pylist(), dropped
    (['AAAA', 'ACGT'], [True, False], {'n': 1})
    """
    dropped: Counter[str] = Counter()
    blocks = [block for span, held_out in spans for block in _cut(genome, span, held_out, policy, dropped)]
    return _to_table(blocks), {reason: count for reason, count in dropped.items() if count}


def _cut(genome: Genome, span: Span, held_out: bool, policy: CutPolicy, dropped: Counter[str]) -> Iterator[_Block]:
    ids, lower = genome.fetch(*span), genome.soft_mask(*span)
    letters = _translated(ids, _LETTERS)
    if policy.soft_mask == "mask":
        letters[lower] = _N
    starts = np.arange(policy.count(span.bases), dtype=np.int64) * policy.step
    lengths = np.minimum(starts + policy.window, span.bases) - starts
    ends = starts + lengths
    marked = {"n": letters == _N, "gc": (letters == _G) | (letters == _C), "soft_masked": lower}
    counts = {name: _sums(mark, starts, ends) for name, mark in marked.items()}
    kept = np.ones(len(starts), dtype=bool)
    for reason, good in (
        ("short", lengths >= policy.shortest),
        ("n", counts["n"] <= policy.max_n_fraction * lengths),
        ("soft_masked", (counts["soft_masked"] <= policy.max_soft_fraction * lengths) | (policy.soft_mask != "drop")),
    ):
        dropped[reason] += int((kept & ~good).sum())
        kept &= good
    # All but the last have the same length.
    for chosen in (np.flatnonzero(kept & (lengths == policy.window)), np.flatnonzero(kept & (lengths < policy.window))):
        if not len(chosen):
            continue
        rows = sliding_window_view(letters, int(lengths[chosen[0]]))[starts[chosen]]
        reverse, digests = _smaller_strand(rows)
        if policy.soft_mask == "keep":
            rows |= sliding_window_view(lower, rows.shape[1])[starts[chosen]].view(np.uint8) << _LOWER_BIT
        if policy.strand == "canonical":
            rows[reverse] = _translated(rows[reverse, ::-1], _OTHER_STRAND)
        else:
            reverse[:] = False
        here = {name: count[chosen] for name, count in counts.items()}
        yield _Block(span.name, held_out, starts[chosen] + span.start, rows, reverse, here, digests)


def _translated(letters: NDArray[np.uint8], table: bytes) -> NDArray[np.uint8]:
    """Other values for all, in a new array."""
    values = bytearray(letters.tobytes().translate(table))  # writable, where bytes are not
    return np.frombuffer(values, dtype=np.uint8).reshape(letters.shape)


def _sums(mark: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int32]:
    """How many are marked from each start to its end; the last window ends with the marks."""
    if (starts[1:] == ends[:-1]).all():
        return np.add.reduceat(mark, starts, dtype=np.int32)
    until = np.zeros(len(mark) + 1, dtype=np.int32)
    np.cumsum(mark, out=until[1:])
    return until[ends] - until[starts]


def _smaller_strand(rows: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], list[bytes]]:
    """Whether the reverse complement of each row comes first in the alphabet, and a digest of the one that does."""
    other = _translated(rows[:, ::-1], _OTHER_STRAND)
    every = np.arange(len(rows))
    first = (rows != other).argmax(axis=1)
    reverse = other[every, first] < rows[every, first]
    other[~reverse] = rows[~reverse]
    return reverse, [hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest() for row in other]


def _to_table(blocks: Sequence[_Block]) -> pa.Table:
    if not blocks:
        return pa.table({name: pa.array([], kind) for name, kind in WINDOW_FIELDS.items()})
    sizes = [len(block.starts) for block in blocks]
    lengths = np.repeat([block.letters.shape[1] for block in blocks], sizes)
    starts = np.concatenate([block.starts for block in blocks])
    columns: dict[str, Any] = {
        "sequence": strings_of(np.concatenate([block.letters.ravel() for block in blocks]), lengths),
        "name": pa.array([block.name for block in blocks], pa.string()).take(
            pa.array(np.repeat(range(len(blocks)), sizes))
        ),
        "start": starts,
        "end": starts + lengths,
        "reverse": np.concatenate([block.reverse for block in blocks]),
        "held_out": np.repeat([block.held_out for block in blocks], sizes),
        "digest": [digest for block in blocks for digest in block.digests],
    }
    columns |= {name: np.concatenate([block.counts[name] for block in blocks]) for name in blocks[0].counts}
    return pa.table(
        {
            name: pa.array(columns[name], kind) if name != "sequence" else columns[name]
            for name, kind in WINDOW_FIELDS.items()
        }
    )


def strings_of(letters: NDArray[np.uint8], lengths: NDArray[np.int64]) -> pa.LargeStringArray:
    """Texts of given lengths that stand one behind the other.

    >>> strings_of(np.frombuffer(b"ACGT", dtype=np.uint8), np.array([3, 1])).to_pylist()
    ['ACG', 'T']
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return pa.LargeStringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(letters))


def letters_of(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The letters of all texts one behind the other, and their lengths: the inverse of `strings_of`.

    >>> letters, lengths = letters_of(pa.array(["ACG", "T"], pa.large_string()))
    >>> letters.tobytes(), lengths.tolist()
    (b'ACGT', [3, 1])
    """
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(letters, dtype=np.uint8)[ends[0] : ends[-1]], np.diff(ends)


def reverse_complements(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The other strand of each text; lower case stays lower case.

    >>> reverse_complements(pa.array(["AAc", "T"], pa.large_string())).to_pylist()
    ['gTT', 'A']
    """
    letters, lengths = letters_of(texts)
    # All letters backwards are all texts backwards, the last one first.
    backwards = strings_of(_translated(letters[::-1], _OTHER_STRAND), lengths[::-1])
    return backwards.take(pa.array(np.arange(len(lengths))[::-1]))
