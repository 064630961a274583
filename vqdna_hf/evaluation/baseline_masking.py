"""Masked modelling on tokens of any vocabulary, measured in nucleotides.

What is hidden is hidden: a nucleotide counts as masked where every token that covers it shows `[MASK]`. With
overlapping k-mers the nucleotides are chosen, and each chosen one hides all k k-mers over it, a span as in DNABERT
(Ji et al., Bioinformatics 37:2112, 2021); k-mers hidden one by one would be read off their neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vqdna_hf.data import IGNORE_INDEX, MaskedNucleotideCollator, NucleotideCollator
from vqdna_hf.data.generators import generators
from vqdna_hf.model.tokenization_vqdna import CLS_ID, MASK_ID, NUM_NUCLEOTIDES, PAD_ID, SEP_ID
from vqdna_hf.training.metrics import Sums, SumsFunction, masked_lm_metrics

from .baseline_tokenizers import SequenceEncoder

__all__ = ["TokenMaskingCollator", "masked_token_metrics", "masked_token_sums"]

_MAX_SEED = 2**63 - 1


def _token_starts(lengths: Tensor, overlap: int | None) -> Tensor:
    """The place of each token's first nucleotide in its row, counted without special tokens: (B, L) -> (B, L).

    A k-mer that overlaps the next one moves on by one. Both are of one run: between two runs stands an N.
    """
    steps = lengths.clone()
    if overlap is not None:
        steps[:, :-1][(lengths[:, :-1] == overlap) & (lengths[:, 1:] == overlap)] = 1
    return steps.cumsum(1) - steps


@dataclass
class TokenMaskingCollator:
    """Join items into a batch for a masked language model over a baseline's tokens.

    The windows are those of `MaskedNucleotideCollator`: `input_ids`, (bases,) nucleotide ids without special tokens,
    and optionally a `seed`, of which the mask is a function. Tokens without an N are chosen, each with
    `mask_probability`; of the chosen 80 % show `[MASK]`, 10 % another token of as many bases (where there is one) and
    10 % themselves. With overlapping k-mers nucleotides are chosen, each hides all k-mers over it, and they are as
    many as it takes for the expected share of chosen k-mers to be `mask_probability`; for the 10 % another nucleotide
    is written into the sequence. For `base` this is `MaskedNucleotideCollator` itself.

    Args:
        encoder: of the vocabulary.
        mask_probability: expected share of the tokens that are chosen, above 0 and below 1. At least one is, in each
            sequence that has one.
        mask_replace_probability: share of the chosen that become [MASK].
        random_replace_probability: share of the chosen that become another.

    Returns:
        When called, `input_ids`, `attention_mask` and `labels`, all (B, L) int64; labels are the clean tokens where
        one was chosen and -100 elsewhere.

    Raises:
        ValueError: as `MaskedNucleotideCollator`.

    Example:

    >>> from .baseline_tokenizers import build_baseline_tokenizer
    >>> encoder = SequenceEncoder(build_baseline_tokenizer("3mer-overlapping"))
    >>> collate = TokenMaskingCollator(encoder, 0.2, mask_replace_probability=1.0, random_replace_probability=0.0)
    >>> batch = collate([{"input_ids": np.array([5, 6, 7, 8, 5, 6, 7, 8, 5]), "seed": 7}])
    >>> encoder.tokenizer.decode(batch["input_ids"][0])
    '[CLS] Acg Cgt Gta [MASK] [MASK] [MASK] Gta [SEP]'
    """

    encoder: SequenceEncoder
    mask_probability: float = 0.25
    mask_replace_probability: float = 0.8
    random_replace_probability: float = 0.1

    def __post_init__(self) -> None:
        share, overlap = self.mask_probability, self.encoder.overlap
        if overlap is not None and 0 < share < 1:  # a k-mer is free where each of its bases is
            share = 1 - (1 - share) ** (1 / overlap)
        self._nucleotides = MaskedNucleotideCollator(
            mask_probability=share,
            mask_replace_probability=self.mask_replace_probability,
            random_replace_probability=self.random_replace_probability,
        )
        self._joiner = NucleotideCollator()
        bases, letters = self.encoder.bases, self.encoder.letters
        self._maskable = (bases > 0) & ~(letters == NUM_NUCLEOTIDES).any(1)
        # Tokens of a length stand together in this order, so that "another of as many bases" is a step within a group.
        self._order = np.argsort(np.where(self._maskable, bases, 0), kind="stable")
        self._rank = np.argsort(self._order, kind="stable")
        sorted_bases = np.where(self._maskable, bases, 0)[self._order]
        self._first = np.searchsorted(sorted_bases, bases, side="left")
        self._size = np.searchsorted(sorted_bases, bases, side="right") - self._first

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make the batch; see the class."""
        if self.encoder.vocabulary == "base":
            return self._nucleotides(items)
        if self.encoder.overlap is not None:
            return self._hide_overlapping(items, self.encoder.overlap)
        self._joiner._join(items)  # refuses what is no sequence
        rows = self.encoder.tokens_of([np.asarray(item["input_ids"], dtype=np.uint8) for item in items])
        seeds = [item.get("seed") for item in items]
        numbers = [int(torch.randint(_MAX_SEED, ())) if seed is None else int(seed) for seed in seeds]
        pairs = [
            self._hide(tokens, rng)
            for tokens, rng in zip(rows, generators([(number,) for number in numbers]), strict=True)
        ]
        return _batch([shown for shown, _ in pairs], [labels for _, labels in pairs])

    def _hide(self, tokens: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is shown of a row, and its labels."""
        free = self._maskable[tokens]
        chosen = (rng.random(len(tokens)) < self.mask_probability) & free
        if not chosen.any() and free.any():
            chosen[rng.choice(np.flatnonzero(free))] = True
        fate, lot = rng.random(len(tokens)), rng.random(len(tokens))
        to_mask = chosen & (fate < self.mask_replace_probability)
        to_other = chosen & ~to_mask & (fate < self.mask_replace_probability + self.random_replace_probability)
        first, size = self._first[tokens], self._size[tokens]
        step = 1 + (lot * (size - 1)).astype(np.int64)
        other = (
            self._order[first + (self._rank[tokens] - first + step) % np.maximum(size, 1)] if len(tokens) else tokens
        )
        shown = np.where(to_mask, MASK_ID, np.where(to_other, other, tokens))
        return shown, np.where(chosen, tokens, IGNORE_INDEX)

    def _hide_overlapping(self, items: Sequence[dict[str, Any]], overlap: int) -> dict[str, Tensor]:
        """Nucleotides are hidden by the package's own collator; then each hides the k-mers over it."""
        batch = self._nucleotides(items)
        shown, labels = batch["input_ids"], batch["labels"]
        chosen = labels != IGNORE_INDEX
        hidden = shown == MASK_ID
        sizes = batch["attention_mask"].sum(1).tolist()
        clean = torch.where(chosen, labels, shown).numpy().astype(np.uint8)
        changed = torch.where(hidden, labels, shown).numpy().astype(np.uint8)
        # Behind [CLS], which stands for no nucleotide.
        tokens, others = (
            _padded(self.encoder.tokens_of([row[1 : size - 1] for row, size in zip(rows, sizes, strict=True)]), PAD_ID)
            for rows in (clean, changed)
        )
        lengths = torch.from_numpy(self.encoder.bases)[tokens]
        starts = _token_starts(lengths, overlap)

        def covered(nucleotides: Tensor) -> Tensor:
            before = F.pad(nucleotides[:, 1:].long().cumsum(1), (1, 0))
            return before.gather(1, starts + lengths) > before.gather(1, starts)

        others[covered(hidden)] = MASK_ID
        tokens[~covered(chosen)] = IGNORE_INDEX
        counts = (lengths > 0).sum(1).tolist()
        return _batch(
            [row[:count].numpy() for row, count in zip(others, counts, strict=True)],
            [row[:count].numpy() for row, count in zip(tokens, counts, strict=True)],
        )


def _padded(rows: Sequence[NDArray[np.int64]], value: int) -> Tensor:
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True, padding_value=value)


def _batch(shown: Sequence[NDArray[np.int64]], labels: Sequence[NDArray[np.int64]]) -> dict[str, Tensor]:
    """Rows with special tokens, padded on the right."""
    input_ids = _padded([np.concatenate(([CLS_ID], row, [SEP_ID])) for row in shown], PAD_ID)
    edge = [IGNORE_INDEX]
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != PAD_ID).long(),
        "labels": _padded([np.concatenate((edge, row, edge)) for row in labels], IGNORE_INDEX),
    }


def masked_token_sums(encoder: SequenceEncoder) -> SumsFunction:
    """What one batch adds to the metrics of a baseline; for `VQDNATrainer`, beside `masked_token_metrics`.

    The answer for a hidden nucleotide is the marginal of the token distribution: the probability of all tokens with
    that letter at that place, among those that reach so far; with overlapping k-mers the mean over the k of them. It
    is counted where no token that is shown covers it, so that every vocabulary is asked the same question. How much
    of the neighbourhood is hidden with it still differs: runs of k bases for k-mers side by side.

    Args:
        encoder: of the vocabulary.

    Returns:
        A function of `inputs` (`input_ids` and `labels`, (B, L)), `outputs` with `logits` (B, L, V), and the
        configuration, which gives the sums: floats, and `bases`, (4,).

    Example:

    >>> from .baseline_tokenizers import build_baseline_tokenizer
    >>> encoder = SequenceEncoder(build_baseline_tokenizer("3mer"))
    >>> inputs = {"input_ids": torch.tensor([[2, 4, 10, 3]]), "labels": torch.tensor([[-100, 11, -100, -100]])}
    >>> outputs = {"logits": 50.0 * F.one_hot(torch.tensor([[0, 12, 0, 0]]), 74).float()}  # AAG for AAC
    >>> sums = masked_token_sums(encoder)(inputs, outputs, None)
    >>> sums["positions"].item(), sums["masked"].item(), sums["masked_correct"].item()
    (6.0, 3.0, 2.0)
    """
    bases = torch.from_numpy(encoder.bases)
    letters = torch.from_numpy(encoder.letters)
    is_letter = F.one_hot(letters.clamp(min=0), NUM_NUCLEOTIDES + 1)[..., :NUM_NUCLEOTIDES] * (letters >= 0)[..., None]
    table = is_letter.flatten(1).float()  # (V, J * 4)

    @torch.no_grad()
    def sums(inputs: Mapping[str, Tensor], outputs: Any, config: Any) -> Sums:
        labels, input_ids = inputs["labels"], inputs["input_ids"]
        device = labels.device
        labelled = labels != IGNORE_INDEX
        hidden = labelled & (input_ids == MASK_ID)
        clean = torch.where(labelled, labels, input_ids)
        places, inside, size = _places(bases.to(device)[clean], encoder)
        truth = torch.full((size,), -1, device=device)
        truth[places[inside]] = letters.to(device)[clean][inside]
        is_base = (truth >= 0) & (truth < NUM_NUCLEOTIDES)
        seen = torch.zeros_like(is_base)
        seen[places[inside & ~hidden[..., None]]] = True
        logits = outputs["logits"][hidden].float()
        marginals = (logits.softmax(-1) @ table.to(device)).unflatten(-1, (-1, NUM_NUCLEOTIDES)).clamp(min=1e-12)
        marginals = marginals / marginals.sum(-1, keepdim=True)
        score = torch.zeros(size, NUM_NUCLEOTIDES, device=device)
        score.index_add_(0, places[hidden][inside[hidden]], marginals[inside[hidden]])
        counted = is_base & ~seen
        return {"positions": is_base.sum().float(), **_add_up(truth[counted], score[counted], logits, labels[hidden])}

    return sums


def _add_up(bases: Tensor, score: Tensor, logits: Tensor, tokens: Tensor) -> Sums:
    """Right answers and losses, of (N,) hidden bases with (N, 4) scores, and of (P,) tokens with (P, V) logits."""
    log_probabilities = (score / score.sum(-1, keepdim=True)).log()
    return {
        "masked": torch.tensor(float(len(bases)), device=bases.device),
        "masked_correct": (score.argmax(-1) == bases).sum().float(),
        "nucleotide_loss": F.nll_loss(log_probabilities, bases, reduction="sum"),
        "bases": torch.bincount(bases, minlength=NUM_NUCLEOTIDES).float(),
        "masked_tokens": torch.tensor(float(len(tokens)), device=bases.device),
        "token_correct": (logits.argmax(-1) == tokens).sum().float(),
        "token_loss": F.cross_entropy(logits, tokens, reduction="sum"),
    }


def _places(lengths: Tensor, encoder: SequenceEncoder) -> tuple[Tensor, Tensor, int]:
    """A number for each nucleotide of each token, the same where tokens overlap.

    Returns:
        The numbers, (B, L, J); whether a token reaches so far, (B, L, J); how many numbers there are.
    """
    longest = encoder.letters.shape[1]
    rows, tokens = lengths.shape
    within = torch.arange(longest, device=lengths.device)
    row_starts = torch.arange(rows, device=lengths.device)[:, None] * tokens * longest
    places = (row_starts + _token_starts(lengths, encoder.overlap))[..., None] + within
    return places, within < lengths[..., None], rows * tokens * longest


def masked_token_metrics(sums: Sums) -> dict[str, float]:
    """Masked nucleotide accuracy, under the names that `masked_lm_metrics` has, and the tokens'.

    Args:
        sums: what `masked_token_sums` gave, added over all batches and processes.

    Returns:
        Plain numbers, divided once; `nucleotide_loss` is of the marginal of one nucleotide.

    Example:

    >>> sums = {name: torch.tensor(2.0) for name in ("masked", "masked_correct", "nucleotide_loss", "masked_tokens")}
    >>> sums |= {"bases": torch.tensor([1.0, 1.0, 0.0, 0.0])}
    >>> metrics = masked_token_metrics(sums | {"token_correct": torch.tensor(1.0), "token_loss": torch.tensor(3.0)})
    >>> metrics["masked_accuracy"], metrics["token_accuracy"], metrics["token_loss"]
    (1.0, 0.5, 1.5)
    """
    tokens = max(sums["masked_tokens"].item(), 1.0)
    return {
        **masked_lm_metrics(sums),
        "token_accuracy": sums["token_correct"].item() / tokens,
        "token_loss": sums["token_loss"].item() / tokens,
    }
