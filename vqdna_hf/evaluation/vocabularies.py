# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Vocabularies behind one interface: k-mers, BPE, learned codes; sequences as bags of their codes."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from transformers import PreTrainedModel

from vqdna_hf.data.fasta import encode_sequence
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import whole_records
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.encode import EncodeTask
from vqdna_hf.inference.inputs import CODEC_WINDOW
from vqdna_hf.model.quantization_vqdna import NO_CODE
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LARGEST_K = 12
"""Of k-mers: 4**12 entries are 16.8 million."""


class Vocabulary(Protocol):
    """What turns sequences into codes.

    Attributes:
        name: for tables.
        sizes: entries of each level, coarse to fine; of k-mers and BPE there is one level.

    Example:

    >>> vocabulary: Vocabulary = KmerVocabulary(2)
    >>> vocabulary.name, vocabulary.sizes
    ('2-mer', (16,))
    """

    name: str
    sizes: tuple[int, ...]

    def encode(self, sequences: Sequence[str]) -> list[NDArray[np.int32]]:
        """One (Q, M) array of codes a sequence, -1 where there is no code. M differs from sequence to sequence."""
        ...

    def vectors(self) -> list[NDArray[np.float32]] | None:
        """A (K, D) array of code vectors a level; None where codes have no vectors."""
        ...


class KmerVocabulary:
    """All words of k nucleotides, numbered in the order of the alphabet: A, C, G, T; the first base counts most.

    Args:
        k: bases a word.
        overlapping: a word at every base (M = n - k + 1, word i stands for bases i to i + k - 1), or one every k bases
            (M = n // k, what is left over at the end is dropped).
        canonical: a word and its reverse complement are one; numbers are ranks of the first of both in the order above.

    Raises:
        ValueError: if k is not from 1 to `LARGEST_K`; `encode`: if a sequence is empty or has an illegal letter.

    Example:

    >>> [codes.tolist() for codes in KmerVocabulary(2).encode(["AACG", "acNT", "A"])]
    [[[0, 1, 6]], [[1, -1, -1]], [[]]]
    >>> KmerVocabulary(2, overlapping=False).encode(["AACGT"])[0].tolist()
    [[0, 6]]
    >>> canonical = KmerVocabulary(2, canonical=True)
    >>> canonical.encode(["AAGTT"])[0].tolist(), canonical.sizes  # AA, AG, GT = AC, TT = AA
    ([[0, 2, 1, 0]], (10,))
    """

    def __init__(self, k: int, overlapping: bool = True, canonical: bool = False) -> None:
        if not 1 <= k <= LARGEST_K:
            raise ValueError(f"k={k}: words of 1 to {LARGEST_K} nucleotides are counted")
        self.k, self.overlapping = k, overlapping
        self.name = f"{k}-mer" if overlapping or k == 1 else f"{k}-mer, non-overlapping"
        self.sizes: tuple[int, ...] = (NUM_NUCLEOTIDES**k,)
        self._canonical: NDArray[np.int32] | None = None
        if canonical:
            self.name = f"canonical {self.name}"
            words = np.arange(NUM_NUCLEOTIDES**k, dtype=np.int32)
            other = np.zeros_like(words)
            for place in range(k):  # complements are 3 - base; the last base of a word is the first of the other strand
                other = other * NUM_NUCLEOTIDES + (3 - words // NUM_NUCLEOTIDES**place % NUM_NUCLEOTIDES)
            # Ranks of the words that occur, so that `sizes` counts none that cannot.
            first, ranks = np.unique(np.minimum(words, other), return_inverse=True)
            self._canonical, self.sizes = ranks.astype(np.int32), (len(first),)

    def encode(self, sequences: Sequence[str]) -> list[NDArray[np.int32]]:
        """The word at each place, (1, M); -1 where N stands in it."""
        ids = [encode_sequence(text, where=f"sequence {number}") for number, text in enumerate(sequences)]
        if not ids:
            return []
        words = kmers(np.concatenate(ids), self.k)
        if self._canonical is not None:
            words = np.where(words < 0, words, self._canonical[words])
        starts = np.cumsum([0, *map(len, ids)])
        step = 1 if self.overlapping else self.k
        return [words[None, start : max(end - self.k + 1, start) : step] for start, end in pairwise(starts)]

    def vectors(self) -> None:
        """None: words have no vectors."""
        return None


class StackedVocabulary:
    """Several vocabularies as the levels of one: what a hierarchy of learned codes has to beat.

    Args:
        vocabularies: with one code or more for each sequence; what stands at one place of two levels need not cover
            the same bases.

    Raises:
        ValueError: if there are none.

    Example:

    >>> stacked = StackedVocabulary([KmerVocabulary(1), KmerVocabulary(2)])
    >>> stacked.name, stacked.sizes, stacked.encode(["AACG"])[0].tolist()
    ('1-mer and 2-mer', (4, 16), [[0, 0, 1, 2], [0, 1, 6, -1]])
    """

    def __init__(self, vocabularies: Sequence[Vocabulary]) -> None:
        if not vocabularies:
            raise ValueError("no vocabularies to stack: give one or more")
        self.vocabularies = list(vocabularies)
        self.name = " and ".join(one.name for one in vocabularies)
        self.sizes = tuple(size for one in vocabularies for size in one.sizes)

    def encode(self, sequences: Sequence[str]) -> list[NDArray[np.int32]]:
        """The codes of each sequence, (sum of levels, M), M that of the vocabulary with most; -1 behind the others."""
        return [_stack(codes) for codes in zip(*(one.encode(sequences) for one in self.vocabularies), strict=True)]

    def vectors(self) -> None:
        """None: the parts' vectors are of different spaces."""
        return None


def _stack(codes: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    longest = max(one.shape[1] for one in codes)
    return np.concatenate([np.pad(one, ((0, 0), (0, longest - one.shape[1])), constant_values=-1) for one in codes])


class BPEVocabulary:
    """A trained byte-pair (or other) tokenizer of the library `tokenizers`.

    Sequences are read in upper case; special tokens are not added. M is the number of tokens.

    Args:
        tokenizer: trained on nucleotides.
        name: for tables.

    Example:

    >>> from tokenizers import Tokenizer, models
    >>> tokenizer = Tokenizer(models.BPE({"A": 0, "C": 1, "AC": 2, "?": 3}, [("A", "C")], unk_token="?"))
    >>> BPEVocabulary(tokenizer).encode(["acAN"])[0].tolist()
    [[2, 0, -1]]
    """

    def __init__(self, tokenizer: "Tokenizer", name: str = "BPE") -> None:
        self.tokenizer, self.name = tokenizer, name
        self.sizes: tuple[int, ...] = (tokenizer.get_vocab_size(),)
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown = None if unknown is None else tokenizer.token_to_id(unknown)

    def encode(self, sequences: Sequence[str]) -> list[NDArray[np.int32]]:
        """The tokens of each sequence, (1, M); -1 for the unknown token."""
        read = self.tokenizer.encode_batch_fast([text.upper() for text in sequences], add_special_tokens=False)
        found = [np.array(encoding.ids, dtype=np.int32)[None] for encoding in read]
        if self._unknown is not None:
            for codes in found:
                codes[codes == self._unknown] = NO_CODE
        return found

    def vectors(self) -> None:
        """None: tokens have no vectors before a model is trained on them."""
        return None


class CodecVocabulary:
    """A learned vocabulary: the codes that `vqdna encode` gives on the forward strand.

    M is the number of bases over `codec_stride`, rounded up; -1 stands where the base, or all of a patch, is N.

    Args:
        model: any checkpoint of this package, codec or language model: a folder, a Hub id, or a model in memory.
        batch_size: sequences read at once at most; less where they are long.
        device: as in torch, or `auto`.
        name: for tables; default: the folder's.

    Raises:
        ValueError: see `load_checkpoint`; `encode`: if a sequence is empty or has an illegal letter.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> vocabulary = CodecVocabulary(VQDNACodecModel(config).eval())
    >>> vocabulary.sizes, [codes.shape for codes in vocabulary.encode(["ACGTN", "AC"])]
    ((8, 16), [(2, 5), (2, 2)])
    >>> [vectors.shape for vectors in vocabulary.vectors()]
    [(8, 8), (16, 8)]
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
        batch_size: int = 64,
        device: str = "cpu",
        name: str | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least one sequence must be read at once")
        self.checkpoint = load_checkpoint(model, "codec", device=device)
        self.batch_size = batch_size
        self.name = Path(self.checkpoint.name).name if name is None else name
        self.sizes: tuple[int, ...] = tuple(self.checkpoint.codebook_sizes)

    @property
    def stride(self) -> int:
        """Bases a code stands for."""
        return self.checkpoint.bases_per_code

    def encode(self, sequences: Sequence[str]) -> list[NDArray[np.int32]]:
        """The codes of every level, (Q, M)."""
        if not sequences:
            return []
        genome = Genome.from_sequences([*map(str, range(len(sequences)))], sequences, path="sequences")
        longest = min(max(map(len, sequences)), CODEC_WINDOW)
        batch_bases = min(self.checkpoint.batcher().batch_bases, self.batch_size * longest)
        task = EncodeTask(self.checkpoint, genome, whole_records(genome), batch_bases=batch_bases)
        parts: list[NDArray[np.int32]] = []
        counts = np.zeros(len(sequences), dtype=np.int64)
        for unit in task.units():
            table = task.compute(unit)
            columns = [table[f"codes_{level + 1}"].combine_chunks() for level in range(len(self.sizes))]
            parts.append(np.stack([column.flatten().to_numpy() for column in columns]).astype(np.int32))
            np.add.at(counts, table["region"].to_numpy(), columns[0].value_lengths().to_numpy())
        codes, ends = np.concatenate(parts, axis=1), np.cumsum(counts)
        return [codes[:, end - count : end] for end, count in zip(ends, counts, strict=True)]

    def vectors(self) -> list[NDArray[np.float32]]:
        """The codebooks, (K, D) each."""
        books = self.checkpoint.encoder.quantizer.codebooks
        return [book.embed.detach().float().cpu().numpy() for book in books]


def kmers(ids: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
    """The word of k nucleotides that begins at each position of one sequence.

    Args:
        ids: (n,) nucleotide ids, n at least 1.
        k: bases a word.

    Returns:
        (max(n - k + 1, 0),) numbers of words, -1 where one holds something other than A, C, G, T.

    Example:

    >>> kmers(encode_sequence("TTAN", where="a test"), 2).tolist()
    [15, 12, -1]
    """
    count = max(len(ids) - k + 1, 0)
    digits = ids.astype(np.int32) - FIRST_NUCLEOTIDE_ID
    unknown = (digits < 0) | (digits >= NUM_NUCLEOTIDES)
    words, broken = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.bool_)
    for place in range(k):
        words *= NUM_NUCLEOTIDES
        words += digits[place : place + count]
        broken |= unknown[place : place + count]
    words[broken] = NO_CODE
    return words


def bag_of_codes(
    vocabulary: Vocabulary, sequences: Sequence[str], levels: Sequence[int] | None = None
) -> sparse.csr_matrix:
    """How often each code stands in each sequence, as a share of the sequence's codes.

    Args:
        vocabulary: any.
        sequences: N of them.
        levels: which ones, from 0, in this order; default: all, side by side, coarse to fine.

    Returns:
        (N, sum of the levels' sizes) float32. Each level's part of a row sums to 1, or to 0 where there is no code.

    Raises:
        ValueError: if there is no such level; what the vocabulary refuses.

    Example:

    >>> bag_of_codes(KmerVocabulary(1), ["AACT", "NN"]).toarray().tolist()
    [[0.5, 0.25, 0.0, 0.25], [0.0, 0.0, 0.0, 0.0]]
    """
    chosen = range(len(vocabulary.sizes)) if levels is None else levels
    for level in chosen:
        if not 0 <= level < len(vocabulary.sizes):
            raise ValueError(f"level {level}: {vocabulary.name} has levels 0 to {len(vocabulary.sizes) - 1}")
    encoded = vocabulary.encode(sequences)
    if not encoded:
        return sparse.csr_matrix((0, sum(vocabulary.sizes[level] for level in chosen)), dtype=np.float32)
    rows = np.repeat(np.arange(len(encoded)), [codes.shape[1] for codes in encoded])
    codes = np.concatenate(encoded, axis=1)
    bags = [_bag(rows, codes[level], (len(encoded), vocabulary.sizes[level])) for level in chosen]
    return sparse.hstack(bags, format="csr", dtype=np.float32)


def mean_vectors(vocabulary: Vocabulary, sequences: Sequence[str]) -> NDArray[np.float32]:
    """The mean code vector of each sequence at each level, side by side.

    Args:
        vocabulary: one that has vectors.
        sequences: N of them.

    Returns:
        (N, sum of the levels' D) float32; zeros where a sequence has no code.

    Raises:
        ValueError: if the vocabulary has no vectors.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> mean_vectors(CodecVocabulary(VQDNACodecModel(config).eval()), ["ACGT", "AC"]).shape
    (2, 16)
    """
    return mean_vectors_of_bag(vocabulary, bag_of_codes(vocabulary, sequences))


def mean_vectors_of_bag(vocabulary: Vocabulary, bag: sparse.csr_matrix) -> NDArray[np.float32]:
    """`mean_vectors` of sequences whose bag of all levels is at hand: the codes are not computed again.

    Raises:
        ValueError: if the vocabulary has no vectors, or the bag is not of all its levels.

    Example:

    >>> mean_vectors_of_bag(KmerVocabulary(1), bag_of_codes(KmerVocabulary(1), ["A"]))
    Traceback (most recent call last):
    ...
    ValueError: 1-mer: its codes have no vectors; take bag_of_codes
    """
    vectors = vocabulary.vectors()
    if vectors is None:
        raise ValueError(f"{vocabulary.name}: its codes have no vectors; take bag_of_codes")
    if bag.shape[1] != sum(vocabulary.sizes):
        raise ValueError(f"{vocabulary.name}: a bag of {bag.shape[1]} codes, and all levels are {vocabulary.sizes}")
    edges = np.cumsum([0, *vocabulary.sizes])
    means = [bag[:, start:end] @ book for start, end, book in zip(edges[:-1], edges[1:], vectors, strict=True)]
    return np.concatenate(means, axis=1).astype(np.float32)


def _bag(rows: NDArray[np.int64], codes: NDArray[np.int32], shape: tuple[int, int]) -> sparse.csr_matrix:
    known = codes != NO_CODE
    rows, codes = rows[known], codes[known]
    share = 1.0 / np.maximum(np.bincount(rows, minlength=shape[0]), 1)
    counts = sparse.coo_matrix((np.ones(len(rows), dtype=np.float32), (rows, codes)), shape=shape).tocsr()
    return sparse.csr_matrix(sparse.diags(share.astype(np.float32)) @ counts)
