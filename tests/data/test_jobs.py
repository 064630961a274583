# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A job in units: taken up after a crash, shared by processes, whole or not there."""

import errno
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vqdna_hf.data import jobs
from vqdna_hf.data.jobs import (
    DiskFullError,
    JobReport,
    bases_bar,
    collect,
    identities,
    input_files,
    input_identity,
    run_job,
)


@dataclass(frozen=True)
class Number:
    value: int

    @property
    def bases(self) -> int:
        return 10


@dataclass
class Squares:
    """Squares of 0..n-1, one a unit."""

    count: int = 5
    fails_at: int = -1
    error: BaseException | None = None
    computed: list[int] = field(default_factory=list)
    verb = "squares"
    total_bases: int | None = None

    def describe(self) -> Mapping[str, Any]:
        return {"count": self.count, "sizes": (1, 2)}

    def units(self) -> Iterator[Number]:
        return map(Number, range(self.count))

    def compute(self, unit: Number) -> pa.Table:
        if unit.value == self.fails_at and self.error is not None:
            raise self.error
        self.computed.append(unit.value)
        return pa.table({"square": [unit.value**2]})

    def write(self, tables: Iterator[pa.Table], path: Path) -> None:
        path.write_text("".join(f"{table['square'][0]}\n" for table in tables))


def test_units_are_joined_in_order_and_nothing_else_is_left(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    assert run_job(Squares(), output) == JobReport(output, units=5, resumed=0, bases=50)
    assert output.read_text() == "0\n1\n4\n9\n16\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert collect(Squares(), progress=False)["square"].to_pylist() == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), OSError(errno.EIO, "a broken disk")])
def test_a_job_goes_on_where_it_stopped(error: BaseException, tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    with pytest.raises(type(error)):
        run_job(Squares(fails_at=3, error=error), output)
    assert not output.exists()
    again = Squares()
    assert run_job(again, output).resumed == 3
    assert again.computed == [3, 4]
    assert output.read_text() == "0\n1\n4\n9\n16\n"


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad letter"):
        run_job(Squares(fails_at=3, error=ValueError("bad letter")), tmp_path / "out.txt")
    assert not list(tmp_path.iterdir())


def test_what_another_job_has_left_is_refused_or_dropped(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    with pytest.raises(KeyboardInterrupt):
        run_job(Squares(fails_at=3, error=KeyboardInterrupt()), output)
    with pytest.raises(ValueError, match=r"out.txt.parts holds .* another job .*count: 5, now 6.*--restart"):
        run_job(Squares(count=6), output)
    assert len(list((tmp_path / "out.txt.parts").glob("part-*"))) == 3
    assert run_job(Squares(count=6), output, restart=True).resumed == 0
    assert output.read_text().count("\n") == 6


def test_a_file_half_written_by_a_killed_process_does_not_count(tmp_path: Path) -> None:
    output, parts = tmp_path / "out.txt", tmp_path / "out.txt.parts"
    with pytest.raises(KeyboardInterrupt):
        run_job(Squares(fails_at=1, error=KeyboardInterrupt()), output)
    (parts / ".part-000000001.arrow.xyz").write_bytes(b"half")
    (parts / "joined.txt").write_bytes(b"half")
    run_job(Squares(), output)
    assert output.read_text() == "0\n1\n4\n9\n16\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    parts.mkdir()
    (parts / "job.json").write_text("{")
    with pytest.raises(ValueError, match="--restart"):
        run_job(Squares(), output)


def test_an_earlier_output_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    output.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        run_job(Squares(fails_at=4, error=KeyboardInterrupt()), output)
    assert output.read_text() == "old"
    run_job(Squares(), output)
    assert output.read_text().startswith("0\n1\n")


@pytest.mark.parametrize("full_at", [0, 2])
def test_a_full_disk_is_told_and_keeps_what_was_done(
    full_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    written: list[Path] = []
    write_bytes = jobs.write_bytes

    def full(path: Path, content: bytes) -> None:
        if len(written) == full_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_bytes(path, content)
        written.append(path)

    output = tmp_path / "out.txt"
    monkeypatch.setattr(jobs, "write_bytes", full)
    with pytest.raises(DiskFullError, match=f"{tmp_path}: no space left") as raised:
        run_job(Squares(), output)
    assert ("the 2 finished parts are kept" in str(raised.value)) == bool(full_at)
    assert not output.exists()
    assert (tmp_path / "out.txt.parts").exists() == bool(full_at)
    monkeypatch.undo()
    assert run_job(Squares(), output).resumed == full_at


def test_processes_share_the_units(tmp_path: Path) -> None:
    """Two processes that know only their rank, started one after the other as a slow launcher would."""
    code = (
        "import sys; sys.path[:0] = [{tests!r}]\n"
        "from test_jobs import Squares, run_job\n"
        "task = Squares(count=7); report = run_job(task, {output!r}); print(task.computed, report.bases)\n"
    ).format(tests=str(Path(__file__).parent), output=str(tmp_path / "out.txt"))
    import os

    places = [{"RANK": str(rank), "WORLD_SIZE": "2"} for rank in (0, 1)]
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **place}, stdout=subprocess.PIPE, text=True)
        for place in places
    ]
    shown = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert shown == ["[0, 2, 4, 6] 40", "[1, 3, 5] 30"]
    assert (tmp_path / "out.txt").read_text() == "0\n1\n4\n9\n16\n25\n36\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_several_processes_have_no_standard_output_to_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ValueError, match="cannot share standard output"):
        run_job(Squares(), "-")
    with pytest.raises(ValueError, match="cannot restart a job together"):
        run_job(Squares(), tmp_path / "out.txt", restart=True)


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run_job(Squares(count=2), "-")
    assert capfdbinary.readouterr().out == b"0\n1\n"


def test_an_input_is_known_again(tmp_path: Path) -> None:
    file = tmp_path / "a.fa"
    file.write_text(">r\nACGT\n")
    first = input_identity(file)
    assert json.loads(json.dumps(first)) == first == identities(file)[0]
    import os

    os.utime(file, ns=(1, 1))
    assert input_identity(file) != first
    assert input_files(file, None, "-", tmp_path / "absent") == (file,)
    assert identities("-") != identities("-")


def test_the_bar_counts_bases(capsys: pytest.CaptureFixture[str]) -> None:
    with bases_bar("encode", 4_000_000, wanted=True) as advance:
        advance(1_000_000)
    with bases_bar("encode", None, wanted=True) as advance:
        advance(1_000_000)
    assert "Mbp" in capsys.readouterr().err
    with bases_bar("encode", None) as advance:  # pytest's standard error is no terminal
        advance(1_000_000)
    assert capsys.readouterr().err == ""


def test_memory_running_out_keeps_what_was_done_and_smaller_batches_go_on(tmp_path: Path) -> None:
    @dataclass
    class Batched(Squares):
        batch_bases: int | None = None

        def describe(self) -> Mapping[str, Any]:
            return {**super().describe(), "batch_bases": self.batch_bases}

    with pytest.raises(OSError, match="out of memory"):
        run_job(Batched(fails_at=3, error=OSError("out of memory")), tmp_path / "out.txt")
    assert run_job(Batched(batch_bases=100), tmp_path / "out.txt").resumed == 3


def test_who_interrupts_is_told_that_the_job_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_job(Squares(fails_at=3, error=KeyboardInterrupt()), tmp_path / "out.txt")
    assert f"what was computed is kept in {tmp_path / 'out.txt.parts'}" in caplog.text
    caplog.clear()
    with pytest.raises(KeyboardInterrupt):
        run_job(Squares(fails_at=0, error=KeyboardInterrupt()), tmp_path / "other.txt")
    assert not caplog.text


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    """The same command started twice: the second is told, and the first goes on undisturbed."""
    output = tmp_path / "out.txt"

    @dataclass
    class Twice(Squares):
        def compute(self, unit: Number) -> pa.Table:
            if unit.value == 2:
                for restart in (False, True):
                    with pytest.raises(ValueError, match=r"out.txt.parts: another process is at work on this output"):
                        run_job(Squares(), output, restart=restart)
            return super().compute(unit)

    assert run_job(Twice(), output).units == 5
    assert output.read_text() == "0\n1\n4\n9\n16\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_parts_of_standard_input_are_dropped(tmp_path: Path) -> None:
    @dataclass
    class Piped(Squares):
        def describe(self) -> Mapping[str, Any]:
            return {"inputs": identities("-")}

    with pytest.raises(KeyboardInterrupt):
        run_job(Piped(fails_at=3, error=KeyboardInterrupt()), tmp_path / "out.txt")
    assert run_job(Piped(), tmp_path / "out.txt").resumed == 0
