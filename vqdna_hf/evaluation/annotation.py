# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a GFF3 or BED file says of each base of a genome: coding phase, exon, intron, start of transcription."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data.fasta import open_binary
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.genome_files import label_of
from vqdna_hf.data.intervals import AUTO, Region, Renamer, read_bed, whole_number

UNSAID = -1
"""The label of a base of which nothing is said."""

TSS_WINDOW = 100
"""Bases on each side of a transcription start that count as near it."""

_TRACKS = ("phase", "exon", "intron", "transcript", "tss")
_GFF_COLUMNS = 9
_TRANSCRIPTS = frozenset({"mRNA", "transcript"})


class _Feature(NamedTuple):
    kind: str
    chrom: str
    start: int
    end: int
    strand: int
    phase: int
    parents: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Annotation:
    """Labels of every base, on each strand.

    `phase` is 0, 1 or 2 in coding sequence, the base's place in its codon, and -1 elsewhere. `exon`, `intron`,
    `transcript` and `tss` (within so many bases of a start) are 1 there and 0 elsewhere, but -1 where only the other
    strand has one: what is read of that strand is the feature's reverse complement.

    Args:
        path: of the file.
        tracks: by name and record of the genome, (2, bases) int8: the forward strand, the reverse one; both in the
            forward strand's order. Records of which the file says nothing are absent.
        skipped: records that the file names and the genome lacks.

    Example:

    >>> labels = np.array([[0, 1, 2, -1], [-1, -1, -1, -1]], dtype=np.int8)
    >>> annotation = Annotation("a.gff3", {"phase": {"chr1": labels}})
    >>> annotation.labels("phase", Region("chr1", 1, 4, "", "."), reverse=False).tolist()
    [1, 2, -1]
    """

    path: str
    tracks: dict[str, dict[str, NDArray[np.int8]]] = field(repr=False)
    skipped: Sequence[str] = ()

    @property
    def records(self) -> list[str]:
        """Of the genome, those that have labels."""
        return list(dict.fromkeys(name for track in self.tracks.values() for name in track))

    def labels(self, track: str, region: Region, reverse: bool) -> NDArray[np.int8]:
        """Of each base of a region (n,), on one strand of the genome, in that strand's own order."""
        found = self.tracks[track].get(region.chrom)
        if found is None:
            return np.full(region.length, UNSAID, dtype=np.int8)
        part = found[int(reverse), region.start : region.end]
        return part[::-1] if reverse else part


def read_annotation(path: str | os.PathLike[str], genome: Genome, tss_window: int = TSS_WINDOW) -> Annotation:
    """Read an annotation; chromosomes may be called `chrI` here and `I` in the genome, or the other way round.

    GFF3: `CDS` rows give the phase (by their own phase column), `exon` and `CDS` rows exons, the gaps between the exons
    of one transcript introns (rows of kind `intron` may come from elsewhere and are not read), and the starts of `mRNA`
    or `transcript` rows the starts of transcription. BED: each line is a transcript; it says nothing of exons.

    Args:
        path: `.gff`, `.gff3` or `.bed`, plain or gzip.
        genome: what it is about; takes two bytes a base and track.
        tss_window: bases on each side of a start.

    Returns:
        The tracks that it has.

    Raises:
        ValueError: another ending, a line that cannot be read (it is named), or no record that the genome has.

    Example:

    >>> import tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "a.gff3")
    >>> with open(path, "w") as file:
    ...     _ = file.write("chr1\\t.\\tCDS\\t2\\t5\\t.\\t-\\t0\\tParent=a\\n")
    >>> annotation = read_annotation(path, Genome.from_sequences(["1"], ["ACGTACG"]))
    >>> annotation.tracks["phase"]["1"].tolist()[1]  # TACG is read as CGTA
    [-1, 0, 2, 1, 0, -1, -1]
    """
    name = os.fspath(path).lower().removesuffix(".gz")
    if name.endswith(".bed"):
        return _of_bed(path, genome, tss_window)
    if not name.endswith((".gff", ".gff3")):
        raise ValueError(f"{path}: an annotation is .gff, .gff3 or .bed (or one of them with .gz)")
    label, renamer = label_of(os.fspath(path)), Renamer(genome, AUTO)
    features: list[_Feature] = []
    skipped: dict[str, None] = {}
    with open_binary(os.fspath(path)) as stream:
        for number, raw in enumerate(stream, start=1):
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("##FASTA"):
                break
            if not line or line.startswith("#"):
                continue
            feature = _parse(line, f"{label}, line {number}")
            chrom = renamer.find(feature.chrom)
            if chrom is None:
                skipped[feature.chrom] = None
            elif feature.end > genome.lengths[chrom]:
                raise ValueError(
                    f"{label}, line {number}: ends at {feature.end}, and record {chrom!r} of {genome.path} has "
                    f"{genome.lengths[chrom]} bases: is this the right genome?"
                )
            else:
                features.append(feature._replace(chrom=chrom))
    if not features:
        known = f"; {renamer.explain(next(iter(skipped)))}" if skipped else ""
        raise ValueError(f"{label}: says nothing of a record of {genome.path}{known}")
    return Annotation(label, _paint(_tracks_of(features, tss_window), genome), list(skipped))


def _parse(line: str, where: str) -> _Feature:
    columns = line.split("\t")
    if len(columns) != _GFF_COLUMNS:
        raise ValueError(f"{where}: {len(columns)} columns, and GFF3 has {_GFF_COLUMNS}, with tabs between")
    chrom, _, kind, start, end, _, strand, phase, attributes = columns
    first, last = whole_number(start), whole_number(end)
    if first is None or last is None or not 1 <= first <= last:
        raise ValueError(
            f"{where}: start {start[:20]!r} and end {end[:20]!r} should be whole numbers, 1 <= start <= end"
        )
    if kind == "CDS" and phase not in ("0", "1", "2"):
        raise ValueError(f"{where}: the phase of a CDS is 0, 1 or 2, not {phase!r}")
    sign = {"+": 0, "-": 1}.get(strand, UNSAID)
    parents: tuple[str, ...] = ()
    for pair in attributes.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == "Parent":
            parents = tuple(value.split(","))
    return _Feature(kind, chrom, first - 1, last, sign, int(phase) if kind == "CDS" else 0, parents)


class _Painted(NamedTuple):
    """A run of bases with a label: 1, or for codons the phase of the run's first base in reading order."""

    track: str
    chrom: str
    start: int
    end: int
    strand: int
    phase: int = 0


def _tracks_of(features: Iterable[_Feature], tss_window: int) -> list[_Painted]:
    painted: list[_Painted] = []
    exons: dict[tuple[str, str, int], list[tuple[int, int]]] = {}
    for one in features:
        if one.strand == UNSAID:
            continue
        if one.kind in ("exon", "CDS"):
            painted.append(_Painted("exon", one.chrom, one.start, one.end, one.strand))
        if one.kind == "exon":
            for parent in one.parents:
                exons.setdefault((parent, one.chrom, one.strand), []).append((one.start, one.end))
        if one.kind == "CDS":
            # The column says how many bases come before the next codon begins.
            painted.append(_Painted("phase", one.chrom, one.start, one.end, one.strand, -one.phase % 3))
        if one.kind in _TRANSCRIPTS:
            painted.append(_around_start(one.chrom, one.start, one.end, one.strand, tss_window))
    for (_, chrom, strand), parts in exons.items():
        parts.sort()
        for (_, end), (start, _) in pairwise(parts):
            if start > end:
                painted.append(_Painted("intron", chrom, end, start, strand))
    return painted


def _around_start(chrom: str, start: int, end: int, strand: int, window: int) -> _Painted:
    site = end - 1 if strand else start
    return _Painted("tss", chrom, max(site - window, 0), site + window + 1, strand)


def _paint(painted: Sequence[_Painted], genome: Genome) -> dict[str, dict[str, NDArray[np.int8]]]:
    tracks: dict[str, dict[str, NDArray[np.int8]]] = {}
    records = dict.fromkeys(one.chrom for one in painted)
    for name in _TRACKS:
        runs = [one for one in painted if one.track == name]
        if not runs:
            continue
        empty = UNSAID if name == "phase" else 0
        track = {chrom: np.full((2, genome.lengths[chrom]), empty, dtype=np.int8) for chrom in records}
        for one in runs:
            part = track[one.chrom][one.strand, one.start : one.end]
            if name == "phase":
                place = np.arange(one.phase, one.phase + len(part)) % 3
                part[:] = place[::-1] if one.strand else place
            else:
                part[:] = 1
        if name != "phase":
            for labels in track.values():
                only_other = (labels[::-1] == 1) & (labels == 0)
                labels[only_other] = UNSAID
        tracks[name] = track
    return tracks


def _of_bed(path: str | os.PathLike[str], genome: Genome, tss_window: int) -> Annotation:
    painted = []
    regions = [region for region in read_bed(path, genome, AUTO) if region.strand != "."]
    for region in regions:
        strand = int(region.strand == "-")
        painted.append(_Painted("transcript", region.chrom, region.start, region.end, strand))
        painted.append(_around_start(region.chrom, region.start, region.end, strand, tss_window))
    if not painted:
        raise ValueError(f"{path}: no line has a strand, so nothing is said of where transcripts begin")
    return Annotation(os.fspath(path), _paint(painted, genome))
