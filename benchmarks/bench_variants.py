# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""How variant scores go with allele frequency: 1000 Genomes sites of one megabase, rank correlations.

    python benchmarks/bench_variants.py CHECKPOINT [--window 128] [--strand both] [--limit N]

Scores every variant of a VCF whose INFO holds AF, with the function behind `vqdna variants`, and writes Spearman's rank
correlation of each score with AF and with the minor allele's frequency. Sites near each other share windows and
history, so the 95 % intervals come from a bootstrap of blocks of 20 kb. Two controls know nothing of the model: whether
a substitution is a transition, and the log-likelihood ratio of the two bases given the three on each side, counted in
this genome on both strands.
"""

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.files import write_json
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.vcf import open_vcf, to_ids
from vqdna_hf.inference.checkpoints import load_checkpoint
from vqdna_hf.inference.variant_scores import SCORES
from vqdna_hf.inference.variants import score_variants

DATA = Path(os.environ.get("VQDNA_DATA", "../shared/data"))
CALLS = "variants/vg_1mb1kgp_z.vcf.gz"
GENOME = "genomes/human/Homo_sapiens_1000G_1Mb_z.fa.gz"
RESULTS = Path(__file__).parent / "results" / "variants.json"
BLOCK_BASES = 20_000
RESAMPLES = 2_000
CONTEXT = 3
FIRST_BASE = 5  # the id of A
CONTROLS = ("transition", "context_llr")  # of substitutions alone


def frequencies(path: Path) -> pd.DataFrame:
    """AF of each ALT, by line of the VCF and number of the ALT; rows without one are left out."""
    rows = []
    with open_vcf(path) as vcf:
        for record in vcf:
            info = record.text.split(b"\t")[7].decode().split(";")
            values = next((one[3:].split(",") for one in info if one.startswith("AF=")), [])
            rows += [(record.line, number, float(value)) for number, value in enumerate(values, start=1)]
    return pd.DataFrame(rows, columns=["line", "allele", "af"])


def context_numbers(bases: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For each position with `CONTEXT` bases on each side a number for these, -1 where one of them is N."""
    digits = bases.astype(np.int64) - FIRST_BASE
    size = len(bases) - 2 * CONTEXT
    places = [*range(CONTEXT), *range(CONTEXT + 1, 2 * CONTEXT + 1)]
    parts = np.stack([digits[place : place + size] for place in places])
    numbers = (parts * (4 ** np.arange(len(places)))[:, None]).sum(0)
    return np.where((parts < 4).all(0), numbers, -1)


def context_ratio(genome: Genome, table: pd.DataFrame) -> NDArray[np.float64]:
    """log p(ALT) - log p(REF) given the bases around, counted on both strands; NaN for all but substitutions."""
    counts = np.ones((4 ** (2 * CONTEXT), 4))
    numbers = {}
    for name in genome.names:
        bases = genome.fetch(name, 0, genome.lengths[name])
        for strand in (bases, reverse_complement_array(bases)):
            around, centre = context_numbers(strand), strand[CONTEXT:-CONTEXT].astype(np.int64) - FIRST_BASE
            known = (around >= 0) & (centre < 4)
            np.add.at(counts, (around[known], centre[known]), 1)
        numbers[name] = context_numbers(bases)
    found = np.full(len(table), np.nan)
    for row, (chrom, pos, ref, alt) in enumerate(table[["chrom", "pos", "ref", "alt"]].itertuples(index=False)):
        place = pos - 1 - CONTEXT
        if len(ref) == len(alt) == 1 and 0 <= place < len(numbers[chrom]) and numbers[chrom][place] >= 0:
            old, new = to_ids(ref)[0] - FIRST_BASE, to_ids(alt)[0] - FIRST_BASE
            found[row] = np.log(counts[numbers[chrom][place], new] / counts[numbers[chrom][place], old])
    return found


def block_correlation(
    one: NDArray[np.float64], other: NDArray[np.float64], blocks: NDArray[np.int64], seed: int = 0
) -> tuple[float, float, float]:
    """Spearman's rho, and a 95 % interval by resampling blocks of neighbouring sites with their ranks."""
    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (one, other))
    _, block = np.unique(blocks, return_inverse=True)
    sums = np.stack([np.bincount(block, values) for values in (np.ones_like(x), x, y, x * x, y * y, x * y)])
    rng = np.random.default_rng(seed)
    size = sums.shape[1]
    weights = np.vstack([np.ones(size), rng.multinomial(size, np.full(size, 1 / size), RESAMPLES)])
    n, sx, sy, sxx, syy, sxy = sums @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (sxy - sx * sy / n) / np.sqrt((sxx - sx**2 / n) * (syy - sy**2 / n))
    low, high = np.nanpercentile(rho[1:], [2.5, 97.5])
    return float(rho[0]), float(low), float(high)


def correlations(table: pd.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """Of every score with both frequencies, for all variants, substitutions of a base, and the others."""
    is_snv = (table["ref"].str.len() == 1) & (table["alt"].str.len() == 1)
    kinds = {"all": np.ones(len(table), bool), "snv": is_snv, "other": ~is_snv}
    found = []
    for name in names:
        for kind, chosen in kinds.items():
            part = table[chosen & table[name].notna()]
            if (name in CONTROLS) > (kind == "snv") or len(part) < 100 or part[name].nunique() < 2:
                continue
            for against in ("af", "maf"):
                rho, low, high = block_correlation(
                    part[name].to_numpy(float), part[against].to_numpy(float), part["pos"].to_numpy() // BLOCK_BASES
                )
                row = {"score": name, "variants": kind, "against": against, "n": len(part)}
                found.append({**row, "rho": rho, "ci95": [low, high]})
    return found


def print_table(rows: list[dict[str, Any]]) -> None:
    """Markdown: a line a score and kind of variants."""
    print("| score | variants | n | rho with AF | rho with minor AF |\n|---|---|---:|---:|---:|")
    for af, maf in zip(rows[::2], rows[1::2], strict=True):
        cells = [f"{row['rho']:+.3f} [{row['ci95'][0]:+.3f}, {row['ci95'][1]:+.3f}]" for row in (af, maf)]
        print(f"| {af['score']} | {af['variants']} | {af['n']:,} | {' | '.join(cells)} |")


def main(arguments: list[str] | None = None) -> int:
    """Score, correlate, print and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--window", type=int, default=128)
    parser.add_argument("--strand", default="both")
    parser.add_argument("--scores", default=",".join(SCORES))
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    checkpoint = load_checkpoint(options.checkpoint)
    start, cpu_start = time.perf_counter(), time.process_time()
    report = score_variants(
        checkpoint, DATA / GENOME, DATA / CALLS, scores=options.scores.split(","), window=options.window,
        strand=options.strand,
    )  # fmt: skip
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    assert report.table is not None
    table = report.table.to_pandas().merge(frequencies(DATA / CALLS), on=["line", "allele"])
    table["maf"] = np.minimum(table["af"], 1 - table["af"])
    pairs = table["ref"] + table["alt"]
    table["transition"] = pairs.isin(["AG", "GA", "CT", "TC"]).where(pairs.str.len() == 2).astype(float)
    with Genome.open(DATA / GENOME) as genome:
        table["context_llr"] = context_ratio(genome, table)
    names = [name for name in report.table.column_names if name.startswith(("llr", "cosine", "l2", "changed", "span"))]
    rows = correlations(table, [*names, *CONTROLS])
    agreement = None
    if "llr" in names:
        known = table[table["context_llr"].notna()]
        agreement = block_correlation(
            known["llr"].to_numpy(float), known["context_llr"].to_numpy(), known["pos"].to_numpy() // BLOCK_BASES
        )
    print(report.summary)
    print_table(rows)
    if agreement is not None:
        print("\nllr with context_llr: {:+.3f} [{:+.3f}, {:+.3f}]".format(*agreement))
    about = {
        "model": checkpoint.describe(), "window": options.window, "strand": options.strand, "layer": -1,
        "calls": Path(CALLS).name, "genome": Path(GENOME).name,
        "seconds": round(seconds, 1), "cpu_seconds": round(cpu_seconds, 1),
        "alleles_per_cpu_second": round(len(report.table) / cpu_seconds, 1), "block_bases": BLOCK_BASES,
        "threads": torch.get_num_threads(), "python": platform.python_version(), "torch": torch.__version__,
    }  # fmt: skip
    counts = {"records": report.summary.records, "scored": report.summary.scored, "skipped": report.summary.skipped}
    write_json(options.results, {**about, **counts, "llr_with_context_llr": agreement, "correlations": rows})
    print(f"\n{seconds:.0f} s, {cpu_seconds:.0f} s of one core; {options.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
