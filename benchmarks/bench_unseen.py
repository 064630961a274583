# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Masked accuracy on genomes that a checkpoint's corpus never saw, group by group.

    python benchmarks/bench_unseen.py CHECKPOINT [--corpus examples/recipes/vqdna-hrq-tiny/corpus.yaml] [--windows 512]

The genomes are those that the corpus holds out, and those of groups that it has nothing of, by the table of accessions
(`genomes/index.tsv`). A quarter of the bases is hidden, as in training; windows are spread evenly over each group and
masks depend on their place, so that every checkpoint of one window answers the same questions. Beside the accuracy
stands that of always saying the group's commonest base.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader

from vqdna_hf import VQDNAForMaskedLM
from vqdna_hf.data import Corpus, MaskedNucleotideCollator, TiledDataset
from vqdna_hf.data.accessions import Accessions
from vqdna_hf.data.corpus import matches_path
from vqdna_hf.evaluation.records import write_record
from vqdna_hf.training import load_pretrained, masked_lm_metrics, masked_lm_sums, run_script

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("VQDNA_DATA", ROOT.parent / "shared" / "data"))
CORPUS = ROOT / "examples" / "recipes" / "vqdna-hrq-tiny" / "corpus.yaml"
RESULTS = ROOT / "benchmarks" / "results" / "evaluation" / "unseen"
BATCH = 64


def unseen(manifest: dict[str, Any], data: Path) -> dict[str, list[Path]]:
    """Files by group: held out, or of a group without any training file."""
    trained = {entry["group"] for entry in manifest["inputs"] if entry.get("weight", 1) > 0}
    table = Accessions(data / "genomes" / "index.tsv")
    found: dict[str, list[Path]] = {}
    for path in sorted((data / "genomes").glob("*/*.fa.gz")):
        group = table.find(path)["group"]
        held_out = any(matches_path(str(path), pattern) for pattern in manifest["held_out"])
        if held_out or group.split("_")[0] not in trained:
            found.setdefault(group, []).append(path)
    return found


@torch.no_grad()
def accuracy(model: VQDNAForMaskedLM, files: list[Path], window: int, windows: int) -> dict[str, float]:
    """What the model says of hidden bases."""
    dataset = TiledDataset(Corpus.from_files([str(path) for path in files]), window=window, max_samples=windows)
    collate = MaskedNucleotideCollator(mask_level=model.config.mask_level)
    sums: dict[str, torch.Tensor] = {}
    for batch in DataLoader(dataset, batch_size=BATCH, collate_fn=collate):
        for name, value in masked_lm_sums(batch, model(**batch), model.config).items():
            sums[name] = sums.get(name, torch.zeros(())) + value
    return {**masked_lm_metrics(sums), "windows": len(dataset), "masked": int(sums["masked"])}


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="a masked language model")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="the manifest of its corpus")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--window", type=int, default=256, help="bases")
    parser.add_argument("--windows", type=int, default=512, help="of each group, at most")
    parser.add_argument("--name", help="of the record; default: the checkpoint's folder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    model = load_pretrained(VQDNAForMaskedLM, args.checkpoint).eval()
    start, groups = time.perf_counter(), {}
    for group, files in unseen(yaml.safe_load(args.corpus.read_text()), args.data).items():
        found = accuracy(model, files, args.window, args.windows)
        groups[group] = {**found, "files": [path.name for path in files]}
        print(f"{group}: {found['masked_accuracy']:.4f} (commonest base {found['commonest_base_accuracy']:.4f})")
    name = args.name or Path(args.checkpoint).name
    write_record(
        args.results / f"{name}.json",
        kind="unseen",
        name=name,
        results={"groups": groups, "window": args.window},
        command=f"python benchmarks/bench_unseen.py {os.path.relpath(args.checkpoint)} --window {args.window} "
        f"--windows {args.windows} --name {name}",
        seconds=time.perf_counter() - start,
    )
    return 0


if __name__ == "__main__":
    run_script(main)
