# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Codes back into nucleotides: what a codec kept of a sequence."""

import gzip
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.fasta import decode_ids, open_binary
from vqdna_hf.data.jobs import JobReport, collect, identities, run_job, unit_bases
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.encode import BASES_PER_CODE
from vqdna_hf.inference.outputs import output_ending, write_tables
from vqdna_hf.model.quantization_vqdna import NO_CODE
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, N_ID

FASTA = (".fa", ".fa.gz", ".fasta", ".fasta.gz")
_PLACE = ("name", "chrom", "start", "end", "strand", "region")
_LINE = 60
_MOST_SHOWN = 12


@dataclass(frozen=True, eq=False)
class CodeRow:
    """A row of what `encode` wrote, and the codes next to it that the decoder sees.

    Args:
        name, chrom, start, end, strand, region: as `EncodeTask` says.
        codes: (n, Q) in the order of the forward strand.
        before, after: (m, Q) codes of the neighbouring bases, where the table has them.
        stride: s, bases a code.
    """

    name: str
    chrom: str
    start: int
    end: int
    strand: str
    region: int
    codes: NDArray[np.int32]
    before: NDArray[np.int32]
    after: NDArray[np.int32]
    stride: int = 1

    @property
    def bases(self) -> int:
        """That its codes stand for."""
        return self.end - self.start

    def follows(self, other: "CodeRow") -> bool:
        """Whether it goes on where the other ends, in the same region."""
        # A patch that is cut ends what was read: on `-` that is where the region starts.
        whole = (other if self.strand == "+" else self).bases % self.stride == 0
        return whole and (*self._key, self.strand, self.start) == (*other._key, other.strand, other.end)

    def is_other_strand_of(self, other: "CodeRow") -> bool:
        """Whether it is the same place of the same region, read on the other strand."""
        if self._key != other._key or self.strand == other.strand:
            return False
        # Where codes stand for several bases the rows of the two strands are cut some bases apart.
        return self.start == other.start or (self.stride > 1 and self.start < other.end and other.start < self.end)

    @property
    def _key(self) -> tuple[int, str, str]:
        # Tables may have been put together, and then two regions have one number.
        return self.region, self.name, self.chrom


@dataclass(frozen=True)
class _RowUnit:
    rows: Sequence[CodeRow]

    @property
    def bases(self) -> int:
        """Of all rows."""
        return sum(row.bases for row in self.rows)


class DecodeTask:
    """Nucleotides of code rows: columns `name`, `chrom`, `start`, `end`, `region`, `sequence` (forward strand, N where
    no code).

    Args:
        checkpoint: a codec.
        path: what `encode` wrote. Of two rows of one place in a region, on both strands, the first counts.
        batch_bases: see `Batcher`.
        identity: of the input.
    """

    verb = "decode"
    total_bases: int | None = None

    def __init__(
        self,
        checkpoint: Checkpoint,
        path: str,
        *,
        batch_bases: int | None = None,
        identity: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.checkpoint, self.path = checkpoint, path
        self.batcher = checkpoint.batcher(batch_bases)
        self.stride = checkpoint.bases_per_code
        config = checkpoint.codec_config
        # Two de-convolutions read nucleotides, the blocks before them codes.
        own = -(-2 * (config.stem_kernel_size // 2) // self.stride)
        self.margin = own + config.num_blocks * (config.kernel_size // 2)
        self._about = {"batch_bases": batch_bases, "inputs": list(identity)}

    @cached_property
    def _description(self) -> dict[str, Any]:
        return {**self._about, **self.checkpoint.describe()}

    def describe(self) -> Mapping[str, Any]:
        """The options, the inputs and the weights."""
        return self._description

    def units(self) -> Iterator[_RowUnit]:
        """Rows in order, each with its neighbours' codes."""
        rows: list[CodeRow] = []
        filled, size = 0, unit_bases()
        for row in self._with_neighbours():
            rows.append(row)
            filled += row.bases
            if filled >= size:
                yield _RowUnit(rows)
                rows, filled = [], 0
        if rows:
            yield _RowUnit(rows)

    def _with_neighbours(self) -> Iterator[CodeRow]:
        last: CodeRow | None = None
        for row in read_codes(self.path, self.checkpoint.codebook_sizes, self.stride):
            if last is not None and row.is_other_strand_of(last):
                continue
            if last is not None:
                if row.follows(last):
                    row = replace(row, before=last.codes[-self.margin :])
                    last = replace(last, after=row.codes[: self.margin])
                yield last
            last = row
        if last is not None:
            yield last

    def compute(self, unit: _RowUnit) -> pa.Table:
        """The nucleotides of a unit."""
        lengths = [self.stride * (len(row.before) + len(row.codes) + len(row.after)) for row in unit.rows]
        texts = self.batcher.map(lengths, lambda numbers: self._decode([unit.rows[number] for number in numbers]))
        rows = unit.rows
        return pa.table(
            {
                "name": [row.name for row in rows],
                "chrom": [row.chrom for row in rows],
                "start": pa.array([row.start for row in rows], pa.int64()),
                "end": pa.array([row.end for row in rows], pa.int64()),
                "region": pa.array([row.region for row in rows], pa.int64()),
                "sequence": pa.array(texts, pa.string()),
            }
        )

    def _decode(self, rows: Sequence[CodeRow]) -> list[str]:
        pieces = [np.concatenate([row.before, row.codes, row.after]) for row in rows]
        pieces = [piece[::-1] if row.strand == "-" else piece for row, piece in zip(rows, pieces, strict=True)]
        codes = np.full((len(rows), pieces[0].shape[1], max(map(len, pieces))), NO_CODE, dtype=np.int64)
        for number, piece in enumerate(pieces):
            codes[number, :, : len(piece)] = piece.T
        with torch.inference_mode():
            logits = self.checkpoint.model.decode(self.checkpoint.to_device(codes))
        best = (logits.argmax(-1) + FIRST_NUCLEOTIDE_ID).to(torch.uint8).cpu().numpy()
        texts = []
        for row, piece, ids in zip(rows, pieces, best, strict=True):
            unknown = np.repeat((piece == NO_CODE).any(1), self.stride)
            ids = np.where(unknown, N_ID, ids[: len(unknown)]).astype(np.uint8)
            # In the order in which it was read, only the last code of a region may stand for fewer bases.
            first = self.stride * len(row.after if row.strand == "-" else row.before)
            ids = ids[first : first + row.bases]
            texts.append(decode_ids(reverse_complement_array(ids) if row.strand == "-" else ids))
        return texts

    def write(self, tables: Iterable[pa.Table], path: Path) -> None:
        """Into FASTA, a record a region; or Parquet or TSV."""
        ending = output_ending(path, (*FASTA, ".parquet", ".tsv", ".tsv.gz"))
        if ending not in FASTA:
            write_tables(tables, path, ending, self.describe())
            return
        with open(path, "wb") as stream:
            if ending.endswith(".gz"):
                with gzip.GzipFile("", "wb", 6, stream, mtime=0) as packed:
                    packed.writelines(_fasta_lines(tables))
            else:
                stream.writelines(_fasta_lines(tables))


def _fasta_lines(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    here: tuple[Any, ...] | None = None
    rest = ""
    names: dict[str, int] = {}
    for table in tables:
        for row in table.to_pylist():
            key = (row["region"], row["name"], row["chrom"])
            if (*key, row["start"]) != here:
                if rest:
                    yield f"{rest}\n".encode()
                rest = ""
                name = _new_name("_".join(row["name"].split()), names)
                yield f">{name} {row['chrom']} from {row['start']}\n".encode()
            here = (*key, row["end"])
            rest += row["sequence"]
            whole = len(rest) - len(rest) % _LINE
            yield "".join(f"{rest[at : at + _LINE]}\n" for at in range(0, whole, _LINE)).encode()
            rest = rest[whole:]
    if rest:
        yield f"{rest}\n".encode()


def _new_name(name: str, names: dict[str, int]) -> str:
    """A name that no record had before: BED files repeat theirs, FASTA must not."""
    new = name
    while new in names:
        names[name] += 1
        new = f"{name}_{names[name]}"
    names[new] = 1
    return new


def read_codes(path: str | os.PathLike[str], codebook_sizes: Sequence[int], stride: int = 1) -> Iterator[CodeRow]:
    """Read what `encode` wrote, row by row, checked.

    Args:
        path: `.parquet`, `.tsv` or `.tsv.gz`.
        codebook_sizes: of the codec that is to decode: as many levels, each code below its size.
        stride: s of this codec, bases a code.

    Raises:
        ValueError: if it is no such table, or its codes are another codec's; the message names the row, from 1.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "codes.tsv"
    >>> lines = ["name chrom start end strand region codes_1", "r chr1 5 8 + 0 1,7,-1"]
    >>> _ = path.write_text("\\n".join(lines).replace(" ", "\\t") + "\\n")
    >>> [row.codes.T.tolist() for row in read_codes(path, [8])]
    [[[1, 7, -1]]]
    """
    path = os.fspath(path)
    levels = [f"codes_{level + 1}" for level in range(len(codebook_sizes))]
    read = _parquet_rows if path.lower().endswith(".parquet") else _tsv_rows
    nothing = np.zeros((0, len(levels)), np.int32)
    wanted = [*_PLACE, *([] if stride == 1 else [BASES_PER_CODE]), *levels]
    number = 0
    for number, row in enumerate(read(path, wanted), start=1):
        where = f"{path}, row {number}"
        try:
            name, chrom, start, end, strand, region = (row[column] for column in _PLACE)
            codes = np.stack([np.asarray(row[level], dtype=np.int32) for level in levels], axis=1)
            start, end, region, bases_per_code = int(start), int(end), int(region), int(row.get(BASES_PER_CODE, 1))
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{where}: no row of codes ({error}): give what `vqdna encode` wrote") from error
        _check_stride(where, bases_per_code, stride)
        if strand not in ("+", "-") or not 0 <= start < end or len(codes) != -(-(end - start) // stride):
            raise ValueError(
                f"{where}: {chrom}:{start}-{end} strand {strand!r} with {len(codes)} codes a level: there must be one "
                f"{'a base' if stride == 1 else f'for {stride} bases'}"
            )
        wrong = (codes < NO_CODE) | (codes >= np.asarray(codebook_sizes))
        if wrong.any():
            at, level = np.argwhere(wrong)[0]
            raise ValueError(
                f"{where}: code {codes[at, level]} of level {level + 1} is none of this codec's, which has "
                f"{codebook_sizes[level]}: decode with the codec that encoded"
            )
        yield CodeRow(str(name), str(chrom), start, end, str(strand), region, codes, nothing, nothing, stride)
    if not number:
        raise ValueError(f"{path}: the table has no rows")


def _check_stride(where: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(
            f"{where}: a code stands for {found} base{'s' if found > 1 else ''}, one of this codec's for {wanted}: "
            "decode with the codec that encoded"
        )


def _check_columns(path: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    absent = [name for name in wanted if name not in found]
    more = [name for name in found if name.startswith("codes_") and name not in wanted]
    if absent == list(wanted):
        raise ValueError(f"{path}: is no table of codes: give what `vqdna encode` wrote")
    if absent == [BASES_PER_CODE]:
        raise ValueError(
            f"{path}: there is no column {BASES_PER_CODE}, so a code stands for 1 base, one of this codec's for "
            "several: decode with the codec that encoded"
        )
    if BASES_PER_CODE in found and BASES_PER_CODE not in wanted:
        raise ValueError(
            f"{path}: there is a column {BASES_PER_CODE}, so a code stands for several bases, one of this codec's for "
            "1: decode with the codec that encoded"
        )
    if absent or more:
        raise ValueError(
            f"{path}: the columns are {_some(found)}, and this codec needs {', '.join(wanted)}: give what "
            "`vqdna encode` wrote with the same codec"
        )


def _some(names: Sequence[str]) -> str:
    """Names for an error, whatever the file is."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:40]}..." for name in names[:_MOST_SHOWN])
    return f"{shown} and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else shown


def _parquet_rows(path: str, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file (in {os.getcwd()})")
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, wanted)
            for batch in file.iter_batches(batch_size=64, columns=list(wanted)):
                columns = [_lists(batch.column(name)) for name in wanted]
                yield from (dict(zip(wanted, row, strict=True)) for row in zip(*columns, strict=True))
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())})") from error


def _lists(column: pa.Array) -> list[Any]:
    """A column's values; lists as arrays, which is a hundred times quicker than as Python's numbers."""
    if pa.types.is_list(column.type):
        return [scalar.values.to_numpy(zero_copy_only=False) if scalar.is_valid else None for scalar in column]
    return column.to_pylist()


def _tsv_rows(path: str, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
    with open_binary(path) as stream:
        lines = (line.decode("utf-8", "replace").rstrip("\r\n") for line in stream)
        header = next(lines).split("\t")
        _check_columns(path, header, wanted)
        # Not by csv, which limits what a cell holds: a row has a code for each of a window's bases.
        for number, cells in enumerate((line.split("\t") for line in lines if line), start=1):
            if len(cells) != len(header):
                raise ValueError(f"{path}, row {number}: {len(cells)} columns, the header has {len(header)}")
            row = dict(zip(header, cells, strict=True))
            for name in wanted:
                if name.startswith("codes_"):
                    row[name] = row[name].split(",")  # type: ignore[assignment]
            yield row


def _check_vocabulary(path: str, checkpoint: Checkpoint) -> None:
    """Refuse codes of another vocabulary, where the table says which it is: TSV does not."""
    if not path.lower().endswith(".parquet") or not Path(path).is_file():
        return
    try:
        about = json.loads((pq.read_schema(path).metadata or {}).get(b"vqdna", b"{}"))
    except (pa.ArrowException, OSError, ValueError):
        return  # `read_codes` says what is wrong with it
    if isinstance(about, dict) and about.get("codebooks_sha256") not in (None, checkpoint.codebooks_sha256):
        raise ValueError(
            f"{path}: was encoded with other codebooks than {checkpoint.name} has: decode with the codec that encoded"
        )


def decode(
    model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    codes: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_bases: int | None = None,
    restart: bool = False,
    progress: bool | None = None,
) -> pa.Table | JobReport:
    """Turn what `encode` wrote back into nucleotides, on the forward strand; N where there was no code.

    Each region is a record of its own, in FASTA `>name chrom from start`. Names there are words, and differ: blanks
    become `_`, and where a name is taken it gets a number, `name_2`.

    Args:
        model: the codec that encoded, or an export that carries it.
        codes: `.parquet`, which remembers its codebooks, so that those of another codec are refused; or `.tsv`,
            `.tsv.gz`, which do not.
        output: FASTA (`.fa`, `.fa.gz`), Parquet or TSV; without it the table is returned.
        device, dtype: see `load_checkpoint`.
        batch_bases: see `Batcher`.
        restart, progress: see `run_job`.

    Returns:
        The table, see `DecodeTask`, or what was done.

    Raises:
        ValueError: if `model` has no decoder, or `codes` is no table of codes of its vocabulary.

    Example:

    >>> decode("no/such/codec", "codes.parquet")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: no/such/codec: no such model folder (in ...), and no Hub id (organisation/name)
    """
    if output is not None:
        output_ending(output, (*FASTA, ".parquet", ".tsv", ".tsv.gz"), (codes,))
    checkpoint = load_checkpoint(model, "decoder", device=device, dtype=dtype)
    _check_vocabulary(os.fspath(codes), checkpoint)
    task = DecodeTask(checkpoint, os.fspath(codes), batch_bases=batch_bases, identity=identities(codes))
    if output is None:
        return collect(task, progress)
    return run_job(task, output, restart=restart, progress=progress)
