# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""One of two processes of `test_quantization_distributed.py`, which also runs `train` itself.

It reads the quantizer's files without the package, which would bring Transformers along and cost seconds a process.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
import torch.distributed as dist
from torch import Tensor, nn

MODEL_FOLDER = Path(__file__).resolve().parents[2] / "vqdna_hf" / "model"
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


class Messages:
    """Counts what goes between the processes."""

    def __init__(self) -> None:
        self.counts = {"all_reduce": 0, "all_gather": 0}
        for name in self.counts:
            setattr(dist, name, self.counting(name, getattr(dist, name)))

    def counting(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        """The same function, which counts its calls."""

        def call(*args: object) -> None:
            self.counts[name] += 1
            function(*args)

        return call

    def since(self) -> Tensor:
        """all_reduce and all_gather calls since the last question."""
        found = torch.tensor(list(self.counts.values()))
        self.counts.update(dict.fromkeys(self.counts, 0))
        return found


def train(
    quantizer: nn.Module, rank: int | None, split: list[float], messages: Messages | None = None
) -> dict[str, Tensor]:
    """Train on one rank's part of each batch, or on all of it in the ranks' order; the state by step."""
    history: dict[str, Tensor] = {}
    for step, (first, second, mask) in enumerate(batches()):
        cut = round(split[step % len(split)] * len(mask))
        part = slice(None) if rank is None else (slice(0, cut) if rank == 0 else slice(cut, None))
        quantizer([first[part].unsqueeze(0), second[part].unsqueeze(0)], mask[part].unsqueeze(0))
        if messages is not None:
            history[f"{step}.messages"] = messages.since()
        history |= {f"{step}.{name}": value.clone() for name, value in quantizer.state_dict().items()}
    return history


def main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    package = ModuleType("model_files")
    package.__path__ = [str(MODEL_FOLDER)]
    sys.modules["model_files"] = package
    module = importlib.import_module("model_files.quantization_vqdna")
    # A file as the meeting point: no port that another process could hold.
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results, messages = {}, Messages()
    for name, split in SPLITS.items():
        quantizer = module.HierarchicalResidualQuantizer(CODEBOOK_SIZES, DIM, decay=0.5, dead_code_threshold=0.3)
        results[name] = train(quantizer.train(), rank, split, messages)
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
