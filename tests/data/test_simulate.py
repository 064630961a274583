# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import itertools
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.preprocessing import StandardScaler

from vqdna_hf.data.fasta import decode_ids, read_fasta
from vqdna_hf.data.simulate import simulate_fasta, simulate_genome, simulate_promoters
from vqdna_hf.data.tables import find_split_files, read_labelled


def test_genome_is_deterministic_and_differs_by_seed() -> None:
    first = simulate_genome(20_000, seed=1)
    assert first.dtype == np.uint8
    assert first.shape == (20_000,)
    assert set(decode_ids(first)) == set("ACGT")
    assert np.array_equal(first, simulate_genome(20_000, seed=1))
    for other in (simulate_genome(20_000, seed=2), simulate_genome(20_000, seed=1, species=1)):
        assert (other == first).mean() < 0.4
    for bases in (1, 5, 999, 1001):
        assert len(simulate_genome(bases, seed=0)) == bases


def test_gc_and_motifs_are_planted() -> None:
    for gc in (0.35, 0.6):
        assert np.isin(simulate_genome(100_000, seed=0, gc=gc), [6, 7]).mean() == pytest.approx(gc, abs=0.07)
    motif = "CCGATTACGG"
    with_motif = decode_ids(simulate_genome(50_000, seed=0, motifs=[motif]))
    without = decode_ids(simulate_genome(50_000, seed=0, motifs=[]))
    assert with_motif.count(motif) > 100 > 5 > without.count(motif)


def context_accuracy(train: np.ndarray, test: np.ndarray, width: int) -> float:
    """Predict a base from `width` neighbours on each side by counting; the share that is right in `test`."""

    def contexts(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = len(codes) - 2 * width
        context = np.zeros(size, dtype=int)
        for offset in itertools.chain(range(width), range(width + 1, 2 * width + 1)):
            context = context * 4 + codes[offset : offset + size]
        return context, codes[width : width + size]

    counts = np.zeros((4 ** (2 * width), 4))
    np.add.at(counts, contexts(train), 1)
    context, target = contexts(test)
    return float((counts[context].argmax(1) == target).mean())


def test_masked_bases_are_predictable_in_another_genome_of_the_species() -> None:
    train, test = simulate_genome(200_000, seed=1) - 5, simulate_genome(50_000, seed=2) - 5
    commonest = np.bincount(test).max() / len(test)
    assert commonest < 0.35
    assert context_accuracy(train, test, 3) > commonest + 0.1


def test_fasta_parses_and_differs_by_seed(tmp_path: Path) -> None:
    for name, seed in (("a.fa", 1), ("b.fa.gz", 1), ("c.fa.gz", 1), ("d.fa", 2)):
        simulate_fasta(tmp_path / name, num_bases=10_001, num_contigs=3, seed=seed)
    read = {name: list(read_fasta(tmp_path / name)) for name in ("a.fa", "b.fa.gz", "d.fa")}
    assert [record.bases for record in read["a.fa"]] == [3333, 3334, 3334]
    assert [record.name for record in read["a.fa"]] == ["contig1", "contig2", "contig3"]
    assert "simulated=true seed=1" in read["a.fa"][0].description
    for a, b, d in zip(*read.values(), strict=True):
        assert np.array_equal(a.ids, b.ids)
        assert not np.array_equal(a.ids, d.ids)
    assert (read["a.fa"][1].ids == read["a.fa"][2].ids).mean() < 0.4
    assert (tmp_path / "b.fa.gz").read_bytes() == (tmp_path / "c.fa.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fa", "b.fa.gz", "c.fa.gz", "d.fa"]


def test_promoters_layout_and_determinism(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate_promoters(tmp_path / folder, num_train=60, num_dev=21, num_test=30, seed=seed)
    files = find_split_files(tmp_path / "a")
    tables = {split: read_labelled(path) for split, path in files.items()}
    assert {split: len(table) for split, table in tables.items()} == {"train": 60, "dev": 21, "test": 30}
    assert (tables["train"].labels or []).count("1") == 30
    sequences = [sequence for table in tables.values() for sequence in table.sequences]
    assert {len(sequence) for sequence in sequences} == {70}
    assert len(set(sequences)) == len(sequences)
    for name in ("train.csv", "dev.csv", "test.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()


def word_counts(sequences: list[str], longest: int) -> np.ndarray:
    words = ["".join(word) for k in range(1, longest + 1) for word in itertools.product("ACGT", repeat=k)]
    index = {word: i for i, word in enumerate(words)}
    counts = np.zeros((len(sequences), len(words)))
    for row, sequence in enumerate(sequences):
        for k in range(1, longest + 1):
            for start in range(len(sequence) - k + 1):
                counts[row, index[sequence[start : start + k]]] += 1
    return counts


def test_promoters_can_be_learned_but_not_by_counting_bases(tmp_path: Path) -> None:
    simulate_promoters(tmp_path, num_train=2000, num_dev=2, num_test=500, seed=0)
    train, test = read_labelled(tmp_path / "train.csv"), read_labelled(tmp_path / "test.csv")
    scores = {}
    for longest in (1, 5):
        scaler = StandardScaler().fit(word_counts(train.sequences, longest))
        model = LogisticRegression(C=3e-4, max_iter=300)
        model.fit(scaler.transform(word_counts(train.sequences, longest)), train.labels)
        guesses = model.predict(scaler.transform(word_counts(test.sequences, longest)))
        scores[longest] = matthews_corrcoef(test.labels, guesses)
    assert abs(scores[1]) < 0.15
    assert 0.4 < scores[5] < 0.8


def test_errors(tmp_path: Path) -> None:
    for options, message in [
        ({"num_bases": 0, "seed": 0}, "num_bases is 0"),
        ({"num_bases": 9, "seed": -1}, "seed is -1"),
        ({"num_bases": 9, "seed": 0, "gc": 1.0}, "gc is 1.0"),
        ({"num_bases": 9, "seed": 0, "motifs": ["AX"]}, "motif 'AX'"),
    ]:
        with pytest.raises(ValueError, match=message):
            simulate_genome(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a contig has at least 1 base"):
        simulate_fasta(tmp_path / "x.fa", num_bases=2, num_contigs=3)
    with pytest.raises(ValueError, match="line_width is 0"):
        simulate_fasta(tmp_path / "x.fa", num_bases=9, line_width=0)
    with pytest.raises(ValueError, match="folder does not exist"):
        simulate_fasta(tmp_path / "no" / "x.fa", num_bases=9)
    with pytest.raises(ValueError, match="length is 69"):
        simulate_promoters(tmp_path, length=69)
    with pytest.raises(ValueError, match="num_dev is 1"):
        simulate_promoters(tmp_path, num_dev=1)
