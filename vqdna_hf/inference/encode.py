# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Nucleotides into codes with coordinates, and codes back into nucleotides."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region
from vqdna_hf.data.jobs import JobReport, collect, input_files, run_job
from vqdna_hf.inference.batching import pad_batch, rows_of
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.inputs import CODEC_WINDOW, input_record, open_genome
from vqdna_hf.inference.outputs import output_ending, write_tables
from vqdna_hf.inference.windows import Piece, WindowPlan, WindowUnit, check_strand
from vqdna_hf.model.quantization_vqdna import NO_CODE
from vqdna_hf.model.tokenization_vqdna import N_ID

BASES_PER_CODE = "bases_per_code"
"""The column that says how many bases a code stands for, where that is more than one."""


class EncodeTask:
    """The codes of regions: one row a window and strand.

    Columns: `name` (of the region), `chrom`, `start`, `end` (0-based, half-open, on the forward strand), `strand` (`+`
    or `-`, which of the genome's strands was read), `region` (its number, from 0), and for each level, coarse to fine,
    `codes_1`, `codes_2`, ...: one code a base. **Code i belongs to base start + i on both strands**; -1 stands where
    the base is N.

    Where a code stands for s > 1 bases (`codec_stride`) the column `bases_per_code` says s, in every row. The region is
    cut into patches of s bases from where it begins on the strand that is read; the last may be shorter. Rows hold
    whole patches, their codes in the forward strand's order: on `+` **code i stands for the s bases from
    start + i * s**, cut at `end`; on `-` codes are counted from the row's end: the last one stands for the s bases
    before `end`, and the first is cut at `start`. -1 stands where all of a patch is N; a patch that is N in part has a
    code. Rows of the two strands begin at different bases unless the region's length is a multiple of s.

    Args:
        checkpoint: any of ours.
        genome: what is read.
        regions: of it.
        strand: `forward`, `reverse` or `both`.
        window: bases a row at most.
        batch_bases: see `Batcher`.
        identity: of the input files, for the record of the job.
    """

    verb = "encode"
    total_bases: int | None

    def __init__(
        self,
        checkpoint: Checkpoint,
        genome: Genome,
        regions: Sequence[Region],
        *,
        strand: str = "forward",
        window: int = CODEC_WINDOW,
        batch_bases: int | None = None,
        identity: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.checkpoint, self.genome, self.strand = checkpoint, genome, check_strand(strand)
        # Windows overlap by what a code can see on both sides, in whole patches, so that cutting changes no code.
        self._stride = checkpoint.bases_per_code
        overlap = 2 * -(-checkpoint.codec_config.context // self._stride) * self._stride
        if window <= 2 * overlap:
            raise ValueError(f"window={window}: this codec sees {overlap} bases, it must be above {2 * overlap}")
        self.plan = WindowPlan(regions, window, overlap, stride=self._stride)
        self.batcher = checkpoint.batcher(batch_bases)
        self._about = {"strand": strand, "window": window, "batch_bases": batch_bases, "inputs": list(identity)}
        self.total_bases = self.plan.bases

    @cached_property
    def _description(self) -> dict[str, Any]:
        vocabulary = {"codebooks_sha256": self.checkpoint.codebooks_sha256}  # `decode` looks for it
        stride = {} if self._stride == 1 else {"bases_per_code": self._stride}
        return {**self._about, **self.checkpoint.describe(), **vocabulary, **stride}

    def describe(self) -> Mapping[str, Any]:
        """The options, the inputs and the weights."""
        return self._description

    def units(self) -> Iterator[WindowUnit]:
        """Windows of the regions."""
        return self.plan.units()

    def compute(self, unit: WindowUnit) -> pa.Table:
        """The rows of a unit."""
        reads = [(piece, reverse) for piece in unit.pieces for reverse in self.plan.strands(piece, self.strand)]
        lengths = [piece.window.end - piece.window.start for piece, _ in reads]
        codes = self.batcher.map(lengths, lambda numbers: self._codes([reads[number] for number in numbers]))
        return self._table(reads, codes)

    def _codes(self, reads: Sequence[tuple[Piece, bool]]) -> list[NDArray[np.int32]]:
        """For each window the codes (kept patches, Q) in the forward strand's order."""
        sequences = [self.plan.read(self.genome, piece, reverse) for piece, reverse in reads]
        ids, mask = pad_batch(sequences, special=False)
        with torch.inference_mode():
            codes = self.checkpoint.encoder(
                self.checkpoint.to_device(ids), self.checkpoint.to_device(mask), update_codebooks=False,
                return_loss=False,
            ).codes  # fmt: skip
        found = []
        stride = self._stride
        rows = rows_of(codes.transpose(1, 2).to(torch.int32), [-(-len(ids) // stride) for ids in sequences], False)
        for (piece, reverse), sequence, values in zip(reads, sequences, rows, strict=True):
            unknown = np.logical_and.reduceat(sequence == N_ID, np.arange(0, len(sequence), stride))
            values = np.where(unknown[:, None], NO_CODE, values)
            start, end = self.plan.kept_patches(piece, reverse)
            if reverse:
                start, end = piece.window.end - end, piece.window.end - start
            else:
                start, end = start - piece.window.start, end - piece.window.start
            values = values[start // stride : -(-end // stride)]
            found.append(values[::-1] if reverse else values)
        return found

    def _table(self, reads: Sequence[tuple[Piece, bool]], codes: Sequence[NDArray[np.int32]]) -> pa.Table:
        regions = [self.plan.regions[piece.region] for piece, _ in reads]
        kept = [self.plan.kept_patches(piece, reverse) for piece, reverse in reads]
        places = list(zip(regions, kept, strict=True))
        columns: dict[str, Any] = {
            "name": [region.name for region in regions],
            "chrom": [region.chrom for region in regions],
            "start": pa.array([region.start + start for region, (start, _) in places], pa.int64()),
            "end": pa.array([region.start + end for region, (_, end) in places], pa.int64()),
            "strand": ["-" if reverse else "+" for _, reverse in reads],
            "region": pa.array([piece.region for piece, _ in reads], pa.int64()),
        }
        if self._stride > 1:
            columns[BASES_PER_CODE] = pa.array([self._stride] * len(reads), pa.int32())
        offsets = pa.array(np.cumsum([0, *map(len, codes)]), pa.int32())
        for level, size in enumerate(self.checkpoint.codebook_sizes):
            values = np.concatenate([rows[:, level] for rows in codes])
            kind = np.int16 if size <= np.iinfo(np.int16).max else np.int32
            columns[f"codes_{level + 1}"] = pa.ListArray.from_arrays(offsets, pa.array(values.astype(kind)))
        return pa.table(columns)

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Into Parquet or TSV."""
        write_tables(tables, path, output_ending(path), self.describe())


def encode(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    genome: str | os.PathLike[str] | Genome,
    output: str | os.PathLike[str] | None = None,
    *,
    bed: str | os.PathLike[str] | None = None,
    rename: str | os.PathLike[str] | None = None,
    strand: str = "forward",
    window: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_bases: int | None = None,
    restart: bool = False,
    progress: bool | None = None,
) -> pa.Table | JobReport:
    """Codes of every level, with coordinates: what the learned vocabulary makes of a genome.

    Windows overlap by what a code can see: the codes are those of a single pass over the region. With `codec_stride` s
    one code stands for s bases; `EncodeTask` says which.

    Args:
        model: a checkpoint of this package, codec or any head.
        genome: a FASTA file, `-` for standard input, or an open `Genome`.
        output: `.parquet`, `.tsv`, `.tsv.gz`, or `-`; without it the table is returned.
        bed, rename: only these regions; see `read_bed`.
        strand: `forward`, `reverse` or `both`.
        window: bases a row at most; default `CODEC_WINDOW`.
        device, dtype, batch_bases: see `load_checkpoint`, `Batcher`.
        restart, progress: see `run_job`.

    Returns:
        The table, see `EncodeTask`, or what was done.

    Raises:
        ValueError: for input that cannot be read, or options that do not fit.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> table = encode(VQDNACodecModel(config), Genome.from_sequences(["chr1"], ["ACGTNACGT"]))
    >>> table.column_names[:5], [len(codes) for codes in table["codes_2"]], table["codes_1"][0][4].as_py()
    (['name', 'chrom', 'start', 'end', 'strand'], [9], -1)
    """
    if output is not None:
        output_ending(output, (".parquet", ".tsv", ".tsv.gz"), input_files(genome, bed, rename))
    checkpoint = load_checkpoint(model, "codec", device=device, dtype=dtype)
    with open_genome(genome, bed, rename) as (opened, regions):
        task = EncodeTask(
            checkpoint, opened, regions, strand=strand, window=CODEC_WINDOW if window is None else window,
            batch_bases=batch_bases, identity=input_record(genome, bed, rename, {}),
        )  # fmt: skip
        if output is None:
            return collect(task, progress)
        return run_job(task, output, restart=restart, progress=progress)
