# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Run Transformers' own common tests on both ends of the supported range (`make compat`).

    python tests/compat/run.py            # the lowest version that pyproject.toml allows, and the pinned one
    python tests/compat/run.py 5.20.0     # any other
    python tests/compat/run.py --own      # this package's own tests, on the lowest version (`make lowest`)

For each version the source distribution is fetched through pip into `.compat/<version>/` (kept, never committed), and a
version that is not installed here gets a virtual environment of its own there. Prints a table; exits with 1 if a test
fails, an excluded one passes, or more than 3 % of the tests that ran are excluded.
"""

import argparse
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".compat"
MOST_EXCLUDED = 0.03
TEST_NEEDS = ["pytest", "parameterized"]


def supported_ends() -> list[str]:
    """The lowest version that pyproject.toml allows, and the one that constraints.txt pins, the newest tested."""
    lowest = re.search(r'"transformers>=([\d.]+)', (ROOT / "pyproject.toml").read_text())
    newest = re.search(r"^transformers==([\d.]+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert lowest is not None
    assert newest is not None
    version = lowest.group(1)
    return [version + ".0" * (2 - version.count(".")), newest.group(1)]


def pip(python: str, *arguments: str) -> None:
    """Run pip, quietly."""
    subprocess.run([python, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"], check=True)


def environment_of(version: str) -> str:
    """The interpreter to use: this one if it has the version, else that of a virtual environment made for it."""
    if importlib.metadata.version("transformers") == version:
        return sys.executable
    folder = WORK / version / "venv"
    python = str(folder / "bin" / "python")
    stamp = folder / ".installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        # Everything is pinned but what the other version of Transformers wants for itself.
        free = ("transformers==", "huggingface_hub==", "tokenizers==", "safetensors==")
        constraints = folder / "constraints.txt"
        pinned = (ROOT / "constraints.txt").read_text().splitlines()
        constraints.write_text("\n".join(line for line in pinned if not line.startswith(free)) + "\n")
        needs = [f"transformers=={version}", "--editable", f"{ROOT}[peft,tensorboard,onnx,plot,tracks]", *TEST_NEEDS]
        pip(python, "install", "--constraint", str(constraints), *needs)
        stamp.touch()
    return python


def fetch_tests(version: str) -> Path:
    """The `tests/` of the source distribution, unpacked, with what its files look for and it does not hold."""
    tests = WORK / version / f"transformers-{version}" / "tests"
    if not (tests / "__init__.py").exists():
        archive = WORK / version / f"transformers-{version}.tar.gz"
        if not archive.exists():
            nothing_else = ["--no-deps", "--no-binary", ":all:"]
            pip(sys.executable, "download", *nothing_else, f"transformers=={version}", "--dest", str(archive.parent))
        with tarfile.open(archive) as stream:
            wanted = [member for member in stream.getmembers() if f"transformers-{version}/tests/" in member.name]
            stream.extractall(archive.parent, members=wanted, filter="data")
        (tests / "fixtures").mkdir(exist_ok=True)
        (tests / "fixtures" / "sample_text.txt").write_text("ACGTTGCAACGT\nGATTACA\n")
        (tests / "__init__.py").touch()  # the last: it says that all is there
    return tests


def run(version: str) -> dict[str, int]:
    """Run the tests on one version and count how they ended."""
    python = environment_of(version)
    report = WORK / version / "report.xml"
    report.unlink(missing_ok=True)
    environment = os.environ | {"VQDNA_COMPAT_TESTS": str(fetch_tests(version)), "HF_HUB_OFFLINE": "1"}
    command = [python, "-m", "pytest", str(Path(__file__).parent), "-q", "-p", "no:cacheprovider", "--durations=0"]
    command += ["--durations-min=60", "-r", "fEx", f"--junitxml={report}", "--override-ini=addopts="]
    result = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    counts = {"passed": 0, "skipped": 0, "excluded": 0, "failed": 0}
    if not report.exists():
        raise SystemExit(f"transformers {version}: the tests did not run (exit code {result.returncode})")
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif skipped is not None:
            counts["excluded" if skipped.get("type") == "pytest.xfail" else "skipped"] += 1
        else:
            counts["passed"] += 1
    if result.returncode and not counts["failed"]:
        counts["failed"] = 1  # of collecting
    return counts


def run_own(version: str) -> int:
    """Run this package's own tests on a version."""
    command = [
        environment_of(version),
        "-m",
        "pytest",
        "tests",
        "--ignore=tests/compat",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    print(f"\n=== the package's own tests on transformers {version}", flush=True)
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"}, check=False).returncode


def main() -> int:
    """Run each version, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=supported_ends(), help="default: both ends of the range")
    parser.add_argument("--own", action="store_true", help="run the package's own tests on the first of the versions")
    arguments = parser.parse_args()
    versions = list(dict.fromkeys(arguments.versions))
    if arguments.own:
        return run_own(versions[0])
    good = True
    lines = ["| transformers | passed | skipped | excluded | failed | excluded of run |", "|---|---|---|---|---|---|"]
    for version in versions:
        (WORK / version).mkdir(parents=True, exist_ok=True)
        print(f"\n=== transformers {version}", flush=True)
        counts = run(version)
        ran = counts["passed"] + counts["excluded"] + counts["failed"]
        share = counts["excluded"] / max(ran, 1)
        good = good and ran > 0 and not counts["failed"] and share <= MOST_EXCLUDED
        lines.append(f"| {version} | {' | '.join(str(number) for number in counts.values())} | {share:.1%} |")
    print("\n" + "\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
