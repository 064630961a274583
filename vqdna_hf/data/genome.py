# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Any stretch of any FASTA file at once, in memory that does not grow with the genome."""

import operator
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data.fasta import decode_ids, encode_sequence, illegal_letter
from vqdna_hf.data.genome_files import InMemory, InPlace, Letters, label_of, named_twice, open_letters
from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID, UNK_ID

_CHECK_BASES = 1 << 20
_UNK_BYTE = bytes([UNK_ID])
_LOWER_CASE_BIT = 0x20
_IS_LOWER = bytes(UNK_ID if id_ == UNK_ID else 2 * bool(byte & _LOWER_CASE_BIT) for byte, id_ in enumerate(BYTE_TO_ID))
"""For `bytes.translate`: 0 for an upper-case letter, 2 for a lower-case one, `UNK_ID` (1) for no nucleotide."""


class Genome:
    """A FASTA file of any size as named sequences, of which any part can be had at once.

    Made by `Genome.open` or `Genome.from_sequences`. Close it, or use it in `with`: a temporary copy, where one had
    to be made, goes away then, and in any case when the process ends. Positions count from 0, ends are not included.
    Letters follow the alphabet policy: case is ignored, U is T, IUPAC codes are N. Not for several threads at once.

    Attributes:
        path: the file as it was named; `<stdin>` for standard input.
        names: of the records, in the file's order.
        lengths: bases of each record by name, in the file's order.

    Example:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "two.fa")
    >>> with open(path, "w") as file:
    ...     _ = file.write(">chr1 first\\nACGT\\nnn\\n>chr2\\nUUR\\n")
    >>> with Genome.open(path) as genome:
    ...     print(genome.lengths, genome.bases, decode_ids(genome.fetch("chr1", 2, 6)))
    {'chr1': 6, 'chr2': 3} 9 GTNN
    """

    def __init__(self, path: str, lengths: dict[str, int], letters: Letters) -> None:
        self.path = path
        self.names = list(lengths)
        self.lengths = lengths
        self._letters: Letters | None = letters

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Genome":
        """Open a FASTA file: plain, gzip or bgzip, with an index or without.

        An index beside the file (`.fai`, for bgzip also `.gzi`) saves the first reading; it is used if it is no
        older than the file and fits it. In a file so opened an illegal letter is found when it is fetched, or by
        `check`. Without an index the whole file is read and checked now. Nothing is written beside it, but unless it is
        plain FASTA with even Unix lines, a temporary copy of one byte a base is made (`TMPDIR` says where).

        Args:
            path: the file, a pipe, or `-` for standard input.

        Raises:
            ValueError: no such file, no FASTA, an illegal letter, an empty record, a name twice, a broken or
                truncated gzip, all as `read_fasta` says it; or no room for a temporary copy.

        Example:

        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "one.fa")
        >>> with open(path, "w") as file:
        ...     _ = file.write(">chr1\\nACGT\\n>chr1\\nAC\\n")
        >>> Genome.open(path)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: ...one.fa: two records are named 'chr1' (the second is record 2): rename one, ...
        """
        path = os.fspath(path)
        return cls(label_of(path), *open_letters(path))

    @classmethod
    def from_sequences(
        cls, names: Sequence[str], sequences: Sequence[str | NDArray[np.uint8]], path: str = "<memory>"
    ) -> "Genome":
        """Make a genome of sequences that are at hand, for tests and for tables of sequences.

        Args:
            names: one a sequence, all different.
            sequences: each is text, or (bases,) uint8 nucleotide ids.
            path: what the genome is called in errors.

        Raises:
            ValueError: the numbers differ, a name stands twice, a sequence is empty or has an illegal letter.

        Example:

        >>> genome = Genome.from_sequences(["a", "b"], ["ACgt", encode_sequence("NN", where="b")])
        >>> genome.fetch("a", 1, 3).tolist(), genome.soft_mask("a", 1, 3).tolist(), genome.lengths
        ([6, 7], [False, True], {'a': 4, 'b': 2})
        """
        if len(names) != len(sequences):
            raise ValueError(f"{path}: {len(names)} names for {len(sequences)} sequences")
        letters: dict[str, bytes] = {}
        for number, (name, sequence) in enumerate(zip(names, sequences, strict=True), start=1):
            if name in letters:
                raise ValueError(named_twice(path, name, number))
            text = sequence if isinstance(sequence, str) else decode_ids(sequence)
            encode_sequence(text, where=f"{path}, record {name!r}")
            letters[name] = text.encode("ascii")
        return cls(path, {name: len(text) for name, text in letters.items()}, InMemory(letters))

    @property
    def bases(self) -> int:
        """The number of bases of all records together."""
        return sum(self.lengths.values())

    def fetch(self, name: str, start: int, end: int) -> NDArray[np.uint8]:
        """Nucleotide ids of a part of a record.

        Args:
            name: the record.
            start: of the part, counted from 0.
            end: of the part, not included.

        Returns:
            (end - start,) uint8 ids (A 5, C 6, G 7, T 8, N 9), read-only.

        Raises:
            ValueError: no such record, a part that reaches over its ends, a letter that is no nucleotide, a file
                that its index does not fit or that is damaged, a genome that was closed.

        Example:

        >>> genome = Genome.from_sequences(["a"], ["ACGTN"])
        >>> genome.fetch("a", 0, 5).tolist()
        [5, 6, 7, 8, 9]
        >>> genome.fetch("a", 3, 6)
        Traceback (most recent call last):
            ...
        ValueError: <memory>, record 'a': 3..6 lies outside its 5 bases (from 0, the end not included)
        """
        return np.frombuffer(self._read(name, start, end, BYTE_TO_ID), dtype=np.uint8)

    def soft_mask(self, name: str, start: int, end: int) -> NDArray[np.bool_]:
        """Which letters of a part of a record are lower case (repeats, by the usual convention).

        Args:
            name: the record.
            start: of the part, counted from 0.
            end: of the part, not included.

        Returns:
            (end - start,) bool.

        Raises:
            ValueError: as `fetch`.

        Example:

        >>> Genome.from_sequences(["a"], ["ACgtN"]).soft_mask("a", 1, 5).tolist()
        [False, True, True, False]
        """
        return np.frombuffer(self._read(name, start, end, _IS_LOWER), dtype=np.uint8) != 0

    def check(self) -> None:
        """Read every base, so that a job of hours does not end at the last record's illegal letter.

        Nothing is left to find in a file that was opened without an index. About half a gigabase a second.

        Raises:
            ValueError: as `fetch`.

        Example:

        >>> Genome.from_sequences(["a"], ["ACGTN"]).check()
        """
        if not isinstance(self._letters, InPlace):
            return
        for name, length in self.lengths.items():
            for start in range(0, length, _CHECK_BASES):
                self._read(name, start, min(start + _CHECK_BASES, length), BYTE_TO_ID)

    def close(self) -> None:
        """Give files back; a temporary copy is gone. May be called twice.

        Example:

        >>> Genome.from_sequences(["a"], ["ACGTN"]).close()
        """
        if self._letters is not None:
            self._letters.close()
        self._letters = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Genome({self.path!r}, {len(self.names)} records, {self.bases} bases)"

    def _read(self, name: str, start: SupportsIndex, end: SupportsIndex, table: bytes) -> bytes:
        start, end = operator.index(start), operator.index(end)
        length = self.lengths.get(name)
        if length is None:
            raise ValueError(f"{self.path}: has no record {name!r}, it has {_some(self.names)}")
        if not 0 <= start <= end <= length:
            raise ValueError(
                f"{self.path}, record {name!r}: {start}..{end} lies outside its {length} bases "
                "(from 0, the end not included)"
            )
        if self._letters is None:
            raise ValueError(f"{self.path}: this genome was closed: open it again")
        values = self._letters.read(name, start, end, table)
        bad = values.find(_UNK_BYTE)
        if bad >= 0:
            at = start + bad
            letters = self._letters.read(name, at, min(at + 4, length), None)
            raise ValueError(illegal_letter(f"{self.path}, record {name!r}", letters.decode("utf-8", "replace")[0], at))
        return values


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
