# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Which stretch of a genome a report shows: by place or by the name of a gene, and what an annotation says of it."""

import difflib
import os
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import unquote

from vqdna_hf.data.fasta import open_binary
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region, Renamer, whole_number

LONGEST_REGION = 100_000
"""Bases of a region at most: its codes on both strands travel inside the page."""

_FORMATS = {".gff3": "gff", ".gff": "gff", ".gtf": "gtf", ".bed": "bed"}
_PLACE = re.compile(r"(.+):([0-9,]+)-([0-9,]+)")
_GTF_ATTRIBUTE = re.compile(r'(\w+) "([^"]*)"')
# The names that a feature goes by, the one to show first.
_NAMES = ("Name", "gene", "gene_name", "ID", "locus_tag", "gene_id", "transcript_id", "Alias", "Parent")
# Of several features of one name the gene is meant, then its transcript.
_RANKS = {"gene": 0, "pseudogene": 0, "ncrna_gene": 0, "mrna": 1, "transcript": 1}
# As long as the record: nothing to see.
_BACKGROUND = {"region", "chromosome", "contig", "scaffold", "supercontig", "source", "databank_entry"}
_MOST_FEATURES = 2_000


class Feature(NamedTuple):
    """A line of an annotation. Positions count from 0, the end is not included.

    Attributes:
        chrom: the record, as the annotation calls it.
        start, end: in bases.
        strand: `+`, `-` or `.`.
        kind: gene, CDS, exon ...; `interval` for BED.
        names: what it is called, the name to show first; may be empty.

    Example:

    >>> Feature("chr1", 0, 9, "+", "gene", ("thrL", "b0001")).name
    'thrL'
    """

    chrom: str
    start: int
    end: int
    strand: str
    kind: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        """The one to show."""
        return self.names[0] if self.names else ""


def read_features(path: str | os.PathLike[str]) -> Iterator[Feature]:
    """Read an annotation line by line: GFF3, GTF or BED, plain or gzip; its ending says which.

    Args:
        path: ends in .gff3, .gff, .gtf or .bed, and .gz behind it. Sequences at the end of GFF3 are passed over.

    Raises:
        ValueError: another ending, no such file, or, with its line: too few columns, or a place that is none.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.gff3")
    >>> with open(path, "w") as file:
    ...     _ = file.write("##gff-version 3\\nchr1\\tx\\tgene\\t3\\t8\\t.\\t-\\t.\\tID=g1;Name=thr%3BL\\n")
    >>> list(read_features(path))
    [Feature(chrom='chr1', start=2, end=8, strand='-', kind='gene', names=('thr;L', 'g1'))]
    """
    path = os.fspath(path)
    ending = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    if ending not in _FORMATS:
        raise ValueError(f"{path}: an annotation ends in one of {' '.join(_FORMATS)} (or .gz behind it)")
    kind = _FORMATS[ending]
    with open_binary(path) as stream:
        for number, raw in enumerate(stream, start=1):
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("##FASTA"):
                return
            if not line.strip() or line.startswith(("#", "track", "browser")):
                continue
            columns = line.split("\t")
            where = f"{path}, line {number}"
            yield _bed_feature(columns, where) if kind == "bed" else _gff_feature(columns, where, kind == "gtf")


def _gff_feature(columns: list[str], where: str, is_gtf: bool) -> Feature:
    if len(columns) < 8:
        raise ValueError(f"{where}: {len(columns)} columns, a line has 9 of them, parted by tabs")
    start, end = _place(columns[3], columns[4], where, first=1)
    text = columns[8] if len(columns) > 8 else ""
    if is_gtf:
        found = dict(_GTF_ATTRIBUTE.findall(text))
    else:
        pairs = (part.strip().partition("=") for part in text.split(";"))
        found = {key: unquote(value) for key, _, value in pairs if value}
    names = tuple(dict.fromkeys(found[key] for key in _NAMES if found.get(key)))
    return Feature(columns[0], start - 1, end, _strand(columns[6]), columns[2], names)


def _bed_feature(columns: list[str], where: str) -> Feature:
    if len(columns) < 3:
        raise ValueError(f"{where}: {len(columns)} columns, a line of BED has at least 3 of them, parted by tabs")
    start, end = _place(columns[1], columns[2], where, first=0)
    names = (columns[3],) if len(columns) > 3 and columns[3] not in ("", ".") else ()
    return Feature(columns[0], start, end, _strand(columns[5] if len(columns) > 5 else "."), "interval", names)


def _place(start: str, end: str, where: str, first: int) -> tuple[int, int]:
    one, other = whole_number(start), whole_number(end)
    if one is None or other is None or not first <= one <= other:
        raise ValueError(
            f"{where}: {start[:20]!r} to {end[:20]!r} is no place on a record: two whole numbers, in order, counted "
            f"from {first}"
        )
    return one, other


def _strand(text: str) -> str:
    return text if text in ("+", "-") else "."


def parse_region(text: str, genome: Genome, renamer: Renamer) -> Region:
    """Read `chr:start-end`, as samtools does: bases count from 1, the end is included, commas are passed over.

    Args:
        text: a place, or the name of a record, for all of it.
        genome: which has it.
        renamer: for another spelling of the record's name.

    Raises:
        ValueError: if there is no such record or place, or it is longer than `LONGEST_REGION`.

    Example:

    >>> genome = Genome.from_sequences(["chr1"], ["ACGTACGT"])
    >>> parse_region("chr1:2-5", genome, Renamer(genome))
    Region(chrom='chr1', start=1, end=5, name='chr1:2-5', strand='.')
    """
    where = f"region {text[:60]!r}"
    match = _PLACE.fullmatch(text)
    if match is None or text in genome.lengths:
        name = renamer(text, where)
        start, end = 1, genome.lengths[name]
    else:
        name = renamer(match[1], where)
        digits = [match[part].replace(",", "") for part in (2, 3)]
        if not all(digits):
            raise ValueError(f"{where}: give it as record:start-end, such as {name}:1-1000")
        # A number of more digits is behind the end of any record.
        start, end = (sys.maxsize if (place := whole_number(text)) is None else place for text in digits)
    length = genome.lengths[name]
    if not 1 <= start <= end <= length:
        raise ValueError(f"{where}: {name!r} has bases 1 to {length}, and the start is no larger than the end")
    return _not_too_long(Region(name, start - 1, end, f"{name}:{start}-{end}", "."), where)


def find_gene(
    name: str, annotation: str | os.PathLike[str], genome: Genome, renamer: Renamer, flank: int = 0
) -> Region:
    """Find a gene, or another feature, by one of its names; of several kinds the gene is meant.

    Args:
        name: as the annotation has it: Name, ID, locus_tag ...
        annotation: see `read_features`.
        genome, renamer: where it must lie.
        flank: bases to show on either side, where the record has them.

    Raises:
        ValueError: if there is no such name (near ones are told), it stands for several places, its record is
            not in the genome, it ends behind the record, or it is longer than `LONGEST_REGION`.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.bed")
    >>> with open(path, "w") as file:
    ...     _ = file.write("chrI\\t2\\t6\\tTFC3\\t0\\t-\\n")
    >>> genome = Genome.from_sequences(["I"], ["ACGTACGT"])
    >>> find_gene("TFC3", path, genome, Renamer(genome, "auto"), flank=1)
    Region(chrom='I', start=1, end=7, name='TFC3', strand='-')
    """
    best: list[Feature] = []
    known: set[str] = set()
    for feature in read_features(annotation):
        known.update(feature.names[:1])
        if name in feature.names:
            ranks = [_RANKS.get(one.kind.lower(), 2) for one in (feature, *best[:1])]
            if len(ranks) == 1 or ranks[0] < ranks[1]:
                best = [feature]
            elif ranks[0] == ranks[1]:
                best.append(feature)
    where = f"{os.fspath(annotation)}, gene {name[:60]!r}"
    if not best:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
        hint = f"near names: {', '.join(near)}" if near else "give a Name, an ID or a locus_tag of the file"
        raise ValueError(f"{where}: the annotation has no such name; {hint}")
    chrom = renamer(best[0].chrom, where)
    start, end = _one_place(best, where)
    length = genome.lengths[chrom]
    if end > length:
        raise ValueError(f"{where}: {start}..{end} ends behind the end of {chrom!r} ({length} bases): another genome?")
    region = Region(chrom, max(start - flank, 0), min(end + flank, length), name, best[0].strand)
    return _not_too_long(region, where)


def _one_place(features: list[Feature], where: str) -> tuple[int, int]:
    """The stretch that they cover together. Exons of one gene lie apart; genes of one name must not."""
    features = sorted(features, key=lambda one: (one.chrom, one.start))
    is_part = features[0].kind != "interval" and features[0].kind.lower() not in _RANKS
    start, end = features[0].start, features[0].end
    for feature in features[1:]:
        if feature.chrom != features[0].chrom or (feature.start > end and not is_part):
            places = ", ".join(f"{one.chrom}:{one.start + 1}-{one.end}" for one in features[:3])
            raise ValueError(f"{where}: the name stands at several places ({places}): choose one with --region")
        end = max(end, feature.end)
    return start, end


def _not_too_long(region: Region, where: str) -> Region:
    if region.length > LONGEST_REGION:
        part = f"{region.chrom}:{region.start + 1}-{region.start + LONGEST_REGION}"
        raise ValueError(
            f"{where}: {region.length} bases, a report shows {LONGEST_REGION} at most: give a part, --region {part}"
        )
    return region


def features_in(
    region: Region, annotation: str | os.PathLike[str], genome: Genome, renamer: Renamer
) -> list[Feature]:  # fmt: skip
    """The features that reach into a region, by start; records and the like, which hold everything, are left out.

    Args:
        region: of the genome.
        annotation: see `read_features`.
        genome, renamer: for its records' names.

    Raises:
        ValueError: if the annotation shares no record with the genome, or has more than 2,000 features there.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.bed")
    >>> with open(path, "w") as file:
    ...     _ = file.write("I\\t2\\t6\\tTFC3\\t0\\t-\\nI\\t7\\t8\\tother\\n")
    >>> genome = Genome.from_sequences(["I"], ["ACGTACGT"])
    >>> [one.name for one in features_in(Region("I", 0, 5, "I", "."), path, genome, Renamer(genome))]
    ['TFC3']
    """
    found: list[Feature] = []
    stranger, is_related = None, False
    for feature in read_features(annotation):
        chrom = renamer.find(feature.chrom)
        if chrom is None:
            stranger = stranger or feature.chrom
            continue
        is_related = True
        inside = chrom == region.chrom and feature.start < region.end and feature.end > region.start
        if inside and feature.kind.lower() not in _BACKGROUND:
            found.append(feature._replace(chrom=chrom))
            if len(found) > _MOST_FEATURES:
                raise ValueError(
                    f"{os.fspath(annotation)}: more than {_MOST_FEATURES} features lie in {region.name}: "
                    "give a smaller --region"
                )
    if stranger is not None and not is_related:
        raise ValueError(f"{os.fspath(annotation)}: {renamer.explain(stranger)}")
    return sorted(found, key=lambda one: (one.start, -one.end))
