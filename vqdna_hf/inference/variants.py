# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A VCF and its genome in, scores out: an annotated VCF, a table, and a summary of what was left out and why."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow.compute import is_null
from transformers import PreTrainedModel

from vqdna_hf.data import vcf
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.genome_files import spooled
from vqdna_hf.data.intervals import AUTO, Renamer
from vqdna_hf.data.jobs import JobReport, collect, input_files, run_job, unit_bases
from vqdna_hf.data.vcf import Allele, InfoField, VcfRecord
from vqdna_hf.inference.checkpoints import Checkpoint, Part, load_checkpoint
from vqdna_hf.inference.inputs import input_record
from vqdna_hf.inference.outputs import output_ending, write_tables
from vqdna_hf.inference.variant_scores import ABOUT, SCORES, VariantScorer, check_scores

MAX_LENGTH = 50
"""Bases of REF or ALT at most, those not counted that both share at their ends."""

INFO_PREFIX = "VQDNA_"
_SKIPPED = f"{INFO_PREFIX}SKIPPED"
_VCF_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz")
_TABLE_ENDINGS = (".parquet", ".tsv", ".tsv.gz")
_EXAMPLES = 3
_MANY_MISMATCHES = 0.1
_HIDDEN_COLUMNS = ("skipped", "note")
_PLACE = pa.schema(
    [
        ("chrom", pa.string()), ("pos", pa.int64()), ("id", pa.string()), ("ref", pa.string()), ("alt", pa.string()),
        ("line", pa.int64()), ("allele", pa.int32()), ("skipped", pa.string()), ("note", pa.string()),
    ]
)  # fmt: skip
_ARROW = {"Float": pa.float32(), "Integer": pa.int32(), "String": pa.string()}
# What the genome and the VCF disagree on; with --strict these are errors. The other reasons lie in the VCF alone.
_DISAGREEMENTS = (vcf.MISMATCH, vcf.OUTSIDE, vcf.UNKNOWN)


@dataclass
class VariantsSummary:
    """What became of a VCF's alleles.

    Args:
        records: lines of the VCF.
        alleles: ALTs of all lines.
        scored: of these, in the table.
        skipped: the others by reason, see `SKIP_REASONS`.
        examples: the first alleles whose REF is not the genome's, each a sentence.
        notes: what is unusual about the file.

    Example:

    >>> print(VariantsSummary(records=3, alleles=4, scored=3, skipped=Counter({"symbolic": 1})))
    3 records with 4 alleles: 3 scored, 1 left out
      1 symbolic: ALT is symbolic, such as <DEL>: its bases are not written out
    """

    records: int = 0
    alleles: int = 0
    scored: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, table: pa.Table) -> None:
        """Count the rows of a unit."""
        reasons = [reason for reason in table["skipped"].to_pylist() if reason is not None]
        self.records += table["allele"].to_pylist().count(1)
        self.alleles += table.num_rows
        self.scored += table.num_rows - len(reasons)
        self.skipped.update(reasons)
        if len(self.examples) < _EXAMPLES and vcf.MISMATCH in reasons:
            found = zip(table["allele"].to_pylist(), table["note"].to_pylist(), strict=True)
            self.examples += [note for allele, note in found if note is not None and allele == 1]
            del self.examples[_EXAMPLES:]

    def __str__(self) -> str:
        left_out = sum(self.skipped.values())
        lines = [
            f"{self.records:,} records with {self.alleles:,} alleles: {self.scored:,} scored, {left_out:,} left out"
        ]
        for reason, about in vcf.SKIP_REASONS.items():
            if self.skipped[reason]:
                lines.append(f"  {self.skipped[reason]:,} {reason}: {about}")
                if reason == vcf.MISMATCH:
                    lines += [f"    {example}" for example in self.examples]
        notes = list(self.notes)
        if self.skipped[vcf.MISMATCH] > self.alleles * _MANY_MISMATCHES:
            notes.append("so many REFs differ that the VCF may be of another genome or assembly")
        return "\n".join([*lines, *(f"  note: {note}" for note in notes)])


@dataclass(frozen=True)
class VariantsReport:
    """What `score_variants` gives.

    Args:
        summary: of the alleles; on several processes, of the first alone.
        table: the scores, where no file was asked for.
        job: what was done, where a file was written.

    Example:

    >>> VariantsReport(VariantsSummary(), None, None).summary.scored
    0
    """

    summary: VariantsSummary
    table: pa.Table | None
    job: JobReport | None


@dataclass(frozen=True)
class RecordUnit:
    """Consecutive lines of a VCF.

    Example:

    >>> RecordUnit([], 0).bases
    0
    """

    records: Sequence[VcfRecord] = field(repr=False)
    bases: int


class VariantsTask:
    """The scores of a VCF's alleles: one row an ALT, in the file's order.

    Columns: `chrom`, `pos` (1-based), `id`, `ref` (upper case) and `alt` of the VCF, `line` of the file and `allele` (1
    is the first ALT), then what `VariantScorer` gives. Within the job `skipped` says why a row has no scores; the table
    leaves such rows out, the annotated VCF names the reason.

    Args:
        scorer: with its checkpoint.
        genome: of the VCF.
        path: of the VCF.
        rename: see `Renamer`.
        max_length: of alleles, see `MAX_LENGTH`.
        strict: refuse a VCF that does not fit the genome.
        endings: of the annotated VCF and of the table; None for the one that is not wanted.
        table: the table's path; needed where both are wanted.
        batch_bases: as it was asked for, for the record of the job.
        identity: of the input files, for the record of the job.

    Raises:
        ValueError: for a fault of the VCF, with its line: the whole file is read once before anything is computed.
    """

    verb = "variants"

    def __init__(
        self,
        scorer: VariantScorer,
        genome: Genome,
        path: str,
        *,
        rename: str | os.PathLike[str] | None = None,
        max_length: int = MAX_LENGTH,
        strict: bool = False,
        endings: tuple[str | None, str | None] = (None, None),
        table: str | os.PathLike[str] | None = None,
        batch_bases: int | None = None,
        identity: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        if max_length < 1:
            raise ValueError(f"max_length={max_length}: an allele has at least 1 base")
        if scorer.window < max_length + 2:
            raise ValueError(
                f"window={scorer.window}: alleles of up to {max_length} bases (max_length) and one on each side need "
                f"{max_length + 2}: give a larger window or a smaller max_length"
            )
        self.scorer, self.genome, self.path, self.max_length = scorer, genome, path, max_length
        self._renamer = Renamer(genome, rename)
        self._spelt_otherwise = Renamer(genome, AUTO)
        (self._vcf_ending, self._table_ending), self._table = endings, table
        self.summary = VariantsSummary()
        self._contigs: dict[str, int | None] = {}
        count = self._scan(strict)
        self._unit_alleles = max(unit_bases() // scorer.bases_per_allele, 1)
        self.total_bases: int | None = count * scorer.bases_per_allele
        self._about = {
            "scores": list(scorer.scores), "window": scorer.window, "layer": scorer.layer, "strand": scorer.strand,
            "max_length": max_length, "rename": None if rename is None else os.fspath(rename),
            "batch_bases": batch_bases, "outputs": list(endings), "inputs": list(identity),
        }  # fmt: skip

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {**self._about, **self.scorer.checkpoint.describe()}

    def describe(self) -> Mapping[str, Any]:
        """The options, the inputs and the weights."""
        return self._description

    def _scan(self, strict: bool) -> int:
        """Read the VCF once, so that a fault at its end does not wait for hours; give the number of alleles."""
        alleles = 0
        names: dict[str, bool] = {}
        first: VcfRecord | None = None
        order = _Order()
        with vcf.open_vcf(self.path) as file:
            self.summary.notes += _contig_notes(file.contigs, self._renamer, self.genome)
            for record in file:
                alleles += len(record.alts)
                order.add(record)
                first = first or record
                if record.chrom not in names:
                    names[record.chrom] = self._knows(record, strict)
                if strict and (reason := self._disagreement(record)[0]) in _DISAGREEMENTS:
                    raise ValueError(
                        f"{self._where(record)}: {self._explain(record, reason)}: is it the right genome? (--strict)"
                    )
        if first is not None and not any(names.values()):
            self._knows(first, must=True)
        for name in names:
            self._contigs[name] = self.genome.lengths.get(self._renamer.find(name) or "")
        self.summary.notes += order.notes()
        return alleles

    def _where(self, record: VcfRecord) -> str:
        return f"{self.path}, line {record.line}"

    def _knows(self, record: VcfRecord, must: bool) -> bool:
        """Whether the genome has the record's name; an error where it has the name in another spelling."""
        name = record.chrom
        if self._renamer.find(name) is not None:
            return True
        if must or self._spelt_otherwise.find(name) is not None:
            raise ValueError(f"{self._where(record)}: {self._renamer.explain(name)}")
        return False

    def _disagreement(self, record: VcfRecord) -> tuple[str | None, str | None]:
        """Why no ALT of a line can be scored, and for a REF that is not the genome's what stands there."""
        chrom = self._renamer.find(record.chrom)
        if chrom is None:
            return vcf.UNKNOWN, None
        end = record.start + len(record.ref)
        if record.start < 0 or end > self.genome.lengths[chrom]:
            return vcf.OUTSIDE, None
        there = self.genome.fetch(chrom, record.start, end)
        reason = vcf.check_ref(record, there)
        return reason, decode_ids(there) if reason == vcf.MISMATCH else None

    def _explain(self, record: VcfRecord, reason: str) -> str:
        place = f"{record.chrom}:{record.position}"
        if reason == vcf.MISMATCH:
            there = self._disagreement(record)[1] or ""
            return f"REF of {place} is {vcf.shorten(record.ref)}, the genome has {vcf.shorten(there)}"
        if reason == vcf.OUTSIDE:
            length = self.genome.lengths[self._renamer(record.chrom, self._where(record))]
            return f"{place} lies outside the record's {length:,} bases"
        return self._renamer.explain(record.chrom)

    def units(self) -> Iterator[RecordUnit]:
        """Consecutive lines; at least one unit, which may be empty."""
        records: list[VcfRecord] = []
        alleles = count = 0
        with vcf.open_vcf(self.path) as file:
            for record in file:
                records.append(record)
                alleles += len(record.alts)
                if alleles >= self._unit_alleles:
                    yield RecordUnit(records, alleles * self.scorer.bases_per_allele)
                    records, alleles, count = [], 0, count + 1
        if records or not count:
            yield RecordUnit(records, alleles * self.scorer.bases_per_allele)

    def compute(self, unit: RecordUnit) -> pa.Table:
        """The rows of a unit, those without scores included."""
        rows: list[tuple[Any, ...]] = []
        alleles: list[Allele] = []
        scored: list[int] = []
        for record in unit.records:
            disagreement, note = self._disagreement(record)
            if disagreement == vcf.MISMATCH:
                note = f"line {record.line}: {self._explain(record, vcf.MISMATCH)}"
            for number, alt in enumerate(record.alts, start=1):
                found = disagreement or self._allele(record, alt)
                reason = found if isinstance(found, str) else None
                if isinstance(found, Allele):
                    scored.append(len(rows))
                    alleles.append(found)
                rows.append(
                    (
                        record.chrom, record.position, record.identifier, record.ref, alt, record.line, number, reason,
                        note,
                    )
                )  # fmt: skip
        places = list(zip(*rows, strict=True)) if rows else [()] * len(_PLACE)
        columns = {kind.name: pa.array(values, kind.type) for kind, values in zip(_PLACE, places, strict=True)}
        values = self.scorer.score(self.genome, alleles)
        for name, kind in self.scorer.columns.items():
            column: list[Any] = [None] * len(rows)
            for row, value in zip(scored, values[name], strict=True):
                column[row] = value
            columns[name] = pa.array(column, _ARROW[ABOUT[kind][0]], from_pandas=True)  # NaN is a missing value
        return pa.table(columns)

    def _allele(self, record: VcfRecord, alt: str) -> Allele | str:
        """An ALT in normal form, or why it cannot be scored."""
        kind = vcf.allele_kind(alt)
        if kind != "bases":
            return kind or vcf.SYMBOLIC
        chrom = self._renamer(record.chrom, self._where(record))
        allele = vcf.normal_form(chrom, record.start, record.ref, alt, self.genome.fetch)
        if allele.ref == allele.alt:
            return vcf.SAME
        return vcf.TOO_LONG if max(len(allele.ref), len(allele.alt)) > self.max_length else allele

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Into the annotated VCF, the table, or both: then the table is put in its place first."""
        for table in tables:
            self.summary.add(table)
        scored = map(self.scored, tables)
        if self._vcf_ending is None:
            write_tables(scored, path, str(self._table_ending), self.describe())
        elif self._table is None:
            self._write_vcf(tables, path)
        else:
            table = Path(self._table)
            unfinished = table.with_name(f".{table.name}.unfinished")
            try:
                write_tables(scored, unfinished, str(self._table_ending), self.describe())
                self._write_vcf(tables, path)
                unfinished.replace(table)
            finally:
                unfinished.unlink(missing_ok=True)

    def scored(self, table: pa.Table) -> pa.Table:
        """Of a unit's rows those with scores, as the table has them."""
        return table.filter(is_null(table["skipped"])).drop_columns(list(_HIDDEN_COLUMNS))

    def _write_vcf(self, tables: Iterable[pa.Table], path: Path) -> None:
        """The VCF again, with INFO of ours, and with each contig declared that records name."""
        checkpoint = self.scorer.checkpoint.describe()
        source = (
            f"vqdna_variants=model {checkpoint['model']} (sha256 {checkpoint['sha256']}), strand {self.scorer.strand}, "
            f"window {self.scorer.window}, layer {self.scorer.layer}"
        )
        with vcf.open_vcf(self.path) as file, vcf.VcfWriter(path, bgzip=self._vcf_ending != ".vcf") as writer:
            fields = _info_fields(self.scorer)
            writer.write(vcf.annotated_header(file, fields, INFO_PREFIX, source, self._contigs))
            rows = (row for table in tables for row in table.to_pylist())
            for record in file:
                group: list[dict[str, Any]] = [next(rows, {}) for _ in record.alts]
                if any(row.get("line") != record.line for row in group):
                    raise ValueError(f"{self.path}: has changed while it was read: start again")
                writer.write([vcf.annotated_line(record.text, _info(group, self.scorer), INFO_PREFIX)])


class _Order:
    """Watches whether records are sorted: together by chromosome, and ascending there."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._last: tuple[str, int] | None = None
        self._unsorted: int | None = None

    def add(self, record: VcfRecord) -> None:
        """Take the next record."""
        chrom, position = self._last or (record.chrom, 0)
        if self._unsorted is None and (
            record.chrom in self._seen or (record.chrom == chrom and record.position < position)
        ):
            self._unsorted = record.line
        if record.chrom != chrom:
            self._seen.add(chrom)
        self._last = record.chrom, record.position

    def notes(self) -> list[str]:
        """A sentence where they are not."""
        if self._unsorted is None:
            return []
        return [f"the VCF is not sorted (line {self._unsorted}): its order is kept; sort it before indexing"]


def _contig_notes(contigs: Mapping[str, int | None], renamer: Renamer, genome: Genome) -> list[str]:
    if not contigs:
        return ["the VCF's header declares no contigs: names were looked up in the genome"]
    lengths = [(name, length, genome.lengths.get(renamer.find(name) or "")) for name, length in contigs.items()]
    return [
        f"the VCF's header says that {name} has {length:,} bases, the genome has {there:,}: is it the right genome?"
        for name, length, there in lengths
        if None not in (length, there) and length != there
    ][:_EXAMPLES]


def _info_fields(scorer: VariantScorer) -> list[InfoField]:
    fields = []
    for name, kind in scorer.columns.items():
        value_type, about = ABOUT[kind]
        level = name.rpartition("_")[2]
        fields.append(InfoField(INFO_PREFIX + name.upper(), "A", value_type, about.format(level=level)))
    reasons = "; ".join(f"{reason}: {about}" for reason, about in vcf.SKIP_REASONS.items())
    return [*fields, InfoField(_SKIPPED, ".", "String", f"Why there is no score, one word an ALT. {reasons}")]


def _info(rows: Sequence[Mapping[str, Any]], scorer: VariantScorer) -> dict[str, str | None]:
    """The fields of one line, from the rows of its ALTs."""
    info: dict[str, str | None] = {}
    for name in scorer.columns:
        values = [row[name] for row in rows]
        info[INFO_PREFIX + name.upper()] = None if set(values) <= {None} else ",".join(map(_text, values))
    reasons = [row["skipped"] for row in rows]
    info[_SKIPPED] = None if set(reasons) <= {None} else ",".join(reason or "." for reason in reasons)
    return info


def _text(value: Any) -> str:
    if value is None or value == "":
        return "."
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def score_variants(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    genome: str | os.PathLike[str] | Genome,
    calls: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    table: str | os.PathLike[str] | None = None,
    *,
    scores: str | Iterable[str] = SCORES,
    strand: str = "both",
    window: int | None = None,
    layer: int = -1,
    max_length: int = MAX_LENGTH,
    rename: str | None = None,
    strict: bool = False,
    device: str = "auto",
    dtype: str = "auto",
    batch_bases: int | None = None,
    restart: bool = False,
    progress: bool | None = None,
) -> VariantsReport:
    """Score single-nucleotide variants and short insertions and deletions: `VariantScorer` defines the scores.

    What cannot be scored, such as a REF that the genome does not have, is left out of the table, counted in the summary
    and named in the annotated VCF (`SKIP_REASONS`). Interrupted, the same call goes on where it stopped.

    Args:
        model: a checkpoint; `llr` needs a masked-LM head, `distance` a backbone, `codes` nothing more.
        genome: a FASTA file, `-` for standard input, or an open `Genome`.
        calls: a VCF, plain, gzip or bgzip, or `-`; it need not be sorted.
        output: annotated VCF: `.vcf`, `.vcf.gz` (bgzip), or `-`. Fields of INFO start with `VQDNA_`.
        table: `.parquet`, `.tsv`, `.tsv.gz`, or `-`: one row an ALT that was scored, see `VariantsTask`.
        scores, strand, window, layer, max_length, rename, strict: see `check_scores`, `VariantScorer`, `VariantsTask`.
        device, dtype, batch_bases, restart, progress: see `load_checkpoint`, `Batcher` and `run_job`.

    Returns:
        The summary, and the table itself where neither `output` nor `table` is given.

    Raises:
        ValueError: for input that cannot be read, options, or a checkpoint without the head that a score needs.

    Example:

    >>> import tempfile
    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecConfig, VQDNACodecModel
    >>> codec = VQDNACodecModel(VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16]))
    >>> calls = Path(tempfile.mkdtemp()) / "calls.vcf"
    >>> _ = calls.write_text("\\t".join(vcf.COLUMNS) + "\\nchr1\\t3\\t.\\tG\\tT,<DEL>\\t.\\t.\\t.\\n")
    >>> report = score_variants(codec, Genome.from_sequences(["chr1"], ["ACGTACGT"]), calls, scores=["codes"])
    >>> report.summary.scored, report.table["alt"].to_pylist(), report.summary.skipped["symbolic"]
    (1, ['T'], 1)
    """
    endings = _output_endings(genome, calls, rename, output, table)
    checkpoint = _load(model, scores := check_scores(scores), device, dtype)
    scorer = VariantScorer(checkpoint, scores, window=window, layer=layer, strand=strand, batch_bases=batch_bases)
    with _opened(genome, calls) as (opened, path):
        task = VariantsTask(
            scorer, opened, path, rename=rename, max_length=max_length, strict=strict, endings=endings, table=table,
            batch_bases=batch_bases, identity=input_record(genome, calls, rename, {}),
        )  # fmt: skip
        return _run(task, table if output is None else output, restart, progress)


@contextmanager
def _opened(genome: Any, calls: str | os.PathLike[str]) -> Iterator[tuple[Genome, str]]:
    """The genome, and the VCF as a file that can be read more than once."""
    with ExitStack() as stack:
        if not isinstance(genome, Genome):
            genome = stack.enter_context(Genome.open(genome))
        yield genome, stack.enter_context(spooled(os.fspath(calls)))


def _run(
    task: VariantsTask, output: str | os.PathLike[str] | None, restart: bool, progress: bool | None
) -> VariantsReport:
    if output is not None:
        job = run_job(task, output, restart=restart, progress=progress)
        return VariantsReport(task.summary, None, job)
    table = collect(task, progress)
    task.summary.add(table)
    return VariantsReport(task.summary, task.scored(table), None)


def _output_endings(
    genome: Any, calls: Any, rename: Any, output: str | os.PathLike[str] | None, table: str | os.PathLike[str] | None
) -> tuple[str | None, str | None]:
    """Of the annotated VCF and the table, found and checked before anything is read."""
    named = [genome.path if isinstance(genome, Genome) else genome, calls]
    if named.count("-") > 1:
        raise ValueError("the genome and the VCF cannot both come from standard input: name one of the files")
    inputs = input_files(*named, rename)
    ending = None
    if output is not None:
        ending = ".vcf" if os.fspath(output) == "-" else output_ending(output, _VCF_ENDINGS, inputs)
        if table is not None and os.fspath(table) == "-":
            raise ValueError("standard output takes the annotated VCF or the table alone: give --table a file")
    return ending, None if table is None else output_ending(table, _TABLE_ENDINGS, inputs)


def _load(model: Any, scores: Sequence[str], device: str, dtype: str) -> Checkpoint:
    """The checkpoint, if it can give the scores; else an error that says which it can give."""
    needs: Part = "masked_lm" if "llr" in scores else "backbone" if "distance" in scores else "codec"
    checkpoint = load_checkpoint(model, "codec", device=device, dtype=dtype)
    try:
        return load_checkpoint(checkpoint, needs)
    except ValueError as error:
        others = ["codes"] if checkpoint.is_codec else ["distance", "codes"]
        raise ValueError(f"{error}; or ask for less: --scores {','.join(others)}") from error
