# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Species and kingdoms to tell apart: windows of genomes in the layout of GUE, split by whole contigs.

No contig gives windows to two splits. Contigs of near kin (strains, haplotypes, orthologous loci) hold the same
sequence all the same: a window of dev or test that shares 31-mers, on either strand, with one of an earlier split is
left out.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data import decode_ids, read_fasta
from vqdna_hf.data.accessions import INDEX_NAME, read_index
from vqdna_hf.data.files import atomic_folder, write_json, write_text
from vqdna_hf.data.generators import check_seed
from vqdna_hf.evaluation.kmers import canonical_kmers

__all__ = ["SpeciesPolicy", "binomial", "make_species_sets"]

SPLITS = ("train", "dev", "test")
_N = 9  # its id
_KMER = 31
_REDUNDANT = ("human_alts", "human_HLA_alts")
_MERGED = {"human": "vertebrate"}  # of kingdoms: otherwise ape windows would have two names
# For each window of dev and test that is wanted, since some are left out:
_SPARE = 3  # windows in the contigs that are held out, where training can spare them
_CANDIDATES = 10  # windows that are looked at


@dataclass(frozen=True)
class SpeciesPolicy:
    """How windows are cut and dealt.

    Args:
        by: `species` (genus and species: strains are one), or `group` (kingdom; human counts among vertebrates).
        window: bases.
        train, dev, test: windows of each class; a class that cannot give them is left out.
        max_n: the largest share of N in a window.
        max_shared: the largest share of its 31-mers that a window of dev or test may have in common with the windows of
            the splits before. One that N leaves no 31-mer cannot be compared, and is left out.
        split_single: cut the longest record of a class with fewer than three into train, dev and test, with a gap of
            `gap` bases between; otherwise such a class is left out.
        gap: see there; where it is less, a window.
        seed: of all that is drawn.

    Raises:
        ValueError: on a value that makes no sense.

    Example:

    >>> SpeciesPolicy(window=4000).name
    'species-4000'
    """

    by: str = "species"
    window: int = 1000
    train: int = 400
    dev: int = 50
    test: int = 50
    max_n: float = 0.05
    max_shared: float = 0.05
    split_single: bool = False
    gap: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in ("species", "group"):
            raise ValueError(f"by {self.by!r}: choose species or group")
        if self.window <= _KMER or min(self.train, self.dev, self.test) < 1:
            raise ValueError(
                f"window {self.window}, {self.train}/{self.dev}/{self.test} windows a class: a window must be longer "
                f"than {_KMER} bases, and each split needs at least one of each class"
            )
        if not (0 <= self.max_n < 1 and 0 <= self.max_shared <= 1):
            raise ValueError(f"max_n {self.max_n}, max_shared {self.max_shared}: give shares from 0 to 1")
        if self.gap < 0:
            raise ValueError(f"gap {self.gap}: it must not be below 0")
        check_seed(self.seed)

    @property
    def name(self) -> str:
        """Of the set."""
        return f"{self.by}-{self.window}"

    def wanted(self) -> dict[str, int]:
        """Windows of each class by split."""
        return {split: getattr(self, split) for split in SPLITS}


@dataclass
class _Contig:
    """A record, or a part of one, and where its usable windows start."""

    file: str
    record: str
    species: str
    label: str
    starts: NDArray[np.int64]
    split: str | None = None

    def part(self, starts: NDArray[np.int64], split: str) -> "_Contig":
        """Some of its windows, for one split."""
        return _Contig(self.file, self.record, self.species, self.label, starts, split)


def binomial(species: str) -> str:
    """Genus and species of a name, without strain or subspecies.

    >>> binomial("Escherichia coli K-12 MG1655"), binomial("Candidatus Blochmannia vafer")
    ('Escherichia coli', 'Candidatus Blochmannia vafer')
    """
    words = species.split()
    return " ".join(words[: 3 if words[:1] == ["Candidatus"] else 2])


def make_species_sets(
    genomes: str | PathLike,
    output: str | PathLike,
    *,
    policies: Sequence[SpeciesPolicy] = (SpeciesPolicy(),),
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Write sets in the layout of GUE: `<output>/<by>-<window>/{train,dev,test}.csv` and `manifest.json`.

    Classes are balanced: each has the same number of windows in each split, and within a kingdom its species have about
    equal shares. Windows are tiles, on the strand that the file has.

    Args:
        genomes: a folder with `index.tsv` (columns `file`, `accession`, `species`, `group`), or that table.
        output: a folder; a set that is there already is not written over. Sets appear when all of them can be made.
        policies: one a set.
        classes: names of species or groups; default: all that can fill their splits.
        groups: only genomes of these groups; default: all but haplotypes of the same loci (`human_alts`,
            `human_HLA_alts`), and for species those of `vertebrate` and `human`.

    Returns:
        The manifests: `policy`, `classes` (in the order of their labels), `contigs` (of each class and split, with the
        number of windows), `left_out` (classes, and why), `unreadable` (files, and why: they are not used), `shared`
        (windows of dev and test left out for the 31-mers that they share, or since N leaves them none, by class).

    Raises:
        ValueError: if the table cannot be read or lists a file that is not there, a class that is named is not there or
            cannot fill its splits, fewer than two classes are asked for or left, or a set is there already.

    Example:

    >>> make_species_sets("no/such/folder", "out")
    Traceback (most recent call last):
    ...
    ValueError: no/such/folder: no such folder or table of genomes: give the folder with index.tsv
    """
    table, output = _table_of(Path(genomes)), Path(output)
    for policy in policies:
        if (output / policy.name).exists():
            raise ValueError(f"{output / policy.name}: is there already: give another --output, or delete it")
    files = _files(table, policies[0].by, classes, groups)
    made = []
    for policy in policies:
        contigs: list[_Contig] = []
        unreadable: dict[str, str] = {}
        for path, species, label in files:
            try:
                contigs += list(_contigs_of(path, species, label, policy))
            except ValueError as error:
                unreadable[path.name] = str(error)
        made.append(_make_set(contigs, sorted({label for *_, label in files}), unreadable, policy, classes))
    with contextlib.ExitStack() as folders:  # each is put in its place when all are written
        for policy, (picked, manifest) in zip(policies, made, strict=True):
            _write(folders.enter_context(atomic_folder(output / policy.name)), picked, manifest, policy)
    return [manifest for _, manifest in made]


def _table_of(path: Path) -> Path:
    table = path / INDEX_NAME if path.is_dir() else path
    if not table.is_file():
        raise ValueError(f"{path}: no such folder or table of genomes: give the folder with {INDEX_NAME}")
    return table


def _files(
    table: Path, by: str, classes: Sequence[str] | None, groups: Sequence[str] | None
) -> list[tuple[Path, str, str]]:
    """(path, species, class) of the genomes that are used."""
    rows = read_index(table)
    known = {row["group"] for row in rows}
    if unknown := [group for group in groups or [] if group not in known]:
        raise ValueError(
            f"{table}: no genome is of the group {', '.join(unknown)}: there are {', '.join(sorted(known))}"
        )
    chosen = set(groups or known - set(_REDUNDANT))
    if by == "species" and groups is None and classes is None:
        chosen &= {"vertebrate", "human"}
    found = []
    for row in rows:
        if row["group"] not in chosen or not row["species"]:
            continue
        species = binomial(row["species"])
        label = species if by == "species" else _MERGED.get(row["group"], row["group"])
        if classes is None or label in classes:
            # `file` is a path from the folder of the table, or from the one above it.
            places = [table.parent / row["file"], table.parent.parent / row["file"]]
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                raise ValueError(f"{table}: lists {row['file']}, which is not there")
            found.append((path, species, label))
    labels = {label for _, _, label in found}
    if absent := [name for name in classes or [] if name not in labels]:
        raise ValueError(f"{table}: no genome is of the {by} {', '.join(absent)}")
    if len(labels) < 2:
        raise ValueError(
            f"{table}: fewer than two classes are asked for ({', '.join(labels) or 'no genome fits'}): "
            f"choose others by --class or --group; the groups are {', '.join(sorted(known)) or 'none'}"
        )
    return found


def _contigs_of(path: Path, species: str, label: str, policy: SpeciesPolicy) -> Iterable[_Contig]:
    for record in read_fasta(path):
        tiles = record.bases // policy.window
        if tiles:
            is_n = record.ids[: tiles * policy.window].reshape(tiles, policy.window) == _N
            usable = np.flatnonzero(is_n.mean(axis=1) <= policy.max_n)
            if usable.size:
                yield _Contig(str(path), record.name, species, label, usable * policy.window)


def _make_set(
    contigs: Sequence[_Contig],
    labels: Sequence[str],
    unreadable: Mapping[str, str],
    policy: SpeciesPolicy,
    named: Sequence[str] | None,
) -> tuple[dict[str, "_Picked"], dict[str, Any]]:
    """The windows of each class, and the manifest."""
    of_class: dict[str, list[_Contig]] = {label: [] for label in labels}
    for contig in contigs:
        of_class[contig.label].append(contig)
    dealt, left_out = {}, {}
    for number, label in enumerate(sorted(of_class)):
        try:
            dealt[label] = _deal(of_class[label], policy, np.random.default_rng([policy.seed, number]))
        except ValueError as error:
            left_out[label] = str(error)
    picked, shared = _pick(dealt, policy, left_out)
    if unfit := [f"{label} ({left_out[label]})" for label in named or [] if label in left_out]:
        raise ValueError(f"{policy.name}: {'; '.join(unfit)}: leave the class out, or ask for fewer windows")
    if len(picked) < 2:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in list({**unreadable, **left_out}.items())[:4])
        raise ValueError(f"{policy.name}: fewer than two classes can fill their splits ({reasons})")
    manifest = {
        "policy": asdict(policy),
        "classes": sorted(picked),
        "contigs": {label: _contig_rows(picked[label]) for label in sorted(picked)},
        "left_out": left_out,
        "unreadable": dict(unreadable),
        "shared": {label: shared[label] for label in sorted(picked)},
    }
    return picked, manifest


def _deal(contigs: Sequence[_Contig], policy: SpeciesPolicy, rng: np.random.Generator) -> list[_Contig]:
    """Give each contig to one split, so that each split has windows enough.

    Raises:
        ValueError: if that is not possible.
    """
    wanted = policy.wanted()
    if not contigs:
        raise ValueError(f"no window of {policy.window} bases with a share of N up to {policy.max_n}")
    if len(contigs) < len(SPLITS):
        if not policy.split_single:
            raise ValueError(f"{len(contigs)} contigs, and train, dev and test need one each: see split_single")
        return _cut(max(contigs, key=lambda contig: len(contig.starts)), policy)
    shuffled = [contigs[place] for place in rng.permutation(len(contigs))]
    # At random; where that leaves too little for training, small contigs are held out first.
    for order in (shuffled, sorted(shuffled, key=lambda contig: len(contig.starts))):
        left = list(order)
        test = _take(left, "test", policy.test, policy.train + policy.dev)
        dev = _take(left, "dev", policy.dev, policy.train)
        if test < policy.test or dev < policy.dev:
            continue
        for split in ("dev", "test"):  # spare ones, since windows that share 31-mers with training are left out
            _take(left, split, (_SPARE - 1) * wanted[split], policy.train)
        for contig in left:
            contig.split = "train"
        return list(order)
    total = sum(len(contig.starts) for contig in contigs)
    raise ValueError(
        f"{len(contigs)} contigs with {total} windows cannot give {policy.train}, {policy.dev} and {policy.test}"
    )


def _take(left: list[_Contig], split: str, windows: int, reserved: int) -> int:
    """Move contigs with so many windows to a split, if as many as are reserved stay; give how many there are."""
    taken = 0
    for contig in list(left):
        rest = sum(len(other.starts) for other in left) - len(contig.starts)
        if taken < windows and rest >= reserved:
            contig.split = split
            left.remove(contig)
            taken += len(contig.starts)
    return taken


def _cut(contig: _Contig, policy: SpeciesPolicy) -> list[_Contig]:
    """The beginning of a record for train, its end for dev and test, with gaps between."""
    wanted = policy.wanted()
    gap = max(policy.gap, policy.window)
    last = int(contig.starts[-1]) + policy.window
    bounds = [0.8 * last, 0.9 * last]
    parts = {
        "train": contig.starts[contig.starts + policy.window <= bounds[0] - gap],
        "dev": contig.starts[(contig.starts >= bounds[0]) & (contig.starts + policy.window <= bounds[1] - gap)],
        "test": contig.starts[contig.starts >= bounds[1]],
    }
    for split, starts in parts.items():
        if len(starts) < wanted[split]:
            raise ValueError(f"a single record gives {len(starts)} windows of {split}, and {wanted[split]} are wanted")
    return [contig.part(starts, split) for split, starts in parts.items()]


_Picked = dict[str, list[tuple[_Contig, int, NDArray[np.uint8]]]]


def _pick(
    dealt: Mapping[str, list[_Contig]], policy: SpeciesPolicy, left_out: dict[str, str]
) -> tuple[dict[str, _Picked], dict[str, int]]:
    """Draw the windows; those of dev and test that are in an earlier split as well are left out."""
    picked: dict[str, _Picked] = {label: {} for label in dealt}
    shared = dict.fromkeys(dealt, 0)
    seen = np.empty(0, dtype=np.uint64)
    for number, split in enumerate(SPLITS):
        fresh = []
        for place, label in enumerate(sorted(picked)):
            rng = np.random.default_rng([policy.seed, 1000 + number, place])
            wanted = policy.wanted()[split]
            candidates = _draw(dealt[label], split, wanted * (1 if split == "train" else _CANDIDATES), rng)
            windows: list[tuple[_Contig, int, NDArray[np.uint8]]] = []
            for contig, start, ids in _fetch(candidates, policy.window):
                kmers = _kmers(ids)
                if len(windows) == wanted:
                    break
                if split != "train" and (not kmers.size or _share_in(kmers, seen) > policy.max_shared):
                    shared[label] += 1
                    continue
                windows.append((contig, start, ids))
                fresh.append(kmers)
            if len(windows) < wanted:
                left_out[label] = f"{len(windows)} windows of {split} share few 31-mers with others, of {wanted} wanted"
                del picked[label]
            else:
                picked[label][split] = windows
        seen = np.unique(np.concatenate([seen, *fresh]))
    return picked, shared


def _draw(contigs: Sequence[_Contig], split: str, number: int, rng: np.random.Generator) -> list[tuple[_Contig, int]]:
    """Windows of a split without repetition, species by equal shares, in random order."""
    there = [(contig, int(start)) for contig in contigs if contig.split == split for start in contig.starts]
    counts: dict[str, int] = {}
    for contig, _ in there:
        counts[contig.species] = counts.get(contig.species, 0) + 1
    weights = np.array([1 / counts[contig.species] for contig, _ in there])
    number = min(number, len(there))
    return [there[place] for place in rng.choice(len(there), number, replace=False, p=weights / weights.sum())]


def _fetch(candidates: Sequence[tuple[_Contig, int]], window: int) -> list[tuple[_Contig, int, NDArray[np.uint8]]]:
    """The letters of windows, in the order asked for; each file is read once."""
    wanted: dict[str, dict[str, list[int]]] = {}
    for place, (contig, _) in enumerate(candidates):
        wanted.setdefault(contig.file, {}).setdefault(contig.record, []).append(place)
    found: dict[int, NDArray[np.uint8]] = {}
    for file, records in wanted.items():
        for record in read_fasta(file):
            for place in records.get(record.name, ()):
                start = candidates[place][1]
                found[place] = record.ids[start : start + window].copy()
    return [(contig, start, found[place]) for place, (contig, start) in enumerate(candidates)]


def _kmers(ids: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The distinct 31-mers without N, each as the smaller of itself and its reverse complement."""
    words, whole = canonical_kmers(ids, _KMER)
    return np.unique(words[whole])


def _share_in(kmers: NDArray[np.uint64], seen: NDArray[np.uint64]) -> float:
    """How many of some words stand in a sorted array of words, as a share."""
    if not seen.size:
        return 0.0
    places = np.minimum(np.searchsorted(seen, kmers), len(seen) - 1)
    return float((seen[places] == kmers).mean())


def _contig_rows(picked: _Picked) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        counts: dict[tuple[str, str, str], list[int]] = {}
        for contig, start, _ in picked[split]:
            counts.setdefault((Path(contig.file).name, contig.record, contig.species), []).append(start)
        rows[split] = [
            {"file": file, "record": record, "species": species, "windows": len(starts), "first": min(starts),
             "last": max(starts)}
            for (file, record, species), starts in sorted(counts.items())
        ]  # fmt: skip
    return rows


def _write(place: Path, picked: Mapping[str, _Picked], manifest: dict[str, Any], policy: SpeciesPolicy) -> None:
    labels = manifest["classes"]
    for number, split in enumerate(SPLITS):
        lines = [f"{decode_ids(ids)},{labels.index(label)}" for label in labels for *_, ids in picked[label][split]]
        order = np.random.default_rng([policy.seed, 2000 + number]).permutation(len(lines))
        write_text(place / f"{split}.csv", "\n".join(["sequence,label", *(lines[i] for i in order)]) + "\n")
    write_json(place / "manifest.json", manifest)
