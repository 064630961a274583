# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A corpus held in memory, its split into training and validation records, and windows drawn from it.

One byte a base: the human genome takes about 3 GB, shared between data loader workers where they are forked.
"""

import hashlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vqdna_hf.data.built import BuiltCorpus, is_corpus
from vqdna_hf.data.fasta import FastaRecord, encode_sequence, find_fasta, find_files, read_fasta
from vqdna_hf.model.tokenization_vqdna import COMPLEMENT_IDS

logger = logging.getLogger(__name__)

SPLIT_GAP_BASES = 1_000
_PARQUET_SUFFIXES = (".parquet",)
_COMPLEMENT = np.array(COMPLEMENT_IDS, dtype=np.uint8)
_MAX_NAMES_SHOWN = 8


def reverse_complement_array(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the other strand of ids without special tokens: (bases,) uint8 in, a new (bases,) uint8 out.

    >>> reverse_complement_array(np.array([5, 5, 6, 9], dtype=np.uint8)).tolist()  # AACN -> NGTT
    [9, 7, 8, 8]
    """
    return _COMPLEMENT[ids[::-1]]


class Corpus:
    """Sequences in memory, each with a weight that says how often it is drawn per base.

    Args:
        records: the sequences.
        weights: one non-negative number a record, 1 by default. A record of weight 2 is drawn twice as often
            per base as one of weight 1; weight 0 is never drawn.

    Raises:
        ValueError: no record, a count of weights that differs, a negative or infinite weight, or all weights
            zero.

    Example:

    >>> corpus = Corpus.from_sequences(["ACGTACGT", "GGGG"], names=["a", "b"])
    >>> corpus.bases, [entry["name"] for entry in corpus.summary()]
    (12, ['a', 'b'])
    """

    def __init__(self, records: Sequence[FastaRecord], weights: Sequence[float] | None = None) -> None:
        self.records = list(records)
        self.weights = [1.0] * len(self.records) if weights is None else [float(weight) for weight in weights]
        if not self.records:
            raise ValueError("a corpus needs at least one record")
        if len(self.weights) != len(self.records):
            raise ValueError(f"{len(self.records)} records but {len(self.weights)} weights: give one each")
        for record, weight in zip(self.records, self.weights, strict=True):
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"{record.path}, record {record.name!r}: weight {weight} is not a number >= 0")
        if not any(self.weights):
            raise ValueError("all weights are 0, so nothing could be drawn: give one record a weight above 0")

    @classmethod
    def from_files(cls, paths: Sequence[str] | str, *, weights: Mapping[str, float] | None = None) -> "Corpus":
        """Read FASTA files, folders or glob patterns.

        Args:
            paths: see `find_fasta`.
            weights: a weight for each path pattern (`fnmatch` on the whole path or on its end, e.g.
                `{"human/*": 2.0}`); where several patterns match a file, the last one counts; files without a
                match weigh 1, files of weight 0 are not even opened.

        Returns:
            The corpus; names need to be unique within a file only.

        Raises:
            ValueError: see `find_fasta` and `read_fasta`; a pattern in `weights` that matches no file.
        """
        return cls._read(find_fasta(paths), [], weights)

    @classmethod
    def from_parquet(cls, path: str, *, weights: Mapping[str, float] | None = None) -> "Corpus":
        """Read a Parquet file or a folder of them; each row is a record.

        Args:
            path: a file, a folder or a glob pattern. Column `sequence` is required; `name` (default
                `row<number>`, counted from 0 in each file) and `weight` (default 1) are optional. Of a corpus that
                `build_corpus` made, the training windows are read.
            weights: as in `from_files`; multiplied with the column.

        Returns:
            The corpus.

        Raises:
            ValueError: an unreadable file, no `sequence` column, or a sequence outside the alphabet (with its
                row).
        """
        return cls._read([], find_files(shards_of([path]), _PARQUET_SUFFIXES, kind="Parquet"), weights)

    @classmethod
    def from_sequences(cls, sequences: Sequence[str], names: Sequence[str] | None = None) -> "Corpus":
        """Make a corpus of plain strings, e.g. the sequences of a labelled table.

        Args:
            sequences: letters of the IUPAC alphabet.
            names: one a sequence; `sequence<number>` (from 0) by default.

        Returns:
            The corpus; every weight is 1 and every path `"<memory>"`.

        Raises:
            ValueError: a sequence outside the alphabet, or a count of names that differs.
        """
        if names is None:
            names = [f"sequence{number}" for number in range(len(sequences))]
        if len(names) != len(sequences):
            raise ValueError(f"{len(sequences)} sequences but {len(names)} names: give one each")
        return cls(
            [
                FastaRecord(name, name, encode_sequence(text, where=f"sequence {number} ({name!r})"), "<memory>")
                for number, (name, text) in enumerate(zip(names, sequences, strict=True))
            ]
        )

    @classmethod
    def open(cls, paths: Sequence[str] | str, *, weights: Mapping[str, float] | None = None) -> "Corpus":
        """Read FASTA and Parquet alike: by the ending of a file, by what is in a folder.

        Args:
            paths: files, folders or glob patterns; of a built corpus, the training windows are read.
            weights: as in `from_files`; every pattern must match a file of either kind.

        Returns:
            One corpus of everything, FASTA first.

        Raises:
            ValueError: as in `from_files` and `from_parquet`; a folder that holds both kinds.
        """
        paths = shards_of([paths] if isinstance(paths, str | os.PathLike) else paths)
        parquet = [path for path in paths if _is_parquet(path)]
        fasta = [path for path in paths if path not in parquet]
        return cls._read(
            find_fasta(fasta) if fasta or not parquet else [],
            find_files(parquet, _PARQUET_SUFFIXES, kind="Parquet") if parquet else [],
            weights,
        )

    @classmethod
    def _read(cls, fasta: list[str], parquet: list[str], weights: Mapping[str, float] | None) -> "Corpus":
        factors = _file_weights([*fasta, *parquet], weights or {})
        records: list[FastaRecord] = []
        record_weights: list[float] = []
        for file in fasta:
            new_records = list(read_fasta(file)) if factors[file] else []
            records.extend(new_records)
            record_weights.extend([factors[file]] * len(new_records))
        for file in parquet:
            rows, row_weights = _read_parquet(file) if factors[file] else ([], [])
            records.extend(rows)
            record_weights.extend(weight * factors[file] for weight in row_weights)
        return cls(records, record_weights)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"Corpus(records={len(self.records)}, bases={self.bases})"

    @property
    def bases(self) -> int:
        """The number of bases in all records."""
        return sum(record.bases for record in self.records)

    def summary(self) -> list[dict[str, Any]]:
        """List name, path, bases and weight of each record, ready for a table or a JSON manifest."""
        return [
            {"name": record.name, "path": record.path, "bases": record.bases, "weight": weight}
            for record, weight in zip(self.records, self.weights, strict=True)
        ]

    def split(
        self,
        *,
        held_out: Sequence[str] = (),
        fraction: float = 0.05,
        seed: int = 0,
        min_bases: int = 1,
    ) -> tuple["Corpus", "Corpus"]:
        """Set whole records aside for validation, so that no validation window overlaps a training record.

        With `held_out`, the records whose name or path matches. Without it, whole records are chosen by
        `seed` until they hold `fraction` of the bases, staying below about twice that where the records allow
        it and never above half. Where whole records cannot do this (one record only, or one that dwarfs all
        others), the last `fraction` of the longest record is cut off, 1,000 bases before it are thrown away,
        and both pieces are named `name:start-end` (0-based, end excluded). Training records identical to a
        validation record, on either strand, are dropped with a warning. Merely similar records (haplotypes,
        near kin) are yours to hold out by name.

        Args:
            held_out: `fnmatch` patterns on a record's name, its path or the end of its path.
            fraction: share of the bases for validation, between 0 and 0.5; not used with `held_out`.
            seed: chooses the records.
            min_bases: the fewest bases each of the two parts may have in all, usually one window.

        Returns:
            Training corpus, validation corpus; weights are kept.

        Raises:
            ValueError: a pattern that matches nothing (the message lists names), nothing left to train on, or
                a part below `min_bases`.

        Example:

        >>> corpus = Corpus.from_sequences(["ACGT" * 9, "GGCA" * 9, "TTAC" * 9], ["chr1", "chr2", "chr3"])
        >>> train, validation = corpus.split(held_out=["chr3"], min_bases=8)
        >>> [record.name for record in train.records], [record.name for record in validation.records]
        (['chr1', 'chr2'], ['chr3'])
        """
        if held_out:
            chosen = self._held_out(held_out)
        else:
            if not 0 < fraction <= 0.5:
                raise ValueError(f"fraction is {fraction}: give a share above 0 and at most 0.5")
            target = max(fraction * self.bases, min_bases)
            picked = self._choose_records(target, seed, min_bases)
            if picked is None:
                return self._cut_longest(fraction, min_bases)
            chosen = picked
        validation = self._subset(sorted(chosen))
        train = self._subset(self._without_copies(chosen, validation))
        for part, name in ((train, "training"), (validation, "validation")):
            if part.bases < min_bases:
                raise ValueError(
                    f"the {name} part has {part.bases} bases, {min_bases} are needed: hold out other records"
                )
        return train, validation

    def _subset(self, indices: Sequence[int]) -> "Corpus":
        return Corpus([self.records[i] for i in indices], [self.weights[i] for i in indices])

    def _held_out(self, patterns: Sequence[str]) -> set[int]:
        patterns = [patterns] if isinstance(patterns, str) else patterns
        chosen: set[int] = set()
        for pattern in patterns:
            matched = {
                index
                for index, record in enumerate(self.records)
                if fnmatchcase(record.name, pattern) or matches_path(record.path, pattern)
            }
            if not matched:
                names = [record.name for record in self.records]
                raise ValueError(f"held-out pattern {pattern!r} matches no record: the names are {_some(names)}")
            chosen |= matched
        if len(chosen) == len(self.records):
            raise ValueError(f"the held-out patterns {list(patterns)} match all records: nothing is left to train on")
        return chosen

    def _choose_records(self, target: float, seed: int, min_bases: int) -> set[int] | None:
        """Choose whole records of about `target` bases; `None` where that cannot be done well."""
        half = self.bases / 2
        order = [int(i) for i in np.random.default_rng(seed).permutation(len(self.records)) if self.weights[i] > 0]
        chosen: set[int] = set()
        total = 0
        for index in order:
            if total >= target:
                break
            if total + self.records[index].bases <= min(2 * target, half):
                chosen.add(index)
                total += self.records[index].bases
        if total < target:
            # Only long records are left: the shortest that reaches the target, as long as it is no majority.
            rest = [i for i in order if i not in chosen and target <= total + self.records[i].bases <= half]
            if rest:
                index = min(rest, key=lambda i: self.records[i].bases)
                chosen.add(index)
                total += self.records[index].bases
        # Half of what was asked for, in whole records, is better than a cut; a chrM beside a chr1 is not.
        return chosen if total >= max(target / 2, min_bases) else None

    def _without_copies(self, chosen: set[int], validation: "Corpus") -> list[int]:
        lengths = {record.bases for record in validation.records}
        held = {_digest(record.ids) for record in validation.records}
        kept = []
        for index, record in enumerate(self.records):
            # Equal length comes first: hashing all of a large corpus would take seconds.
            is_copy = record.bases in lengths and (
                _digest(record.ids) in held or _digest(reverse_complement_array(record.ids)) in held
            )
            if index not in chosen and not is_copy:
                kept.append(index)
        dropped = len(self.records) - len(chosen) - len(kept)
        if not kept:
            raise ValueError("every training record is a copy of a validation record: hold out other records")
        if dropped:
            logger.warning("dropped %d training records identical to validation records", dropped)
        return kept

    def _cut_longest(self, fraction: float, min_bases: int) -> tuple["Corpus", "Corpus"]:
        candidates = [index for index, weight in enumerate(self.weights) if weight > 0]
        index = max(candidates, key=lambda i: self.records[i].bases)
        record = self.records[index]
        start = record.bases - max(math.ceil(fraction * record.bases), min_bases)
        stop = start - SPLIT_GAP_BASES
        if stop < max(min_bases, 1):
            raise ValueError(
                f"{record.path}, record {record.name!r}: {record.bases} bases are too few to cut off "
                f"{fraction:g} of them for validation (at least {min_bases} bases a part and "
                f"a gap of {SPLIT_GAP_BASES}): add records, or give a validation file of its own"
            )
        records = [*self.records]
        records[index] = _piece(record, 0, stop)
        validation = Corpus([_piece(record, start, record.bases)], [self.weights[index]])
        return Corpus(records, self.weights), validation


def _piece(record: FastaRecord, start: int, stop: int) -> FastaRecord:
    mask = None if record.soft_mask is None else record.soft_mask[start:stop]
    name = f"{record.name}:{start}-{stop}"
    return FastaRecord(name, f"{name} {record.description}", record.ids[start:stop], record.path, mask)


def _digest(ids: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(ids).data, digest_size=16).digest()


def _file_weights(files: list[str], weights: Mapping[str, float]) -> dict[str, float]:
    factors = dict.fromkeys(files, 1.0)
    for pattern, weight in weights.items():
        matched = [file for file in files if matches_path(file, pattern)]
        if not matched:
            raise ValueError(f"weight pattern {pattern!r} matches no file: the files are {_some(files)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"weight pattern {pattern!r}: weight {weight} is not a number >= 0")
        factors.update(dict.fromkeys(matched, float(weight)))
    if not any(factors.values()):
        raise ValueError("all files have weight 0, so nothing would be read: give one a weight above 0")
    return factors


def matches_path(path: str, pattern: str) -> bool:
    """Whether a pattern (`fnmatch`) means a whole path, or its end behind a `/`.

    >>> matches_path("genomes/human/a.fa", "human/*"), matches_path("genomes/human/a.fa", "genome")
    (True, False)
    """
    return fnmatchcase(path, pattern) or fnmatchcase(path, "*/" + pattern)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MAX_NAMES_SHOWN])
    more = len(names) - _MAX_NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def shards_of(paths: Sequence[str | os.PathLike[str]], split: str = "train") -> list[str]:
    """Put the shards of a split in the place of each built corpus; other paths stay.

    >>> shards_of(["genome.fa"])
    ['genome.fa']
    """
    found: list[str] = []
    for path in paths:
        if is_corpus(path):
            built = BuiltCorpus.open(path)
            found += [built.url(shard) for shard in built.shards(split)]
        else:
            found.append(os.fspath(path))
    return found


def _is_parquet(path: str) -> bool:
    if not os.path.isdir(path):
        return path.lower().endswith(_PARQUET_SUFFIXES)
    kinds = []
    for kind, find in (
        ("parquet", lambda: find_files(path, _PARQUET_SUFFIXES, kind="")),
        ("fasta", lambda: find_fasta(path)),
    ):
        try:
            find()
            kinds.append(kind)
        except ValueError:
            continue
    if len(kinds) == 2:
        raise ValueError(f"{path}: the folder holds both FASTA and Parquet files: name the files or a pattern")
    return kinds == ["parquet"]


def _read_parquet(file: str) -> tuple[list[FastaRecord], list[float]]:
    try:
        table = pd.read_parquet(file)
    except Exception as error:  # the engine's own exception types are no public names of pandas
        raise ValueError(f"{file}: cannot be read as Parquet ({error})") from error
    if "sequence" not in table.columns:
        raise ValueError(f"{file}: no column 'sequence': the columns are {_some([str(c) for c in table.columns])}")
    if not len(table):
        raise ValueError(f"{file}: the table has no rows")
    names = table["name"].astype(str).tolist() if "name" in table.columns else [f"row{i}" for i in range(len(table))]
    weights = table["weight"].astype(float).tolist() if "weight" in table.columns else [1.0] * len(table)
    records = [
        FastaRecord(name, name, encode_sequence(text, where=f"{file}, row {number} (0-based)"), file)
        for number, (name, text) in enumerate(zip(names, table["sequence"].tolist(), strict=True))
    ]
    return records, weights
