# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Codes of many genomes that differ from a reference in few places: only what can have changed is encoded.

A code sees `context` bases on each side. Codes farther than that from every mutation are the reference's, and
mutations farther apart than twice that change codes of their own: each *group* of neighbouring mutations is encoded
once, however many genomes carry it. The result is that of encoding every genome whole; a test compares the two.
"""

import hashlib
import io
import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from vqdna_hf.data.fasta import encode_sequence
from vqdna_hf.data.files import write_bytes
from vqdna_hf.data.genome import Genome
from vqdna_hf.evaluation.lineages import Lineages, Mutation, apply_mutations
from vqdna_hf.evaluation.vocabularies import CodecVocabulary, kmers
from vqdna_hf.inference.embed import embed
from vqdna_hf.model.tokenization_vqdna import NUM_NUCLEOTIDES

__all__ = [
    "CodeChanges",
    "LineageCodes",
    "ReferenceCodes",
    "kmer_shares",
    "mean_hidden_states",
    "mutation_vectors",
    "split_mutations",
]

_CHUNK = 4_096
"""Windows encoded in one go."""


@dataclass(frozen=True, eq=False)
class CodeChanges:
    """Codes of one level that differ from the reference's, for each of G groups of mutations.

    Args:
        groups: (n,) the number of the group, ascending.
        positions: (n,) of the reference, at a base that the group's genome has.
        codes: (n,) what stands there instead.
    """

    groups: NDArray[np.int32]
    positions: NDArray[np.int32]
    codes: NDArray[np.int32]


class ReferenceCodes:
    """The codes of a reference, and what mutations make of them.

    Args:
        vocabulary: of a codec with one code a base.
        reference: its letters.

    Raises:
        ValueError: if a code stands for several bases: behind a deletion patches would begin at other bases, and codes
            could not be compared position by position.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> codes = ReferenceCodes(CodecVocabulary(VQDNACodecModel(config).eval()), "ACGTTGCA" * 20)
    >>> codes.reference_codes.shape, codes.context
    ((2, 160), 20)
    """

    def __init__(self, vocabulary: CodecVocabulary, reference: str) -> None:
        if vocabulary.stride != 1:
            raise ValueError(
                f"{vocabulary.name}: a code stands for {vocabulary.stride} bases (codec_stride), and genomes with "
                "deletions are compared base by base: take a codec with codec_stride=1"
            )
        self.vocabulary, self.reference = vocabulary, reference
        self.context = int(vocabulary.checkpoint.codec_config.context)
        self.reference_codes: NDArray[np.int32] = vocabulary.encode([reference])[0]

    def changes(self, groups: Sequence[Sequence[Mutation]], cache: Path | None = None) -> list[CodeChanges]:
        """What each group of mutations, alone on the reference, does to the codes: one `CodeChanges` a level.

        Args:
            groups: mutations by position; any, but what lies between them is encoded too.
            cache: a folder in which the answer is kept, under a checksum of the model, the reference and the groups.
        """
        path = None if cache is None else cache / f"changes-{self.key(groups)}.npz"
        found = _load_changes(path, len(self.vocabulary.sizes))
        if found is None:
            found = self._encode(groups)
            _save_changes(path, found)
        return found

    def key(self, *parts: object) -> str:
        """A checksum of the model, the reference and of anything that has a fixed `repr`."""
        what = (self._sha256, self.reference, *parts)
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]

    @cached_property
    def _sha256(self) -> str:
        return str(self.vocabulary.checkpoint.describe()["sha256"])

    def _encode(self, groups: Sequence[Sequence[Mutation]]) -> list[CodeChanges]:
        found: list[list[NDArray[np.int32]]] = [[] for _ in self.vocabulary.sizes]
        for start in range(0, len(groups), _CHUNK):
            chunk = groups[start : start + _CHUNK]
            windows = [self._window(group) for group in chunk]
            encoded = self.vocabulary.encode([letters for letters, _ in windows])
            for number, (group, (_, places), codes) in enumerate(zip(chunk, windows, encoded, strict=True)):
                at = np.array(places, dtype=np.int32)
                # Nearer to the window's ends codes may miss what they see in the genome.
                kept = (at >= group[0].start - self.context) & (at < group[-1].end + self.context)
                for level, rows in enumerate(found):
                    differ = kept & (codes[level] != self.reference_codes[level, at])
                    count = np.full(int(differ.sum()), start + number, dtype=np.int32)
                    rows.append(np.stack([count, at[differ], codes[level, differ]]))
        empty = np.zeros((3, 0), dtype=np.int32)
        return [CodeChanges(*np.concatenate([empty, *rows], axis=1)) for rows in found]

    def _window(self, group: Sequence[Mutation]) -> tuple[str, list[int]]:
        start = max(group[0].start - 2 * self.context, 0)
        end = min(group[-1].end + 2 * self.context, len(self.reference))
        letters, places = apply_mutations(self.reference, group, start, end)
        if not letters:
            raise ValueError(f"{group[0].name}: nothing is left of the reference")
        return letters, places


class LineageCodes:
    """The codes of all lineages.

    Args:
        lineages: N of them.
        codes: of their reference.
        cache: a folder in which what was encoded is kept; see `ReferenceCodes.changes`.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> reference, mutation = "ACGTTGCA" * 20, Mutation(80, 81, "T", "A81T")
    >>> lineages = Lineages(reference, ["A", "B"], ["one", "two"], [mutation], [(), (0,)], "clade")
    >>> codes = LineageCodes(lineages, ReferenceCodes(CodecVocabulary(VQDNACodecModel(config).eval()), reference))
    >>> codes.by_position([0])[0].nnz, codes.bags([0, 1]).shape, float(codes.bags([1]).sum())
    (0, (2, 24), 2.0)
    """

    def __init__(self, lineages: Lineages, codes: ReferenceCodes, cache: Path | None = None) -> None:
        self.lineages, self.codes = lineages, codes
        split = [split_mutations(lineages.mutations_of(n), 2 * codes.context) for n in range(len(lineages.names))]
        numbers: dict[tuple[Mutation, ...], int] = {}
        for group in itertools.chain.from_iterable(split):
            numbers.setdefault(group, len(numbers))
        self.groups = list(numbers)
        carried = [[numbers[group] for group in groups] for groups in split]
        self._carried = incidence(carried, len(self.groups))
        self._changes = codes.changes(self.groups, cache)

    def by_position(self, levels: Sequence[int] | None = None) -> sparse.csr_matrix:
        """Which codes differ from the reference's: (N, F), 1 where a genome has a code at a position.

        A feature is a position and the code that stands there instead of the reference's; deleted bases have no
        code. Euclidean distance is then the root of how many such features two genomes do not share.
        """
        chosen = range(len(self._changes)) if levels is None else levels
        parts = []
        for level in chosen:
            changes, size = self._changes[level], self.codes.vocabulary.sizes[level]
            features, columns = np.unique(
                changes.positions.astype(np.int64) * size + changes.codes, return_inverse=True
            )
            shape = (len(self.groups), max(len(features), 1))
            ones = np.ones(len(columns), dtype=np.float32)
            parts.append(sparse.csr_matrix((ones, (changes.groups, columns)), shape=shape))
        return sparse.csr_matrix(self._carried @ sparse.hstack(parts, format="csr"))

    def bags(self, rows: Sequence[int] | None = None, levels: Sequence[int] | None = None) -> NDArray[np.float64]:
        """How often each code stands in each genome, as a share of its codes: (N, sum of the levels' sizes).

        As `bag_of_codes` of the genomes, without encoding them.
        """
        chosen = range(len(self._changes)) if levels is None else levels
        carried = self._carried if rows is None else self._carried[list(rows)]
        deleted = self._deleted()
        lengths = len(self.lineages.reference) - (carried @ np.bincount(deleted[0], minlength=len(self.groups)))
        bags = []
        for level in chosen:
            size, own = self.codes.vocabulary.sizes[level], self.codes.reference_codes[level]
            changes = self._changes[level]
            groups = np.concatenate([changes.groups, changes.groups, deleted[0]])
            codes = np.concatenate([changes.codes, own[changes.positions], own[deleted[1]]])
            signs = np.ones(len(groups))
            signs[len(changes.groups) :] = -1
            shift = sparse.csr_matrix((signs, (groups, codes)), shape=(len(self.groups), size))
            counts = np.bincount(own, minlength=size) + np.asarray((carried @ shift).todense())
            bags.append(counts / lengths[:, None])
        return np.concatenate(bags, axis=1)

    def mean_vectors(self, levels: Sequence[int] | None = None) -> NDArray[np.float64]:
        """The mean code vector of each genome at each level, side by side: (N, levels * D)."""
        chosen = range(len(self._changes)) if levels is None else levels
        books = self.codes.vocabulary.vectors()
        return np.concatenate([self.bags(levels=[level]) @ books[level] for level in chosen], axis=1)

    def _deleted(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The group and the position of each deleted base."""
        pairs = [
            (number, place)
            for number, group in enumerate(self.groups)
            for mutation in group
            if mutation.is_deletion
            for place in range(mutation.start, mutation.end)
        ]
        groups, places = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        return groups, places


def split_mutations(mutations: Sequence[Mutation], gap: int) -> list[tuple[Mutation, ...]]:
    """Cut a list of mutations, by position, where more than `gap` bases lie between two.

    Example:

    >>> ones = [Mutation(at, at + 1, "A", f"C{at + 1}A") for at in (3, 5, 9)]
    >>> [len(group) for group in split_mutations(ones, 2)]
    [2, 1]
    """
    groups: list[list[Mutation]] = []
    for mutation in mutations:
        if groups and mutation.start - groups[-1][-1].end <= gap:
            groups[-1].append(mutation)
        else:
            groups.append([mutation])
    return [tuple(group) for group in groups]


def incidence(carried: Sequence[Sequence[int]], columns: int) -> sparse.csr_matrix:
    """1 where a row has a column: N lists of column numbers -> (N, columns).

    >>> incidence([[1], []], 2).toarray().tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    indices = np.fromiter(itertools.chain.from_iterable(carried), dtype=np.int32)
    pointers = np.cumsum([0, *map(len, carried)])
    ones = np.ones(len(indices), dtype=np.float32)
    return sparse.csr_matrix((ones, indices, pointers), shape=(len(carried), columns))


def mutation_vectors(lineages: Lineages) -> sparse.csr_matrix:
    """The plain baseline: (N, M), 1 where a lineage carries a substitution or a deletion.

    Example:

    >>> mutation = Mutation(2, 3, "T", "G3T")
    >>> mutation_vectors(Lineages("ACGT", ["A", "B"], ["", ""], [mutation], [(), (0,)], "clade")).toarray().tolist()
    [[0.0], [1.0]]
    """
    return incidence(lineages.carried, len(lineages.mutations))


def kmer_shares(lineages: Lineages, k: int) -> NDArray[np.float64]:
    """How often each k-mer stands in each genome, as a share of its k-mers: (N, 4**k).

    Example:

    >>> kmer_shares(Lineages("ACAC", ["A"], [""], [], [()], "clade"), 1).tolist()
    [[0.5, 0.5, 0.0, 0.0]]
    """
    shares = np.zeros((len(lineages.names), NUM_NUCLEOTIDES**k))
    for number, name in enumerate(lineages.names):
        words = kmers(encode_sequence(lineages.genome(number), where=name), k)
        shares[number] = np.bincount(words[words >= 0], minlength=shares.shape[1])
    return shares / np.maximum(shares.sum(1, keepdims=True), 1)


def mean_hidden_states(
    lineages: Lineages, codes: ReferenceCodes, tile: int = 512, cache: Path | None = None
) -> NDArray[np.float64]:
    """The mean hidden state of each genome in a language model, last layer: (N, H).

    A genome is read in tiles, cut at every `tile` bases of the reference; the same tile is read once, whoever has it.

    Args:
        lineages: N of them.
        codes: of the language model's vocabulary.
        tile: bases, or what the model reads at most.
        cache: a folder in which the answer is kept.

    Raises:
        ValueError: if the model is a codec alone.
    """
    checkpoint = codes.vocabulary.checkpoint
    if checkpoint.is_codec:
        raise ValueError(f"{checkpoint.name} is a codec and has no hidden states: give a model of `vqdna pretrain`")
    tile = min(tile, checkpoint.longest_window or tile)
    path = None if cache is None else cache / f"hidden-{codes.key(tile, lineages.mutations, lineages.carried)}.npy"
    if path is not None and path.is_file():
        return np.load(path)
    numbers: dict[str, int] = {}
    rows = []
    for lineage in range(len(lineages.names)):
        letters, places = apply_mutations(lineages.reference, lineages.mutations_of(lineage))
        cuts = np.searchsorted(places, range(0, len(lineages.reference) + tile, tile))
        tiles = [letters[start:end] for start, end in itertools.pairwise(cuts) if end > start]
        rows.append([numbers.setdefault(text, len(numbers)) for text in tiles])
    texts = list(numbers)
    genome = Genome.from_sequences([*map(str, range(len(texts)))], texts, path="tiles")
    table = cast(pa.Table, embed(checkpoint, genome, per="record", progress=False))
    states = np.array(table["embedding"].to_pylist())
    lengths = np.array([len(text) for text in texts], dtype=np.float64)
    shares = incidence(rows, len(texts)).multiply(lengths).tocsr()
    means = np.asarray(shares @ states) / np.asarray(shares.sum(1))
    if path is not None:
        buffer = io.BytesIO()
        np.save(buffer, means)
        _keep(path, buffer)
    return means


def _load_changes(path: Path | None, levels: int) -> list[CodeChanges] | None:
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path) as arrays:
            return [CodeChanges(*arrays[f"level_{level + 1}"]) for level in range(levels)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read ({error}): delete it, and it is made anew") from error


def _save_changes(path: Path | None, changes: Sequence[CodeChanges]) -> None:
    if path is None:
        return
    levels = {
        f"level_{number + 1}": np.stack([own.groups, own.positions, own.codes]) for number, own in enumerate(changes)
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **levels)  # type: ignore[arg-type]  # its stub takes any name for an option
    _keep(path, buffer)


def _keep(path: Path, content: io.BytesIO) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content.getvalue())
