# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""bedGraph and BigWig: what goes in comes out again, to the bit of a float32, however it was cut into pieces."""

import errno
import gzip
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from example_scripts import process_environment
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdna_hf.data.intervals import Region
from vqdna_hf.inference.tracks import (
    Runs,
    import_bigwig,
    merge_runs,
    sort_regions,
    write_bedgraph,
    write_bigwig,
)

LENGTHS = {"chr2": 5_000, "chr10": 300, "chr1": 2_000}


def runs(chrom: str, start: int, values: np.ndarray, width: int = 1) -> Runs:
    starts = start + width * np.arange(len(values))
    return Runs(chrom, starts, starts + width, values.astype(np.float32))


def cut(whole: Runs, *places: int) -> Iterator[Runs]:
    bounds = [0, *places, len(whole.starts)]
    for first, last in itertools.pairwise(bounds):
        if first < last:
            yield Runs(whole.chrom, whole.starts[first:last], whole.ends[first:last], whole.values[first:last])


def spread(pieces: list[Runs]) -> dict[str, np.ndarray]:
    """Each base's value, NaN where there is none."""
    found = {chrom: np.full(length, np.nan, np.float32) for chrom, length in LENGTHS.items()}
    for piece in pieces:
        for start, end, value in zip(*piece[1:], strict=True):
            found[piece.chrom][start:end] = value
    return found


def read_bedgraph(path: Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    found = spread([])
    last: tuple[str, int, float] | None = None
    for line in text.splitlines():
        if line.startswith("track"):
            continue
        chrom, start, end, value = line.split("\t")
        assert last != (chrom, int(start), float(value)), "neighbours with equal values are one line"
        last = (chrom, int(end), float(value))
        found[chrom][int(start) : int(end)] = np.float32(float(value))
    return found


def read_bigwig(path: Path) -> dict[str, np.ndarray]:
    track = import_bigwig().open(str(path))
    assert track.chroms() == LENGTHS
    found = {chrom: track.values(chrom, 0, length, numpy=True) for chrom, length in LENGTHS.items()}
    track.close()
    return found


def example() -> list[Runs]:
    """Single bases, equal ones among them, gaps, and long runs."""
    random = np.random.default_rng(0)
    values = random.random(2_500)
    values[100:400] = 0.25
    return [
        runs("chr2", 10, values),
        runs("chr2", 3_000, random.random(7), width=200),
        runs("chr10", 0, np.array([0.5, 1e-30])),
        runs("chr10", 299, np.array([3.0e38])),
        runs("chr1", 0, np.array([0.1]), width=2_000),
    ]


@pytest.mark.parametrize("ending", [".bedgraph", ".bedgraph.gz", ".bw"])
def test_what_goes_in_comes_out(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"track{ending}"
    if ending == ".bw":
        write_bigwig(example(), path, LENGTHS)
    else:
        write_bedgraph(example(), path, packed=ending.endswith(".gz"))
    found = read_bigwig(path) if ending == ".bw" else read_bedgraph(path)
    for chrom, values in spread(example()).items():
        np.testing.assert_array_equal(found[chrom], values)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@settings(max_examples=30, deadline=None)
@given(places=st.lists(st.integers(1, 99), max_size=5), data=st.lists(st.integers(0, 2), min_size=100, max_size=100))
def test_pieces_change_nothing(places: list[int], data: list[int]) -> None:
    whole = runs("chr1", 50, np.array(data))
    found = list(merge_runs(cut(whole, *sorted(places))))
    starts, ends, values = (np.concatenate([piece[part] for piece in found]) for part in (1, 2, 3))
    assert (starts[1:] == ends[:-1]).all()
    assert (values[1:] != values[:-1]).all()
    assert np.array_equal(np.repeat(values, ends - starts), whole.values)


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    whole = runs("chr2", 0, random.random(5_000))
    for number in (0, 1):
        write_bigwig(cut(whole, 1_000, 1_001, 3_000), tmp_path / f"{number}.bw", LENGTHS)
        write_bedgraph(cut(whole, 1_000, 1_001), tmp_path / f"{number}.bedgraph.gz", packed=True)
    assert (tmp_path / "0.bw").read_bytes() == (tmp_path / "1.bw").read_bytes()
    assert (tmp_path / "0.bedgraph.gz").read_bytes() == (tmp_path / "1.bedgraph.gz").read_bytes()


def test_a_bigwig_has_zoom_levels_and_a_summary(tmp_path: Path) -> None:
    values = np.random.default_rng(2).random(5_000).astype(np.float32)
    write_bigwig([runs("chr2", 0, values)], tmp_path / "a.bw", LENGTHS)
    track = import_bigwig().open(str(tmp_path / "a.bw"))
    assert track.header()["nBasesCovered"] == 5_000
    assert track.header()["nLevels"] > 0
    assert track.stats("chr2", 0, 5_000, exact=True)[0] == pytest.approx(values.mean(), abs=1e-6)


def test_the_line_track_is_asked_for(tmp_path: Path) -> None:
    write_bedgraph(example(), tmp_path / "a.bedgraph", track_line='my "track"')
    assert (tmp_path / "a.bedgraph").read_text().splitlines()[0] == "track type=bedGraph name=\"my 'track'\""


def test_no_space_is_an_error_and_neither_a_hang_nor_half_a_file(tmp_path: Path) -> None:
    """At every size of a full disk: the library alone hangs, or leaves a file without its index."""
    code = f"""
import errno, resource
from pathlib import Path
import numpy as np
from vqdna_hf.inference.tracks import Runs, write_bigwig
values = np.random.default_rng(0).random(200_000).astype(np.float32)
pieces = [Runs("chr1", np.arange(at, at + 50_000), np.arange(at, at + 50_000) + 1, values[at : at + 50_000])
          for at in range(0, 200_000, 50_000)]
path = Path({str(tmp_path / "a.bw")!r})
write_bigwig(pieces, path, {{"chr1": 200_000}})
size = path.stat().st_size
for limit in (10, 2_000, size // 2, size - 1, size + 100):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_bigwig(pieces, path, {{"chr1": 200_000}})
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    environment = process_environment()
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [errno.errorcode[errno.EFBIG]] * 5


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bigwig(example(), tmp_path / "no" / "a.bw", LENGTHS)


def test_regions_are_put_in_order_and_may_not_overlap() -> None:
    regions = [
        Region("chr1", 0, 10, "d", "."),
        Region("chr10", 5, 10, "c", "."),
        Region("chr2", 9, 20, "b", "-"),
        Region("chr2", 5, 9, "a", "+"),
    ]
    assert [region.name for region in sort_regions(regions, LENGTHS)] == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match=r"'a' \(5-9\) and 'e' \(8-30\) of chr2 overlap.*merge them, or write Parquet"):
        sort_regions([*regions[:2], Region("chr2", 8, 30, "e", "."), regions[3]], LENGTHS)
