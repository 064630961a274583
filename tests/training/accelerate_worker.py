# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""One of two processes of `test_accelerate.py`, which also runs `train` itself on the joined batches.

accelerate launch --config_file examples/accelerate/ddp.yaml accelerate_worker.py scripts FOLDER SCRIPT ARGS...
accelerate launch --config_file examples/accelerate/ddp.yaml accelerate_worker.py fsdp2 FOLDER
"""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from example_scripts import TINY_CODEC, TINY_MODEL

STEPS = 2
CODEC = {**TINY_CODEC, "decay": 0.9}
# The codec; the masked language model with a frozen codec, a trained one, and codes hidden behind the codec.
CASES: dict[str, dict[str, Any] | None] = {
    "codec": None,
    "mlm_frozen": {"freeze_codec": True},
    "mlm_trained": {"freeze_codec": False},
    "mlm_code": {"freeze_codec": True, "mask_level": "code"},
}


def build(case: str) -> PreTrainedModel:
    """The same weights everywhere; the codecs of the language models go on from the codebooks' fixed start."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**CODEC)).train()
    values = CASES[case]
    if values is None:
        return codec
    for book in codec.encoder.quantizer.codebooks:
        book.initialized.fill_(1.0)
    return VQDNAForMaskedLM.from_codec(codec, VQDNAConfig(**TINY_MODEL, **values))


def batches(case: str) -> list[dict[str, Tensor]]:
    """Four sequences a step; every second nucleotide is a target in each, so that means of halves are the whole's."""
    generator = torch.Generator().manual_seed(1)
    result = []
    for _ in range(STEPS):
        clean = torch.randint(5, 9, (4, 34), generator=generator)
        clean[:, 0], clean[:, -1] = 2, 3
        if CASES[case] is None:
            result.append({"input_ids": clean})
            continue
        labels = torch.full_like(clean, -100)
        labels[:, 2:-1:2] = clean[:, 2:-1:2]
        level = (CASES[case] or {}).get("mask_level")
        visible = clean if level == "code" else torch.where(labels == -100, clean, 4)
        result.append({"input_ids": visible, "labels": labels})
    return result


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, case: str, rank: int | None, backward: Callable[[Tensor], Any]
) -> list[float]:
    """Train on one rank's half of each batch, or on all of it; the losses."""
    part = slice(None) if rank is None else slice(2 * rank, 2 * rank + 2)
    model.train()
    losses = []
    for batch in batches(case):
        loss = model(**{name: value[part] for name, value in batch.items()}).loss
        backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Momentum, and a step in proportion to the gradient: Adam's first steps turn rounding into its sign."""
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def shard_on_cpu(plugin: FullyShardedDataParallelPlugin) -> Accelerator:
    """An Accelerator that takes its FSDP2 path on CPU.

    Accelerate chooses FSDP for devices that it knows as "multi"; with CPUs it trains with DDP and does not say so.
    What it then runs, `_prepare_fsdp2`, works on a gloo mesh all the same: only the choice is made here.
    """
    accelerator = Accelerator(cpu=True, fsdp_plugin=plugin)
    assert accelerator.distributed_type == DistributedType.MULTI_CPU, "Accelerate has learnt it: this can go"
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = plugin
    assert accelerator.is_fsdp2
    return accelerator


def fsdp2(folder: Path) -> None:
    """Every case, sharded; what each rank holds goes to a file, and the gathered model to a folder."""
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        cpu_ram_efficient_loading=False,
        state_dict_type="FULL_STATE_DICT",
    )
    accelerator = shard_on_cpu(plugin)
    report: dict[str, Any] = {"world_size": accelerator.num_processes}
    for case in CASES:
        # Accelerate keeps in the plugin the names of the layers of the first model that it prepares.
        plugin.transformer_cls_names_to_wrap = None
        model = build(case)
        model, optimizer = accelerator.prepare(model, make_optimizer(model))
        held = sum(value.to_local().numel() for value in model.parameters() if isinstance(value, DTensor))
        report[case] = {
            "parameters": sorted({type(value).__name__ for value in model.parameters()}),
            "buffers": sorted({f"{type(value).__name__} {value.dtype}" for value in model.buffers()}),
            "share": held / sum(value.numel() for value in model.parameters()),
            "losses": train(model, optimizer, case, accelerator.process_index, accelerator.backward),
        }
        torch.save(dict(model.named_buffers()), folder / f"{case}_{accelerator.process_index}.pt")
        weights = accelerator.get_state_dict(model)
        if accelerator.is_main_process:
            accelerator.unwrap_model(model).save_pretrained(folder / case, state_dict=weights)
        accelerator.free_memory()
    (folder / f"report_{accelerator.process_index}.json").write_text(json.dumps(report))


def scripts(folder: Path, commands: list[list[str]]) -> None:
    """Run example scripts; the codec that each leaves in this process goes to a file."""
    made: list[tuple[VQDNACodecModel, int, int]] = []
    original = VQDNACodecModel.__init__

    def remember(self: VQDNACodecModel, config: VQDNACodecConfig) -> None:
        original(self, config)
        made.append((self, dist.get_rank(), dist.get_world_size()))

    VQDNACodecModel.__init__ = remember  # type: ignore[method-assign]
    for number, command in enumerate(commands):
        sys.argv = command
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as error:
            if error.code:
                raise
        codec, rank, world_size = made[-1]
        torch.save({"world_size": world_size, **codec.state_dict()}, folder / f"{number}_{rank}.pt")
        AcceleratorState._reset_state(reset_partial_state=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "fsdp2":
        fsdp2(Path(sys.argv[2]))
    else:
        scripts(Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
    if dist.is_initialized():  # Accelerate's end_training may have done so
        dist.destroy_process_group()
