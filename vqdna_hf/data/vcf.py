# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""VCF in and out: a streamed reader that names the line of every fault, alleles in normal form, annotated copies.

The reader is a line reader of our own, since libraries built on htslib do not say which line they refuse ("truncated
file"), and let illegal letters and positions beyond 32 bits pass. Positions of VCF are 1-based, all others 0-based and
half-open.
"""

import os
import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data.fasta import open_binary
from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID, IUPAC_LETTERS, N_ID

COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO")
_GENOTYPES_FROM = len(COLUMNS)
_FILE_FORMAT = b"##fileformat="
_BCF_MAGIC = b"BCF\x02"
_BGZF_START = bytes.fromhex("1f8b08040000000000ff060042430200")
_BGZF_BLOCK = 0xFF00  # bytes before packing: even what cannot be packed stays below the 64 KiB of a block
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_LETTERS = re.compile(f"[{IUPAC_LETTERS}]+", re.IGNORECASE)
_NAME = re.compile(r"\S+")
_NUMBER = re.compile(r"[0-9]{1,18}")
_SYMBOL = re.compile(r"<[^<>\s,]+>")
_BREAKEND = re.compile(
    rf"[{IUPAC_LETTERS}.]*[\[\]][^\s,\[\]]+[\[\]][{IUPAC_LETTERS}.]*|\.[{IUPAC_LETTERS}]+|[{IUPAC_LETTERS}]+\.",
    re.IGNORECASE,
)
_CONTIG_ID = re.compile(rb"[<,]ID=([^,>]+)")
_CONTIG_LENGTH = re.compile(rb"[<,]length=(\d+)")
_NOT_IN_CONTIG_ID = re.compile('[<>,"\ufffd]')  # what would end an ID, or was not UTF-8
_SHIFT_CHUNK = 256

NO_ALT = "no_alt"
SPANNING = "spanning_deletion"
SYMBOLIC = "symbolic"
BREAKEND = "breakend"
AMBIGUOUS = "ambiguous_base"
SAME = "same_as_ref"
TOO_LONG = "too_long"
OUTSIDE = "outside_record"
MISMATCH = "ref_mismatch"
UNKNOWN = "unknown_record"

SKIP_REASONS: Mapping[str, str] = {
    MISMATCH: "REF is not what the genome has there",
    OUTSIDE: "POS is 0, or REF reaches past the end of the record",
    UNKNOWN: "the genome has no record of this name",
    NO_ALT: "ALT is missing ('.')",
    SPANNING: "ALT is '*', a deletion that another line describes",
    SYMBOLIC: "ALT is symbolic, such as <DEL>: its bases are not written out",
    BREAKEND: "ALT is a breakend",
    AMBIGUOUS: "REF or ALT has a base other than A, C, G, T",
    SAME: "ALT equals REF",
    TOO_LONG: "REF or ALT, without the bases they share at their ends, is longer than asked for",
}
"""Why an allele gets no score: the word in INFO and summaries, and what it means."""


@dataclass(frozen=True, slots=True)
class VcfRecord:
    """One line of a VCF: what scoring needs of it, and the line itself.

    Args:
        line: its number in the file, 1-based.
        chrom: as written.
        position: POS, 1-based; 0 stands before the first base.
        identifier: ID, `.` where there is none.
        ref: REF, upper case, U as T.
        alts: each ALT as written, in order; `(".",)` where it is missing.
        text: the whole line without its end.

    Example:

    >>> VcfRecord(9, "chr1", 5, ".", "A", ("C", "<DEL>"), b"").start
    4
    """

    line: int
    chrom: str
    position: int
    identifier: str
    ref: str
    alts: tuple[str, ...]
    text: bytes = field(repr=False)

    @property
    def start(self) -> int:
        """POS, 0-based."""
        return self.position - 1


class Allele(NamedTuple):
    """One ALT in normal form: no base is shared at its ends, and an insertion or deletion stands leftmost.

    Attributes:
        chrom: the genome's record.
        start: 0-based position of the first base that differs; of an insertion, the base behind it.
        ref, alt: the differing bases as nucleotide ids (A 5, C 6, G 7, T 8), one byte each; one of them may be empty.

    Example:

    >>> Allele("chr1", 4, b"\\x05", b"\\x06").end
    5
    """

    chrom: str
    start: int
    ref: bytes
    alt: bytes

    @property
    def end(self) -> int:
        """Behind the last base of `ref`."""
        return self.start + len(self.ref)


@dataclass(frozen=True)
class InfoField:
    """A field of INFO that an annotated copy declares.

    Args:
        name: of the field.
        number: values, as VCF says it: `A` is one an ALT, `.` any.
        kind: `Float`, `Integer` or `String`.
        description: a sentence.

    Example:

    >>> InfoField("VQDNA_LLR", "A", "Float", "a ratio").header_line()
    '##INFO=<ID=VQDNA_LLR,Number=A,Type=Float,Description="a ratio">'
    """

    name: str
    number: str
    kind: str
    description: str

    def header_line(self) -> str:
        """The line that declares it."""
        about = self.description.replace("\\", "\\\\").replace('"', '\\"')
        return f'##INFO=<ID={self.name},Number={self.number},Type={self.kind},Description="{about}">'


class VcfFile:
    """An open VCF: its header, and its records by iteration, once.

    Attributes:
        path: the file.
        meta: the lines that start with `##`, without their ends.
        columns: the line `#CHROM ...`.
        contigs: the length of each declared contig, `None` where the header does not say.

    Made by `open_vcf`.
    """

    def __init__(self, lines: Iterable[bytes], path: str) -> None:
        self.path = path
        self.meta: list[bytes] = []
        self.columns = b""
        self._lines = enumerate(lines, start=1)
        self._read_header()
        self.contigs = dict(_contigs(self.meta))

    def _read_header(self) -> None:
        number = 0
        for number, line in self._lines:
            if number == 1 and line.startswith(_BCF_MAGIC):
                raise ValueError(f"{self.path}: is BCF, the binary form: convert it with `bcftools view`")
            line = line.rstrip(b"\r\n")
            if line.startswith(b"##"):
                self.meta.append(line)
            elif line.startswith(b"#"):
                self.columns = line
                _check_columns(line, f"{self.path}, line {number}")
                return
            elif line.strip():
                break
        if number and not self.meta:
            raise ValueError(f"{self.path}: is no VCF: it should start with '##fileformat=VCF'")
        raise ValueError(f"{self.path}, line {number}: the line '#CHROM POS ID REF ALT ...' must end the header")

    def __iter__(self) -> Iterator[VcfRecord]:
        """Yield the records in the file's order.

        Raises:
            ValueError: at a line that is no record, with its number.
        """
        tabs = self.columns.count(b"\t")
        for number, line in self._lines:
            text = line.rstrip(b"\r\n")
            if text:
                yield _parse_record(text, tabs, number, self.path)


@contextmanager
def open_vcf(path: str | os.PathLike[str]) -> Iterator[VcfFile]:
    """Open a VCF for streaming: plain, gzip or bgzip; Windows line ends and blank lines are fine.

    Records need not be sorted. Case is ignored, U is T. A VCF without records is one, too.

    Args:
        path: the file.

    Yields:
        The header, and the records by iteration; memory does not grow with the file.

    Raises:
        ValueError: no such file, empty, cut short, BCF, no VCF header, columns that are not the VCF's or are
            separated by spaces, and in a record: too few or many columns, a POS that is no whole number, a REF or ALT
            that is neither bases nor one of VCF's symbols. Faults of records are raised when their line is reached.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "calls.vcf")
    >>> with open(path, "w") as file:
    ...     _ = file.write("##fileformat=VCFv4.3\\n" + "\\t".join(COLUMNS) + "\\n")
    ...     _ = file.write("chr1\\t5\\trs1\\ta\\tC,<DEL>\\t.\\t.\\t.\\n")
    >>> with open_vcf(path) as vcf:
    ...     [(record.line, record.chrom, record.position, record.ref, record.alts) for record in vcf]
    [(3, 'chr1', 5, 'A', ('C', '<DEL>'))]
    """
    path = os.fspath(path)
    # The file is open inside the generator alone: a failure of whoever reads the records is no failure of the file.
    lines = _read_lines(path)
    try:
        yield VcfFile(lines, path)
    finally:
        lines.close()


def _read_lines(path: str) -> Generator[bytes]:
    with open_binary(path) as stream:
        yield from stream


def _contigs(meta: Sequence[bytes]) -> Iterator[tuple[str, int | None]]:
    for line in meta:
        if line.startswith(b"##contig=") and (name := _CONTIG_ID.search(line)):
            length = _CONTIG_LENGTH.search(line)
            yield name[1].decode("utf-8", "replace"), int(length[1]) if length else None


def _check_columns(line: bytes, where: str) -> None:
    text = line.decode("utf-8", "replace")
    names = text.split("\t")
    if tuple(names[:_GENOTYPES_FROM]) == COLUMNS and (len(names) == _GENOTYPES_FROM or names[8] == "FORMAT"):
        return
    if "\t" not in text and tuple(text.split()[:_GENOTYPES_FROM]) == COLUMNS:
        raise ValueError(f"{where}: columns are separated by spaces: VCF wants tabs")
    raise ValueError(
        f"{where}: {text[:60]!r} should be '{' '.join(COLUMNS)}', with FORMAT before any samples, and tabs"
    )


def _parse_record(text: bytes, tabs: int, number: int, path: str) -> VcfRecord:
    where = f"{path}, line {number}"
    if text.startswith(b"#"):
        raise ValueError(f"{where}: a header line among the records: join files with `bcftools concat`, not `cat`")
    found = text.count(b"\t")
    if found != tabs:
        if found == 0 and len(text.split()) > 1:
            raise ValueError(f"{where}: columns are separated by spaces: VCF wants tabs")
        raise ValueError(
            f"{where}: has {found + 1} columns, and the header names {tabs + 1}: repair or remove the line"
        )
    chrom, position, identifier, ref, alt, _ = (part.decode("utf-8", "replace") for part in text.split(b"\t", 5))
    if not _NAME.fullmatch(chrom):
        raise ValueError(f"{where}: CHROM {shorten(chrom)!r} is no name: remove its blanks")
    if not _NUMBER.fullmatch(position):
        raise ValueError(f"{where}: POS {shorten(position)!r} is no whole number: positions count from 1")
    if not _LETTERS.fullmatch(ref):
        raise ValueError(f"{where}: REF {shorten(ref)!r} is no sequence of bases: write out what the reference has")
    alts = tuple(alt.split(","))
    for allele in alts:
        if allele_kind(allele) is None:
            raise ValueError(
                f"{where}: ALT {shorten(allele)!r} is neither bases nor a symbol of VCF ('.', '*', '<ID>')"
            )
    return VcfRecord(number, chrom, int(position), identifier, ref.upper().replace("U", "T"), alts, text)


def shorten(text: str) -> str:
    """An allele as a message shows it, at most 30 letters.

    Example:

    >>> shorten("A" * 31)
    'AAAAAAAAAAAAAAAAAAAAAAAAAAA...'
    """
    return text if len(text) <= 30 else f"{text[:27]}..."


def allele_kind(alt: str) -> str | None:
    """Tell what an ALT is: `"bases"`, a reason of `SKIP_REASONS`, or None where VCF has no such thing.

    Example:

    >>> [allele_kind(alt) for alt in ("ac", "R", "<DEL>", "*", ".", "G[chr2:5[", "A-")]
    ['bases', 'ambiguous_base', 'symbolic', 'spanning_deletion', 'no_alt', 'breakend', None]
    """
    if _LETTERS.fullmatch(alt):
        return AMBIGUOUS if set(alt.upper()) - set("ACGTU") else "bases"
    if alt in (".", "*"):
        return NO_ALT if alt == "." else SPANNING
    if _SYMBOL.fullmatch(alt):
        return SYMBOLIC
    return BREAKEND if _BREAKEND.fullmatch(alt) else None


def check_ref(record: VcfRecord, reference: NDArray[np.uint8]) -> str | None:
    """Compare a record's REF with the genome.

    Args:
        record: the line.
        reference: (len(REF),) ids that the genome has there; shorter where the record of the genome ends.

    Returns:
        None where all is well, else the reason why no ALT of this line can be scored.

    Example:

    >>> record = VcfRecord(9, "chr1", 5, ".", "AC", ("A",), b"")
    >>> check_ref(record, np.array([5, 6], dtype=np.uint8)), check_ref(record, np.array([5, 5], dtype=np.uint8))
    (None, 'ref_mismatch')
    """
    if record.position < 1 or len(reference) != len(record.ref):
        return OUTSIDE
    ids = to_ids(record.ref)
    if N_ID in ids:
        # Where REF is written with IUPAC letters those say nothing definite; the others must agree all the same.
        same = (reference == ids) | (ids == N_ID)
        return AMBIGUOUS if same.all() else MISMATCH
    return None if np.array_equal(reference, ids) else MISMATCH


def to_ids(text: str) -> NDArray[np.uint8]:
    """The nucleotide ids (len(text),) of an allele that `open_vcf` let pass."""
    return np.frombuffer(text.encode("ascii").translate(BYTE_TO_ID), dtype=np.uint8)


def normal_form(
    chrom: str, start: int, ref: str, alt: str, fetch: Callable[[str, int, int], NDArray[np.uint8]]
) -> Allele:
    """Write an allele the one way that all its spellings have in common.

    Bases that both alleles share at their ends are cut off, and an insertion or deletion is moved to the left as long
    as the haplotype stays the same, as `bcftools norm` does it (Tan et al., Bioinformatics 31:2202, 2015), without the
    base that VCF writes in front.

    Args:
        chrom: the genome's record.
        start: 0-based, of REF.
        ref, alt: bases.
        fetch: `Genome.fetch`.

    Returns:
        The allele; both parts are empty where ALT equals REF.

    Example:

    >>> genome = to_ids("GGCACACATT")
    >>> fetch = lambda chrom, start, end: genome[start:end]
    >>> normal_form("chr1", 4, "CAC", "C", fetch) == normal_form("chr1", 1, "GCA", "G", fetch)
    True
    """
    one, other = to_ids(ref).tobytes(), to_ids(alt).tobytes()
    shared = _shared_start(one[::-1], other[::-1])
    one, other = one[: len(one) - shared], other[: len(other) - shared]
    shared = _shared_start(one, other)
    one, other = one[shared:], other[shared:]
    start += shared
    if bool(one) == bool(other):
        return Allele(chrom, start, one, other)
    moved = _places_to_the_left(chrom, start, one or other, fetch)
    turn = -moved % len(one or other)
    one, other = one[turn:] + one[:turn], other[turn:] + other[:turn]
    return Allele(chrom, start - moved, one, other)


def _shared_start(one: bytes, other: bytes) -> int:
    """How many bytes are the same from the start."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (here, there) in pairs if here != there), min(len(one), len(other)))


def _places_to_the_left(
    chrom: str, start: int, bases: bytes, fetch: Callable[[str, int, int], NDArray[np.uint8]]
) -> int:
    """How far inserted or deleted bases can move: as long as the genome repeats them."""
    moved = 0
    pattern = np.frombuffer(bases, dtype=np.uint8)[::-1]
    while start - moved > 0:
        end = start - moved
        before = fetch(chrom, max(end - _SHIFT_CHUNK, 0), end)[::-1]
        different = before != pattern[(moved + np.arange(len(before))) % len(pattern)]
        if different.any():
            return moved + int(different.argmax())
        moved += len(before)
    return moved


def annotated_header(
    vcf: VcfFile,
    fields: Sequence[InfoField],
    prefix: str,
    source: str,
    contigs: Mapping[str, int | None] | None = None,
) -> list[bytes]:
    """The header of an annotated copy: the original's, with contigs and `fields` declared before its last line.

    BCF can hold no record of a contig that the header lacks; so those that records name are declared.

    Args:
        vcf: the original.
        fields: what is added.
        prefix: of the names of all fields that are ours: declarations of an earlier annotation are dropped by it.
        source: `key=value` that says what made it; must not change from run to run.
        contigs: that records name, as they spell them, and their lengths in bases where those are known. Those that the
            header declares stay as they are; a name that a header cannot hold, such as one with a comma, is left out.

    Returns:
        Lines without ends.
    """
    key = source.partition("=")[0]
    ours = (f"##INFO=<ID={prefix}".encode(), f"##{key}=".encode())
    kept = [line for line in vcf.meta if not line.startswith(ours)]
    if not (kept and kept[0].startswith(_FILE_FORMAT)):
        kept.insert(0, b"##fileformat=VCFv4.2")
    missing = [
        f"##contig=<ID={name}>" if length is None else f"##contig=<ID={name},length={length}>"
        for name, length in (contigs or {}).items()
        if name not in vcf.contigs and not _NOT_IN_CONTIG_ID.search(name)
    ]
    added = [*missing, *(one.header_line() for one in fields), f"##{source}"]
    return [*kept, *(one.encode() for one in added), vcf.columns]


def annotated_line(text: bytes, values: Mapping[str, str | None], prefix: str) -> bytes:
    """A record's line with values added to its INFO; all else stays as it is, byte for byte.

    Args:
        text: the line without its end.
        values: text by name of field; None leaves it out.
        prefix: of the names of all fields that are ours: those of an earlier annotation are dropped by it.

    Returns:
        The line without its end.

    Example:

    >>> annotated_line(b"1\\t5\\t.\\tA\\tC\\t.\\t.\\tDP=3;OUR_X=1\\tGT\\t0/1", {"OUR_Y": "2"}, "OUR_")
    b'1\\t5\\t.\\tA\\tC\\t.\\t.\\tDP=3;OUR_Y=2\\tGT\\t0/1'
    """
    parts = text.split(b"\t", len(COLUMNS))
    old = [one for one in parts[7].split(b";") if one not in (b"", b".") and not one.startswith(prefix.encode())]
    new = [f"{name}={value}".encode() for name, value in values.items() if value is not None]
    parts[7] = b";".join([*old, *new]) or b"."
    return b"\t".join(parts)


class VcfWriter:
    """Writes lines, packed in the blocks of bgzip if asked for. No time goes in: equal lines make equal bytes.

    The blocks (BGZF, section 4.1 of the SAM specification) are made here, since htslib tells of a full disk by a line
    of its own on standard error and an error that does not say so.

    Args:
        path: the file; an existing one is overwritten.
        bgzip: pack, as `tabix` and `bcftools index` need it.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "calls.vcf.gz")
    >>> with VcfWriter(path, bgzip=True) as writer:
    ...     writer.write([b"##fileformat=VCFv4.2", "\\t".join(COLUMNS).encode()])
    >>> with open_vcf(path) as vcf:
    ...     vcf.meta, list(vcf)
    ([b'##fileformat=VCFv4.2'], [])
    """

    def __init__(self, path: str | os.PathLike[str], *, bgzip: bool) -> None:
        self._stream = open(path, "wb")  # noqa: SIM115 (closed by the context manager)
        self._bgzip = bgzip
        self._waiting = bytearray()

    def write(self, lines: Iterable[bytes]) -> None:
        """Write lines, given without their ends."""
        for line in lines:
            self._waiting += line + b"\n"
            while len(self._waiting) >= _BGZF_BLOCK:
                self._flush(_BGZF_BLOCK)

    def _flush(self, size: int) -> None:
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        self._stream.write(_bgzf_block(data) if self._bgzip else data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stream:
            if kind is None:
                if self._waiting:
                    self._flush(len(self._waiting))
                if self._bgzip:
                    self._stream.write(_BGZF_END)


def _bgzf_block(data: bytes) -> bytes:
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(data) + deflate.flush()
    size = len(_BGZF_START) + 2 + len(packed) + 8
    return _BGZF_START + struct.pack("<H", size - 1) + packed + struct.pack("<II", zlib.crc32(data), len(data))
