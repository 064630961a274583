# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""How fast everything is, beside named peers, on this machine: bases a second and peak memory.

    python benchmarks/bench_speed.py [--device cuda] [--sections codec,models] [--minutes 9] [--quick] [--output DIR]

Sections run most telling first, and results are written after every row: a run that is cut keeps what it has. A later
run of some sections replaces those alone, each as soon as it is finished or has as many rows as before. Writes
`benchmarks/results/speed-<device>.json` and renders `benchmarks/RESULTS.md` from all such files, or both into the
folder of `--output`. Exits with 1 if a section failed, 2 on bad input. Needs PyTorch and Transformers; a section
whose peer is not installed is skipped and says so.
"""

import argparse
import datetime
import gc
import importlib
import importlib.metadata
import math
import os
import platform
import shlex
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from speed.measure import MIN_REPEATS, Context, Row
from speed.report import is_note, markdown_section, number, read_result, render, slug, write_json, write_text

SECTIONS = ("quantizer", "codec", "models", "training", "strides", "growth", "scaling", "startup")
"""Most telling first."""

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "transformers", "vector_quantize_pytorch", "triton", "numpy")


class Run:
    """The results of one device: what its file held before, and what is measured now."""

    def __init__(self, context: Context, path: Path | None, command: str) -> None:
        self.context, self.path, self.failed = context, path, False
        self.result: dict[str, Any] = {**machine(context), "command": command, "sections": {}}
        if path is not None and path.exists():
            held = read_result(path)
            for name, section in held.get("sections", {}).items():
                own = {key: held[key] for key in ("threads", "command")}  # older files hold these once for all
                self.result["sections"][name] = {**own, **section}
        self.earlier = dict(self.result["sections"])

    def write(self) -> None:
        """Into the file, if there is one."""
        if self.path is not None:
            write_json(self.path, self.result)

    def measure(self, name: str) -> bool:
        """Run a section; whatever goes wrong there, the next one must have its turn. Whether time sufficed for it."""
        try:
            module = load_section(name)
        except ImportError as error:
            self.skip(name, str(error))
            return True
        section: dict[str, Any] = {"title": module.TITLE, "rows": [], "seconds": 0.0, "finished": False}
        section |= {key: self.result[key] for key in ("date", "versions", "threads", "command")}
        self.context.cut = False
        start = time.monotonic()
        torch.manual_seed(0)
        try:
            for row in module.run(self.context):
                self.keep(name, section, row, start)
            self.context.cut = self.context.cut or self.context.out_of_time()
            section["finished"] = not self.context.cut
        except ImportError as error:
            if not section["rows"]:
                self.skip(name, str(error))
                return True
            section["rows"].append({"table": "Left out", "note": str(error)})
        except Exception as error:
            traceback.print_exc()
            self.failed = True
            text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
            self.keep(name, section, {"table": "Failed", "note": f"The section ended here: {text}"}, start)
        section["seconds"] = time.monotonic() - start
        self.store(name, section)
        tidy()
        print(f"\n{markdown_section(section)}", flush=True)
        if self.result["sections"][name] is not section:
            print(f"[{name}] an earlier result of it holds more and stays", flush=True)
        return not self.context.cut

    def keep(self, name: str, section: dict[str, Any], row: Row, start: float) -> None:
        """Take a row in, and write it at once."""
        section["rows"].append(row)
        section["seconds"] = time.monotonic() - start
        self.store(name, section)
        cells = ", ".join(f"{key} {number(value)}" for key, value in row.items() if key != "table")
        print(f"[{name}] {row.get('table', '')}: {row['note'] if is_note(row) else cells}", flush=True)

    def store(self, name: str, section: dict[str, Any]) -> None:
        """Write a section, unless an earlier result of it still holds more."""
        earlier = self.earlier.get(name)
        if earlier is None or section["finished"] or measured_rows(section) >= measured_rows(earlier):
            self.result["sections"][name] = section
            self.write()

    def skip(self, name: str, reason: str) -> None:
        """Say why a section was not measured; an earlier result of it stays."""
        note = {"table": "Not measured", "note": f"{name} was skipped: {reason}"}
        print(f"[{name}] skipped: {reason}", flush=True)
        if not measured_rows(self.result["sections"].get(name, {"rows": []})):
            self.result["sections"][name] = {"title": name, "rows": [note], "seconds": 0.0, "finished": False}
            self.write()


def measured_rows(section: dict[str, Any]) -> int:
    """How many rows of a section are more than a note."""
    return sum(not is_note(row) for row in section["rows"])


def load_section(name: str) -> ModuleType:
    """The module of a section: `TITLE` and `run(context)`."""
    return importlib.import_module(f"speed.{name}")


def tidy() -> None:
    """Give back what a section held, compiled code included, so that the next one starts as in a new process."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def machine(context: Context) -> dict[str, Any]:
    """What is measured on, and with which versions."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if context.on_gpu:
        versions["CUDA"] = str(torch.version.cuda)
    return {
        "device": torch.cuda.get_device_name(context.device) if context.on_gpu else processor(),
        "kind": context.device.type,
        "quick": context.quick,
        "versions": versions,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
    }


def processor() -> str:
    """The CPU's model and how many cores this process may use."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores"


def chosen_sections(names: str | None) -> list[str]:
    """The sections to run, in their order.

    Raises:
        ValueError: on a name that is none.
    """
    wanted = list(SECTIONS) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown or not wanted:
        raise ValueError(
            f"--sections {names}: there is no {', '.join(unknown) or 'name'}; choose from {','.join(SECTIONS)}"
        )
    return [name for name in SECTIONS if name in wanted]


def measure_all(options: argparse.Namespace, command: str) -> bool:
    """Run the chosen sections; whether all went well."""
    begin = time.monotonic()
    names = chosen_sections(options.sections)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no CUDA device here")
    if options.minutes is not None and not 0 < options.minutes < math.inf:
        raise ValueError(f"--minutes {options.minutes:g} must be a number above 0")
    context = Context(
        device=torch.device(options.device),
        quick=options.quick,
        repeats=1 if options.quick else MIN_REPEATS,
        deadline=None if options.minutes is None else begin + 60 * options.minutes,
    )
    path = None
    if options.output is not None or not options.quick:
        about = machine(context)
        file = f"speed-{'quick-' if options.quick else ''}{slug(about['device'])}.json"
        path = (options.output or HERE / "results") / file
        path.parent.mkdir(parents=True, exist_ok=True)
    run = Run(context, path, command)
    left = []
    for name in names:
        if context.out_of_time() or not run.measure(name):
            left.append(name)
    if left:
        print(f"no time was left: go on with --sections {','.join(left)}")
    if path is not None:
        print(f"written to {path}")
    return not run.failed


def main(arguments: list[str] | None = None) -> int:
    """Measure, write JSON, render, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sections", help=f"some of {','.join(SECTIONS)}; default: all")
    parser.add_argument("--minutes", type=float, help="begin no measurement later than this")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: a test of this program, its figures say nothing"
    )
    parser.add_argument("--output", type=Path, help="a folder for the results; default: benchmarks/")
    parser.add_argument("--render", action="store_true", help="only make RESULTS.md from the results that are there")
    options = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "benchmarks/bench_speed.py", *words])
    status = 0
    try:
        if options.output is not None and options.output.exists() and not options.output.is_dir():
            raise ValueError(f"--output {options.output} is no folder")
        try:
            if not options.render:
                status = 0 if measure_all(options, command) else 1
        except KeyboardInterrupt:
            print("interrupted; what was measured is kept", file=sys.stderr)
            status = 130
        if options.render or not options.quick:
            render_page(options.output)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return status


def render_page(output: Path | None) -> None:
    """RESULTS.md from the results of the repository, or of a folder."""
    results, page = (HERE / "results", HERE / "RESULTS.md") if output is None else (output, output / "RESULTS.md")
    write_text(page, render(results, SECTIONS))
    print(f"rendered {page}")


if __name__ == "__main__":
    sys.exit(main())
