# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Results as JSON, one file a device, and as the Markdown of RESULTS.md, CPU and GPU apart."""

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from speed.measure import MIN_REPEATS, Row

CPU_COMMAND = "python benchmarks/bench_speed.py"
GPU_COMMAND = "PYTHONPATH=. python3 benchmarks/bench_speed.py --device cuda --minutes 9"
NO_GPU_YET = f"""No GPU result has been recorded yet. On a machine with one, in the repository's folder, this fills it:

    {GPU_COMMAND}

It needs PyTorch and Transformers and installs nothing. What 9 minutes do not hold is named at the end and measured by
the same command with `--sections`.
"""
HEAD = f"""# Speed, side by side

Made by `{CPU_COMMAND}` from the JSON files in `results/`, never by hand; `--render` makes it anew without measuring.
How each figure came about, and what did not help, stands in [LOG.md](LOG.md).

- All ways of one comparison run in one process on the same data, in turn, round after round, after a warm-up: at least
  {MIN_REPEATS} rounds. Only tables with a column `rounds` or with a note on it may have fewer, and a section that was
  cut short. A time is the median of the rounds; a ratio ("times faster") is the median of the per-round ratios, so
  that a busy machine slows both sides alike, and is not the quotient of the two medians beside it.
- Equal answers are checked before a time is printed. "bases" are nucleotides, special tokens not counted.
- Peak memory is what a call holds at most beyond what was held before it.
"""


def plain(value: Any) -> Any:
    """What JSON can hold: numbers that are none become None, numbers of other libraries Python's own."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, so that a run that is cut leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, in the order of its keys."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def slug(name: str) -> str:
    """A device's name as part of a file name.

    >>> slug("NVIDIA H100 80GB HBM3")
    'nvidia-h100-80gb-hbm3'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def number(value: Any) -> str:
    """A cell: three significant digits of a fraction, all of a whole number, thousands apart.

    >>> [number(value) for value in (131072, 123456.7, 12.345, 0.01234, None, "none")]
    ['131,072', '123,000', '12.3', '0.0123', '-', 'none']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        return value.replace("|", "\\|").replace("\n", " ")
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    digits = 2 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.3g}" if digits > 5 else f"{rounded:,.{max(digits, 0)}f}"


def is_note(row: Row) -> bool:
    """Whether a row is a line of text, without cells."""
    return "note" in row and set(row) <= {"table", "note"}


def markdown_table(rows: list[Row]) -> str:
    """Rows of one table as Markdown; numbers stand to the right."""
    columns = list(dict.fromkeys(column for row in rows for column in row if column != "table"))
    cells = [[number(row.get(column)) for column in columns] for row in rows]
    right = [all(not isinstance(row.get(column), str) for row in rows) for column in columns]
    lines = [columns, ["---:" if is_right else "---" for is_right in right], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_rows(rows: Iterable[Row]) -> str:
    """The tables of a section, in order of appearance, each with its notes under it."""
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(str(row.get("table", "")), []).append(row)
    parts = []
    for name, found in tables.items():
        cells = [row for row in found if not is_note(row)]
        notes = [number(row["note"]) for row in found if is_note(row)]
        heading = f"**{name}**\n\n" if name else ""
        body = [markdown_table(cells)] if cells else []
        parts.append(heading + "\n\n".join(body + notes))
    return "\n\n".join(parts)


def markdown_section(section: dict[str, Any], latest: dict[str, Any] | None = None) -> str:
    """A section with its title; says when it was cut, or measured otherwise than the `latest` run.

    That is on another day, with other versions, or on another number of threads.
    """
    about = [] if section.get("finished") else ["this section was cut short"]
    if latest is not None:
        if (day := section.get("date", latest["date"])[:10]) != latest["date"][:10]:
            about.append(f"measured on {day}")
        versions = section.get("versions", {}).items()
        about += [f"with {name} {version}" for name, version in versions if latest["versions"].get(name) != version]
        if (threads := section.get("threads", latest["threads"])) != latest["threads"]:
            about.append(f"on {threads} thread{'' if threads == 1 else 's'}")
    line = f"*({'; '.join(about)})*\n\n" if about else ""
    return f"### {section['title']}\n\n{line}{markdown_rows(section['rows'])}\n"


def markdown_device(result: dict[str, Any], order: Iterable[str]) -> str:
    """All sections that were measured on one device."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    minutes = sum(section["seconds"] for section in result["sections"].values()) / 60
    names = [name for name in order if name in result["sections"]]
    names += [name for name in result["sections"] if name not in names]
    about = (
        f"Last run `{result['command']}` on {result['date'][:10]}; {versions}; {result['threads']} threads; "
        f"{minutes:.0f} minutes for all sections."
    )
    sections = [markdown_section(result["sections"][name], result) for name in names]
    return "\n".join([f"## {result['kind'].upper()}: {result['device']}\n", about + "\n", *sections])


def read_results(folder: Path) -> list[dict[str, Any]]:
    """What was measured, file by file; trials with `--quick` say nothing and are left out."""
    files = sorted(path for path in folder.glob("speed-*.json") if "quick" not in path.name)
    return [result for result in map(read_result, files) if result]


def read_result(path: Path) -> dict[str, Any]:
    """The results of a file; empty where it holds none.

    Raises:
        ValueError: the file is no JSON; the error names it.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no file of results, move it away: {error}") from error
    needed = {"sections", "device", "kind", "versions", "date", "threads", "command"}
    return result if isinstance(result, dict) and needed <= set(result) else {}


def render(folder: Path, order: Iterable[str]) -> str:
    """RESULTS.md from the JSON files of a folder: first what was measured on CPUs, then on GPUs."""
    order = list(order)
    results = [result for result in read_results(folder) if not result.get("quick")]
    parts = [HEAD]
    for kind, missing in (("cpu", f"No result yet: `{CPU_COMMAND}`.\n"), ("cuda", NO_GPU_YET)):
        found = [markdown_device(result, order) for result in results if result["kind"] == kind]
        heading = "GPU" if kind == "cuda" else "CPU"
        parts += found or [f"## {heading}\n\n{missing}"]
    return "\n".join(parts).replace("## CUDA:", "## GPU:")
