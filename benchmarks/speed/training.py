# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A step of training in the ways that switches offer, the data loader beside it, and what is computed for nothing."""

import csv
import functools
import gzip
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from speed.measure import Context, Row, Timing, compare, matrix_rate, peak_memory, seconds
from speed.peers import MASKS, Kind, Trainee, ours, recipe

TITLE = "Training: switches, data loading, padding"

STEPS, LOADING, PADDING = "Training step", "Data loading", "Real positions"
TOLERANCE = 0.02
"""Losses of all ways agree to this share: bf16 has 8 bits, and may choose another code where two are nearly as near."""

GOALS = {512: 0.45, 2048: 0.40}
LOADER_GOAL, REAL_GOAL = 5.0, 0.95
BATCH_BASES = 128 * 512  # of the recipes `small` and `base`
FINE_TUNING_BATCH = 32
ROOT = Path(__file__).resolve().parents[2]


def run(context: Context) -> Iterator[Row]:
    """Steps first; what needs the package's readers is left out where these are not installed."""
    rates: dict[int, float] = {}
    for length in (64,) if context.quick else GOALS:
        yield from steps(context, length, rates)
    if context.on_gpu:
        yield {"table": STEPS, "note": f"Goals: MFU {GOALS[512]:.0%} at 512 and {GOALS[2048]:.0%} at 2048, base, bf16."}
    try:
        import vqdna_hf.data  # noqa: F401
    except ImportError as error:
        yield {"table": LOADING, "note": f"Not measured here: the readers need what is not installed ({error})."}
        return
    yield from loading(context, rates)
    yield from padding(context)


def flops_module() -> ModuleType:
    """`vqdna_hf.training.flops` alone: the package around it needs readers that a GPU machine may not have."""
    name = "vqdna_flops"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "vqdna_hf" / "training" / "flops.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class Switched(Trainee):
    """A model that trains in one way or another, on batches that differ in their masks."""

    def __init__(self, kind: Kind, sequences: int, length: int, device: torch.device) -> None:
        super().__init__(kind, sequences, length, device)
        # Transformers 5.24 has another name for it, of which older ones do not know.
        enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
        self.dtype = torch.float32
        self.batches = [kind.batch(sequences, length, device, number) for number in range(MASKS)]

    def autocast(self) -> Any:
        """bf16 on either kind of device, where it was chosen."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)

    def set_way(self, dtype: torch.dtype, called: Callable[..., Any], checkpointing: bool) -> None:
        """Train in this way from now on."""
        self.dtype, self.called = dtype, called
        for module in self.model.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.gradient_checkpointing = checkpointing

    def loss(self) -> float:
        """Of the weights as they are; with gradients, for which alone a compiled model is to be compiled."""
        with self.autocast():
            return float(self.called(**self.batch).loss.detach())


Way = tuple[torch.dtype, bool, bool]
"""Type, compiled, gradient checkpointing."""

WAYS: dict[str, Way] = {
    "fp32": (torch.float32, False, False),
    "bf16": (torch.bfloat16, False, False),
    "bf16, gradient checkpointing": (torch.bfloat16, False, True),
    "bf16, torch.compile": (torch.bfloat16, True, False),
}


def steps(context: Context, length: int, rates: dict[int, float]) -> Iterator[Row]:
    """One length: the eager ways in turn, then the compiled one, whose making takes long, in turn with fp32.

    The fastest way's bases a second go into `rates`.
    """
    size = "base" if context.on_gpu else "tiny" if context.quick else "small"
    most = BATCH_BASES if context.on_gpu else 256 if context.quick else length
    sequences = max(most // length, 1)
    try:
        trainee = Switched(ours(recipe(size)), sequences, length, context.device)
    except torch.OutOfMemoryError as error:
        yield {"table": STEPS, "note": f"{size} at {length}: out of memory ({error})."}
        return
    cells = {"model": size, "length": length, "batch": sequences}
    ceilings = {
        dtype: matrix_rate(context.device, dtype, size=256 if context.quick else None)
        for dtype in (torch.float32, torch.bfloat16)
    }
    eager = [name for name, way in WAYS.items() if not way[1]]
    for row in _compared(context, trainee, eager, ceilings):
        yield row if "note" in row else {"table": STEPS, **cells, **row}
        rates[length] = max(rates.get(length, 0.0), row.get("bases/s") or 0.0)
    # On a CPU a minute of compiling is spent for one length alone.
    wanted = context.on_gpu or (not context.quick and length == min(GOALS))
    if not wanted:
        return
    if context.out_of_time(150):
        yield context.left_out(STEPS, f"bf16 with torch.compile at length {length}")
        return
    for row in _compared(context, trainee, ["fp32", "bf16, torch.compile"], ceilings):
        if row.get("way") != "fp32":
            yield row if "note" in row else {"table": STEPS, **cells, **row}
            rates[length] = max(rates.get(length, 0.0), row.get("bases/s") or 0.0)


def _compared(
    context: Context, trainee: Switched, names: Sequence[str], ceilings: dict[torch.dtype, float]
) -> Iterator[Row]:
    """Rows of some ways, `fp32` first among them: losses on the same weights are equal, then times.

    Each way takes the same batches in turn. They differ in how many positions are labelled, as batches of training do:
    a model that is compiled for one such number would be compiled anew for the next one.
    """
    ways, losses = {}, {}
    for name in names:
        dtype, is_compiled, checkpointing = WAYS[name]
        called = torch.compile(trainee.model) if is_compiled else trainee.model
        set_way = functools.partial(trainee.set_way, dtype, called, checkpointing)
        set_way()
        trainee.batch = trainee.batches[0]
        ways[name] = functools.partial(_step, trainee.steps_over(trainee.batches), set_way)
        try:
            losses[name] = trainee.loss()
            for _ in trainee.batches if is_compiled else ():  # until it knows which sizes change
                ways[name]()
        except torch.OutOfMemoryError:
            pass  # the step, which needs more, says so
        except Exception as error:
            if not is_compiled:
                raise
            text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
            yield {"table": STEPS, "note": f"{name} does not work here: {text}."}
            return
    reference = losses.get("fp32", math.nan)
    for name, loss in losses.items():
        if abs(loss - reference) > TOLERANCE * abs(reference):
            raise RuntimeError(f"{name} has loss {loss:.4f} where fp32 has {reference:.4f}")
    timings = compare(ways, context)
    rows, length = trainee.batch["input_ids"].shape
    flops = flops_module().model_flops(trainee.model.config, length, training=True) * rows * length
    for name, timing in timings.items():
        memory = peak_memory(ways[name], context.device) / 1e6 if timing.error is None else None
        measured = _measured(timing, timings["fp32"], trainee.bases, flops, ceilings[WAYS[name][0]])
        yield {"way": name, **measured, "MB": memory, "loss": losses.get(name)}
        if timing.error:
            yield {"table": STEPS, "note": f"{name} at {trainee.bases // rows}: {timing.error}"}


def _step(step: Callable[[], None], set_way: Callable[[], None]) -> None:
    set_way()
    step()


def _measured(timing: Timing, plain: Timing, bases: int, flops: float, ceiling: float) -> dict[str, float | None]:
    """Ratios first; nothing where the way could not run."""
    if not timing.seconds:
        names = ("times faster", "MFU", "TFLOP/s", "bases/s", "s")
        return dict.fromkeys(names)
    rate = flops / timing.median
    return {
        "times faster": timing.times_faster_than(plain) if plain.seconds else None,
        "MFU": rate / ceiling,
        "TFLOP/s": rate / 1e12,
        "bases/s": bases / timing.median,
        "s": timing.median,
    }


def loading(context: Context, rates: dict[int, float]) -> Iterator[Row]:
    """Windows to masked batches: in this process on one core, and by two workers; beside the fastest way to train."""
    from torch.utils.data import DataLoader

    from vqdna_hf.data import Corpus, FastaRecord, MaskedNucleotideCollator, WindowDataset

    rng = np.random.default_rng(0)
    bases = 100_000 if context.quick else 4_000_000
    records = [FastaRecord(str(i), str(i), rng.integers(5, 9, bases).astype(np.uint8), "simulated") for i in range(5)]
    corpus, collate = Corpus(records), MaskedNucleotideCollator()
    for window in (64,) if context.quick else (128, 512, 2048, 8192):
        if context.out_of_time():
            yield context.left_out(LOADING, f"windows of {window}")
            continue
        batch = max((1024 if context.quick else BATCH_BASES) // window, 1)
        for workers in (0,) if context.quick else (0, 2):
            batches = 4 if context.quick else 60 if workers else 20
            windows = WindowDataset(corpus, window=window, num_samples=batch * batches, seed=0)
            loader = DataLoader(windows, batch, collate_fn=collate, num_workers=workers)
            rounds = 3 if workers or context.quick else context.repeats
            taken = sorted(seconds(functools.partial(_read, loader), context.device) for _ in range(rounds))
            rate = window * batch * batches / taken[rounds // 2]
            yield {
                "table": LOADING,
                "times the step's rate": rate / rates[window] if rates.get(window) else None,
                "window": window,
                "batch": batch,
                "workers": workers,
                "bases/s": rate,
                "step's bases/s": rates.get(window),
                "rounds": rounds,
            }
    yield {"table": LOADING, "note": f"Goal: {LOADER_GOAL:g} times the step's rate. Two workers start anew each round."}


def _read(loader: Any) -> int:
    return sum(len(batch["input_ids"]) for batch in loader)


def padding(context: Context) -> Iterator[Row]:
    """Share of computed positions that are no padding: labelled sets in fine-tuning, records in pre-training."""
    folder = Path(os.environ.get("VQDNA_DATA") or ROOT.parent / "shared" / "data")
    started = time.monotonic()
    if context.quick or not folder.is_dir():
        rng = np.random.default_rng(0)
        sets = {"simulated: 100 to 1,000 bases, evenly": rng.integers(100, 1000, 4_000)}
        genomes = {"simulated: 50 to 2,000 bases, by logarithm": np.exp(rng.uniform(4, 7.6, 1_000)).astype(int)}
    else:
        sets, genomes = labelled_lengths(folder), genome_lengths(folder)
    even: list[str] = []
    for name, lengths in sets.items():
        row = _fine_tuning(name, lengths)
        if row["random"] > 0.999:
            even.append(name)
        else:
            yield row
    if even:
        yield {
            "table": PADDING,
            "note": f"{len(even)} labelled sets have 0.999 or more in any order: {', '.join(even)}.",
        }
    for name, lengths in genomes.items():
        for window in (128,) if context.quick else (512, 2048, 8192):
            yield _pre_training(name, lengths, window)
    text = f"Goal: {REAL_GOAL:.2f}. Counted in {time.monotonic() - started:.0f} s, without a model."
    yield {"table": PADDING, "note": text}


def labelled_lengths(folder: Path) -> dict[str, np.ndarray]:
    """Of the sequences of each labelled set, its training part where that is there."""
    found: dict[str, np.ndarray] = {}
    csv.field_size_limit(1 << 24)
    for path in sorted([*folder.glob("gue/**/*.csv"), *folder.glob("genomic_benchmarks/sequences/*/*.tsv")]):
        name = path.parent.relative_to(folder).as_posix().replace("genomic_benchmarks/sequences/", "")
        is_other = path.stem != "train" and path.with_stem("train").exists()
        if is_other or (path.stem == "test" and name in found):
            continue
        with path.open(newline="", encoding="utf-8") as stream:
            rows = csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
            column = "sequence" if "sequence" in (rows.fieldnames or ()) else (rows.fieldnames or [""])[0]
            found[name] = np.array([len(row[column]) for row in rows])
    return found


def genome_lengths(folder: Path) -> dict[str, np.ndarray]:
    """Of the records of sets that have short ones."""
    sets = {name: sorted((folder / "genomes" / name).glob("**/*.fa.gz")) for name in ("virus", "human_HLA_alts")}
    sets["exons"] = [folder / "other" / "korf_splice" / "exons1.fa.gz"]
    found: dict[str, np.ndarray] = {}
    for name, paths in sets.items():
        lengths: list[int] = []
        for path in paths:
            if not path.exists() or path.stat().st_size > 20_000_000:
                continue
            with gzip.open(path, "rt", encoding="ascii") as stream:
                for line in stream:
                    if line.startswith(">"):
                        lengths.append(0)
                    else:
                        lengths[-1] += len(line.strip())
        if lengths:
            found[name] = np.array([length for length in lengths if length])
    return found


def _share(lengths: Sequence[int] | np.ndarray, batch: int) -> float:
    """Of positions that are computed, special tokens counted, in batches as they stand."""
    tokens = np.asarray(lengths) + 2
    starts = np.arange(0, len(tokens), batch)
    sizes = np.diff(np.append(starts, len(tokens)))
    return float(tokens.sum() / (np.maximum.reduceat(tokens, starts) * sizes).sum())


def _fine_tuning(name: str, lengths: np.ndarray) -> Row:
    from vqdna_hf.inference.batching import Batcher
    from vqdna_hf.training.samplers import GroupedSampler, SortedSampler

    grouped = GroupedSampler(lengths.tolist(), FINE_TUNING_BATCH, 0, lambda: 0)
    computed: list[int] = []

    def answer(numbers: list[int]) -> list[int]:
        computed.append(len(numbers) * (int(lengths[numbers].max()) + 2))
        return numbers

    Batcher(BATCH_BASES // 4).map(lengths.tolist(), answer)
    return {
        "table": PADDING,
        "by length": _share(lengths[list(grouped)], FINE_TUNING_BATCH),
        "random": _share(np.random.default_rng(0).permutation(lengths), FINE_TUNING_BATCH),
        "data": name,
        "task": "fine-tuning",
        "window": None,
        "bases": f"{lengths.min()} to {lengths.max()}",
        "evaluation": _share(lengths[list(SortedSampler(lengths.tolist()))], 2 * FINE_TUNING_BATCH),
        "inference": float((lengths + 2).sum() / sum(computed)),
    }


def _pre_training(name: str, lengths: np.ndarray, window: int) -> Row:
    from vqdna_hf.data import Corpus, FastaRecord, WindowDataset

    records = [FastaRecord(str(i), "", np.full(size, 5, dtype=np.uint8), "") for i, size in enumerate(lengths)]
    batch = max(BATCH_BASES // window, 1)
    number = 50 * batch * (1 if batch > 16 else 4)
    shares = []
    for size in (None, batch):
        windows = WindowDataset(
            Corpus(records), window=window, num_samples=number, seed=0, reverse_complement=False, batch_size=size
        )
        shares.append(_share([len(item["input_ids"]) for item in windows.__getitems__(range(number))], batch))
    return {
        "table": PADDING,
        "by length": shares[1],
        "random": shares[0],
        "data": name,
        "task": "pre-training",
        "window": window,
        "bases": f"{lengths.min()} to {lengths.max()}",
        "evaluation": None,
        "inference": None,
    }
