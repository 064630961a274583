# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Vectors: one a record, one a window, or one a base, for sequences of any length."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from vqdna_hf.data.genome import Genome
from vqdna_hf.data.jobs import JobReport, collect, input_files, run_job, unit_bases
from vqdna_hf.inference.batching import pad_batch, rows_of
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.inputs import Inputs, input_record, open_inputs, window_of
from vqdna_hf.inference.outputs import output_ending, write_tables
from vqdna_hf.inference.windows import Piece, WindowPlan, WindowUnit, check_strand
from vqdna_hf.model.patching_vqdna import lay_out

PER = ("record", "window", "base")
POOLINGS = ("mean", "max", "cls")
_UNIT_BYTES = 1 << 26
_PARTIAL = ("region", "is_last", "count", "partial")


class EmbedTask:
    """Vectors of sequences; columns: `name`, `chrom`, `start`, `end`, `strand`, `embedding` (H floats).

    `start` and `end` (0-based, half-open) say what the vector is of, on the forward strand; `strand` which of the
    genome's strands was read, `.` for both. Rows of a table have no `chrom`, and `given_label` if there is one.

    N counts in the mean, special tokens and padding do not. With `per="window"` the whole window is pooled, so that
    rows overlap as windows do. Else each base takes its hidden state from the window in which it is most central,
    and of several windows `cls` is the mean, weighted by the bases that each owns.

    The other strand is read in the same windows, and its rows are turned: **row i belongs to base start + i on every
    strand**. `both` is the mean of the two.

    With `codec_stride` s > 1 windows cut the record into the same patches, for which they may be up to s - 1 bases
    shorter than asked (see `plan_windows`): so a base's vector comes from the patch that it has in its record. The s
    bases of a code share its vector, and the hidden states below the last.

    Args:
        checkpoint: any of ours; a codec's vectors are its code vectors.
        inputs: what is read.
        per: `record`, `window` or `base`.
        pooling: `mean`, `max` or `cls`; not per base.
        layer: 0 is the embedding, -1 the last, after the final norm.
        strand: `forward`, `reverse` or `both`.
        window: bases read at once; default what the model reads.
        overlap: of windows; default a quarter.
        half: vectors as float16.
        batch_bases: see `Batcher`.
        identity: of the input files and their columns, for the record of the job.
    """

    verb = "embed"
    total_bases: int | None

    def __init__(
        self,
        checkpoint: Checkpoint,
        inputs: Inputs,
        *,
        per: str = "record",
        pooling: str = "mean",
        layer: int = -1,
        strand: str = "forward",
        window: int | None = None,
        overlap: int | None = None,
        half: bool = False,
        batch_bases: int | None = None,
        identity: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.checkpoint, self.inputs, self.strand = checkpoint, inputs, check_strand(strand)
        self.per, self.pooling, self.layer = per, pooling, layer
        self._check_options()
        window, overlap = window_of(checkpoint, window, overlap)
        strands = 2 if strand == "both" else 1
        # A unit's vectors are in memory: short records would be many in a unit of bases, and a base is one itself.
        most = max(_UNIT_BYTES // (8 * self.width * strands), 1)
        bases = min(unit_bases(), most) if per == "base" else unit_bases()
        self._stride = checkpoint.bases_per_code
        self.plan = WindowPlan(inputs.regions, window, overlap, bases, None if per == "base" else most, self._stride)
        self.batcher = checkpoint.batcher(batch_bases)
        self.kind = pa.list_(pa.float16() if half else pa.float32(), self.width)
        self._about = {
            "per": per, "pooling": pooling, "layer": layer, "strand": strand, "window": window, "overlap": overlap,
            "half": half, "batch_bases": batch_bases, "inputs": list(identity),
        }  # fmt: skip
        self.total_bases = self.plan.bases

    def _check_options(self) -> None:
        for name, value, known in (("per", self.per, PER), ("pooling", self.pooling, POOLINGS)):
            if value not in known:
                raise ValueError(f"{name} {value!r}: choose one of {', '.join(known)}")
        if self.per == "base" and self.pooling != "mean":
            raise ValueError(f"pooling {self.pooling!r}: a vector a base is not pooled, leave it out")
        if self.inputs.pairs is not None:
            raise ValueError(f"{self.inputs.genome.path}: holds pairs of sequences: name one with --sequence-column")
        if self.checkpoint.is_codec:
            if self.layer != -1:
                raise ValueError(f"layer {self.layer}: a codec has no layers to choose from, leave it out")
            if self.pooling == "cls":
                raise ValueError("pooling 'cls': a codec has no vector of the whole at [CLS]: choose mean or max")
            return
        deepest = self.checkpoint.model.config.num_hidden_layers
        if not -deepest - 1 <= self.layer <= deepest:
            raise ValueError(f"layer {self.layer}: this model has hidden states 0..{deepest}, or -{deepest + 1}..-1")

    @property
    def width(self) -> int:
        """H, of a vector."""
        config = self.checkpoint.model.config
        return int(config.codebook_dim if self.checkpoint.is_codec else config.hidden_size)

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {**self._about, **self.checkpoint.describe()}

    def describe(self) -> Mapping[str, Any]:
        """The options, the inputs and the weights."""
        return self._description

    def units(self) -> Iterator[WindowUnit]:
        """Windows of the sequences."""
        return self.plan.units()

    def compute(self, unit: WindowUnit) -> pa.Table:
        """Vectors of a unit; of records their sums, which `finish` makes vectors of."""
        groups = self.inputs.read_all(self.plan, unit, self.strand, self.batcher, self._read)
        if self.per == "record":
            return self._partial_table(unit.pieces, np.array(groups))
        rows = [group[0] if len(group) == 1 else np.mean(group, axis=0, dtype=np.float32) for group in groups]
        if self.per == "window":
            starts = [piece.window.start for piece in unit.pieces]
            ends = [piece.window.end for piece in unit.pieces]
            columns = self.inputs.columns(
                _numbers(unit.pieces), starts, ends, self.plan.signs(unit.pieces, self.strand)
            )
            return self._with_vectors(columns, np.stack(rows))
        return self._base_table(unit.pieces, np.concatenate(rows))

    def _read(self, reads: Sequence[tuple[Piece, bool]]) -> list[NDArray[Any]]:
        """For each window (H,), summed where windows are; per base (kept, H) in the forward strand's order."""
        sequences = [self.inputs.read(self.plan, piece, reverse) for piece, reverse in reads]
        states = self._states(*pad_batch(sequences, special=True))
        counted = [_counted(piece, reverse, self.per == "window") for piece, reverse in reads]
        if self.per == "base":
            rows = rows_of(states, [len(ids) for ids in sequences], special=True)
            kept = (values[start:end] for values, (start, end) in zip(rows, counted, strict=True))
            # Copies, or the batch's padding would stay in memory.
            return [
                np.array(values[::-1] if reverse else values) for values, (_, reverse) in zip(kept, reads, strict=True)
            ]
        bounds = torch.tensor(counted, device=states.device) + 1  # behind [CLS]
        places = torch.arange(states.shape[1], device=states.device)
        weight = ((places >= bounds[:, :1]) & (places < bounds[:, 1:])).unsqueeze(-1)
        if self.pooling == "max":
            values = states.masked_fill(~weight, -torch.inf).amax(1)
        elif self.pooling == "cls":
            values = states[:, 0] * (weight.sum(1) if self.per == "record" else 1)
        else:
            values = (states * weight).sum(1)
            values = values if self.per == "record" else values / weight.sum(1)
        return list(values.cpu().numpy())

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) -> (B, L, H), float32."""
        ids, mask = self.checkpoint.to_device(ids), self.checkpoint.to_device(mask)
        model: Any = self.checkpoint.model
        with torch.inference_mode():
            if self.checkpoint.is_codec:
                patches = lay_out(ids, mask, self._stride)
                return patches.spread(model.encode(ids, patches=patches).quantized).float()
            if self.layer == -1:
                return model.base_model(ids, mask, return_dict=True).last_hidden_state.float()
            outputs = model.base_model(ids, mask, output_hidden_states=True, return_dict=True)
            return outputs.hidden_states[self.layer].float()

    def _with_vectors(self, columns: dict[str, Any], vectors: NDArray[np.float32]) -> pa.Table:
        _check_finite(vectors, columns)
        flat = pa.array(vectors.ravel())
        if pa.types.is_float16(self.kind.value_type):
            if np.abs(vectors).max(initial=0) > np.finfo(np.float16).max:
                raise ValueError("an embedding is larger than float16 can hold: leave --half out")
            flat = pa.array(vectors.astype(np.float16).ravel())
        return pa.table({**columns, "embedding": pa.FixedSizeListArray.from_arrays(flat, type=self.kind)})

    def _base_table(self, pieces: Sequence[Piece], vectors: NDArray[np.float32]) -> pa.Table:
        """A row a base."""
        bounds = np.array([piece.window[2:] for piece in pieces])
        lengths = bounds[:, 1] - bounds[:, 0]
        starts = np.concatenate([np.arange(start, end) for start, end in bounds])
        of_piece = self.inputs.columns(
            _numbers(pieces), bounds[:, 0], bounds[:, 1], self.plan.signs(pieces, self.strand)
        )
        repeated = pa.array(np.repeat(np.arange(len(pieces)), lengths))
        columns = {name: values.take(repeated) for name, values in of_piece.items()}
        first = columns["start"].to_numpy() - np.repeat(bounds[:, 0], lengths)
        columns["start"], columns["end"] = pa.array(first + starts), pa.array(first + starts + 1)
        return self._with_vectors(columns, vectors)

    def _partial_table(self, pieces: Sequence[Piece], values: NDArray[np.float32]) -> pa.Table:
        """A row a record of the unit: what its windows (pieces, strands, H) sum up to, as far as they are here."""
        regions = np.array(_numbers(pieces))
        firsts = np.flatnonzero(np.diff(regions, prepend=-1)).tolist()
        combine = np.maximum if self.pooling == "max" else np.add
        partial = combine.reduceat(values.astype(np.float64), firsts, axis=0)
        kept = [piece.window.keep_end - piece.window.keep_start for piece in pieces]
        lasts = [*(first - 1 for first in firsts[1:]), len(pieces) - 1]
        shown = [pieces[first] for first in firsts]
        starts, ends = [0] * len(shown), [self.inputs.regions[piece.region].length for piece in shown]
        columns = self.inputs.columns(regions[firsts], starts, ends, self.plan.signs(shown, self.strand))
        _check_finite(partial.reshape(len(shown), -1), columns)  # now, and not when the last unit is done
        wide = pa.list_(pa.float64(), partial.shape[1] * partial.shape[2])
        columns |= {
            "region": pa.array(regions[firsts]),
            "is_last": pa.array([pieces[last].is_last for last in lasts]),
            "count": pa.array(np.add.reduceat(kept, firsts)),
            "partial": pa.FixedSizeListArray.from_arrays(pa.array(partial.ravel()), type=wide),
        }
        return pa.table(columns)

    def finish(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Vectors of records from the units' sums: a record may lie in several units. Other tables stay as they are."""
        if self.per != "record":
            yield from tables
            return
        combine = np.maximum if self.pooling == "max" else np.add
        carried: tuple[int, NDArray[np.float64]] | None = None
        for table in tables:
            regions = table["region"].to_numpy()
            firsts = np.flatnonzero(np.diff(regions, prepend=-1))
            counts = np.add.reduceat(table["count"].to_numpy(), firsts)
            values = table["partial"].combine_chunks().flatten().to_numpy().reshape(len(table), -1, self.width)
            values = combine.reduceat(values, firsts, axis=0)
            if carried is not None:
                counts[0] += carried[0]
                values[0] = combine(values[0], carried[1])
            # Of the records of a unit only the last can go on.
            done = len(firsts) if table["is_last"][len(table) - 1].as_py() else len(firsts) - 1
            carried = None if done == len(firsts) else (counts[-1], values[-1])
            if done:
                vectors = values[:done] if self.pooling == "max" else values[:done] / counts[:done, None, None]
                columns = table.drop_columns(list(_PARTIAL)).take(pa.array(firsts[:done]))
                found = {name: columns[name] for name in columns.column_names}
                yield self._with_vectors(found, vectors.astype(np.float32).mean(1))

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Into Parquet, TSV or npz."""
        write_tables(self.finish(tables), path, output_ending(path), self.describe())


def _numbers(pieces: Sequence[Piece]) -> list[int]:
    return [piece.region for piece in pieces]


def _check_finite(vectors: NDArray[Any], columns: Mapping[str, Any]) -> None:
    if not np.isfinite(vectors).all():
        row = int(np.argwhere(~np.isfinite(vectors).all(1))[0, 0])
        raise ValueError(
            f"{columns['name'][row]}: the embedding is not finite: give --dtype float32, or check the model"
        )


def _counted(piece: Piece, reverse: bool, whole: bool) -> tuple[int, int]:
    """The bases of a window that count, in the order in which it was read."""
    window = piece.window
    length = window.end - window.start
    start, end = (0, length) if whole else (window.keep_start - window.start, window.keep_end - window.start)
    return (length - end, length - start) if reverse else (start, end)


def embed(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    source: str | os.PathLike[str] | Genome,
    output: str | os.PathLike[str] | None = None,
    *,
    bed: str | os.PathLike[str] | None = None, rename: str | os.PathLike[str] | None = None,
    sequence_column: str | None = None, label_column: str | None = None, id_column: str | None = None,
    per: str = "record", pooling: str = "mean", layer: int = -1, strand: str = "forward", window: int | None = None,
    overlap: int | None = None, half: bool = False, device: str = "auto", dtype: str = "auto",
    batch_bases: int | None = None, restart: bool = False, progress: bool | None = None,
) -> pa.Table | JobReport:  # fmt: skip
    """One vector a record, a window or a base; the definitions are those of the pipeline `dna-embedding`.

    A sequence longer than the model reads goes through it in overlapping windows; see `EmbedTask`.

    Args:
        model: a checkpoint of this package, codec or any head.
        source: FASTA, `-` for FASTA on standard input, an open `Genome`, or a table with a column of sequences.
        output: `.parquet`, `.tsv`, `.tsv.gz`, `.npz`, or `-`; without it the table is returned.
        bed, rename: only these regions of a genome; see `read_bed`. With `per="record"` one vector a region.
        sequence_column, label_column, id_column: of a table; see `read_labelled`.
        per: `record`, `window` or `base`.
        pooling: `mean`, `max` or `cls`.
        layer: whose hidden states: 0 is the embedding, -1 the last.
        strand: `forward`, `reverse` or `both` (the mean).
        window, overlap: in bases; default what the model reads, and a quarter of it.
        half: vectors as float16.
        device, dtype: see `load_checkpoint`.
        batch_bases: see `Batcher`.
        restart, progress: see `run_job`.

    Returns:
        The table, see `EmbedTask`, or what was done.

    Raises:
        ValueError: for input that cannot be read, or options that do not fit.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> table = embed(VQDNACodecModel(config), Genome.from_sequences(["a", "b"], ["ACGTN", "GG"]), strand="both")
    >>> table["name"].to_pylist(), table["strand"].to_pylist(), len(table["embedding"][0])
    (['a', 'b'], ['.', '.'], 8)
    """
    columns: dict[str, Any] = {
        "sequence_column": sequence_column, "label_column": label_column, "id_column": id_column
    }  # fmt: skip
    if output is not None:
        output_ending(output, inputs=input_files(source, bed, rename))
    checkpoint = load_checkpoint(model, "codec", device=device, dtype=dtype)
    with open_inputs(source, bed=bed, rename=rename, **columns) as inputs:
        task = EmbedTask(
            checkpoint, inputs, per=per, pooling=pooling, layer=layer, strand=strand, window=window, overlap=overlap,
            half=half, batch_bases=batch_bases, identity=input_record(source, bed, rename, columns),
        )  # fmt: skip
        if output is None:
            return pa.concat_tables(task.finish([collect(task, progress)]))
        return run_job(task, output, restart=restart, progress=progress)
