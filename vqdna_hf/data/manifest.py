# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a corpus is made of: a table of FASTA files with groups, weights, species and what is held out of each."""

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import yaml

from vqdna_hf.data.accessions import Accessions
from vqdna_hf.data.corpus import matches_path
from vqdna_hf.data.fasta import find_fasta, open_binary

MANIFEST_SUFFIXES = (".yaml", ".yml", ".tsv")

NO_GROUP = "all"
"""The group of files for which neither a manifest nor a table of accessions names one."""

_KEYS = ("files", "group", "weight", "species", "accession", "held_out")
_TOP_KEYS = ("inputs", "held_out", "shares", "accessions")
_TRUTHS = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class CorpusInput:
    """One FASTA file of a corpus.

    Args:
        path: the file.
        group: what it counts to in tables and shares.
        weight: how often a base of it is drawn, against one of a file of weight 1; above 0.
        species: its name, or empty.
        accession: of the assembly or sequence, or empty.
        held_out: `fnmatch` patterns on the names of its records that go to validation; `*` for all.

    Example:

    >>> CorpusInput("yeast.fa.gz", group="fungi", held_out=("chrXII",)).weight
    1.0
    """

    path: str
    group: str = NO_GROUP
    weight: float = 1.0
    species: str = ""
    accession: str = ""
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a corpus is made of.

    Args:
        inputs: the files, in the order in which they are read; where two hold the same window, the first keeps it.
        held_out: patterns on the name of a record, a species, or the end of a file's path, over all inputs.
        shares: the share of each group in what is drawn, by the group's name; empty to go by the weights alone.

    Raises:
        ValueError: no input, a share of a group that no input belongs to, a group without a share where others have
            one, or shares that are no numbers above 0.

    Example:

    >>> files = [CorpusInput("a.fa", "fungi"), CorpusInput("b.fa", "human")]
    >>> Manifest(tuple(files), shares={"fungi": 1, "human": 3}).shares
    {'fungi': 0.25, 'human': 0.75}
    """

    inputs: tuple[CorpusInput, ...]
    held_out: tuple[str, ...] = ()
    shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ValueError("a corpus needs at least one FASTA file of a weight above 0")
        if not self.shares:
            return
        groups = {entry.group for entry in self.inputs}
        if wrong := sorted({*self.shares} ^ groups):
            what = "is the group of no file" if wrong[0] in self.shares else "has no share, and others have one"
            raise ValueError(f"shares: {wrong[0]!r} {what}: the groups are {', '.join(sorted(groups))}")
        for group, share in self.shares.items():
            _check_number(share, f"shares: {group!r}", least=0, open_end=True)
        total = sum(self.shares.values())
        object.__setattr__(self, "shares", {group: share / total for group, share in self.shares.items()})


def open_manifest(
    paths: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    group: str | None = None,
    held_out: Sequence[str] = (),
    accessions: str | os.PathLike[str] | None = None,
) -> Manifest:
    """Read a manifest, or make one of FASTA files.

    A manifest is YAML (`.yaml`, `.yml`) or a tab-separated table (`.tsv`) with a header. Each row names `files` (a
    file, a folder or a pattern, relative to the manifest's folder) and optionally `group`, `weight`, `species`,
    `accession` and `held_out` (names of records, patterns allowed; in a table separated by commas; `true` for whole
    files). Where several rows name a file, the last one counts; weight 0 leaves it out. In YAML the rows are the list
    `inputs`, beside which may stand `held_out`, `shares` and `accessions`.

    Args:
        paths: one manifest, or FASTA files, folders or patterns.
        group: of the files for which no manifest and no table names one.
        held_out: patterns beside those of the manifest.
        accessions: table with the columns file, accession, and if known species and group; default: `index.tsv` in
            a folder above each file.

    Returns:
        The inputs, with what the table of accessions knows filled in.

    Raises:
        ValueError: an unreadable manifest or a mistake in it (with file and line or row), a manifest among other
            files, or files that do not exist.

    Example:

    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> for name, text in (("a.fa", ">1\\nACGT\\n"), ("m.tsv", "files\\tgroup\\theld_out\\n*.fa\\tfungi\\tchrM,2\\n")):
    ...     _ = open(os.path.join(folder, name), "w").write(text)
    >>> entry = open_manifest(os.path.join(folder, "m.tsv")).inputs[0]
    >>> os.path.basename(entry.path), entry.group, entry.held_out
    ('a.fa', 'fungi', ('chrM', '2'))
    """
    words = [os.fspath(paths)] if isinstance(paths, str | os.PathLike) else [os.fspath(path) for path in paths]
    manifests = [word for word in words if word.lower().endswith(MANIFEST_SUFFIXES)]
    if "-" in words:
        raise ValueError("standard input cannot be read twice: give the corpus files, or a manifest of files")
    if manifests and len(words) > 1:
        raise ValueError(f"{manifests[0]}: a manifest stands alone: list the other files in it")
    shares: Mapping[str, float] = {}
    if manifests:
        rows, top = _read_rows(manifests[0])
        held_out, shares = [*top.get("held_out", ()), *held_out], top.get("shares", {})
        accessions = accessions or top.get("accessions")
        inputs, taken = _expand(rows, manifests[0])
    else:
        inputs, taken = [CorpusInput(path, group="") for path in find_fasta(words)], []
    table = Accessions(accessions)
    completed = tuple(_complete(entry, table, group) for entry in inputs)
    _check_groups_left(taken, {entry.group for entry in completed})
    try:
        return Manifest(completed, tuple(held_out), shares)
    except ValueError as error:
        raise ValueError(f"{manifests[0]}: {error}" if manifests else str(error)) from error


@dataclass(frozen=True)
class _Taken:
    """A file of a group that a later row names as well, with the two rows."""

    group: str
    earlier: str
    later: str


def _check_groups_left(taken: Sequence[_Taken], groups: set[str]) -> None:
    """A group whose every file counts to a later row is a mistake: it would be missing without a word."""
    lost = [entry for entry in taken if entry.group not in groups]
    if not lost:
        return
    pairs = [entry for entry in lost if entry.group == lost[0].group]
    earlier, later = (list(dict.fromkeys(getattr(pair, side) for pair in pairs)) for side in ("earlier", "later"))
    raise ValueError(
        f"{' and '.join(earlier)}: no file is left of group {lost[0].group!r}: {' and '.join(later)} names the same "
        "files, and the last row that names a file counts: drop a row, or put that of fewer files last"
    )


def _complete(entry: CorpusInput, table: Accessions, group: str | None) -> CorpusInput:
    about = table.find(entry.path)
    return replace(
        entry,
        group=entry.group or about["group"] or group or NO_GROUP,
        species=entry.species or about["species"],
        accession=entry.accession or about["accession"],
    )


def _read_rows(path: str) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    """The rows, each with what to call it in an error, and what stands beside them."""
    with open_binary(path) as stream:
        data = stream.read()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is no text (UTF-8): a manifest is YAML or a table, not the sequences") from error
    return _read_table(text, path) if path.lower().endswith(".tsv") else _read_yaml(text, path)


def _read_table(text: str, path: str) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    header: list[str] = []
    rows: list[tuple[str, dict[str, Any]]] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        where = f"{path}, line {number}"
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split("\t")
        if not header:
            header = [cell.strip() for cell in cells]
            _check_keys(header, _KEYS, where)
            continue
        if len(cells) > len(header):
            raise ValueError(f"{where}: {len(cells)} cells under {len(header)} columns: separate them by single tabs")
        row: dict[str, Any] = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()}
        if "held_out" in row:
            row["held_out"] = _split(row["held_out"])
        rows.append((where, row))
    if "files" not in header:
        raise ValueError(f"{path}: no column 'files': the header names {', '.join(_KEYS)}, separated by tabs")
    return rows, {}


def _read_yaml(text: str, path: str) -> tuple[list[tuple[str, dict[str, Any]]], dict[str, Any]]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not valid YAML: {error}") from error
    except (ValueError, RecursionError) as error:  # a date that is none; brackets without end
        raise ValueError(f"{path}: cannot be read as YAML: {error}") from error
    top = {"inputs": content} if isinstance(content, list) else content
    if not isinstance(top, dict) or not isinstance(top.get("inputs"), list):
        raise ValueError(f"{path}: a manifest holds a list 'inputs', each with 'files' and if known {', '.join(_KEYS)}")
    _check_keys(top, _TOP_KEYS, path)
    top["held_out"] = _patterns(top.get("held_out"), f"{path}: held_out")
    shares = top.get("shares") or {}
    if not isinstance(shares, dict):
        raise ValueError(f"{path}: shares is a mapping of groups to numbers, not {shares!r}")
    top["shares"] = {
        str(group): _check_number(share, f"{path}: shares: {group!r}", least=0) for group, share in shares.items()
    }
    if top.get("accessions") is not None:
        top["accessions"] = os.path.join(os.path.dirname(path), str(top["accessions"]))
    rows = []
    for number, row in enumerate(top["inputs"], start=1):
        where = f"{path}, input {number}"
        if not isinstance(row, dict):
            raise ValueError(f"{where}: is a mapping with 'files', not {row!r}")
        _check_keys(row, _KEYS, where)
        rows.append((where, row))
    return rows, top


def _expand(rows: Iterable[tuple[str, dict[str, Any]]], path: str) -> tuple[list[CorpusInput], list[_Taken]]:
    """The files of all rows, and those whose row does not count: of several that name a file only the last does."""
    found: dict[str, CorpusInput] = {}
    namers: dict[str, list[tuple[str, str]]] = {}
    for where, row in rows:
        files = row.get("files")
        patterns = [files] if isinstance(files, str) else files
        if not isinstance(patterns, list) or not patterns or not all(isinstance(word, str) for word in patterns):
            raise ValueError(f"{where}: 'files' names a FASTA file, a folder or a pattern")
        weight = _check_number(row.get("weight", 1.0), f"{where}: weight", least=0)
        try:
            names = find_fasta([os.path.join(os.path.dirname(path), word) for word in patterns])
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        texts = {key: str(row.get(key) or "") for key in ("group", "species", "accession")}
        held_out = tuple(_patterns(row.get("held_out"), f"{where}: held_out"))
        for name in names:
            key = os.path.realpath(name)
            found.pop(key, None)
            found[key] = CorpusInput(name, weight=weight, held_out=held_out, **texts)
            namers.setdefault(key, []).append((where, texts["group"] if weight else ""))
    inputs = {key: entry for key, entry in found.items() if entry.weight > 0}  # weight 0 takes a file away on purpose
    taken = [
        _Taken(group, where, namers[key][-1][0].removeprefix(f"{path}, "))
        for key in inputs
        for where, group in namers[key][:-1]
        if group
    ]
    return list(inputs.values()), taken


def _split(cell: str) -> list[str]:
    return [word.strip() for word in cell.split(",") if word.strip()]


def _patterns(value: Any, where: str) -> list[str]:
    """Patterns on names: one, or a list of them (numbers are names too: chromosome 7), or true for everything."""
    if value is None or value is False:
        return []
    words = value if isinstance(value, list) else [value]
    if not all(isinstance(word, str | int) and str(word) for word in words):
        raise ValueError(f"{where}: give names of records or patterns, or true for all, not {value!r}")
    words = [str(word) for word in words]
    if len(words) == 1 and words[0].lower() in _TRUTHS:
        return ["*"] if _TRUTHS[words[0].lower()] else []
    return words


def _check_keys(keys: Iterable[Any], known: Sequence[str], where: str) -> None:
    seen = set()
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f": did you mean {near[0]!r}?" if near else f": known are {', '.join(known)}"
            raise ValueError(f"{where}: unknown key {key!r}{hint}")
        if key in seen:
            raise ValueError(f"{where}: {key!r} stands twice")
        seen.add(key)


def _check_number(value: Any, what: str, least: float, open_end: bool = False) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < least or (open_end and number == least):
        raise ValueError(f"{what}: {value!r} is not a number {'above' if open_end else 'of at least'} {least:g}")
    return number


def held_out_by(name: str, entry: CorpusInput, patterns: Sequence[str]) -> list[str]:
    """The patterns that hold a record out, those of its input first.

    Args:
        name: of the record.
        entry: the file that it is in.
        patterns: of the whole corpus: on the record's name, the species, or the end of the file's path.

    Returns:
        Those of `entry.held_out` and `patterns` that match; none for a record to learn from.

    Example:

    >>> entry = CorpusInput("genomes/yeast.fa", species="Saccharomyces cerevisiae", held_out=("chrM",))
    >>> held_out_by("chrM", entry, ["Homo sapiens"]), held_out_by("chrI", entry, ["Saccharomyces *", "chrI?"])
    (['chrM'], ['Saccharomyces *'])
    """
    return [pattern for pattern in entry.held_out if fnmatchcase(name, pattern)] + [
        pattern
        for pattern in patterns
        if fnmatchcase(name, pattern) or fnmatchcase(entry.species, pattern) or matches_path(entry.path, pattern)
    ]
