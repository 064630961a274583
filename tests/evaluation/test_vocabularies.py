# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Vocabularies: k-mers, BPE and learned codes, alone and as bags. Run: pytest tests/evaluation/test_vocabularies.py"""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from example_scripts import TINY_CODEC
from tokenizers import Tokenizer, models

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data import Genome, encode_sequence
from vqdna_hf.evaluation.vocabularies import (
    BPEVocabulary,
    CodecVocabulary,
    KmerVocabulary,
    StackedVocabulary,
    bag_of_codes,
    mean_vectors,
    mean_vectors_of_bag,
)
from vqdna_hf.inference import encode
from vqdna_hf.inference.inputs import CODEC_WINDOW
from vqdna_hf.model.tokenization_vqdna import reverse_complement


def dna(length: int, seed: int = 0) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length))


def make_codec(stride: int = 1) -> VQDNACodecModel:
    """A codec whose codebooks saw one batch."""
    torch.manual_seed(stride)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride)).train()
    codec(torch.randint(5, 9, (8, 64)))
    return codec.eval()


@pytest.fixture(scope="module")
def codec() -> VQDNACodecModel:
    return make_codec()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_kmers_are_numbered_as_words_in_alphabetical_order(k: int) -> None:
    words = ["".join(letters) for letters in product("ACGT", repeat=k)]
    codes = KmerVocabulary(k).encode(words)
    assert [int(one[0, 0]) for one in codes] == list(range(4**k))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_kmers_are_the_words_of_the_text(k: int) -> None:
    texts = [dna(50, 1), dna(k, 2), dna(7, 3) + "N" + dna(9, 4)]
    for overlapping in (True, False):
        vocabulary = KmerVocabulary(k, overlapping)
        for text, codes in zip(texts, vocabulary.encode(texts), strict=True):
            words = [text[i : i + k] for i in range(0, len(text) - k + 1, 1 if overlapping else k)]
            number = {"".join(letters): place for place, letters in enumerate(product("ACGT", repeat=k))}
            assert codes.dtype == np.int32
            assert codes.tolist() == [[number.get(word, -1) for word in words]]


def test_the_bag_of_stacked_words_is_both_bags_side_by_side() -> None:
    texts = [dna(40, 7), dna(3, 8), dna(9, 9) + "N"]
    parts = [KmerVocabulary(2), KmerVocabulary(4)]
    both = bag_of_codes(StackedVocabulary(parts), texts).toarray()
    np.testing.assert_array_equal(both, np.hstack([bag_of_codes(one, texts).toarray() for one in parts]))
    with pytest.raises(ValueError, match="no vocabularies to stack"):
        StackedVocabulary([])


def test_a_sequence_shorter_than_the_word_has_no_code() -> None:
    assert [codes.shape for codes in KmerVocabulary(6).encode(["ACG", "ACGTACG"])] == [(1, 0), (1, 2)]
    assert bag_of_codes(KmerVocabulary(6), ["ACG", "ACGTACG"]).sum(1).tolist() == [[0.0], [1.0]]


def test_the_bag_of_a_reverse_complement_is_the_bag_of_complementary_words() -> None:
    vocabulary = KmerVocabulary(4)
    words = ["".join(letters) for letters in product("ACGT", repeat=4)]
    mirrored = [words.index(reverse_complement(word)) for word in words]
    text = dna(300)
    one, other = bag_of_codes(vocabulary, [text, reverse_complement(text)]).toarray()
    np.testing.assert_array_equal(one[mirrored], other)


@pytest.mark.parametrize(("k", "words"), [(1, 2), (3, 32), (4, 136), (6, 2080)])  # (4^k + palindromes) / 2
def test_canonical_words_are_those_of_the_other_strand_from_behind(k: int, words: int) -> None:
    text = dna(200, 5) + "N" + dna(50, 6)
    vocabulary = KmerVocabulary(k, canonical=True)
    one, other = vocabulary.encode([text, reverse_complement(text)])
    np.testing.assert_array_equal(one[0], other[0, ::-1])
    plain = KmerVocabulary(k).encode([text, reverse_complement(text)])
    firsts = np.minimum(plain[0], plain[1][:, ::-1])
    assert vocabulary.sizes == (words,)
    for word, number in zip(firsts[0], one[0], strict=True):  # the rank of the first of both
        assert (word < 0) == (number < 0)
    order = np.argsort(firsts[0], kind="stable")
    assert (np.diff(one[0][order]) >= 0).all()
    assert len(np.unique(one)) == len(np.unique(firsts))
    assert one.max() < words


def test_bags_are_shares_and_levels_can_be_chosen(codec: VQDNACodecModel) -> None:
    vocabulary = CodecVocabulary(codec)
    texts = [dna(40, 1), dna(25, 2) + "NNN"]
    bag = bag_of_codes(vocabulary, texts)
    first, second = vocabulary.sizes
    assert bag.shape == (2, first + second)
    np.testing.assert_allclose(bag.sum(1), 2.0, rtol=1e-5)
    np.testing.assert_array_equal(bag_of_codes(vocabulary, texts, levels=[1]).toarray(), bag[:, first:].toarray())
    codes = vocabulary.encode(texts)[0]
    counted = np.bincount(codes[0], minlength=first) / 40
    np.testing.assert_allclose(bag[0, :first].toarray()[0], counted, rtol=1e-5)
    with pytest.raises(ValueError, match=r"level 2: .* has levels 0 to 1"):
        bag_of_codes(vocabulary, texts, levels=[2])


def test_nothing_in_nothing_out(codec: VQDNACodecModel) -> None:
    for vocabulary in (KmerVocabulary(2), CodecVocabulary(codec)):
        assert vocabulary.encode([]) == []
        assert bag_of_codes(vocabulary, []).shape == (0, sum(vocabulary.sizes))


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_codes_are_those_of_the_verb_encode(stride: int) -> None:
    codec = make_codec(stride)
    texts = [dna(61, 1), dna(20, 2) + "N" * 17 + dna(13, 3), dna(9, 4)]
    table: Any = encode(codec, Genome.from_sequences(["a", "b", "c"], texts), device="cpu", progress=False)
    found = CodecVocabulary(codec).encode(texts)
    for level in range(2):
        assert [codes[level].tolist() for codes in found] == table[f"codes_{level + 1}"].to_pylist()


@pytest.mark.parametrize("stride", [1, 4])
def test_a_sequence_has_the_same_codes_alone_padded_and_in_any_batch(stride: int) -> None:
    codec = make_codec(stride)
    texts = [dna(length, length) for length in (33, 5, 80, 64, 1, 47)]
    alone = [CodecVocabulary(codec).encode([text])[0] for text in texts]
    for batch_size in (1, 2, 64):
        together = CodecVocabulary(codec, batch_size=batch_size).encode(texts)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, other)


def test_windows_of_long_sequences_are_joined(codec: VQDNACodecModel) -> None:
    text = dna(CODEC_WINDOW + 500)
    with torch.inference_mode():
        whole: Any = codec.encode(torch.from_numpy(encode_sequence(text, where="a test").astype(np.int64))[None]).codes
    np.testing.assert_array_equal(CodecVocabulary(codec).encode([text])[0], whole[0].numpy())


def test_mean_vectors_are_means_of_code_vectors(codec: VQDNACodecModel) -> None:
    vocabulary = CodecVocabulary(codec)
    texts = [dna(40, 1), "NNNN"]
    found = mean_vectors(vocabulary, texts)
    codes, vectors = vocabulary.encode(texts)[0], vocabulary.vectors()
    wanted = np.concatenate([book[level].mean(0) for book, level in zip(vectors, codes, strict=True)])
    np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-6)
    assert not found[1].any()
    np.testing.assert_array_equal(found, mean_vectors_of_bag(vocabulary, bag_of_codes(vocabulary, texts)))
    with pytest.raises(ValueError, match="a bag of 4 codes"):
        mean_vectors_of_bag(vocabulary, bag_of_codes(KmerVocabulary(1), texts))


def test_bpe_reads_any_case_and_knows_what_it_does_not_know() -> None:
    tokenizer = Tokenizer(models.BPE({"?": 0, "A": 1, "C": 2, "G": 3, "AC": 4}, [("A", "C")], unk_token="?"))
    vocabulary = BPEVocabulary(tokenizer)
    assert [codes.tolist() for codes in vocabulary.encode(["acAG", "GT"])] == [[[4, 1, 3]], [[3, -1]]]
    assert bag_of_codes(vocabulary, ["GT"]).toarray().tolist() == [[0, 0, 0, 1, 0]]


@pytest.mark.parametrize("learned", [False, True])
def test_bad_letters_are_named(learned: bool, codec: VQDNACodecModel) -> None:
    vocabulary = CodecVocabulary(codec) if learned else KmerVocabulary(3)
    with pytest.raises(ValueError, match=r"1.*'-' at position 2"):
        vocabulary.encode(["ACGT", "AC-GT"])
    with pytest.raises(ValueError, match="empty"):
        vocabulary.encode(["ACGT", ""])


def test_bad_options(codec: VQDNACodecModel) -> None:
    with pytest.raises(ValueError, match="k=0"):
        KmerVocabulary(0)
    with pytest.raises(ValueError, match="batch_size=0"):
        CodecVocabulary(codec, batch_size=0)
    with pytest.raises(ValueError, match="no such model folder"):
        CodecVocabulary("no/such/folder")
