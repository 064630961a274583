"""Results as files: one JSON a run, with the command, the budget and the machine, from which every table is made."""

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from vqdna_hf.data.files import write_json

FORMAT = 1
"""The layout of a record. Files of another one are refused."""

_KEYS = (
    "format",
    "kind",
    "name",
    "command",
    "seeds",
    "bases_seen",
    "seconds",
    "machine",
    "versions",
    "date",
    "results",
)

_NUMBER = (int, float)
_NEEDED: dict[str, dict[str, Any]] = {
    "gue": {
        "set": str, "is_gue": bool, "checkpoint": {"name": str, "variant": str}, "data": dict, "steps": int,
        "protocol": {"name": str, "metric": str}, "test": {"matthews_correlation": _NUMBER, "f1": _NUMBER},
        "test_without_overlap": (dict, type(None)), "overlap": int, "collapsed": bool, "diverged": bool,
        "seconds": _NUMBER,
    }
}  # fmt: skip
"""What the results of a kind must hold, as tables read it: types, by key."""

_SEED = re.compile(r"seed-(\d+)\.json")  # of a run on GUE


def describe_machine() -> dict[str, Any]:
    """Processor, cores and GPU that a result was measured on.

    >>> sorted(describe_machine())
    ['cores', 'gpu', 'processor']
    """
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"processor": processor, "cores": os.cpu_count(), "gpu": gpu}


def command_line() -> str:
    """The command that runs, as one would type it: without the folders of the interpreter and the script.

    >>> isinstance(command_line(), str)
    True
    """
    script = Path(sys.argv[0])
    name = os.path.relpath(script) if script.suffix == ".py" else script.name
    return shlex.join([*(["python"] if script.suffix == ".py" else []), name, *sys.argv[1:]])


def write_record(
    path: str | PathLike,
    *,
    kind: str,
    name: str,
    results: Mapping[str, Any],
    command: str | None = None,
    seeds: Iterable[int] = (),
    bases_seen: int | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Write one result, atomically.

    Args:
        path: of the JSON; its folder is made.
        kind: of result, such as `"gue"` or `"codec"`: a table is made of the records of one kind.
        name: of what was measured.
        results: anything that JSON can hold.
        command: that gives this result again; default: the one that runs.
        seeds: that the result rests on.
        bases_seen: nucleotides seen in training.
        seconds: of wall time.

    Returns:
        What was written.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_record(f"{folder}/a.json", kind="codec", name="hrq", results={"usage": 0.5}, seeds=[0])
    >>> [record["results"] for record in read_records(folder, "codec")]
    [{'usage': 0.5}]
    """
    values = (
        FORMAT,
        kind,
        name,
        command_line() if command is None else command,
        list(seeds),
        bases_seen,
        None if seconds is None else round(seconds, 1),
        describe_machine(),
        {package: version(package) for package in ("vqdna_hf", "torch", "transformers", "scikit-learn")},
        datetime.now(UTC).date().isoformat(),
        dict(results),
    )
    record = dict(zip(_KEYS, values, strict=True))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_json(Path(path), record)
    return record


def read_records(folder: str | PathLike, kind: str | None = None) -> list[dict[str, Any]]:
    """All records below a folder, in the order of their paths; of one kind, if it is given.

    Raises:
        ValueError: if there is no such folder, or a JSON below it is no record of this layout, cannot be read, lacks
            what its kind must hold, or is named after another seed than its own.

    Example:

    >>> import tempfile
    >>> read_records(tempfile.mkdtemp())
    []
    """
    return list(records_by_path(folder, kind).values())


def records_by_path(folder: str | PathLike, kind: str | None = None) -> dict[Path, dict[str, Any]]:
    """As `read_records`, each under its path.

    Raises:
        ValueError: as there.

    Example:

    >>> import tempfile
    >>> records_by_path(tempfile.mkdtemp())
    {}
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder}: no such folder of results")
    records = {}
    for path in sorted(Path(folder).rglob("*.json")):
        record = read_record(path)
        if kind is None or record["kind"] == kind:
            records[path] = record
    return records


def read_record(path: Path) -> dict[str, Any]:
    """Read one record.

    Raises:
        ValueError: if the file is no record of this layout, cannot be read, lacks what its kind must hold, or is named
            after another seed than its own.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> _ = write_record(path, kind="codec", name="hrq", results={"usage": 0.5})
    >>> read_record(path)["results"]
    {'usage': 0.5}
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # bytes that are no UTF-8 are a ValueError, too
        raise ValueError(f"{path}: cannot be read as a record ({error}): delete it, or bring it back whole") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or set(_KEYS) - set(record):
        raise ValueError(f"{path}: no record of an evaluation (format {FORMAT}): move it to another folder")
    wrong = _unsound(record, {"kind": str, "seeds": list, "results": _NEEDED.get(str(record["kind"]), dict)})
    seeds = record["seeds"]
    if wrong or not all(isinstance(seed, int) for seed in seeds):
        raise ValueError(f"{path}: a record without a sound {(wrong or ['seeds'])[0]}: delete it to have it made anew")
    named = _SEED.fullmatch(path.name)
    if named and record["kind"] == "gue" and seeds != [int(named[1])]:
        raise ValueError(
            f"{path}: is a record of seed {', '.join(map(str, seeds))}: no copy of it counts as another run"
        )
    return record


def _unsound(value: Any, needed: Any, name: str = "record") -> list[str]:
    """The names of values that are not there, or of another type."""
    if isinstance(needed, dict):
        there = value if isinstance(value, dict) else None
        return (
            [name] if there is None else [one for key in needed for one in _unsound(there.get(key), needed[key], key)]
        )
    return [] if isinstance(value, needed) else [name]
