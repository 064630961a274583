# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""From tables of candidate windows to shuffled Parquet shards: duplicates go, each window gets a place drawn by lot.

Tables are read twice, one at a time. What stays in memory is 16 bytes of digest, then 8 or 16 of places a window, and
one shard.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vqdna_hf.data.cutting import DIGEST_BYTES, reverse_complements

SPLITS = ("train", "validation")

_SORTED_AT_ONCE = 1 << 22


@dataclass
class Choice:
    """Which candidate windows are kept.

    Args:
        kept: (windows,) bool.
        held_out: (windows,) bool.
        dropped: how many were left out, by reason: `duplicate` of an earlier window, `like_held_out`.

    Example:

    >>> Choice(np.array([True, False]), np.array([False, False]), {"duplicate": 1}).dropped
    {'duplicate': 1}
    """

    kept: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    dropped: dict[str, int]


def choose_windows(tables: Iterable[pa.Table], deduplicate: bool) -> Choice:
    """Keep the first of equal windows, on either strand, and none to learn from that equals one that is held out.

    Args:
        tables: with the columns `digest` and `held_out`.
        deduplicate: drop windows that equal an earlier one; windows like held-out ones are dropped in any case.

    Returns:
        What is kept, in the order of the tables.

    Example:

    >>> digests = pa.array([bytes([letter]) * 16 for letter in (1, 2, 1, 2)], pa.binary(16))
    >>> table = pa.table({"digest": digests, "held_out": [False, False, False, True]})
    >>> choice = choose_windows([table], deduplicate=True)
    >>> choice.kept.tolist(), choice.dropped
    ([True, False, False, True], {'duplicate': 1, 'like_held_out': 1})
    """
    digests, flags = [np.empty((0, DIGEST_BYTES // 8), dtype=np.uint64)], [np.empty(0, dtype=bool)]
    for table in tables:
        column = table["digest"].combine_chunks()
        values = np.frombuffer(column.buffers()[1], dtype=np.uint64).reshape(-1, DIGEST_BYTES // 8)
        digests.append(values[column.offset : column.offset + len(column)])
        flags.append(table["held_out"].to_numpy())
    keys, held_out = np.concatenate(digests), np.concatenate(flags)
    kept = np.ones(len(keys), dtype=bool)
    dropped = {"duplicate": 0, "like_held_out": 0}
    pieces = -(-len(keys) // _SORTED_AT_ONCE)
    for piece in range(pieces):  # equal windows have equal keys, so they fall into the same piece
        here = np.flatnonzero(keys[:, 0] % np.uint64(pieces) == piece) if pieces > 1 else np.arange(len(keys))
        # The sort is stable: of equal windows those held out come first, then those of earlier tables.
        order = here[np.lexsort((~held_out[here], keys[here, 1], keys[here, 0]))]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
        first = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
        is_like_held = ~held_out[order] & held_out[first]
        is_duplicate = ~is_first & ~is_like_held & deduplicate
        kept[order[is_like_held | is_duplicate]] = False
        dropped["duplicate"] += int(is_duplicate.sum())
        dropped["like_held_out"] += int(is_like_held.sum())
    return Choice(kept, held_out, dropped)


@dataclass(frozen=True)
class Layout:
    """Where windows go: all places of a split stand in a row, cut into shards of nearly equal size.

    Args:
        windows: of each of `SPLITS`, strands counted.
        shard_windows: the most windows of a shard.

    Example:

    >>> layout = Layout((5, 2), shard_windows=3)
    >>> layout.bounds, layout.shards
    ([0, 2, 5, 7], [('train', 0), ('train', 1), ('validation', 0)])
    """

    windows: tuple[int, ...]
    shard_windows: int

    def number(self, split: int) -> int:
        """Of shards of a split."""
        return -(-self.windows[split] // self.shard_windows)

    @property
    def bounds(self) -> list[int]:
        """The first place of each shard, and behind the last."""
        found, start = [], 0
        for split, windows in enumerate(self.windows):
            found += [start + windows * shard // self.number(split) for shard in range(self.number(split))]
            start += windows
        return [*found, start]

    @property
    def shards(self) -> list[tuple[str, int]]:
        """Split and number of each shard."""
        return [(name, shard) for split, name in enumerate(SPLITS) for shard in range(self.number(split))]


def draw_places(choice: Choice, seed: int, both_strands: bool, shard_windows: int) -> tuple[Layout, NDArray[np.int64]]:
    """Draw a place for each kept window; with both strands, one for each of them.

    Returns:
        The layout, and (kept windows, strands) places.

    Example:

    >>> choice = Choice(np.array([True, True, True]), np.array([False, True, False]), {})
    >>> layout, places = draw_places(choice, seed=0, both_strands=False, shard_windows=8)
    >>> layout.windows, sorted(places[[0, 2], 0].tolist()), places[1, 0].item()
    ((2, 1), [0, 1], 2)
    """
    held_out = choice.held_out[choice.kept]
    places = np.empty((len(held_out), 1 + both_strands), dtype=np.int64)
    start, windows = 0, []
    for number, chosen in enumerate((~held_out, held_out)):
        total = int(chosen.sum()) * places.shape[1]
        lots = np.random.default_rng([seed, number]).permutation(total)
        places[chosen] = start + lots.reshape(-1, places.shape[1])
        start += total
        windows.append(total)
    return Layout(tuple(windows), shard_windows), places


def deal_windows(
    tables: Iterable[pa.Table], kept: NDArray[np.bool_], places: NDArray[np.int64], layout: Layout, folder: Path
) -> list[Path]:
    """Write each table's kept windows to a file of its own, sorted by place, a record batch a shard.

    Args:
        tables: candidate windows, with a column `source`.
        kept: a bool a candidate.
        places: from `draw_places`.
        layout: from there, too.
        folder: takes the files.

    Returns:
        The files, in the order of the tables.
    """
    files: list[Path] = []
    seen = given = 0
    for table in tables:
        rows = table.filter(pa.array(kept[seen : seen + len(table)])).drop_columns(["digest"]).combine_chunks()
        seen += len(table)
        lots = places[given : given + len(rows)]
        given += len(rows)
        strands = [rows.append_column("place", pa.array(lots[:, 0]))]
        if lots.shape[1] == 2:
            strands.append(_turned(rows).append_column("place", pa.array(lots[:, 1])))
        sorted_rows = pa.concat_tables(strands).sort_by("place").combine_chunks()
        cuts = np.searchsorted(sorted_rows["place"].to_numpy(), layout.bounds)
        files.append(folder / f"dealt-{len(files):09d}.arrow")
        with pa.OSFile(str(files[-1]), "wb") as sink, pa.ipc.new_file(sink, sorted_rows.schema) as writer:
            for start, end in itertools.pairwise(cuts.tolist()):
                writer.write_batch(_one_batch(sorted_rows.slice(start, end - start)))
    return files


def _turned(rows: pa.Table) -> pa.Table:
    """The same windows read from the other strand."""
    texts = reverse_complements(rows["sequence"].combine_chunks()) if len(rows) else rows["sequence"]
    rows = rows.set_column(rows.schema.get_field_index("sequence"), "sequence", texts)
    return rows.set_column(rows.schema.get_field_index("reverse"), "reverse", pc.invert(rows["reverse"]))


def _one_batch(rows: pa.Table) -> pa.RecordBatch:
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=rows.schema)


def dealt_rows(files: Sequence[Path], shard: int) -> pa.Table:
    """The windows of a shard, in the order of their places.

    Args:
        files: from `deal_windows`.
        shard: its number, counted over both splits.
    """
    batches = []
    for file in files:
        with pa.OSFile(str(file), "rb") as source:
            batches.append(pa.ipc.open_file(source).get_batch(shard))
    return pa.Table.from_batches(batches).sort_by("place")
