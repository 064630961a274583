# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Long work in units that may be interrupted at any moment, and shared by several processes.

A task names its units in an order that depends on its input alone, and turns each into a table. Every table is written
to a file of its own beside the output, `OUTPUT.parts/`, whole or not at all; when all are there they are joined, the
output appears under its name in one step, and the folder goes. Who starts the same command again after a crash computes
only what is missing, and gets the same bytes. Several processes (`torchrun`, `accelerate launch`) take every n-th unit
each and meet in that folder alone: they need one file system, and no communication.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from vqdna_hf.data.files import replace_folder, write_bytes, write_json

logger = logging.getLogger(__name__)

_SAMPLE_BYTES = 1 << 20
_POLL_SECONDS = 0.1
_PART = "part-{:09d}.arrow"
_RECORD = "job.json"
_LOCK = "lock-"

UNIT_BASES = 1 << 20
"""Bases of a unit of work, about; the environment variable `VQDNA_UNIT_BASES` sets another number."""


class Unit(Protocol):
    """A piece of work: anything that knows how many bases it reads."""

    @property
    def bases(self) -> int:
        """For the progress bar."""


class Task(Protocol):
    """What a verb computes. Units, their order and their tables depend on `describe()` alone."""

    verb: str
    total_bases: int | None

    def describe(self) -> Mapping[str, Any]:
        """All that changes the answer, as JSON: options, `input_identity` of files, the weights' checksum."""

    def units(self) -> Iterator[Any]:
        """The work in order; lazily, since a genome has many."""

    def compute(self, unit: Any) -> pa.Table:
        """The rows of one unit, whatever was computed before it."""

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Join the units' tables into the output; `path` is a temporary name, of a file or a folder to be made.

        The tables may be gone through more than once. Beside `path` there is room for what joining needs.
        """


class DiskFullError(OSError):
    """No space is left; what was computed is kept.

    Example:

    >>> issubclass(DiskFullError, OSError)
    True
    """


@dataclass(frozen=True)
class JobReport:
    """What a finished job did.

    Args:
        output: the file that was written.
        units: of the whole job.
        resumed: of these, found done when the job began.
        bases: that were read by this process in this run.

    Example:

    >>> JobReport(Path("codes.parquet"), units=3, resumed=1, bases=2_097_152).resumed
    1
    """

    output: Path
    units: int
    resumed: int
    bases: int


def process_place() -> tuple[int, int]:
    """Rank and number of the processes that share the work, as `torchrun` and `accelerate launch` tell them.

    Example:

    >>> process_place()
    (0, 1)
    """
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def unit_bases() -> int:
    """How many bases a unit of work should have, about: what is lost when a job is interrupted.

    It stands in the record of a job, since it decides which rows a part holds.

    Raises:
        ValueError: if `VQDNA_UNIT_BASES` is no number above 0.

    Example:

    >>> unit_bases()
    1048576
    """
    text = os.environ.get("VQDNA_UNIT_BASES", str(UNIT_BASES))
    if not (text.isascii() and text.isdecimal()) or not int(text):
        raise ValueError(f"VQDNA_UNIT_BASES={text}: give a number of bases above 0, or unset it")
    return int(text)


def input_identity(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What tells an input file from another: size, time of change, and a digest of its two ends.

    Example:

    >>> with tempfile.NamedTemporaryFile() as file:
    ...     input_identity(file.name)["bytes"]
    0
    """
    with open(path, "rb") as stream:
        about = os.fstat(stream.fileno())
        digest = hashlib.sha256(stream.read(_SAMPLE_BYTES))
        stream.seek(max(about.st_size - _SAMPLE_BYTES, 0))
        digest.update(stream.read(_SAMPLE_BYTES))
    return {
        "file": Path(path).name, "bytes": about.st_size, "changed": about.st_mtime_ns, "ends": digest.hexdigest()
    }  # fmt: skip


def input_files(*inputs: Any) -> tuple[Any, ...]:
    """Of the inputs of a verb (paths, `-`, open readers with a `path`, None), the paths of those that are files.

    Example:

    >>> input_files("no/such/file", "-", None)
    ()
    """
    paths = [getattr(given, "path", given) for given in inputs]
    return tuple(path for path in paths if path is not None and Path(path).is_file())


def identities(*inputs: Any) -> list[dict[str, Any]]:
    """`input_identity` of the inputs of a verb. What is no file (standard input, data in memory) is never the same.

    Example:

    >>> identities("-") == identities("-")
    False
    """
    given = [value for value in inputs if value is not None]
    return [
        input_identity(files[0]) if (files := input_files(value)) else {"file": "-", "once": uuid.uuid4().hex}
        for value in given
    ]


def collect(task: Task, progress: bool | None = None) -> pa.Table:
    """Compute a task in memory: the tables of all its units, one after the other."""
    with bases_bar(task.verb, task.total_bases, progress) as advance:
        tables = []
        for unit in task.units():
            tables.append(task.compute(unit))
            advance(unit.bases)
    return pa.concat_tables(tables)


def run_job(
    task: Task, output: str | os.PathLike[str], *, restart: bool = False, progress: bool | None = None
) -> JobReport:
    """Compute a task into a file; what an interrupted run has left is taken up.

    Args:
        task: what to compute.
        output: the file, `-` for standard output (which is not resumable).
        restart: drop what an interrupted run has left.
        progress: show a bar on standard error; default: where that is a terminal.

    Returns:
        What was done. On several processes, the first one's call returns when the output is there, those of the others
        when their share is done and the first has seen it.

    Raises:
        ValueError: if `OUTPUT.parts` belongs to another job; as the task does (then nothing is left behind).
        DiskFullError: if no space is left; the parts are kept, so that the same command goes on.

    Example:

    >>> from types import SimpleNamespace
    >>> task = SimpleNamespace(
    ...     verb="count", total_bases=None, describe=dict,
    ...     units=lambda: iter([SimpleNamespace(bases=4), SimpleNamespace(bases=3)]),
    ...     compute=lambda unit: pa.table({"bases": [unit.bases]}),
    ...     write=lambda tables, path: path.write_text(str([table["bases"][0].as_py() for table in tables])),
    ... )
    >>> output = Path(tempfile.mkdtemp()) / "counts.txt"
    >>> run_job(task, output).units, output.read_text()
    (2, '[4, 3]')
    """
    rank, world = process_place()
    if os.fspath(output) == "-":
        if world > 1:
            raise ValueError("several processes cannot share standard output: give --output a file")
        with tempfile.TemporaryDirectory(prefix="vqdna-") as folder:
            report = run_job(task, Path(folder) / "out.tsv", progress=progress)
            with open(report.output, "rb") as stream:
                shutil.copyfileobj(stream, sys.stdout.buffer)
            return replace(report, output=Path("-"))
    path = Path(output)
    parts = path.with_name(path.name + ".parts")
    with _open_parts(parts, task, restart, rank, world):
        try:
            report = _work(task, path, parts, rank, world, progress)
            if rank:
                _hand_over(parts, rank)
            else:
                for other in range(1, world):
                    _take_over(parts, other)
                _join(task, path, parts, report.units)
        except ValueError:
            shutil.rmtree(parts, ignore_errors=True)  # the input must change, and with it the job
            raise
        except (KeyboardInterrupt, OSError) as error:
            if not isinstance(error, DiskFullError) and any(parts.glob("part-*")):
                logger.warning("what was computed is kept in %s: the same command goes on from there", parts)
            raise
    return report


@contextmanager
def _open_parts(parts: Path, task: Task, restart: bool, rank: int, world: int) -> Iterator[None]:
    """Make the folder of parts, or make sure that it is this job's; nobody else works in it meanwhile."""
    record = {"verb": task.verb, "unit_bases": unit_bases(), **json.loads(json.dumps(task.describe()))}
    record.pop("batch_bases", None)  # who ran out of memory goes on with smaller batches
    if restart and world > 1:
        raise ValueError(f"several processes cannot restart a job together: delete {parts} first")
    if rank:
        _wait_for((parts / _RECORD).exists)
    else:
        with _explain_full_disk(parts):
            parts.mkdir(parents=True, exist_ok=True)
    with _only_one(parts, rank):
        if rank == 0:
            _make_record(parts, record, restart, world)
        _check_record(parts, record)
        yield


def _make_record(parts: Path, record: Mapping[str, Any], restart: bool, world: int) -> None:
    """Say whose parts these will be; what is useless is dropped."""
    found = _read_record(parts)
    # Without a record nobody knows whose parts these are: of a job that was killed while it cleaned up. Those of a job
    # that read standard input are of no use to anybody.
    is_useless = found is None or any("once" in entry for entry in found.get("inputs", []))
    if restart or is_useless:
        for old in parts.iterdir():
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
            elif not old.name.startswith(_LOCK):
                old.unlink(missing_ok=True)
        with _explain_full_disk(parts):
            write_json(parts / _RECORD, record)
    # Marks of an earlier launch; files of a process that was killed while it wrote, where no other may be writing.
    patterns = ("done-*", "seen-*", ".*") if world == 1 else ("done-*", "seen-*")
    for stale in (path for pattern in patterns for path in parts.glob(pattern)):
        stale.unlink(missing_ok=True)


def _read_record(parts: Path) -> dict[str, Any] | None:
    """What the folder's record says; None where there is none, nothing where it cannot be read."""
    if not (parts / _RECORD).exists():
        return None
    try:
        found = json.loads((parts / _RECORD).read_text())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _check_record(parts: Path, record: Mapping[str, Any]) -> None:
    found = _read_record(parts) or {}
    if found == record:
        return
    keys = sorted(key for key in {*found, *record} if found.get(key) != record.get(key))
    what = ", ".join(f"{key}: {_short(found.get(key))}, now {_short(record.get(key))}" for key in keys[:3])
    raise ValueError(
        f"{parts} holds what another job has left ({what}): give --restart to drop it, or another --output"
    )


@contextmanager
def _only_one(parts: Path, rank: int) -> Iterator[None]:
    """Refuse to work where another process of this rank is at work; a killed process leaves no lock."""
    with open(parts / f"{_LOCK}{rank}", "wb") as stream:
        try:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{parts}: another process is at work on this output: wait for it, or give another --output"
            ) from error
        except (ImportError, OSError):
            pass  # a system or a file system without locks
        yield


def _hand_over(parts: Path, rank: int) -> None:
    """Tell the first process that this one's share is done, until that has seen it.

    A mark of this launch looks like one that an earlier launch has left, which would let the first process end before
    this one has begun. So the first clears all marks away when it starts, and this one makes its mark again.
    """
    done = parts / f"done-{rank}-{uuid.uuid4().hex}"
    seen = _seen(done)

    def is_seen() -> bool:
        if seen.exists() or not (parts / _RECORD).exists():
            return True
        with suppress(FileNotFoundError):
            done.touch()
        return False

    _wait_for(is_seen)


def _take_over(parts: Path, rank: int) -> None:
    """Wait until another process has done its share, and let it go."""
    _wait_for(lambda: any(parts.glob(f"done-{rank}-*")))
    for done in parts.glob(f"done-{rank}-*"):
        os.replace(done, _seen(done))


def _seen(done: Path) -> Path:
    return done.with_name(done.name.replace("done", "seen", 1))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _work(task: Task, output: Path, parts: Path, rank: int, world: int, progress: bool | None) -> JobReport:
    units = resumed = bases = 0
    with bases_bar(task.verb, task.total_bases, False if rank else progress) as advance:
        for number, unit in enumerate(task.units()):
            units += 1
            part = parts / _PART.format(number)
            if number % world != rank:
                pass  # another process's
            elif part.exists():
                resumed += 1
            else:
                table = task.compute(unit)
                with _explain_full_disk(parts):
                    write_bytes(part, _to_bytes(table))
                bases += unit.bases
            advance(unit.bases)
    return JobReport(output, units, resumed, bases)


def _join(task: Task, output: Path, parts: Path, units: int) -> None:
    """Make the output of all parts."""
    names = [parts / _PART.format(number) for number in range(units)]
    # In the folder of parts, which is on the output's file system: a rename away, and gone with the folder.
    temporary = parts / f"joined{''.join(output.suffixes)[-20:]}"
    try:
        with _explain_full_disk(parts):
            task.write(_Tables(names), temporary)
            if temporary.is_dir():
                replace_folder(temporary, output)
            else:
                os.chmod(temporary, 0o644)
                os.replace(temporary, output)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
    _clear_away(parts)


def _clear_away(parts: Path) -> None:
    """Delete the folder, the record first: without it the others make no more marks, which would be in the way."""
    (parts / _RECORD).unlink(missing_ok=True)
    for _ in range(100):
        shutil.rmtree(parts, ignore_errors=True)
        if not parts.exists():
            return
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True)
class _Tables:
    """The units' tables, read anew each time that they are gone through."""

    paths: Sequence[Path]

    def __iter__(self) -> Iterator[pa.Table]:
        return map(_from_file, self.paths)


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_file(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()


def _wait_for(condition: Callable[[], bool]) -> None:
    """Look for what another process writes. A launcher stops all of its processes when one fails."""
    while not condition():
        time.sleep(_POLL_SECONDS)


@contextmanager
def _explain_full_disk(parts: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        kept = len(list(parts.glob("part-*.arrow"))) if parts.is_dir() else 0
        if not kept:
            shutil.rmtree(parts, ignore_errors=True)
        way_out = f"; the {kept} finished parts are kept, and the same command goes on from there" if kept else ""
        message = f"{parts.parent}: no space left ({error.strerror or error}): free some, or write elsewhere{way_out}"
        raise DiskFullError(message) from error


@contextmanager
def bases_bar(verb: str, total: int | None, wanted: bool | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar in bases on standard error; yields the function that moves it.

    Args:
        verb: what is done.
        total: bases in all, where it is known.
        wanted: show it; default: where standard error is a terminal.

    Example:

    >>> with bases_bar("encode", 1000, wanted=False) as advance:
    ...     advance(500)
    """
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda bases: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Bases(ProgressColumn):
        """Done of all, and how fast."""

        def render(self, task: Task) -> Text:
            of = f" of {task.total / 1e6:,.2f}" if task.total else ""
            return Text(f"{task.completed / 1e6:,.2f}{of} Mbp, {(task.speed or 0) / 1e6:,.2f} Mbp/s")

    columns = ("{task.description}", BarColumn(), Bases(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, force_terminal=wanted), transient=True) as bar:
        row = bar.add_task(verb, total=total)
        yield lambda bases: bar.advance(row, bases)
