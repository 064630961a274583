# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Genomes into a corpus: a folder of shuffled Parquet shards with a record of where each base comes from.

The folder has the layout of a dataset repository of the Hub, so that `datasets.load_dataset` reads it from disk and,
once uploaded, from there. Its record, `corpus.json`, is what `vqdna_hf.data.built` reads.

A row is a window: `sequence` (upper case, or soft-masked letters in lower case with `soft_mask="keep"`), `name` of its
record, `start` and `end` (from 0, end not included, on the forward strand), `strand` that it is read from, `group`,
`species`, `weight` (how often it is drawn, against a window of weight 1), `file`, and its number of `n` and
`soft_masked` bases.
"""

import importlib.metadata
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vqdna_hf.data.accessions import file_sha256
from vqdna_hf.data.built import CORPUS_FILE, CORPUS_FORMAT, MEASURES, BuiltCorpus, group_composition, is_corpus
from vqdna_hf.data.corpus_card import corpus_card
from vqdna_hf.data.cutting import CutPolicy, Span, cut_windows, spans_of
from vqdna_hf.data.dealing import SPLITS, Choice, Layout, choose_windows, deal_windows, dealt_rows, draw_places
from vqdna_hf.data.fasta import open_binary
from vqdna_hf.data.files import write_json, write_text
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.jobs import JobReport, input_identity, process_place, run_job, unit_bases
from vqdna_hf.data.manifest import CorpusInput, Manifest, held_out_by, open_manifest

SHARD_BASES = 1 << 26

_UNIT_FACTOR = 8  # cutting is quick: a part for each usual unit would be too many
_ROW_GROUP_WINDOWS = 1024
_ROW_GROUP_BASES = 1 << 20
_NAMES_KEPT = 4
_HELD_OUT_KEPT = 20
_HEADER_BYTES = 4096
_CARD = "README.md"
_DICTIONARIES = ["name", "strand", "group", "species", "weight", "file"]


def build_corpus(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    policy: CutPolicy | None = None,
    held_out: Sequence[str] = (),
    group: str | None = None,
    accessions: str | os.PathLike[str] | None = None,
    deduplicate: bool = True,
    shard_bases: int = SHARD_BASES,
    seed: int = 0,
    restart: bool = False,
    progress: bool | None = None,
) -> JobReport:
    """Cut FASTA files into windows, and write them as shuffled Parquet shards.

    Windows that equal an earlier one, on either strand, are dropped; so are, in any case, windows to learn from that
    equal a held-out one. Held-out records make the split `validation`. Memory holds a part of a genome, a shard, and 50
    bytes a window. Interrupted, the same call goes on and writes the same bytes. Several processes share the work.

    Args:
        paths: a manifest (see `open_manifest`), or FASTA files, folders or patterns.
        folder: the corpus; an earlier one is replaced, never one with other files in it or an edited `README.md`.
        policy: windows, N, soft-masked bases and strands; default: `CutPolicy()`.
        held_out: patterns on the name of a record, a species, or the end of a file's path.
        group: of files for which neither a manifest nor a table of accessions names one.
        accessions: see `open_manifest`.
        deduplicate: drop windows that equal an earlier one.
        shard_bases: of a shard, about; it is held in memory.
        seed: of the order of windows.
        restart: drop what an interrupted run has left.
        progress: show a bar on standard error; default: where that is a terminal.

    Returns:
        What was done; see `show_corpus` for what the corpus holds.

    Raises:
        ValueError: bad input, a pattern that matches nothing, nothing to learn from, a folder of something else.
        DiskFullError: if no space is left; what was done is kept.

    Example:

    >>> import tempfile
    >>> from vqdna_hf.data.simulate import simulate_fasta
    >>> genome, folder = Path(tempfile.mkdtemp()) / "genome.fa", Path(tempfile.mkdtemp()) / "corpus"
    >>> simulate_fasta(genome, num_bases=6_000, num_contigs=3, seed=0)
    >>> build_corpus(genome, folder, policy=CutPolicy(window=256), held_out=["contig3"]).bases
    6000
    >>> sorted(path.name for path in (folder / "data").iterdir())
    ['train-00000-of-00001.parquet', 'validation-00000-of-00001.parquet']
    """
    _check_arguments(Path(folder), shard_bases, seed)
    manifest = open_manifest(paths, group=group, held_out=held_out, accessions=accessions)
    task = _CorpusTask(manifest, policy or CutPolicy(), deduplicate, shard_bases, seed)
    try:
        if process_place()[0] == 0:  # the others wait for its word that the work begins
            task.survey()
        return run_job(task, folder, restart=restart, progress=progress)
    finally:
        task.close()


def _check_arguments(folder: Path, shard_bases: int, seed: int) -> None:
    """Numbers make sense, and nothing is replaced but a corpus or an empty folder."""
    if shard_bases < 1 or seed < 0:
        raise ValueError(f"shard_bases={shard_bases}, seed={seed}: a shard has at least 1 base, a seed is not negative")
    if folder.exists() and not is_corpus(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"{folder}: is no earlier corpus (it has no {CORPUS_FILE}): give the corpus a folder of its own"
        )
    if is_corpus(folder) and (other := _not_of_the_corpus(folder)):
        raise ValueError(
            f"{folder / other[0]}: {other[1]}, and a new corpus would replace the whole folder: move the file away, or "
            "give the corpus another folder"
        )


def _not_of_the_corpus(folder: Path) -> tuple[str, str] | None:
    """The first file in an earlier corpus that building it has not written, and what is the matter with it."""
    record = BuiltCorpus.open(folder).record
    own = {CORPUS_FILE, _CARD, *(shard["file"] for shard in record["shards"])}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in own and (name != "data" or path.is_symlink()):
            return name, "is no part of the earlier corpus here"
    card = folder / _CARD
    try:
        as_built = {**record, "groups": group_composition(record["inputs"])}  # in their order, which JSON has not kept
        is_own = not card.exists() or card.read_bytes() == corpus_card(as_built).encode()
    except (LookupError, TypeError, ValueError, AttributeError):  # of a record that was changed
        is_own = False
    return None if is_own else (_CARD, "is not the card that was written with the earlier corpus here")


@dataclass(frozen=True)
class _Unit:
    """Spans of one genome, each with whether it is held out."""

    source: int
    spans: tuple[tuple[Span, bool], ...]

    @property
    def bases(self) -> int:
        """Of all spans."""
        return sum(span.bases for span, _ in self.spans)


@dataclass
class _Source:
    """What the records of an input come to."""

    names: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    records: list[int] = field(default_factory=lambda: [0, 0])
    bases: int = 0
    simulated: bool = False


class _CorpusTask:
    """The windows of all inputs; see `vqdna_hf.data.jobs.Task`."""

    verb = "corpus build"
    total_bases: int | None = None

    def __init__(self, manifest: Manifest, policy: CutPolicy, deduplicate: bool, shard_bases: int, seed: int) -> None:
        self.manifest, self.policy, self.deduplicate, self.seed = manifest, policy, deduplicate, seed
        self.shard_bases = shard_bases
        self.sources: list[_Source] = []
        self.files = _short_names([entry.path for entry in manifest.inputs])
        self._open: tuple[int, Genome] | None = None

    def describe(self) -> Mapping[str, Any]:
        """The options, the manifest and the files."""
        return {
            "options": self.options(),
            "held_out": self.manifest.held_out,
            "shares": self.manifest.shares,
            "manifest": [
                {**asdict(entry), "path": file} for entry, file in zip(self.manifest.inputs, self.files, strict=True)
            ],
            "inputs": [input_identity(entry.path) for entry in self.manifest.inputs],
        }

    def options(self) -> dict[str, Any]:
        """What a reader of the corpus should know."""
        policy = {**asdict(self.policy), "stride": self.policy.step, "min_bases": self.policy.shortest}
        return {**policy, "deduplicate": self.deduplicate, "shard_bases": self.shard_bases, "seed": self.seed}

    def holds_out(self) -> bool:
        """Whether any record is held out."""
        return any(about.records[True] for about in self.sources)

    def genome(self, source: int) -> Genome:
        """Of an input; one is open at a time."""
        if self._open is None or self._open[0] != source:
            self.close()
            self._open = source, Genome.open(self.manifest.inputs[source].path)
        return self._open[1]

    def close(self) -> None:
        """Close the genome that is open."""
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def survey(self) -> None:
        """Open every input once before the work begins, so that all mistakes are said at once and none after an hour.

        Raises:
            ValueError: files that cannot be read, or a held-out pattern that matches nothing.
        """
        problems: list[tuple[str, ValueError]] = []
        matched: set[tuple[int | None, str]] = set()
        for source, entry in enumerate(self.manifest.inputs):
            try:
                genome = self.genome(source)
                genome.check()
                self.sources.append(
                    _Source(genome.names[:_NAMES_KEPT], bases=genome.bases, simulated=_simulated(entry))
                )
            except ValueError as error:
                problems.append((self.files[source], error))
                continue
            about = self.sources[-1]
            for name in genome.names:
                patterns = held_out_by(name, entry, self.manifest.held_out)
                matched |= {(place, pattern) for pattern in patterns for place in (source, None)}
                about.records[bool(patterns)] += 1
                if patterns and len(about.held_out) < _HELD_OUT_KEPT:
                    about.held_out.append(name)
        if len(problems) > 1:
            others = ", ".join(file for file, _ in problems[1:])
            raise ValueError(
                f"{problems[0][1]}; cannot be read either: {others}: correct them, or "
                "leave them out (weight 0 in a manifest)"
            ) from problems[0][1]
        if problems:
            raise problems[0][1]
        self._check_patterns(matched)
        self.total_bases = sum(about.bases for about in self.sources)

    def units(self) -> Iterator[_Unit]:
        """Spans of the inputs in order."""
        most = _UNIT_FACTOR * unit_bases()
        for source, entry in enumerate(self.manifest.inputs):
            spans: list[tuple[Span, bool]] = []
            filled = 0
            for name in self.genome(source).names:
                held_out = bool(held_out_by(name, entry, self.manifest.held_out))
                for span in spans_of(self.genome(source), name, self.policy, unit_bases()):
                    spans.append((span, held_out))
                    filled += span.bases
                    if filled >= most:
                        yield _Unit(source, tuple(spans))
                        spans, filled = [], 0
            if spans:
                yield _Unit(source, tuple(spans))

    def _check_patterns(self, matched: set[tuple[int | None, str]]) -> None:
        """A pattern that holds nothing out is a mistake, and would leak."""
        wanted: list[tuple[int | None, str]] = [(None, pattern) for pattern in self.manifest.held_out]
        wanted += [(source, pattern) for source, entry in enumerate(self.manifest.inputs) for pattern in entry.held_out]
        for source, pattern in wanted:
            if (source, pattern) not in matched:
                where = "" if source is None else f"{self.manifest.inputs[source].path}: "
                kind = "record, species or file" if source is None else "record"
                names = [
                    name
                    for about in self.sources[slice(source, None if source is None else source + 1)]
                    for name in about.names
                ]
                raise ValueError(
                    f"{where}held-out pattern {pattern!r} matches no {kind}: the names are "
                    f"{', '.join(names[:8])}{', ...' if len(names) >= _NAMES_KEPT else ''}"
                )

    def compute(self, unit: _Unit) -> pa.Table:
        """The candidate windows of a unit; how many were left out stands in the table's metadata."""
        table, dropped = cut_windows(self.genome(unit.source), unit.spans, self.policy)
        table = table.append_column("source", pa.array(np.full(len(table), unit.source, dtype=np.int32)))
        return table.replace_schema_metadata({"dropped": json.dumps(dropped)})

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Drop duplicates, deal windows to shards, write them, and the corpus' record and card."""
        work = path.with_name("dealt")
        for folder in (path, work):  # of a process that was killed here
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        dropped: Counter[str] = Counter()
        choice = choose_windows(_noting_dropped(tables, dropped), self.deduplicate)
        if not (choice.kept & ~choice.held_out).any():
            raise ValueError(
                f"no window to learn from is left of {sum(about.bases for about in self.sources):,} bases (left out: "
                f"{_reasons(dropped | choice.dropped)}): lower window or min_bases, raise max_n_fraction"
                f"{', hold out less' * self.holds_out()}"
            )
        both = self.policy.strand == "both"
        layout, places = draw_places(choice, self.seed, both, max(1, self.shard_bases // self.policy.window))
        counts = np.zeros((len(self.sources), len(SPLITS), len(MEASURES)), dtype=np.int64)
        files = deal_windows(_measuring(tables, choice, counts), choice.kept, places, layout, work)
        counts *= 1 + both
        weights = self._weights(counts)
        (path / "data").mkdir()
        shards = [
            self._write_shard(path, split, number, layout, dealt_rows(files, place), weights)
            for place, (split, number) in enumerate(layout.shards)
        ]
        shutil.rmtree(work)
        record = self._record(counts, weights, shards, dropped | choice.dropped)
        write_json(path / CORPUS_FILE, record)
        write_text(path / _CARD, corpus_card(record))

    def _weights(self, counts: NDArray[np.int64]) -> list[float]:
        """Of the windows of each input: as given, or such that each group gets its share of what is drawn."""
        weights = [entry.weight for entry in self.manifest.inputs]
        if not self.manifest.shares:
            return weights
        bases = counts[:, SPLITS.index("train"), MEASURES.index("bases")]
        mass = dict.fromkeys(self.manifest.shares, 0.0)
        for entry, here in zip(self.manifest.inputs, bases.tolist(), strict=True):
            mass[entry.group] += entry.weight * here
        if empty := sorted(group for group, value in mass.items() if not value):
            raise ValueError(
                f"shares: nothing of group {empty[0]!r} is left to learn from: drop its share"
                f"{', or hold out less' * self.holds_out()}"
            )
        total = float(bases.sum())
        return [
            float(f"{entry.weight * self.manifest.shares[entry.group] * total / mass[entry.group]:.9g}")
            for entry in self.manifest.inputs
        ]

    def _write_shard(
        self, path: Path, split: str, number: int, layout: Layout, rows: pa.Table, weights: Sequence[float]
    ) -> dict[str, Any]:
        file = path / "data" / f"{split}-{number:05d}-of-{layout.number(SPLITS.index(split)):05d}.parquet"
        inputs = self.manifest.inputs
        columns = {
            "sequence": rows["sequence"].cast(pa.string()),
            **{name: rows[name] for name in ("name", "start", "end")},
            "strand": pc.if_else(rows["reverse"], "-", "+"),
            **{
                name: pa.array(values).take(rows["source"].combine_chunks())
                for name, values in {
                    "group": [entry.group for entry in inputs],
                    "species": [entry.species for entry in inputs],
                    "weight": weights,
                    "file": self.files,
                }.items()
            },
            **{name: rows[name] for name in ("n", "soft_masked")},
        }
        size = max(1, min(_ROW_GROUP_WINDOWS, _ROW_GROUP_BASES // self.policy.window))
        pq.write_table(pa.table(columns), file, row_group_size=size, compression="zstd", use_dictionary=_DICTIONARIES)
        return {
            "file": f"data/{file.name}",
            "split": split,
            "windows": len(rows),
            "bases": int(pc.sum(pc.subtract(rows["end"], rows["start"])).as_py()),
            "row_groups": -(-len(rows) // size),
            "bytes": file.stat().st_size,
            "sha256": file_sha256(file),
        }

    def _record(
        self,
        counts: NDArray[np.int64],
        weights: Sequence[float],
        shards: list[dict[str, Any]],
        dropped: Mapping[str, int],
    ) -> dict[str, Any]:
        inputs = [
            {
                "file": file,
                "sha256": file_sha256(entry.path),
                "group": entry.group,
                "species": entry.species,
                "accession": entry.accession,
                "weight": weight,
                "simulated": about.simulated,
                "bases": about.bases,
                "names": about.names,
                "records": sum(about.records),
                "held_out_records": about.records[True],
                "held_out_names": about.held_out,
                **{
                    split: dict(zip(MEASURES, values, strict=True))
                    for split, values in zip(SPLITS, here.tolist(), strict=True)
                },
            }
            for file, entry, weight, about, here in zip(
                self.files, self.manifest.inputs, weights, self.sources, counts, strict=True
            )
        ]
        return {
            "format": CORPUS_FORMAT,
            "versions": {name: importlib.metadata.version(name) for name in ("vqdna_hf", "numpy", "pyarrow")},
            "options": self.options(),
            "held_out": list(self.manifest.held_out),
            "dropped": {reason: dropped[reason] for reason in sorted(dropped)},
            "inputs": inputs,
            "groups": group_composition(inputs),
            "shards": shards,
        }


def _noting_dropped(tables: Iterable[pa.Table], dropped: Counter[str]) -> Iterator[pa.Table]:
    for table in tables:
        dropped.update(json.loads(table.schema.metadata[b"dropped"]))
        yield table


def _measuring(tables: Iterable[pa.Table], choice: Choice, counts: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Add the kept windows of each table to the counts (sources, splits, measures)."""
    seen = 0
    for table in tables:
        kept = table.select(["source", "held_out", "start", "end", "n", "gc", "soft_masked"]).filter(
            pa.array(choice.kept[seen : seen + len(table)])
        )
        seen += len(table)
        place = kept["source"].to_numpy(), kept["held_out"].to_numpy().astype(np.int64)
        values = {
            "windows": np.ones(len(kept), dtype=np.int64),
            "bases": kept["end"].to_numpy() - kept["start"].to_numpy(),
            **{name: kept[name].to_numpy() for name in ("n", "gc", "soft_masked")},
        }
        for number, name in enumerate(MEASURES):
            np.add.at(counts[:, :, number], place, values[name])
        yield table


def _reasons(dropped: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in sorted(dropped.items()))
        or "none dropped"
    )


def _simulated(entry: CorpusInput) -> bool:
    """By the table of accessions, or by the first header, as `simulate_fasta` writes it."""
    with open_binary(entry.path) as stream:
        header = stream.read(_HEADER_BYTES).partition(b"\n")[0]
    return entry.species.lower().startswith("simulated") or b"simulated=true" in header


def _short_names(paths: Sequence[str]) -> list[str]:
    """Paths below the deepest folder that holds all of them: no name of a place on this machine is written down."""
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [Path(os.path.relpath(path, shared)).as_posix() for path in absolute]
