# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The search for the nearest entry of a codebook: in chunks, in fp32, and as one node of a compiled graph.

Shape letters: N vectors, K codebook size, D width of a code vector.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# fp32 numbers held at once on a CPU, whatever N, K and D are: 8 MiB, which stay in its caches.
_MAX_DISTANCES_PER_CHUNK = 1 << 21
_GPU_SHARE = 8  # as many of these on a GPU, which needs larger products to be busy
_CPU_SHARE = 1 / 4  # and so many where no product is to be fed: chunks that stay nearer to the core
_MAX_ENTRIES_PER_CHUNK = 1 << 13  # of a codebook, compared at once: a larger one would leave too few vectors a chunk
_ENTRIES_PER_CHUNK = 512  # the same in an exported graph, where N is not cut
_GROUP = 64  # neighbouring entries of which only the nearest is looked at, until their group has won
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.6 cannot tell them apart


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    """fp32 products as fp32, whatever precision the user allows elsewhere: TF32 and bf16 would choose other codes."""
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.mkldnn.matmul]
    name, exact = ("fp32_precision", "ieee") if hasattr(backends[0], "fp32_precision") else ("allow_tf32", False)
    if not exact:  # before torch 2.9, which also could not tell a CPU
        backends = backends[:1]
    allowed = [getattr(backend, name) for backend in backends]
    for backend in backends:
        setattr(backend, name, exact)
    try:
        yield
    finally:
        for backend, before in zip(backends, allowed, strict=True):
            setattr(backend, name, before)


def parts_of(vectors: Tensor, embeds: Sequence[Tensor] = ()) -> list[slice]:
    """Cut N vectors into chunks.

    Each makes as many distances to one of the codebooks as are allowed; without `embeds`, as many numbers of its own.

    >>> parts_of(torch.zeros(3000, 4), [torch.zeros(2048, 4)])
    [slice(0, 1024, None), slice(1024, 2048, None), slice(2048, 3072, None)]
    """
    total = vectors.shape[0]
    if torch.compiler.is_compiling():  # a graph unrolls its loops and must not depend on the number of vectors
        return [slice(None)]
    width = max([vectors.shape[1], *(min(len(embed), _MAX_ENTRIES_PER_CHUNK) for embed in embeds)])
    share = _GPU_SHARE if not vectors.is_cpu else 1 if embeds else _CPU_SHARE
    rows = max(1, int(_MAX_DISTANCES_PER_CHUNK * share) // width)
    return [slice(start, start + rows) for start in range(0, total, rows)]


def _smallest(distances: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest of each row, (N,), and where it stands first."""
    rows, entries = distances.shape
    if not distances.is_cpu or entries % _GROUP or torch.compiler.is_compiling():
        smallest, codes = distances.min(-1)
        return smallest, codes
    # On a CPU `amin` is several times as fast as `min`, which carries indices along: so first find the group.
    groups = distances.view(rows, -1, _GROUP)
    group = groups.amin(-1).argmin(-1)
    smallest, codes = groups[torch.arange(rows, device=distances.device), group].min(-1)
    return smallest, codes + group * _GROUP


def _nearest_of(
    vectors: Tensor, embed: Tensor, squared_norm: Tensor, entries: int, workspace: Tensor | None = None
) -> Tensor:
    # |x - e|^2 = |x|^2 - 2 x.e + |e|^2, and |x|^2 does not change which entry is nearest.
    smallest: Tensor | None = None
    for start in range(0, len(embed), entries):
        part = embed[start : start + entries]
        out = None if workspace is None else workspace[: len(vectors) * len(part)].view(len(vectors), len(part))
        distances = torch.addmm(squared_norm[start : start + entries], vectors, part.t(), alpha=-2, out=out)
        found, codes = _smallest(distances)
        if smallest is None:
            smallest, nearest = found, codes
        else:
            # Strictly nearer: of equals the first entry wins, as within a chunk.
            nearest = torch.where(found < smallest, codes + start, nearest)
            smallest = torch.minimum(smallest, found)
    return nearest


def _nearest_in_chunks(vectors: Tensor, embed: Tensor, squared_norm: Tensor) -> Tensor:
    return NearestEntries(embed, squared_norm)._in_chunks(vectors)


# In a compiled graph the search is one node: the graph could not set the precision of a product, and would hold all
# distances. Its name is the module's, which exists twice where a folder with remote code was loaded beside the package.
_nearest_node = torch.library.custom_op(
    f"vqdna::nearest_{re.sub(r'[^A-Za-z0-9_]', '_', __name__)}", _nearest_in_chunks, mutates_args=()
)


@_nearest_node.register_fake
def _(vectors: Tensor, embed: Tensor, squared_norm: Tensor) -> Tensor:
    return vectors.new_empty(vectors.shape[0], dtype=torch.int64)


class NearestEntries:
    """Finds the entry at the smallest Euclidean distance of each vector; of equals the first.

    Args:
        embed: (K, D) fp32.
        squared_norm: (K,) the entries' |e|^2, if it is known.

    Example:

    >>> search = NearestEntries(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    >>> search(torch.tensor([[2.0, 2.0], [1.0, 1.0]]))
    tensor([1, 0])
    """

    def __init__(self, embed: Tensor, squared_norm: Tensor | None = None) -> None:
        self.embed = embed
        self.squared_norm = embed.square().sum(-1) if squared_norm is None else squared_norm
        self._workspace: Tensor | None = None

    def __call__(self, vectors: Tensor) -> Tensor:
        """(N, D) of any floating dtype -> (N,) int64 codes."""
        if _is_exporting():  # other runtimes have no such node: at most N x _ENTRIES_PER_CHUNK distances are held there
            with torch.autocast(vectors.device.type, enabled=False):
                return _nearest_of(vectors.float(), self.embed, self.squared_norm, _ENTRIES_PER_CHUNK)
        if torch.compiler.is_compiling():
            return _nearest_node(vectors, self.embed, self.squared_norm)
        return self._in_chunks(vectors)

    def _in_chunks(self, vectors: Tensor) -> Tensor:
        nearest = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
        with torch.no_grad(), _exact_products(), torch.autocast(vectors.device.type, enabled=False):
            for part in parts_of(vectors, [self.embed]):
                chunk = vectors[part].float()
                # One place for the distances of all chunks: pages that are new each time cost a fifth of the search.
                needed = len(chunk) * min(len(self.embed), _MAX_ENTRIES_PER_CHUNK)
                if self._workspace is None or self._workspace.numel() < needed:
                    self._workspace = self.embed.new_empty(needed)
                nearest[part] = _nearest_of(
                    chunk, self.embed, self.squared_norm, _MAX_ENTRIES_PER_CHUNK, self._workspace
                )
        return nearest
