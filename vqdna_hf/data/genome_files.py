# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Where the letters of a `Genome` come from: a FASTA file in place, a temporary copy of it, or memory.

Plain and bgzip files are read in place through the user's index, where it fits the file; for a plain file without one
htslib makes it in a temporary folder. All else (gzip, bgzip without an index, uneven lines, Windows line ends, standard
input) is unpacked once into an unnamed temporary file of one letter a base. For bgzip that is faster than to make an
index and to unpack again at each fetch (100 Mbp read in windows: 1.0 s against 1.8 s). Files are read with `os.pread`:
a memory map would count as memory of the process.

htslib makes indices and unpacks blocks, but the letters are cut out here, since its own fetch drops blanks and control
characters without a word: here each byte meets the alphabet policy, and a count that differs is an error.
"""

import bisect
import contextlib
import itertools
import logging
import os
import re
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, NamedTuple, NoReturn, Protocol, cast

import pysam

from vqdna_hf.data.fasta import check_first_line, illegal_letter, open_binary
from vqdna_hf.data.jobs import process_place
from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID, UNK_ID

_logger = logging.getLogger(__name__)

_SCAN_BYTES = 1 << 20
_LONGEST_HEADER = 1 << 20
_UNK_BYTE = bytes([UNK_ID])
_BGZIP_BLOCK = 1 << 16  # the most that a block of bgzip unpacks to
_BLOCKS_AHEAD = 15
_MOST_KEPT = 1 << 22
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_FIRST_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?\n*>([^\n]*)\n")
_NEXT_HEADER = re.compile(rb"\n+>([^\n]*)\n")


def label_of(path: str) -> str:
    """What to call an input in messages: `<stdin>` for `-`, else its path."""
    return "<stdin>" if path == "-" else path


@contextlib.contextmanager
def spooled(path: str) -> Iterator[str]:
    """Give a path that can be read twice and from any place: of the file itself, or of a temporary copy.

    Standard input (`-`) and pipes such as `<(zcat x.fa.bz2)` are copied; the copy goes away behind the `with`.

    Args:
        path: any input. Whether it is there is not checked.

    Yields:
        A path; a `ValueError` inside the `with` that names a copy is made to name the input.

    Raises:
        ValueError: there is no room for a copy, or several processes share the work and there is one input.

    Example:

    >>> import io, unittest.mock
    >>> typed = io.TextIOWrapper(io.BytesIO(b"chr1 2 5"))
    >>> with unittest.mock.patch("sys.stdin", typed), spooled("-") as file:
    ...     print(open(file).read())
    chr1 2 5
    """
    if not _must_be_copied(path):
        yield path
        return
    if path == "-" and process_place()[1] > 1:
        raise ValueError("several processes cannot share standard input: give a file")
    with tempfile.TemporaryDirectory(prefix="vqdna-") as folder:
        copy = os.path.join(folder, "input")
        try:
            with contextlib.ExitStack() as stack:
                source = sys.stdin.buffer if path == "-" else stack.enter_context(open(path, "rb"))
                shutil.copyfileobj(source, stack.enter_context(open(copy, "wb")), _SCAN_BYTES)
        except OSError as error:
            _no_room(label_of(path), error)
        try:
            yield copy
        except ValueError as error:
            raise ValueError(str(error).replace(copy, label_of(path))) from error


def open_letters(path: str) -> "tuple[dict[str, int], Letters]":
    """Open a FASTA file in the way that suits it.

    Args:
        path: a file that can be read, or `-`.

    Returns:
        The lengths of its records by name, in the file's order, and the reader of their letters.

    Raises:
        ValueError: as `Genome.open`.
    """
    with spooled(path) as file:
        with open_binary(file):  # says what is wrong with a missing, empty or foreign file
            pass
        if file != path:
            return _unpacked(file)
        gzip = _is_gzip(path)
        in_place = None
        if not gzip or _is_bgzip(path):
            in_place = _with_given_index(path, bgzip=gzip)
        if in_place is None and not gzip:
            in_place = _with_made_index(path)
        return (in_place.lengths, in_place) if in_place is not None else _unpacked(path)


class Letters(Protocol):
    """Where letters come from."""

    def read(self, name: str, start: int, end: int, table: bytes | None) -> bytes:
        """The letters start..end of a record, translated by `table` if there is one; the place must be checked."""

    def close(self) -> None:
        """Give files back."""


class InMemory:
    """Records as letters in memory."""

    def __init__(self, letters: dict[str, bytes]) -> None:
        self._letters = letters

    def read(self, name: str, start: int, end: int, table: bytes | None) -> bytes:
        """See `Letters`."""
        return self._letters[name][start:end].translate(table)

    def close(self) -> None:
        """See `Letters`."""
        self._letters = {}


class Unpacked:
    """Records one after the other in an unnamed temporary file, one letter a base."""

    def __init__(self, file: IO[bytes], lengths: dict[str, int]) -> None:
        self._file = file
        self._descriptor = file.fileno()
        self._offsets = dict(zip(lengths, itertools.accumulate(lengths.values(), initial=0), strict=False))

    def read(self, name: str, start: int, end: int, table: bytes | None) -> bytes:
        """See `Letters`."""
        return _pread(self._descriptor, self._offsets[name] + start, end - start).translate(table)

    def close(self) -> None:
        """See `Letters`."""
        self._file.close()


class _Line(NamedTuple):
    """One line of a `.fai`: where a record's bases stand in the unpacked file."""

    name: str
    length: int
    offset: int
    line_bases: int
    line_bytes: int

    def byte_of(self, base: int) -> int:
        """Where a base stands."""
        return self.offset + base // self.line_bases * self.line_bytes + base % self.line_bases


class InPlace:
    """Records where they stand in a plain or bgzip file, found by the lines of its index."""

    def __init__(self, path: str, source: "_PlainBytes | _BgzipBytes", lines: list[_Line]) -> None:
        self._path = path
        self._source = source
        self._lines = {line.name: line for line in lines}
        self.lengths = {line.name: line.length for line in lines}

    def read(self, name: str, start: int, end: int, table: bytes | None) -> bytes:
        """See `Letters`."""
        if start == end:
            return b""
        line = self._lines[name]
        raw = self._source.read(line.byte_of(start), line.byte_of(end - 1) + 1)
        letters = raw.translate(table, b"\n")
        if len(letters) != end - start:
            raise ValueError(
                f"{self._path}, record {name!r}: line ends are not where the index says, was the file changed since? "
                f"Start again, and if there is {self._path}.fai make it again with 'samtools faidx'"
            )
        return letters

    def close(self) -> None:
        """See `Letters`."""
        self._source.close()


class _PlainBytes:
    """Bytes of a plain file."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._descriptor = self._file.fileno()

    def read(self, start: int, end: int) -> bytes:
        """The bytes start..end; fewer where the file ends."""
        return _pread(self._descriptor, start, end - start)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


class _BgzipBytes:
    """Unpacked bytes of a bgzip file, by the places of its blocks in a `.gzi`.

    The blocks of the last read are kept, because neighbouring windows mostly share them.
    """

    def __init__(self, path: str, gzi: bytes) -> None:
        (count,) = struct.unpack_from("<Q", gzi)
        numbers = struct.unpack(f"<{2 * count}Q", gzi[8:])
        self._path = path
        self._packed = [0, *numbers[0::2]]
        self._unpacked = [0, *numbers[1::2]]
        if not all(0 <= after - before <= _BGZIP_BLOCK for before, after in itertools.pairwise(self._unpacked)):
            raise ValueError("no places of blocks")
        self._end = self._unpacked[-1] + _BGZIP_BLOCK  # or before
        self._file: pysam.BGZFile | None = None
        self._process = -1
        self._start = 0
        self._kept = b""

    def read(self, start: int, end: int) -> bytes:
        """The bytes start..end; fewer where the file ends."""
        end = min(end, self._end)
        if start >= end:
            return b""
        if start < self._start or end > self._start + len(self._kept):
            first = bisect.bisect_right(self._unpacked, start) - 1
            after = bisect.bisect_left(self._unpacked, end)
            if self._start <= start <= self._start + len(self._kept):  # a reader that goes on will go further
                after = min(after + _BLOCKS_AHEAD, len(self._unpacked))
            self._start = self._unpacked[first]
            stop = self._unpacked[after] if after < len(self._unpacked) else self._end
            self._kept = b""
            self._kept = self._blocks(first, stop - self._start)
        data = self._kept[start - self._start : end - self._start]
        if len(self._kept) > _MOST_KEPT:
            self._kept = b""
        return data

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # htslib repeats at the end that a block was damaged
                self._file.close()
        self._file, self._kept = None, b""

    def _blocks(self, first: int, size: int) -> bytes:
        # A fork shares the place in the file with its parent, so each process opens the file for itself.
        if self._process != os.getpid():
            self._file, self._process = pysam.BGZFile(self._path, "rb", None), os.getpid()
        file = cast(pysam.BGZFile, self._file)
        try:
            file.seek(self._packed[first] << 16)
            return file.read(size)
        except OSError as error:
            raise ValueError(_damaged(self._path, "a block of bgzip cannot be unpacked")) from error


def _must_be_copied(path: str) -> bool:
    if path == "-":
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # who opens it says so
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _pread(descriptor: int, start: int, size: int) -> bytes:
    data = os.pread(descriptor, size, start)
    if len(data) == size:
        return data
    parts = [data]
    while data and (size := size - len(data)) > 0:  # one call gives 2 GB at most
        start += len(data)
        data = os.pread(descriptor, size, start)
        parts.append(data)
    return b"".join(parts)


def _is_gzip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == _BGZIP_END[:2]


def _is_bgzip(path: str) -> bool:
    with open(path, "rb") as file:
        start = file.read(16)
        return start[:4] == _BGZIP_END[:4] and start[12:] == _BGZIP_END[12:16]


def _damaged(path: str, how: str) -> str:
    return f"{path}: the gzip data is cut short or damaged ({how}): copy the file again"


def _with_given_index(path: str, bgzip: bool) -> InPlace | None:
    """The file through the index beside it, if that is there, no older, and fits."""
    needed = [path + ".fai", path + ".gzi"] if bgzip else [path + ".fai"]
    if not all(os.path.isfile(index) for index in needed):
        return None
    changed = os.stat(path).st_mtime_ns
    for index in needed:
        if os.stat(index).st_mtime_ns < changed:
            _logger.warning("%s is older than the file that it is for: it is not used", index)
            return None
    in_place = _load(path, needed)
    if in_place is None:
        _logger.warning("%s does not fit the file: it is not used", " or ".join(needed))
    return in_place


def _with_made_index(path: str) -> InPlace | None:
    """A plain file, checked from end to end, through an index made elsewhere; `None` if its lines are uneven."""
    lengths = _scan(path, None)
    with tempfile.TemporaryDirectory(prefix="vqdna-") as folder:
        index = os.path.join(folder, "fai")
        with _silent_htslib(), contextlib.suppress(pysam.SamtoolsError):
            pysam.faidx(os.path.abspath(path), "--fai-idx", index)
        in_place = _load(path, [index]) if os.path.isfile(index) else None
    if in_place is not None and in_place.lengths != lengths:
        in_place.close()
        return None
    return in_place


@contextlib.contextmanager
def _silent_htslib() -> Iterator[None]:
    before = pysam.set_verbosity(0)
    try:
        yield
    finally:
        pysam.set_verbosity(before)


def _load(path: str, indices: list[str]) -> InPlace | None:
    """The file through these indices, or `None` if they do not fit it."""
    source: _PlainBytes | _BgzipBytes | None = None
    try:
        with open(indices[0], encoding="utf-8", errors="replace") as file:
            lines = [_read_index_line(line) for line in file]
        if len(indices) == 1:
            source = _PlainBytes(path)
        else:
            with open(indices[1], "rb") as packed:
                source = _BgzipBytes(path, packed.read())
        with _silent_htslib():
            _check_index(lines, source)
    except (ValueError, struct.error, OSError, OverflowError):
        if source is not None:
            source.close()
        return None
    return InPlace(path, source, lines)


def _read_index_line(text: str) -> _Line:
    name, *numbers = text.rstrip("\n").split("\t")
    if len(numbers) != 4:
        raise ValueError("not five columns (FASTQ has six)")
    line = _Line(name, *map(int, numbers))
    if not name or min(line.length, line.line_bases, line.offset) < 1:
        raise ValueError("a record without a name or bases")
    if line.length > line.line_bases and line.line_bytes - line.line_bases != 1:
        # Where line ends are CRLF, htslib also takes a line that has a base more and LF, and is wrong behind it.
        raise ValueError("line ends of another length")
    return line


def _check_index(lines: list[_Line], source: "_PlainBytes | _BgzipBytes") -> None:
    """Between the end of each record and the start of the next there must be that one's header and nothing else."""
    if not lines or len({line.name for line in lines}) < len(lines):
        raise ValueError("no records, or a name twice")
    end = 0
    for line in lines:
        if not 0 < line.offset - end < _LONGEST_HEADER:
            raise ValueError("a header of impossible length")
        between = source.read(end, line.offset).replace(b"\r\n", b"\n")
        match = (_NEXT_HEADER if end else _FIRST_HEADER).fullmatch(between)
        if match is None or _name_in(match.group(1)) != line.name:
            raise ValueError("no header, or another one")
        end = line.offset + line.line_bases
        if line.length > line.line_bases and source.read(end, end + 1) != b"\n":
            raise ValueError("the first line ends elsewhere")
        end = line.byte_of(line.length - 1) + 1
    after = source.read(end, end + _LONGEST_HEADER).replace(b"\r\n", b"\n")
    if after.strip(b"\n") or not source.read(end - 1, end):
        raise ValueError("the file ends elsewhere")


def _unpacked(path: str) -> tuple[dict[str, int], Unpacked]:
    file = tempfile.TemporaryFile(prefix="vqdna-")  # noqa: SIM115 - closed by the genome
    try:
        lengths = _scan(path, file)
        return lengths, Unpacked(file, lengths)
    except BaseException:
        with contextlib.suppress(OSError):  # what could not be written is tried again
            file.close()
        raise


def _scan(path: str, sink: IO[bytes] | None) -> dict[str, int]:
    """Check a whole file in bounded memory; its records' lengths. Letters go to `sink`, one byte a base."""
    lengths: dict[str, int] = {}
    name = None
    with open_binary(path) as stream:
        for is_header, piece in _pieces(stream, path):
            if is_header:
                _check_not_empty(path, lengths, name)
                name = _name_in(piece)
                if not name:
                    raise ValueError(f"{path}: record {len(lengths) + 1} has no name: write one after its '>'")
                if name in lengths:
                    raise ValueError(named_twice(path, name, len(lengths) + 1))
                lengths[name] = 0
                continue
            letters = piece.translate(None, b"\n")
            if not letters:
                continue
            if name is None:
                check_first_line(piece.lstrip(b"\n"), path)
                continue
            bad = letters.translate(BYTE_TO_ID).find(_UNK_BYTE)
            if bad >= 0:
                letter = (letters[bad:] + stream.read(8).translate(None, b"\r\n"))[:4].decode("utf-8", "replace")[0]
                raise ValueError(illegal_letter(f"{path}, record {name!r}", letter, lengths[name] + bad))
            if sink is not None:
                _write(sink, letters, path)
            lengths[name] += len(letters)
    _check_not_empty(path, lengths, name)
    if name is None:
        raise ValueError(f"{path}: the file has no FASTA record: it should start with '>name'")
    if sink is not None:
        _write(sink, b"", path)
    return lengths


def _pieces(stream: IO[bytes], path: str) -> Iterator[tuple[bool, bytes]]:
    """Headers whole, without `>` (True); sequence lines in pieces of at most a block, cut anywhere (False)."""
    rest, header, in_header = b"\n", b"", False
    while True:
        block = stream.read(_SCAN_BYTES)
        data, rest = rest + block, b""
        if block:
            # What could belong together with the next block waits: half a line end, a line feed before a '>'.
            if data.endswith(b"\r"):
                data, rest = data[:-1], b"\r"
            if b"\r" in data:
                data = data.replace(b"\r\n", b"\n")
            if data.endswith(b"\n"):
                data, rest = data[:-1], b"\n" + rest
        has_header = b">" in data  # one letter is found ten times as fast as two
        at = 0
        while at < len(data):
            if in_header:
                end = data.find(b"\n", at)
                header += data[at:] if end < 0 else data[at:end]
                if len(header) > _LONGEST_HEADER:
                    raise ValueError(f"{path}: a header is longer than {_LONGEST_HEADER} bytes: is this FASTA?")
                if end < 0:
                    break
                yield True, header
                header, in_header, at = b"", False, end
            start = data.find(b"\n>", at) if has_header else -1
            if start != at:
                yield False, data[at:] if start < 0 else data[at:start]
            if start < 0:
                break
            in_header, at = True, start + 2
        if not block:
            if in_header:
                yield True, header
            return


def _write(sink: IO[bytes], letters: bytes, path: str) -> None:
    """Write to a temporary file, or flush it if there are no letters."""
    try:
        if letters:
            sink.write(letters)
        else:
            sink.flush()
    except OSError as error:
        _no_room(path, error)


def _no_room(path: str, error: OSError) -> NoReturn:
    raise ValueError(
        f"{path}: no temporary copy can be made in {tempfile.gettempdir()} ({error}): "
        "make room there, or name another folder in the environment variable TMPDIR"
    ) from error


def _check_not_empty(path: str, lengths: dict[str, int], name: str | None) -> None:
    if name is not None and not lengths[name]:
        raise ValueError(f"{path}, record {name!r}: has no bases: remove the record or add its sequence")


def named_twice(path: str, name: str, number: int) -> str:
    """Compose the error of a name that stands twice in a file, the second time in record `number` (from 1)."""
    return (
        f"{path}: two records are named {name!r} (the second is record {number}): "
        "rename one, names must be unique within a file"
    )


def _name_in(header: bytes) -> str:
    """The first word of a header; empty if there is none."""
    words = header.decode("utf-8", "replace").split(maxsplit=1)
    return words[0] if words else ""
