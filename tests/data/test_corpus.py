# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vqdna_hf.data.corpus import SPLIT_GAP_BASES, Corpus, reverse_complement_array
from vqdna_hf.data.fasta import FastaRecord, decode_ids


def random_text(bases: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))


def random_corpus(sizes: list[int], first_seed: int = 0) -> Corpus:
    return Corpus.from_sequences(
        [random_text(size, first_seed + i) for i, size in enumerate(sizes)],
        [f"chr{i + 1}" for i in range(len(sizes))],
    )


def names(corpus: Corpus) -> list[str]:
    return [record.name for record in corpus.records]


def write_fasta(path: Path, sizes: dict[str, int]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f">{name}\n{random_text(size, i)}\n" for i, (name, size) in enumerate(sizes.items())))


def test_weights_by_path_pattern(tmp_path: Path) -> None:
    write_fasta(tmp_path / "human" / "a.fa", {"chr1": 30, "chr2": 20})
    write_fasta(tmp_path / "human" / "alts.fa", {"chr1": 10})
    write_fasta(tmp_path / "fungi" / "b.fa", {"I": 40})
    corpus = Corpus.from_files([str(tmp_path)], weights={"human/*": 2.0, "*/alts.fa": 0.1})
    assert [(entry["name"], entry["bases"], entry["weight"]) for entry in corpus.summary()] == [
        ("I", 40, 1.0),
        ("chr1", 30, 2.0),
        ("chr2", 20, 2.0),
        ("chr1", 10, 0.1),
    ]
    assert corpus.bases == 100
    assert set(corpus.summary()[0]) == {"name", "path", "bases", "weight"}
    with pytest.raises(ValueError, match=r"weight pattern 'mouse/\*' matches no file.*a\.fa"):
        Corpus.from_files([str(tmp_path)], weights={"mouse/*": 2.0})
    with pytest.raises(ValueError, match=r"weight -1 is not"):
        Corpus.from_files([str(tmp_path)], weights={"human/*": -1})
    (tmp_path / "human" / "alts.fa").write_text(">broken\nAC-GT\n")
    assert names(Corpus.open(str(tmp_path), weights={"alts.fa": 0})) == ["I", "chr1", "chr2"]
    with pytest.raises(ValueError, match="all files have weight 0"):
        Corpus.open(str(tmp_path), weights={"*": 0})


def test_parquet_and_open(tmp_path: Path) -> None:
    table = pd.DataFrame({"sequence": ["ACGT", "GGN"], "name": ["x", "y"], "weight": [1.0, 3.0]})
    (tmp_path / "p").mkdir()
    table.to_parquet(tmp_path / "p" / "one.parquet")
    table[["sequence"]].to_parquet(tmp_path / "p" / "two.parquet")
    corpus = Corpus.from_parquet(str(tmp_path / "p"))
    assert names(corpus) == ["x", "y", "row0", "row1"]
    assert corpus.weights == [1.0, 3.0, 1.0, 1.0]
    assert decode_ids(corpus.records[1].ids) == "GGN"
    write_fasta(tmp_path / "f" / "a.fa", {"chr1": 5})
    both = Corpus.open([str(tmp_path / "p"), str(tmp_path / "f")], weights={"one.parquet": 2.0})
    assert names(both) == ["chr1", "x", "y", "row0", "row1"]
    assert both.weights == [1.0, 2.0, 6.0, 1.0, 1.0]
    assert names(Corpus.open(str(tmp_path / "p" / "one.parquet"))) == ["x", "y"]
    with pytest.raises(ValueError, match="both FASTA and Parquet"):
        Corpus.open([str(tmp_path / "p"), str(tmp_path)])


def test_parquet_errors(tmp_path: Path) -> None:
    pd.DataFrame({"seq": ["A"]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"no column 'sequence': the columns are 'seq'"):
        Corpus.from_parquet(str(tmp_path / "a.parquet"))
    pd.DataFrame({"sequence": ["ACGT", "AC GT"]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet, row 1 \(0-based\): ' ' at position 2"):
        Corpus.from_parquet(str(tmp_path / "b.parquet"))
    (tmp_path / "c.parquet").write_text("not parquet")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        Corpus.from_parquet(str(tmp_path / "c.parquet"))


def test_constructor_errors() -> None:
    records = random_corpus([10]).records
    for arguments, message in [
        (([],), "at least one record"),
        ((records, [1.0, 2.0]), "1 records but 2 weights"),
        ((records, [float("nan")]), "is not a number >= 0"),
        ((records, [0.0]), "all weights are 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            Corpus(*arguments)
    with pytest.raises(ValueError, match="2 sequences but 1 names"):
        Corpus.from_sequences(["A", "C"], ["a"])
    with pytest.raises(ValueError, match=r"sequence 1 \('b'\): 'X' at position 0"):
        Corpus.from_sequences(["A", "X"], ["a", "b"])


def test_held_out_records_are_never_in_train() -> None:
    corpus = random_corpus([100] * 12)
    train, validation = corpus.split(held_out=["chr2", "chr1?"], min_bases=10)
    assert names(validation) == ["chr2", "chr10", "chr11", "chr12"]
    assert set(names(train)) == set(names(corpus)) - set(names(validation))
    with pytest.raises(ValueError, match=r"'chrZ' matches no record: the names are 'chr1', .*'chr8' and 4 more"):
        corpus.split(held_out=["chr2", "chrZ"], min_bases=10)
    with pytest.raises(ValueError, match="nothing is left to train on"):
        corpus.split(held_out=["*"], min_bases=10)
    with pytest.raises(ValueError, match="validation part has 100 bases, 101 are needed"):
        corpus.split(held_out=["chr2"], min_bases=101)


def test_held_out_by_path(tmp_path: Path) -> None:
    write_fasta(tmp_path / "a" / "x.fa", {"one": 50})
    write_fasta(tmp_path / "b" / "y.fa", {"two": 60, "three": 70})
    train, validation = Corpus.from_files(str(tmp_path)).split(held_out=["b/*"], min_bases=1)
    assert (names(train), names(validation)) == (["one"], ["two", "three"])


def test_whole_records_are_chosen_by_seed_and_reach_the_fraction() -> None:
    corpus = random_corpus([50 + 13 * i for i in range(40)])
    chosen = set()
    for seed in range(6):
        train, validation = corpus.split(fraction=0.1, seed=seed, min_bases=32)
        assert not set(names(train)) & set(names(validation))
        assert train.bases + validation.bases == corpus.bases
        assert 0.1 <= validation.bases / corpus.bases <= 0.2
        again = corpus.split(fraction=0.1, seed=seed, min_bases=32)[1]
        assert names(again) == names(validation)
        chosen.add(tuple(names(validation)))
    assert len(chosen) > 1


def test_validation_is_never_the_majority() -> None:
    # The smallest record alone is more than twice the fraction, but whole records are still possible.
    train, validation = random_corpus([4000, 3000, 3000]).split(fraction=0.05, seed=0, min_bases=100)
    assert validation.bases == 3000
    assert train.bases == 7000


def test_a_dwarfed_record_is_no_validation_set() -> None:
    train, validation = random_corpus([40_000, 16]).split(fraction=0.1, seed=0, min_bases=100)
    assert names(train) == [f"chr1:0-{36_000 - SPLIT_GAP_BASES}", "chr2"]
    assert names(validation) == ["chr1:36000-40000"]


def test_single_record_is_cut_with_a_gap() -> None:
    corpus = random_corpus([20_000])
    train, validation = corpus.split(fraction=0.1, seed=0, min_bases=100)
    assert (names(train), names(validation)) == (["chr1:0-17000"], ["chr1:18000-20000"])
    whole = corpus.records[0].ids
    assert np.array_equal(train.records[0].ids, whole[:17000])
    assert np.array_equal(validation.records[0].ids, whole[18000:])
    with pytest.raises(ValueError, match="1500 bases are too few"):
        random_corpus([1500]).split(fraction=0.1, min_bases=512)
    with pytest.raises(ValueError, match=r"fraction is 0\.9"):
        corpus.split(fraction=0.9, min_bases=1)


def test_copies_of_validation_records_leave_training(caplog: pytest.LogCaptureFixture) -> None:
    texts = [random_text(60, seed) for seed in range(4)]
    corpus = Corpus.from_sequences([*texts, texts[0]], ["a", "b", "c", "d", "copy"])
    turned = FastaRecord("turned", "turned", reverse_complement_array(corpus.records[0].ids), "<memory>")
    corpus = Corpus([*corpus.records, turned])
    with caplog.at_level(logging.WARNING):
        train, validation = corpus.split(held_out=["a"], min_bases=1)
    assert (names(train), names(validation)) == (["b", "c", "d"], ["a"])
    assert "dropped 2 training records" in caplog.text
