# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Regions of a genome: BED files, whole records, and the names of records where two files spell them differently."""

import os
import re
from collections.abc import Iterator
from typing import IO, NamedTuple

from vqdna_hf.data.fasta import open_binary
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.genome_files import label_of, spooled

AUTO = "auto"
STRANDS_OF_BED = ("+", "-", ".")

_CHROMOSOME = re.compile(r"chr(?:omosome)?_?(?=.)", re.IGNORECASE)
_MITOCHONDRION = {"M", "MT", "Mt", "Mito", "MtDNA", "mitochondrion"}
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_WHOLE = re.compile(r"[0-9]{1,18}")


class Region(NamedTuple):
    """A part of a record. Positions count from 0, the end is not included.

    Attributes:
        chrom: the record's name in the genome.
        start, end: of the part, in bases.
        name: what to call it in output; need not be unique.
        strand: `+`, `-`, or `.` where it has none.

    Example:

    >>> Region("chr1", 10, 25, "peak1", "+").length
    15
    """

    chrom: str
    start: int
    end: int
    name: str
    strand: str

    @property
    def length(self) -> int:
        """The number of bases."""
        return self.end - self.start


class Renamer:
    """Translates names of records, as another file (BED, VCF) has them, to the genome's.

    Args:
        genome: whose names are wanted.
        rename: `None`: names must be equal. `"auto"`: `chr1`, `Chr1`, `chromosome_1` and `1` are the same, so are
            M, MT and Mito with or without such a start. Else the path of a table of two columns, the other file's
            name and the genome's; names that are not in it must be equal.

    Raises:
        ValueError: the table cannot be read, a line has not two columns, gives a name twice, or names a record
            that the genome lacks; the message names its line.

    Example:

    >>> genome = Genome.from_sequences(["I", "II", "Mito"], ["ACGT", "ACGT", "AC"])
    >>> renamer = Renamer(genome, "auto")
    >>> [renamer(name, "a.bed, line 1") for name in ("I", "chrII", "chrM")]
    ['I', 'II', 'Mito']
    >>> Renamer(genome)("chrI", "a.bed, line 1")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: a.bed, line 1: <memory> has no record 'chrI', it has 'I', 'II', 'Mito'; '--rename auto' would ...
    """

    def __init__(self, genome: Genome, rename: str | os.PathLike[str] | None = None) -> None:
        self._path = genome.path
        self._names = genome.names
        self._found = {name: name for name in genome.names}
        self._alike: dict[str, list[str]] = {}
        for name in genome.names:
            self._alike.setdefault(_core(name), []).append(name)
        self._auto = rename == AUTO
        if rename is not None and not self._auto:
            self._found |= _read_table(os.fspath(rename), self._found, genome.path)

    def __call__(self, name: str, where: str) -> str:
        """The genome's name for a name of the other file.

        Args:
            name: as the other file has it.
            where: file and line, for the error.

        Raises:
            ValueError: the genome has no such record. The message shows names that it has and, where that would
                help, offers `--rename auto`.
        """
        found = self.find(name)
        if found is None:
            raise ValueError(f"{where}: {self.explain(name)}")
        return found

    def find(self, name: str) -> str | None:
        """The genome's name for a name of the other file, or `None`."""
        found = self._found.get(name)
        if found is None and self._auto:
            found = self._only_alike(name)
            if found is not None:
                self._found[name] = found
        return found

    def explain(self, name: str) -> str:
        """Say that the genome has no such record, what it has, and the way out."""
        shown = ", ".join(map(repr, self._names[:3]))
        if len(self._names) > 3:
            shown += f" and {len(self._names) - 3} more"
        text = f"{self._path} has no record {_short(name)}, it has {shown}"
        alike = self._alike.get(_core(name), [])
        if self._auto and len(alike) > 1:
            return f"{text}; {' and '.join(map(repr, alike))} both could be meant: give a table with '--rename FILE'"
        if len(alike) == 1:
            return f"{text}; '--rename {AUTO}' would read it as {alike[0]!r}"
        return f"{text}; is this the right genome? A table of names can be given with '--rename FILE'"

    def _only_alike(self, name: str) -> str | None:
        alike = self._alike.get(_core(name), [])
        return alike[0] if len(alike) == 1 else None


def whole_number(text: str) -> int | None:
    """The number that up to 18 digits 0 to 9 stand for, with blanks around or not; None for all else.

    `str.isdigit` and `str.isdecimal` let through what `int` refuses: a superscript, five thousand digits.

    Example:

    >>> whole_number(" 12"), whole_number("-1"), whole_number("\u00b2"), whole_number("9" * 19)
    (12, None, None, None)
    """
    return int(text) if _WHOLE.fullmatch(text.strip()) else None


def whole_records(genome: Genome) -> list[Region]:
    """Each record of a genome as one region, in the file's order.

    Args:
        genome: an open genome.

    Returns:
        Regions named as their records, without a strand.

    Example:

    >>> whole_records(Genome.from_sequences(["a", "b"], ["ACGT", "AC"]))[1]
    Region(chrom='b', start=0, end=2, name='b', strand='.')
    """
    return [Region(name, 0, length, name, ".") for name, length in genome.lengths.items()]


def read_bed(
    path: str | os.PathLike[str], genome: Genome, rename: str | os.PathLike[str] | None = None
) -> list[Region]:
    """Read the regions of a BED file and check each against the genome.

    Three columns or more, parted by tabs or else by blanks; lines that are empty, or start with `#`, `track` or
    `browser` are passed over. Of the columns, the first three, the fourth (name) and the sixth (strand) are used:
    the blocks of BED12 are not. A region without a name is called `chrom:start-end`.

    Args:
        path: the file, plain or gzip, or `-` for standard input.
        genome: an open genome.
        rename: see `Renamer`.

    Returns:
        Regions in the file's order, with the genome's names.

    Raises:
        ValueError: the file cannot be read or has no region; or, with its line: too few columns, a start or end that
            is no whole number, a negative start, a region without bases, one that ends behind its record's end, a
            strand other than + - . or an unknown record.

    Example:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "r.bed")
    >>> with open(path, "w") as file:
    ...     _ = file.write("track name=x\\nchr1\\t0\\t3\\tfirst\\t0\\t-\\nchr1 2 9\\n")
    >>> read_bed(path, Genome.from_sequences(["chr1"], ["ACGTACGTAC"]))  # doctest: +NORMALIZE_WHITESPACE
    [Region(chrom='chr1', start=0, end=3, name='first', strand='-'),
     Region(chrom='chr1', start=2, end=9, name='chr1:2-9', strand='.')]
    >>> read_bed(path, Genome.from_sequences(["chr1"], ["ACGT"]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: ...r.bed, line 3: 2..9 ends behind the end of 'chr1' (4 bases): ...
    """
    renamer = Renamer(genome, rename)
    regions: list[Region] = []
    label = label_of(os.fspath(path))
    with spooled(os.fspath(path)) as file, open_binary(file) as stream:
        for where, line in _lines(stream, label):
            columns = line.split("\t")
            if len(columns) < 3:
                columns = line.split()
            if line.split(maxsplit=1)[0] not in ("track", "browser"):
                regions.append(_region(columns, renamer, genome, where))
    if not regions:
        raise ValueError(f"{label}: the file has no region: a line has chrom, start and end, parted by tabs")
    return regions


def _region(columns: list[str], renamer: Renamer, genome: Genome, where: str) -> Region:
    if len(columns) < 3:
        raise ValueError(
            f"{where}: {len(columns)} column{'s' * (len(columns) > 1)}, a line of BED has at least 3: "
            "chrom, start and end, parted by tabs"
        )
    start, end = _integer(columns[1], "start", where), _integer(columns[2], "end", where)
    chrom = renamer(columns[0].strip(), where)
    if start < 0:
        raise ValueError(f"{where}: the start {start} is negative: BED counts from 0")
    if start >= end:
        raise ValueError(f"{where}: {start}..{end} holds no base: the end is not included, so it must exceed the start")
    if end > genome.lengths[chrom]:
        raise ValueError(
            f"{where}: {start}..{end} ends behind the end of {chrom!r} ({genome.lengths[chrom]} bases): "
            f"cut the region, or use the genome that it was made for"
        )
    strand = columns[5].strip() if len(columns) > 5 else "."
    if strand not in STRANDS_OF_BED:
        raise ValueError(f"{where}: the strand {_short(strand)} (column 6) is none of + - .")
    name = columns[3].strip() if len(columns) > 3 else ""
    return Region(chrom, start, end, name if name not in ("", ".") else f"{chrom}:{start}-{end}", strand)


def _integer(text: str, what: str, where: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError(
            f"{where}: the {what} {_short(text)} is not a whole number: columns are chrom, start, end "
            "(put a '#' before a line of headings)"
        )
    return int(text)


def _lines(stream: IO[bytes], label: str) -> Iterator[tuple[str, str]]:
    """(file and line number, text) of each line that is neither empty nor a comment."""
    for number, raw in enumerate(stream, start=1):
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line.strip() and not line.startswith("#"):
            yield f"{label}, line {number}", line


def _core(name: str) -> str:
    """What stays of a name when its spelling is set aside."""
    rest = _CHROMOSOME.sub("", name, count=1) if _CHROMOSOME.match(name) else name
    return "MT" if rest in _MITOCHONDRION else rest


def _short(text: str) -> str:
    """Quote a piece of a file in an error, whatever the file is."""
    return repr(text if len(text) <= 60 else text[:60] + "...")


def _read_table(path: str, known: dict[str, str], genome: str) -> dict[str, str]:
    """The other file's names and the genome's."""
    table: dict[str, str] = {}
    label = label_of(path)
    with spooled(path) as file, open_binary(file) as stream:
        for where, line in _lines(stream, label):
            columns = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
            if len(columns) != 2 or not all(columns):
                raise ValueError(f"{where}: a table of names has 2 columns, theirs and the genome's: {_short(line)}")
            theirs, ours = columns
            if ours not in known:
                raise ValueError(f"{where}: {genome} has no record {_short(ours)} (column 2 has the genome's names)")
            if table.setdefault(theirs, ours) != ours:
                raise ValueError(f"{where}: {_short(theirs)} was given as {table[theirs]!r} before: keep one line")
    if not table:
        raise ValueError(f"{label}: the table of names is empty")
    return table
