# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Labelled sequences from tables: the GUE layout `sequence,label`, its pairs, and columns by name.

Rows are counted as a reader of the file counts them: row 1 is the first after the header.
"""

import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from vqdna_hf.data.fasta import encode_sequence, open_binary

_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
_TABLE_SUFFIXES = (*_SEPARATORS, ".json", ".jsonl", ".parquet")
_SPLIT_SUFFIXES = (".csv", ".tsv", ".parquet")
_SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "valid", "validation", "val"), "test": ("test",)}
_LABEL_NAMES = ("label", "labels")
_PAIR_NAMES = ("sequence1", "sequence2")
_ID_NAMES = ("id", "name")
_MAX_SHOWN = 8
_ROW_NOTE = "(1-based, the header not counted)"


@dataclass(frozen=True)
class LabelledSequences:
    """A table's sequences, checked against the alphabet, and its labels as written.

    Args:
        sequences: one a row.
        pairs: the second sequence of each row, where the table has pairs.
        labels: the text of each row's label; see `check_class_labels` and `check_float_labels`.
        path: the file.
        ids: what each row is called, where the table says it.

    Example:

    >>> len(LabelledSequences(sequences=["ACGT", "GGCC"], pairs=None, labels=["0", "1"], path="train.csv"))
    2
    """

    sequences: list[str]
    pairs: list[str] | None
    labels: list[Any] | None
    path: str
    ids: list[str] | None = None

    def __len__(self) -> int:
        return len(self.sequences)


def read_table(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table with every value as text: a sequence `NA` stays a sequence, `007` keeps its zeros.

    Args:
        path: `.csv`, `.tsv`, `.txt` (tabs), `.json` (a list of objects, or one object a line), `.jsonl`, or
            `.parquet`; all but Parquet may be packed with gzip.

    Returns:
        A frame of `str`, index 0..rows-1; an absent value is an empty string.

    Raises:
        ValueError: no such file, an unknown ending, an empty file, no header, two columns of one name, no rows, or a
            line that cannot be read.

    Example:

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "train.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("sequence,label\\nNA,01\\n")
    >>> read_table(path).values.tolist()
    [['NA', '01']]
    """
    path = os.fspath(path)
    suffix = os.path.splitext(path.lower().removesuffix(".gz"))[1]
    if suffix not in _TABLE_SUFFIXES:
        raise ValueError(f"{path}: cannot tell the kind of table: the name must end in {' '.join(_TABLE_SUFFIXES)}")
    with open_binary(path) as stream:
        data = stream.read()
    if suffix == ".parquet":
        table = _read_parquet(data, path)
    elif suffix in _SEPARATORS:
        table = _read_delimited(data, path, _SEPARATORS[suffix])
    else:
        table = _read_json(data, path)
    table.columns = [str(column).strip() for column in table.columns]
    _check_names(list(table.columns), path)
    if not len(table):
        raise ValueError(f"{path}: the table has a header ({_some(list(table.columns))}) but no rows")
    return table


def read_labelled(
    path: str | os.PathLike[str],
    *,
    sequence_column: str | Sequence[str] | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    require_labels: bool = True,
) -> LabelledSequences:
    """Read labelled sequences and check every letter.

    Without column names: a column `id` or `name` says what a row is called, and counts no further; the label is the
    column `label` (or `labels`), else the last of two or three columns; the sequence is what is left of two columns,
    both of the first two of three are a pair (DNABERT-2's convention), and in wider tables the column `sequence`, or
    `sequence1` and `sequence2`.

    Args:
        path: see `read_table`.
        sequence_column: name of the sequence's column, or two names for pairs.
        label_column: name of the label's column.
        id_column: name of the column that says what a row is called.
        require_labels: without it, a table that has no column `label` may hold sequences only.

    Returns:
        The rows in order.

    Raises:
        ValueError: an absent or ambiguous column, an empty sequence, or a character outside the alphabet; the
            message names the file, the row and the position.

    Example:

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "train.csv")
    >>> with open(path, "w") as file:
    ...     _ = file.write("sequence,label\\nACGT,1\\nTTNA,0\\n")
    >>> table = read_labelled(path)
    >>> table.sequences, table.labels
    (['ACGT', 'TTNA'], ['1', '0'])
    """
    path = os.fspath(path)
    table = read_table(path)
    columns = list(table.columns)
    given = [label_column, *([sequence_column] if isinstance(sequence_column, str) else sequence_column or [])]
    id_ = _id_column(columns, id_column, given, path)
    columns = [name for name in columns if name != id_]
    label = _label_column(columns, label_column, sequence_column, require_labels, path)
    names = _sequence_columns(columns, sequence_column, label, path)
    texts = [table[name].tolist() for name in names]
    for name, column in zip(names, texts, strict=True):
        for row, text in enumerate(column, start=1):
            encode_sequence(text, where=f"{path}, row {row} {_ROW_NOTE}, column {name!r}")
    labels = None if label is None else table[label].tolist()
    ids = None if id_ is None else table[id_].tolist()
    return LabelledSequences(texts[0], texts[1] if len(texts) == 2 else None, labels, path, ids)


def check_class_labels(labels: Sequence[Any], path: str, way_out: str = "number the classes 0, 1, 2, ...") -> list[int]:
    """Turn labels into integers, or name the row where that fails.

    Args:
        labels: whole, non-negative numbers, as numbers or text (`"1"`, `"1.0"`).
        path: the file, for the message.
        way_out: what can be done, for the message.

    Returns:
        The same as `int`.

    Raises:
        ValueError: a label that is no whole non-negative number, with its row.

    Example:

    >>> check_class_labels(["0", "1.0", 2], "train.csv")
    [0, 1, 2]
    """
    checked = []
    for row, value in enumerate(labels, start=1):
        number = _as_float(value)
        if number is None or number != int(number) or number < 0:
            raise ValueError(f"{path}, row {row} {_ROW_NOTE}: label {value!r} is not a whole number >= 0: {way_out}")
        checked.append(int(number))
    return checked


def number_of_labels(train_labels: Sequence[int], path: str) -> int:
    """Count the classes of a training set, which must be exactly 0..n-1 with n at least 2.

    Args:
        train_labels: from `check_class_labels`.
        path: the file, for the message.

    Returns:
        n.

    Raises:
        ValueError: one class only, or numbers with a gap or an offset; the message lists what was found.

    Example:

    >>> number_of_labels([0, 1, 1, 2], "train.csv")
    3
    """
    found = sorted(set(train_labels))
    if not found:
        raise ValueError(f"{path}: there are no labels")
    if len(found) == 1:
        raise ValueError(f"{path}: all rows have the label {found[0]}: at least two classes are needed to train")
    if found != list(range(len(found))):
        way_out = (
            f"subtract {found[0]}"
            if found == list(range(found[0], found[0] + len(found)))
            else "number the classes without gaps"
        )
        raise ValueError(f"{path}: labels must be 0..n-1, found [{_some(found)}]: {way_out}")
    return len(found)


def check_labels_known(labels: Sequence[int], num_labels: int, path: str) -> None:
    """Check that a dev or test set has no class that training does not know.

    Args:
        labels: from `check_class_labels`.
        num_labels: from `number_of_labels` of the training set.
        path: the file, for the message.

    Raises:
        ValueError: a label outside 0..num_labels-1, with its first row.

    Example:

    >>> check_labels_known([0, 1], 2, "dev.csv")
    """
    for row, label in enumerate(labels, start=1):
        if not 0 <= label < num_labels:
            raise ValueError(
                f"{path}, row {row} {_ROW_NOTE}: label {label} is not among the training set's "
                f"0..{num_labels - 1}: correct it, or train with examples of this class"
            )


def check_float_labels(labels: Sequence[Any], path: str) -> list[float]:
    """Turn regression targets into floats, or name the row where that fails.

    Args:
        labels: finite numbers, as numbers or text.
        path: the file, for the message.

    Returns:
        The same as `float`.

    Raises:
        ValueError: a label that is no finite number, with its row.

    Example:

    >>> check_float_labels(["0.5", "-1e3"], "train.csv")
    [0.5, -1000.0]
    """
    checked = []
    for row, value in enumerate(labels, start=1):
        number = _as_float(value)
        if number is None:
            raise ValueError(f"{path}, row {row} {_ROW_NOTE}: label {value!r} is not a finite number")
        checked.append(number)
    return checked


def find_split_files(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Find the train, dev and test tables of a folder in the GUE layout.

    Args:
        folder: holds `train`, and if there is one `dev` (or `valid`, `validation`, `val`) and `test`, each as
            `.csv`, `.tsv` or `.parquet`; `.csv.gz` and `.tsv.gz` too.

    Returns:
        Paths by `"train"`, `"dev"`, `"test"`; absent splits are absent.

    Raises:
        ValueError: no such folder, no train file (the message lists what is there), or two files for one
            split.

    Example:

    >>> import tempfile, os
    >>> folder = tempfile.mkdtemp()
    >>> for name in ("train.csv", "valid.tsv.gz"):
    ...     open(os.path.join(folder, name), "w").close()
    >>> {split: os.path.basename(path) for split, path in find_split_files(folder).items()}
    {'train': 'train.csv', 'dev': 'valid.tsv.gz'}
    """
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        raise ValueError(f"{folder}: no such folder (in {os.getcwd()}): it should hold train.csv, dev.csv and test.csv")
    present = sorted(os.listdir(folder))
    splits: dict[str, str] = {}
    for split, names in _SPLIT_NAMES.items():
        wanted = {name + suffix + end for name in names for suffix in _SPLIT_SUFFIXES for end in ("", ".gz")}
        matched = [name for name in present if name.lower() in wanted and not name.lower().endswith(".parquet.gz")]
        if len(matched) > 1:
            raise ValueError(f"{folder}: several files for the {split} split ({_some(matched)}): keep one")
        if matched:
            splits[split] = os.path.join(folder, matched[0])
    if "train" not in splits:
        raise ValueError(
            f"{folder}: no train file (train.csv, train.tsv or train.parquet): found {_some(present) or 'nothing'}"
        )
    return splits


def _read_delimited(data: bytes, path: str, separator: str) -> pd.DataFrame:
    try:
        text = data.decode("utf-8")
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error}): save it as UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path}: the file has no header line: it should start with e.g. sequence,label") from error
    except pd.errors.ParserError as error:
        raise ValueError(f"{path}: cannot be read as a table ({error})") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(
            f"{path}: rows have more fields than the header {_some(list(table.columns))}: name every column"
        )
    # As written: pandas calls the second of two columns `label` `label.1`.
    first = pd.read_csv(io.StringIO(text), sep=separator, dtype=str, na_filter=False, header=None, nrows=1)
    _check_names([str(name).strip() for name in first.iloc[0]], path)
    for column in table.columns:
        if len(column) >= 10 and set(column.upper()) <= set("ACGTUN"):
            raise ValueError(
                f"{path}: the first line is data, not a header: write e.g. sequence{separator}label above it"
            )
    return table.fillna("")


def _check_names(columns: Sequence[str], path: str) -> None:
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise ValueError(f"{path}: two columns are named {twice[0]!r}: rename one, or take it out")


def _read_parquet(data: bytes, path: str) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(data))
    except Exception as error:  # the engine's own exception types are no public names of pandas
        raise ValueError(f"{path}: cannot be read as Parquet ({error})") from error
    if not len(table.columns):
        raise ValueError(f"{path}: the table has no columns")
    _check_names([str(name) for name in table.columns], path)
    return _as_text(table.reset_index(drop=True))


def _read_json(data: bytes, path: str) -> pd.DataFrame:
    try:
        text = data.decode("utf-8").strip()
        if text.startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f'{path}, row {number}: is {type(row).__name__}, not an object like {{"sequence": ...}}')
    table = pd.DataFrame(rows, dtype=object)
    if not len(table.columns):
        raise ValueError(f'{path}: no row has a field: write objects like {{"sequence": ..., "label": ...}}')
    return _as_text(table)


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    columns = {}
    for column in table.columns:
        values = table[column].tolist()
        columns[column] = ["" if value is None or _is_nan(value) else str(value) for value in values]
    return pd.DataFrame(columns, dtype=str)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _as_float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _id_column(columns: list[str], id_column: str | None, taken: Sequence[str | None], path: str) -> str | None:
    if id_column is not None:
        return _known(id_column, columns, path)
    named = [name for name in columns if name.lower() in _ID_NAMES and name not in taken]
    # Of a table that has nothing else but labels it is the sequence.
    others = [name for name in columns if name not in (*named[:1], *_LABEL_NAMES)]
    return named[0] if named and others else None


def _label_column(
    columns: list[str],
    label_column: str | None,
    sequence_column: str | Sequence[str] | None,
    required: bool,
    path: str,
) -> str | None:
    if label_column is not None:
        return _known(label_column, columns, path)
    named = [name for name in _LABEL_NAMES if name in columns]
    if named:
        return named[0]
    if required and sequence_column is None and len(columns) in (2, 3):
        return columns[-1]
    if required:
        raise ValueError(f"{path}: no column 'label': name it with label_column; the columns are {_some(columns)}")
    return None


def _sequence_columns(
    columns: list[str], sequence_column: str | Sequence[str] | None, label: str | None, path: str
) -> list[str]:
    if sequence_column is not None:
        names = [sequence_column] if isinstance(sequence_column, str) else list(sequence_column)
        if not 1 <= len(names) <= 2:
            raise ValueError(f"sequence_column {names}: give one name, or two for pairs")
        return [_known(name, columns, path) for name in names]
    others = [name for name in columns if name != label]
    is_pair_table = label is not None and len(columns) == 3 and columns[-1] == label
    if len(others) == 1 or is_pair_table:
        return others
    if all(name in columns for name in _PAIR_NAMES):
        return list(_PAIR_NAMES)
    if "sequence" in columns:
        return ["sequence"]
    raise ValueError(f"{path}: no column 'sequence': name it with sequence_column; the columns are {_some(columns)}")


def _known(name: str, columns: list[str], path: str) -> str:
    if name not in columns:
        raise ValueError(f"{path}: no column {name!r}: the columns are {_some(columns)}")
    return name


def _some(values: Sequence[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:_MAX_SHOWN])
    more = len(values) - _MAX_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
