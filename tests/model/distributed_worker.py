# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""One of two processes of `test_quantization_distributed.py`, which also runs `train` itself.

It reads the quantizer's file directly: the package would bring Transformers along and cost seconds a process.
"""

import importlib.util
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

QUANTIZATION_FILE = Path(__file__).resolve().parents[2] / "vqdna_hf" / "model" / "quantization_vqdna.py"
CODEBOOK_SIZES = [6, 12]
DIM = 4
UPDATES = 6
DEAD_CODE_UPDATE = 3

SPLITS = {
    "even": [0.5],
    "uneven": [0.3, 0.75, 0.1],  # another share for rank 0 at each batch
    "empty": [0.0, 0.5, 1.0],  # now and then a rank has nothing, at the start too
}


def batches() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Two taps (N, D) and a mask (N,) for each update; from DEAD_CODE_UPDATE on the data are far away."""
    generator = torch.Generator().manual_seed(3)
    result = []
    for step in range(UPDATES):
        offset = 30.0 if step >= DEAD_CODE_UPDATE else 0.0
        taps = torch.randn(2, 40, DIM, generator=generator) + offset
        result.append((taps[0], taps[1], torch.rand(40, generator=generator) < 0.8))
    return result


def train(quantizer: nn.Module, rank: int | None, split: list[float]) -> dict[str, Tensor]:
    """Train on one rank's part of each batch, or on all of it in the ranks' order; the state by step."""
    history: dict[str, Tensor] = {}
    for step, (first, second, mask) in enumerate(batches()):
        cut = round(split[step % len(split)] * len(mask))
        part = slice(None) if rank is None else (slice(0, cut) if rank == 0 else slice(cut, None))
        quantizer([first[part].unsqueeze(0), second[part].unsqueeze(0)], mask[part].unsqueeze(0))
        history |= {f"{step}.{name}": value.clone() for name, value in quantizer.state_dict().items()}
    return history


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("quantization_vqdna", QUANTIZATION_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["quantization_vqdna"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    # A file as the meeting point: no port that another process could hold.
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for name, split in SPLITS.items():
        quantizer = module.HierarchicalResidualQuantizer(CODEBOOK_SIZES, DIM, decay=0.5, dead_code_threshold=0.3)
        results[name] = train(quantizer.train(), rank, split)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
