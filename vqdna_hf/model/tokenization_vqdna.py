# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Text to nucleotide ids and back: the alphabet, the tokenizer, the byte table, the reverse complement.

Nothing is learned here; the *learned* vocabulary is the codec's. One character is one token.

The alphabet policy, the same everywhere in the project: upper and lower case are equal, U is read as T, A C G T
are themselves, N and every IUPAC ambiguity code are N. Any other character becomes `[UNK]`, which readers,
collators and scripts refuse with the record's name and the position.
"""

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NUCLEOTIDES = "ACGT"
VOCABULARY = (*SPECIAL_TOKENS, *NUCLEOTIDES, "N")

PAD_ID, UNK_ID, CLS_ID, SEP_ID, MASK_ID = range(len(SPECIAL_TOKENS))
FIRST_NUCLEOTIDE_ID = VOCABULARY.index("A")
NUM_NUCLEOTIDES = len(NUCLEOTIDES)
N_ID = VOCABULARY.index("N")

# IUPAC-IUB nomenclature (Cornish-Bowden, Nucleic Acids Research 13:3021, 1985): each code and its complement.
_IUPAC_COMPLEMENT = {
    "A": "T", "C": "G", "G": "C", "T": "A", "U": "A",
    "R": "Y", "Y": "R", "S": "S", "W": "W", "K": "M", "M": "K",
    "B": "V", "V": "B", "D": "H", "H": "D", "N": "N",
}  # fmt: skip
IUPAC_LETTERS = "".join(_IUPAC_COMPLEMENT)
_AMBIGUITY_CODES = "".join(letter for letter in IUPAC_LETTERS if letter not in "ACGTUN")


def _letter_to_id(letter: str) -> int:
    letter = "T" if letter == "U" else letter
    return VOCABULARY.index(letter) if letter in NUCLEOTIDES else N_ID


_BYTE_TO_ID = bytearray([UNK_ID]) * 256
for _letter in IUPAC_LETTERS:
    _BYTE_TO_ID[ord(_letter)] = _BYTE_TO_ID[ord(_letter.lower())] = _letter_to_id(_letter)

BYTE_TO_ID = bytes(_BYTE_TO_ID)
"""256 bytes for `bytes.translate`: the ids of a whole chromosome at memory speed, equal to the tokenizer's ids
without special tokens (a test holds the two together)."""

COMPLEMENT_IDS = tuple(
    VOCABULARY.index(_IUPAC_COMPLEMENT[token]) if token in _IUPAC_COMPLEMENT else index
    for index, token in enumerate(VOCABULARY)
)
"""The id of the complement for each id; special tokens and N are their own."""

_COMPLEMENT_TABLE = str.maketrans(
    _IUPAC_COMPLEMENT | {key.lower(): value.lower() for key, value in _IUPAC_COMPLEMENT.items()}
)


def build_tokenizer(model_max_length: int = 8192) -> PreTrainedTokenizerFast:
    """Make the nucleotide tokenizer: a stock fast class, so `AutoTokenizer` loads it without trusting code.

    Args:
        model_max_length: the longest input in tokens, the two special tokens included.

    Returns:
        A tokenizer that yields `input_ids` and `attention_mask`, one id a character between `[CLS]` and `[SEP]`.

    Example:

    >>> tokenizer = build_tokenizer()
    >>> tokenizer("acgun").input_ids
    [2, 5, 6, 7, 8, 9, 3]
    >>> tokenizer.decode([5, 6, 7, 8, 9])
    'ACGTN'
    """
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    # BPE without merges and without a pre-tokenizer is the fastest exact one-character model of `tokenizers`.
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(letter, letter.upper()) for letter in "acgtn"]
        + [
            normalizers.Replace(Regex("[Uu]"), "T"),
            normalizers.Replace(Regex(f"[{_AMBIGUITY_CODES}{_AMBIGUITY_CODES.lower()}]"), "N"),
        ]
    )
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    backend.decoder = decoders.Fuse()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS_ID), ("[SEP]", SEP_ID)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def reverse_complement(sequence: str) -> str:
    """Reverse a sequence and complement each letter, IUPAC ambiguity codes and case included; U is read as T.

    Args:
        sequence: letters of the IUPAC nucleotide alphabet, any case.

    Returns:
        The other strand, read 5' to 3'. Applied twice it gives the sequence back (with T where U stood).

    Raises:
        ValueError: on a letter outside the alphabet, with its position (0-based).

    Example:

    >>> reverse_complement("AACGtr")
    'yaCGTT'
    """
    for position, letter in enumerate(sequence):
        if ord(letter) not in _COMPLEMENT_TABLE:
            raise ValueError(
                f"cannot complement {letter!r} at position {position}: "
                f"only the IUPAC letters {IUPAC_LETTERS} (any case) are nucleotides"
            )
    return sequence.translate(_COMPLEMENT_TABLE)[::-1]


def is_nucleotide(input_ids: torch.Tensor) -> torch.Tensor:
    """Tell which ids are A, C, G or T. Shape in, shape out; boolean.

    >>> is_nucleotide(torch.tensor([2, 5, 9, 4, 3])).tolist()
    [False, True, False, False, False]
    """
    return (input_ids >= FIRST_NUCLEOTIDE_ID) & (input_ids < FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES)


def is_sequence_position(input_ids: torch.Tensor) -> torch.Tensor:
    """Tell which ids stand for a position of the sequence: A, C, G, T, N or `[MASK]`. Boolean, same shape.

    >>> is_sequence_position(torch.tensor([2, 5, 9, 4, 3, 0])).tolist()
    [False, True, True, True, False, False]
    """
    return (input_ids >= FIRST_NUCLEOTIDE_ID) | (input_ids == MASK_ID)


def reverse_complement_ids(input_ids: torch.Tensor) -> torch.Tensor:
    """Reverse and complement each run of sequence positions in place; special tokens and padding stay put.

    In a pair `[CLS] A [SEP] B [SEP]` each of the two sequences is turned on its own.

    Args:
        input_ids: (..., L) nucleotide ids, with or without special tokens and padding.

    Returns:
        (..., L) ids of the other strand. Applied twice it gives the ids back.

    Example:

    >>> reverse_complement_ids(torch.tensor([[2, 5, 5, 6, 3, 0]])).tolist()  # [CLS] A A C [SEP] [PAD]
    [[2, 7, 8, 8, 3, 0]]
    """
    inside = is_sequence_position(input_ids)
    positions = torch.arange(input_ids.shape[-1], device=input_ids.device).expand_as(input_ids)
    # Each position finds the start and the end of its run; mirrored inside the run it is start + end - position.
    before = torch.where(inside, -1, positions).cummax(-1).values
    after = torch.where(inside, input_ids.shape[-1], positions).flip(-1).cummin(-1).values.flip(-1)
    mirrored = torch.where(inside, before + after - positions, positions)
    table = torch.tensor(COMPLEMENT_IDS, dtype=input_ids.dtype, device=input_ids.device)
    return table[input_ids.long()].gather(-1, mirrored)
