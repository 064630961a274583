# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model says of a variant: a log-likelihood ratio, a distance of hidden states, and the codes that change.

Both alleles are put between the same flanking bases of the genome. All three scores are 0 for equal alleles; swapping
REF and ALT flips the sign of the ratio and leaves the distances as they are.

Shape letters: L positions of a window, H hidden size, Q levels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.vcf import Allele
from vqdna_hf.inference.batching import pad_batch, rows_of
from vqdna_hf.inference.checkpoints import Checkpoint
from vqdna_hf.inference.windows import check_strand
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, MASK_ID, N_ID, NUM_NUCLEOTIDES

SCORES = ("llr", "distance", "codes")
"""The masked log-likelihood ratio, distances of hidden states, and changes of codes."""

DEFAULT_WINDOW = 512
"""Nucleotides around a variant, where the model reads that many."""

ABOUT = {
    "llr": ("Float", "Masked log-likelihood ratio, nats a base: below 0 the model prefers REF"),
    "cosine": ("Float", "Cosine distance of hidden states, mean over the bases around"),
    "l2": ("Float", "Euclidean distance of hidden states, mean over the bases around"),
    "changed": ("Integer", "Bases whose code changes, level {level} (1 is the coarsest)"),
    "span": ("Integer", "Bases from the first to the last whose code changes, level {level}"),
    "codes": ("String", "Changes of codes, level {level}: offset in bases from the allele:code with REF>code with ALT"),
}
"""Of each kind of column the type, as VCF has it, and what it is."""

Ids = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Haplotypes:
    """Two alleles between the same flanking bases, as nucleotide ids.

    Args:
        left, right: (l,) and (r,) the bases before and behind the alleles.
        ref, alt: (a,) and (b,) the alleles; one of them may be empty.

    Example:

    >>> flank = np.array([5, 5], np.uint8)
    >>> pair = Haplotypes(flank, np.array([6], np.uint8), np.array([7], np.uint8), flank)
    >>> pair.with_alt().tolist(), pair.other_strand().with_alt().tolist()
    ([5, 5, 7, 5, 5], [8, 8, 6, 8, 8])
    """

    left: Ids
    ref: Ids
    alt: Ids
    right: Ids

    @property
    def is_aligned(self) -> bool:
        """Whether the alleles are equally long, so that each base of one has its place in the other."""
        return len(self.ref) == len(self.alt)

    def with_ref(self) -> Ids:
        """The window (l + a + r,) with REF."""
        return np.concatenate([self.left, self.ref, self.right])

    def with_alt(self) -> Ids:
        """The window (l + b + r,) with ALT."""
        return np.concatenate([self.left, self.alt, self.right])

    def other_strand(self) -> "Haplotypes":
        """Both windows as their reverse complements."""
        parts = (self.right, self.ref, self.alt, self.left)
        return Haplotypes(*map(reverse_complement_array, parts))

    def masked(self) -> tuple[tuple[Ids, Ids], tuple[Ids, Ids]]:
        """For each allele its window with `[MASK]` at the bases that are asked for, and these bases.

        Where the alleles are equally long these are the alleles' own. Else one base of each flank is asked for as well,
        as far as there is one: so an allele that is empty has something to say, too.
        """
        anchor = 0 if self.is_aligned else 1
        before = len(self.left) - min(anchor, len(self.left))
        behind = min(anchor, len(self.right))
        hidden = []
        for allele in (self.ref, self.alt):
            asked = np.concatenate([self.left[before:], allele, self.right[:behind]])
            window = np.concatenate([self.left[:before], np.full_like(asked, MASK_ID), self.right[behind:]])
            hidden.append((window, asked))
        return hidden[0], hidden[1]

    def aligned(self, ref_rows: Any, alt_rows: Any) -> tuple[Any, Any]:
        """Of one row a position, those of bases that both windows have: the flanks, and alleles equally long.

        Args:
            ref_rows: (l + a + r, ...) of the window with REF, array or tensor.
            alt_rows: (l + b + r, ...) of the window with ALT.

        Returns:
            Twice (n, ...).
        """
        if self.is_aligned:
            return ref_rows, alt_rows
        join = torch.cat if isinstance(ref_rows, Tensor) else np.concatenate
        found = []
        for rows, allele in ((ref_rows, self.ref), (alt_rows, self.alt)):
            found.append(join([rows[: len(self.left)], rows[len(self.left) + len(allele) :]]))
        return found[0], found[1]


def cut_window(genome: Genome, allele: Allele, window: int) -> Haplotypes:
    """The bases around an allele, at most `window` with the longer one: as many on the left as on the right.

    Where the record ends too soon on one side, the other side gets what is missing.

    Args:
        genome: with the allele's record.
        allele: in normal form.
        window: bases.

    Example:

    >>> genome = Genome.from_sequences(["chr1"], ["ACGTACGTAC"])
    >>> pair = cut_window(genome, Allele("chr1", 1, b"\\x06", b"\\x08"), window=5)
    >>> len(pair.left), len(pair.right)
    (1, 3)
    """
    half = (window - max(len(allele.ref), len(allele.alt))) // 2
    before, behind = allele.start, genome.lengths[allele.chrom] - allele.end
    left = min(half, before)
    right = min(2 * half - left, behind)
    return _cut(genome, allele, min(2 * half - right, before), right)


def _cut(genome: Genome, allele: Allele, left: int, right: int) -> Haplotypes:
    bases = genome.fetch(allele.chrom, allele.start - left, allele.end + right)
    ref, alt = (np.frombuffer(one, dtype=np.uint8) for one in (allele.ref, allele.alt))
    return Haplotypes(bases[:left], ref, alt, bases[left + len(allele.ref) :])


def position_distances(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Distances row by row, exact for rows that hardly differ, where `1 - cos` would be all rounding.

    Args:
        one, other: (n, H).

    Returns:
        Cosine distance 1 - cos, in 0..2, and Euclidean distance, (n,) each.

    Example:

    >>> cosine, l2 = position_distances(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
    >>> round(cosine.item(), 6), round(l2.item(), 6)
    (1.0, 2.236068)
    """
    # Of unit vectors, |u - v|^2 = 2 - 2 cos.
    cosine = (F.normalize(one, dim=-1) - F.normalize(other, dim=-1)).square().sum(-1) / 2
    return cosine, (one - other).norm(dim=-1)


class VariantScorer:
    """Scores alleles with a checkpoint.

    **Log-likelihood ratio** `llr`: the alleles' bases are masked, and each window's masked bases are predicted: the
    mean of log p over those of the ALT window less that over those of the REF window, in nats a base; p is normalised
    over A, C, G, T. For a single-nucleotide variant that is log p(ALT) - log p(REF) at one masked position. Where the
    alleles differ in length one base of each flank is masked along, and the mean, not the sum, keeps the longer
    haplotype from being less likely for its length alone. Below 0: the model prefers REF.

    **Distances** `cosine` and `l2` of the hidden states of both windows, unmasked, position by position, mean over the
    bases that both have (alleles of different lengths themselves have no partner). They shrink with the window, since
    far from the variant little changes: compare those of one window only.

    **Code changes**, for each level (1 is the coarsest): `changed_1` the number of bases that both haplotypes have and
    whose code differs; `span_1` the bases of the reference from the first to the last of them; `codes_1` all changes as
    `offset:ref>alt`, joined by `|`, the offset in bases of the reference from the allele's first. They do not depend
    on the window: the codec reads as many flanking bases as it can see.

    With `strand="both"` ratio and distances are means over the strands; codes are then those of the forward strand.

    Where a code stands for s > 1 bases (`codec_stride`): ratio and distances read windows that are cut into patches
    from their own first base on each strand, for both alleles alike; away from a record's ends, alleles of one length
    always lie at the same place of a patch. Code changes compare the records with REF and with ALT as `encode` cuts
    them, from the record's first base on the strand that is read: codes with REF are those of `encode`. They count
    bases, s where one whole code changes; neighbours that share both codes are one item of `codes_1`, at the offset of
    the first. An indel whose length is no multiple of s moves every patch behind it, and codes may change for that
    alone: counted are bases whose code, with REF or with ALT, can see the allele.

    Args:
        checkpoint: with a masked-LM head for `llr`, with a backbone for `distance`.
        scores: of `SCORES`.
        window: nucleotides around a variant; default 512, or what the model reads. Cost grows with it, and a model
            answers best at the length it was trained on.
        layer: whose hidden states are compared: 0 is the embedding, -1 the last; checked without `distance`, too.
        strand: `forward`, `reverse` or `both`.
        batch_bases: see `Checkpoint.batcher`.

    Raises:
        ValueError: for a score, layer or strand that does not exist, or a window that the model cannot read.

    Example:

    >>> from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
    >>> from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8], tap_positions=[6])
    >>> scorer = VariantScorer(Checkpoint("codec", VQDNACodecModel(config).eval(), torch.device("cpu")), ["codes"])
    >>> same = Allele("chr1", 4, b"\\x05", b"\\x05")
    >>> scorer.score(Genome.from_sequences(["chr1"], ["ACGTACGTAC"]), [same])
    {'changed_1': [0], 'span_1': [0], 'codes_1': ['']}
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        scores: str | Iterable[str] = SCORES,
        *,
        window: int | None = None,
        layer: int = -1,
        strand: str = "both",
        batch_bases: int | None = None,
    ) -> None:
        self.checkpoint, self.strand, self.layer = checkpoint, check_strand(strand), layer
        self.scores = check_scores(scores)
        longest = checkpoint.longest_window
        self.window = min(DEFAULT_WINDOW, longest or DEFAULT_WINDOW) if window is None else window
        if self.window < 1 or (longest is not None and self.window > longest):
            raise ValueError(f"window={window}: this model reads 1 to {longest or 'any number of'} nucleotides at once")
        check_layer(checkpoint, layer)
        self.batcher = checkpoint.batcher(batch_bases)
        self._strands = {"forward": [False], "reverse": [True], "both": [False, True]}[strand]
        self._stride, self._sight = checkpoint.bases_per_code, checkpoint.codec_config.context

    @property
    def columns(self) -> dict[str, str]:
        """What `score` gives, in its order, and what it is: the key of `ABOUT`."""
        names = ["llr"] * ("llr" in self.scores) + ["cosine", "l2"] * ("distance" in self.scores)
        if "codes" in self.scores:
            levels = range(1, len(self.checkpoint.codebook_sizes) + 1)
            names += [f"{kind}_{level}" for level in levels for kind in ("changed", "span", "codes")]
        return {name: name.partition("_")[0] for name in names}

    @property
    def bases_per_allele(self) -> int:
        """Nucleotides that the model reads for one allele, about."""
        windows = ("llr" in self.scores) + 2 * ("distance" in self.scores)
        return windows * len(self._strands) * self.window + ("codes" in self.scores) * 2 * (2 * self._margin + 1)

    @property
    def _margin(self) -> int:
        """Bases on each side of an allele that the codes of counted bases see.

        A base counts where its code with one allele sees that; with the other its patch may end s - 1 bases later.
        """
        return 2 * (self._sight + self._stride - 1)

    def score(self, genome: Genome, alleles: Sequence[Allele]) -> dict[str, list[Any]]:
        """Score alleles.

        Args:
            genome: with their records.
            alleles: in normal form.

        Returns:
            Columns by name, in a fixed order, with one value an allele.
        """
        columns: dict[str, list[Any]] = {}
        if "llr" in self.scores or "distance" in self.scores:
            forward = [cut_window(genome, allele, self.window) for allele in alleles]
            strands = [[pair.other_strand() for pair in forward] if turn else forward for turn in self._strands]
        if "llr" in self.scores:
            columns["llr"] = np.mean([self._ratios(pairs) for pairs in strands], axis=0).tolist()
        if "distance" in self.scores:
            means = np.mean([self._distances(pairs) for pairs in strands], axis=0).reshape(-1, 2)
            columns["cosine"], columns["l2"] = means[:, 0].tolist(), means[:, 1].tolist()
        if "codes" in self.scores:
            columns |= self._code_changes(genome, alleles)
        return columns

    def _ratios(self, pairs: Sequence[Haplotypes]) -> list[float]:
        questions = [question for pair in pairs for question in pair.masked()]
        # Alleles of one length, and all ALTs of a line, hide behind the same masked window.
        answers = self.batcher.map_distinct([window for window, _ in questions], self._log_probabilities)
        means = [_mean_asked(answer, asked) for answer, (_, asked) in zip(answers, questions, strict=True)]
        return [alt - ref for ref, alt in zip(means[::2], means[1::2], strict=True)]

    def _read(self, windows: Sequence[Ids], special: bool = True) -> tuple[Tensor, Tensor]:
        ids, mask = pad_batch(windows, special)
        return self.checkpoint.to_device(ids), self.checkpoint.to_device(mask)

    @torch.inference_mode()
    def _log_probabilities(self, windows: list[Ids]) -> list[NDArray[np.float32]]:
        """For each window log p of A, C, G, T at its masked positions, (n, 4)."""
        model = self.checkpoint.model
        ids, mask = self._read(windows)
        hidden = ids == MASK_ID
        # A model of masked codes learnt without [MASK] in its input, by this vector alone; with both nothing leaks.
        codes = hidden if model.config.mask_level == "code" else None
        states = model.base_model(ids, mask, hidden_codes=codes, return_dict=True).last_hidden_state
        logits = model.nucleotide_decoder(model.head(states[hidden])).float()
        bases = logits[:, FIRST_NUCLEOTIDE_ID : FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES].log_softmax(-1)
        return list(np.split(bases.cpu().numpy(), hidden.sum(1).cumsum(0)[:-1].cpu().numpy()))

    def _distances(self, pairs: Sequence[Haplotypes]) -> list[tuple[float, float]]:
        lengths = [len(pair.left) * 2 + len(pair.right) * 2 + len(pair.ref) + len(pair.alt) for pair in pairs]
        return self.batcher.map(lengths, lambda chosen: self._pair_distances([pairs[number] for number in chosen]))

    @torch.inference_mode()
    def _pair_distances(self, pairs: list[Haplotypes]) -> list[tuple[float, float]]:
        windows = [window for pair in pairs for window in (pair.with_ref(), pair.with_alt())]
        ids, mask = self._read(windows)
        encoder = self.checkpoint.model.base_model
        if self.layer == -1:
            states = encoder(ids, mask, return_dict=True).last_hidden_state
        else:
            states = encoder(ids, mask, output_hidden_states=True, return_dict=True).hidden_states[self.layer]
        rows = [row[1 : 1 + len(window)].float() for row, window in zip(states, windows, strict=True)]
        found = []
        for pair, ref, alt in zip(pairs, rows[::2], rows[1::2], strict=True):
            cosine, l2 = position_distances(*pair.aligned(ref, alt))
            found.append(torch.stack([cosine.mean(), l2.mean()]))
        return [(cosine, l2) for cosine, l2 in torch.stack(found).tolist()]  # one transfer from the device

    def _code_changes(self, genome: Genome, alleles: Sequence[Allele]) -> dict[str, list[Any]]:
        turned = self._strands == [True]
        read = [self._cut_for_codes(genome, allele, turned) for allele in alleles]
        windows = [window for pair in read for window in (pair.with_ref(), pair.with_alt())]
        codes = self.batcher.map_distinct(windows, self._codes)
        shared = [_shared(pair, turned, self._sight, self._stride) for pair in read]
        columns: dict[str, list[Any]] = {}
        for level in range(len(self.checkpoint.codebook_sizes)):
            changes = [
                _changes(where, ref[:, level], alt[:, level])
                for where, ref, alt in zip(shared, codes[::2], codes[1::2], strict=True)
            ]
            columns[f"changed_{level + 1}"] = [len(found.offsets) for found in changes]
            columns[f"span_{level + 1}"] = [found.span for found in changes]
            columns[f"codes_{level + 1}"] = [found.text for found in changes]
        return columns

    def _cut_for_codes(self, genome: Genome, allele: Allele, turned: bool) -> Haplotypes:
        """All that the codes within sight of the allele can see, on the strand that is read, from a patch's start."""
        before, behind = allele.start, genome.lengths[allele.chrom] - allele.end
        left, right = min(self._margin, before), min(self._margin, behind)
        if turned:
            right += (behind - right) % self._stride
            return _cut(genome, allele, left, right).other_strand()
        return _cut(genome, allele, left + (before - left) % self._stride, right)

    @torch.inference_mode()
    def _codes(self, windows: list[Ids]) -> list[NDArray[np.int64]]:
        """For each window its codes (M, Q)."""
        ids, mask = self._read(windows, special=False)
        codes = self.checkpoint.encoder(ids, mask, update_codebooks=False, return_loss=False).codes
        counts = [-(-len(window) // self._stride) for window in windows]
        return list(rows_of(codes.transpose(1, 2), counts, special=False))


def check_layer(checkpoint: Checkpoint, layer: int) -> None:
    """Refuse a layer that the model does not have, whether or not a score reads it; a codec has none to check.

    Raises:
        ValueError: for another layer than 0 (the embedding) to the last, or -1 (the last) back to the embedding.

    Example:

    >>> from vqdna_hf.model.modeling_vqdna import VQDNAConfig, VQDNAModel
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> check_layer(Checkpoint("model", VQDNAModel(config), torch.device("cpu")), 2)
    Traceback (most recent call last):
    ...
    ValueError: layer=2: this model has hidden states 0..1, or -2..-1
    """
    if checkpoint.is_codec:
        return
    deepest = int(checkpoint.model.config.num_hidden_layers)
    if not -deepest - 1 <= layer <= deepest:
        raise ValueError(f"layer={layer}: this model has hidden states 0..{deepest}, or -{deepest + 1}..-1")


def score_names(scores: str | Iterable[str]) -> list[str]:
    """Names of scores, given one by one or as text with commas between, without blanks around them.

    Example:

    >>> score_names("llr, codes")
    ['llr', 'codes']
    """
    return [name.strip() for name in (scores.split(",") if isinstance(scores, str) else scores)]


def check_scores(scores: str | Iterable[str]) -> tuple[str, ...]:
    """The scores in their order, each once, if there are such.

    Args:
        scores: names, or text with commas between.

    Raises:
        ValueError: for another name, or none.

    Example:

    >>> check_scores(["codes", "llr"])
    ('llr', 'codes')
    """
    wanted = set(score_names(scores))
    unknown = wanted - set(SCORES)
    if not wanted or unknown:
        raise ValueError(f"scores {','.join(sorted(unknown))!r}: choose of {','.join(SCORES)}")
    return tuple(name for name in SCORES if name in wanted)


def _mean_asked(log_probabilities: NDArray[np.float32], asked: Ids) -> float:
    """The mean log p of the bases that stood there; N of a flank does not count. NaN where nothing else is left."""
    known = asked != N_ID
    if not known.any():
        return float("nan")
    values = log_probabilities[known, asked[known].astype(np.intp) - FIRST_NUCLEOTIDE_ID]
    return float(values.astype(np.float64).mean())


@dataclass(frozen=True, eq=False)
class _Shared:
    """The bases that both haplotypes have and whose codes are compared, in the forward strand's order, (n,) each.

    Args:
        offsets: in bases of the reference from the allele's first.
        ref, alt: the numbers of their patches in each window.
    """

    offsets: NDArray[np.intp]
    ref: NDArray[np.intp]
    alt: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class _Changed:
    """The offsets (n,) of the bases whose code of one level changes, in bases of the reference, and the changes."""

    offsets: NDArray[np.intp]
    text: str

    @property
    def span(self) -> int:
        """The bases of the reference from the first to the last."""
        return int(self.offsets[-1] - self.offsets[0]) + 1 if len(self.offsets) else 0


def _shared(pair: Haplotypes, turned: bool, sight: int, stride: int) -> _Shared:
    """Which bases of a window, as it was read, can have another code."""
    left = len(pair.left)
    place, other = pair.aligned(np.arange(len(pair.with_ref())), np.arange(len(pair.with_alt())))
    bases, _ = pair.aligned(pair.with_ref(), pair.with_alt())
    ref, alt = place // stride, other // stride
    # Where no code sees the allele the codes are the same, but for rounding, or for patches that an indel has moved.
    counted = bases != N_ID  # N has no code
    counted &= _sees(ref * stride - left, len(pair.ref), sight, stride) | _sees(
        alt * stride - left, len(pair.alt), sight, stride
    )
    offsets = (left + len(pair.ref) - 1 - place) if turned else place - left
    order = slice(None, None, -1 if turned else 1)
    return _Shared(*(values[counted][order] for values in (offsets, ref, alt)))


def _sees(start: NDArray[np.intp], bases: int, sight: int, stride: int) -> NDArray[np.bool_]:
    """Whether codes see an allele of so many bases; their patches' starts are counted from its first base."""
    return (start > -sight - stride) & (start < bases + sight)


def _changes(shared: _Shared, ref: NDArray[Any], alt: NDArray[Any]) -> _Changed:
    """What differs between codes of one level, (M,) each, as they were read."""
    differs = ref[shared.ref] != alt[shared.alt]
    offsets, old, new = (values[differs] for values in (shared.offsets, shared.ref, shared.alt))
    items = np.flatnonzero((np.diff(old, prepend=-1) != 0) | (np.diff(new, prepend=-1) != 0))
    return _Changed(offsets, "|".join(f"{offsets[at]}:{ref[old[at]]}>{alt[new[at]]}" for at in items))
