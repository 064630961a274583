# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Data-parallel training: two processes beside one, the bytes of every message, and what they say of many GPUs."""

import contextlib
import dataclasses
import inspect
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from speed.measure import Context, Row, Timing
from speed.peers import nucleotides, ours, recipe
from vqdna_hf.model import quantization_vqdna
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel

TITLE = "Scaling over processes"

ALONE, SILENT = "1 process", "2 processes that do not talk"
GRADIENTS, CODEBOOKS = "2 processes, gradients alone", "2 processes, gradients and codebooks"
BUFFERS = "2 processes, and buffers broadcast"
"""As DistributedDataParallel does by default: before each forward rank 0 sends its buffers."""
CODEC_STEP, MODEL_STEP = "codec, stage 1", "masked language model, codec frozen"
SECONDS = 150.0
"""For both steps and the messages, as foreseen: rounds end behind 0.6 of it."""

PATIENCE = 600.0
"""Seconds after which the two processes are taken to hang."""


@dataclass
class Work:
    """What two processes are told to do.

    Attributes:
        size: of the recipes, for the timed steps.
        sequences, length: of one process's batch.
        rounds: of each way; 0 measures bytes alone.
        deadline: `time.time()` after which no round begins.
        sizes: of the recipes, for the bytes.
    """

    size: str
    sequences: int
    length: int
    rounds: int
    deadline: float
    sizes: tuple[str, ...]


def run(context: Context) -> Iterator[Row]:
    """Two processes on this machine's CPU; of a GPU machine only the estimate is of interest."""
    if context.on_gpu:
        text = "It takes two GPUs to measure scaling, and one is measured here; see the CPU's table, estimate included."
        yield {"table": "step", "note": text}
        return
    seconds = SECONDS if context.deadline is None else min(max(context.deadline - time.monotonic(), 5.0), SECONDS)
    if context.quick:
        work = Work("tiny", 2, 64, 1, time.time() + seconds, ("tiny",))
    else:
        work = Work("tiny", 16, 512, context.repeats, time.time() + seconds * 0.6, ("tiny", "base"))
    found = in_two_processes(work)
    yield from step_rows(found["seconds"], work)
    yield from byte_rows(found["bytes"])
    yield from estimate_rows(found["bytes"][work.sizes[-1]], work.sizes[-1])


def in_two_processes(work: Work) -> dict[str, Any]:
    """Start them, wait for them, and return what rank 0 found."""
    with tempfile.TemporaryDirectory() as folder:
        context = torch.multiprocessing.get_context("spawn")
        processes = [context.Process(target=worker, args=(rank, folder, work)) for rank in range(2)]
        with mock.patch.dict(os.environ, {"OMP_NUM_THREADS": "1"}):
            for process in processes:
                process.start()
        wait(processes)
        found: dict[str, Any] = json.loads(Path(folder, "found.json").read_text())
        return found


def wait(processes: Sequence[BaseProcess], limit: float = PATIENCE) -> None:
    """Until all have ended; where one fails, the other, which waits for its messages, is ended too.

    Raises:
        RuntimeError: one failed, or they take longer than `limit` seconds.
    """
    end = time.monotonic() + limit
    try:
        while any(process.exitcode is None for process in processes):
            if time.monotonic() > end or any(process.exitcode for process in processes):
                break
            connection.wait([process.sentinel for process in processes if process.exitcode is None], timeout=1)
        codes = [process.exitcode for process in processes]
        if any(code != 0 for code in codes):
            raise RuntimeError(f"a process of two failed or took too long: exit codes {codes}")
    finally:
        for process in processes:
            process.kill()
            process.join()


def worker(rank: int, folder: str, work: Work) -> None:
    """One of two processes: the meeting point is a file, so that no port can be taken."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found: dict[str, Any] = {"seconds": {}, "bytes": {}}
    if work.rounds:
        begin = time.time()
        for what, share in ((CODEC_STEP, 0.5), (MODEL_STEP, 1.0)):
            part = dataclasses.replace(work, deadline=begin + share * (work.deadline - begin))
            found["seconds"][what] = timed(Steps(what, work.size, work.sequences, work.length), rank, part)
    for size in work.sizes:
        found["bytes"][size] = {what: message_bytes(what, size) for what in (CODEC_STEP, MODEL_STEP)}
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


class Steps:
    """A model on one rank and its batch, which is of another rank's size but not its data."""

    def __init__(self, what: str, size: str, sequences: int, length: int) -> None:
        torch.manual_seed(0)
        if what == CODEC_STEP:
            self.model: nn.Module = VQDNACodecModel(recipe(size).codec_config)
            ids = nucleotides(2 * sequences, length, torch.device("cpu"))
            self.batch = {"input_ids": ids[dist.get_rank() * sequences :][:sequences]}
        else:
            kind = ours(recipe(size))
            with quiet():  # the first vectors of the codebooks are the same on both without a word between them
                self.model = kind.build()
            self.batch = kind.batch(sequences, length, torch.device("cpu"))
        self.model.train()
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-5)

    def distributed(self, broadcast_buffers: bool = False) -> DistributedDataParallel:
        """The model under DistributedDataParallel."""
        newer = "forward_sync_buffers"  # the argument's name since torch 2.13
        known = newer in inspect.signature(DistributedDataParallel.__init__).parameters
        options: dict[str, Any] = {newer if known else "broadcast_buffers": broadcast_buffers}
        return DistributedDataParallel(self.model, **options)

    def step(self, called: nn.Module) -> None:
        """Forward, backward, AdamW."""
        called(**self.batch).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class _Nobody:
    """In the place of `torch.distributed`: there is no other process."""

    def __getattr__(self, name: str) -> Any:
        return {"is_initialized": lambda: False, "get_world_size": lambda *_: 1, "get_rank": lambda *_: 0}.get(
            name, getattr(dist, name)
        )


def quiet() -> contextlib.AbstractContextManager[Any]:
    """Codebooks that see their own process alone."""
    return mock.patch.object(quantization_vqdna, "dist", _Nobody())


def timed(steps: Steps, rank: int, work: Work) -> dict[str, list[float]]:
    """Seconds of each way, in turn, round after round; rank 1 waits while rank 0 is alone."""
    plain, wrapped, sending = steps.model, steps.distributed(), steps.distributed(broadcast_buffers=True)

    def alone() -> None:
        if rank == 0:
            with quiet():
                steps.step(plain)

    def silent() -> None:
        with quiet():
            steps.step(plain)

    def gradients() -> None:
        with quiet():
            steps.step(wrapped)

    ways: dict[str, Callable[[], None]] = {
        ALONE: alone,
        SILENT: silent,
        GRADIENTS: gradients,
        CODEBOOKS: lambda: steps.step(wrapped),
        BUFFERS: lambda: steps.step(sending),
    }
    if steps.model.__class__ is not VQDNACodecModel:
        ways.pop(CODEBOOKS)  # a frozen codec's codebooks do not move, and have nothing to say
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, work.rounds):  # the first is a warm-up
        if agreed(number >= 3 and time.time() > work.deadline):
            break
        for name, way in ways.items():
            dist.barrier()
            start = time.perf_counter()
            way()
            taken = time.perf_counter() - start
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def agreed(stop: bool) -> bool:
    """Whether one of the processes wants to stop: they must do the same number of rounds."""
    wish = torch.tensor(float(stop))
    dist.all_reduce(wish)
    return bool(wish)


def message_bytes(what: str, size: str) -> dict[str, Any]:
    """What one step sends, counted at the calls: a short batch does, since messages do not depend on it."""
    steps = Steps(what, size, 1, 64)
    sent: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def count(name: str, tensors: list[Tensor]) -> None:
        sent[name] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        calls[name] += 1

    def hook(_: None, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        count("gradients", [bucket.buffer()])
        with mock.patch.object(dist, "all_reduce", originals["all_reduce"]):
            return default_hooks.allreduce_hook(None, bucket)  # type: ignore[arg-type]

    names = ("all_reduce", "all_gather", "all_gather_into_tensor", "broadcast", "reduce_scatter_tensor", "all_to_all")
    originals = {name: getattr(dist, name) for name in names}

    def counting(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            mine = args[1] if name.startswith("all_gather") else args[0]
            count(f"codebooks, {name}", list(mine) if isinstance(mine, (list, tuple)) else [mine])
            return originals[name](*args, **kwargs)

        return call

    coalesced = dist._broadcast_coalesced

    def broadcast(group: Any, tensors: list[Tensor], *args: Any) -> Any:
        count("buffers, broadcast", list(tensors))
        return coalesced(group, tensors, *args)

    steps.step(steps.distributed())  # the first step fills the codebooks, which takes other messages
    wrapped = steps.distributed(broadcast_buffers=True)
    wrapped.register_comm_hook(None, hook)
    with contextlib.ExitStack() as patches:
        for name in names:
            patches.enter_context(mock.patch.object(dist, name, counting(name)))
        patches.enter_context(mock.patch.object(dist, "_broadcast_coalesced", broadcast))
        steps.step(wrapped)
    trained = sum(parameter.numel() for parameter in steps.trained)
    return {"sent": dict(sent), "calls": dict(calls), "trained": trained}


def step_rows(seconds: dict[str, dict[str, list[float]]], work: Work) -> Iterator[Row]:
    """Each way beside the one that does one thing less."""
    table = f"step of `{work.size}`, {work.sequences} sequences of {work.length} bases a process, one thread each"
    bases = work.sequences * work.length
    less = {SILENT: ALONE, GRADIENTS: SILENT, CODEBOOKS: GRADIENTS, BUFFERS: CODEBOOKS}
    for what, ways in seconds.items():
        for name, taken in ways.items():
            timing, alone = Timing(taken), Timing(ways[ALONE])
            before = ways.get(less.get(name, ALONE)) or ways[GRADIENTS]
            processes = 1 if name == ALONE else 2
            yield {
                "table": table,
                "what": what,
                "way": name,
                "bases/s, x 1 process": processes * timing.times_faster_than(alone),
                "x the way above": 1 / timing.times_faster_than(Timing(before)),
                "ms": timing.median * 1e3,
                "bases/s": processes * bases / timing.median,
                "rounds": len(taken),
            }
    text = (
        "Weak scaling: two processes do twice the work, and 2 x is perfect. Two that do not talk show what sharing "
        "caches and memory costs; each way below adds a thing. Both processes are on one machine: this shows what "
        "waiting and copying cost there, not what a network does."
    )
    yield {"table": table, "note": text}


def byte_rows(found: dict[str, Any]) -> Iterator[Row]:
    """The messages of one step."""
    table = "messages of one step, as counted at the calls"
    for size, by_step in found.items():
        for what, counted in by_step.items():
            total = sum(counted["sent"].values())
            for name, sent in sorted(counted["sent"].items()):
                yield {
                    "table": table,
                    "size": f"`{size}`",
                    "what": what,
                    "message": name,
                    "share of the step's bytes": sent / total,
                    "MB": sent / 1e6,
                    "calls": counted["calls"][name],
                }
            gradients, trained = counted["sent"].get("gradients", 0), counted["trained"]
            yield {
                "table": table,
                "note": f"`{size}`, {what}: gradients are {gradients / trained:g} bytes for each of "
                f"{trained / 1e6:.2f} M trained parameters.",
            }
    yield {
        "table": table,
        "note": "Buffers are broadcast where DistributedDataParallel is left to its default (`broadcast_buffers`). The "
        "codebooks are equal on all ranks without it.",
    }


@dataclass
class Link:
    """A network, assumed.

    Attributes:
        name: in the table.
        bandwidth: bytes a second and direction of one GPU.
        latency: seconds of one step of a ring.
    """

    name: str
    bandwidth: float
    latency: float


NVLINK = Link("NVLink", 300e9, 5e-6)
INFINIBAND = Link("InfiniBand", 40e9, 15e-6)


def ring(processes: int, size: float, link: Link) -> float:
    """Seconds of an all-reduce: each GPU sends and receives 2 (p - 1) / p of the message, in 2 (p - 1) steps.

    >>> round(ring(2, 40e9, Link("slow", 40e9, 0.0)), 3)
    1.0
    """
    return 2 * (processes - 1) / processes * size / link.bandwidth + 2 * (processes - 1) * link.latency


def message_seconds(name: str, processes: int, size: float, link: Link) -> float:
    """Seconds of one message around a ring; what is gathered comes from each of the others, a broadcast goes once."""
    if "all_gather" in name:
        return (processes - 1) * (size / link.bandwidth + link.latency)
    if "broadcast" in name:
        return size / link.bandwidth + (processes - 1) * link.latency
    return ring(processes, size, link)


MATRIX_RATE, UTILISATION, BASES = 989e12, 0.4, 128 * 512
"""Assumed of a GPU: bf16 FLOP/s (NVIDIA H100, data sheet) and the share in use; bases a step as in the recipes."""


def estimate_rows(found: dict[str, Any], size: str) -> Iterator[Row]:
    """What the counted messages take on 8 and on 64 GPUs."""
    table = f"estimate: communication of a step of `{size}` on many GPUs, from the messages above"
    for what, counted in found.items():
        compute = 6 * counted["trained"] * BASES / (UTILISATION * MATRIX_RATE)
        for processes, link in ((8, NVLINK), (64, INFINIBAND)):
            times: Counter[str] = Counter()
            for name, sent in counted["sent"].items():
                calls = counted["calls"][name]
                times[name.partition(",")[0]] += calls * message_seconds(name, processes, sent / calls, link)
            told = times["gradients"] + times["codebooks"]
            yield {
                "table": table,
                "what": what,
                "GPUs": processes,
                "network": link.name,
                "codebooks / computing": times["codebooks"] / compute,
                "gradients / computing": times["gradients"] / compute,
                "codebooks' share of communication": times["codebooks"] / told,
                "gradients, ms": times["gradients"] * 1e3,
                "codebooks, ms": times["codebooks"] * 1e3,
                "buffers, if broadcast, ms": times["buffers"] * 1e3,
                "computing, ms": compute * 1e3,
            }
    for text in [*assumptions(), *(estimate_text(what, counted["sent"]) for what, counted in found.items())]:
        yield {"table": table, "note": text}


def assumptions() -> Iterator[str]:
    """What the estimate takes for granted."""
    for link in (NVLINK, INFINIBAND):
        yield (
            f"Assumed of {link.name}: {link.bandwidth / 1e9:g} GB/s for each GPU and direction in use, "
            f"{link.latency * 1e6:g} microseconds a step of the ring."
        )
    yield (
        f"Assumed of a GPU: {UTILISATION:g} of {MATRIX_RATE / 1e12:g} TFLOP/s on 6 FLOP a trained parameter and base, "
        f"{BASES:,} bases a step."
    )
    yield (
        "A ring all-reduce of n bytes over p GPUs takes 2 (p - 1) / p x n / bandwidth + 2 (p - 1) x latency, and that "
        "for each call; libraries use trees and switches with fewer steps, so for small messages on 64 GPUs this is an "
        "upper bound. Gradients are sent while backward computes; the codebooks' sums are waited for."
    )


def estimate_text(what: str, sent: dict[str, int]) -> str:
    """The estimate in a sentence, from the bytes."""
    gradients = sent.get("gradients", 0)
    codebooks = sum(value for name, value in sent.items() if name.startswith("codebooks"))
    parts = []
    for processes, link in ((8, NVLINK), (64, INFINIBAND)):
        milliseconds = 2 * (processes - 1) / processes * (gradients + codebooks) / link.bandwidth * 1e3
        parts.append(f"{milliseconds:.2f} ms on {processes} GPUs over {link.name}")
    return (
        f"{what}: {gradients / 1e6:.1f} MB of gradients and {codebooks / 1e6:.2f} MB of codebooks a step and GPU, "
        f"whatever the batch. Their bandwidth alone takes {' and '.join(parts)}; of more GPUs hardly more."
    )
