"""The vocabularies of other genome language models, as stock fast tokenizers that `AutoTokenizer` loads without trust.

- `base`: one token a nucleotide (HyenaDNA, Caduceus).
- `3mer`, `6mer`: k-mers side by side (Nucleotide Transformer). Letters that fill no k-mer, before an N or at the end,
  are tokens of their own, and so is N; the count starts again behind an N.
- `3mer-overlapping`, `6mer-overlapping`: a k-mer at every position (DNABERT). A run of A, C, G and T that is shorter
  than k gives its letters, and so does each N. DNABERT's own tokenizer wants k-mers with blanks between them, and reads
  a plain sequence as one unknown word; here the normalizer spells them out, so that plain sequences can be given.
- `bpe`: byte pair encoding learnt from genomes (DNABERT-2), by `train_bpe`.

Special tokens and single letters have the ids of `vqdna_hf.build_tokenizer`. The alphabet policy is the package's: any
case, U is T, IUPAC ambiguity codes are N. `SequenceEncoder` refuses the rest; a bare tokenizer reads it as `[UNK]`.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

from vqdna_hf.data import decode_ids, encode_sequence
from vqdna_hf.model.tokenization_vqdna import (
    NUCLEOTIDES,
    SPECIAL_TOKENS,
    VOCABULARY,
    build_tokenizer,
)

__all__ = ["VOCABULARIES", "SequenceEncoder", "build_baseline_tokenizer", "kmer_of", "train_bpe"]

VocabularyName = Literal["base", "3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe", "vq", "hrq", "cnn"]

VOCABULARIES: tuple[str, ...] = (
    "base", "3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe", "vq", "hrq", "cnn",
)  # fmt: skip
"""What a comparison can be run on. `vq` and `hrq` are this package's own models; `cnn` reads what `base` reads."""

BPE_VOCAB_SIZE = 4096
_MAX_TOKEN_BASES = 16  # SentencePiece's default, with which DNABERT-2's vocabulary was made


def kmer_of(vocabulary: str) -> tuple[int, bool] | None:
    """The k of a vocabulary of k-mers, and whether they overlap; None for BPE.

    Raises:
        ValueError: for a name that is none of `VOCABULARIES`, and for `vq` and `hrq`, which have no tokenizer here.

    Example:

    >>> kmer_of("6mer-overlapping"), kmer_of("base"), kmer_of("bpe")
    ((6, True), (1, False), None)
    """
    if vocabulary not in VOCABULARIES:
        raise ValueError(f"there is no vocabulary {vocabulary!r}: use one of {', '.join(VOCABULARIES)}")
    if vocabulary in ("vq", "hrq"):
        raise ValueError(
            f"vocabulary {vocabulary!r} is this package's own: train it with run_codec.py and run_mlm.py, and read it "
            "with vqdna_hf.build_tokenizer"
        )
    if vocabulary == "bpe":
        return None
    size, _, mode = vocabulary.partition("mer")
    return (1, False) if vocabulary in ("base", "cnn") else (int(size), mode == "-overlapping")


def build_baseline_tokenizer(
    vocabulary: str, bpe: Tokenizer | None = None, model_max_length: int = 8192
) -> PreTrainedTokenizerFast:
    """Make the stock fast tokenizer of a vocabulary.

    Args:
        vocabulary: one of `VOCABULARIES` but `vq` and `hrq`; it is kept in `tokenizer_config.json`.
        bpe: what `train_bpe` has learnt; for `bpe` alone.
        model_max_length: the longest input in tokens, the two special tokens included.

    Raises:
        ValueError: on another vocabulary, or `bpe` where it does not belong or is missing.

    Example:

    >>> tokenizer = build_baseline_tokenizer("3mer")
    >>> tokenizer.convert_ids_to_tokens(tokenizer("ACGTTTGnACGT").input_ids)
    ['[CLS]', 'ACG', 'TTT', 'G', 'N', 'ACG', 'T', '[SEP]']
    >>> tokenizer = build_baseline_tokenizer("3mer-overlapping")
    >>> tokenizer.convert_ids_to_tokens(tokenizer("ACGTTNAC").input_ids)
    ['[CLS]', 'Acg', 'Cgt', 'Gtt', 'N', 'A', 'C', '[SEP]']
    """
    kmer = kmer_of(vocabulary)
    if (kmer is None) != (bpe is not None):
        raise ValueError(f"vocabulary {vocabulary!r}: 'bpe' takes what train_bpe has learnt, and no other does")
    if bpe is not None:
        backend = Tokenizer.from_str(bpe.to_str())  # the caller's own stays as it is
        return _fast_tokenizer(backend, vocabulary, model_max_length)
    assert kmer is not None
    k, overlapping = kmer
    kmers = ["".join(letters) for letters in itertools.product(NUCLEOTIDES, repeat=k)] if k > 1 else []
    words = [*VOCABULARY, *(kmer.capitalize() if overlapping else kmer for kmer in kmers)]
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    backend.normalizer = _normalizer()
    if overlapping:
        backend.normalizer = normalizers.Sequence([_normalizer(), _overlapping(k)])
        kmer_or_letter = Regex(f"[ACGT][acgt]{{{k - 1}}}|[ACGTN]")
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(kmer_or_letter, behavior="isolated"),
                pre_tokenizers.Split(Regex("^[acgt]+$"), behavior="removed"),  # of runs that are shorter than k
            ]
        )
    else:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(f"[ACGT]{{{k}}}|[ACGTN]"), behavior="isolated")
        backend.decoder = decoders.Fuse()
    return _fast_tokenizer(backend, vocabulary, model_max_length)


def _normalizer() -> Any:
    """Any case, U is T, ambiguity codes are N: the package's own."""
    return build_tokenizer().backend_tokenizer.normalizer


def _overlapping(k: int) -> Any:
    """Spell out the k-mer at every position: ACGTA becomes AcgCgtGta.

    Behind each letter grow copies of those that follow, in lower case: first of the next one, then of the last copy
    behind that, so that the j-th pass finds the j-th letter. Letters at the end of a run, without a k-mer of their own,
    are taken away, unless the whole run is too short for one.
    """
    passes = []
    for copies in range(k - 1):
        for letter in "acgt":
            following = letter.upper() if copies == 0 else f"[ACGT][acgt]{{{copies - 1}}}{letter}"
            group_end = "[ACGT]" if copies == 0 else "[acgt]"
            passes.append(normalizers.Replace(Regex(f"(?<={group_end})(?={following})"), letter))
    rest = f"(?<=[ACGT][acgt]{{{k - 1}}})(?:[ACGT][acgt]{{0,{k - 2}}}(?![acgt]))+"
    return normalizers.Sequence([*passes, normalizers.Replace(Regex(rest), "")])


def _fast_tokenizer(backend: Tokenizer, vocabulary: str, model_max_length: int) -> PreTrainedTokenizerFast:
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    backend.post_processor = build_tokenizer().backend_tokenizer.post_processor
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        vocabulary=vocabulary,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def train_bpe(sequences: Iterable[str], vocab_size: int = BPE_VOCAB_SIZE) -> Tokenizer:
    """Learn a byte pair encoding from sequences.

    N is no part of a longer token, and none is longer than 16 bases.

    Args:
        sequences: of IUPAC letters; windows of a genome, a few million bases in all.
        vocab_size: entries, special tokens and single letters included; DNABERT-2 has 4096.

    Returns:
        For `build_baseline_tokenizer("bpe", bpe=...)`.

    Raises:
        ValueError: if `vocab_size` leaves no room for a merge, a sequence cannot be read, or there is too little to
            learn so many entries from.

    Example:

    >>> bpe = train_bpe(["ACGACGACG", "ACGTACGT"], vocab_size=12)
    >>> bpe.encode("ACGTnAC", add_special_tokens=False).tokens
    ['ACG', 'T', 'N', 'AC']
    """
    if vocab_size <= len(VOCABULARY):
        raise ValueError(f"vocab_size {vocab_size}: special tokens and letters are {len(VOCABULARY)} already")
    backend = Tokenizer(models.BPE(unk_token="[UNK]"))
    backend.normalizer = _normalizer()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{NUCLEOTIDES}]+|N"), behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=[*NUCLEOTIDES, "N"],
        limit_alphabet=len(VOCABULARY) - len(SPECIAL_TOKENS),
        max_token_length=_MAX_TOKEN_BASES,
        show_progress=False,
    )
    backend.train_from_iterator(_checked(sequences), trainer)
    # The trainer sorts the letters; here they get the ids that they have in every vocabulary of this package.
    merges = [tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    tokens = dict.fromkeys([*VOCABULARY, *("".join(pair) for pair in merges)])
    if len(tokens) < vocab_size:
        raise ValueError(
            f"the sequences give {len(tokens)} entries of the {vocab_size} that are wanted: give more sequence, or a "
            "smaller vocabulary"
        )
    backend.model = models.BPE({token: index for index, token in enumerate(tokens)}, merges, unk_token="[UNK]")
    backend.decoder = decoders.Fuse()
    return backend


def _checked(sequences: Iterable[str]) -> Iterator[str]:
    for number, sequence in enumerate(sequences):
        yield decode_ids(encode_sequence(sequence, where=f"sequence {number} (0-based) for the BPE"))


class SequenceEncoder:
    """Sequences to tokens of a baseline's vocabulary; refuses letters that are no nucleotides.

    Args:
        tokenizer: made by `build_baseline_tokenizer`, or loaded from a folder with one.

    Raises:
        ValueError: if the tokenizer does not say which vocabulary it has.

    Attributes:
        tokenizer: the same.
        vocabulary: its name.
        overlap: k, where k-mers overlap; else None.
        bases: (V,) int64, how many bases a token stands for; 0 for special tokens.
        letters: (V, J) int64, its bases: A, C, G, T are 0 to 3, N is 4, none is -1; J is the longest token's length.

    Example:

    >>> encoder = SequenceEncoder(build_baseline_tokenizer("3mer-overlapping"))
    >>> encoder(["ACGT", "ACN"])["input_ids"]
    [[2, 16, 37, 3], [2, 5, 6, 9, 3]]
    >>> encoder(["ACGT", "AC-GT"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: sequence 1 (0-based): '-' at position 2 (0-based) is not a nucleotide: ...
    """

    def __init__(self, tokenizer: Any) -> None:
        name = tokenizer.init_kwargs.get("vocabulary")
        if name is None:
            raise ValueError("this tokenizer is none of the baselines': its tokenizer_config.json names no vocabulary")
        kmer = kmer_of(name)
        self.tokenizer = tokenizer
        self.vocabulary: str = name
        self.overlap = kmer[0] if kmer is not None and kmer[1] else None
        words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        spelt = ["" if word in SPECIAL_TOKENS else word.upper() for word in words]
        self.bases: NDArray[np.int64] = np.array([len(word) for word in spelt])
        self.letters: NDArray[np.int64] = np.full((len(words), int(self.bases.max())), -1)
        for index, word in enumerate(spelt):
            self.letters[index, : len(word)] = ["ACGTN".index(letter) for letter in word]

    @classmethod
    def from_pretrained(cls, path: str | PathLike) -> "SequenceEncoder":
        """Load the tokenizer of a folder.

        Raises:
            ValueError: if there is none, or it is none of the baselines'.
        """
        try:
            return cls(AutoTokenizer.from_pretrained(path))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: {str(error).splitlines()[0]}") from error

    def __call__(self, sequences: Sequence[str], where: str = "sequence", **kwargs: Any) -> BatchEncoding:
        """Tokens of sequences, `[CLS]` and `[SEP]` included.

        Args:
            sequences: of IUPAC letters.
            where: what to call them in an error, before their number.
            kwargs: of the tokenizer, such as `truncation`, `max_length`, `padding`, `return_tensors`.

        Returns:
            `input_ids` and `attention_mask`, a list of ids a sequence.

        Raises:
            ValueError: on an empty sequence or a letter that is no nucleotide, with the sequence's number.
        """
        ids = [encode_sequence(text, where=f"{where} {number} (0-based)") for number, text in enumerate(sequences)]
        return self.tokenizer([decode_ids(row) for row in ids], **kwargs)

    def tokens_of(self, rows: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.int64]]:
        """Tokens of sequences that are nucleotide ids already, without special tokens.

        >>> SequenceEncoder(build_baseline_tokenizer("3mer")).tokens_of([np.array([5, 5, 5, 6])])[0].tolist()
        [10, 6]
        """
        texts = [decode_ids(row) for row in rows]
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(row.ids, dtype=np.int64) for row in encoded]
