# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Text to nucleotide ids and back: the alphabet, the tokenizer, the byte table, the reverse complement.

Nothing is learned here; the *learned* vocabulary is the codec's. One character is one token.

The alphabet policy, the same everywhere in the project: upper and lower case are equal, U is read as T, A C G T
are themselves, N and every IUPAC ambiguity code are N. Any other character is refused with its position; where text
passes the tokenizer by, it becomes `[UNK]`, which readers, collators and scripts refuse with the record's name.
"""

import re
from typing import Any

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


_LETTERS = IUPAC_LETTERS + IUPAC_LETTERS.lower()
_LETTER_BYTES = _LETTERS.encode()


class VQDNATokenizer(PreTrainedTokenizerFast):
    """The stock fast tokenizer, which refuses what is no nucleotide instead of reading it as `[UNK]`.

    So nothing that is handed text, stock pipelines included, answers for a sequence that it could not read. Made by
    `build_tokenizer`, loaded by `AutoTokenizer`. `refuse_unknown=False` (an argument of both) gives stock behaviour;
    `PreTrainedTokenizerFast.from_pretrained` reads the same folder without any code of ours.

    Raises:
        ValueError: when called on text with a letter outside the IUPAC nucleotide alphabet that is not part of a
            special token: the message names letter, position (0-based) and, in a batch, the sequence.

    Example:

    >>> tokenizer = build_tokenizer()
    >>> tokenizer("ac[MASK]tR").input_ids
    [2, 5, 6, 4, 8, 9, 3]
    >>> tokenizer(["ACGT", "AC-GT"])
    Traceback (most recent call last):
    ...
    ValueError: sequence 1 of the batch: '-' at position 2 is no nucleotide (IUPAC letters: ACGTURYSWKMBVDHN, any case)
    """

    @property
    def refuse_unknown(self) -> bool:
        """Whether letters outside the alphabet raise."""
        return bool(self.init_kwargs.get("refuse_unknown", True))

    def _encode_plus(self, text: Any, text_pair: Any = None, *args: Any, **kwargs: Any) -> Any:
        if self.refuse_unknown:
            self._refuse_foreign_letters(text)
            self._refuse_foreign_letters(text_pair)
        return super()._encode_plus(text, text_pair, *args, **kwargs)

    def _refuse_foreign_letters(self, text: Any, where: str = "") -> None:
        """Walk through a text, or a batch of texts or pairs, and raise at the first letter that cannot be read."""
        if isinstance(text, (list, tuple)):
            for number, item in enumerate(text):
                self._refuse_foreign_letters(item, where or f"sequence {number} of the batch: ")
        elif isinstance(text, str) and text.encode(errors="replace").translate(None, _LETTER_BYTES):
            known = [token for token in self.added_tokens_encoder if token != self.unk_token]
            pattern = "|".join([*map(re.escape, known), f"(?P<foreign>[^{_LETTERS}])"])
            for match in re.finditer(pattern, text, flags=re.DOTALL):
                if match.lastgroup:
                    raise ValueError(
                        f"{where}{match.group()!r} at position {match.start()} is no nucleotide "
                        f"(IUPAC letters: {IUPAC_LETTERS}, any case)"
                    )


def build_tokenizer(model_max_length: int = 8192, refuse_unknown: bool = True) -> VQDNATokenizer:
    """Make the nucleotide tokenizer: one character is one token.

    Args:
        model_max_length: the longest input in tokens, the two special tokens included.
        refuse_unknown: raise at a letter outside the alphabet; False reads it as `[UNK]`.

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
    return VQDNATokenizer(
        tokenizer_object=backend,
        refuse_unknown=refuse_unknown,
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
    return ((input_ids >= FIRST_NUCLEOTIDE_ID) & (input_ids <= N_ID)) | (input_ids == MASK_ID)


def mirrored_positions(input_ids: torch.Tensor) -> torch.Tensor:
    """For each position where it stands on the other strand: runs of sequence positions are turned in place.

    Args:
        input_ids: (..., L) nucleotide ids, with or without special tokens and padding.

    Returns:
        (..., L) positions. Special tokens and padding stay put.

    Example:

    >>> mirrored_positions(torch.tensor([2, 5, 5, 6, 3, 0])).tolist()  # [CLS] A A C [SEP] [PAD]
    [0, 3, 2, 1, 4, 5]
    """
    inside = is_sequence_position(input_ids)
    length = input_ids.shape[-1]
    positions = torch.arange(length, device=input_ids.device).expand_as(input_ids)
    # Each position finds the edges of its run, the n-th left and the next right of it; mirrored inside the run it is
    # their sum less itself. Edge 0 stands before all. Cumulative sums, since ONNX has no cumulative maximum.
    number = (~inside).long().cumsum(-1)
    edges = input_ids.new_full((*input_ids.shape[:-1], length + 2), length, dtype=torch.long)
    edges = edges.scatter(-1, torch.where(inside, length + 1, number), torch.where(inside, length, positions))
    before = torch.where(number == 0, -1, edges.gather(-1, number))
    return torch.where(inside, before + edges.gather(-1, number + 1) - positions, positions)


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
    table = torch.tensor(COMPLEMENT_IDS, dtype=input_ids.dtype, device=input_ids.device)
    return table[input_ids.long()].gather(-1, mirrored_positions(input_ids))


VQDNATokenizer.register_for_auto_class("AutoTokenizer")
