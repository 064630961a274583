# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A sample of a genome in codes, on both strands, and what these codes tell: use, k-mers, strands, annotation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region
from vqdna_hf.evaluation.annotation import Annotation
from vqdna_hf.evaluation.information import centred_kmers, mutual_information
from vqdna_hf.evaluation.vocabularies import Vocabulary
from vqdna_hf.inference.batching import pad_batch
from vqdna_hf.inference.checkpoints import Checkpoint
from vqdna_hf.model.quantization_vqdna import NO_CODE, usage_and_perplexity
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES

CHUNK_BASES = 4_096
"""Bases of a chunk of a sample. A multiple of every `codec_stride`, so that the patches of both strands coincide."""

CONTROLS = (3, 5)
"""The k-mers beside which every measure of codes is put."""

KS = (1, 2, 3, 4, 5, 6)
REACH = 8
"""Bases on each side of a code whose information is measured one by one."""

ROTATIONS = 20
"""How often an annotation is rotated against the codes: the largest of 20 is passed by chance once in 21 times."""

_ALIGNED = 8


def sample_regions(
    genome: Genome, max_bases: int, *, seed: int = 0, records: Sequence[str] | None = None, chunk: int = CHUNK_BASES
) -> list[Region]:
    """Chunks of a genome that do not overlap, drawn without preference; all of it, if it is no longer.

    Args:
        genome: what is sampled.
        max_bases: of all chunks together, at most (one chunk at least).
        seed: of the choice.
        records: only of these.
        chunk: bases of a chunk; that at a record's end may be shorter, and is cut to a multiple of 8.

    Returns:
        Regions in the genome's order.

    Raises:
        ValueError: if there is no record with 8 bases.

    Example:

    >>> genome = Genome.from_sequences(["a", "b"], ["ACGT" * 500, "ACGTA"])
    >>> [region[:3] for region in sample_regions(genome, 800, chunk=400)]
    [('a', 800, 1200), ('a', 1600, 2000)]
    """
    names = list(genome.lengths) if records is None else list(records)
    places = [(name, start) for name in names for start in range(0, genome.lengths[name], chunk)]
    regions = []
    for name, start in places:
        length = min(chunk, genome.lengths[name] - start)
        if length >= _ALIGNED:
            end = start + length - length % _ALIGNED
            regions.append(Region(name, start, end, f"{name}:{start}", "."))
    if not regions:
        raise ValueError(f"{genome.path}: no record has {_ALIGNED} bases: there is nothing to measure")
    order = np.random.default_rng(seed).permutation(len(regions))
    taken: list[int] = []
    filled = 0
    for number in order:
        if taken and filled + regions[number].length > max_bases:
            break
        taken.append(number)
        filled += regions[number].length
    return [regions[number] for number in sorted(taken)]


@dataclass(frozen=True, eq=False)
class GenomeCodes:
    """The codes of a sample's chunks on both strands.

    Args:
        regions: the chunks.
        ids: (n,) nucleotide ids of each, forward strand.
        forward: (Q, n / stride) codes of each.
        reverse: those of its reverse complement, in the reverse strand's own order.
        sizes: entries of each level.
        stride: bases a code.

    Example:

    >>> from vqdna_hf.evaluation.vocabularies import KmerVocabulary
    >>> genome = Genome.from_sequences(["a"], ["ACGTACGT"])
    >>> encode_sample(KmerVocabulary(1), genome, sample_regions(genome, 8)).column(0).tolist()
    [0, 1, 2, 3, 0, 1, 2, 3]
    """

    regions: Sequence[Region] = field(repr=False)
    ids: Sequence[NDArray[np.uint8]] = field(repr=False)
    forward: Sequence[NDArray[np.int32]] = field(repr=False)
    reverse: Sequence[NDArray[np.int32]] = field(repr=False)
    sizes: tuple[int, ...]
    stride: int = 1

    @property
    def bases(self) -> int:
        """Of all chunks, one strand."""
        return sum(map(len, self.ids))

    @cached_property
    def other_ids(self) -> list[NDArray[np.uint8]]:
        """The chunks' reverse complements."""
        return [reverse_complement_array(ids) for ids in self.ids]

    def column(self, level: int, reverse: bool = False) -> NDArray[np.int32]:
        """The codes of one level (positions,), all chunks joined."""
        return np.concatenate([codes[level] for codes in (self.reverse if reverse else self.forward)])

    def mirrored(self, level: int) -> NDArray[np.int32]:
        """For each place of `column(level)`, the code that the same bases have on the other strand."""
        return np.concatenate([codes[level, ::-1] for codes in self.reverse])

    def kmers(self, k: int, reverse: bool = False) -> NDArray[np.int32]:
        """The centred k-mer at each place of `column(level, reverse)`."""
        chunks = self.other_ids if reverse else self.ids
        return np.concatenate([centred_kmers(ids, k, self.stride) for ids in chunks])

    def mirrored_kmers(self, k: int) -> NDArray[np.int32]:
        """As `mirrored`, of the centred k-mer."""
        return np.concatenate([centred_kmers(ids, k, self.stride)[::-1] for ids in self.other_ids])


def encode_sample(vocabulary: Vocabulary, genome: Genome, regions: Sequence[Region]) -> GenomeCodes:
    """Encode chunks of a genome on both strands.

    Args:
        vocabulary: one with a code for each patch of `vocabulary.stride` bases (1, if it does not say).
        genome: what they are of.
        regions: from `sample_regions`.

    Raises:
        ValueError: before anything is encoded, if they hold no A, C, G or T.
    """
    ids = [genome.fetch(region.chrom, region.start, region.end) for region in regions]
    if not any((chunk < FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES).any() for chunk in ids):
        raise ValueError(f"{genome.path}: the sample holds no A, C, G or T: take more bases, or is it the genome?")
    texts = [decode_ids(chunk) for chunk in ids]
    others = [decode_ids(reverse_complement_array(chunk)) for chunk in ids]
    codes = vocabulary.encode([*texts, *others])
    stride = getattr(vocabulary, "stride", 1)
    return GenomeCodes(regions, ids, codes[: len(ids)], codes[len(ids) :], vocabulary.sizes, stride)


def usage_of(sample: GenomeCodes) -> list[dict[str, Any]]:
    """How much of each level is used: `size`, `used` entries, their share `usage`, `perplexity`, `positions`.

    Example:

    >>> from vqdna_hf.evaluation.vocabularies import KmerVocabulary
    >>> genome = Genome.from_sequences(["a"], ["ACACACAC"])
    >>> sample = encode_sample(KmerVocabulary(1), genome, sample_regions(genome, 8))
    >>> usage_of(sample)[0]
    {'size': 4, 'used': 2, 'usage': 0.5, 'perplexity': 2.0, 'positions': 8}
    """
    found = []
    for level, size in enumerate(sample.sizes):
        codes = sample.column(level)
        counts = np.bincount(codes[codes != NO_CODE], minlength=size)
        usage, perplexity = usage_and_perplexity(torch.from_numpy(counts))
        found.append(
            {
                "size": size,
                "used": int((counts > 0).sum()),
                "usage": round(float(usage), 4),
                "perplexity": round(float(perplexity), 2),
                "positions": int(counts.sum()),
            }
        )
    return found


def kmer_information(sample: GenomeCodes, ks: Sequence[int] = KS) -> list[dict[str, Any]]:
    """Mutual information of each level's codes with the centred k-mers.

    Returns:
        For each level, by k as text, what `mutual_information` gives, and `unexplained`: the bits of the codes' entropy
        that the k-mer does not tell.

    Example:

    >>> from vqdna_hf.data import simulate_genome
    >>> from vqdna_hf.evaluation.vocabularies import KmerVocabulary
    >>> genome = Genome.from_sequences(["a"], [simulate_genome(8_000, seed=0)])
    >>> sample = encode_sample(KmerVocabulary(1), genome, sample_regions(genome, 8_000))
    >>> kmer_information(sample, [3])[0]["3"]["normalised"], kmer_information(sample, [3])[0]["3"]["unexplained"]
    (1.0, 0.0)
    """
    words = {k: sample.kmers(k) for k in ks}
    found = []
    for level in range(len(sample.sizes)):
        codes = sample.column(level)
        row = {str(k): mutual_information(codes, column) for k, column in words.items()}
        for one in row.values():
            one["unexplained"] = round(max(one["entropy"] - one["bits"], 0.0), 6)
        found.append(row)
    return found


def offset_information(sample: GenomeCodes, reach: int = REACH) -> dict[str, Any]:
    """Mutual information of each level's codes with the base at each distance: which bases a code is about.

    A code need not tell of its own base: what it tells of is what training left to it.

    Returns:
        `offsets` in bases from the middle of a code's patch, and `levels`: for each the corrected `bits` at each offset
        (2 at most).

    Example:

    >>> from vqdna_hf.data import simulate_genome
    >>> from vqdna_hf.evaluation.vocabularies import KmerVocabulary
    >>> genome = Genome.from_sequences(["a"], [simulate_genome(8_000, seed=0)])
    >>> sample = encode_sample(KmerVocabulary(1), genome, sample_regions(genome, 8_000))
    >>> found = offset_information(sample, reach=1)
    >>> found["offsets"], [bits > 1.8 for bits in found["levels"][0]]
    ([-1, 0, 1], [False, True, False])
    """
    offsets = list(range(-reach, reach + 1))
    bases = {offset: _bases_at(sample, offset) for offset in offsets}
    levels = [
        [mutual_information(sample.column(level), bases[offset])["bits"] for offset in offsets]
        for level in range(len(sample.sizes))
    ]
    return {"offsets": offsets, "levels": levels}


def _bases_at(sample: GenomeCodes, offset: int) -> NDArray[np.int32]:
    """The base at a distance from the middle of each code's patch, -1 beyond the chunk and at N."""
    columns = []
    for ids in sample.ids:
        words = centred_kmers(ids, 1)
        places = np.arange((sample.stride - 1) // 2, len(ids), sample.stride) + offset
        inside = (places >= 0) & (places < len(ids))
        columns.append(np.where(inside, words[places.clip(0, len(ids) - 1)], NO_CODE))
    return np.concatenate(columns)


def strand_information(sample: GenomeCodes, controls: Sequence[int] = CONTROLS) -> dict[str, Any]:
    """What a code tells of the code that the same bases have on the other strand.

    Returns:
        `levels`, one for each, and `controls` by k: `agreement`, the share of places where both are the same, and what
        `mutual_information` of the two gives. Of a centred k-mer with odd k the other strand's is known.
    """

    def compare(one: NDArray[np.int32], other: NDArray[np.int32]) -> dict[str, Any]:
        known = (one != NO_CODE) & (other != NO_CODE)
        agreement = float((one[known] == other[known]).mean()) if known.any() else 0.0
        return {"agreement": round(agreement, 6), **mutual_information(one, other)}

    return {
        "levels": [compare(sample.column(level), sample.mirrored(level)) for level in range(len(sample.sizes))],
        "controls": {str(k): compare(sample.kmers(k), sample.mirrored_kmers(k)) for k in controls},
    }


def annotation_information(
    sample: GenomeCodes,
    annotation: Annotation,
    controls: Sequence[int] = CONTROLS,
    *,
    rotations: int = ROTATIONS,
    seed: int = 0,
) -> dict[str, Any]:
    """Mutual information of codes with what an annotation says of the middle base, both strands read.

    `mutual_information` corrects for chance as if places were independent. Labels stand in runs, and genomes have
    stretches of their own composition, so two things that have nothing to do with each other share more than that. What
    they share is measured too: within each record the labels of both strands are turned in a circle by a random
    quarter to three quarters of the sampled bases, so that runs and stretches stay as they are and no label stands
    where it belongs. Bits that do not exceed `rotated_max` are no evidence of anything.

    Args:
        sample: of records that are annotated.
        annotation: of the same genome.
        controls: centred k-mers that are measured beside the codes.
        rotations: how many; 0 leaves them out.
        seed: of the rotations, the same for all levels, controls and tracks.

    Returns:
        By track: `levels`, one for each, `controls` by k, what `mutual_information` gives, and of the `bits` after each
        rotation the mean and the largest, `rotated_mean`, `rotated_max`; and `labelled`, how many places have each
        label.
    """
    columns = [
        np.concatenate([sample.column(level), sample.column(level, reverse=True)]) for level in range(len(sample.sizes))
    ]
    words = {str(k): np.concatenate([sample.kmers(k), sample.kmers(k, reverse=True)]) for k in controls}
    found: dict[str, Any] = {}
    for track in annotation.tracks:
        chunks = [
            np.stack([annotation.labels(track, region, False), annotation.labels(track, region, True)[::-1]])
            for region in sample.regions
        ]
        labels = _read_labels(chunks, sample.stride)
        rng = np.random.default_rng(seed)
        turned = [_read_labels(_rotated(chunks, sample.regions, rng), sample.stride) for _ in range(rotations)]

        def tell(
            column: NDArray[np.int32], labels: NDArray[np.int8] = labels, turned: Sequence[NDArray[np.int8]] = turned
        ) -> dict[str, Any]:
            bits = [mutual_information(column, other)["bits"] for other in turned]
            null = {"rotated_mean": round(float(np.mean(bits)), 6), "rotated_max": max(bits)} if bits else {}
            return {**mutual_information(column, labels), **null}

        values, counts = np.unique(labels[labels >= 0], return_counts=True)
        found[track] = {
            "labelled": {str(value): int(count) for value, count in zip(values, counts, strict=True)},
            "levels": [tell(column) for column in columns],
            "controls": {k: tell(column) for k, column in words.items()},
        }
    return found


def _read_labels(chunks: Sequence[NDArray[np.int8]], stride: int) -> NDArray[np.int8]:
    """Of (2, n) labels in the forward strand's order those of the patches' middle bases, each strand in its own."""
    middle = (stride - 1) // 2
    strands = [[labels[0] for labels in chunks], [labels[1, ::-1] for labels in chunks]]
    return np.concatenate([labels[middle::stride] for strand in strands for labels in strand])


def _rotated(
    chunks: Sequence[NDArray[np.int8]], regions: Sequence[Region], rng: np.random.Generator
) -> list[NDArray[np.int8]]:
    """The chunks of each record joined, turned in a circle, and cut as before; regions are in the genome's order."""
    found: list[NDArray[np.int8]] = []
    for _, numbers in groupby(range(len(regions)), lambda number: regions[number].chrom):
        own = [chunks[number] for number in numbers]
        joined = np.concatenate(own, axis=1)
        bases = joined.shape[1]
        turned = np.roll(joined, rng.integers(bases // 4, bases - bases // 4), axis=1)
        found += np.split(turned, np.cumsum([labels.shape[1] for labels in own])[:-1], axis=1)
    return found


def reconstruction(checkpoint: Checkpoint, sample: GenomeCodes) -> dict[str, Any]:
    """How many nucleotides the decoder gives back from the codes.

    Args:
        checkpoint: with a decoder.
        sample: of the codec's own codes.

    Returns:
        `accuracy` over A, C, G, T, `bases`, and `commonest`: the accuracy of always naming the commonest base.
    """
    model: Any = checkpoint.model
    right = np.zeros(NUM_NUCLEOTIDES, dtype=np.int64)
    counts = np.zeros(NUM_NUCLEOTIDES, dtype=np.int64)
    batcher = checkpoint.batcher()

    def guess(numbers: list[int]) -> list[NDArray[np.int64]]:
        chunks = [sample.ids[number] for number in numbers]
        ids, mask = pad_batch(chunks, special=False)
        with torch.inference_mode():
            # forward, and not the sample's codes: those of N were taken out of it
            output = model(checkpoint.to_device(ids), checkpoint.to_device(mask), return_loss=False)
        return [row[: len(chunk)] for row, chunk in zip(output.logits.argmax(-1).cpu().numpy(), chunks, strict=True)]

    for ids, guessed in zip(sample.ids, batcher.map([*map(len, sample.ids)], guess), strict=True):
        digits = ids.astype(np.int64) - FIRST_NUCLEOTIDE_ID
        known = (digits >= 0) & (digits < NUM_NUCLEOTIDES)
        counts += np.bincount(digits[known], minlength=NUM_NUCLEOTIDES)
        right += np.bincount(digits[known & (digits == guessed)], minlength=NUM_NUCLEOTIDES)
    total = max(int(counts.sum()), 1)
    return {
        "accuracy": round(float(right.sum() / total), 6),
        "bases": int(counts.sum()),
        "commonest": round(float(counts.max() / total), 6),
    }
