# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Files of every format that is read, good and broken, for hypothesis; and parsers of a few lines to compare with."""

import gzip
import io
import json
import os
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TIMES = int(os.environ.get("VQDNA_FUZZ", "1"))
"""Above 1: so many times as many examples, others in each run; to hunt for faults."""

SETTINGS = settings(
    derandomize=TIMES == 1, database=None, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)

IUPAC = set("ACGTURYSWKMBDHVN")
GOOD_FASTA = ">chr1 first\nACGTACGTNNacgt\nRYU\n>chr2\nGGCC\n"
RECORDS = {"chr1": "ACGTACGTNNACGTNNT", "chr2": "GGCC"}
BOM = b"\xef\xbb\xbf"


def fuzz(examples: int, **strategies: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Run a test with so many examples, the same each time."""
    return lambda test: settings(SETTINGS, max_examples=TIMES * examples)(given(**strategies)(test))


def bgzip(data: bytes, block: int = 100, end: bool = True) -> bytes:
    """The format of section 4.1 of the SAM specification, with small blocks."""
    packed = []
    for part in [data[at : at + block] for at in range(0, len(data), block)] + [b""] * end:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        body = deflate.compress(part) + deflate.flush()
        head = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0" + struct.pack("<H", len(body) + 25)
        packed.append(head + body + struct.pack("<II", zlib.crc32(part), len(part)))
    return b"".join(packed)


def unpack(data: bytes) -> bytes | None:
    """Plain or gzip to plain, without a byte order mark; None where gzip is broken, or bgzip without its end mark.

    A cut between two blocks of bgzip shows nowhere else.
    """
    if data[:2] == b"\x1f\x8b":
        if data[:4] == b"\x1f\x8b\x08\x04" and data[12:16] == b"BC\x02\0" and not data.endswith(bgzip(b"")):
            return None
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            return None
    return data.removeprefix(BOM)


def mostly(good: Any, count: int, *others: Any) -> st.SearchStrategy[Any]:
    """One of `others`, or `good`, which counts `count` times; not at the ends, which hypothesis likes best."""
    return st.sampled_from([good] * (count // 2) + list(others) + [good] * (count - count // 2))


# What happens to files

_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "two members": lambda data: gzip.compress(data[:20], mtime=0) + gzip.compress(data[20:], mtime=0),
    "bgzip": bgzip,
    "open bgzip": lambda data: bgzip(data, end=False),
    "twice": lambda data: gzip.compress(gzip.compress(data, mtime=0), mtime=0),
}
_STARTS = mostly(b"", 40, BOM, BOM, b"\n", b" ", b";c\n", b"\xff\xfe", b"BZh9", b"PK\x03\x04")
_ENDS = mostly(b"", 30, b"\n\n", b"\n \n", b"\x1a", b"\0", b"\t")
_LINE_ENDS = mostly(b"\n", 20, b"\r\n", b"\r\n", b"\r", b"\n\n")
_PACKING = mostly("plain", 12, "bgzip", "bgzip", "gzip", *_PACKINGS)


@st.composite
def broken(draw: st.DrawFn, text: st.SearchStrategy[str]) -> bytes:
    """A file of text, as it comes: other line ends, packed, cut, bytes changed; or not broken at all."""
    data = draw(text).encode("utf-8", "surrogatepass")
    data = data.replace(b"\n", draw(_LINE_ENDS))
    data = draw(_STARTS) + data + draw(_ENDS)
    if draw(mostly(False, 8, True)):
        data = draw(damaged(data))
    packing = draw(_PACKING)
    packed = _PACKINGS[packing](data)
    return draw(damaged(packed)) if packing != "plain" and draw(mostly(False, 4, True)) else packed


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Cut short, or with bytes put in, changed or taken out."""
    at, kind = draw(st.integers(0, max(len(data) - 1, 0))), draw(st.integers(0, 3))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]
    if kind == 2:
        return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    return data[:at] + data[at + draw(st.integers(1, 9)) :]


def lines_of(*columns: st.SearchStrategy[Any], separator: str = "\t", most: int = 4) -> st.SearchStrategy[str]:
    """Lines of a table."""
    line = st.tuples(*columns).map(lambda cells: separator.join(map(str, cells)) + "\n")
    return st.lists(line, max_size=most).map("".join)


# FASTA

_NAMES = st.sampled_from(
    ["chr1", "chr2", "a", "b", "c|d", "chr1 and more", "é", "x\ty", "", " ", " lead", "a\0", ">a", "1" * 50]
)
_LETTERS = st.text("ACGTacgtNnRyUu", min_size=1, max_size=70)
_LINES = st.one_of(_LETTERS, _LETTERS, _LETTERS, st.text("ACGT-. *1>@;é\t\x0b\0", max_size=12), st.just(""))
_ODD_FASTA = st.lists(st.tuples(_NAMES, st.lists(_LINES, max_size=4)), max_size=4).map(
    lambda records: "".join(f">{name}\n" + "".join(f"{line}\n" for line in lines) for name, lines in records)
)
_EVEN_FASTA = st.dictionaries(
    st.sampled_from(["chr1", "chr2", "a", "b"]),
    st.text("ACGTacgtNnRU", min_size=1, max_size=150),
    min_size=1,
    max_size=3,
).map(
    lambda records: "".join(
        f">{name} x\n" + "".join(f"{text[at : at + 20]}\n" for at in range(0, len(text), 20))
        for name, text in records.items()
    )
)
FASTA = st.one_of(_ODD_FASTA, _EVEN_FASTA, _EVEN_FASTA)


@st.composite
def indexed_fasta(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file of which an index is made, and what then stands in its place."""
    first = draw(_EVEN_FASTA).encode()
    second = draw(st.one_of(st.just(first), damaged(first), _EVEN_FASTA.map(str.encode), damaged(first)))
    packing = _PACKINGS[draw(st.sampled_from(["plain", "bgzip"]))]
    return packing(first), packing(second)


INDEX = st.one_of(st.none(), st.none(), st.just("chr1\t20\t8\t20\t21\n"), st.text("chr1\t\n0123456789", max_size=30))


def naive_fasta(data: bytes) -> dict[str, str] | None:
    """Names and letters; None if any rule is broken."""
    unpacked = unpack(data)
    records: dict[str, str] = {}
    name = None
    for line in (unpacked or b"").replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b">"):
            words = line[1:].decode("utf-8", "replace").split()
            if not words or words[0] in records or (name is not None and not records[name]):
                return None
            name = words[0]
            records[name] = ""
        elif line:
            letters = line.decode("latin-1").upper()
            if name is None or not line.isascii() or not set(letters) <= IUPAC:
                return None
            letters = letters.replace("U", "T")
            records[name] += "".join(letter if letter in "ACGT" else "N" for letter in letters)
    return records if name is not None and records[name] else None


# BED, on GOOD_FASTA

NUMBERS = st.one_of(
    st.integers(-2, 20).map(str), st.sampled_from(["", "x", "1.5", "1e3", " 3", "٣", "1_0", "+1", "9" * 30])
)
_REST = st.sampled_from(["", "\tname", "\tname\t0\t+", "\tn\t0\t*", "\t.\t0\t-", "\ta b\t1\t.\t5\t6", ""])
_BED_LINES = [
    st.tuples(st.sampled_from(["chr1", "chr2"]), st.integers(0, 1), st.integers(2, 4), _REST),
    st.tuples(st.sampled_from(["chr1", "chr1", "chr2"]), st.integers(0, 8), st.integers(0, 18), _REST),
    st.tuples(st.sampled_from(["1", "chr3", "", "#chr1", "track"]), st.integers(0, 2), st.integers(3, 4), _REST),
    st.tuples(st.sampled_from(["chr1", "chr2"]), NUMBERS, NUMBERS, st.just("")),
]
_OTHER_LINES = st.sampled_from(["chr1 0 4\n", "\n", "# note\n", "track name=x\n", "chr1\t0\n", "chr1\n", " \t \n"])
BED = st.lists(
    st.one_of(
        _OTHER_LINES,
        *(line.map(lambda p: f"{p[0]}\t{p[1]}\t{p[2]}{p[3]}\n") for line in [*_BED_LINES, *_BED_LINES[:1] * 9]),
    ),
    max_size=4,
).map("".join)


def naive_bed(data: bytes) -> list[tuple[str, int, int, str, str]] | None:
    """(chrom, start, end, name, strand); None if any rule is broken."""
    unpacked = unpack(data)
    found = []
    for raw in (unpacked or b"").split(b"\n"):
        line = raw.decode("utf-8", "replace").rstrip("\r")
        if not line.strip() or line.startswith("#") or line.split()[0] in ("track", "browser"):
            continue
        columns = [word.strip() for word in (line.split("\t") if line.count("\t") >= 2 else line.split())]
        if len(columns) < 3 or columns[0] not in RECORDS:
            return None
        if not all(re.fullmatch("-?[0-9]{1,18}", word) for word in columns[1:3]):
            return None
        start, end = map(int, columns[1:3])
        name, strand = columns[3] if len(columns) > 3 else "", columns[5] if len(columns) > 5 else "."
        if not 0 <= start < end <= len(RECORDS[columns[0]]) or strand not in ("+", "-", "."):
            return None
        found.append((columns[0], start, end, name if name not in ("", ".") else f"{columns[0]}:{start}-{end}", strand))
    return found or None


REGIONS = st.one_of(
    st.text("chr12:-,0", max_size=14),
    st.tuples(st.sampled_from(["chr1", "chr2", "chr3", "1"]), NUMBERS, NUMBERS).map(lambda p: f"{p[0]}:{p[1]}-{p[2]}"),
    st.tuples(st.integers(1, 9), st.integers(1, 17)).map(lambda p: f"chr1:{p[0]}-{p[1]}"),
)

# VCF

VCF_HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
_HEADERS = mostly(
    VCF_HEADER,
    20,
    "",
    "##fileformat=VCFv4.2\n",
    VCF_HEADER.replace("\t", " "),
    VCF_HEADER.replace("INFO", "INF"),
    VCF_HEADER.replace("#CHROM", "##contig=<ID=chr1,length=99>\n#CHROM"),
)
_ALLELES = st.one_of(
    st.text("ACGTacgtN", min_size=1, max_size=3),
    st.sampled_from([".", "*", "<DEL>", "A,C", "AC,A,<INS>", "G[chr2:5[", "", "A C", "-", "R", "é", "A,", "<", "u"]),
)
_TRUE_VCF = st.tuples(st.integers(1, 8), st.sampled_from(["A", "C", "G", "T", "AC", "A,C", "<DEL>", "*", "."])).map(
    lambda parts: f"chr1\t{parts[0]}\t.\t{RECORDS['chr1'][parts[0] - 1]}\t{parts[1]}\t.\tPASS\tDP=1\n"
)
_ODD_VCF = st.tuples(
    st.sampled_from(["chr1", "chr1", "chr1", "chr2", "1", "chr9", "", "chr 1"]),
    st.one_of(st.integers(1, 19).map(str), NUMBERS),
    st.sampled_from([".", "rs1"]),
    st.one_of(st.sampled_from(["A", "C", "G", "T"]), _ALLELES),
    _ALLELES,
    st.sampled_from([".\tPASS\tDP=1", ".\t.\t.", ".\t.", ".\t.\t.\tGT\t0/1"]),
).map(lambda parts: "\t".join(parts) + "\n")
VCF = st.tuples(
    _HEADERS,
    st.lists(
        st.one_of(*[_TRUE_VCF] * 6, _ODD_VCF, st.sampled_from(["\n", "#late\n", "chr1 5 . A C . . .\n"])),
        max_size=4,
    ),
).map(lambda parts: parts[0] + "".join(parts[1]))


def naive_vcf(data: bytes) -> list[tuple[str, int, str, str]]:
    """(CHROM, POS, REF, ALT) of a file that was found good."""
    lines = [line.rstrip(b"\r").decode("utf-8", "replace") for line in (unpack(data) or b"").split(b"\n")]
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return [(row[0], int(row[1]), row[3].upper().replace("U", "T"), row[4]) for row in rows]


# Tables

_CELLS = st.one_of(
    st.text("ACGT", min_size=1, max_size=9),
    st.sampled_from(["0", "1", "NA", "", "acgn", "AC-GT", "A C", '"A"', '"', "é", "1.0", "x,y"]),
)
_HEADS = [["sequence", "label"], ["sequence", "label"], ["id", "sequence"], ["s", "t", "label"], ["label"], []]


@st.composite
def text_tables(draw: st.DrawFn) -> str:
    """Tables, mostly with as many cells in a row as the header has."""
    head, separator = draw(st.sampled_from(_HEADS)), draw(mostly(",", 4, "\t"))
    widths = st.integers(1, 4) if draw(mostly(False, 4, True)) else st.just(len(head))
    cells = _CELLS if draw(mostly(False, 3, True)) else st.text("ACGTacgtn", min_size=1, max_size=9)
    rows = [[draw(cells) for _ in range(draw(widths))] for _ in range(draw(st.integers(0, 4)))]
    return "".join(separator.join(row) + "\n" for row in [head, *rows])


_VALUES = st.one_of(_CELLS, st.integers(), st.none(), st.lists(st.integers(), max_size=2))
_ROWS = st.lists(st.dictionaries(st.sampled_from(["sequence", "label"]), _VALUES, max_size=2), max_size=3)
_GOOD_ROWS = st.lists(
    st.fixed_dictionaries({"sequence": st.text("ACGTN", min_size=1, max_size=9), "label": st.integers(0, 2)}),
    max_size=3,
)
JSON = st.one_of(
    _ROWS.map(lambda rows: "\n".join(map(json.dumps, rows))),
    _GOOD_ROWS.map(json.dumps),
    st.recursive(
        st.one_of(st.none(), st.integers(), _CELLS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_CELLS, inner, max_size=2),
        max_leaves=6,
    ).map(json.dumps),
    st.text('[]{}":,ACGT01 \n', max_size=30),
)

_PLACE = {"name": ["r"], "chrom": ["chr1"], "start": [2], "end": [5], "strand": ["+"], "region": [0]}
_TABLES: list[dict[str, Any]] = [
    {**_PLACE, "codes_1": [[1, 2, -1]], "codes_2": [[0, 9, -1]]},
    {**_PLACE, "strand": ["x"], "codes_1": [[1, 2, 3]], "codes_2": [[0, 9, 1]]},
    {**_PLACE, "end": [4], "codes_1": [[1, 2, 3]], "codes_2": [[0, 9, 1]]},
    {**_PLACE, "codes_1": [[1, 2, 8]], "codes_2": [[0, 9, 1]]},
    {**_PLACE, "codes_1": [[1.5, 2, 3]], "codes_2": [[0, 9, 1]]},
    {**_PLACE, "name": [None], "start": [None], "codes_1": [None], "codes_2": [[None]]},
    {**_PLACE, "name": [1], "start": ["x"], "end": [5.5], "strand": [True], "codes_1": ["1,2"], "codes_2": [3]},
    {"name": ["r"], "codes_1": [[1, 2, 8]]},
    {"sequence": ["ACGT", "AC"], "label": [0, 1]},
    {"sequence": ["ACGT", None], "label": [0, 1]},
    {"sequence": [b"ACGT"], "label": [[1]]},
    {"sequence": pa.array([], pa.string())},
]


@st.composite
def parquet(draw: st.DrawFn) -> bytes:
    """Tables of codes or sequences as Parquet, whole and damaged."""
    sink = io.BytesIO()
    pq.write_table(pa.table(draw(st.sampled_from([_TABLES[0], _TABLES[8], *_TABLES, _TABLES[8], _TABLES[0]]))), sink)
    data = sink.getvalue()
    return draw(damaged(data)) if draw(mostly(False, 2, True)) else data


CODES_HEADER = "\t".join([*_PLACE, "codes_1", "codes_2"]) + "\n"
_CODES_HEADERS = mostly(CODES_HEADER, 16, CODES_HEADER.replace("\t", ","), CODES_HEADER[:-1] + "\tcodes_3\n", "x\n", "")
_GOOD_CODES = st.lists(st.integers(-1, 7), min_size=1, max_size=5).map(
    lambda codes: ("r", "chr1", 3, 3 + len(codes), "-", 0, *[",".join(map(str, codes))] * 2)
)
_ODD_CODES = st.tuples(
    st.sampled_from(["r", ""]), st.just("chr1"), st.integers(0, 3), NUMBERS, st.sampled_from("+-."),
    st.sampled_from(["0", "1", "", "x"]),
    st.sampled_from(["1", "1,2", "1,,2", "x", "", "9"]), st.sampled_from(["1", "1,2", "-2", "99999999999"]),
)  # fmt: skip
CODES = st.tuples(
    _CODES_HEADERS,
    st.lists(st.one_of(*[_GOOD_CODES] * 6, _ODD_CODES), min_size=1, max_size=3).map(
        lambda rows: "".join("\t".join(map(str, row)) + "\n" for row in rows)
    ),
).map("".join)

# Manifests, and tables of names and of accessions

RENAMES = st.one_of(
    st.just("x\tchr1\n"),
    lines_of(st.sampled_from(["x", "y", "1"]), st.sampled_from(["chr1", "chr1", "chr2"]), most=3),
    lines_of(st.sampled_from(["x", "", "chr1 "]), st.sampled_from(["chr1", "chr9", ""]), most=2),
)
ACCESSIONS = st.tuples(
    st.sampled_from(["file\taccession", "accession\tspecies\tfile", "file\taccession\tgroup", "file", ""]),
    lines_of(st.sampled_from(["a.fa", "b/a.fa", "c.fa"]), st.sampled_from(["X1", "", '"']), st.sampled_from(["s", ""])),
).map("\n".join)
_KEYS = st.sampled_from(["files", "files", "group", "weight", "species", "held_out", "accession", "fils", "shares"])
_SCALARS = st.one_of(
    st.sampled_from(["good.fa", "*.fa", "none.fa", "codec", "", "fungi", "true", "chr1", "2020-13-45"]),
    st.integers(-1, 2),
    st.floats(),
    st.none(),
    st.booleans(),
)
_ENTRIES = st.one_of(_SCALARS, st.lists(st.sampled_from(["good.fa", "chr*"]), max_size=2))
_INPUTS = st.lists(
    st.one_of(
        st.fixed_dictionaries({"files": st.just("good.fa"), "weight": st.integers(1, 3), "group": st.just("fungi")}),
        st.dictionaries(_KEYS, _ENTRIES, max_size=4),
    ),
    max_size=2,
)
_BESIDE = st.dictionaries(
    st.sampled_from(["held_out", "shares", "x"]),
    st.one_of(_ENTRIES, st.dictionaries(_SCALARS, _SCALARS, max_size=2)),
    max_size=1,
)
_YAML_MANIFESTS = st.one_of(
    _INPUTS.map(yaml.safe_dump),
    st.tuples(_INPUTS, _BESIDE).map(lambda parts: yaml.safe_dump({"inputs": parts[0], **parts[1]})),
    st.text("-:[]{}& *!|>'\"\n files:good.fa", max_size=40),
)
_TSV_MANIFESTS = st.one_of(
    lines_of(st.just("good.fa"), st.sampled_from(["1", "2", "x", ""]), _SCALARS).map(
        lambda rows: "files\tweight\tgroup\n" + rows
    ),
    st.tuples(st.lists(_KEYS, max_size=4).map("\t".join), lines_of(_SCALARS, _SCALARS, _SCALARS)).map("\n".join),
)
MANIFESTS = st.one_of(
    st.tuples(st.just(".yaml"), broken(_YAML_MANIFESTS)),
    st.tuples(st.just(".tsv"), broken(_TSV_MANIFESTS)),
)
"""The name's ending, and the content."""
