# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Tables into files: Parquet, TSV or npz, by the name's ending."""

import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TABLES = (".parquet", ".tsv", ".tsv.gz", ".npz")


def output_ending(
    path: str | os.PathLike[str], known: tuple[str, ...] = TABLES, inputs: tuple[str | os.PathLike[str], ...] = ()
) -> str:
    """The ending of an output that can be written, found before anything is computed.

    Args:
        path: the output; `-` is a TSV on standard output.
        known: endings of formats.
        inputs: files that must not be overwritten.

    Raises:
        ValueError: for another ending, a folder that is not there or cannot be written to, or a file that is read.

    Example:

    >>> output_ending("codes.parquet"), output_ending("-")
    ('.parquet', '.tsv')
    """
    text = os.fspath(path)
    if text == "-" and ".tsv" in known:
        return ".tsv"
    found = [ending for ending in known if text.lower().endswith(ending)]
    if not found:
        raise ValueError(f"{text}: the output's name must end in one of {' '.join(known)}")
    folder = Path(text).parent
    if not folder.is_dir():
        raise ValueError(f"{text}: there is no folder {folder} to write to: make it first")
    try:
        # The permissions alone do not say it: not for root, and not of /proc or a file system that is read-only.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"{text}: the folder {folder} cannot be written to ({error.strerror})") from error
    if Path(text).is_dir():
        raise ValueError(f"{text}: is a folder, and the output is a file")
    if any(Path(file).exists() and Path(text).exists() and Path(file).samefile(text) for file in inputs):
        raise ValueError(f"{text}: is the input: write to another file")
    return max(found, key=len)


def write_tables(
    tables: Iterable[pa.Table], path: Path, ending: str, about: Mapping[str, Any] | None = None
) -> None:  # fmt: skip
    """Join tables of one schema into a file.

    Parquet gets a row group a table, zstd, and `about` as JSON under the key `vqdna` of its metadata. TSV has a header,
    lists become numbers with commas between, floats are the shortest text that reads back to the same value. npz
    holds an array a column, lists of equal length as a matrix; it is built in memory.

    Args:
        tables: at least one.
        path: where to.
        ending: of `TABLES`.
        about: what made them.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "codes.tsv"
    >>> write_tables(iter([pa.table({"name": ["chr1"], "codes": [[1, 2]]})]), path, ".tsv")
    >>> path.read_text().splitlines()
    ['name\\tcodes', 'chr1\\t1,2']
    """
    with open(path, "wb") as stream:
        if ending == ".parquet":
            _write_parquet(tables, stream, about)
        elif ending == ".npz":
            _write_npz(pa.concat_tables(tables), stream)
        elif ending == ".tsv.gz":
            with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:  # no name, no time: equal input, equal bytes
                _write_tsv(tables, cast(IO[bytes], packed))
        else:
            _write_tsv(tables, stream)


def _write_parquet(tables: Iterable[pa.Table], stream: IO[bytes], about: Mapping[str, Any] | None) -> None:
    tables = iter(tables)
    first = next(tables)
    schema = first.schema
    if about is not None:
        schema = schema.with_metadata({"vqdna": json.dumps(about, sort_keys=True)})
    with pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        writer.write_table(first.cast(schema))
        for table in tables:
            writer.write_table(table.cast(schema))


def _write_npz(table: pa.Table, stream: IO[bytes]) -> None:
    arrays: dict[str, Any] = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            lengths = np.unique(np.diff(column.offsets.to_numpy()))
            if len(lengths) > 1:
                raise ValueError(
                    f"npz holds matrices, and column {name!r} has lists of {lengths[0]} to {lengths[-1]} values: "
                    "write Parquet or TSV"
                )
            arrays[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        elif pa.types.is_fixed_size_list(column.type):
            arrays[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
        else:
            values = column.to_numpy(zero_copy_only=False)
            arrays[name] = values.astype(str) if values.dtype == object else values
    np.savez(stream, **arrays)


def _write_tsv(tables: Iterable[pa.Table], stream: IO[bytes]) -> None:
    for number, table in enumerate(tables):
        text = io.StringIO()
        if not number:
            text.write("\t".join(table.column_names) + "\n")
        columns = [list(map(_cell, _values(table[name]))) for name in table.column_names]
        text.writelines("\t".join(row) + "\n" for row in zip(*columns, strict=True))
        stream.write(text.getvalue().encode())


def _values(column: pa.ChunkedArray) -> list[Any]:
    """As Python values, but float32 as numpy's scalars: their text is the short one."""
    kind = column.type
    inner = kind.value_type if hasattr(kind, "value_type") else kind
    if not pa.types.is_float32(inner):
        return column.to_pylist()
    if inner is kind:
        return [None if value is None else np.float32(value) for value in column.to_pylist()]
    return [None if row is None else np.asarray(row, np.float32) for row in column.to_pylist()]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, np.ndarray)):
        return ",".join(map(_cell, value))
    text = str(value)
    if "\t" in text or "\n" in text or "\r" in text:
        raise ValueError(f"{text!r} holds a tab or a line end, which TSV cannot: rename it, or write Parquet")
    return text
