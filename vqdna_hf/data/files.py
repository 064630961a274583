"""Files and folders that appear whole or not at all."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part."""
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut could leave the new name on an empty file
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write text (UTF-8) atomically: a reader sees the old content or the new, never a part.

    Example:

    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> write_text(path, "ACGT")
    >>> path.read_text()
    'ACGT'
    """
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, keys sorted.

    Example:

    >>> path = Path(tempfile.mkdtemp()) / "results.json"
    >>> write_json(path, {"b": 1, "a": 2})
    >>> list(json.loads(path.read_text()))
    ['a', 'b']
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill a new folder beside `path`, and put it in its place when all went well.

    If anything fails, the new folder is taken away and what stood at `path` stays as it was.

    Example:

    >>> target = Path(tempfile.mkdtemp()) / "model"
    >>> with atomic_folder(target) as folder:
    ...     _ = (folder / "config.json").write_text("{}")
    ...     target.exists()
    False
    >>> [file.name for file in target.iterdir()]
    ['config.json']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in filter(Path.is_file, temporary.rglob("*")):
            file.chmod(0o644)  # safetensors leaves its files readable by their owner alone
        replace_folder(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def replace_folder(new: str | Path, path: str | Path) -> None:
    """Put a folder in the place of another, or of nothing; if that fails, what stood there stays.

    Example:

    >>> parent = Path(tempfile.mkdtemp())
    >>> for name in ("new", "old"):
    ...     (parent / name).mkdir()
    >>> replace_folder(parent / "new", parent / "old")
    >>> [file.name for file in parent.iterdir()]
    ['old']
    """
    new, path = Path(new), Path(path)
    if not path.exists():
        os.rename(new, path)
        return
    old = new.with_name(new.name + ".old")
    shutil.rmtree(old, ignore_errors=True)  # of a process that was killed between the last two lines
    os.rename(path, old)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)
