# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import pickle
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from vqdna_hf.data.corpus import Corpus, reverse_complement_array
from vqdna_hf.data.fasta import FastaRecord, decode_ids
from vqdna_hf.data.windows import TiledDataset, WindowDataset


def corpus_of(*sizes: int, seed: int = 0) -> Corpus:
    rng = np.random.default_rng(seed)
    return Corpus.from_sequences(["".join(rng.choice(list("ACGT"), size)) for size in sizes])


def as_pair(item: dict) -> tuple[bytes, int]:
    return item["input_ids"].tobytes(), item["seed"]


def make(corpus: Corpus, seed: int = 5) -> WindowDataset:
    return WindowDataset(corpus, window=50, num_samples=40, seed=seed)


def test_items_are_pure_functions_of_seed_epoch_and_index() -> None:
    corpus = corpus_of(2000, 700)
    first, fresh = make(corpus), make(corpus)
    order = np.random.default_rng(1).permutation(40)
    expected = {int(i): as_pair(first[int(i)]) for i in order}
    assert all(as_pair(fresh[i]) == expected[i] for i in range(40))
    assert as_pair(pickle.loads(pickle.dumps(first))[7]) == expected[7]
    fresh.set_epoch(1)
    assert all(as_pair(fresh[i]) != expected[i] for i in range(40))
    fresh.set_epoch(0)
    assert as_pair(fresh[-1]) == expected[39]
    assert all(as_pair(make(corpus, seed=6)[i]) != expected[i] for i in range(40))
    seeds = {seed for _, seed in expected.values()}
    assert len(seeds) == 40
    assert all(0 <= seed < 2**63 for seed in seeds)
    with pytest.raises(IndexError):
        first[40]


def test_workers_that_stay_see_the_new_epoch() -> None:
    dataset = make(corpus_of(2000))
    loader = DataLoader(dataset, batch_size=None, num_workers=1, persistent_workers=True)
    dataset.set_epoch(0)
    before = [item["seed"] for item in loader]
    dataset.set_epoch(1)
    after = [item["seed"] for item in loader]
    assert before == [make(dataset.corpus)[i]["seed"] for i in range(40)]
    assert not set(before) & set(after)


def test_records_are_drawn_by_weight_times_bases() -> None:
    records = [
        FastaRecord(name, name, np.full(bases, base, dtype=np.uint8), "x")
        for name, bases, base in [("a", 3000, 5), ("c", 1000, 6), ("g", 1000, 7), ("t", 1000, 8)]
    ]
    dataset = WindowDataset(
        Corpus(records, [1, 1, 2, 0]), window=10, num_samples=3000, seed=0, reverse_complement=False
    )
    drawn = np.bincount([dataset[i]["input_ids"][0] for i in range(3000)], minlength=9)[5:9] / 3000
    assert drawn == pytest.approx([3 / 6, 1 / 6, 2 / 6, 0], abs=0.03)
    assert drawn[3] == 0


def test_both_strands_and_real_positions() -> None:
    corpus = corpus_of(500)
    text = decode_ids(corpus.records[0].ids)
    other = decode_ids(reverse_complement_array(corpus.records[0].ids))
    dataset = WindowDataset(corpus, window=40, num_samples=400, seed=0)
    windows = [decode_ids(dataset[i]["input_ids"]) for i in range(400)]
    forward = [window in text for window in windows]
    assert all(window in text or window in other for window in windows)
    assert np.mean(forward) == pytest.approx(0.5, abs=0.08)
    only_forward = WindowDataset(corpus, window=40, num_samples=400, seed=0, reverse_complement=False)
    texts = [decode_ids(only_forward[i]["input_ids"]) for i in range(400)]
    assert all(window in text for window in texts)
    starts = {text.index(window) for window in texts}
    assert min(starts) < 10
    assert max(starts) > 450


def test_windows_of_n_are_drawn_again_and_short_records_are_whole() -> None:
    corpus = Corpus.from_sequences(["N" * 900 + "ACGT" * 100])
    dataset = WindowDataset(corpus, window=50, num_samples=100, seed=0, max_n_fraction=0.1)
    assert max((dataset[i]["input_ids"] == 9).mean() for i in range(100)) <= 0.1
    everything_unknown = WindowDataset(Corpus.from_sequences(["N" * 80]), window=50, num_samples=2, seed=0)
    assert everything_unknown[0]["input_ids"].tolist() == [9] * 50
    short = WindowDataset(corpus_of(30), window=50, num_samples=2, seed=0, reverse_complement=False)
    assert np.array_equal(short[0]["input_ids"], short.corpus.records[0].ids)


def mixed_corpus() -> Corpus:
    """Records of 20 to 199 bases, and a long one that gives a twentieth of the windows."""
    return corpus_of(*range(20, 200), 1000)


def sorted_windows(corpus: Corpus, **changes: Any) -> WindowDataset:
    return WindowDataset(corpus, **{"window": 150, "num_samples": 8192, "seed": 5, "batch_size": 8, **changes})


def real_share(items: list[dict[str, Any]], batch: int) -> float:
    lengths = np.array([len(item["input_ids"]) + 2 for item in items]).reshape(-1, batch)
    return lengths.sum() / (lengths.max(1).sum() * batch)


def test_batches_of_like_length_are_the_same_windows_in_another_order() -> None:
    corpus = mixed_corpus()
    plain, ordered = sorted_windows(corpus, batch_size=None), sorted_windows(corpus)
    for epoch in (0, 1):
        plain.set_epoch(epoch)
        ordered.set_epoch(epoch)
        before, after = (dataset.__getitems__(range(8192)) for dataset in (plain, ordered))
        for block in (slice(0, 4096), slice(4096, 8192)):
            assert sorted(map(as_pair, before[block])) == sorted(map(as_pair, after[block]))
        assert real_share(before, 8) < 0.85
        assert real_share(after, 8) > 0.95
        means = [np.mean([len(item["input_ids"]) for item in after[i : i + 8]]) for i in range(0, 4096, 8)]
        assert abs(np.corrcoef(means, np.arange(512))[0, 1]) < 0.2, "batches are shuffled"


def test_batches_of_like_length_are_pure_functions_of_the_index() -> None:
    corpus = mixed_corpus()
    dataset = sorted_windows(corpus)
    expected = [as_pair(dataset[i]) for i in range(8192)]
    longer = sorted_windows(corpus, num_samples=50_000)
    assert [as_pair(longer[i]) for i in (5000, 3, 500, 4096)] == [expected[i] for i in (5000, 3, 500, 4096)]
    loader = DataLoader(dataset, batch_size=8, num_workers=2, collate_fn=list)
    assert [as_pair(item) for batch in loader for item in batch] == expected
    assert dataset[999]["seed"] != dataset[998]["seed"]


def test_full_windows_keep_their_order() -> None:
    corpus = corpus_of(2000, 700)
    plain, ordered = sorted_windows(corpus, batch_size=None), sorted_windows(corpus)
    assert [as_pair(plain[i]) for i in range(200)] == [as_pair(ordered[i]) for i in range(200)]
    assert plain.full_share == 1
    assert 0.6 < sorted_windows(mixed_corpus()).full_share < 0.85


def test_tiles_cover_each_record_once_in_order() -> None:
    corpus = corpus_of(100, 9, 45)
    dataset = TiledDataset(corpus, window=20)
    assert dataset.tiles == [(0, 0), (0, 20), (0, 40), (0, 60), (0, 80), (2, 0), (2, 20)]
    assert np.array_equal(np.concatenate([dataset[i]["input_ids"] for i in range(5)]), corpus.records[0].ids)
    assert len(TiledDataset(corpus, window=20, min_bases=5)) == 9
    spread = TiledDataset(corpus, window=20, max_samples=3)
    assert spread.tiles == [(0, 20), (0, 60), (2, 0)]
    assert as_pair(spread[0]) == as_pair(dataset[1])  # the mask of a window does not depend on max_samples
    assert as_pair(TiledDataset(corpus, window=20)[3]) == as_pair(dataset[3])
    assert TiledDataset(corpus, window=20, seed=1)[3]["seed"] != dataset[3]["seed"]


def test_tiles_with_many_n_are_left_out() -> None:
    corpus = Corpus.from_sequences(["A" * 18 + "NN" + "N" * 3 + "A" * 17 + "C" * 20])
    assert TiledDataset(corpus, window=20, max_n_fraction=0.1).tiles == [(0, 0), (0, 40)]
    with pytest.raises(ValueError, match=r"no window of 100 to 200 bases.*longest record has 60 bases: lower window"):
        TiledDataset(corpus, window=200)


def test_errors() -> None:
    corpus = corpus_of(10)
    good = {"window": 5, "num_samples": 5, "seed": 0}
    for change, message in [
        ({"window": 0}, "window is 0"),
        ({"num_samples": 0}, "num_samples is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"max_n_fraction": 2}, "max_n_fraction is 2"),
        ({"batch_size": 0}, "batch_size is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            WindowDataset(corpus, **(good | change))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="epoch is -1"):
        WindowDataset(corpus, **good).set_epoch(-1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_samples is 0"):
        TiledDataset(corpus, window=5, max_samples=0)
