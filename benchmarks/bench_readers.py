# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Speed of getting ids out of text, in million bases a second on one core: medians of several rounds.

    python benchmarks/bench_readers.py [genome.fa.gz] [--megabases 20] [--rounds 7]

Without a file a simulated genome is used. The ways are measured in turn within each round, so that a busy
machine slows all of them alike, and ratios are medians of the rounds' ratios. Exits with 1 if the byte table
gives different ids, or is slower than 50 million bases a second.
"""

import argparse
import gzip
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

# One thread for the Rust tokenizer as well: all figures are per core. Must be set before it is imported.
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from vqdna_hf.data import decode_ids, read_fasta, simulate_genome
from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID, build_tokenizer

CHUNK_BASES = 1_000
TOKENIZER_BASES = 2_000_000
SLOWEST_TABLE = 50.0


def load_text(path: str | None, bases: int) -> str:
    """At most `bases` bases of a FASTA file, or of a simulated genome, as upper-case text."""
    if path is None:
        return decode_ids(simulate_genome(bases, seed=0))
    text = ""
    for record in read_fasta(path):
        text += decode_ids(record.ids[: bases - len(text)])
        if len(text) >= bases:
            break
    return text


def write_files(text: str, folder: str) -> dict[str, str]:
    """The text as FASTA in lines of 60, plain and gzip."""
    lines = "\n".join(text[i : i + 60] for i in range(0, len(text), 60))
    data = f">benchmark\n{lines}\n".encode("ascii")
    paths = {"plain": os.path.join(folder, "plain.fa"), "gzip": os.path.join(folder, "packed.fa.gz")}
    with open(paths["plain"], "wb") as file:
        file.write(data)
    with gzip.open(paths["gzip"], "wb", compresslevel=6) as packed:
        packed.write(data)
    return paths


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="a FASTA file to take the bases from; simulated without one")
    parser.add_argument("--megabases", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    text = load_text(options.path, int(options.megabases * 1e6))
    raw = text.encode("ascii")
    part = text[:TOKENIZER_BASES]
    chunks = [part[i : i + CHUNK_BASES] for i in range(0, len(part), CHUNK_BASES)]
    backend = build_tokenizer().backend_tokenizer
    encoded = backend.encode_batch_fast(chunks, add_special_tokens=False)
    if any(e.ids != list(c.encode().translate(BYTE_TO_ID)) for e, c in zip(encoded, chunks, strict=True)):
        print("the byte table and the tokenizer disagree", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        paths = write_files(text, folder)
        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "byte table, whole": (len(raw), lambda: raw.translate(BYTE_TO_ID)),
            "byte table, 1 kb chunks": (
                len(part),
                lambda: [c.encode("ascii").translate(BYTE_TO_ID) for c in chunks],
            ),
            "tokenizer, encode_batch_fast, 1 kb chunks": (
                len(part),
                lambda: [e.ids for e in backend.encode_batch_fast(chunks, add_special_tokens=False)],
            ),
            "read_fasta, plain": (len(raw), lambda: list(read_fasta(paths["plain"]))),
            "read_fasta, gzip": (len(raw), lambda: list(read_fasta(paths["gzip"]))),
        }
        rounds = [
            {name: bases / 1e6 / seconds(call) for name, (bases, call) in ways.items()} for _ in range(options.rounds)
        ]
    source = options.path or "a simulated genome"
    print(f"{len(raw) / 1e6:.1f} Mbp of {source}, medians of {options.rounds} rounds\n")
    print("| way | Mbp/s on one core | times the tokenizer |\n|---|---:|---:|")
    reference = "tokenizer, encode_batch_fast, 1 kb chunks"
    for name in ways:
        speed = statistics.median(speeds[name] for speeds in rounds)
        ratio = statistics.median(speeds[name] / speeds[reference] for speeds in rounds)
        print(f"| {name} | {speed:,.1f} | {ratio:,.1f} |")
    table = statistics.median(speeds["byte table, 1 kb chunks"] for speeds in rounds)
    return 0 if table >= SLOWEST_TABLE else 1


if __name__ == "__main__":
    sys.exit(main())
