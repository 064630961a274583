# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Lineages of a virus as mutations of a reference: tables read and checked, genomes, genes, what a mutation does.

Made for SARS-CoV-2: the consensus genomes of Pango lineages differ from MN908947.3 in few places, so a table of
substitutions and deletions says all of them. Positions count from 0 here, ends are not included; in the files and in
names they count from 1, as everywhere in the literature.
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from vqdna_hf.data.fasta import decode_ids, open_binary, read_fasta
from vqdna_hf.data.intervals import whole_number
from vqdna_hf.data.tables import read_table
from vqdna_hf.model.tokenization_vqdna import NUCLEOTIDES

__all__ = [
    "Effect",
    "Gene",
    "LineageFiles",
    "Lineages",
    "Mutation",
    "apply_mutations",
    "read_genes",
    "read_lineages",
    "substitution_effects",
]

NO_CLADE = ("", "recombinant")
"""Labels that name no clade: lineages that have none, and those that have several."""

_SUBSTITUTION = re.compile(r"([ACGT])([1-9][0-9]{0,17})([ACGT])")
_DELETION = re.compile(r"([1-9][0-9]{0,17})(?:-([1-9][0-9]{0,17}))?")
# The standard genetic code, codons in the order TTT, TTC, TTA, TTG, TCT, ...; * is a stop.
_AMINO_ACIDS = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
_CODON_LETTERS = "TCAG"


@dataclass(frozen=True, order=True)
class Mutation:
    """A substitution of one base, or a deletion.

    Args:
        start, end: what of the reference it replaces, from 0, end not included.
        alt: the base that stands there instead; empty for a deletion.
        name: such as `C8782T` or `del11288-11296`, counted from 1.

    Example:

    >>> Mutation(8781, 8782, "T", "C8782T").is_deletion
    False
    """

    start: int
    end: int
    alt: str
    name: str

    @property
    def is_deletion(self) -> bool:
        """Whether bases are missing."""
        return not self.alt


@dataclass(frozen=True)
class Gene:
    """A coding sequence on the forward strand, without introns.

    Args:
        name: of the gene.
        start, end: from 0, end not included; whole codons.

    Example:

    >>> Gene("S", 21562, 25384).end - Gene("S", 21562, 25384).start
    3822
    """

    name: str
    start: int
    end: int


@dataclass(frozen=True)
class Effect:
    """What a substitution does to a protein, alone on the reference.

    Args:
        gene: its name.
        name: such as `D614G`; the stop is `*`.
        synonymous: whether the amino acid stays.

    Example:

    >>> Effect("S", "D614G", False).gene
    'S'
    """

    gene: str
    name: str
    synonymous: bool


@dataclass(frozen=True)
class LineageFiles:
    """The files of an analysis.

    Args:
        mutations: table with columns `lineage`, `substitutions` (`C8782T,T28144C`) and `deletions` (`22029-22034`).
        table: with a column `lineage` and one or more columns of labels.
        reference: FASTA of one record.
        genes: GFF3 with the coding sequences.

    Example:

    >>> LineageFiles.in_folder("data").mutations
    PosixPath('data/pango/lineage_mutations.tsv.gz')
    """

    mutations: Path
    table: Path
    reference: Path
    genes: Path

    @classmethod
    def in_folder(cls, folder: str | os.PathLike[str]) -> "LineageFiles":
        """The files of a folder that is laid out as the sources are: `pango/`, `nextclade/`."""
        root = Path(folder)
        orfs = root / "nextclade" / "wuhan-hu-1" / "orfs"
        return cls(
            root / "pango" / "lineage_mutations.tsv.gz",
            root / "pango" / "lineage_table.tsv",
            orfs / "reference.fasta",
            orfs / "genome_annotation.gff3",
        )


@dataclass(frozen=True, eq=False)
class Lineages:
    """Lineages, each by the mutations that it carries.

    Args:
        reference: its letters.
        names: of the N lineages.
        clades: the label of each; empty where it has none.
        mutations: all M that occur, once each, by position.
        carried: for each lineage the numbers of its mutations, by position.
        label: the column that the clades come from.
    """

    reference: str = field(repr=False)
    names: list[str]
    clades: list[str]
    mutations: list[Mutation]
    carried: list[tuple[int, ...]]
    label: str

    def mutations_of(self, number: int) -> list[Mutation]:
        """The mutations of one lineage, by position."""
        return [self.mutations[mutation] for mutation in self.carried[number]]

    def genome(self, number: int) -> str:
        """The letters of one lineage's genome; deleted bases are left out."""
        return "".join(_pieces(self.reference, self.mutations_of(number), 0, len(self.reference)))

    def carriers(self) -> list[int]:
        """For each mutation how many lineages carry it."""
        counts = [0] * len(self.mutations)
        for numbers in self.carried:
            for number in numbers:
                counts[number] += 1
        return counts


def apply_mutations(
    reference: str, mutations: Sequence[Mutation], start: int = 0, end: int | None = None
) -> tuple[str, list[int]]:
    """A part of the reference with mutations.

    Args:
        reference: its letters.
        mutations: by position, none within another; those outside the part do nothing, of deletions what is inside.
        start, end: the part, from 0, end not included; default: all.

    Returns:
        The letters, and for each of them the position in the reference that it stands at.

    Example:

    >>> apply_mutations("ACGTACGT", [Mutation(1, 2, "T", "C2T"), Mutation(3, 5, "", "del4-5")], start=1)
    ('TGCGT', [1, 2, 5, 6, 7])
    """
    end = len(reference) if end is None else end
    kept = range(start, end)
    gone = {place for one in mutations if one.is_deletion for place in range(one.start, one.end)}
    return "".join(_pieces(reference, mutations, start, end)), [place for place in kept if place not in gone]


def _pieces(reference: str, mutations: Sequence[Mutation], start: int, end: int) -> Iterator[str]:
    at = start
    for mutation in mutations:
        if mutation.end > start and mutation.start < end:
            yield reference[at : max(mutation.start, start)]
            yield mutation.alt
            at = min(mutation.end, end)
    yield reference[at:end]


def read_lineages(files: LineageFiles, label: str = "nextstrain_clade") -> Lineages:
    """Read lineages and check every mutation against the reference.

    Args:
        files: `genes` is not read here.
        label: the column of `files.table` that says the clade. A lineage with the label `recombinant`, or without
            one, gets the empty clade.

    Raises:
        ValueError: a file that is missing or cannot be read, an absent column, a lineage that stands twice or has no
            row in the other table, a mutation that is malformed, outside the reference, not of its letter, or that
            meets another; the message names the file and the row.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> files = LineageFiles(folder / "m.tsv", folder / "t.tsv", folder / "r.fa", folder / "g.gff3")
    >>> _ = files.reference.write_text(">virus\\nACGTACGT\\n")
    >>> _ = files.mutations.write_text("lineage\\tsubstitutions\\tdeletions\\nA\\t\\t\\nB\\tC2T\\t4-5\\n")
    >>> _ = files.table.write_text("lineage\\tclade\\nA\\tone\\nB\\ttwo\\n")
    >>> lineages = read_lineages(files, label="clade")
    >>> lineages.genome(1), lineages.clades, [mutation.name for mutation in lineages.mutations]
    ('ATGCGT', ['one', 'two'], ['C2T', 'del4-5'])
    """
    reference = _read_reference(files.reference)
    rows = _read_columns(files.mutations, ["lineage", "substitutions", "deletions"])
    clades = _read_clades(files.table, label)
    names: list[str] = []
    found: list[list[Mutation]] = []
    known: dict[str, Mutation] = {}
    for number, row in enumerate(rows.to_dict("records"), start=1):
        where = f"{files.mutations}: row {number} ({row['lineage'] or 'without a name'})"
        if row["lineage"] not in clades:
            raise ValueError(f"{where}: {files.table} has no such lineage: take both files from the same release")
        names.append(row["lineage"])
        found.append(_parse_row(row, reference, where, files.reference, known))
    _refuse_repeats(files.mutations, names)
    mutations = sorted(set(known.values()))
    numbers = {mutation.name: number for number, mutation in enumerate(mutations)}
    carried = [tuple(numbers[mutation.name] for mutation in row) for row in found]
    return Lineages(reference, names, [clades[name] for name in names], mutations, carried, label)


def read_genes(path: str | os.PathLike[str], reference: str) -> list[Gene]:
    """Read coding sequences from GFF3: its `CDS` lines, or its `gene` lines where it has none.

    Args:
        path: of the file.
        reference: its letters, for the checks.

    Raises:
        ValueError: a missing file, no genes, a line that is no GFF3, a gene outside the reference, on the reverse
            strand, or of broken codons; the message names the file and the line.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "genes.gff3"
    >>> _ = path.write_text(".\\t.\\tgene\\t2\\t7\\t.\\t+\\t.\\tgene_name=S\\n")
    >>> read_genes(path, "ACGTACGT")
    [Gene(name='S', start=1, end=7)]
    """
    kinds: dict[str, list[Gene]] = {"CDS": [], "gene": []}
    with open_binary(os.fspath(path)) as stream:
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        columns = line.split("\t")
        where = f"{path}: line {number}"
        if len(columns) != 9 or None in map(whole_number, columns[3:5]):
            raise ValueError(f"{where}: GFF3 has nine columns, start and end in the fourth and fifth: {line[:60]!r}")
        if columns[2] in kinds:
            kinds[columns[2]].append(_gene(columns, where, len(reference)))
    genes = kinds["CDS"] or kinds["gene"]
    if not genes:
        raise ValueError(f"{path}: there is no CDS and no gene in it")
    return genes


def substitution_effects(reference: str, genes: Iterable[Gene], position: int, alt: str) -> list[Effect]:
    """What one substitution does to each gene that it lies in.

    Args:
        reference: its letters.
        genes: of it; they may overlap.
        position: from 0.
        alt: the new base.

    Returns:
        One effect a gene, in their order; none outside genes. Other mutations of the same codon are not considered.

    Example:

    >>> substitution_effects("CATGGATTAAC", [Gene("S", 1, 10)], 5, "G")  # GAT -> GGT
    [Effect(gene='S', name='D2G', synonymous=False)]
    >>> substitution_effects("CATGGATTAAC", [Gene("S", 1, 10)], 6, "C")
    [Effect(gene='S', name='D2D', synonymous=True)]
    """
    effects = []
    for gene in genes:
        if gene.start <= position < gene.end:
            codon, place = divmod(position - gene.start, 3)
            old = reference[gene.start + 3 * codon : gene.start + 3 * codon + 3]
            before, after = _translate(old), _translate(old[:place] + alt + old[place + 1 :])
            effects.append(Effect(gene.name, f"{before}{codon + 1}{after}", before == after))
    return effects


def _translate(codon: str) -> str:
    if set(codon) - set(_CODON_LETTERS):
        return "X"
    first, second, third = map(_CODON_LETTERS.index, codon)
    return _AMINO_ACIDS[16 * first + 4 * second + third]


def _gene(columns: Sequence[str], where: str, length: int) -> Gene:
    start, end = int(columns[3]) - 1, int(columns[4])
    attributes = dict(part.partition("=")[::2] for part in columns[8].strip().split(";"))
    name = next((attributes[key] for key in ("gene_name", "gene", "Name", "ID") if key in attributes), "")
    if not name:
        raise ValueError(f"{where}: the gene has no name (gene_name, gene, Name or ID in the last column)")
    if not 0 <= start < end <= length:
        raise ValueError(f"{where}: {name} lies at {start + 1}-{end}, and the reference has {length} bases")
    if columns[6] == "-":
        raise ValueError(f"{where}: {name} is on the reverse strand; only forward genes are read here")
    if (end - start) % 3:
        raise ValueError(f"{where}: {name} has {end - start} bases, which are no whole codons")
    return Gene(name, start, end)


def _read_reference(path: Path) -> str:
    records = list(read_fasta(path))
    if len(records) != 1:
        raise ValueError(f"{path}: a reference is one record, and this file has {len(records)}")
    return decode_ids(records[0].ids)


def _read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = read_table(path)
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise ValueError(f"{path}: there is no column {', '.join(absent)}; it has {', '.join(table.columns)}")
    return table[list(columns)]


def _read_clades(path: Path, label: str) -> dict[str, str]:
    table = _read_columns(path, ["lineage", label])
    names = table["lineage"].tolist()
    _refuse_repeats(path, names)
    return dict(zip(names, ("" if clade in NO_CLADE else clade for clade in table[label]), strict=True))


def _refuse_repeats(path: Path, names: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if name in seen:
            raise ValueError(f"{path}: row {number}: lineage {name!r} stands in row {seen[name]} already")
        seen[name] = number


def _parse_row(
    row: Mapping[str, str], reference: str, where: str, reference_path: Path, known: dict[str, Mutation]
) -> list[Mutation]:
    """The mutations of a row; `known` keeps those that other rows have, which are checked once."""
    texts, deletions = _items(row["substitutions"]), _items(row["deletions"])
    for text in texts:
        if text not in known or known[text].is_deletion:
            known[text] = _substitution(text, reference, where, reference_path)
    for text in deletions:
        if text not in known or not known[text].is_deletion:
            known[text] = _deletion(text, len(reference), where)
    found = sorted((known[text] for text in texts + deletions), key=lambda mutation: mutation.start)
    for one, other in itertools.pairwise(found):
        if other.start < one.end:
            raise ValueError(f"{where}: {one.name} and {other.name} are in the same place")
    return found


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _substitution(text: str, reference: str, where: str, reference_path: Path) -> Mutation:
    match = _SUBSTITUTION.fullmatch(text)
    if match is None or match[1] == match[3]:
        raise ValueError(f"{where}: {text!r} is no substitution: write it like C8782T, with letters of {NUCLEOTIDES}")
    position = int(match[2])
    if position > len(reference):
        raise ValueError(f"{where}: {text} lies behind the end of {reference_path} ({len(reference)} bases)")
    if reference[position - 1] != match[1]:
        raise ValueError(
            f"{where}: {text} does not fit {reference_path}, which has {reference[position - 1]} at {position}: "
            "is it another reference?"
        )
    return Mutation(position - 1, position, match[3], text)


def _deletion(text: str, length: int, where: str) -> Mutation:
    match = _DELETION.fullmatch(text)
    if match is None:
        raise ValueError(f"{where}: {text!r} is no deletion: write it like 22029-22034")
    start, end = int(match[1]), int(match[2] or match[1])
    if not start <= end <= length:
        raise ValueError(f"{where}: deletion {text} does not lie within the reference ({length} bases)")
    return Mutation(start - 1, end, "", f"del{start}-{end}" if end > start else f"del{start}")
