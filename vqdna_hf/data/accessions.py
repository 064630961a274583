# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Where files come from: their checksums, and the table that gives each an accession and a species."""

import csv
import hashlib
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

INDEX_NAME = "index.tsv"
_LEVELS_ABOVE = 4  # genomes/index.tsv lists genomes/<group>/<file>, and a group may have folders of its own
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
            rows, columns = list(reader), set(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as a table of accessions: {error}") from error
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
