# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""FASTA in, nucleotide ids out: plain or gzip, a few hundred million bases a second, no silent repair.

The alphabet policy is the project's (see `vqdna_hf.model.tokenization_vqdna`): case is ignored, U is T, IUPAC
ambiguity codes are N, and anything else is an error that names the file, the record and the position.
"""

import glob
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID, IUPAC_LETTERS, UNK_ID, VOCABULARY

FASTA_SUFFIXES = (".fa", ".fasta", ".fna", ".fas")

_GZIP_MAGIC = b"\x1f\x8b"
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_COMPRESSIONS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
}
_BLOCK_BYTES = 1 << 23
_UNK_BYTE = bytes([UNK_ID])
_LOWER_CASE_BIT = 0x20
_ID_TO_BYTE = bytes(ord(token) if len(token) == 1 else ord("?") for token in VOCABULARY).ljust(256, b"?")


@dataclass(frozen=True, eq=False)
class FastaRecord:
    """One sequence as nucleotide ids.

    Args:
        name: the first word of the header.
        description: the whole header line without `>`.
        ids: (bases,) uint8 nucleotide ids (A 5, C 6, G 7, T 8, N 9), no special tokens; read-only.
        path: the file it came from.
        soft_mask: (bases,) bool, True where the letter was lower case; `None` unless asked for.

    Example:

    >>> FastaRecord("chr1", "chr1 a test", encode_sequence("ACGT", where="here"), "x.fa").bases
    4
    """

    name: str
    description: str
    ids: NDArray[np.uint8] = field(repr=False)
    path: str
    soft_mask: NDArray[np.bool_] | None = field(default=None, repr=False)

    @property
    def bases(self) -> int:
        """The number of bases."""
        return len(self.ids)


def decode_ids(ids: NDArray[np.uint8] | Sequence[int]) -> str:
    """Write nucleotide ids as letters; special tokens become `?`.

    Args:
        ids: (bases,) nucleotide ids.

    Returns:
        Upper-case text of the same length.

    Example:

    >>> decode_ids([5, 6, 7, 8, 9])
    'ACGTN'
    """
    return np.asarray(ids, dtype=np.uint8).tobytes().translate(_ID_TO_BYTE).decode("ascii")


def encode_sequence(text: str, *, where: str) -> NDArray[np.uint8]:
    """Turn one sequence into nucleotide ids, or say exactly where it breaks the alphabet policy.

    Nothing is stripped or repaired: a blank at the end is an error as much as a digit in the middle.

    Args:
        text: the letters.
        where: what to call this sequence in an error, e.g. `"train.csv, row 12"`.

    Returns:
        (len(text),) uint8 ids without special tokens.

    Raises:
        ValueError: the text is no string, is empty, or has a character that is no nucleotide.

    Example:

    >>> encode_sequence("acgURn", where="a test").tolist()
    [5, 6, 7, 8, 9, 9]
    >>> encode_sequence("AC-GT", where="train.csv, row 12")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: train.csv, row 12: '-' at position 2 (0-based) is not a nucleotide: ...
    """
    if not isinstance(text, str):
        raise ValueError(f"{where}: expected a string of nucleotides, got {type(text).__name__} {text!r}")
    if not text:
        raise ValueError(f"{where}: the sequence is empty: remove it or fill it in")
    # latin-1 with "replace" keeps one byte a character, so that positions in bytes are positions in the text.
    ids = text.encode("latin-1", "replace").translate(BYTE_TO_ID)
    position = ids.find(_UNK_BYTE)
    if position >= 0:
        raise ValueError(illegal_letter(where, text[position], position))
    return np.frombuffer(ids, dtype=np.uint8)


def read_fasta(path: str | os.PathLike[str], *, soft_mask: bool = False) -> Iterator[FastaRecord]:
    """Read the records of a FASTA file one after the other.

    Gzip is recognised by its first bytes, not by the file's name. Windows line ends, blank lines, lower case,
    U and IUPAC letters are fine. Memory is that of the longest record.

    Args:
        path: the file.
        soft_mask: also keep which letters were lower case (repeats, by the usual convention).

    Yields:
        `FastaRecord`, in the file's order.

    Raises:
        ValueError: no such file, a folder, nothing in it, a FASTQ file, text before the first header, a
            record without a name or without bases, two records of one name, a character that is no
            nucleotide, or a broken gzip. Raised while iterating, when the place is reached.

    Example:

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "two.fa")
    >>> with open(path, "w") as file:
    ...     _ = file.write(">chr1 first\\nACGT\\nnn\\n>chr2\\nUUR\\n")
    >>> [(record.name, record.ids.tolist()) for record in read_fasta(path)]
    [('chr1', [5, 6, 7, 8, 9, 9]), ('chr2', [8, 8, 9])]
    """
    path = os.fspath(path)
    seen: set[str] = set()
    with open_binary(path) as stream:
        for number, raw in enumerate(_raw_records(stream, path), start=1):
            record = _parse_record(raw, path, number, soft_mask)
            if record.name in seen:
                raise ValueError(
                    f"{path}: two records are named {record.name!r} (the second is record {number}): "
                    "rename one, names must be unique within a file"
                )
            seen.add(record.name)
            yield record
    if not seen:
        raise ValueError(f"{path}: the file has no FASTA record: it should start with '>name'")


def find_fasta(paths: Sequence[str] | str) -> list[str]:
    """List the FASTA files meant by files, folders (searched recursively) and glob patterns.

    Args:
        paths: each is a file (any name), a folder (its `.fa .fasta .fna .fas` files, with or without `.gz`),
            or a glob pattern (`**` goes through folders).

    Returns:
        Sorted paths; a file reached twice (by a link as well) is listed once.

    Raises:
        ValueError: one of `paths` matches nothing.

    Example:

    >>> import tempfile, os
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("b.fa", "a.fna.gz", "notes.txt"):
    ...     open(os.path.join(folder, name), "w").close()
    >>> [os.path.basename(path) for path in find_fasta([folder, folder + "/*.fa"])]
    ['a.fna.gz', 'b.fa']
    """
    suffixes = tuple(suffix + end for suffix in FASTA_SUFFIXES for end in ("", ".gz"))
    return find_files(paths, suffixes, kind="FASTA")


def find_files(paths: Sequence[str] | str, suffixes: tuple[str, ...], *, kind: str) -> list[str]:
    """List the files meant by files, folders and glob patterns: `find_fasta` for any suffixes.

    Args:
        paths: files, folders or glob patterns.
        suffixes: lower-case endings looked for in folders (case is ignored).
        kind: what the files are called in an error.

    Returns:
        Sorted paths without duplicates.

    Raises:
        ValueError: one of `paths` matches nothing, or `paths` is empty.
    """
    paths = [os.fspath(paths)] if isinstance(paths, str | os.PathLike) else [os.fspath(path) for path in paths]
    if not paths:
        raise ValueError(f"no {kind} path was given: name at least one file, folder or pattern")
    found: list[str] = []
    for path in paths:
        matches = [path] if os.path.exists(path) else sorted(glob.glob(path, recursive=True))
        files = [file for match in matches for file in _files_under(match, suffixes)]
        if not files:
            if os.path.isdir(path):
                raise ValueError(f"{path}: no {kind} file in this folder (looked for {' '.join(suffixes)})")
            raise ValueError(f"{path}: no such {kind} file, folder or pattern (in {os.getcwd()})")
        found.extend(files)
    unique: dict[str, str] = {}
    for file in sorted(found):
        unique.setdefault(os.path.realpath(file), file)
    return sorted(unique.values())


@contextmanager
def open_binary(path: str) -> Iterator[IO[bytes]]:
    """Open a plain or gzip file for reading bytes; failures of the file or the gzip become `ValueError`.

    Args:
        path: the file; gzip is recognised by its first two bytes.

    Yields:
        A binary stream positioned after a UTF-8 byte order mark, if there is one.

    Raises:
        ValueError: no such file, a folder, unreadable, empty, a compression other than gzip, or a broken
            gzip.
    """
    if os.path.isdir(path):
        raise ValueError(f"{path}: is a folder, a file was expected")
    try:
        with open(path, "rb") as raw:
            magic = raw.read(6)
            raw.seek(0)
            for start, name in _OTHER_COMPRESSIONS.items():
                if magic.startswith(start):
                    raise ValueError(f"{path}: is compressed with {name}: unpack it, or pack it with gzip")
            if not magic:
                raise ValueError(f"{path}: the file is empty")
            if magic.startswith(_GZIP_MAGIC):
                _check_bgzip_end(raw, path)
                with gzip.open(raw) as unpacked:
                    yield _after_mark(cast(IO[bytes], unpacked), path)
            else:
                yield _after_mark(raw, path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file (in {os.getcwd()})") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: the gzip data is cut short or damaged ({error}): copy the file again") from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def _check_bgzip_end(raw: IO[bytes], path: str) -> None:
    """A bgzip file that was cut between two blocks unpacks without a fault; only its missing end mark tells."""
    start = raw.read(16)
    if start[:4] == _BGZIP_END[:4] and start[12:] == _BGZIP_END[12:16]:
        raw.seek(max(os.fstat(raw.fileno()).st_size - len(_BGZIP_END), 0))
        if raw.read() != _BGZIP_END:
            how = "the mark that ends a bgzip file is missing"
            raise ValueError(f"{path}: the gzip data is cut short or damaged ({how}): copy the file again")
    raw.seek(0)


def _after_mark(stream: IO[bytes], path: str) -> IO[bytes]:
    start = stream.read(len(_UTF8_BOM))
    if not start:
        raise ValueError(f"{path}: the file is empty")
    if start != _UTF8_BOM:
        stream.seek(0)
    return stream


def _files_under(path: str, suffixes: tuple[str, ...]) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    return [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith(".")
    ]


def _raw_records(stream: IO[bytes], path: str) -> Iterator[bytes]:
    """Cut a stream at each line that starts with `>`; yields header, line feed, sequence lines."""
    parts: list[bytes] | None = None
    started = False
    # A block is always extended to the end of its line, so that it starts at the start of a line.
    while block := stream.read(_BLOCK_BYTES) + stream.readline():
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if not started:
            block = block.lstrip(b"\n")
            if not block:
                continue
            check_first_line(block, path)
            started = True
        head, *rest = (b"\n" + block).split(b"\n>") if b">" in block else (b"\n" + block,)
        if parts is not None:  # else the block starts with the first header, and nothing stands before it
            parts.append(head)
        for piece in rest:
            if parts is not None:
                yield b"".join(parts)
            parts = [piece]
    if parts is not None:
        yield b"".join(parts)


def check_first_line(block: bytes, path: str) -> None:
    """Raise `ValueError` where a file does not begin as FASTA does."""
    if block.startswith(b">"):
        return
    line = block[:60].split(b"\n")[0].decode("utf-8", "replace")
    if block.startswith(b"@"):
        raise ValueError(
            f"{path}: starts with '@' ({line!r}), so this is FASTQ (reads with qualities): convert it to FASTA first"
        )
    raise ValueError(f"{path}: text before the first '>': {line!r}: a FASTA file starts with a line '>name'")


def _parse_record(raw: bytes, path: str, number: int, soft_mask: bool) -> FastaRecord:
    header, _, body = raw.partition(b"\n")
    description = header.decode("utf-8", "replace").strip()
    if not description:
        raise ValueError(f"{path}: record {number} has no name: write one after its '>'")
    name = description.split()[0]
    ids = body.translate(BYTE_TO_ID, b"\n")
    if not ids:
        raise ValueError(f"{path}, record {name!r}: has no bases: remove the record or add its sequence")
    position = ids.find(_UNK_BYTE)
    if position >= 0:
        letter = body.translate(None, b"\n")[position : position + 4].decode("utf-8", "replace")[0]
        raise ValueError(illegal_letter(f"{path}, record {name!r}", letter, position))
    lower = None
    if soft_mask:
        letters = np.frombuffer(body.translate(None, b"\n"), dtype=np.uint8)
        lower = (letters & _LOWER_CASE_BIT).astype(bool)
    return FastaRecord(name, description, np.frombuffer(ids, dtype=np.uint8), path, lower)


def illegal_letter(where: str, letter: str, position: int) -> str:
    """Compose the one message of the alphabet policy: where, what, and the way out."""
    if letter.isspace():
        way_out = "remove white space inside the sequence"
    elif letter in "-.~":
        way_out = "a gap: remove the gaps of the alignment first"
    elif letter.isascii() and (letter.isalpha() or letter == "*"):
        way_out = "is this a protein sequence? Only nucleotides can be read"
    elif letter == ">":
        way_out = "a header must start on a line of its own"
    else:
        way_out = "remove it, or write N where the base is unknown"
    return (
        f"{where}: {letter!r} at position {position} (0-based) is not a nucleotide: {way_out} "
        f"(allowed, in any case: {IUPAC_LETTERS})"
    )
