# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a fine-tuned model says: of sequences, of windows along a genome, or of each base."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vqdna_hf.data.genome import Genome
from vqdna_hf.data.jobs import JobReport, collect, input_files, run_job, unit_bases
from vqdna_hf.inference.batching import pad_batch, rows_of
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.inputs import Inputs, input_record, open_inputs, window_of
from vqdna_hf.inference.outputs import TABLES, output_ending, write_tables
from vqdna_hf.inference.tracks import (
    BEDGRAPH_ENDINGS,
    BIGWIG_ENDINGS,
    TRACK_ENDINGS,
    Runs,
    import_bigwig,
    open_packed,
    sort_regions,
    write_bedgraph,
    write_bigwig,
)
from vqdna_hf.inference.windows import Piece, WindowPlan, WindowUnit, check_strand
from vqdna_hf.model.modeling_vqdna import VQDNAForTokenClassification

BED_ENDINGS = (".bed", ".bed.gz")
ENDINGS = (*TABLES, *BED_ENDINGS, *TRACK_ENDINGS)

_KEPT = ("keep_start", "keep_end")
_UNIT_BYTES = 1 << 26


class PredictTask:
    """Answers of a model with a head; columns: `name`, `chrom`, `start`, `end`, `strand`, and what it says.

    A classifier of sequences gives `label` and `probability_<label>` for each label; with several labels at once
    (`problem_type`) `label` lists those of 0.5 or more; of a regression `value`, or `value_<label>` if there are
    several. A row is a record, a region, a table's row, or with `window` a window: `start` and `end` (0-based,
    half-open) say what was read. A classifier of positions gives the same as lists, one entry a base: each base takes
    its answer from the window in which it is most central, and a row holds those of one window. In a track of a
    classifier of sequences, too, a base takes the value of the window in which it is most central. BED has a line a
    label: of positions a line a run of one label, with its mean probability times 1000 as the score.

    `strand` says which of the genome's strands was read, `.` for both: then logits are averaged. A model that does so
    itself (`average_strands`) is asked once. **Entry i belongs to base start + i on every strand.** Rows of a table
    have no `chrom`, and `given_label` if there is one.

    Args:
        checkpoint: with a head for sequences or positions.
        inputs: what is read.
        ending: of the output, one of `ENDINGS`.
        strand: `forward`, `reverse` or `both`.
        window: bases read at once; default for positions what the model reads, for sequences the whole sequence. With
            `codec_stride` s > 1 up to s - 1 fewer, so that no patch of a code is cut, see `plan_windows`.
        overlap: of windows; default a quarter.
        label: which label's values a bedGraph or BigWig holds.
        track_line: the name for a bedGraph's line `track`; default: no such line.
        batch_bases: see `Batcher`.
        identity: of the input files and their columns, for the record of the job.
    """

    verb = "predict"
    total_bases: int | None

    def __init__(
        self,
        checkpoint: Checkpoint,
        inputs: Inputs,
        *,
        ending: str = ".parquet",
        strand: str = "forward",
        window: int | None = None,
        overlap: int | None = None,
        label: str | None = None,
        track_line: str | None = None,
        batch_bases: int | None = None,
        identity: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.checkpoint, self.ending, self.track_line = checkpoint, ending, track_line
        self.of_positions = isinstance(checkpoint.model, VQDNAForTokenClassification)
        self.config: Any = checkpoint.model.config
        self.averages = bool(self.config.average_strands) and not self.of_positions
        self.strand = "forward" if self.averages and check_strand(strand) else check_strand(strand)
        self.kind = _kind_of_answer(self.config, self.of_positions)
        self.labels = _label_names(self.config, ending)
        self._check_output(inputs, label)
        self.column = self._track_column(label) if ending in TRACK_ENDINGS else None
        self.inputs = inputs if self.column is None else _in_order(inputs)
        window, overlap = self._window(window, overlap)
        most = max(_UNIT_BYTES // (4 * len(self.labels)), 1) if self.of_positions else unit_bases()
        stride = checkpoint.bases_per_code
        self.plan = WindowPlan(self.inputs.regions, window, overlap, min(unit_bases(), most), stride=stride)
        self.batcher = checkpoint.batcher(batch_bases)
        self._about = {
            "labels": self.labels, "strand": strand, "window": window, "overlap": overlap, "track": self.column,
            "track_line": track_line, "batch_bases": batch_bases, "inputs": list(identity),
        }  # fmt: skip
        self.total_bases = self.plan.bases

    def _check_output(self, inputs: Inputs, label: str | None) -> None:
        is_track, is_bed = self.ending in TRACK_ENDINGS, self.ending in BED_ENDINGS
        if (is_track or is_bed) and inputs.is_table:
            raise ValueError(f"{inputs.genome.path}: rows of a table have no place on a genome: write Parquet or TSV")
        if is_bed and self.kind != "one":
            raise ValueError("BED holds one label a line, and this model does not choose one: write Parquet or TSV")
        if self.ending == ".npz" and (self.of_positions or self.kind == "several"):
            raise ValueError("npz holds matrices, and these are lists of unequal length: write Parquet or TSV")
        if label is not None and not is_track:
            raise ValueError(f"--label {label}: is for bedGraph and BigWig; tables hold the values of all labels")
        if self.track_line is not None and self.ending not in BEDGRAPH_ENDINGS:
            raise ValueError("--track-line is for bedGraph")
        if self.ending in BIGWIG_ENDINGS:
            import_bigwig()

    def _track_column(self, label: str | None) -> str:
        if label is None and len(self.labels) > 1:
            raise ValueError(
                f"a track holds one value a base, and this model has the labels {', '.join(self.labels)}: choose one "
                "with --label"
            )
        if label is not None and label not in self.labels:
            raise ValueError(f"--label {label}: this model has the labels {', '.join(self.labels)}")
        return self._columns[self.labels.index(label) if label else 0]

    @property
    def _columns(self) -> list[str]:
        """The names of the columns of values."""
        if self.kind == "number":
            return ["value"] if len(self.labels) == 1 else [f"value_{label}" for label in self.labels]
        return [f"probability_{label}" for label in self.labels]

    def _window(self, window: int | None, overlap: int | None) -> tuple[int, int]:
        if self.inputs.pairs is not None and (window is not None or self.of_positions):
            raise ValueError(f"{self.inputs.genome.path}: pairs of sequences are read whole, not in windows")
        if not self.of_positions and window is None:
            if overlap is not None:
                raise ValueError(f"overlap {overlap}: is for windows, give --window as well")
            longest = int(self.checkpoint.longest_window or 0)
            way_out = "give --window to get an answer for each window" if self.inputs.pairs is None else "cut them"
            self.inputs.check_lengths(longest, way_out)
            return longest, 0
        return window_of(self.checkpoint, window, overlap)

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
        """The rows of a unit."""
        pieces = unit.pieces
        groups = self.inputs.read_all(self.plan, unit, self.strand, self.batcher, self._read)
        logits: list[Any] = [
            group[0] if len(group) == 1 else np.mean(group, axis=0, dtype=np.float32) for group in groups
        ]
        numbers = [piece.region for piece in pieces]
        signs = ["."] * len(pieces) if self.averages else self.plan.signs(pieces, self.strand)
        windows = np.array([piece.window for piece in pieces])
        starts, ends = windows[:, 2:].T if self.of_positions else windows[:, :2].T
        columns = self.inputs.columns(numbers, starts, ends, signs)
        offsets = pa.array(np.cumsum([0, *map(len, logits)]), pa.int32()) if self.of_positions else None
        table = np.concatenate(logits) if self.of_positions else np.stack(logits)
        if not np.isfinite(table).all():
            raise ValueError(
                f"{self.checkpoint.name}: an answer is not finite: give --dtype float32, or check the model"
            )
        for name, values in self._answers(table):
            columns[name] = values if offsets is None else pa.ListArray.from_arrays(offsets, values)
        if not self.of_positions:
            shift = columns["start"].to_numpy() - starts
            columns |= {name: pa.array(shift + windows[:, 2 + side]) for side, name in enumerate(_KEPT)}
        return pa.table(columns)

    def _read(self, reads: Sequence[tuple[Piece, bool]]) -> list[NDArray[Any]]:
        """Logits of each window: (labels,), or (kept, labels) in the forward strand's order."""
        sequences = [self.inputs.read(self.plan, piece, reverse) for piece, reverse in reads]
        ids, mask = pad_batch(sequences, special=True)
        with torch.inference_mode():
            logits = self.checkpoint.model(
                self.checkpoint.to_device(ids), self.checkpoint.to_device(mask), return_dict=True
            ).logits.float()
        if not self.of_positions:
            return list(logits.cpu().numpy())
        found = []
        rows = rows_of(logits, [len(ids) for ids in sequences], special=True)
        for (piece, reverse), values in zip(reads, rows, strict=True):
            window = piece.window
            values = values[::-1] if reverse else values
            found.append(np.array(values[window.keep_start - window.start : window.keep_end - window.start]))
        return found

    def _answers(self, logits: NDArray[np.float32]) -> Iterator[tuple[str, pa.Array]]:
        """Columns of (rows, labels) logits."""
        values = torch.from_numpy(logits)
        if self.kind == "one":
            values = values.softmax(-1)
            best = pa.DictionaryArray.from_arrays(pa.array(logits.argmax(-1).astype(np.int32)), self.labels)
            yield "label", best.cast(pa.string())
        elif self.kind == "several":
            values = values.sigmoid()
            chosen = values.numpy() >= 0.5
            names = pa.array(self.labels, pa.string()).take(pa.array(np.nonzero(chosen)[1]))
            yield "label", pa.ListArray.from_arrays(pa.array(np.cumsum([0, *chosen.sum(1)]), pa.int32()), names)
        for name, column in zip(self._columns, values.numpy().T, strict=True):
            yield name, pa.array(np.ascontiguousarray(column))

    def finish(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Without the columns that are for tracks."""
        for table in tables:
            yield table.drop_columns([name for name in _KEPT if name in table.column_names])

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Into a table, BED, bedGraph or BigWig."""
        packed = self.ending.endswith(".gz")
        if self.ending in BED_ENDINGS:
            with open_packed(path, packed) as stream:
                stream.writelines(_bed_lines(tables, merged=self.of_positions))
        elif self.column is None:
            write_tables(self.finish(tables), path, self.ending, self.describe())
        elif self.ending in BIGWIG_ENDINGS:
            write_bigwig(self._runs(tables), path, self.inputs.genome.lengths)
        else:
            write_bedgraph(self._runs(tables), path, packed=packed, track_line=self.track_line)

    def _runs(self, tables: Iterable[pa.Table]) -> Iterator[Runs]:
        """The values of a track, of one chromosome at a time."""
        for table in tables:
            values = table[self.column].combine_chunks()
            names = _KEPT if not self.of_positions else ("start", "end")
            starts, ends = (table[name].to_numpy() for name in names)
            chroms = table["chrom"].to_numpy()
            borders = np.flatnonzero(chroms[1:] != chroms[:-1]) + 1
            for first, last in zip([0, *borders], [*borders, len(table)], strict=True):
                begin, end, part = starts[first:last], ends[first:last], values[first:last]
                if self.of_positions:
                    begin = np.concatenate([np.arange(one, other) for one, other in zip(begin, end, strict=True)])
                    end, part = begin + 1, part.flatten()
                yield Runs(chroms[first], begin, end, part.to_numpy())


@dataclass
class _Stretch:
    """A line of BED: bases of one label, and the sum of their probabilities."""

    chrom: str
    start: int
    end: int
    name: str
    strand: str
    label: str
    total: float

    def goes_on(self, other: "_Stretch") -> bool:
        """Whether the other is behind it, in the same sequence and with the same label."""
        same = (self.chrom, self.name, self.strand, self.label) == (other.chrom, other.name, other.strand, other.label)
        return same and self.end == other.start

    def line(self, count: int) -> bytes:
        """The line; the score is the mean probability times 1000."""
        words = (self.chrom, self.start, self.end, self.label, round(1000 * self.total / count), self.strand)
        return ("\t".join(map(str, words)) + "\n").encode()


def _bed_lines(tables: Iterable[pa.Table], merged: bool) -> Iterator[bytes]:
    """A line a row; or, of positions, a line a run of one label, however many windows it spans."""
    if not merged:
        for table in tables:
            yield from (stretch.line(1) for row in table.to_pylist() for stretch in _stretches(row))
        return
    last: _Stretch | None = None
    for table in tables:
        for number in range(len(table)):
            for stretch in _stretches(table.slice(number, 1).to_pylist()[0]):
                if last is not None and last.goes_on(stretch):
                    last.end, last.total = stretch.end, last.total + stretch.total
                    continue
                if last is not None:
                    yield last.line(last.end - last.start)
                last = stretch
    if last is not None:
        yield last.line(last.end - last.start)


def _stretches(row: Mapping[str, Any]) -> Iterator[_Stretch]:
    place = (row["name"], row["strand"])
    if isinstance(row["label"], str):
        value = row[f"probability_{row['label']}"]
        yield _Stretch(row["chrom"], row["start"], row["end"], *place, row["label"], value)
        return
    labels = np.array(row["label"])
    firsts = np.flatnonzero(np.r_[True, labels[1:] != labels[:-1]]).tolist()
    for first, last in zip(firsts, [*firsts[1:], len(labels)], strict=True):
        label = row["label"][first]
        total = sum(row[f"probability_{label}"][first:last])
        yield _Stretch(row["chrom"], row["start"] + first, row["start"] + last, *place, label, total)


def _kind_of_answer(config: Any, of_positions: bool) -> str:
    """`one` label, `several` at once, or a `number`; as the stock pipelines have it."""
    if of_positions:
        return "one"
    if config.problem_type == "regression":
        return "number"
    return "several" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "one"


def _label_names(config: Any, ending: str) -> list[str]:
    """The labels by number.

    Raises:
        ValueError: if two are called the same, or a name cannot stand in a table of tabs.
    """
    labels = [str(config.id2label[number]) for number in range(config.num_labels)]
    if len(set(labels)) < len(labels):
        raise ValueError(f"id2label gives two labels one name ({', '.join(labels)}): name them apart in config.json")
    if ending not in (".parquet", ".npz") and any(set(label) & set("\t\r\n") for label in labels):
        raise ValueError("the name of a label holds a tab or a line end: write Parquet, or correct id2label")
    return labels


def _in_order(inputs: Inputs) -> Inputs:
    return replace(inputs, regions=sort_regions(inputs.regions, inputs.genome.lengths))


def _load_with_head(model: Any, **options: str) -> Checkpoint:
    checkpoint = load_checkpoint(model, "codec", **options)
    if isinstance(checkpoint.model, VQDNAForTokenClassification):
        return checkpoint
    return load_checkpoint(checkpoint, "sequence")


def predict(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    source: str | os.PathLike[str] | Genome,
    output: str | os.PathLike[str] | None = None,
    *,
    bed: str | os.PathLike[str] | None = None, rename: str | os.PathLike[str] | None = None,
    sequence_column: str | Sequence[str] | None = None, label_column: str | None = None, id_column: str | None = None,
    strand: str = "forward", window: int | None = None, overlap: int | None = None, label: str | None = None,
    track_line: str | None = None, device: str = "auto", dtype: str = "auto", batch_bases: int | None = None,
    restart: bool = False, progress: bool | None = None,
) -> pa.Table | JobReport:  # fmt: skip
    """Labels and probabilities, or numbers, from a fine-tuned model; which kind is the model's.

    Args:
        model: with a head for sequences or positions; adapters are merged into their base.
        source: FASTA, `-` for it on standard input, an open `Genome`, or a table of sequences or pairs.
        output: `.parquet`, `.tsv`, `.tsv.gz`, `.npz`, `-`, `.bed`, and one label's values as `.bedgraph`,
            `.bedgraph.gz` or `.bw`; without it the table is returned.
        bed, rename: only these regions of a genome; see `read_bed`.
        sequence_column, label_column, id_column: of a table; see `read_labelled`.
        strand: `forward`, `reverse` or `both`: logits averaged.
        window, overlap: in bases; see `PredictTask`.
        label, track_line: of a track; see `PredictTask`.
        device, dtype: see `load_checkpoint`.
        batch_bases: see `Batcher`.
        restart, progress: see `run_job`.

    Returns:
        The table, see `PredictTask`, or what was done.

    Raises:
        ValueError: if the model has no head, a sequence is too long, input cannot be read, or options do not fit.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNAConfig
    >>> from vqdna_hf.model.modeling_vqdna import VQDNAForSequenceClassification
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> genome = Genome.from_sequences(["a", "b"], ["ACGTN", "GG"])
    >>> predict(VQDNAForSequenceClassification(config), genome, strand="both").column_names[5:]
    ['label', 'probability_LABEL_0', 'probability_LABEL_1']
    """
    columns: dict[str, Any] = {
        "sequence_column": sequence_column, "label_column": label_column, "id_column": id_column
    }  # fmt: skip
    ending = ".parquet" if output is None else output_ending(output, ENDINGS, input_files(source, bed, rename))
    checkpoint = _load_with_head(model, device=device, dtype=dtype)
    with open_inputs(source, bed=bed, rename=rename, **columns) as inputs:
        task = PredictTask(
            checkpoint, inputs, ending=ending, strand=strand, window=window, overlap=overlap, label=label,
            track_line=track_line, batch_bases=batch_bases, identity=input_record(source, bed, rename, columns),
        )  # fmt: skip
        if output is None:
            return pa.concat_tables(task.finish([collect(task, progress)]))
        return run_job(task, output, restart=restart, progress=progress)
