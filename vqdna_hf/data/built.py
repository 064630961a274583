# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A corpus that `build_corpus` has made: its record, its composition, its shards on disk or on the Hub."""

import hashlib
import json
import os
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq

from vqdna_hf.data.accessions import file_sha256

CORPUS_FILE = "corpus.json"
CORPUS_FORMAT = 1
MEASURES = ("windows", "bases", "n", "gc", "soft_masked")
"""What is counted of each input and group in each split."""

_KEYS = {"options", "held_out", "dropped", "inputs", "groups", "shards"}
_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class BuiltCorpus:
    """A built corpus; made by `BuiltCorpus.open`.

    Args:
        name: the folder, or the repository's name.
        root: the folder, or a URL of `fsspec`.
        record: what `corpus.json` holds.
        sha256: of that file.

    Example:

    >>> BuiltCorpus("corpus", "corpus", {"shards": [{"file": "data/a.parquet", "split": "train"}]}, "").shards("train")
    [{'file': 'data/a.parquet', 'split': 'train'}]
    """

    name: str
    root: str
    record: Mapping[str, Any]
    sha256: str

    @classmethod
    def open(cls, corpus: str | os.PathLike[str], revision: str | None = None) -> "BuiltCorpus":
        """Read the record of a corpus.

        Args:
            corpus: a folder, or a dataset repository of the Hub (`organisation/name`).
            revision: branch, tag or commit of the repository; default: its main branch.

        Raises:
            ValueError: no such folder or repository, none that `build_corpus` made, or a newer format.

        Example:

        >>> BuiltCorpus.open("no/such/folder/here")
        Traceback (most recent call last):
            ...
        ValueError: no/such/folder/here: is no corpus: it has no corpus.json ('vqdna corpus build' makes one)
        """
        name = os.fspath(corpus)
        is_repository = not os.path.exists(name) and len(name.split("/")) == 2 and not name.startswith((".", "/", "~"))
        root = name
        if is_repository:
            root = f"hf://datasets/{name}" + (f"@{revision}" if revision else "")
        try:
            with fsspec.open(posixpath.join(root, CORPUS_FILE), "rb") as stream:
                data = stream.read()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(
                f"{name}: is no corpus: it has no {CORPUS_FILE} ('vqdna corpus build' makes one)"
            ) from error
        except Exception as error:
            if not (is_repository or isinstance(error, OSError)):
                raise
            where = (
                "no such folder here, and no repository of the Hub that can be read" if is_repository else "unreadable"
            )
            raise ValueError(f"{name}: {where}: {error}") from error
        return cls(name, root, _checked(data, f"{name}/{CORPUS_FILE}"), hashlib.sha256(data).hexdigest())

    def shards(self, split: str) -> list[dict[str, Any]]:
        """The shards of a split (`train`, `validation`), as recorded: `file`, `windows`, `row_groups`, `sha256`..."""
        return [shard for shard in self.record["shards"] if shard["split"] == split]

    def url(self, shard: Mapping[str, Any]) -> str:
        """Where a shard is."""
        return posixpath.join(self.root, shard["file"])

    def max_weight(self, split: str = "train") -> float:
        """The largest weight of a window."""
        return max((entry["weight"] for entry in self.record["inputs"] if entry[split]["windows"]), default=1.0)

    def verify(self) -> int:
        """Read every shard and compare its checksum and number of windows.

        Returns:
            The number of shards.

        Raises:
            ValueError: a shard that is missing, was changed, or is one too many.
        """
        listed = {shard["file"] for shard in self.record["shards"]}
        found = {path.relative_to(self.root).as_posix() for path in Path(self.root).rglob("*.parquet")}
        if extra := sorted(found - listed):
            raise ValueError(f"{self.name}/{extra[0]}: is no part of this corpus: its {CORPUS_FILE} does not list it")
        for shard in self.record["shards"]:
            path = self.url(shard)
            if file_sha256(path) != shard["sha256"]:
                raise ValueError(f"{path}: was changed or damaged (another SHA-256): copy it again, or build it again")
            if pq.ParquetFile(path).metadata.num_rows != shard["windows"]:
                raise ValueError(f"{path}: has another number of windows than {CORPUS_FILE} says: build it again")
        return len(listed)

    def source_rows(self) -> list[dict[str, Any]]:
        """The files behind the corpus, as `run.json` records what a run has read."""
        return [
            {
                **{name: entry[name] for name in ("file", "sha256", "accession", "species", "group", "weight")},
                **{name: entry[name] for name in ("names", "simulated")},
                "train_records": entry["records"] - entry["held_out_records"],
                "train_bases": entry["train"]["bases"],
                "held_out_records": entry["held_out_records"],
                "held_out_bases": entry["validation"]["bases"],
                "corpus_sha256": self.sha256,
            }
            for entry in self.record["inputs"]
        ]


def _checked(data: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: cannot be read as the record of a corpus: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("format"), int):
        raise ValueError(f"{where}: is no record of a corpus (it has no format)")
    if record["format"] > CORPUS_FORMAT:
        raise ValueError(
            f"{where}: has format {record['format']}, and this vqdna_hf reads up to {CORPUS_FORMAT}: update"
        )
    if missing := sorted(_KEYS - record.keys()):
        raise ValueError(f"{where}: is no whole record of a corpus: {', '.join(missing)} is missing")
    return record


def is_corpus(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a built corpus.

    >>> is_corpus("no/such/folder")
    False
    """
    return os.path.isfile(os.path.join(path, CORPUS_FILE))


def corpus_of_shard(path: str | os.PathLike[str]) -> str | None:
    """The folder of the corpus that a Parquet file is a shard of, if it is one.

    >>> corpus_of_shard("data/train-00000-of-00001.parquet") is None
    True
    """
    if not os.fspath(path).endswith(".parquet"):
        return None
    folder = Path(path).absolute().parent.parent
    return str(folder) if is_corpus(folder) else None


def show_corpus(folder: str | os.PathLike[str], verify: bool = False) -> dict[str, Any]:
    """What a corpus is made of.

    Args:
        folder: a built corpus, or a dataset repository of the Hub.
        verify: read all shards and compare their checksums (folders only).

    Returns:
        `composition`: a row a group and split, and a row `total` a split: `group`, `split`, `windows`, `bases`, `share`
        (of the bases of the split), `drawn` (of what training draws, by weight; None in validation), `gc` (of the
        bases that are not N), `n` and `soft_masked` (of all bases); `dropped` windows by reason; `held_out` patterns
        and names; `inputs`, `options`; `shards`, their number; `verified`, how many checksums were compared.

    Raises:
        ValueError: no corpus, or with `verify` a shard that was changed.

    Example:

    >>> import tempfile
    >>> from vqdna_hf.data import simulate_fasta
    >>> from vqdna_hf.data.shards import build_corpus
    >>> genome, folder = Path(tempfile.mkdtemp()) / "genome.fa", Path(tempfile.mkdtemp()) / "corpus"
    >>> simulate_fasta(genome, num_bases=6_000, num_contigs=3, seed=0)
    >>> _ = build_corpus(genome, folder)
    >>> shown = show_corpus(folder, verify=True)
    >>> shown["composition"][0]["windows"], shown["composition"][0]["share"], shown["verified"]
    (12, 1.0, 1)
    """
    corpus = BuiltCorpus.open(folder)
    if verify and not os.path.isdir(corpus.root):
        raise ValueError(f"{corpus.name}: checksums are compared in a folder: download the repository first")
    record = corpus.record
    names = [name for entry in record["inputs"] for name in entry["held_out_names"]]
    return {
        "composition": composition_rows(record["groups"]),
        "dropped": record["dropped"],
        "held_out": {"patterns": record["held_out"], "names": names},
        "inputs": record["inputs"],
        "options": record["options"],
        "shards": len(record["shards"]),
        "verified": corpus.verify() if verify else 0,
    }


def group_composition(inputs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The counts of each group: those of its inputs added up, and the share of it in what is drawn.

    >>> counts = {"windows": 2, "bases": 10, "n": 0, "gc": 5, "soft_masked": 0}
    >>> inputs = [{"group": name, "weight": 1.0, "train": counts, "validation": counts} for name in "aab"]
    >>> {name: (round(group["drawn"], 3), group["train"]["bases"]) for name, group in group_composition(inputs).items()}
    {'a': (0.667, 20), 'b': (0.333, 10)}
    """
    groups: dict[str, dict[str, Any]] = {}
    for entry in inputs:
        group = groups.setdefault(
            entry["group"], {"drawn": 0.0, **{split: dict.fromkeys(MEASURES, 0) for split in _SPLITS}}
        )
        group["drawn"] += float(entry["weight"]) * entry["train"]["bases"]
        for split in _SPLITS:
            for name in MEASURES:
                group[split][name] += entry[split][name]
    total = sum(group["drawn"] for group in groups.values())
    return {
        name: {**group, "drawn": round(group["drawn"] / total, 9) if total else 0.0} for name, group in groups.items()
    }


def composition_rows(groups: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a group and split that has windows, and the total of each split where there are several groups."""
    rows = []
    for split in _SPLITS:
        counts = {name: group[split] for name, group in groups.items() if group[split]["windows"]}
        whole = {name: sum(count[name] for count in counts.values()) for name in MEASURES}
        if len(counts) > 1:
            counts["total"] = whole
        for name, count in counts.items():
            known = count["bases"] - count["n"]
            drawn = 1.0 if name not in groups else groups[name]["drawn"]
            rows.append(
                {
                    "group": name,
                    "split": split,
                    "windows": count["windows"],
                    "bases": count["bases"],
                    "share": count["bases"] / whole["bases"],
                    "drawn": drawn if split == "train" else None,
                    "gc": count["gc"] / known if known else 0.0,
                    "n": count["n"] / count["bases"],
                    "soft_masked": count["soft_masked"] / count["bases"],
                }
            )
    return rows
