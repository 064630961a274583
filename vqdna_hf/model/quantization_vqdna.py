# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Vector quantization: an EMA codebook, one level of it, and the hierarchical residual quantizer (HRQ).

Shape letters: B batch, L positions, N vectors (B * L), Q quantizers, K codebook size, D width of a code vector.
All learnt state lives in persistent fp32 buffers, so that it travels with `state_dict` and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

NO_CODE = -1
"""The code of a position that has none: padding and special tokens."""

_MAX_DISTANCES_PER_CHUNK = 1 << 24  # fp32 distances held at once: 64 MiB, whatever N and K are
_ENTRIES_PER_CHUNK = 512  # of a codebook, compared at once: a number of chunks that does not depend on N
_HASH = 2654435761  # a prime above any batch: k * _HASH mod N visits N distinct vectors before it repeats


@dataclass
class QuantizerOutput:
    """What a quantizer returns.

    Attributes:
        codes: (B, Q, L) integer ids, `NO_CODE` outside the mask.
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
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self

    def initial_state(self) -> dict[str, Tensor]:
        """The buffers of an untrained codebook, by name; `_init_weights` restores exactly these."""
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

        Distances are fp32 whatever autocast says, and are made in chunks: N x K is never held whole.

        Args:
            vectors: (N, D), any floating dtype.

        Returns:
            (N,) int64 codes.
        """
        with torch.autocast(device_type=vectors.device.type, enabled=False):
            vectors = vectors.detach().float()
            rows = max(1, _MAX_DISTANCES_PER_CHUNK // min(self.codebook_size, _ENTRIES_PER_CHUNK))
            # A graph unrolls its loops, and must not depend on the number of vectors: there N is not cut, and at most
            # N x _ENTRIES_PER_CHUNK distances are held, less than a block of the published codec's activations.
            if torch.compiler.is_compiling() or vectors.shape[0] <= rows:
                return self._nearest(vectors)
            return torch.cat([self._nearest(part) for part in vectors.split(rows)])

    def _nearest(self, vectors: Tensor) -> Tensor:
        embed = self.embed.float()
        # |x - e|^2 = |x|^2 - 2 x.e + |e|^2, and |x|^2 does not change which entry is nearest.
        squared_norm = embed.square().sum(-1)
        smallest: Tensor | None = None
        for start in range(0, self.codebook_size, _ENTRIES_PER_CHUNK):
            part = slice(start, start + _ENTRIES_PER_CHUNK)
            distances, codes = torch.addmm(squared_norm[part], vectors, embed[part].t(), alpha=-2).min(-1)
            if smallest is None:
                smallest, nearest = distances, codes
            else:
                # Strictly nearer: of equals the first entry wins, as within a chunk.
                nearest = torch.where(distances < smallest, codes + start, nearest)
                smallest = torch.minimum(smallest, distances)
        return nearest

    def lookup(self, codes: Tensor) -> Tensor:
        """Turn codes of any shape (...) into fp32 code vectors (..., D); `NO_CODE` becomes zeros."""
        vectors = F.embedding(codes.clamp(min=0), self.embed.float())
        return vectors * (codes != NO_CODE).unsqueeze(-1)

    def _pick(self, vectors: Tensor, salt: Tensor | int) -> Tensor:
        """Choose K of the vectors of *all* ranks, spread evenly, the same on every rank. (N, D) -> (K, D)."""
        own = vectors.shape[0]
        counts = torch.tensor([own], device=vectors.device)
        if (world_size := _world_size()) > 1:
            gathered = [torch.zeros_like(counts) for _ in range(world_size)]
            dist.all_gather(gathered, counts)
            counts = torch.cat(gathered)
        total = counts.sum().clamp(min=1)
        order = torch.arange(self.codebook_size, device=vectors.device) + salt
        index = order * _HASH % total
        if world_size == 1:
            return vectors[index] if own else torch.zeros_like(self.embed)
        # Every rank contributes the chosen vectors that it holds; the sum over ranks is the choice.
        index = index - counts[: dist.get_rank()].sum()
        mine = (index >= 0) & (index < own)
        picked = torch.zeros_like(self.embed)
        picked[mine] = vectors[index[mine]]
        dist.all_reduce(picked)
        return picked

    @torch.no_grad()
    def initialize(self, vectors: Tensor) -> None:
        """Take the code vectors from data.

        Args:
            vectors: (N, D), N >= 1 over all ranks; fewer than K leave duplicates, which die and are re-seeded.
        """
        vectors = vectors.float()
        total = torch.tensor(float(vectors.shape[0]), device=vectors.device)
        if _world_size() > 1:
            dist.all_reduce(total)
        if total == 0:  # only padding so far: wait for data
            return
        self.embed.copy_(self._pick(vectors, 0))
        # An even share of the batch each, so that the moving averages start at the scale they will keep.
        self.cluster_size.fill_(1.0).mul_(total / self.codebook_size)
        self.embed_sum.copy_(self.embed * self.cluster_size.unsqueeze(-1))
        self.initialized.fill_(1.0)

    @torch.no_grad()
    def update(self, vectors: Tensor, codes: Tensor) -> None:
        """Move the codebook towards the vectors assigned to each entry, then re-seed dead entries.

        Counts and sums are all-reduced: N vectors on each of two ranks move the codebook as 2N on one.

        Args:
            vectors: (N, D) the vectors of the batch, masked positions already left out.
            codes: (N,) their entries.
        """
        vectors = vectors.float()
        counts = torch.zeros_like(self.cluster_size).index_add_(
            0, codes, torch.ones_like(codes, dtype=self.cluster_size.dtype)
        )
        sums = torch.zeros_like(self.embed_sum).index_add_(0, codes, vectors)
        if _world_size() > 1:
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        # lerp_, never mul_().add_(alpha=): the compiler drops alpha when the operand is a matrix product.
        self.cluster_size.lerp_(counts, 1.0 - self.decay)
        self.embed_sum.lerp_(sums, 1.0 - self.decay)
        self.num_updates.add_(1)
        if self.dead_code_threshold > 0:
            self._reseed_dead(vectors)
        # An entry that nothing has reached for long keeps its vector; the quotient would fade to noise.
        alive = self.cluster_size > torch.finfo(torch.float32).tiny * 1e6
        quotient = self.embed_sum / self.cluster_size.clamp(min=torch.finfo(torch.float32).tiny).unsqueeze(-1)
        self.embed.copy_(torch.where(alive.unsqueeze(-1), quotient, self.embed))

    def _reseed_dead(self, vectors: Tensor) -> None:
        even_share = self.cluster_size.mean()
        dead = self.cluster_size < self.dead_code_threshold * even_share
        seeds = self._pick(vectors, self.num_updates.long() * self.codebook_size)
        # A batch without a single valid position has nothing to offer.
        dead = dead & seeds.any()
        self.cluster_size.copy_(torch.where(dead, even_share, self.cluster_size))
        self.embed_sum.copy_(torch.where(dead.unsqueeze(-1), seeds * even_share, self.embed_sum))


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
        """Quantize (B, L, D) vectors.

        Args:
            vectors: (B, L, D).
            loss_mask: (B, L) boolean, the positions that count in the loss and move the codebook; default all.
            update: False keeps the codebook still even in `train()`. In `eval()` it never moves.
            return_loss: whether to compute the commitment loss.

        Returns:
            codes (B, L); their fp32 vectors (B, L, D), straight-through; the commitment loss
            mean |x - stop_gradient(e)|^2 over the positions of `loss_mask` and the dimensions, or None.
        """
        flat = vectors.detach().reshape(-1, self.codebook_dim)
        update = update and self.training
        if update:
            # Found once: their number depends on the data, for which a GPU waits and a compiled graph breaks.
            chosen = slice(None) if loss_mask is None else loss_mask.reshape(-1).nonzero().squeeze(-1)
            valid = flat[chosen]
            if not self.initialized:
                self.initialize(valid)
        flat_codes = self.nearest(flat)
        codes = flat_codes.view(vectors.shape[:-1])
        entries = self.lookup(codes)
        vectors = vectors.float()
        loss = None
        if return_loss:
            error = vectors - entries
            if loss_mask is None:
                loss = error.square().mean()
            else:
                # where, not a product: whatever stands at the other positions, 0 * inf would be NaN.
                error = torch.where(loss_mask.unsqueeze(-1), error, 0.0)
                loss = error.square().mean(-1).sum() / loss_mask.sum().clamp(min=1)
        if update:
            self.update(valid, flat_codes[chosen])
        return codes, vectors + (entries - vectors).detach(), loss


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
    ) -> None:
        super().__init__()
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
            taps: Q tensors (B, L, D), Z(1) to Z(Q).
            mask: (B, L) boolean, the positions that have a code; default all.
            loss_mask: (B, L) boolean, those that count in the loss and move the codebooks; default `mask`.
            update, return_loss: see `VectorQuantizer`.

        Raises:
            ValueError: if the number of taps is not the number of codebooks.
        """
        if len(taps) != len(self.codebooks):
            raise ValueError(f"{len(self.codebooks)} codebooks need as many taps, got {len(taps)}")
        loss_mask = mask if loss_mask is None else loss_mask
        codes: list[Tensor] = []
        vectors: list[Tensor] = []
        losses: list[Tensor] = []
        for tap, codebook in zip(taps, self.codebooks, strict=True):
            residual = 2 * tap.float() - vectors[-1].detach() if vectors else tap
            level_codes, level_vectors, loss = codebook(residual, loss_mask, update, return_loss)
            codes.append(level_codes)
            vectors.append(level_vectors)
            losses.append(loss)
        stacked = torch.stack(codes, dim=1)
        quantized = torch.stack(vectors).mean(0)
        if mask is not None:
            stacked = torch.where(mask.unsqueeze(1), stacked, NO_CODE)
            quantized = torch.where(mask.unsqueeze(-1), quantized, 0.0)
        return QuantizerOutput(stacked, quantized, torch.stack(losses).mean() if return_loss else None)

    def lookup(self, codes: Tensor) -> Tensor:
        """Turn codes (B, Q, L) into fp32 vectors (B, L, D): the mean over levels; `NO_CODE` becomes zeros.

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
        return torch.stack([codebook.lookup(level_codes) for level_codes, codebook in levels]).mean(0)


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
