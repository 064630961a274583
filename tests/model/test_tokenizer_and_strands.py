# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import json
import random
import string
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from vqdna_hf.model.tokenization_vqdna import (
    BYTE_TO_ID,
    CLS_ID,
    COMPLEMENT_IDS,
    IUPAC_LETTERS,
    MASK_ID,
    N_ID,
    PAD_ID,
    SEP_ID,
    UNK_ID,
    VOCABULARY,
    build_tokenizer,
    is_nucleotide,
    is_sequence_position,
    reverse_complement,
    reverse_complement_ids,
)

# The bases that each IUPAC code stands for: complements are derived from these, not from the table.
IUPAC_SETS = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that reads anything, as the stock class does."""
    return build_tokenizer(refuse_unknown=False)


def random_sequence(length: int, letters: str = IUPAC_LETTERS, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices(letters, k=length))


# --- tokenizer ---


def test_ids_of_the_alphabet(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_ids_to_tokens(range(10)) == [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "A", "C", "G", "T", "N",
    ]  # fmt: skip
    assert len(tokenizer) == len(VOCABULARY) == 10
    assert tokenizer("ACGTNacgtnUu", add_special_tokens=False).input_ids == [
        5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 8, 8,
    ]  # fmt: skip
    assert tokenizer("RYSWKMBDHVryswkmbdhv", add_special_tokens=False).input_ids == [N_ID] * 20


def test_the_byte_table_agrees_with_the_tokenizer_on_every_printable_ascii_character(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for character in string.printable:
        expected = tokenizer(character, add_special_tokens=False).input_ids
        assert list(character.encode().translate(BYTE_TO_ID)) == expected, repr(character)
        assert len(expected) == 1, repr(character)
    for seed in range(20):  # neighbours must not matter: no merges, no whitespace rules, no runs of unknowns
        text = random_sequence(200, string.printable.replace("[", ""), seed)
        assert list(text.encode().translate(BYTE_TO_ID)) == tokenizer(text, add_special_tokens=False).input_ids


def test_letters_outside_the_alphabet_are_unknown(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("A-C*Z", add_special_tokens=False).input_ids == [5, UNK_ID, 6, UNK_ID, UNK_ID]
    illegal = set(string.printable) - set(IUPAC_LETTERS + IUPAC_LETTERS.lower())
    assert {BYTE_TO_ID[ord(letter)] for letter in illegal} == {UNK_ID}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("AC GT", "' ' at position 2 is no nucleotide"),
        ("ACGT\n", r"'\\n' at position 4 is no nucleotide"),
        ("[CLS]AC-GT", "'-' at position 7 is no nucleotide"),
        ("AC[UNK]", r"'\[' at position 2 is no nucleotide"),
        ("ACGÄ", "'Ä' at position 3 is no nucleotide"),
        (["ACGT", "ACGX", "X"], "sequence 1 of the batch: 'X' at position 3 is no nucleotide"),
        ([("ACGT", "AC.T")], r"sequence 0 of the batch: '\.' at position 2 is no nucleotide"),
    ],
)
def test_what_is_no_nucleotide_is_refused_with_its_position(text: str | list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_tokenizer()(text)
    texts = text if isinstance(text, list) else [text]
    assert any(UNK_ID in ids for ids in build_tokenizer(refuse_unknown=False)(texts).input_ids)


def test_the_second_of_a_pair_is_checked_as_well() -> None:
    with pytest.raises(ValueError, match="'!' at position 1 is no nucleotide"):
        build_tokenizer()("ACGT", "A!")


def test_what_is_read_is_the_same_strict_or_not(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [IUPAC_LETTERS, IUPAC_LETTERS.lower(), "A[MASK]C[SEP]", ""]
    assert build_tokenizer()(texts).input_ids == tokenizer(texts).input_ids


def test_special_tokens_pairs_padding_and_truncation(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer("AC").input_ids == [CLS_ID, 5, 6, SEP_ID]
    pair = tokenizer("AC", "G", return_token_type_ids=True, return_special_tokens_mask=True)
    assert pair.input_ids == [CLS_ID, 5, 6, SEP_ID, 7, SEP_ID]
    assert pair.token_type_ids == [0, 0, 0, 0, 1, 1]
    assert pair.special_tokens_mask == [1, 0, 0, 1, 0, 1]
    batch = tokenizer(["ACGT", "A"], padding=True)
    assert batch.input_ids == [[2, 5, 6, 7, 8, 3], [2, 5, 3, PAD_ID, PAD_ID, PAD_ID]]
    assert batch.attention_mask == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert set(batch) == {"input_ids", "attention_mask"}
    assert tokenizer("ACGTACGT", truncation=True, max_length=5).input_ids == [2, 5, 6, 7, 3]
    assert build_tokenizer(model_max_length=4)("ACGTACGT", truncation=True).input_ids == [2, 5, 6, 3]
    assert tokenizer("AC[MASK]GT").input_ids == [2, 5, 6, MASK_ID, 7, 8, 3]


def test_offsets_point_at_the_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "acRu?N"
    encoding = tokenizer(text, return_offsets_mapping=True)
    assert encoding.offset_mapping == [(0, 0), *((i, i + 1) for i in range(len(text))), (0, 0)]


def test_decoding(tokenizer: PreTrainedTokenizerFast) -> None:
    sequence = random_sequence(300, "ACGTN")
    ids = tokenizer(sequence).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == sequence
    assert tokenizer.decode([5, MASK_ID, 6]) == "A[MASK]C"
    assert tokenizer.batch_decode([[5, 6], [7]]) == ["AC", "G"]


def test_a_saved_tokenizer_is_the_same(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is type(tokenizer)
    assert not again.refuse_unknown
    assert AutoTokenizer.from_pretrained(tmp_path, refuse_unknown=True).refuse_unknown
    texts = [random_sequence(80, string.printable, seed) for seed in range(5)] + ["", "acgtu", "A[MASK]C"]
    for text in texts:
        assert again(text).input_ids == tokenizer(text).input_ids
    assert again("AC", "GT").input_ids == tokenizer("AC", "GT").input_ids
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.model_max_length == tokenizer.model_max_length == 8192
    assert again.special_tokens_map == tokenizer.special_tokens_map
    assert json.loads(again.backend_tokenizer.to_str()) == json.loads(tokenizer.backend_tokenizer.to_str())
    assert again.decode([5, 6, 7, 8, 9]) == "ACGTN"
    again.save_pretrained(tmp_path / "twice")
    twice = AutoTokenizer.from_pretrained(tmp_path / "twice")
    assert twice("acguR[MASK]").input_ids == tokenizer("acguR[MASK]").input_ids


# --- which ids are what ---


def test_masks_over_every_id() -> None:
    ids = torch.arange(len(VOCABULARY))
    assert [VOCABULARY[i] for i in ids[is_nucleotide(ids)]] == ["A", "C", "G", "T"]
    assert [VOCABULARY[i] for i in ids[is_sequence_position(ids)]] == ["[MASK]", "A", "C", "G", "T", "N"]


# --- the other strand ---


@pytest.mark.parametrize("letter", IUPAC_LETTERS)
def test_the_complement_of_every_iupac_letter(letter: str) -> None:
    as_dna = "T" if letter == "U" else letter
    pairs = str.maketrans("ACGT", "TGCA")
    expected_set = "".join(sorted(IUPAC_SETS[as_dna].translate(pairs)))
    complement = reverse_complement(letter)
    assert IUPAC_SETS[complement] == expected_set
    assert reverse_complement(complement) == as_dna
    assert reverse_complement(letter.lower()) == complement.lower()


def test_twice_the_reverse_complement_is_the_sequence() -> None:
    letters = IUPAC_LETTERS.replace("U", "")
    for seed in range(20):
        sequence = random_sequence(101, letters + letters.lower(), seed)
        assert reverse_complement(reverse_complement(sequence)) == sequence
    assert reverse_complement("AAACCG") == "CGGTTT"
    assert reverse_complement("UUa") == "tAA"
    assert reverse_complement("") == ""


@pytest.mark.parametrize(("sequence", "letter", "position"), [("ACX", "X", 2), ("-ACG", "-", 0), ("AC GT", " ", 2)])
def test_an_illegal_letter_is_reported_with_its_position(sequence: str, letter: str, position: int) -> None:
    with pytest.raises(ValueError, match=f"cannot complement {letter!r} at position {position}"):
        reverse_complement(sequence)


def test_complement_ids_are_the_string_complement_of_each_token() -> None:
    for index, token in enumerate(VOCABULARY):
        expected = reverse_complement(token) if len(token) == 1 else token
        assert VOCABULARY[COMPLEMENT_IDS[index]] == expected


@pytest.mark.parametrize("dtype", [torch.long, torch.int32, torch.uint8])
def test_ids_and_strings_turn_alike(tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype) -> None:
    sequences = [random_sequence(length, "ACGTNR", length) for length in (1, 2, 7, 40)]
    batch = tokenizer(sequences, padding=True, return_tensors="pt").input_ids.to(dtype)
    other = tokenizer([reverse_complement(s) for s in sequences], padding=True, return_tensors="pt").input_ids
    turned = reverse_complement_ids(batch)
    assert turned.dtype == dtype
    assert torch.equal(turned.long(), other)
    assert torch.equal(reverse_complement_ids(turned), batch)
    bare = torch.tensor(tokenizer(sequences[-1], add_special_tokens=False).input_ids)
    expected = tokenizer(reverse_complement(sequences[-1]), add_special_tokens=False).input_ids
    assert reverse_complement_ids(bare).tolist() == expected


def test_each_sequence_of_a_pair_is_turned_on_its_own(tokenizer: PreTrainedTokenizerFast) -> None:
    first, second = random_sequence(9, "ACGTN", 1), random_sequence(5, "ACGTN", 2)
    ids = tokenizer(first, second, padding="max_length", max_length=20, return_tensors="pt").input_ids
    expected = tokenizer(
        reverse_complement(first), reverse_complement(second), padding="max_length", max_length=20
    ).input_ids
    assert reverse_complement_ids(ids)[0].tolist() == expected
    assert torch.equal(reverse_complement_ids(reverse_complement_ids(ids)), ids)


def test_masked_positions_turn_with_their_sequence_and_left_padding_stays() -> None:
    ids = torch.tensor([[PAD_ID, PAD_ID, CLS_ID, 5, MASK_ID, 6, SEP_ID]])
    assert reverse_complement_ids(ids).tolist() == [[PAD_ID, PAD_ID, CLS_ID, 7, MASK_ID, 8, SEP_ID]]
    empty = torch.zeros(2, 0, dtype=torch.long)
    assert reverse_complement_ids(empty).shape == (2, 0)
