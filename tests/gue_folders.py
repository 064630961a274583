# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Tiny folders in the layout of GUE, tiny genomes with a table of them, and a tiny checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from example_scripts import TINY_CODEC, TINY_MODEL

from vqdna_hf import VQDNAConfig, VQDNAForMaskedLM


def write_split(path: Path, rows: list[tuple], header: str = "sequence,label") -> None:
    """One table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def rows_of(number: int, seed: int, bases: int = 24) -> list[tuple[str, int]]:
    """Class 1 has G and C where class 0 has A and T: easily learnt."""
    rng = np.random.default_rng(seed)
    return [("".join(rng.choice(list(("AT", "GC")[row % 2]), bases)), row % 2) for row in range(number)]


def write_set(folder: Path, train: int = 24, dev: int = 8, test: int = 10, seed: int = 0) -> Path:
    """One complete set."""
    for number, (split, size) in enumerate({"train": train, "dev": dev, "test": test}.items()):
        write_split(folder / f"{split}.csv", rows_of(size, 10 * seed + number))
    return folder


def save_checkpoint(folder: Path, seed: int = 0) -> Path:
    """A masked language model, hidden size 16, whose codebooks are filled."""
    torch.manual_seed(seed)
    model = VQDNAForMaskedLM(VQDNAConfig(codec_config=TINY_CODEC, **TINY_MODEL))
    model.vqdna.codec.train()
    with torch.no_grad():
        model.vqdna.codec(torch.randint(5, 9, (8, 64)))
    model.eval().save_pretrained(folder)
    return folder


def letters(bases: int, seed: int) -> str:
    """Random bases."""
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))


def write_genomes(folder: Path, genomes: Mapping[tuple[str, str, str], list[str]]) -> Path:
    """Genomes by (file, species, group), each a list of contigs, and the table of them."""
    rows = ["file\tspecies\tgroup\taccession"]
    for (file, species, group), contigs in genomes.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        text = "".join(f">{file}_{number}\n{contig}\n" for number, contig in enumerate(contigs))
        (folder / group / f"{file}.fa").write_text(text)
        rows.append(f"{folder.name}/{group}/{file}.fa\t{species}\t{group}\tnone")
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")
    return folder


def contigs_of(seed: int, number: int = 5, bases: int = 1000) -> list[str]:
    """The contigs of one random genome."""
    return [letters(bases, 100 * seed + contig) for contig in range(number)]
