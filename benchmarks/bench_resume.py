# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Kill `vqdna encode` again and again, as a cluster or a closed laptop does, and see whether the answer stays the same.

    python benchmarks/bench_resume.py [genome.fa.gz MODEL] [--kills 20] [--verb encode]

Each attempt is a process of its own that gets SIGKILL at a random moment of the time that an uninterrupted run takes;
the same command goes on until it ends, and then the bytes are compared. Prints a line a kill, writes the counts into
`benchmarks/results/resume.json`. Without a genome one is simulated, and the model is a tiny codec. Exits with 1 if an
output differs, if a part of an output is ever seen under its name, or if all work was done anew.
"""

import argparse
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.files import write_json
from vqdna_hf.data.simulate import simulate_genome
from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel

RESULTS = Path(__file__).resolve().parent / "results" / "resume.json"
SIMULATED_BASES = 1_500_000
UNIT_BASES = 1 << 15


def simulate(folder: Path) -> tuple[Path, Path]:
    """A genome, and a tiny codec whose codebooks have seen data."""
    genome, model = folder / "genome.fa", folder / "codec"
    genome.write_text(f">simulated\n{decode_ids(simulate_genome(SIMULATED_BASES, seed=0))}\n")
    torch.manual_seed(0)
    codec = VQDNACodecModel(
        VQDNACodecConfig(hidden_size=16, stem_size=8, codebook_dim=16, codebook_sizes=[16, 32])
    ).train()
    codec(torch.randint(5, 9, (8, 100)))
    codec.eval().save_pretrained(model)
    return genome, model


def run(words: list[str], kill_after: float | None = None) -> tuple[bool, float, str]:
    """Start the command in a process of its own: whether it was killed, seconds, and its report."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "vqdna_hf", *words],
        env={**os.environ, "VQDNA_UNIT_BASES": str(UNIT_BASES)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, report = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        _, report = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(f"the command failed: {report}")
    return process.returncode != 0, time.perf_counter() - start, report


def kill_and_go_on(words: list[str], output: Path, expected: bytes, seconds: float, kills: int) -> dict[str, Any]:
    """Kill until there were enough kills and the last run has ended."""
    rng, counts = random.Random(0), {"kills": 0, "completed": 0, "differ": 0, "partial": 0, "taken_up": 0}
    parts = output.with_name(f"{output.name}.parts")
    while counts["kills"] < kills or parts.exists():
        killed, _, report = run(words, rng.uniform(0.4, 1.0) * seconds if counts["kills"] < kills else None)
        there = len(list(parts.glob("part-*.arrow"))) if parts.exists() else 0
        counts["partial"] += output.exists() and output.read_bytes() != expected
        if killed:
            counts["kills"] += 1
            print(f"kill {counts['kills']}: {there} parts are there")
            continue
        counts["completed"] += 1
        counts["differ"] += output.read_bytes() != expected
        counts["taken_up"] += "were there already" in report
        print(report.strip())
        output.unlink(missing_ok=counts["kills"] >= kills)
    return counts


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("genome", nargs="?", type=Path)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--verb", choices=("encode", "embed"), default="encode")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="vqdna-resume-"))
    try:
        genome, model = simulate(folder) if options.genome is None else (options.genome, options.model)
        output = folder / "output.parquet"
        words = [options.verb, str(genome), "-m", str(model), "-o", str(output)]
        _, seconds, report = run(words)
        print(f"uninterrupted, {seconds:.1f} s: {report.strip()}")
        expected = output.read_bytes()
        output.unlink()
        counts = kill_and_go_on(words, output, expected, seconds, options.kills)
    finally:
        shutil.rmtree(folder)
    about = {"verb": options.verb, "genome": genome.name, "model": model.name, "unit_bases": UNIT_BASES}
    about |= {"seconds_uninterrupted": round(seconds, 1), "bytes": len(expected), "python": platform.python_version()}
    write_json(options.results, {**about, **counts})
    print({**about, **counts})
    return int(bool(counts["differ"] or counts["partial"] or not counts["taken_up"]))


if __name__ == "__main__":
    sys.exit(main())
