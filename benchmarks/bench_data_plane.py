# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Which library reads genomes and variants, and how fast ids reach the model: everything on one core.

    python benchmarks/bench_data_plane.py [genome.fa.gz] [--rounds 5] [--variants 100000]

Three parts, each in `--rounds` rounds that measure all candidates in turn, so that a busy machine slows all alike:

- access to an indexed FASTA file (opened, 1 kb at random places, 8 kb windows in order), as nucleotide ids;
- reading a bgzip VCF file (chromosome, position, alleles, allele frequency), sites only and with samples;
- the data path of `vqdna encode`: `Genome`, regions, windows of 8,190 that overlap by 256, batches of int64.

Figures are medians, by the processor's time and by the clock; they differ where others use the machine. Prints tables
and writes all as JSON into `benchmarks/results/data_plane.json`. Without a file a genome is simulated. Exits with 1 if
candidates disagree, or if the data path is slower than 50 Mbp/s of processor time for any kind of file.
"""

import argparse
import gzip
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cyvcf2
import numpy as np
import pyfaidx
import pysam
import torch

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.files import write_json
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import whole_records
from vqdna_hf.data.simulate import simulate_genome
from vqdna_hf.data.vcf import open_vcf
from vqdna_hf.inference.batching import pad_batch
from vqdna_hf.inference.windows import WindowPlan
from vqdna_hf.model.tokenization_vqdna import BYTE_TO_ID

RESULTS = Path(__file__).resolve().parent / "results" / "data_plane.json"
SLOWEST_PATH = 50.0
WINDOW, OVERLAP, BATCH_BASES = 8190, 256, 1 << 15
FETCHES, FETCH_BASES, STEP = 2000, 1000, 8192
SEQUENTIAL_BASES = 20_000_000
SAMPLES = 8

Fetch = Callable[[str, int, int], Any]
Seconds = tuple[float, float]


def seconds(function: Callable[[], object]) -> Seconds:
    """One call: seconds of the processor, seconds by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - processor, time.perf_counter() - clock


def median(values: list[Seconds]) -> Seconds:
    """Of each of the two kinds of seconds."""
    return statistics.median(value[0] for value in values), statistics.median(value[1] for value in values)


def write_genome(source: str | None, megabases: float, folder: Path) -> dict[str, Path]:
    """The genome plain, gzip and bgzip, each bare; plain and bgzip also in a folder with an index."""
    paths = {name: folder / name / "genome.fa" for name in ("plain", "plain, indexed", "gzip", "bgzip, indexed")}
    paths["bgzip"] = folder / "bgzip" / "genome.fa"
    for path in paths.values():
        path.parent.mkdir()
    with open(paths["plain"], "wb") as plain:
        if source is None:
            letters = decode_ids(simulate_genome(int(megabases * 1e6), seed=0)).encode()
            plain.write(b">simulated\n")
            plain.writelines(letters[i : i + 80] + b"\n" for i in range(0, len(letters), 80))
        else:
            with open(source, "rb") as raw:
                packed = raw.read(2) == b"\x1f\x8b"
            with gzip.open(source) if packed else open(source, "rb") as stream:
                shutil.copyfileobj(stream, plain)
    shutil.copy(paths["plain"], paths["plain, indexed"])
    with open(paths["plain"], "rb") as plain, gzip.open(paths["gzip"], "wb", compresslevel=6) as packed_file:
        shutil.copyfileobj(plain, packed_file)
    pysam.tabix_compress(str(paths["plain"]), str(paths["bgzip"]))
    shutil.copy(paths["bgzip"], paths["bgzip, indexed"])
    for name in ("plain, indexed", "bgzip, indexed"):
        pysam.faidx(str(paths[name]))
    return paths


def access_candidates(paths: dict[str, Path]) -> dict[str, Callable[[], Fetch]]:
    """Each opens a file and gives a function that fetches ids."""

    def ours(name: str) -> Callable[[], Fetch]:
        return lambda: Genome.open(paths[name]).fetch

    def of_pysam(name: str) -> Fetch:
        file = pysam.FastaFile(str(paths[name]))
        return lambda chrom, start, end: np.frombuffer(
            file.fetch(chrom, start, end).encode().translate(BYTE_TO_ID), dtype=np.uint8
        )

    def of_pyfaidx() -> Fetch:
        file = pyfaidx.Fasta(str(paths["plain, indexed"]), as_raw=True, rebuild=False)
        return lambda chrom, start, end: np.frombuffer(
            file[chrom][start:end].encode().translate(BYTE_TO_ID), dtype=np.uint8
        )

    return {
        "Genome, plain, indexed": ours("plain, indexed"),
        "pysam, plain, indexed": lambda: of_pysam("plain, indexed"),
        "pyfaidx, plain, indexed": of_pyfaidx,
        "Genome, bgzip, indexed": ours("bgzip, indexed"),
        "pysam, bgzip, indexed": lambda: of_pysam("bgzip, indexed"),
        "Genome, plain (made index)": ours("plain"),
        "Genome, gzip (temporary copy)": ours("gzip"),
        "Genome, bgzip (temporary copy)": ours("bgzip"),
    }


def measure_access(paths: dict[str, Path], rounds: int) -> tuple[dict[str, Any], bool]:
    """Opening, random and sequential access; whether all gave the same ids."""
    with Genome.open(paths["plain, indexed"]) as genome:
        lengths = genome.lengths
    rng = np.random.default_rng(0)
    names = rng.choice(list(lengths), FETCHES, p=np.array([*lengths.values()]) / sum(lengths.values()))
    places = [(str(name), int(rng.integers(max(lengths[str(name)] - FETCH_BASES, 1)))) for name in names]
    longest = max(lengths, key=lambda name: lengths[name])
    end = min(lengths[longest], SEQUENTIAL_BASES) // STEP * STEP
    candidates = access_candidates(paths)
    found: dict[str, dict[str, list[Seconds]]] = {name: {"open": [], "random": [], "order": []} for name in candidates}
    sums = set()
    for _ in range(rounds):
        for name, opener in candidates.items():
            opened: list[Fetch] = []
            found[name]["open"].append(seconds(lambda opener=opener, opened=opened: opened.append(opener())))
            fetch, total = opened[0], np.zeros(2, dtype=np.int64)
            found[name]["random"].append(
                seconds(lambda fetch=fetch: [fetch(chrom, start, start + FETCH_BASES) for chrom, start in places])
            )
            found[name]["order"].append(
                seconds(lambda fetch=fetch: [fetch(longest, start, start + STEP) for start in range(0, end, STEP)])
            )
            for chrom, start in places[:200]:
                total += [int(fetch(chrom, start, start + FETCH_BASES).sum()), int(fetch(chrom, start, start + 1)[0])]
            sums.add(tuple(total.tolist()))
    table = {}
    for name, times in found.items():
        opened_in, random_in, order_in = (median(times[kind]) for kind in ("open", "random", "order"))
        table[name] = {
            "open, ms": opened_in[0] * 1e3,
            "1 kb at random, us": random_in[0] / FETCHES * 1e6,
            "8 kb in order, Mbp/s": end / 1e6 / order_in[0],
            "8 kb in order, Mbp/s by the clock": end / 1e6 / order_in[1],
        }
    return table, len(sums) == 1


def write_variants(genome: Genome, number: int, samples: int, path: Path) -> None:
    """Simulated SNVs and short indels at random places, sorted, bgzip."""
    rng = np.random.default_rng(1)
    share = np.array([*genome.lengths.values()]) / genome.bases
    with pysam.BGZFile(str(path), "wb", None) as file:
        header = ["##fileformat=VCFv4.3", '##INFO=<ID=AF,Number=A,Type=Float,Description="Frequency">']
        header += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">']
        header += [f"##contig=<ID={name},length={length}>" for name, length in genome.lengths.items()]
        columns = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"]
        columns += ["FORMAT", *(f"sample{i}" for i in range(samples))] if samples else []
        file.write("\n".join([*header, "\t".join(columns), ""]).encode())
        for name, count in zip(genome.names, rng.multinomial(number, share), strict=True):
            for place in np.sort(rng.integers(0, max(genome.lengths[name] - 4, 1), count)):
                ref = decode_ids(genome.fetch(name, int(place), int(place) + int(rng.choice([1, 1, 1, 1, 3]))))
                other = "ACGT"[("ACGT".find(ref[0]) + 1) % 4]
                alt = ref[0] + "AC"[: rng.integers(1, 3)] if rng.random() < 0.2 else other
                row = [name, str(place + 1), ".", ref, alt, "30", "PASS", f"AF={rng.random():.4f}"]
                row += ["GT", *rng.choice(["0|0", "0|1", "1|1"], samples)] if samples else []
                file.write(("\t".join(row) + "\n").encode())


def variant_readers(path: Path) -> dict[str, Callable[[], Iterator[tuple[str, int, str, str, float]]]]:
    """Each gives chromosome, position from 1, REF, ALT and allele frequency of each line."""

    def of_pysam() -> Iterator[tuple[str, int, str, str, float]]:
        with pysam.VariantFile(str(path)) as file:
            for record in file:
                yield record.chrom, record.pos, record.ref or "", (record.alts or ("",))[0], record.info["AF"][0]

    def of_cyvcf2() -> Iterator[tuple[str, int, str, str, float]]:
        for record in cyvcf2.VCF(str(path)):
            yield record.CHROM, record.POS, record.REF, record.ALT[0], record.INFO["AF"]

    def ours() -> Iterator[tuple[str, int, str, str, float]]:
        with open_vcf(path) as file:
            for record in file:
                fields = record.text.split(b"\t", 8)
                yield record.chrom, record.position, record.ref, record.alts[0], float(fields[7].partition(b"AF=")[2])

    return {"pysam": of_pysam, "cyvcf2": of_cyvcf2, "open_vcf (checks each line)": ours}


def measure_variants(genome: Genome, number: int, rounds: int, folder: Path) -> tuple[dict[str, Any], bool]:
    """Thousand lines a second of each reader; whether all gave the same."""
    table: dict[str, Any] = {}
    equal = True
    for kind, samples in (("sites only", 0), (f"{SAMPLES} samples", SAMPLES)):
        path = folder / f"{samples}.vcf.gz"
        write_variants(genome, number, samples, path)
        readers = variant_readers(path)
        rows = [[(*row[:4], round(row[4], 4)) for row in read()] for read in readers.values()]
        equal = equal and len(rows[0]) == number and all(row == rows[0] for row in rows)
        del rows
        times: dict[str, list[Seconds]] = {name: [] for name in readers}
        for _ in range(rounds):
            for name, read in readers.items():
                times[name].append(seconds(lambda read=read: sum(1 for _ in read())))
        table[kind] = {
            name: {
                "thousand lines/s": number / 1e3 / median(times[name])[0],
                "thousand lines/s by the clock": number / 1e3 / median(times[name])[1],
            }
            for name in readers
        }
    return table, equal


def read_all(path: Path) -> tuple[int, int, Seconds]:
    """The data path from the file to int64 batches: bases, the ids' sum, and the seconds that opening took."""
    opened: list[Genome] = []
    opening = seconds(lambda: opened.append(Genome.open(path)))
    total = 0
    with opened[0] as genome:
        plan = WindowPlan(whole_records(genome), WINDOW, OVERLAP)
        for unit in plan.units():
            for start in range(0, len(unit.pieces), BATCH_BASES // WINDOW):
                pieces = unit.pieces[start : start + BATCH_BASES // WINDOW]
                ids, _ = pad_batch([plan.read(genome, piece) for piece in pieces], special=False)
                total += int(ids[:, 0].sum())
        return genome.bases, total, opening


def measure_path(paths: dict[str, Path], rounds: int) -> tuple[dict[str, Any], bool]:
    """Mbp/s of each kind of file, with opening; whether all gave the same ids."""
    times: dict[str, list[Seconds]] = {name: [] for name in paths}
    openings: dict[str, list[Seconds]] = {name: [] for name in paths}
    found: set[tuple[int, int]] = set()
    for _ in range(rounds):
        for name, path in paths.items():
            results: list[tuple[int, int, Seconds]] = []
            times[name].append(seconds(lambda path=path, results=results: results.append(read_all(path))))
            bases, total, opening = results[0]
            openings[name].append(opening)
            found.add((bases, total))
    megabases = next(iter(found))[0] / 1e6
    table = {}
    for name in paths:
        (processor, clock), opening = median(times[name]), median(openings[name])
        table[name] = {
            "Mbp/s": megabases / processor,
            "Mbp/s by the clock": megabases / clock,
            "Mbp/s once open": megabases / max(processor - opening[0], 1e-9),
            "open, s": opening[0],
        }
    return table, len(found) == 1


def machine() -> dict[str, Any]:
    """What was measured on."""
    model = platform.processor()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    modules = {"cyvcf2": cyvcf2, "numpy": np, "pyfaidx": pyfaidx, "pysam": pysam, "torch": torch}
    return {
        "cores": os.cpu_count(),
        "cores used": 1,
        "processor": model,
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), "htslib": pysam.version.__htslib_version__}
        | {name: str(module.__version__) for name, module in modules.items()},
    }


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """A Markdown table."""
    columns = list(next(iter(rows.values())))
    print(f"\n| {title} | {' | '.join(columns)} |\n|---|{'---:|' * len(columns)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[column]:,.1f}' for column in columns)} |")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print tables, write JSON, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="a FASTA file; simulated without one")
    parser.add_argument("--megabases", type=float, default=100.0, help="of a simulated genome")
    parser.add_argument("--variants", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    pysam.set_verbosity(0)  # it misses an index that is not needed
    with tempfile.TemporaryDirectory() as name:
        paths = write_genome(options.path, options.megabases, Path(name))
        access, access_equal = measure_access(paths, options.rounds)
        path, path_equal = measure_path(paths, options.rounds)
        with Genome.open(paths["plain, indexed"]) as genome:
            bases = genome.bases
            variants, variants_equal = measure_variants(genome, options.variants, options.rounds, Path(name))
    results = {"access to FASTA": access, "VCF": variants, "data path": path}
    about = {
        "genome": os.path.basename(options.path) if options.path else "simulated",
        "bases": bases,
        "variants": options.variants,
        "rounds": options.rounds,
        "not measured": "pyfaidx on bgzip: it needs Biopython",
    }
    write_json(options.output, {"measured on": about, "machine": machine(), "results": results})
    print(f"{bases / 1e6:.1f} Mbp of {about['genome']}, one core, medians of {options.rounds} rounds")
    print_table("FASTA", access)
    for kind, rows in variants.items():
        print_table(f"VCF, {options.variants:,} lines, {kind}", rows)
    print_table("data path", path)
    if not (access_equal and path_equal and variants_equal):
        print("candidates disagree", file=sys.stderr)
        return 1
    return 0 if min(row["Mbp/s"] for row in path.values()) >= SLOWEST_PATH else 1


if __name__ == "__main__":
    sys.exit(main())
