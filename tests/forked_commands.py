# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Run the command `vqdna` in forked children, and kill them.

Starting Python with torch takes seconds. Here one process, which imports all and computes nothing, forks a child for
each command: that takes milliseconds, and the SIGKILL that a child gets is a real one.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Self

import matplotlib.figure  # noqa: F401 - what a child would import is imported before the fork
import pyarrow as pa
import pyarrow.parquet
import torch
from example_scripts import process_environment

import vqdna_cli.main
import vqdna_hf.inference  # noqa: F401
from vqdna_hf.data.jobs import run_job

# Calls that change what is on the disk; a child can be killed right before any of them.
_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
_OWN_NAMES = (".parts", "part-", "job.json", "joined", "done-")
_TIMEOUT = 60


@dataclass(frozen=True)
class Result:
    """What became of a command.

    Args:
        code: its exit code; -9 when it was killed.
        seconds: that it ran.
        err: standard error.
        changes: to the disk that it made or was about to make, when these were counted.
    """

    code: int
    seconds: float
    err: str
    changes: int

    @property
    def killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self.code == -signal.SIGKILL

    @property
    def resumed(self) -> int:
        """Units that were there already, by its own report."""
        words = self.err.split()
        return int(words[words.index("of") - 1]) if "there already" in self.err else 0


class ForkedCommands:
    """The process that forks; to be used in `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=self.folder,
            env={**process_environment(), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def run(self, *words: Any, **options: Any) -> Result:
        """Run one command; for the options see `_run`."""
        return self.run_together([list(map(str, words))], **options)[0]

    def run_together(
        self, commands: Sequence[Sequence[str]], environments: Sequence[Mapping[str, str]] = ({},), **options: Any
    ) -> list[Result]:
        """Run commands side by side; an option may be a list, with a value a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        jobs = []
        for number, (words, env) in enumerate(zip(commands, environments, strict=True)):
            own = {name: value[number] if isinstance(value, list) else value for name, value in options.items()}
            jobs.append({"words": list(words), "env": dict(env), **own})
        self.process.stdin.write(json.dumps(jobs) + "\n")
        self.process.stdin.flush()
        return [Result(**found) for found in json.loads(self.process.stdout.readline())]


class _Squares:
    """Squares of 0..n-1, one a unit."""

    verb = "squares"
    total_bases: int | None = None

    def __init__(self, count: int) -> None:
        self.count = count

    def describe(self) -> dict[str, Any]:
        return {"count": self.count}

    def units(self) -> Iterator[Any]:
        return (SimpleNamespace(bases=1, value=value) for value in range(self.count))

    def compute(self, unit: Any) -> pa.Table:
        return pa.table({"square": [unit.value**2 + self.count]})

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        path.write_text("".join(f"{table['square'][0]}\n" for table in tables))


def _squares(count: int, output: str) -> int:
    print(run_job(_Squares(count), output), file=sys.stderr)
    return 0


def _serve() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        children = [_fork(number, **job) for number, job in enumerate(json.loads(line))]
        print(json.dumps([_wait(*child) for child in children]), flush=True)


def _fork(
    number: int,
    words: list[str],
    env: dict[str, str],
    kill_after: float | None = None,
    kill_before_change: int | None = None,
    file_size: int | None = None,
) -> tuple[int, float, float | None, str]:
    """Start a child.

    Args:
        number: of the child among those that run together.
        words: of the command; `squares N FILE` is a job of N units that does next to nothing.
        env: what is added to the environment.
        kill_after: seconds until it is killed.
        kill_before_change: kills itself before this change to the disk, counted from 1.
        file_size: the largest file that it can write, in bytes: what a full disk looks like.
    """
    name = f"child-{number}"
    Path(f"{name}.changes").unlink(missing_ok=True)
    started = time.monotonic()
    if (pid := os.fork()) > 0:
        return pid, started, kill_after, name
    for descriptor, kind in ((1, "out"), (2, "err")):
        file = os.open(f"{name}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
    os.environ.update(env)
    if kill_before_change is not None:
        _count_changes(f"{name}.changes", kill_before_change)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    code = 1
    try:
        code = _squares(int(words[1]), words[2]) if words[0] == "squares" else vqdna_cli.main.main(words)
    except BaseException as error:
        os.write(2, f"raised {error!r}\n".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise AssertionError("not reached")


def _count_changes(file: str, last: int) -> None:
    found = 0
    stream = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def hook(event: str, words: tuple[Any, ...]) -> None:
        nonlocal found
        if event == "open" and words and not (isinstance(words[2], int) and words[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event not in _CHANGES and event != "open":
            return
        if any(
            isinstance(word, (str, os.PathLike)) and any(own in os.fspath(word) for own in _OWN_NAMES) for word in words
        ):
            found += 1
            os.pwrite(stream, str(found).encode(), 0)
            if found == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _wait(pid: int, started: float, kill_after: float | None, name: str) -> dict[str, Any]:
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic() - started
        if ended:
            break
        if now > (kill_after or _TIMEOUT):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    changes = Path(f"{name}.changes")
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": now,
        "err": Path(f"{name}.err").read_text(),
        "changes": int(changes.read_text() or 0) if changes.exists() else 0,
    }


if __name__ == "__main__":
    _serve()
