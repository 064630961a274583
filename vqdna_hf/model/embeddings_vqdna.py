# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What the backbone reads beside the frozen code vectors: a trained vector a code, and those of special tokens.

Shape letters: B batch, Q quantizers, K codebook size, H hidden size, s stride, M patches of a row.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from .configuration_vqdna import VQDNAConfig
from .patching_vqdna import Patches
from .tokenization_vqdna import PAD_ID, is_nucleotide, is_sequence_position


class CodeEmbeddings(nn.ModuleList):
    """A trained vector for each code of each level, to be added to the projected one of its codebook.

    The codebooks' vectors are what the codec's decoder needs; these are what the task at hand needs, as the token
    embeddings of any language model. They start as zeros: a new model reads exactly the codebooks.

    Example:

    >>> config = VQDNAConfig(hidden_size=4, num_attention_heads=2, codec_config={"codebook_sizes": [8, 16]})
    >>> embeddings = CodeEmbeddings(config)
    >>> embeddings(torch.tensor([[[0, 7, -1], [3, 15, -1]]])).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, config: VQDNAConfig) -> None:
        super().__init__(CodeEmbedding(size, config.hidden_size) for size in config.codec_config.codebook_sizes)

    def forward(self, codes: Tensor) -> Tensor:
        """(B, Q, M) codes -> (B, M, H), the sum over levels; zeros where there is no code (-1)."""
        levels = zip(self, codes.unbind(1), strict=True)
        vectors = [table(level.clamp(min=0)) for table, level in levels]
        return torch.stack(vectors).sum(0) * (codes[:, 0] >= 0).unsqueeze(-1)


class CodeEmbedding(nn.Embedding):
    """The table of one level, (K, H). A class of its own, so that its zeros are not overwritten at random."""

    def reset_parameters(self) -> None:
        """Zeros, and no random number drawn: other weights are what they would be without a table."""
        nn.init.zeros_(self.weight)


def init_code_embeddings(module: nn.Module) -> bool:
    """Start a table with zeros. Returns whether `module` was one (and needs nothing else)."""
    if isinstance(module, CodeEmbedding):
        init.zeros_(module.weight)
        return True
    return False


def own_vectors(patches: Patches, table: nn.Module) -> Tensor:
    """(B, M, H): a special token's vector; in a patch of a sequence the sum of those of `[MASK]` and N, over s.

    Args:
        patches: of s > 1 nucleotides.
        table: the backbone's embeddings of tokens, (V, H).
    """
    ids = patches.ids
    own = ~is_nucleotide(ids) & (ids != PAD_ID)
    share = torch.where(is_sequence_position(patches.first_ids), 1 / patches.stride, 1.0)
    counts = (F.one_hot(ids.long(), table.num_embeddings) * own.unsqueeze(-1)).sum(2) * share.unsqueeze(-1)
    vectors = table(torch.arange(table.num_embeddings, device=ids.device))
    return counts.to(vectors.dtype) @ vectors
