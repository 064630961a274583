# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Tokens to patches and back: with `codec_stride` s > 1 one code stands for s nucleotides.

Shape letters: B batch, L tokens, s stride, M patches of a row, G = M * s places of the grid.

Each sequence is cut into patches of s nucleotides from its first one on; the last may be shorter. A special token has
a patch of its own, padding has none. So what a patch holds depends on its sequence alone: not on padding on either
side, on the other sequence of a pair, or on whether there are special tokens at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .tokenization_vqdna import PAD_ID, is_sequence_position

SPARE_PATCHES = 4
"""How many patches special tokens may cost beyond L / s: each one, and each sequence may end in a broken one. This is
what a pair needs, and what a compiled graph, whose shapes must not depend on its data, has room for."""


@dataclass
class Patches:
    """Where the tokens of a batch lie on a grid of patches; with s = 1 the grid is the batch itself.

    Attributes:
        stride: s.
        grid_ids: (B, G) token ids; `[PAD]` where there is none.
        place: (B, L) the place of each token on the grid, G at padding; None with s = 1, where it is its position.
    """

    stride: int
    grid_ids: Tensor
    place: Tensor | None = None

    @property
    def ids(self) -> Tensor:
        """(B, M, s) the ids of each patch, in order."""
        return self.grid_ids.unflatten(1, (-1, self.stride))

    @property
    def first_ids(self) -> Tensor:
        """(B, M) the first id of each patch: a special token's own, or a sequence's; `[PAD]` for no patch."""
        return self.grid_ids[:, :: self.stride]

    def any(self, chosen: Tensor) -> Tensor:
        """(B, L) boolean of tokens -> (B, M) boolean, the patches that hold a chosen token."""
        return chosen if self.place is None else self.to_grid(chosen, 0).unflatten(1, (-1, self.stride)).any(-1)

    def to_grid(self, values: Tensor, filler: int) -> Tensor:
        """(B, L) values of tokens -> (B, G), `filler` where there is no token."""
        return values if self.place is None else _scatter(values, self.place, self.grid_ids.shape[1], filler)

    def to_tokens(self, grid: Tensor) -> Tensor:
        """(B, G, ...) -> (B, L, ...): what stands at each token's place; at padding, that of some other place."""
        if self.place is None:
            return grid
        place = self.place.clamp(max=grid.shape[1] - 1)
        place = place.view(*place.shape, *([1] * (grid.dim() - 2))).expand(-1, -1, *grid.shape[2:])
        return grid.gather(1, place)

    def spread(self, patches: Tensor) -> Tensor:
        """(B, M, ...) -> (B, L, ...): to each token what its patch has."""
        if self.place is None:
            return patches
        return self.to_tokens(patches.repeat_interleave(self.stride, 1))


def lay_out(input_ids: Tensor, attention_mask: Tensor | None, stride: int) -> Patches:
    """Cut token ids into patches.

    Args:
        input_ids: (B, L) nucleotide ids, with or without special tokens and padding.
        attention_mask: (B, L), 0 at padding; default: everything but `[PAD]`.
        stride: s, nucleotides a patch.

    A compiled or exported graph, whose shapes must not depend on its data, has room for `SPARE_PATCHES` breaks of a
    row: special tokens, `[UNK]`, padding between others. A pair needs no more; with more it fails.

    Raises:
        ValueError: if L is 0.

    Example:

    >>> patches = lay_out(torch.tensor([[2, 5, 6, 7, 3, 0]]), None, 2)  # [CLS] A C G [SEP] [PAD]
    >>> patches.ids.tolist()
    [[[2, 0], [5, 6], [7, 0], [3, 0]]]
    >>> patches.to_tokens(patches.grid_ids)[:, :5].tolist()
    [[2, 5, 6, 7, 3]]
    """
    if input_ids.shape[1] == 0:
        raise ValueError("input_ids has length 0: there is no sequence to encode")
    if attention_mask is not None:
        input_ids = torch.where(attention_mask.bool(), input_ids, PAD_ID)
    if stride == 1:
        return Patches(1, input_ids)
    shown = input_ids != PAD_ID
    inside = is_sequence_position(input_ids)
    counted = inside.long().cumsum(1)
    # The nucleotides before each break (special token or padding), at the break's number: cumulative sums and a
    # scatter, since ONNX has no cumulative maximum.
    number = (~inside).long().cumsum(1)
    length = input_ids.shape[1]
    before = counted.new_zeros(input_ids.shape[0], length + 2)
    before = before.scatter(1, torch.where(inside, length + 1, number), counted)
    phase = torch.where(inside, (counted - before.gather(1, number) - 1) % stride, 0)
    patch = (shown & (phase == 0)).long().cumsum(1) - 1
    # L / s rounded up and the spare ones, as one quotient: of a sum an exported graph could not tell that it divides G.
    most = (length + (SPARE_PATCHES + 1) * stride - 1) // stride
    if not torch.compiler.is_compiling():
        most = max(int(patch.max()) + 1, 1) if patch.numel() else 1
    place = torch.where(shown, patch * stride + phase, most * stride)
    return Patches(stride, _scatter(input_ids, place, most * stride, PAD_ID), place)


def _scatter(values: Tensor, place: Tensor, places: int, filler: int) -> Tensor:
    """One place more than the grid has takes what is not on it."""
    return values.new_full((values.shape[0], places + 1), filler).scatter(1, place, values)[:, :-1]
