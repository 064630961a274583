# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What verbs read: records of a genome, its regions, or the rows of a table, as one list of regions."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.fasta import encode_sequence, open_binary
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import AUTO, Region, read_bed, whole_records
from vqdna_hf.data.jobs import identities
from vqdna_hf.data.tables import read_labelled
from vqdna_hf.inference.batching import Batcher
from vqdna_hf.inference.checkpoints import Checkpoint
from vqdna_hf.inference.windows import Piece, WindowPlan, WindowUnit
from vqdna_hf.model.tokenization_vqdna import SEP_ID

CODEC_WINDOW = 8190
"""Nucleotides that a codec reads at once, as in the pipeline `dna-embedding`: it has no longest input."""

TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")

_Compute = Callable[[Sequence[tuple[Piece, bool]]], Sequence[NDArray[Any]]]


@dataclass(frozen=True, eq=False)
class Inputs:
    """Sequences that have a name, and a place where that is known.

    Args:
        genome: holds them; of a table, a record a row.
        regions: of it, in the order of the output.
        is_table: whether they are rows, which have no place on a chromosome.
        labels: what a table says of each row, as text.
        pairs: (m,) ids of each row's second sequence, where a table has pairs.

    Example:

    >>> genome = Genome.from_sequences(["chr1"], ["ACGTA"])
    >>> pa.table(Inputs(genome, whole_records(genome)).columns([0, 0], [0, 2], [3, 5], ["+", "+"])).to_pylist()[1]
    {'name': 'chr1', 'chrom': 'chr1', 'start': 2, 'end': 5, 'strand': '+'}
    """

    genome: Genome
    regions: Sequence[Region] = field(repr=False)
    is_table: bool = False
    labels: Sequence[str] | None = field(default=None, repr=False)
    pairs: Sequence[NDArray[np.uint8]] | None = field(default=None, repr=False)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return np.array([region.start for region in self.regions], dtype=np.int64)

    def where(self, number: int) -> str:
        """File and record, for an error."""
        region = self.regions[number]
        kind = "region" if region.length < self.genome.lengths[region.chrom] else "record"
        name = region.chrom if self.is_table else f"{kind} {region.name!r}"
        return f"{self.genome.path}, {name}"

    def columns(
        self,
        numbers: Sequence[int] | NDArray[np.int64],
        starts: Sequence[int] | NDArray[np.int64],
        ends: Sequence[int] | NDArray[np.int64],
        strands: Sequence[str],
    ) -> dict[str, pa.Array]:
        """The columns that say what a row of the output is about: `name`, `chrom`, `start`, `end`, `strand`.

        Rows of a table have no `chrom`, and `given_label` if there is one.

        Args:
            numbers: of regions.
            starts, ends: in bases from the region's start.
            strands: `+`, `-`, or `.` for both.
        """
        regions = [self.regions[number] for number in numbers]
        offsets = self._offsets[np.asarray(numbers, dtype=np.int64)]
        found = {"name": pa.array([region.name for region in regions], pa.string())}
        if not self.is_table:
            found["chrom"] = pa.array([region.chrom for region in regions], pa.string())
        found["start"] = pa.array(offsets + np.asarray(starts, dtype=np.int64))
        found["end"] = pa.array(offsets + np.asarray(ends, dtype=np.int64))
        found["strand"] = pa.array(list(strands), pa.string())
        if self.labels is not None:
            found["given_label"] = pa.array([self.labels[number] for number in numbers], pa.string())
        return found

    def read(self, plan: WindowPlan, piece: Piece, reverse: bool) -> NDArray[np.uint8]:
        """Ids (window,) of a piece on one strand; of a pair both sequences with `[SEP]` between, each turned alone."""
        ids = plan.read(self.genome, piece, reverse)
        if self.pairs is None:
            return ids
        other = self.pairs[piece.region]
        other = reverse_complement_array(other) if reverse else other
        return np.concatenate([ids, np.array([SEP_ID], np.uint8), other])

    def read_all(
        self, plan: WindowPlan, unit: WindowUnit, strand: str, batcher: Batcher, compute: _Compute
    ) -> list[list[NDArray[Any]]]:
        """Read the windows of a unit in batches, on the strands asked for.

        Args:
            compute: takes windows, each with whether the other strand is to be read, and gives a value for each.

        Returns:
            For each window its values, one a strand, the region's own first.
        """
        reads = [(piece, reverse) for piece in unit.pieces for reverse in plan.strands(piece, strand)]
        lengths = [self._length(piece) for piece, _ in reads]
        found = batcher.map(lengths, lambda numbers: compute([reads[number] for number in numbers]))
        strands = len(reads) // len(unit.pieces)
        return [found[at : at + strands] for at in range(0, len(found), strands)]

    def _length(self, piece: Piece) -> int:
        more = 0 if self.pairs is None else len(self.pairs[piece.region]) + 1
        return piece.window.end - piece.window.start + more

    def check_lengths(self, longest: int, way_out: str) -> None:
        """Refuse what a model cannot read at once.

        Raises:
            ValueError: names the first sequence that is longer than `longest`.

        Example:

        >>> genome = Genome.from_sequences(["chr1"], ["ACGTA"])
        >>> Inputs(genome, whole_records(genome)).check_lengths(4, "give --window")
        Traceback (most recent call last):
        ...
        ValueError: <memory>, record 'chr1': 5 nucleotides, and this model reads at most 4 at once: give --window
        """
        for number, region in enumerate(self.regions):
            length = region.length + (0 if self.pairs is None else len(self.pairs[number]) + 1)
            if length > longest:
                raise ValueError(
                    f"{self.where(number)}: {length} nucleotides{'' if self.pairs is None else ' (both of the pair)'}, "
                    f"and this model reads at most {longest} at once: {way_out}"
                )


def is_table(source: str | os.PathLike[str]) -> bool:
    """Whether a file is a table of sequences: by its ending, unless it begins as FASTA does.

    Raises:
        ValueError: if there is no such file.

    Example:

    >>> is_table("genome.fa.gz")
    False
    """
    path = os.fspath(source)
    if not path.lower().removesuffix(".gz").endswith(TABLE_ENDINGS):
        return False
    with open_binary(path) as stream:
        return stream.read(1) != b">"


@contextmanager
def open_inputs(
    source: str | os.PathLike[str] | Genome,
    *,
    bed: str | os.PathLike[str] | None = None,
    rename: str | os.PathLike[str] | None = None,
    sequence_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
) -> Iterator[Inputs]:
    """Open a genome with its regions, or a table.

    Args:
        source: FASTA, a table (see `read_table`), `-` for FASTA on standard input, or an open `Genome`.
        bed, rename: see `read_bed`; for genomes.
        sequence_column, label_column, id_column: see `read_labelled`; for tables.

    Raises:
        ValueError: if it cannot be read, or an option is for the other kind of input.

    Example:

    >>> with open_inputs(Genome.from_sequences(["a", "b"], ["ACGT", "GG"])) as inputs:
    ...     [region.name for region in inputs.regions]
    ['a', 'b']
    """
    columns = {"sequence_column": sequence_column, "label_column": label_column, "id_column": id_column}
    with ExitStack() as stack:
        if not isinstance(source, Genome) and is_table(source):
            if bed is not None:
                raise ValueError(f"{os.fspath(source)}: is a table, and --bed is for genomes: give a FASTA file")
            inputs = _of_table(source, **columns)
            stack.enter_context(inputs.genome)
        else:
            if given := [name for name, value in columns.items() if value is not None]:
                path = getattr(source, "path", source)
                raise ValueError(f"{path}: is no table, and {given[0]} is for tables ({' '.join(TABLE_ENDINGS)})")
            inputs = Inputs(*stack.enter_context(open_genome(source, bed, rename)))
        yield inputs


@contextmanager
def open_genome(
    source: str | os.PathLike[str] | Genome,
    bed: str | os.PathLike[str] | None = None,
    rename: str | os.PathLike[str] | None = None,
) -> Iterator[tuple[Genome, Sequence[Region]]]:
    """Open a genome, and say which regions of it are read: those of a BED file, or all records.

    Args:
        source: FASTA, `-` for standard input, or an open `Genome`, which is not closed.
        bed, rename: see `read_bed`.

    Raises:
        ValueError: if one of them cannot be read, a record has an illegal letter (without a BED file, all are looked
            through), or two are to come from standard input.

    Example:

    >>> with open_genome(Genome.from_sequences(["a"], ["ACGT"])) as (genome, regions):
    ...     genome.bases, len(regions)
    (4, 1)
    """
    if [str(given) for given in (source, bed, rename)].count("-") > 1:
        raise ValueError("two inputs are '-': only one of them can be standard input")
    with ExitStack() as stack:
        genome = source if isinstance(source, Genome) else stack.enter_context(Genome.open(source))
        if bed is None:
            genome.check()  # an illegal letter in the last record is better found now than hours later
            yield genome, whole_records(genome)
        else:
            yield genome, read_bed(bed, genome, rename=rename)


def _of_table(path: str | os.PathLike[str], **columns: Any) -> Inputs:
    table = read_labelled(path, require_labels=False, **columns)
    rows = [f"row {number}" for number in range(1, len(table) + 1)]
    names = [id_ or str(number) for number, id_ in enumerate(table.ids or [""] * len(table), start=1)]
    genome = Genome.from_sequences(rows, table.sequences, path=table.path)
    regions = [Region(row, 0, genome.lengths[row], name, ".") for row, name in zip(rows, names, strict=True)]
    pairs = None
    if table.pairs is not None:
        pairs = [
            encode_sequence(text, where=f"{table.path}, {row}") for row, text in zip(rows, table.pairs, strict=True)
        ]
    return Inputs(genome, regions, True, table.labels, pairs)


def input_record(
    source: str | os.PathLike[str] | Genome,
    bed: str | os.PathLike[str] | None,
    rename: str | os.PathLike[str] | None,
    columns: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What was given to `open_inputs`, for the record of a job.

    Example:

    >>> input_record("-", None, "auto", {"id_column": "id"})[1:]
    [{'id_column': 'id', 'rename': 'auto'}]
    """
    table = None if rename in (None, AUTO) else rename
    options = {**columns, "rename": None if rename is None else os.fspath(rename)}
    return [*identities(source, bed, table), options]


def window_of(checkpoint: Checkpoint, window: int | None, overlap: int | None) -> tuple[int, int]:
    """Window and overlap in bases: by default what the model reads, and a quarter of it.

    Raises:
        ValueError: if the model cannot read as much, or not `0 <= overlap < window`.

    Example:

    >>> from vqdna_hf.inference.checkpoints import load_checkpoint
    >>> from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> window_of(load_checkpoint(VQDNACodecModel(config)), None, None)
    (8190, 2047)
    """
    longest = checkpoint.longest_window
    if window is None:
        window = CODEC_WINDOW if longest is None else longest
    elif window < 1 or (longest is not None and window > longest):
        raise ValueError(f"window {window}: this model reads 1 to {longest or 'any number of'} nucleotides at once")
    overlap = window // 4 if overlap is None else overlap
    if not 0 <= overlap < window:
        raise ValueError(f"overlap {overlap}: must be 0 to {window - 1}, with windows of {window}")
    return window, overlap
