# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A built corpus read window by window, from disk or from the Hub, in memory that does not grow with it."""

import functools
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vqdna_hf.data.built import BuiltCorpus
from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.fasta import encode_sequence

if TYPE_CHECKING:
    import datasets

_MAX_SEED = 2**63
_OPEN_FILES = 16

Piece = tuple[int, str, int]
"""Number of the pass, place of the shard, number of the row group."""


def stream_corpus(
    corpus: str | os.PathLike[str],
    split: str = "train",
    *,
    seed: int = 0,
    passes: int = 1,
    window: int | None = None,
    reverse_complement: bool = True,
    revision: str | None = None,
) -> "datasets.IterableDataset":
    """Read a built corpus in streaming, as items for `NucleotideCollator` and `MaskedNucleotideCollator`.

    A pass over `train` gives each window of the largest weight once, and others as often as their weight is of it, by
    lot; in an order of its own, half of them from the other strand. `validation` comes as it stands. An item is a
    function of corpus, seed and pass, whoever reads it: processes (`split_dataset_by_node`, Accelerate) and workers of
    a `DataLoader` share row groups of about a thousand windows.

    Args:
        corpus: a folder that `build_corpus` made, or a dataset repository of the Hub.
        split: `train` or `validation`.
        seed: of order, lots, strands and the items' seeds; not negative.
        passes: over the corpus; each with other lots. There is no endless stream.
        window: longer windows are cut down to so many bases, at a place drawn by lot; default: whole windows.
        reverse_complement: give half of the training windows from the other strand.
        revision: of the repository.

    Returns:
        A stream of `{"input_ids": (bases,) uint8 ids without special tokens, "seed": int}`.

    Raises:
        ValueError: no corpus, no such split, a number that makes no sense; while it is read, a damaged shard.

    Example:

    >>> import pathlib, tempfile
    >>> from vqdna_hf.data import simulate_fasta
    >>> from vqdna_hf.data.shards import build_corpus
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> simulate_fasta(folder / "genome.fa", num_bases=6_000, num_contigs=3, seed=0)
    >>> _ = build_corpus(folder / "genome.fa", folder / "corpus")
    >>> items = list(stream_corpus(folder / "corpus", seed=1))
    >>> len(items), len(items[0]["input_ids"]), items[0]["input_ids"].dtype
    (12, 512, dtype('uint8'))
    """
    import datasets  # takes a second, and only streams need it

    built = BuiltCorpus.open(corpus, revision)
    if seed < 0 or passes < 1 or (window is not None and window < 1):
        raise ValueError(f"seed={seed}, passes={passes}, window={window}: seed is at least 0, the others at least 1")
    is_training = split == "train"
    return datasets.IterableDataset.from_generator(
        _read_pieces,
        gen_kwargs={
            "pieces": _pieces(built, split, seed if is_training else None, passes),
            "seed": seed,
            "window": window,
            "flip": reverse_complement and is_training,
            "heaviest": built.max_weight() if is_training else None,
        },
    )


def _pieces(built: BuiltCorpus, split: str, seed: int | None, passes: int) -> list[Piece]:
    """The row groups of a split, once a pass, in another order each time; without a seed, as they stand."""
    shards = built.shards(split)
    if not shards:
        known = sorted({shard["split"] for shard in built.record["shards"]})
        way_out = ": build it again with --held-out" if split == "validation" else ""
        raise ValueError(f"{built.name}: has no split {split!r}, it has {', '.join(known)}{way_out}")
    groups = [(built.url(shard), group) for shard in shards for group in range(shard["row_groups"])]
    pieces: list[Piece] = []
    for number in range(passes):
        order = range(len(groups)) if seed is None else np.random.default_rng([seed, number]).permutation(len(groups))
        pieces += [(number, *groups[place]) for place in order]
    return pieces


def items_of_pass(corpus: BuiltCorpus) -> float:
    """The number of items that a pass over `train` gives on average."""
    heaviest = corpus.max_weight()
    return sum(entry["train"]["windows"] * entry["weight"] / heaviest for entry in corpus.record["inputs"])


def _read_pieces(
    pieces: Sequence[Piece], seed: int, window: int | None, flip: bool, heaviest: float | None
) -> Iterator[dict[str, Any]]:
    """The items of some row groups; without `heaviest`, every window as it stands."""
    for number, place, group in pieces:
        sequences, weights = _row_group(place, group)
        rng = np.random.default_rng([seed, number, zlib.crc32(os.path.basename(place).encode()), group])
        size = len(sequences)
        order, lots, strands = rng.permutation(size), rng.random(size), rng.random(size) < 0.5
        cuts, seeds = rng.random(size), rng.integers(_MAX_SEED, size=size)
        for row in order if heaviest is not None else range(size):
            if heaviest is not None and lots[row] * heaviest >= weights[row]:
                continue
            ids = sequences[row]
            if window is not None and len(ids) > window:
                start = int(cuts[row] * (len(ids) - window + 1))
                ids = ids[start : start + window]
            if flip and strands[row]:
                ids = reverse_complement_array(ids)
            yield {"input_ids": ids, "seed": int(seeds[row])}


def _row_group(place: str, group: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    try:
        table = _shard(place, os.getpid()).read_row_group(group, columns=["sequence", "weight"])
    except Exception as error:  # of Parquet, of the network
        raise ValueError(f"{place}, row group {group}: cannot be read: {error}") from error
    sequences = [
        encode_sequence(text, where=f"{place}, row {row} (0-based) of row group {group}")
        for row, text in enumerate(table["sequence"].to_pylist())
    ]
    return sequences, table["weight"].to_numpy()


@functools.lru_cache(maxsize=_OPEN_FILES)
def _shard(place: str, process: int) -> pq.ParquetFile:
    """An open shard; a fork opens its own, since it would share the place in a remote file with its parent."""
    return pq.ParquetFile(fsspec.open(place, "rb").open() if "://" in place else place)
