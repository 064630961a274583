# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Streams of a built corpus: every window, its weight, its strand; the same for any processes and workers."""

import importlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from torch.utils.data import DataLoader

from vqdna_hf.data import MaskedNucleotideCollator, decode_ids
from vqdna_hf.data.built import BuiltCorpus, show_corpus
from vqdna_hf.data.cutting import CutPolicy
from vqdna_hf.data.shards import build_corpus
from vqdna_hf.data.streams import items_of_pass, stream_corpus

COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
WINDOW = 10
Item = tuple[str, int]


def text_of(bases: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 windows of weight 1, 3,000 of weight 0.25, in several shards and row groups; chr3 is held out."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "a.fa").write_text(f">chr1\n{text_of(60_000, 0)}\n>chr3\n{text_of(900, 1)}\n")
    (folder / "b.fa").write_text(f">chr2\n{text_of(30_000, 2)}\n")
    (folder / "m.yaml").write_text("- {files: a.fa, group: one}\n- {files: b.fa, group: two, weight: 0.25}\n")
    build_corpus(
        folder / "m.yaml", folder / "corpus", policy=CutPolicy(window=WINDOW), held_out=["chr3"], shard_bases=25_000
    )
    return folder / "corpus"


def windows_of(corpus: Path, split: str = "train") -> dict[str, str]:
    """The group of each window, by its text."""
    rows = [row for path in sorted((corpus / "data").glob(f"{split}*")) for row in pq.read_table(path).to_pylist()]
    return {row["sequence"]: row["group"] for row in rows}


def texts(items: Any) -> list[Item]:
    return [(decode_ids(item["input_ids"]), item["seed"]) for item in items]


def known(text: str, windows: dict[str, str]) -> str:
    """A window as it stands in the corpus."""
    return text if text in windows else text[::-1].translate(COMPLEMENT)


def test_a_pass_gives_each_window_as_often_as_its_weight_says(corpus: Path) -> None:
    stream = stream_corpus(corpus, seed=3)
    assert isinstance(stream, IterableDataset)
    windows = windows_of(corpus)
    items = texts(stream)
    found = Counter(known(text, windows) for text, _ in items)
    assert set(found.values()) == {1}
    groups = Counter(windows[text] for text in found)
    assert groups["one"] == sum(group == "one" for group in windows.values()), "the heaviest are all there"
    light = sum(group == "two" for group in windows.values())
    assert groups["two"] == pytest.approx(0.25 * light, abs=4 * (light * 0.25 * 0.75) ** 0.5)
    assert items_of_pass(BuiltCorpus.open(corpus)) == groups["one"] + 0.25 * light
    forward = np.mean([text in windows for text, _ in items])
    assert forward == pytest.approx(0.5, abs=0.03)
    seeds = [seed for _, seed in items]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert all(text in windows for text, _ in texts(stream_corpus(corpus, reverse_complement=False)))


def test_passes_differ_and_seeds_decide(corpus: Path) -> None:
    once, again = texts(stream_corpus(corpus, seed=3)), texts(stream_corpus(corpus, seed=3))
    assert once == again
    twice = texts(stream_corpus(corpus, seed=3, passes=2))
    assert twice[: len(once)] == once, "a longer stream begins like a shorter one"
    second = twice[len(once) :]
    windows = windows_of(corpus)
    light = [{known(text, windows) for text, _ in items} for items in (once, second)]
    assert light[0] != light[1], "another pass, other lots"
    assert not {seed for _, seed in once} & {seed for _, seed in second}, "and other masks"
    assert [known(text, windows) for text, _ in once] != [known(text, windows) for text, _ in second]
    assert texts(stream_corpus(corpus, seed=4)) != once


def test_validation_comes_as_it_stands(corpus: Path) -> None:
    items = texts(stream_corpus(corpus, "validation"))
    rows = pq.read_table(next((corpus / "data").glob("validation*"))).to_pylist()
    assert [text for text, _ in items] == [row["sequence"] for row in rows]
    assert items == texts(stream_corpus(corpus, "validation", seed=0))


def test_processes_and_workers_share_one_stream(corpus: Path) -> None:
    stream = stream_corpus(corpus, seed=3)
    whole = texts(stream)
    assert stream.num_shards == 12
    shares = [texts(split_dataset_by_node(stream, rank, 3)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == sorted(whole)
    assert min(map(len, shares)) > len(whole) / 4
    odd = [texts(split_dataset_by_node(stream, rank, 5)) for rank in range(5)]
    assert sorted(item for share in odd for item in share) == sorted(whole)
    loader: Any = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(texts(loader)) == sorted(whole)


def test_a_state_is_taken_up(corpus: Path) -> None:
    stream = stream_corpus(corpus, seed=3)
    whole, state = texts(stream), None
    for number, _ in enumerate(stream):
        if number == 1500:
            state = stream.state_dict()
            break
    fresh = stream_corpus(corpus, seed=3)
    fresh.load_state_dict(state)
    assert texts(fresh) == whole[1501:]


def test_windows_are_cut_and_collated(corpus: Path, tmp_path: Path) -> None:
    windows = windows_of(corpus)
    items = texts(stream_corpus(corpus, window=6, reverse_complement=False))
    assert {len(text) for text, _ in items} == {6}
    places = Counter(next(window.index(text) for window in windows if text in window) for text, _ in items[:200])
    assert len(places) == 5
    batch = MaskedNucleotideCollator()(list(stream_corpus(corpus).take(4)))
    assert batch["input_ids"].shape == (4, WINDOW + 2)


def test_a_repository_of_the_hub(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's file system for the Hub is replaced by one that shows a folder under the same addresses."""
    shutil.copytree(corpus, tmp_path / "datasets" / "my-lab" / "corpus")
    asked = []

    class FakeHub(DirFileSystem):
        protocol = "hf"
        cachable = False

        def __init__(self, **_: Any) -> None:
            super().__init__(path=str(tmp_path), fs=LocalFileSystem())

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            asked.append(path)
            return path.removeprefix("hf://").replace("@v1", "")

        def open(self, path: str, *words: Any, **options: Any) -> Any:
            return super().open(self._strip_protocol(path), *words, **options)

    monkeypatch.setitem(importlib.import_module("fsspec.registry")._registry, "hf", FakeHub)
    monkeypatch.chdir(tmp_path)
    assert texts(stream_corpus("my-lab/corpus", seed=1, revision="v1")) == texts(stream_corpus(corpus, seed=1))
    assert any(path.startswith("hf://datasets/my-lab/corpus@v1/data/train-") for path in asked)
    assert show_corpus("my-lab/corpus")["composition"] == show_corpus(corpus)["composition"]
    with pytest.raises(ValueError, match="my-lab/corpus: checksums are compared in a folder"):
        show_corpus("my-lab/corpus", verify=True)
    with pytest.raises(ValueError, match=r"my-lab/none: is no corpus: it has no corpus\.json"):
        stream_corpus("my-lab/none")


def test_what_cannot_be_read(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, message in [
        ({"seed": -1}, "seed is at least 0"),
        ({"passes": 0}, "the others at least 1"),
        ({"window": 0}, "the others at least 1"),
        ({"split": "test"}, "has no split 'test', it has train, validation"),
    ]:
        with pytest.raises(ValueError, match=message):
            stream_corpus(corpus, **options)
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    shard = sorted((copy / "data").glob("train*"))[0]
    table = pq.read_table(shard)
    letters = ["AC-GT", *table["sequence"].to_pylist()[1:]]
    pq.write_table(table.set_column(0, "sequence", pa.array(letters)), shard, row_group_size=1024)
    with pytest.raises(ValueError, match=r"train-00000.*row 0 .0-based. of row group 0: '-' at position 2"):
        list(stream_corpus(copy))
    shard.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"train-00000.*, row group .: cannot be read"):
        list(stream_corpus(copy))
    only = tmp_path / "only"
    build_corpus(corpus.parent / "b.fa", only, policy=CutPolicy(window=WINDOW))
    with pytest.raises(ValueError, match="has no split 'validation', it has train: build it again with --held-out"):
        stream_corpus(only, "validation")
