# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""In-silico saturation mutagenesis: every base of a region replaced by each of the three others, and what that changes.

Scores of variants are those of `VariantScorer`, so a row here equals the same substitution in a VCF.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.files import write_bytes
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region, Renamer, read_bed, whole_records
from vqdna_hf.data.jobs import JobReport, collect, input_files, run_job, unit_bases
from vqdna_hf.data.vcf import Allele
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.heatmap import ScanMap, check_drawing, draw_html, draw_png
from vqdna_hf.inference.inputs import input_record
from vqdna_hf.inference.label_scores import LabelScorer
from vqdna_hf.inference.outputs import output_ending, write_tables
from vqdna_hf.inference.variant_scores import SCORES, Haplotypes, VariantScorer, check_layer, cut_window, score_names
from vqdna_hf.inference.windows import check_strand
from vqdna_hf.model.modeling_vqdna import VQDNAForMaskedLM, VQDNAForSequenceClassification
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, N_ID, NUCLEOTIDES, NUM_NUCLEOTIDES

logger = logging.getLogger(__name__)

LABEL = "probability"
SCAN_SCORES = (LABEL, *SCORES)
"""What a classifier says of a label; the masked log-likelihood ratio, distances and codes of `VariantScorer`."""

WHOLE_UP_TO = 10_000
"""Bases of a genome that is scanned whole where no region is named; above it a scan is announced as long."""

_ALTERNATIVES = NUM_NUCLEOTIDES - 1
_REGION = re.compile(r"(?P<name>.+):(?P<start>[0-9][0-9,]*)-(?P<end>[0-9][0-9,]*)")
_OTHER_WAY = {"forward": "reverse", "reverse": "forward", "both": "both"}


def parse_region(text: str, genome: Genome, rename: str | None = None) -> Region:
    """Read a region as samtools and genome browsers write it: `chr1:1,000-1,200`, counted from 1, the end included.

    Args:
        text: the region, or the name of a record alone.
        genome: an open genome.
        rename: see `Renamer`.

    Returns:
        The region, 0-based and half-open.

    Raises:
        ValueError: no such record, positions that are none, a start behind the end, or an end behind the record's.

    Example:

    >>> genome = Genome.from_sequences(["chr1"], ["ACGTACGTAC"])
    >>> parse_region("chr1:3-1,0", genome)
    Region(chrom='chr1', start=2, end=10, name='chr1:3-10', strand='.')
    >>> parse_region("chr1:8-11", genome)
    Traceback (most recent call last):
    ...
    ValueError: region chr1:8-11: 'chr1' has 10 bases: positions count from 1, the end is included
    """
    where, renamer = f"region {text}", Renamer(genome, rename)
    match = _REGION.fullmatch(text)
    # Names of records may hold a colon (HLA), and even look like a region.
    if (whole := renamer.find(text)) is not None:
        if match and renamer.find(match["name"]) is not None:
            raise ValueError(f"{where}: can be read as a record and as part of one: give it as BED (--bed)")
        return Region(whole, 0, genome.lengths[whole], whole, ".")
    if match is None:
        if ":" in text:
            raise ValueError(f"{where}: write NAME:START-END, such as chr1:1,000-1,200, or NAME for a whole record")
        raise ValueError(f"{where}: {renamer.explain(text)}")
    chrom = renamer(match["name"], where)
    start, end = (int(match[side].replace(",", "")) for side in ("start", "end"))
    if start > end:
        raise ValueError(f"{where}: the start, {start}, is behind the end, {end}: write the smaller one first")
    if not 1 <= start <= end <= genome.lengths[chrom]:
        way_out = "positions count from 1, the end is included"
        raise ValueError(f"{where}: {chrom!r} has {genome.lengths[chrom]} bases: {way_out}")
    return Region(chrom, start - 1, end, f"{chrom}:{start}-{end}", ".")


@dataclass(frozen=True)
class _Stretch:
    """Neighbouring positions of a region, from its start."""

    region: int
    start: int
    end: int

    @property
    def bases(self) -> int:
        """Positions."""
        return self.end - self.start


class MutateTask:
    """Scores of every single-base substitution: three rows a position, none where the reference is N.

    Columns: `name` (of the region), `chrom`, `start`, `end` (0-based, half-open, one base), `strand` (`+` or `-`, which
    of the genome's strands was read, `.` for both), `ref`, `alt` (on the genome's forward strand), then those of the
    scores, see `LabelScorer` and `VariantScorer`; of codes the number of bases whose code changes at each level,
    `changed_1`, `changed_2`, ...

    Args:
        checkpoint: with the heads that the scores need.
        genome: what is read.
        regions: of it.
        scores: of `SCAN_SCORES`.
        label: see `LabelScorer`.
        strand: `forward` (the region's own), `reverse` or `both`.
        window: bases around a position that the model reads. Default: `VariantScorer`'s; for a label the region itself,
            which is then read as one sequence.
        layer: of the distances; checked without them, too.
        batch_bases: see `Batcher`.
        identity: of the input files, for the record of the job.
        pictures: where to draw the scores when they are there; `.png` or `.html`.
    """

    verb = "mutate"
    total_bases: int | None

    def __init__(
        self,
        checkpoint: Checkpoint,
        genome: Genome,
        regions: Sequence[Region],
        *,
        scores: Sequence[str],
        label: str | int | None = None,
        strand: str = "both",
        window: int | None = None,
        layer: int = -1,
        batch_bases: int | None = None,
        identity: Sequence[Mapping[str, Any]] = (),
        pictures: Sequence[Path] = (),
    ) -> None:
        self.checkpoint, self.genome, self.regions, self.pictures = checkpoint, genome, regions, pictures
        self.window, self.scores, self.strand = window, scores, strand
        check_layer(checkpoint, layer)
        self.positions = sum(region.length for region in regions)
        self.total_bases = self.positions
        variant = [score for score in scores if score != LABEL]
        # By the strand that the region lies on, of which "forward" is its own.
        strands = {False: check_strand(strand), True: _OTHER_WAY[strand]}
        self._scorers = {
            turned: VariantScorer(checkpoint, variant, window=window, layer=layer, strand=way, batch_bases=batch_bases)
            for turned, way in strands.items()
            if variant
        }
        self._labels = {
            turned: LabelScorer(checkpoint, label, strand=way, batch_bases=batch_bases)
            for turned, way in strands.items()
            if LABEL in scores
        }
        self._check_windows()
        self._about = {
            "scores": list(scores), "label": self._labels[False].name if self._labels else None, "strand": strand,
            "window": window, "layer": layer, "batch_bases": batch_bases, "inputs": list(identity),
            "regions": [list(region) for region in regions[:1]], "number": len(regions),
        }  # fmt: skip

    def _check_windows(self) -> None:
        longest = self.checkpoint.longest_window
        if not self._labels or longest is None:
            return
        if self.window is not None:
            if not 1 <= self.window <= longest:
                raise ValueError(f"window={self.window}: this model reads 1 to {longest} nucleotides at once")
            return
        for region in self.regions:
            if region.length > longest:
                raise ValueError(
                    f"region {region.name} has {region.length} bases, and this model reads at most {longest} at once: "
                    "scan a shorter one, or give --window to read that many bases around each position"
                )

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {**self._about, **self.checkpoint.describe()}

    def describe(self) -> Mapping[str, Any]:
        """The options, the inputs and the weights."""
        return self._description

    def units(self) -> Iterator[_Stretch]:
        """Stretches of about a tenth as many bases read as others' units: they are what a progress bar moves by."""
        for number, region in enumerate(self.regions):
            size = max(unit_bases() // (10 * self._bases_per_position(region)), 1)
            for start in range(0, region.length, size):
                yield _Stretch(number, start, min(start + size, region.length))

    def _bases_per_position(self, region: Region) -> int:
        read = sum(scorer.bases_per_allele for scorer in [*self._scorers.values()][:1])
        if self._labels:
            read += 2 * (self.window or region.length)
        return _ALTERNATIVES * read

    def _read_strand(self, region: Region) -> str:
        """Which of the genome's strands is read of a region: `+`, `-`, or `.` for both."""
        if self.strand == "both":
            return "."
        return "-" if (region.strand == "-") == (self.strand == "forward") else "+"

    def compute(self, unit: _Stretch) -> pa.Table:
        """The rows of neighbouring positions."""
        region = self.regions[unit.region]
        turned = region.strand == "-"
        alleles = _substitutions(self.genome, region, unit)
        columns: dict[str, Any] = {}
        if self._labels:
            columns |= self._labels[turned].score([self._around(region, allele) for allele in alleles])
        if self._scorers:
            found = self._scorers[turned].score(self.genome, alleles)
            columns |= {name: found[name] for name in found if not name.startswith(("span_", "codes_"))}
        return pa.table(
            {
                "name": pa.array([region.name] * len(alleles), pa.string()),
                "chrom": pa.array([region.chrom] * len(alleles), pa.string()),
                "start": pa.array([allele.start for allele in alleles], pa.int64()),
                "end": pa.array([allele.end for allele in alleles], pa.int64()),
                "strand": pa.array([self._read_strand(region)] * len(alleles), pa.string()),
                "ref": pa.array([decode_ids(np.frombuffer(allele.ref, np.uint8)) for allele in alleles], pa.string()),
                "alt": pa.array([decode_ids(np.frombuffer(allele.alt, np.uint8)) for allele in alleles], pa.string()),
            }
            | {
                name: pa.array(values, pa.int32() if name.startswith("changed_") else pa.float32())
                for name, values in columns.items()
            }
        )

    def _around(self, region: Region, allele: Allele) -> Haplotypes:
        """The sequence that a classifier reads: the region itself, unless a window is asked for."""
        if self.window is not None:
            return cut_window(self.genome, allele, self.window)
        ref, alt = (np.frombuffer(one, np.uint8) for one in (allele.ref, allele.alt))
        left = self.genome.fetch(region.chrom, region.start, allele.start)
        return Haplotypes(left, ref, alt, self.genome.fetch(region.chrom, allele.end, region.end))

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Into Parquet or TSV, and then the pictures: a crash between the two costs no scores."""
        write_tables(iter(tables), path, output_ending(path), self.describe())
        if self.pictures:
            self.draw(pa.concat_tables(tables), path.parent)

    def draw(self, table: pa.Table, beside: Path | None = None) -> None:
        """Write the pictures of a whole table of this task; first into the folder `beside`, if there is one."""
        maps = self._maps(table)
        about = self._caption()
        contents = []
        for picture in self.pictures:
            if _is_png(picture):
                contents.append(draw_png(maps, next(iter(maps[0].scores)), about))
            else:
                contents.append(draw_html(maps, about).encode())
        for picture, content in zip(self.pictures, contents, strict=True):
            if beside is not None and os.stat(beside).st_dev == os.stat(picture.parent).st_dev:
                # Among the parts, where nothing is left of it after a crash, and then into its place in one step.
                (beside / picture.name).write_bytes(content)
                os.replace(beside / picture.name, picture)
            else:
                write_bytes(picture, content)

    def _caption(self) -> str:
        what_changes = "codes that change" if self.checkpoint.bases_per_code == 1 else "bases whose code changes"
        what = {
            "llr": "llr: log p(alt) - log p(ref), the base masked; below 0 the model prefers the reference",
            "distance": "cosine and l2: how far hidden states move",
            "codes": f"changed: {what_changes}, by level (1 is the coarsest)",
        }
        label = f"change of label {self._labels[False].name}" if self._labels else ""
        parts = [label, *(what[score] for score in SCORES if score in self.scores)]
        return f"{Path(self.checkpoint.name).name}, {self._strands_read()}; {'; '.join(filter(None, parts))}"

    def _strands_read(self) -> str:
        read = {self._read_strand(region) for region in self.regions}
        if read == {"."}:
            return "both strands"
        if read == {"+"}:
            return "forward strand"
        # Letters and positions of the picture run along the genome whatever strand is read.
        which = "reverse strand" if read == {"-"} else "one strand of each region, see its title"
        return f"{which} (letters are the genome's)"

    def _maps(self, table: pa.Table) -> list[ScanMap]:
        names = [name for name in table.column_names[7:] if name not in ("probability", "value")]
        read = [self._read_strand(region) for region in self.regions]
        named = read if {*read} != {"+"} else ["."] * len(read)
        columns = {name: table[name].to_numpy() for name in names}
        alternatives = np.array([NUCLEOTIDES.index(letter) for letter in table["alt"].to_pylist()], np.intp)
        starts = table["start"].to_numpy()
        maps, row = [], 0
        for region, strand in zip(self.regions, named, strict=True):
            ids = self.genome.fetch(region.chrom, region.start, region.end)
            rows = slice(row, row + _ALTERNATIVES * int((ids != N_ID).sum()))
            row = rows.stop
            scores = {}
            for name, values in columns.items():
                scores[name] = np.full((NUM_NUCLEOTIDES, region.length), np.nan, np.float32)
                scores[name][:, ids != N_ID] = 0
                scores[name][alternatives[rows], starts[rows] - region.start] = values[rows]
            maps.append(ScanMap(region.name, region.chrom, region.start, decode_ids(ids), scores, strand))
        return maps


def _is_png(picture: Path) -> bool:
    return picture.suffix.lower() == ".png"


def _substitutions(genome: Genome, region: Region, unit: _Stretch) -> list[Allele]:
    """The three alternatives of each base that is known, in the order A, C, G, T."""
    first = region.start + unit.start
    ids = genome.fetch(region.chrom, first, region.start + unit.end)
    bases = [bytes([FIRST_NUCLEOTIDE_ID + number]) for number in range(NUM_NUCLEOTIDES)]
    return [
        Allele(region.chrom, first + place, bytes([base]), other)
        for place, base in enumerate(ids.tolist())
        if base != N_ID
        for other in bases
        if other[0] != base
    ]


def _choose_scores(checkpoint: Checkpoint, scores: str | Iterable[str], label: str | int | None) -> list[str]:
    wanted = _scores_of(checkpoint, scores)
    if label is not None and LABEL not in wanted:
        raise ValueError(
            f"label {label!r}: of the scores {LABEL} alone has labels, and {','.join(wanted)} is asked for"
        )
    return wanted


def _scores_of(checkpoint: Checkpoint, scores: str | Iterable[str]) -> list[str]:
    names = score_names(scores)
    if names == ["auto"]:
        if isinstance(checkpoint.model, VQDNAForMaskedLM):
            return ["llr"]
        if isinstance(checkpoint.model, VQDNAForSequenceClassification):
            return [LABEL]
        return ["codes"] if checkpoint.is_codec else ["distance"]
    if "auto" in names:
        raise ValueError(f"scores {','.join(names)!r}: auto stands alone: give it, or some of {', '.join(SCAN_SCORES)}")
    unknown = sorted({*names} - {*SCAN_SCORES})
    if unknown or not names:
        raise ValueError(f"scores {','.join(unknown)!r}: choose of auto, {', '.join(SCAN_SCORES)}")
    for name, needs in ((LABEL, "sequence"), ("llr", "masked_lm"), ("distance", "backbone")):
        if name in names:
            load_checkpoint(checkpoint, needs)  # type: ignore[arg-type]
    return [name for name in SCAN_SCORES if name in names]


def _find_regions(
    genome: Genome, region: str | Region | None, bed: str | os.PathLike[str] | None, rename: str | None
) -> list[Region]:
    if region is not None and bed is not None:
        raise ValueError("a region and a BED file: give one of them")
    if bed is not None:
        return read_bed(bed, genome, rename=rename)
    if isinstance(region, Region):
        return [region]
    if region is not None:
        return [parse_region(region, genome, rename)]
    if genome.bases > WHOLE_UP_TO:
        raise ValueError(
            f"{genome.path} has {genome.bases:,} bases, too many to change each of them unasked: name a region "
            "(chr1:1,000-1,200, or a record's name), or give a BED file (--bed)"
        )
    return whole_records(genome)


def _check_outputs(output: Any, png: Any, html: Any, inputs: tuple[Any, ...]) -> tuple[Path, ...]:
    if output is not None:
        output_ending(output, (".parquet", ".tsv", ".tsv.gz"), inputs)
    for picture, ending in ((png, ".png"), (html, ".html")):
        if picture is not None:
            output_ending(picture, (ending,), inputs)
    return tuple(Path(picture) for picture in (png, html) if picture is not None)


def _count_unknown(genome: Genome, regions: Iterable[Region]) -> int:
    """Bases that are N; on the way it is seen whether all regions can be read."""
    unknown = 0
    for region in regions:
        if region.length < 1:
            raise ValueError(f"region {region.name}: holds no base")
        unknown += int((genome.fetch(region.chrom, region.start, region.end) == N_ID).sum())
    return unknown


@dataclass(frozen=True)
class MutateReport(JobReport):
    """What a scan did.

    Args:
        unknown: positions without rows, since the reference is N there.
        pictures: that were drawn.

    Example:

    >>> MutateReport(Path("scan.parquet"), 1, 0, bases=201, unknown=3).unknown
    3
    """

    unknown: int = 0
    pictures: tuple[Path, ...] = ()


def mutate(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    genome: str | os.PathLike[str] | Genome,
    region: str | Region | None = None,
    output: str | os.PathLike[str] | None = None,
    *,
    bed: str | os.PathLike[str] | None = None,
    rename: str | None = None,
    scores: str | Iterable[str] = "auto",
    label: str | int | None = None,
    strand: str = "both",
    window: int | None = None,
    layer: int = -1,
    png: str | os.PathLike[str] | None = None,
    html: str | os.PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_bases: int | None = None,
    restart: bool = False,
    progress: bool | None = None,
) -> pa.Table | MutateReport:
    """Replace every base of a region by each of the three others, and score what that changes.

    Args:
        model: a checkpoint of this package: what it can score depends on its head.
        genome: a FASTA file, `-` for standard input, or an open `Genome`.
        region: see `parse_region`; without it and without `bed` all of a short genome (`WHOLE_UP_TO`).
        output: `.parquet`, `.tsv`, `.tsv.gz`, or `-`; without it the table is returned.
        bed, rename: many regions instead of one; see `read_bed` and `Renamer`.
        scores: of `SCAN_SCORES`, several or, as text, with commas between; `auto`: `llr` of a masked LM,
            `probability` of a classifier, `codes` of a codec, `distance` of others.
        label, strand, window, layer: see `LabelScorer` and `MutateTask`.
        png, html: where to draw the first score, and all scores, as heat maps.
        device, dtype, batch_bases, restart, progress: see `load_checkpoint`, `Batcher` and `run_job`.

    Returns:
        The table, see `MutateTask`, or what was done.

    Raises:
        ValueError: for input that cannot be read, a score without its head, options, or a picture that cannot be drawn.

    Example:

    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecConfig, VQDNACodecModel
    >>> codec = VQDNACodecModel(VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16]))
    >>> table = mutate(codec, Genome.from_sequences(["chr1"], ["ACGTNACGT"]), "chr1:4-6")
    >>> table.column_names[2:], table["start"].to_pylist(), "".join(table["alt"].to_pylist())
    (['start', 'end', 'strand', 'ref', 'alt', 'changed_1', 'changed_2'], [3, 3, 3, 5, 5, 5], 'ACGCGT')
    """
    pictures = _check_outputs(output, png, html, input_files(genome, bed, rename))
    checkpoint = load_checkpoint(model, "codec", device=device, dtype=dtype)
    wanted = _choose_scores(checkpoint, scores, label)
    with nullcontext(genome) if isinstance(genome, Genome) else Genome.open(genome) as opened:
        task = MutateTask(
            checkpoint, opened, _find_regions(opened, region, bed, rename), scores=wanted, label=label, strand=strand,
            window=window, layer=layer, batch_bases=batch_bases, pictures=pictures,
            identity=input_record(genome, bed, rename, {}),
        )  # fmt: skip
        return _run(task, output, restart, progress)


def _run(task: MutateTask, output: Any, restart: bool, progress: bool | None) -> pa.Table | MutateReport:
    positions, unknown = task.positions, _count_unknown(task.genome, task.regions)
    if task.pictures:
        check_drawing(any(_is_png(picture) for picture in task.pictures), positions)
    if positions > WHOLE_UP_TO:
        logger.warning("%d positions are %d substitutions: this takes long", positions, _ALTERNATIVES * positions)
    if output is not None:
        report = run_job(task, output, restart=restart, progress=progress)
        return MutateReport(**vars(report), unknown=unknown, pictures=tuple(task.pictures))
    table = collect(task, progress)
    if task.pictures:
        task.draw(table)
    return table
