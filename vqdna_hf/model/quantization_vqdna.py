# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Vector quantization: an EMA codebook, one level of it, and the hierarchical residual quantizer (HRQ).

Shape letters: B batch, L positions, N vectors (B * L), Q quantizers, K codebook size, D width of a code vector.
All learnt state lives in persistent fp32 buffers, so that it travels with `state_dict` and nothing else.

A training step neither waits for a GPU nor holds more than a chunk of vectors beside its inputs and outputs: no N x K
distances, no copy of the valid vectors, no residuals kept for backward.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .nearest_vqdna import NearestEntries, parts_of

NO_CODE = -1
"""The code of a position that has none: padding and special tokens."""

_HASH = 2654435761  # a prime above any batch: k * _HASH mod N visits N distinct vectors before it repeats


@dataclass
class QuantizerOutput:
    """What a quantizer returns.

    Attributes:
        codes: (B, Q, L) integer ids, `NO_CODE` outside the mask; (Q, N) for taps (N, D).
        quantized: (B, L, D) code vectors, zero outside the mask; gradients pass straight through to the input.
        commitment_loss: scalar, mean over masked-in positions, dimensions and levels; None when not asked for.
    """

    codes: Tensor
    quantized: Tensor
    commitment_loss: Tensor | None


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def codebook_grid(codebook_size: int, codebook_dim: int) -> Tensor:
    """The deterministic start of a codebook, (K, D) in (-1, 1), before data replace it.

    A fixed pseudo-random grid, not zeros: codes of an untrained model still differ between inputs, and a model
    that is built twice is equal to the bit.

    >>> codebook_grid(2, 3).shape
    torch.Size([2, 3])
    """
    index = torch.arange(1, codebook_size * codebook_dim + 1, dtype=torch.int64)
    return ((index * _HASH % 65521).to(torch.float32) / 32760.5 - 1.0).view(codebook_size, codebook_dim)


def _residual(tap: Tensor, previous: Tensor | None) -> Tensor:
    """H(n) of the HRQ, in fp32 at least, from Z(n) and the code vectors of the level before."""
    tap = tap.to(torch.promote_types(tap.dtype, torch.float32))
    return tap if previous is None else 2 * tap - previous


class _Batch:
    """The taps of a batch, flattened, and what coding them finds: codes and the sums that move the codebooks.

    Attributes:
        taps: Q tensors (N, D).
        counted: (N,) boolean, the vectors that move the codebooks; None for all.
        codes: (Q, N), after `encode`.
        counts, sums: of each level, (K + 1,) and (K + 1, D), after `encode` with `move`; the last row is void.
    """

    def __init__(self, codebooks: Sequence["Codebook"], taps: Sequence[Tensor], counted: Tensor | None = None) -> None:
        self.codebooks = codebooks
        self.taps = [tap.detach() for tap in taps]
        self.counted = counted
        self.codes: Tensor | None = None
        self.counts: list[Tensor] = []
        self.sums: list[Tensor] = []

    @property
    def own(self) -> int:
        """N, on this rank."""
        return self.taps[0].shape[0]

    def encode(self, move: bool = False) -> Tensor:
        """Choose the codes, (Q, N). One chunk of vectors goes through all levels before the next."""
        embeds = [book.embed.float() for book in self.codebooks]
        searches = [NearestEntries(embed) for embed in embeds]
        if move:
            self.clear()
        chosen: list[list[Tensor]] = [[] for _ in embeds]
        for part in parts_of(self.taps[0], embeds):
            previous: Tensor | None = None
            for level, embed in enumerate(embeds):
                residual = _residual(self.taps[level][part], previous)
                codes = searches[level](residual)
                if move:
                    self.add(level, part, residual, codes)
                if level + 1 < len(embeds):
                    previous = F.embedding(codes, embed)
                chosen[level].append(codes)
        empty = self.taps[0].new_empty(0, dtype=torch.int64)
        self.codes = torch.stack([torch.cat(parts) if parts else empty for parts in chosen])
        return self.codes

    def clear(self) -> None:
        """Start counts and sums at zero, with a row more than there are entries."""
        self.counts = [book.cluster_size.new_zeros(book.codebook_size + 1) for book in self.codebooks]
        self.sums = [book.embed_sum.new_zeros(book.codebook_size + 1, book.codebook_dim) for book in self.codebooks]

    def add(self, level: int, part: slice, residual: Tensor, codes: Tensor) -> None:
        """Count some vectors and sum them by their codes."""
        if self.counted is not None:
            # A row behind the last entry takes what does not count, NaN too, and is dropped: the number of vectors
            # that count stays unknown here, for a GPU would have to be waited for.
            codes = torch.where(self.counted[part], codes, len(self.counts[level]) - 1)
        ones = torch.ones_like(codes, dtype=torch.float32)
        self.counts[level].index_add_(0, codes, ones)
        self.sums[level].index_add_(0, codes, residual.float())

    def numbers(self) -> Tensor:
        """How many vectors count, by rank."""
        own = torch.full((), self.own, device=self.taps[0].device) if self.counted is None else self.counted.sum()
        return _gather(own)

    def at(self, level: int, index: Tensor) -> Tensor:
        """H(n) of the vectors that count, by their place in a row of them. (K,) of 0..number-1 -> (K, D)."""
        if self.counted is not None:
            index = torch.searchsorted(self.counted.cumsum(0), index + 1)
        index = index.clamp(0, self.own - 1)
        previous: Tensor | None = None
        if self.codes is not None:
            if level > 0:
                previous = self.codebooks[level - 1].lookup(self.codes[level - 1, index])
        else:  # before the first batch is coded: only these vectors are
            for tap, book in zip(self.taps, self.codebooks[:level], strict=False):
                previous = book.lookup(book.nearest(_residual(tap[index], previous)))
        return _residual(self.taps[level][index], previous).float()

    def pick(self, level: int, numbers: Tensor, salt: Tensor | int) -> Tensor:
        """Choose K of the vectors that count on *all* ranks, spread evenly; zeros for those of other ranks. -> (K, D)

        Args:
            numbers: of the vectors that count, by rank. Their sum, `salt` and K alone decide, so that every rank makes
                the choice that one process would make on the joined batch.
        """
        order = torch.arange(self.codebooks[level].codebook_size, device=numbers.device) + salt
        index = order * _HASH % numbers.sum().clamp(min=1)
        rank = dist.get_rank() if len(numbers) > 1 else 0
        index = index - numbers[:rank].sum()
        mine = (index >= 0) & (index < numbers[rank])
        if self.own == 0:
            return torch.zeros_like(self.codebooks[level].embed)
        return torch.where(mine.unsqueeze(-1), self.at(level, index), 0.0)


def _gather(own: Tensor) -> Tensor:
    """(...) of this rank -> (ranks, ...) of all."""
    if (world_size := _world_size()) == 1:
        return own.unsqueeze(0)
    gathered = [torch.zeros_like(own) for _ in range(world_size)]
    dist.all_gather(gathered, own)
    return torch.stack(gathered)


def _all_reduce(tensor: Tensor) -> Tensor:
    if _world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def _initialize(batch: _Batch, levels: Sequence[int]) -> None:
    """Take the code vectors of these levels from the batch: coarse first, for a level is fed by the one before."""
    if not levels:
        return
    numbers = batch.numbers()
    total = numbers.sum()
    if total == 0:  # only padding so far: wait for data
        return
    for level in levels:
        batch.codebooks[level]._begin(_all_reduce(batch.pick(level, numbers, 0)), total)


def _move(batch: _Batch) -> None:
    """Move the codebooks towards the batch, all levels with two messages between ranks: counts, then vectors.

    Counts come first, because they tell dead entries: the second message has the seed of a dead entry where that of a
    live one has its sum.
    """
    sizes = [book.codebook_size for book in batch.codebooks]
    counts = _gather(torch.cat([counts[:-1] for counts in batch.counts]))
    numbers = counts[:, : sizes[0]].long().sum(-1)  # each vector that counts has one entry of the first level
    dead: list[Tensor | None] = []
    rows: list[Tensor] = []
    for level, (book, level_counts) in enumerate(zip(batch.codebooks, counts.sum(0).split(sizes), strict=True)):
        sums = batch.sums[level][:-1]
        dead.append(book._count(level_counts, numbers) if book.training else None)
        if (missing := dead[-1]) is not None:
            seeds = batch.pick(level, numbers, book.num_updates.long() * book.codebook_size)
            sums = torch.where(missing.unsqueeze(-1), seeds, sums)
        rows.append(sums)
    if _world_size() > 1:
        rows = list(_all_reduce(torch.cat(rows)).split(sizes))
    for book, level_rows, missing in zip(batch.codebooks, rows, dead, strict=True):
        if book.training:
            book._shift(level_rows, missing)


def _count_of(mask: Tensor | None, total: int) -> Tensor | int:
    return max(total, 1) if mask is None else mask.sum().clamp(min=1)


def _mean_and_losses(
    codes: Tensor,
    embeds: Sequence[Tensor],
    taps: Sequence[Tensor],
    mask: Tensor | None,
    loss_mask: Tensor | None,
    return_loss: bool,
) -> tuple[Tensor, Tensor]:
    """The mean over levels of the code vectors, (N, D), zero outside `mask`, and each level's commitment loss, (Q,)."""
    total, width = taps[0].shape
    quantized = embeds[0].new_empty(total, width)
    losses = [torch.zeros((), dtype=torch.promote_types(tap.dtype, torch.float32), device=tap.device) for tap in taps]
    for part in parts_of(taps[0]):
        previous: Tensor | None = None
        mean = embeds[0].new_zeros(())
        for level, (tap, embed) in enumerate(zip(taps, embeds, strict=True)):
            entries = F.embedding(codes[level, part], embed)
            if return_loss:
                error = torch.linalg.vector_norm(_residual(tap[part], previous) - entries, dim=-1)
                if loss_mask is not None:
                    # Filled, not multiplied: whatever stands at the other positions, 0 * inf would be NaN.
                    error = error.masked_fill_(~loss_mask[part], 0.0)
                losses[level] = losses[level] + error.square().sum()
            mean = mean + entries if level else entries
            previous = entries
        quantized[part] = mean if len(embeds) == 1 else mean / len(embeds)
        if mask is not None:
            quantized[part].masked_fill_(~mask[part].unsqueeze(-1), 0.0)
    return quantized, torch.stack(losses) / (_count_of(loss_mask, total) * width)


class _StraightThrough(torch.autograd.Function):
    """`_mean_and_losses` with gradients for the taps, code vectors being constants.

    Nothing is kept for backward but what is there anyway: taps, codes and code vectors, of which residuals and errors
    are made again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        codes: Tensor,
        mask: Tensor | None,
        loss_mask: Tensor | None,
        same_masks: bool,
        return_loss: bool,
        *embeds_and_taps: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `_mean_and_losses`; `same_masks` says that `mask` is the loss mask too."""
        levels = len(embeds_and_taps) // 2
        ctx.same_masks = same_masks
        ctx.return_loss = return_loss
        ctx.set_materialize_grads(False)
        ctx.has_masks = mask is not None, loss_mask is not None
        ctx.levels = levels
        masks = [found for found in (mask, loss_mask) if found is not None]
        embeds, taps = embeds_and_taps[:levels], embeds_and_taps[levels:]
        # Without a loss backward needs no code vectors; kept without a copy, they would move before it.
        ctx.save_for_backward(codes, *masks, *(embeds if return_loss else ()), *taps)
        return _mean_and_losses(codes, embeds, taps, mask, mask if same_masks else loss_mask, return_loss)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of the taps, chunk by chunk."""
        codes, *saved = ctx.saved_tensors
        mask, loss_mask = (saved.pop(0) if has_mask else None for has_mask in ctx.has_masks)
        loss_mask = mask if ctx.same_masks else loss_mask
        taps = saved[-ctx.levels :]
        embeds = saved[: ctx.levels] if ctx.return_loss else taps
        by_quantized, by_loss = outputs
        total, width = taps[0].shape
        levels = len(taps)
        if not ctx.return_loss:
            by_loss = None
        elif by_loss is not None:
            by_loss = 2 * by_loss / (_count_of(loss_mask, total) * width)
        if by_quantized is None and by_loss is None:
            return (None,) * (5 + 2 * levels)
        gradients = [torch.empty_like(tap) for tap in taps]
        for part in parts_of(taps[0]):
            through: Tensor | None = None
            if by_quantized is not None:
                through = by_quantized[part] / levels
                if mask is not None:
                    through.masked_fill_(~mask[part].unsqueeze(-1), 0.0)
            previous: Tensor | None = None
            for level, (tap, embed) in enumerate(zip(taps, embeds, strict=True)):
                gradient = through
                if by_loss is not None:
                    entries = F.embedding(codes[level, part], embed)
                    gradient = (_residual(tap[part], previous) - entries).mul_(by_loss[level])
                    if loss_mask is not None:
                        gradient.masked_fill_(~loss_mask[part].unsqueeze(-1), 0.0)
                    if through is not None:
                        gradient += through
                    previous = entries
                if gradient is not None:  # H(n) holds 2 Z(n), but for the first level
                    gradients[level][part] = gradient if level == 0 else 2 * gradient
        return None, None, None, None, None, *(None for _ in embeds), *gradients


def _quantize(
    batch: _Batch, taps: Sequence[Tensor], mask: Tensor | None, update: bool, return_loss: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (Q, N), the mean of their vectors (N, D), and the commitment losses (Q,); then the codebooks move."""
    with torch.no_grad():
        if update:
            _initialize(batch, [level for level, book in enumerate(batch.codebooks) if book._waits_for_data()])
        codes = batch.encode(move=update)
        embeds = [book.embed.float() for book in batch.codebooks]
    if torch.is_grad_enabled() and any(tap.requires_grad for tap in taps):
        # Copies, for the code vectors move before backward needs them.
        copies = [embed.clone() for embed in embeds] if return_loss else embeds
        # The compiler takes no tensor twice.
        same = batch.counted is mask
        loss_mask = None if same else batch.counted
        quantized, losses = _StraightThrough.apply(codes, mask, loss_mask, same, return_loss, *copies, *taps)
    else:
        quantized, losses = _mean_and_losses(codes, embeds, batch.taps, mask, batch.counted, return_loss)
    if update:
        with torch.no_grad():
            _move(batch)
    return codes, quantized, losses


class Codebook(nn.Module):
    """K code vectors learnt by an exponential moving average (van den Oord et al. 2017, appendix A.1).

    Buffers, fp32 and persistent: `embed` (K, D) the code vectors; `embed_sum` (K, D) and `cluster_size` (K,) the
    moving averages whose quotient they are; `initialized` and `num_updates`, scalars.

    The first training batch initialises the code vectors with vectors of that batch. Afterwards an entry whose
    share of the assignments falls under `dead_code_threshold` times an even share is *dead* and is re-seeded with
    a vector of the batch. Which vectors are taken depends on their number and on `num_updates` alone, so that
    under distributed training every rank makes the choice that one process would make on the joined batch.

    Args:
        codebook_size: K.
        codebook_dim: D.
        decay: of the moving average, in [0, 1).
        dead_code_threshold: a usage *ratio*, independent of batch size and K; 0 switches re-seeding off.

    Example:

    >>> codebook = Codebook(codebook_size=4, codebook_dim=2).train()
    >>> vectors = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> codebook.initialize(vectors)
    >>> codes = codebook.nearest(vectors + 0.1)
    >>> torch.equal(codebook.lookup(codes), vectors)
    True
    """

    def __init__(
        self, codebook_size: int, codebook_dim: int, decay: float = 0.99, dead_code_threshold: float = 0.03
    ) -> None:
        super().__init__()
        self.codebook_size = codebook_size
        self.codebook_dim = codebook_dim
        self.decay = decay
        self.dead_code_threshold = dead_code_threshold
        # What `initialized` was last seen to hold: to look again in every step would be to wait for a GPU.
        self._had_data = False
        for name, value in self.initial_state().items():
            self.register_buffer(name, value)

    embed: Tensor
    embed_sum: Tensor
    cluster_size: Tensor
    initialized: Tensor
    num_updates: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Codebook":
        """As in torch, but `half()`, `bfloat16()` and `to(dtype)` of a model leave the codebook fp32.

        Half precision cannot count beyond 2048 (fp16) or 256 (bf16), and the moving averages would stand still.
        """
        before = dict(self._buffers)
        self._had_data = False
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._had_data = False
        super()._load_from_state_dict(*args, **kwargs)

    def _waits_for_data(self) -> bool:
        if self.training and not self._had_data:
            self._had_data = bool(self.initialized)
        return self.training and not self._had_data

    def initial_state(self) -> dict[str, Tensor]:
        """The buffers of an untrained codebook, by name; `_init_weights` restores exactly these."""
        self._had_data = False
        grid = codebook_grid(self.codebook_size, self.codebook_dim)
        return {
            "embed": grid,
            "embed_sum": grid.clone(),
            # fp32 by name: a model may be built under another default dtype.
            "cluster_size": torch.ones(self.codebook_size, dtype=torch.float32),
            # Floating point on purpose: a loader that keeps this module in fp32 casts whatever it finds in it.
            "initialized": torch.zeros((), dtype=torch.float32),
            "num_updates": torch.zeros((), dtype=torch.float32),
        }

    def nearest(self, vectors: Tensor) -> Tensor:
        """Find the entry at the smallest Euclidean distance of each vector.

        Distances are fp32 whatever autocast says and whatever precision products are allowed (TF32, bf16), and are
        made in chunks: N x K is never held whole.

        Args:
            vectors: (N, D), any floating dtype.

        Returns:
            (N,) int64 codes.
        """
        return NearestEntries(self.embed.float())(vectors.detach())

    def lookup(self, codes: Tensor) -> Tensor:
        """Turn codes of any shape (...) into fp32 code vectors (..., D); `NO_CODE` becomes zeros."""
        vectors = F.embedding(codes.clamp(min=0), self.embed.float())
        return vectors * (codes != NO_CODE).unsqueeze(-1)

    @torch.no_grad()
    def initialize(self, vectors: Tensor) -> None:
        """Take the code vectors from data.

        Args:
            vectors: (N, D), N >= 1 over all ranks; fewer than K leave duplicates, which die and are re-seeded.
        """
        _initialize(_Batch([self], [vectors]), [0])

    @torch.no_grad()
    def update(self, vectors: Tensor, codes: Tensor) -> None:
        """Move the codebook towards the vectors assigned to each entry, then re-seed dead entries.

        Counts and sums are all-reduced: N vectors on each of two ranks move the codebook as 2N on one. The sums are
        made with `index_add_`, whose order on a GPU differs from run to run, unless
        `torch.use_deterministic_algorithms(True)` asks for the slower form.

        Args:
            vectors: (N, D) the vectors of the batch, masked positions already left out.
            codes: (N,) their entries.
        """
        batch = _Batch([self], [vectors])
        batch.codes = codes.unsqueeze(0)
        batch.clear()
        batch.add(0, slice(None), vectors, codes)
        _move(batch)

    def _begin(self, vectors: Tensor, total: Tensor) -> None:
        self.embed.copy_(vectors)
        # An even share of the batch each, so that the moving averages start at the scale they will keep.
        self.cluster_size.fill_(1.0).mul_(total / self.codebook_size)
        self.embed_sum.copy_(self.embed * self.cluster_size.unsqueeze(-1))
        self.initialized.fill_(1.0)
        self._had_data = True

    def _count(self, counts: Tensor, numbers: Tensor) -> Tensor | None:
        """Move the sizes. Returns which entries are to be re-seeded, (K,); None if none ever is."""
        # lerp_, never mul_().add_(alpha=): the compiler drops alpha when the operand is a matrix product.
        self.cluster_size.lerp_(counts, 1.0 - self.decay)
        self.num_updates.add_(1)
        if self.dead_code_threshold <= 0:
            return None
        dead = self.cluster_size < self.dead_code_threshold * self.cluster_size.mean()
        # A batch without a single valid position has nothing to offer.
        return dead & (numbers.sum() > 0)

    def _shift(self, rows: Tensor, dead: Tensor | None) -> None:
        """Move the code vectors: rows (K, D) are sums of the batch, but seeds where an entry is dead."""
        even_share = self.cluster_size.mean()
        moved = self.embed_sum.lerp(rows, 1.0 - self.decay)
        if dead is not None:
            moved = torch.where(dead.unsqueeze(-1), rows * even_share, moved)
            self.cluster_size.copy_(torch.where(dead, even_share, self.cluster_size))
        self.embed_sum.copy_(moved)
        # An entry that nothing has reached for long keeps its vector; the quotient would fade to noise.
        alive = self.cluster_size > torch.finfo(torch.float32).tiny * 1e6
        quotient = self.embed_sum / self.cluster_size.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(-1)
        self.embed.copy_(torch.where(alive.unsqueeze(-1), quotient, self.embed))


class VectorQuantizer(Codebook):
    """One level: nearest entry, straight-through gradient, commitment loss, EMA update while training.

    Example:

    >>> quantizer = VectorQuantizer(codebook_size=8, codebook_dim=4).eval()
    >>> codes, quantized, loss = quantizer(torch.randn(2, 5, 4))
    >>> codes.shape, quantized.shape, loss.shape
    (torch.Size([2, 5]), torch.Size([2, 5, 4]), torch.Size([]))
    """

    def forward(
        self,
        vectors: Tensor,
        loss_mask: Tensor | None = None,
        update: bool = True,
        return_loss: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Quantize (B, L, D) vectors, or of any other shape (..., D).

        Args:
            vectors: (B, L, D).
            loss_mask: (B, L) boolean, the positions that count in the loss and move the codebook; default all.
            update: False keeps the codebook still even in `train()`. In `eval()` it never moves.
            return_loss: whether to compute the commitment loss.

        Returns:
            codes (B, L); their fp32 vectors (B, L, D), straight-through; the commitment loss
            mean |x - stop_gradient(e)|^2 over the positions of `loss_mask` and the dimensions, or None.
        """
        flat = vectors.reshape(-1, self.codebook_dim)
        batch = _Batch([self], [flat], None if loss_mask is None else loss_mask.reshape(-1))
        codes, quantized, losses = _quantize(batch, [flat], None, update and self.training, return_loss)
        return codes.view(vectors.shape[:-1]), quantized.view(vectors.shape), losses[0] if return_loss else None


class HierarchicalResidualQuantizer(nn.Module):
    """Several codebooks, coarse to fine, each fed by a deeper layer (HRQ).

    Li et al., *VQDNA*, ICML 2024, arXiv 2405.10812, section 3.3. With Z(n) the tap of level n and e(M(n)) the
    code vector that it chooses:

        H(1) = Z(1);   H(n) = 2 Z(n) - e(M(n-1))   for n > 1
        M(n) = the entry of codebook n nearest to H(n)
        output = mean over n of e(M(n))

    The factor 2 keeps the scale: if e(M(2)) is close to 2 Z(2) - e(M(1)), their mean is close to Z(2). Code
    vectors are constants for the gradient: Z(n) receives it through its own level alone. With one level this is
    plain vector quantization.

    Args:
        codebook_sizes: K of each level, coarse to fine.
        codebook_dim: D, shared by the levels.
        decay, dead_code_threshold: see `Codebook`.
        level_fusion: `"mean"`, as above, or `"sum"`: H(n) = Z(n) - e(M(n-1)) and the output is the sum, which for two
            levels is plain residual quantization.

    Example:

    >>> quantizer = HierarchicalResidualQuantizer([8, 16], codebook_dim=4).eval()
    >>> output = quantizer([torch.randn(2, 5, 4), torch.randn(2, 5, 4)])
    >>> output.codes.shape, output.quantized.shape
    (torch.Size([2, 2, 5]), torch.Size([2, 5, 4]))
    """

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        codebook_dim: int,
        decay: float = 0.99,
        dead_code_threshold: float = 0.03,
        level_fusion: str = "mean",
    ) -> None:
        super().__init__()
        self.level_fusion = level_fusion
        self.codebooks = nn.ModuleList(
            VectorQuantizer(size, codebook_dim, decay, dead_code_threshold) for size in codebook_sizes
        )

    def forward(
        self,
        taps: Sequence[Tensor],
        mask: Tensor | None = None,
        loss_mask: Tensor | None = None,
        update: bool = True,
        return_loss: bool = True,
    ) -> QuantizerOutput:
        """Quantize one tap a level.

        Args:
            taps: Q tensors (B, L, D), Z(1) to Z(Q); or (N, D), with masks (N,).
            mask: (B, L) boolean, the positions that have a code; default all.
            loss_mask: (B, L) boolean, those that count in the loss and move the codebooks; default `mask`.
            update, return_loss: see `VectorQuantizer`.

        Raises:
            ValueError: if the number of taps is not the number of codebooks.
        """
        flat = self._flat(taps)
        flat_mask = None if mask is None else mask.reshape(-1)
        flat_loss_mask = flat_mask if loss_mask is None else loss_mask.reshape(-1)
        update = update and any(book.training for book in self.codebooks)
        batch = _Batch(list(self.codebooks), flat, flat_loss_mask)
        codes, quantized, losses = _quantize(batch, flat, flat_mask, update, return_loss)
        return QuantizerOutput(
            _by_sequence(codes, mask, taps[0].shape[:-1]),
            self._fused(quantized.view(taps[0].shape)),
            losses.mean() if return_loss else None,
        )

    @torch.no_grad()
    def encode(self, taps: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Choose the codes alone: no code vectors, no loss, nothing moves.

        Args:
            taps: Q tensors (B, L, D) or (N, D).
            mask: (B, L) or (N,) boolean, the positions that have a code; default all.

        Returns:
            (B, Q, L) or (Q, N) codes, equal to those of `forward`.

        Example:

        >>> quantizer = HierarchicalResidualQuantizer([8, 16], codebook_dim=4).eval()
        >>> quantizer.encode([torch.randn(5, 4), torch.randn(5, 4)]).shape
        torch.Size([2, 5])
        """
        codes = _Batch(list(self.codebooks), self._flat(taps)).encode()
        return _by_sequence(codes, mask, taps[0].shape[:-1])

    def _flat(self, taps: Sequence[Tensor]) -> list[Tensor]:
        if len(taps) != len(self.codebooks):
            raise ValueError(f"{len(self.codebooks)} codebooks need as many taps, got {len(taps)}")
        flat = [tap.reshape(-1, tap.shape[-1]) for tap in taps]
        # Halved, the 2 Z(n) of the mean is the Z(n) of the sum, and the sum is Q times the mean.
        return flat if self.level_fusion == "mean" else [flat[0], *(tap / 2 for tap in flat[1:])]

    def _fused(self, mean: Tensor) -> Tensor:
        return mean if self.level_fusion == "mean" else mean * len(self.codebooks)

    def lookup(self, codes: Tensor) -> Tensor:
        """Turn codes (B, Q, L) into fp32 vectors (B, L, D), mean or sum over levels; `NO_CODE` becomes zeros.

        Raises:
            ValueError: on another number of levels, or a code that its codebook does not have.
        """
        if codes.dim() != 3 or codes.shape[1] != len(self.codebooks):
            raise ValueError(f"codes must be (B, {len(self.codebooks)}, L), got {tuple(codes.shape)}")
        levels = list(zip(codes.unbind(1), self.codebooks, strict=True))
        # A compiled or exported graph cannot look at its data.
        for level, (level_codes, codebook) in enumerate(() if torch.compiler.is_compiling() else levels):
            if level_codes.numel() and not NO_CODE <= level_codes.min() <= level_codes.max() < codebook.codebook_size:
                raise ValueError(
                    f"codes of level {level} must be {NO_CODE} or in 0..{codebook.codebook_size - 1}, "
                    f"found {int(level_codes.min())}..{int(level_codes.max())}"
                )
        total = levels[0][1].lookup(levels[0][0])
        for level_codes, codebook in levels[1:]:
            total = total + codebook.lookup(level_codes)
        return self._fused(total / len(levels))


def _by_sequence(codes: Tensor, mask: Tensor | None, shape: torch.Size) -> Tensor:
    """(Q, N) -> (B, Q, L), or (Q, N) again for vectors of shape (N,); `NO_CODE` outside the mask."""
    codes = codes.view(len(codes), *shape)
    if mask is not None:
        codes = torch.where(mask, codes, NO_CODE)
    return codes.movedim(0, -2).contiguous() if len(shape) > 1 else codes


def code_counts(codes: Tensor, codebook_size: int) -> Tensor:
    """Count how often each of K entries occurs in codes of any shape, `NO_CODE` left out. -> (K,) float.

    >>> code_counts(torch.tensor([0, 2, 2, -1]), 4).tolist()
    [1.0, 0.0, 2.0, 0.0]
    """
    flat = codes.reshape(-1)
    counts = torch.zeros(codebook_size, device=codes.device)
    return counts.index_add_(0, flat.clamp(min=0), (flat != NO_CODE).float())


def usage_and_perplexity(counts: Tensor) -> tuple[Tensor, Tensor]:
    """The share of entries that occur, and exp(entropy) of their distribution, from counts (K,).

    Perplexity is K when all entries are equally frequent and 1 when one entry takes all.

    >>> usage, perplexity = usage_and_perplexity(torch.tensor([5.0, 5.0, 0.0, 0.0]))
    >>> round(usage.item(), 3), round(perplexity.item(), 3)
    (0.5, 2.0)
    """
    share = counts / counts.sum().clamp(min=1)
    return (counts > 0).float().mean(), torch.exp(torch.special.entr(share).sum())
