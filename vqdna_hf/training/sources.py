"""What a run has read, a row a file: name, checksum, records and bases, accession and species."""

import csv
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqdna_hf.data import Corpus, FastaRecord, LabelledSequences
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID

logger = logging.getLogger(__name__)

INDEX_NAME = "index.tsv"
_LEVELS_ABOVE = 4  # genomes/index.tsv lists genomes/<group>/<file>, and a group may have folders of its own
_NAMES_KEPT = 4
_ABOUT = ("accession", "species", "group")
_NEEDED = {"file", "accession"}


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        ValueError: if the file cannot be read.

    Example:

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     file_sha256(file.name)[:12]
    'e3b0c44298fc'
    """
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def read_index(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Read a table that says where files come from.

    Args:
        path: tab-separated, with the columns `file` and `accession`, and if known `species` and `group`; `file`
            is a name, or the end of a path.

    Returns:
        One dictionary a row: `file`, `accession`, `species`, `group`; what is unknown is an empty text.

    Raises:
        ValueError: if it cannot be read, lacks a column, or a row has no file.

    Example:

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "index.tsv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("file\\tspecies\\taccession\\necoli.fa\\tEscherichia coli\\tNC_000913.3\\n")
    >>> read_index(path)[0]["accession"]
    'NC_000913.3'
    """
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a table of accessions: {error}") from error
    columns = set(reader.fieldnames or [])
    if missing := _NEEDED - columns:
        raise ValueError(
            f"{path}: no column {', '.join(sorted(missing))}: a table of accessions is tab-separated, with the "
            "columns file, accession, and if known species and group"
        )
    for number, row in enumerate(rows, start=2):
        if not (row["file"] or "").strip():
            raise ValueError(f"{path}, line {number}: no file: each row names one")
    return [{name: (row.get(name) or "").strip() for name in ("file", *_ABOUT)} for row in rows]


class Accessions:
    """Where files come from: a table given by hand, or the `index.tsv` of a folder above each file.

    Args:
        path: of the table; None to look for `index.tsv`.

    Raises:
        ValueError: see `read_index`; only for a table given by hand, since a found one may be anything.

    Example:

    >>> Accessions().find("/nowhere/genome.fa")
    {'accession': '', 'species': '', 'group': ''}
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else os.fspath(path)
        self._tables: dict[str, list[dict[str, str]]] = {}
        if self.path is not None:
            self._tables[self.path] = read_index(self.path)

    def find(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """Accession, species and group of a file; empty texts where no table lists it.

        Raises:
            ValueError: if a table lists the file twice, with different accessions.
        """
        tables = self._tables_above(Path(path).resolve()) if self.path is None else [self.path]
        for table in tables:
            rows = [row for row in self._tables[table] if _is_end_of(row["file"], os.path.abspath(path))]
            if len({row["accession"] for row in rows}) > 1:
                raise ValueError(f"{table}: {Path(path).name} stands there with several accessions: keep one row")
            if rows:
                return {name: rows[0][name] for name in _ABOUT}
        if self.path is not None:
            logger.warning("%s does not list %s: the names of its records stand for an accession", self.path, path)
        return dict.fromkeys(_ABOUT, "")

    def _tables_above(self, path: Path) -> list[str]:
        """The nearest first."""
        found = []
        for folder in list(path.parents)[:_LEVELS_ABOVE]:
            table = str(folder / INDEX_NAME)
            if table not in self._tables:
                try:
                    self._tables[table] = read_index(table) if os.path.isfile(table) else []
                except ValueError as error:
                    logger.info("not used: %s", error)
                    self._tables[table] = []
            if self._tables[table]:
                found.append(table)
        return found


def _is_end_of(name: str, path: str) -> bool:
    return path == name or path.endswith("/" + name.removeprefix("./"))


def corpus_rows(train: Corpus, held_out: Corpus, accessions: str | None = None) -> list[dict[str, Any]]:
    """The files behind the corpora of stages 1 and 2.

    Args:
        train: what is learned from.
        held_out: what is measured on.
        accessions: a table for `Accessions`.

    Returns:
        One dictionary a file, in the order of reading: `file` (name), `sha256`, `accession`, `species`, `group`,
        `names` (of the first records), `weight`, `train_records`, `train_bases`, `held_out_records`,
        `held_out_bases`, `simulated`. A record whose end was cut off to be held out counts on both sides.

    Raises:
        ValueError: on a table that cannot be used.

    Example:

    >>> corpus = Corpus.from_sequences(["ACGT" * 9, "GGCA" * 9], ["a", "b"])
    >>> train, held_out = corpus.split(held_out=["b"])
    >>> row = corpus_rows(train, held_out)[0]
    >>> row["train_bases"], row["held_out_records"], row["names"]
    (36, 1, ['a', 'b'])
    """
    table = Accessions(accessions)
    paths = dict.fromkeys(record.path for record in [*train.records, *held_out.records])
    return [_corpus_row(path, train, held_out, table) for path in paths]


def _corpus_row(path: str, train: Corpus, held_out: Corpus, table: Accessions) -> dict[str, Any]:
    learned, weights = _records_of(train, path)
    kept, kept_weights = _records_of(held_out, path)
    about = table.find(path)
    used = sorted(set(weights or kept_weights))
    return {
        "file": Path(path).name,
        "sha256": file_sha256(path) if os.path.isfile(path) else None,
        **about,
        "names": list(dict.fromkeys(record.name for record in [*learned, *kept]))[:_NAMES_KEPT],
        "weight": used[0] if len(used) == 1 else f"{used[0]:g} to {used[-1]:g}",
        "train_records": len(learned),
        "train_bases": sum(record.bases for record in learned),
        "held_out_records": len(kept),
        "held_out_bases": sum(record.bases for record in kept),
        "simulated": _says_simulated(about, (record.description for record in [*learned, *kept])),
    }


def _records_of(corpus: Corpus, path: str) -> tuple[Sequence[FastaRecord], list[float]]:
    pairs = [
        (record, weight) for record, weight in zip(corpus.records, corpus.weights, strict=True) if record.path == path
    ]
    return [record for record, _ in pairs], [weight for _, weight in pairs]


def _says_simulated(about: Mapping[str, str], descriptions: Iterable[str] = ()) -> bool:
    """By the headers of `simulate_fasta`, or by the table."""
    return about["species"].lower().startswith("simulated") or any("simulated=true" in text for text in descriptions)


def table_rows(
    splits: Mapping[str, LabelledSequences], used: Mapping[str, Sequence[Any]], accessions: str | None = None
) -> list[dict[str, Any]]:
    """The labelled files of stage 3.

    Args:
        splits: train, dev, test, as read.
        used: of each split, the token ids of the sequences that are used.
        accessions: a table for `Accessions`.

    Returns:
        One dictionary a split: `file`, `split`, `sha256`, `accession`, `species`, `group`, `sequences` (in the
        file), `used_sequences`, `used_bases`, `simulated`.

    Raises:
        ValueError: on a table that cannot be used.

    Example:

    >>> data = LabelledSequences(["ACG", "TT"], None, ["0", "1"], "dev.csv")
    >>> row = table_rows({"dev": data}, {"dev": [[2, 5, 6, 7, 3]]})[0]
    >>> row["sequences"], row["used_sequences"], row["used_bases"]
    (2, 1, 3)
    """
    table = Accessions(accessions)
    rows = []
    for split, data in splits.items():
        about = table.find(data.path)
        rows.append(
            {
                "file": Path(data.path).name,
                "split": split,
                "sha256": file_sha256(data.path) if os.path.isfile(data.path) else None,
                **about,
                "sequences": len(data),
                "used_sequences": len(used[split]),
                "used_bases": sum(int((np.asarray(ids) >= FIRST_NUCLEOTIDE_ID).sum()) for ids in used[split]),
                "simulated": _says_simulated(about),
            }
        )
    return rows
