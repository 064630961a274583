# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A virus of 600 bases in files: 30 lineages of 3 clades, each with mutations of its clade and some of its own."""

from pathlib import Path

import numpy as np

from vqdna_hf.data import decode_ids, simulate_genome
from vqdna_hf.evaluation.lineages import LineageFiles

BASES, CLADES, PER_CLADE = 600, ("one", "two", "three"), 10
OTHER = {"A": "G", "G": "A", "C": "T", "T": "C"}
DELETIONS = ("", "201-203", "450")
"""Of each clade's lineages."""


def write_virus(folder: Path, seed: int = 0) -> LineageFiles:
    """Write the four files, laid out as the real ones."""
    reference = decode_ids(simulate_genome(BASES, seed=seed))
    files = LineageFiles.in_folder(folder)
    for path in (files.mutations, files.reference):
        path.parent.mkdir(parents=True, exist_ok=True)
    files = LineageFiles(folder / "pango" / "lineage_mutations.tsv", files.table, files.reference, files.genes)
    generator = np.random.default_rng(seed)
    free = [place for place in range(5, BASES - 5) if not 195 <= place < 210 and place != 449]
    places = generator.permutation(free)
    rows, table = [], []
    for number, clade in enumerate(CLADES):
        shared = places[6 * number : 6 * number + 6]
        for lineage in range(PER_CLADE):
            own = places[30 + 2 * (number * PER_CLADE + lineage) :][:2]
            words = [f"{reference[at]}{at + 1}{OTHER[reference[at]]}" for at in sorted([*shared, *own])]
            rows.append(f"{clade}.{lineage}\t{','.join(words)}\t{DELETIONS[number]}")
            table.append(f"{clade}.{lineage}\t{clade}")
    files.mutations.write_text("\n".join(["lineage\tsubstitutions\tdeletions", *rows]) + "\n")
    files.table.write_text("\n".join(["lineage\tnextstrain_clade", *table, "extra\trecombinant"]) + "\n")
    files.reference.write_text(f">virus\n{reference}\n")
    files.genes.write_text("##gff-version 3\n.\t.\tgene\t101\t400\t.\t+\t.\tgene_name=S\n")
    return files
