# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Folders in the layout of GUE: which sets are there and complete, and all checked before anything is trained."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data import (
    LabelledSequences,
    encode_sequence,
    find_split_files,
    read_labelled,
    read_table,
    reverse_complement_array,
)
from vqdna_hf.data.accessions import file_sha256
from vqdna_hf.evaluation.gue_protocol import GUE_SIZES, group_of
from vqdna_hf.evaluation.kmers import share_kmers
from vqdna_hf.training import labels_of_splits

__all__ = ["FoundSets", "GueSet", "find_sets", "read_set", "read_sets"]

SPLITS = ("train", "dev", "test")
_ALIASES = {"train": "train", "dev": "dev", "valid": "dev", "validation": "dev", "val": "dev", "test": "test"}
_ENDINGS = (".csv", ".tsv", ".parquet", ".csv.gz", ".tsv.gz")
_LABELS = ("label", "labels")
_MAX_PROBLEMS = 6

LONG_KMER = 50
"""Bases that are not in train and test alike by chance."""


@dataclass(frozen=True)
class FoundSets:
    """The sets below a folder.

    Args:
        root: where was looked.
        complete: folders by the name of the set, such as `tf/0`.
        missing: of the other sets, the splits that are not there.

    Example:

    >>> FoundSets("gue", {"tf/0": "gue/tf/0"}, {"EMP/H3": ["train"]}).describe()
    'complete: tf/0; incomplete: EMP/H3 (no train)'
    """

    root: str
    complete: dict[str, str]
    missing: dict[str, list[str]]

    def describe(self) -> str:
        """Both in one line."""
        lacks = ", ".join(f"{name} (no {', no '.join(splits)})" for name, splits in self.missing.items())
        return f"complete: {', '.join(self.complete) or 'none'}" + (f"; incomplete: {lacks}" if lacks else "")

    def choose(self, names: Sequence[str] | None) -> dict[str, str]:
        """The folders of the sets that are asked for; of all complete ones, if none is named.

        Raises:
            ValueError: if one is not there or incomplete, or no set is complete; it says what there is.
        """
        if not names:
            if not self.complete:
                raise ValueError(f"{self.root}: no set has train, dev and test: {self.describe()}")
            return dict(self.complete)
        there = [*self.complete, *self.missing]
        wanted = dict.fromkeys(_full_name(name, there) for name in names)
        lacking = [f"{name} has no {', no '.join(self.missing[name])}" for name in wanted if name in self.missing]
        lacking += [f"there is no {name}" for name in wanted if name not in there]
        if lacking:
            raise ValueError(f"{self.root}: {'; '.join(lacking)}; {self.describe()}")
        return {name: self.complete[name] for name in wanted}


@dataclass(frozen=True, eq=False)
class GueSet:
    """One set, read and checked.

    Args:
        name: such as `tf/0`.
        splits: `train`, `dev`, `test`.
        labels: of each split, one a sequence.
        num_labels: classes.
        checksums: of each split's file, as it was read.
        overlap: (test,) bool, True where the very sequence (or pair) also stands in train, on either strand.
        contradicted: (test,) bool, True where such a copy in train has another label.

    Example:

    >>> train = LabelledSequences(["ACG", "TTA"], None, ["0", "1"], "train.csv")
    >>> test = LabelledSequences(["acg", "GGG"], None, ["0", "1"], "test.csv")
    >>> splits = {"train": train, "dev": train, "test": test}
    >>> labels = {"train": [0, 1], "dev": [0, 1], "test": [0, 1]}
    >>> GueSet("own", splits, labels, 2).overlap.tolist()
    [True, False]
    """

    name: str
    splits: dict[str, LabelledSequences]
    labels: dict[str, list[int]]
    num_labels: int
    checksums: dict[str, str] = field(default_factory=dict, repr=False)
    overlap: NDArray[np.bool_] = field(init=False, repr=False)
    contradicted: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        train: dict[bytes, set[int]] = {}
        for key, label in zip(_keys(self.splits["train"]), self.labels["train"], strict=True):
            train.setdefault(key, set()).add(label)
        copies = [train.get(key, set()) for key in _keys(self.splits["test"])]
        others = [bool(found - {label}) for found, label in zip(copies, self.labels["test"], strict=True)]
        object.__setattr__(self, "overlap", np.array([bool(found) for found in copies], dtype=bool))
        object.__setattr__(self, "contradicted", np.array(others, dtype=bool))

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """(test,) bool, True where a sequence, or both of a pair, share 50 bases in a row with train, on either strand.

        Copies are among them, however short.
        """
        train, test = self.splits["train"], self.splits["test"]
        others = [*train.sequences, *(train.pairs or [])]
        near = share_kmers(test.sequences, others, LONG_KMER)
        if test.pairs is not None:
            near &= share_kmers(test.pairs, others, LONG_KMER)
        return near | self.overlap

    @property
    def sizes(self) -> dict[str, int]:
        """Sequences in each split."""
        return {split: len(data) for split, data in self.splits.items()}

    @property
    def is_gue(self) -> bool:
        """Whether name and sizes are those of a set of GUE."""
        return GUE_SIZES.get(self.name) == tuple(self.sizes[split] for split in SPLITS)

    def mean_bases(self) -> float:
        """Nucleotides of a training sequence (or pair), on average."""
        data = self.splits["train"]
        return float(np.mean([len(text) for text in data.sequences])) + (
            float(np.mean([len(text) for text in data.pairs])) if data.pairs else 0.0
        )


def find_sets(root: str | PathLike) -> FoundSets:
    """Look for sets: a folder of GUE (`tf/0`, `prom/prom_core_all`, ...), a part of it, or one set's own folder.

    Args:
        root: the folder.

    Raises:
        ValueError: if there is no such folder, or no table of a split anywhere below it.

    Example:

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "tf" / "0"
    >>> folder.mkdir(parents=True)
    >>> for split in ("train", "test"):
    ...     (folder / f"{split}.csv").touch()
    >>> find_sets(folder.parent).missing  # named as in GUE, wherever one begins
    {'tf/0': ['dev']}
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder (in {Path.cwd()}): give that of GUE, or of a set in its layout")
    complete: dict[str, str] = {}
    missing: dict[str, list[str]] = {}
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # by another link, or one that leads in a circle
            folders.clear()
            continue
        seen.add(real)
        folders.sort(key=lambda name: (len(name), name) if name.isdecimal() else (0, name))
        present = {split for name in files if (split := _split_of(name))}
        if not present:
            continue
        name = _name_of(Path(folder), root)
        if name in complete | missing:
            raise ValueError(f"{root}: two folders are the set {name} ({folder} is one): give one of them")
        if lacking := [split for split in SPLITS if split not in present]:
            missing[name] = lacking
        else:
            complete[name] = folder
    if not complete and not missing:
        raise ValueError(f"{root}: holds no set: a set is a folder with train.csv, dev.csv and test.csv")
    return FoundSets(str(root), dict(sorted(complete.items())), dict(sorted(missing.items())))


def read_set(name: str, folder: str | PathLike) -> GueSet:
    """Read one set and check it.

    Args:
        name: what it is called.
        folder: with three tables, header `sequence,label`, or three columns for pairs.

    Raises:
        ValueError: on the first thing that is wrong with it; it names file and row. On a file that changes meanwhile.

    Example:

    >>> import tempfile
    >>> read_set("own", tempfile.mkdtemp())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...: no train file (train.csv, train.tsv or train.parquet): found nothing
    """
    files = find_split_files(folder)
    if lacking := [split for split in SPLITS if split not in files]:
        raise ValueError(f"{folder}: no {', no '.join(lacking)}: a set has train, dev and test")
    checksums = {split: file_sha256(files[split]) for split in SPLITS}
    splits = {split: read_labelled(files[split], label_column=_label_column(files[split])) for split in SPLITS}
    if changed := [split for split in SPLITS if file_sha256(files[split]) != checksums[split]]:
        raise ValueError(f"{files[changed[0]]}: has changed while it was read: begin again when it is whole")
    with_pairs = [split for split in SPLITS if splits[split].pairs is not None]
    if 0 < len(with_pairs) < len(SPLITS):
        others = [split for split in SPLITS if split not in with_pairs]
        raise ValueError(
            f"{folder}: {', '.join(with_pairs)} has pairs of sequences and {', '.join(others)} has not: "
            "all splits need the same columns"
        )
    labels, num_labels = labels_of_splits(splits, way_out="number the classes 0, 1, 2, ...")
    if alike := [split for split in SPLITS if len(set(labels[split])) < 2]:
        raise ValueError(
            f"{files[alike[0]]}: all rows have the label {labels[alike[0]][0]}: nothing can be learned of one class, "
            "or chosen or measured on it: bring every class into train, dev and test"
        )
    return GueSet(name, splits, labels, num_labels, checksums)


def read_sets(folders: dict[str, str]) -> list[GueSet]:
    """Read and check all sets; whatever is wrong with any of them is said at once.

    Args:
        folders: by the name of the set, from `FoundSets.choose`.

    Raises:
        ValueError: with one problem for each set that has one.

    Example:

    >>> read_sets({})
    []
    """
    sets, problems = [], []
    for name, folder in folders.items():
        try:
            sets.append(read_set(name, folder))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        more = f"; and {len(problems) - _MAX_PROBLEMS} more sets" if len(problems) > _MAX_PROBLEMS else ""
        raise ValueError(f"nothing was trained: {'; '.join(problems[:_MAX_PROBLEMS])}{more}")
    return sets


def _split_of(name: str) -> str | None:
    stem, dot, ending = name.lower().partition(".")
    return _ALIASES.get(stem) if dot + ending in _ENDINGS else None


def _name_of(folder: Path, root: Path) -> str:
    """As GUE calls it, if it does; else the path from the root, or of the root itself its name."""
    in_gue = "/".join(folder.resolve().parts[-2:])
    if group_of(in_gue) is not None:
        return in_gue
    return folder.resolve().name if folder == root else folder.relative_to(root).as_posix()


def _full_name(name: str, there: Sequence[str]) -> str:
    """`prom_core_all` for `prom/prom_core_all`, where no other set ends so."""
    ends = [full for full in there if full.rpartition("/")[2] == name.strip("/")]
    return ends[0] if name not in there and len(ends) == 1 else name.strip("/")


def _label_column(path: str) -> str:
    """`label`, as GUE has it: a column under another name may be anything, and is not guessed at."""
    columns = list(read_table(path).columns)
    for name in _LABELS:
        if name in columns:
            return name
    raise ValueError(
        f"{path}: no column 'label': the header should be sequence,label, and is {','.join(map(str, columns[:4]))}"
    )


def _keys(data: LabelledSequences) -> Iterable[bytes]:
    """What two equal sequences share, whatever the case, the alphabet (U or T), and the strand they are written in."""
    for row in zip(data.sequences, *([data.pairs] if data.pairs else []), strict=True):
        ids = [encode_sequence(text, where=data.path) for text in row]
        others = [reverse_complement_array(one) for one in ids]
        yield min(b"|".join(one.tobytes() for one in strand) for strand in (ids, others))
