# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The masking leak: how well the codes around a masked base give it away."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vqdna_hf.inference.checkpoints import Checkpoint
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, MASK_ID, NUM_NUCLEOTIDES

MASK_LEVELS = ("code", "nucleotide")
MASK_RATE = 0.25
WINDOW = 128
WINDOWS, TEST_WINDOWS = 640, 160
STEPS = 150

_BATCH = 32
_WIDTH = 48
_KERNEL = 7
_IGNORED = -100


class _Predictor(nn.Module):
    """Reads the code vectors of all levels and where the masks are; names the bases and the codes of each place.

    Two convolutions of 7 codes: it sees 6 on each side, enough to undo what a codec's convolutions have mixed.
    """

    def __init__(self, books: Sequence[Tensor], stride: int) -> None:
        super().__init__()
        # Standardised: codebooks differ in scale, and what is asked is what codes tell, not how large they are.
        self.books = nn.ParameterList(
            nn.Parameter((book - book.mean()) / book.std().clamp(min=1e-6), requires_grad=False) for book in books
        )
        width = sum(book.shape[1] for book in books) + 1
        self.project = nn.Linear(width, _WIDTH)
        self.convs = nn.ModuleList(nn.Conv1d(_WIDTH, _WIDTH, _KERNEL, padding=_KERNEL // 2) for _ in range(2))
        self.bases = nn.Linear(_WIDTH, stride * NUM_NUCLEOTIDES)
        self.codes = nn.ModuleList(nn.Linear(_WIDTH, book.shape[0]) for book in books)

    def forward(self, codes: Tensor, hidden: Tensor, shown: Tensor) -> Tensor:
        """(B, Q, M) codes, (B, M) masked places, and those of them whose codes are shown -> (B, M, width)."""
        visible = (~hidden | shown).unsqueeze(-1)
        vectors = [F.embedding(codes[:, level], book) * visible for level, book in enumerate(self.books)]
        x = F.gelu(self.project(torch.cat([*vectors, hidden.unsqueeze(-1).float()], -1)))
        for conv in self.convs:
            x = x + F.gelu(conv(x.transpose(1, 2)).transpose(1, 2))
        return x


def masking_leak(
    checkpoint: Checkpoint,
    windows: NDArray[np.uint8],
    *,
    test_windows: int = TEST_WINDOWS,
    mask_rate: float = MASK_RATE,
    steps: int = STEPS,
    seed: int = 0,
) -> dict[str, Any]:
    """Train a small convolutional predictor to name masked bases, once with each form of masking.

    `code`: the codec reads the clean sequence, and the codes of masked patches are hidden (the paper's form).
    `nucleotide`: the bases of masked patches are `[MASK]` before the codec reads them, and all codes are shown. Only
    what is found beyond `nucleotide` can have leaked out of the neighbouring codes. Nothing is asked where all bases of
    a patch are N: a run of N is one code over and over.

    Args:
        checkpoint: any of ours.
        windows: (N, L) nucleotide ids, L a multiple of `codec_stride`.
        test_windows: the last so many are held out; they should not stand next to the others in the genome.
        mask_rate: share of patches that are masked.
        steps: of training, 32 windows each.
        seed: of masks and weights; the global generator of torch is left as it was.

    Returns:
        By the form: `accuracy`, of the masked bases of the held-out windows, and `code_accuracy`, one a level, of the
        clean sequence's codes there; and `commonest`, the accuracy of always naming the commonest base, `masked`, how
        many bases were asked for.

    Raises:
        ValueError: if there are no windows to train on, L is no multiple of the stride, or no known base is asked for.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> from vqdna_hf.inference import load_checkpoint
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> codec = load_checkpoint(VQDNACodecModel(config).eval(), device="cpu")
    >>> windows = np.random.default_rng(0).integers(5, 9, (8, 32), dtype=np.uint8)
    >>> sorted(masking_leak(codec, windows, test_windows=4, steps=1))
    ['code', 'commonest', 'masked', 'nucleotide', 'steps']
    """
    stride = checkpoint.bases_per_code
    _check(windows, test_windows, stride)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clean = torch.from_numpy(windows.astype(np.int64))
        masked = torch.rand(len(clean), clean.shape[1] // stride) < mask_rate
        counts = _counts(_targets(clean, masked, stride)[-test_windows:])
        codes = _codes(checkpoint, clean)
        found: dict[str, Any] = {}
        for level in MASK_LEVELS:
            hidden = clean.masked_fill(masked.repeat_interleave(stride, 1), MASK_ID)
            read = codes if level == "code" else _codes(checkpoint, hidden)
            found[level] = _train_and_test(
                checkpoint, read, codes, clean, masked, shown=level == "nucleotide", held_out=test_windows, steps=steps
            )
    total = int(counts.sum())
    return {**found, "commonest": round(int(counts.max()) / total, 4), "masked": total, "steps": steps}


def _check(windows: NDArray[np.uint8], test_windows: int, stride: int) -> None:
    if not 1 <= test_windows < len(windows):
        raise ValueError(f"{len(windows)} windows, {test_windows} held out: both parts need one at least")
    if windows.shape[1] % stride:
        raise ValueError(f"windows of {windows.shape[1]} bases: a multiple of the codec's stride, {stride}, is needed")


def _counts(asked: Tensor) -> Tensor:
    """How often each base is asked for in the windows that are held out."""
    counts = torch.bincount(asked[asked != _IGNORED], minlength=NUM_NUCLEOTIDES)
    if not counts.any():
        raise ValueError(f"of the {len(asked)} windows that are held out no A, C, G or T is masked: take more")
    return counts


def _codes(checkpoint: Checkpoint, ids: Tensor) -> Tensor:
    """(N, Q, M) codes of (N, L) ids; N and `[MASK]` have some, too, as the codec reads them."""

    def compute(numbers: list[int]) -> list[Tensor]:
        batch = checkpoint.to_device(ids[numbers])
        with torch.inference_mode():
            return list(checkpoint.encoder(batch, update_codebooks=False, return_loss=False).codes.cpu())

    # clone: tensors of inference mode cannot take part in training
    return torch.stack(checkpoint.batcher().map([ids.shape[1]] * len(ids), compute)).clone()


def _targets(clean: Tensor, masked: Tensor, stride: int) -> Tensor:
    """(N, L) numbers of the bases that are asked for, elsewhere and at N `_IGNORED`."""
    digits = clean - FIRST_NUCLEOTIDE_ID
    asked = masked.repeat_interleave(stride, 1) & (digits >= 0) & (digits < NUM_NUCLEOTIDES)
    return torch.where(asked, digits, _IGNORED)


def _train_and_test(
    checkpoint: Checkpoint,
    read: Tensor,
    codes: Tensor,
    clean: Tensor,
    masked: Tensor,
    *,
    shown: bool,
    held_out: int,
    steps: int,
) -> dict[str, Any]:
    stride = checkpoint.bases_per_code
    bases = _targets(clean, masked, stride)
    wanted = torch.where((bases != _IGNORED).view(*masked.shape, stride).any(-1).unsqueeze(1), codes, _IGNORED)
    books = [book.embed.detach().float().cpu() for book in checkpoint.encoder.quantizer.codebooks]
    model = _Predictor(books, stride)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=max(steps, 2), pct_start=0.1)
    show = torch.full_like(masked, shown)
    training = len(read) - held_out
    for _ in range(steps):
        rows = torch.randint(training, (min(_BATCH, training),))
        if (bases[rows] == _IGNORED).all():  # windows of N: their loss would be no number
            continue
        states = model(read[rows], masked[rows], show[rows])
        logits = model.bases(states).view(-1, NUM_NUCLEOTIDES)
        loss = F.cross_entropy(logits, bases[rows].view(-1), ignore_index=_IGNORED)
        for level, head in enumerate(model.codes):
            target = wanted[rows, level]
            at = target != _IGNORED
            loss = loss + F.cross_entropy(head(states[at]), target[at])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.inference_mode():
        states = model.eval()(read[training:], masked[training:], show[training:])
        named = model.bases(states).view(held_out, -1, NUM_NUCLEOTIDES).argmax(-1)
        accuracy = _share_right(named, bases[training:])
        at = wanted[training:, 0] != _IGNORED
        levels = [
            _share_right(head(states[at]).argmax(-1), codes[training:, level][at])
            for level, head in enumerate(model.codes)
        ]
    return {"accuracy": accuracy, "code_accuracy": levels}


def _share_right(named: Tensor, answers: Tensor) -> float:
    return round((named == answers)[answers != _IGNORED].float().mean().item(), 4)
