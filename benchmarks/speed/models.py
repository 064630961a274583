# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The whole model beside peers: bases a second and peak memory, forward and a step of training."""

import dataclasses
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch

from speed.measure import Context, Row, Timing, compare, peak_memory
from speed.peers import (
    MASKS,
    Kind,
    Trainee,
    bert,
    dnabert2,
    has_stride,
    modernbert,
    nucleotide_transformer,
    ours,
    parameters,
    recipe,
    with_parameters,
)
from vqdna_hf.model.modeling_vqdna import VQDNAForMaskedLM

TITLE = "Whole model beside ModernBERT, BERT, DNABERT-2 and Nucleotide Transformer v2"
LENGTHS = (512, 2048, 128, 8192)
"""Most telling first."""

OURS = "VQDNA"
# A size of ours, and what of the peers' published sizes is scaled down to match it; the MLP then takes up the rest.
NARROW: dict[str, dict[str, dict[str, int]]] = {
    "base": {"DNABERT-2": {}, "NT v2": {}},
    "small": {
        "DNABERT-2": {"hidden_size": 384, "num_attention_heads": 6},
        "NT v2": {"hidden_size": 256, "num_attention_heads": 8},
    },
    "tiny": {
        "DNABERT-2": {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2},
        "NT v2": {"hidden_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2},
    },
}


@dataclasses.dataclass
class Plan:
    """One table: which models at which length, how many bases a batch, and what is left out.

    Attributes:
        size: of our recipes.
        length: bases a sequence.
        bases: a batch; one sequence at least.
        kinds: names that are measured; None for all.
        steps: names whose step of training is measured; None for all.
        step_rounds: rounds of the step; None for the context's.
        note: why something is left out.
    """

    size: str
    length: int
    bases: int
    kinds: tuple[str, ...] | None = None
    steps: tuple[str, ...] | None = None
    step_rounds: int | None = None
    note: str | None = None


def run(context: Context) -> Iterator[Row]:
    """Length by length, one table each; the models of a size are built once."""
    found: list[Row] = []
    trainees: dict[str, tuple[Kind, Trainee]] = {}
    size = ""
    for plan in plans(context):
        if context.out_of_time():
            yield context.left_out("What the tables say", f"`{plan.size}` at length {plan.length}")
            continue
        if plan.size != size:
            trainees.clear()
            gc.collect()
            size = plan.size
        for row in measured(plan, trainees, context):
            found.append(row)
            yield row
    yield from conclusions(found)
    trainees.clear()
    if context.on_gpu:
        yield from compiled(context)


def plans(context: Context) -> list[Plan]:
    """What is measured on this device, most telling first."""
    if context.quick:
        return [Plan("tiny", 64, 128), Plan("tiny", 32, 64, (OURS, "BERT"), steps=(OURS,), note="No step of BERT.")]
    if context.on_gpu:
        return [Plan("base", length, 65536) for length in LENGTHS]
    # Two cores: a step of the small model on 8,192 bases takes half a minute, one of the base model on 512 seconds.
    nucleotides = (OURS, "ModernBERT, same backbone", "BERT")
    short = (*nucleotides, "DNABERT-2's", "NT v2's", *(f"{OURS}, stride {s}" for s in (2, 4, 8)))
    first = Plan("small", 512, 1024)
    others = [Plan("small", 2048, 2048, short), Plan("small", 128, 1024, short)]
    base = Plan("base", 512, 512, ("DNABERT-2's, as published", *short[:5]))
    long = Plan("small", 8192, 8192, short, tuple(name for name in short if name != "BERT"), 3)
    long.note = "A step of 8,192 bases takes half a minute here: three rounds, and none of BERT."
    return [first, *others, long, base]


@functools.cache
def kinds_of(size: str) -> dict[str, Kind]:
    """All models of a size, peers at equal parameters by the width of their MLP."""
    config = recipe(size)
    with torch.device("meta"):
        target = parameters(VQDNAForMaskedLM(recipe(size)))
    backbone = {"hidden_size": config.hidden_size, "num_hidden_layers": config.num_hidden_layers}
    backbone["num_attention_heads"] = config.num_attention_heads
    narrow = NARROW[size]

    def peer(make: Callable[..., Kind], **own: Any) -> Kind:
        return with_parameters(lambda width: make(intermediate_size=width, **own), target)

    kinds = [
        ours(config, OURS),
        modernbert("ModernBERT, same backbone", {**backbone, "intermediate_size": config.intermediate_size}),
        peer(lambda **own: bert("BERT", own), **backbone),
        peer(dnabert2, **narrow["DNABERT-2"]),
        peer(nucleotide_transformer, **narrow["NT v2"]),
        peer(lambda **own: modernbert("ModernBERT", own), **backbone),
    ]
    if has_stride():
        kinds += [ours(recipe(size, codec_stride=stride), f"{OURS}, stride {stride}") for stride in (2, 4, 8)]
    if size == "base":
        kinds.append(dataclasses.replace(dnabert2(), name="DNABERT-2's, as published"))
    return {kind.name: kind for kind in kinds}


def measured(plan: Plan, trainees: dict[str, tuple[Kind, Trainee]], context: Context) -> Iterator[Row]:
    """A table; where even one model runs out of memory, once more with half the bases."""
    bases = plan.bases
    while True:
        sequences = max(bases // plan.length, 1)
        rows = list(table_of(plan, sequences, trainees, context))
        yield from rows
        bases = sequences * plan.length // 2
        if bases < plan.length or bases < plan.bases // 4:
            return
        if not any(isinstance(value, str) and "memory" in value for row in rows for value in row.values()):
            return


def table_of(plan: Plan, sequences: int, trainees: dict[str, tuple[Kind, Trainee]], context: Context) -> Iterator[Row]:
    """Forward and step of each model at one length."""
    held = prepared(plan, sequences, trainees, context)
    names = list(held) if plan.steps is None else [name for name in held if name in plan.steps]
    one_pass = {name: held[name].forward for name in held}
    steps = {name: held[name].step for name in names}
    memory = {}
    for what, calls in (("forward", one_pass), ("step", steps)):
        for name, call in calls.items():
            memory[what, name] = peak_or_error(call, context)
    forward = compare(one_pass, context, warmup=0)
    step = compare(steps, context, warmup=0, repeats=None if context.quick else plan.step_rounds)
    table = f"`{plan.size}`, length {plan.length}, {sequences * plan.length:,} bases a batch"
    for name, trainee in held.items():
        stepped = step.get(name, Timing())
        yield {
            "table": table,
            "model": name,
            f"{OURS} is times faster, step": stepped_ratio(step.get(OURS), stepped),
            f"{OURS} is times faster, forward": stepped_ratio(forward[OURS], forward[name]),
            "step, bases/s": rate(stepped, trainee.bases),
            "forward, bases/s": rate(forward[name], trainee.bases),
            "step, peak MB": memory.get(("step", name)),
            "forward, peak MB": memory.get(("forward", name)),
            "parameters, M": trainee.parameters / 1e6,
            "bases a token": trainees[name][0].bases_per_token,
            "rounds": len(stepped.seconds) or len(forward[name].seconds),
        }
    precision = "bf16 by autocast" if context.on_gpu else "fp32"
    yield {"table": table, "note": f"{precision}, eager, random weights; a step is forward, backward and fused AdamW."}
    if plan.note:
        yield {"table": table, "note": plan.note}


def prepared(
    plan: Plan, sequences: int, trainees: dict[str, tuple[Kind, Trainee]], context: Context
) -> dict[str, Trainee]:
    """The models of a plan with batches of its length; new ones have made a step at a small size."""
    held = {}
    for name, kind in kinds_of(plan.size).items():
        if plan.kinds is not None and name not in plan.kinds:
            continue
        if name not in trainees:
            trainees[name] = (kind, Trainee(kind, 1, 128, context.device))
            trainees[name][1].step()
        trainees[name][1].set_batch(kind, sequences, plan.length)
        held[name] = trainees[name][1]
    return held


def peak_or_error(call: Callable[[], object], context: Context) -> float | str:
    """MB of one call, which warms up too; or that memory did not suffice."""
    timing = compare({"": call}, context, repeats=1, warmup=0).popitem()[1] if context.on_gpu else Timing()
    return timing.error or peak_memory(call, context.device) / 1e6


def stepped_ratio(reference: Timing | None, timing: Timing | None) -> float | None:
    """How many times faster the reference is, or None where one was not measured."""
    if reference is None or timing is None or not reference.seconds or not timing.seconds:
        return None
    return reference.times_faster_than(timing)


def rate(timing: Timing, bases: int) -> float | str | None:
    """Bases a second, the error, or None where nothing was measured."""
    if timing.error is not None:
        return timing.error
    return bases / timing.median if timing.seconds else None


def conclusions(rows: list[Row]) -> Iterator[Row]:
    """In words: where a token of several bases wins, and what the peers are."""
    table, ratio = "What the tables say", f"{OURS} is times faster, step"
    cells = [row for row in rows if row.get(ratio) is not None and row["model"] != OURS]
    for name in dict.fromkeys(row["table"] for row in cells):
        several = {row["model"]: row[ratio] for row in cells if row["table"] == name and row["bases a token"] > 1}
        wins = [
            f"{model} makes {1 / value:.3g} times the bases a second" for model, value in several.items() if value < 1
        ]
        loses = [f"{model} makes {1 / value:.3g} times" for model, value in several.items() if value >= 1]
        said = f"A token of several bases wins in training: {', '.join(wins)}." if wins else ""
        said += f" It does not win with {', '.join(loses)}." if loses else ""
        strides = [
            f"{1 / row[ratio]:.3g} with {row['model'].rpartition(' ')[2]}"
            for row in cells
            if row["table"] == name and "stride" in row["model"]
        ]
        said += f" `codec_stride` brings {OURS} to {', '.join(strides)} times of stride 1." if strides else ""
        yield {"table": table, "note": f"{name}. {said.strip()}"}
    yield {
        "table": table,
        "note": "Why: a token of five or six bases is one position where one-base models have five or six, and "
        "attention grows with the square of positions. For that it answers for its bases at once.",
    }
    yield {"table": table, "note": ABOUT_PEERS}


ABOUT_PEERS = (
    "Peers are stock classes with random weights. ModernBERT and BERT read one base a token. 'Same backbone' has the "
    "backbone's values of ours, so its ratio is the price of the vocabulary; all others have our number of parameters "
    "within 3 %, the frozen codec's included, by the width of their MLP (BERT's count has its table of positions). "
    "DNABERT-2's architecture (12 layers, 768 wide, GEGLU of 3,072, vocabulary of 4,096, 117 M as published) is built "
    "as ModernBERT: rotary positions stand in for ALiBi, which flatters it, since its own code has no fast attention; "
    "its tokens are taken as five bases long. Nucleotide Transformer v2 100 M (22 layers, 512 wide, 16 heads, SwiGLU "
    "of 2,048, vocabulary of 4,107) likewise, with tokens of six bases. Beside `small` their widths are scaled down: "
    "384 and 6 heads, 256 and 8 heads. Dropout is 0 everywhere. Transformers' ModernBERT, and so what is built as it, "
    "makes the mask of its sliding window even where all attention is global, as here; ours makes none. It has one "
    "value for each pair of positions, and costs these peers memory and time at long lengths."
)


def compiled(context: Context) -> Iterator[Row]:
    """`torch.compile` of ours and of the same backbone, at the length of the recipes.

    Batches with other masks in turn, as in training: each has another number of labelled positions.
    """
    length, sequences = (64, 2) if context.quick else (512, 128 if context.on_gpu else 1)
    size = "tiny" if context.quick else "base"
    table = f"`{size}` with torch.compile, length {length}"
    kinds = kinds_of(size)
    held: dict[str, Trainee] = {}
    ways: dict[str, Callable[[], None]] = {}
    for name in (OURS, "ModernBERT, same backbone"):
        batches = [kinds[name].batch(sequences, length, context.device, number) for number in range(MASKS)]
        for suffix in ("", ", compiled"):
            if context.out_of_time(90):
                yield context.left_out(table, f"{name}{suffix}")
                continue
            try:
                trainee = Trainee(kinds[name], sequences, length, context.device)
                if suffix:
                    trainee.compile()
                step = trainee.steps_over(batches)
                for _ in batches if suffix else batches[:1]:  # compiled anew until sizes are known to change
                    step()
            except Exception as error:  # no C++ compiler, a version of torch that cannot, or no memory
                text = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:150]}"
                yield {"table": table, "note": f"{name}{suffix} does not run here: {text}"}
                continue
            held[name + suffix], ways[name + suffix] = trainee, trainee.steps_over(batches)
    timings = compare(ways, context)
    for name, timing in timings.items():
        yield {
            "table": table,
            "model": name,
            "times faster than eager, step": stepped_ratio(timing, timings.get(name.removesuffix(", compiled"))),
            f"{OURS} compiled is times faster": stepped_ratio(timings.get(f"{OURS}, compiled"), timing),
            "step, bases/s": rate(timing, held[name].bases),
        }
