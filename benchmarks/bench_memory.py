# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Peak memory of `vqdna encode` on a simulated genome: it must not grow with the genome.

    python benchmarks/bench_memory.py --mbp 30 300 --output benchmarks/results/memory.json

The codec is as small as one can be, so that what is measured is the data plane.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data.files import write_json

_BLOCK = 6_000_000  # whole lines
_LINE = 60


def write_genome(path: Path, mbp: int, seed: int = 0) -> None:
    """Random FASTA: one record with two thirds of the bases, the others of 1 Mbp."""
    generator = np.random.default_rng(seed)

    def bases(count: int, stream: Any) -> None:
        for start in range(0, count, _BLOCK):
            letters = np.frombuffer(b"ACGT", np.uint8)[generator.integers(0, 4, min(_BLOCK, count - start), np.uint8)]
            whole = len(letters) // _LINE * _LINE
            lines = np.full((whole // _LINE, _LINE + 1), ord("\n"), np.uint8)
            lines[:, :_LINE] = letters[:whole].reshape(-1, _LINE)
            stream.write(lines.tobytes())
            if whole < len(letters):
                stream.write(letters[whole:].tobytes() + b"\n")

    with open(path, "wb") as stream:
        long = mbp * 2 // 3
        stream.write(b">chr1\n")
        bases(long * 1_000_000, stream)
        for number in range(mbp - long):
            stream.write(f">contig{number}\n".encode())
            bases(1_000_000, stream)


def smallest_codec(folder: Path) -> None:
    """A codec of one block of width 4, with codebooks that saw a batch."""
    torch.manual_seed(0)
    config = VQDNACodecConfig(
        hidden_size=4, stem_size=4, num_blocks=1, kernel_size=3, expansion=1, codebook_dim=4, codebook_sizes=[16],
        tap_positions=[1],
    )  # fmt: skip
    codec = VQDNACodecModel(config).train()
    codec(torch.randint(5, 9, (8, 128)))
    codec.eval().save_pretrained(folder)


def measure(mbp: int, folder: Path) -> dict[str, Any]:
    """Encode a genome of this size in a process of its own.

    Returns:
        Mbp, the process's peak resident set in GB (10^9 bytes), its seconds, and the size of what it wrote.
    """
    genome, codec, output = folder / f"{mbp}.fa", folder / "codec", folder / f"{mbp}.parquet"
    write_genome(genome, mbp)
    if not codec.exists():
        smallest_codec(codec)
    start = time.perf_counter()
    words = [sys.executable, "-m", "vqdna_hf", "encode", genome, "-m", codec, "-o", output]
    process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True)
    with process:
        shown = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)  # of this child alone
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"encode failed: {shown}")
    seconds = time.perf_counter() - start
    genome.unlink()
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "mbp": mbp,
        "peak_gb": round(usage.ru_maxrss * unit / 1e9, 3),
        "seconds": round(seconds, 1),
        "output_mb": round(output.stat().st_size / 1e6, 1),
    }


def main() -> None:
    """Measure each size, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mbp", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(mbp, Path(folder)) for mbp in args.mbp]
    for row in rows:
        print(json.dumps(row))
    if args.output:
        write_json(args.output, {"torch": torch.__version__, "cores": os.cpu_count(), "rows": rows})


if __name__ == "__main__":
    main()
