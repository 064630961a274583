# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The baselines' tokenizers: tokens by hand, the alphabet, saving and loading without trust."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from vqdna_hf import build_tokenizer
from vqdna_hf.data import decode_ids, encode_sequence, simulate_genome
from vqdna_hf.evaluation.baseline_tokenizers import (
    VOCABULARIES,
    SequenceEncoder,
    build_baseline_tokenizer,
    kmer_of,
    train_bpe,
)

GENOME = decode_ids(simulate_genome(4000, seed=3))
KMERS = ["3mer", "3mer-overlapping", "6mer", "6mer-overlapping"]
WITH_TOKENS = ["base", *KMERS, "bpe", "cnn"]


def encoder_of(vocabulary: str) -> SequenceEncoder:
    bpe = train_bpe([GENOME[start : start + 100] for start in range(0, 4000, 100)], 64) if vocabulary == "bpe" else None
    return SequenceEncoder(build_baseline_tokenizer(vocabulary, bpe))


def tokens(vocabulary: str, sequence: str) -> list[str]:
    encoder = encoder_of(vocabulary)
    words = encoder.tokenizer.convert_ids_to_tokens(encoder([sequence])["input_ids"][0])[1:-1]
    return [word.upper() for word in words]  # overlapping k-mers are words such as Acg


@pytest.mark.parametrize(
    ("vocabulary", "sequence", "expected"),
    [
        ("base", "ACGTN", "A C G T N"),
        ("3mer", "ACGTTA", "ACG TTA"),
        ("3mer", "ACGTTAC", "ACG TTA C"),
        ("3mer", "ACGTTACA", "ACG TTA C A"),
        ("3mer", "AC", "A C"),
        ("3mer", "ACNGTTAC", "A C N GTT A C"),  # the count starts again behind an N
        ("3mer", "ACGTTNNACG", "ACG T T N N ACG"),
        ("6mer", "ACGTTAACGTTAC", "ACGTTA ACGTTA C"),
        ("6mer", "ACGTNACGTTAC", "A C G T N ACGTTA C"),
        ("3mer-overlapping", "ACGTA", "ACG CGT GTA"),
        ("3mer-overlapping", "ACG", "ACG"),
        ("3mer-overlapping", "AC", "A C"),
        ("3mer-overlapping", "ACGTNNAGGGCTNT", "ACG CGT N N AGG GGG GGC GCT N T"),
        ("6mer-overlapping", "ACGTTAA", "ACGTTA CGTTAA"),
        ("6mer-overlapping", "acgUuaR", "ACGTTA N"),
    ],
)
def test_tokens_by_hand(vocabulary: str, sequence: str, expected: str) -> None:
    assert tokens(vocabulary, sequence) == expected.split()


def test_how_many_tokens_there_are() -> None:
    sizes = {name: len(encoder_of(name).bases) for name in WITH_TOKENS}
    assert sizes == {
        "base": 10, "cnn": 10, "3mer": 74, "3mer-overlapping": 74, "6mer": 4106, "6mer-overlapping": 4106, "bpe": 64,
    }  # fmt: skip
    sequence = GENOME[:100]
    counts = {name: len(tokens(name, sequence)) for name in ["base", *KMERS]}
    # 33 and a remainder of 1; 100 - 3 + 1; 16 and a remainder of 4; 100 - 6 + 1.
    assert counts == {"base": 100, "3mer": 34, "3mer-overlapping": 98, "6mer": 20, "6mer-overlapping": 95}


@pytest.mark.parametrize("k", [3, 6])
def test_kmers_have_their_number_in_base_four(k: int) -> None:
    encoder = encoder_of(f"{k}mer")
    for word in ("A" * k, "C" * k, "T" * k, "GATTACA"[:k]):
        number = int("".join(str("ACGT".index(letter)) for letter in word), 4)
        assert encoder([word])["input_ids"] == [[2, 10 + number, 3]]
        assert encoder.letters[10 + number, :k].tolist() == ["ACGT".index(letter) for letter in word]
        assert encoder.bases[10 + number] == k


@pytest.mark.parametrize("vocabulary", ["base", "3mer", "6mer", "bpe"])
def test_tokens_side_by_side_give_the_sequence_back(vocabulary: str) -> None:
    sequence = GENOME[:200] + "NN" + GENOME[300:371] + "N"
    encoder = encoder_of(vocabulary)
    row = np.array(encoder([sequence])["input_ids"][0])
    assert encoder.tokenizer.decode(row, skip_special_tokens=True) == sequence
    assert encoder.bases[row].sum() == len(sequence)
    spelt = [letter for token in row for letter in encoder.letters[token] if letter >= 0]
    assert "".join("ACGTN"[letter] for letter in spelt) == sequence


@pytest.mark.parametrize("vocabulary", WITH_TOKENS)
def test_ids_and_text_give_the_same_tokens(vocabulary: str) -> None:
    encoder = encoder_of(vocabulary)
    texts = [GENOME[:77], "ACGTN" * 5, "A", "NNN", "GATTACAN"]
    from_ids = encoder.tokens_of([encode_sequence(text, where="here") for text in texts])
    assert [row.tolist() for row in from_ids] == [row[1:-1] for row in encoder(texts)["input_ids"]]


@pytest.mark.parametrize("vocabulary", WITH_TOKENS)
def test_case_u_and_ambiguity_codes(vocabulary: str) -> None:
    encoder = encoder_of(vocabulary)
    upper, other = encoder(["ACGTTTGCANNACGT", "acgtuUgcaRyAcgU"])["input_ids"]
    assert upper == other


def test_the_bare_tokenizer_reads_case_and_u_as_well() -> None:
    for vocabulary in WITH_TOKENS:
        encoder = encoder_of(vocabulary)
        assert encoder.tokenizer("acguuRgg").input_ids == encoder(["ACGTTNGG"])["input_ids"][0]
        assert encoder.tokenizer.unk_token_id in encoder.tokenizer("AC-GTx").input_ids
    assert encoder_of("3mer-overlapping").tokenizer("ACGT[MASK]").input_ids == [2, 16, 37, 4, 3]


@pytest.mark.parametrize("k", [3, 6])
def test_overlapping_kmers_as_dnabert_spells_them(k: int) -> None:
    rng = np.random.default_rng(k)
    for length in [*range(1, 40), 300]:
        text = "".join(rng.choice(list("ACGTN"), length, p=[0.24, 0.24, 0.24, 0.24, 0.04]))
        expected: list[str] = []
        for run in re.findall("[ACGT]+|N", text):
            expected += run if len(run) < k else [run[start : start + k] for start in range(len(run) - k + 1)]
        assert tokens(f"{k}mer-overlapping", text) == expected


def test_base_has_the_ids_of_the_package() -> None:
    text = "ACGTNacgu"
    assert encoder_of("base")([text])["input_ids"][0] == build_tokenizer()(text).input_ids


@pytest.mark.parametrize("vocabulary", WITH_TOKENS)
@pytest.mark.parametrize(
    ("sequence", "message"), [("AC-GT", "'-' at position 2"), ("", "is empty"), ("AC GT", "' ' at position 2")]
)
def test_foreign_letters_are_refused_with_the_record(vocabulary: str, sequence: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"test.csv, row 1 \(0-based\).*{message}"):
        encoder_of(vocabulary)(["ACGT", sequence], where="test.csv, row")


@pytest.mark.parametrize("vocabulary", WITH_TOKENS)
def test_round_trip_through_auto_tokenizer(vocabulary: str, tmp_path: Path) -> None:
    encoder = encoder_of(vocabulary)
    encoder.tokenizer.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))  # nothing to trust
    again = SequenceEncoder(AutoTokenizer.from_pretrained(tmp_path))
    assert (again.vocabulary, again.overlap) == (encoder.vocabulary, encoder.overlap)
    assert again.tokenizer.model_max_length == 8192
    texts = [GENOME[:100], "ACGNTT"]
    for options in ({}, {"padding": True, "return_tensors": "np"}, {"truncation": True, "max_length": 5}):
        one, other = encoder(texts, **options), again(texts, **options)
        assert np.array_equal(np.concatenate(one["input_ids"]), np.concatenate(other["input_ids"]))
        assert set(other) == {"input_ids", "attention_mask"}


def test_a_saved_tokenizer_loads_without_this_package(tmp_path: Path) -> None:
    encoder_of("6mer").tokenizer.save_pretrained(tmp_path)
    code = (
        "import sys; from transformers import AutoTokenizer; "
        "print(AutoTokenizer.from_pretrained(sys.argv[1])('ACGTTAC').input_ids, 'vqdna_hf' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    number = int("".join(str("ACGT".index(letter)) for letter in "ACGTTA"), 4)
    assert result.stdout.split("\n")[0] == f"[2, {10 + number}, 6, 3] False"


def test_bpe_learns_the_commonest_pairs() -> None:
    bpe = train_bpe(["GATTACAGATTACA" * 4] * 3, vocab_size=16)
    words = sorted(bpe.get_vocab(), key=bpe.get_vocab().get)  # type: ignore[arg-type]
    assert words[:10] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "A", "C", "G", "T", "N"]
    assert len(words) == 16
    assert max(map(len, words[10:])) == 7  # GATTACA, in six merges
    assert tokens_of_bpe(bpe, "GATTACANGATTACA")[len(tokens_of_bpe(bpe, "GATTACA"))] == "N"


def tokens_of_bpe(bpe: object, text: str) -> list[str]:
    return bpe.encode(text, add_special_tokens=False).tokens  # type: ignore[attr-defined]


def test_bpe_never_joins_n_or_grows_without_end() -> None:
    bpe = train_bpe([GENOME[:300] + "N" * 50 + "A" * 200] * 5, vocab_size=40)
    words = [word for word in bpe.get_vocab() if not word.startswith("[")]
    assert [word for word in words if "N" in word] == ["N"]
    assert max(map(len, words)) <= 16


def test_bpe_is_the_same_each_time() -> None:
    sequences = [GENOME[start : start + 100] for start in range(0, 4000, 100)]
    assert train_bpe(sequences, 80).to_str() == train_bpe(iter(sequences), 80).to_str()


def test_bpe_refuses() -> None:
    with pytest.raises(ValueError, match="entries of the 4096 that are wanted: give more sequence"):
        train_bpe(["ACGTACGTT"])
    with pytest.raises(ValueError, match=r"sequence 1 \(0-based\) for the BPE: '-' at position 1"):
        train_bpe(["ACGT", "A-C"], 12)
    with pytest.raises(ValueError, match="vocab_size 10: special tokens and letters are 10 already"):
        train_bpe(["ACGT"], 10)


def test_names() -> None:
    assert [kmer_of(name) for name in VOCABULARIES if name not in ("vq", "hrq")] == [
        (1, False), (3, False), (3, True), (6, False), (6, True), None, (1, False),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="there is no vocabulary '4mer': use one of base, 3mer"):
        build_baseline_tokenizer("4mer")
    with pytest.raises(ValueError, match=r"own: train it with run_codec\.py"):
        build_baseline_tokenizer("hrq")
    with pytest.raises(ValueError, match="'bpe' takes what train_bpe has learnt"):
        build_baseline_tokenizer("bpe")
    with pytest.raises(ValueError, match="'bpe' takes what train_bpe has learnt"):
        build_baseline_tokenizer("3mer", train_bpe([GENOME], 20))


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="names no vocabulary"):
        SequenceEncoder.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=str(tmp_path / "nothing")):
        SequenceEncoder.from_pretrained(tmp_path / "nothing")


def test_all_kmers_are_there_once() -> None:
    words = encoder_of("3mer").tokenizer.get_vocab()
    assert all(words["".join(letters)] >= 10 for letters in itertools.product("ACGT", repeat=3))
    assert len(set(words.values())) == 74
