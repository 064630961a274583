# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What it takes until something happens: the import of the package, and loading a saved model."""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, ModernBertConfig, ModernBertModel, PreTrainedModel
from transformers.utils import logging

from speed.measure import Context, Row, Timing, compare
from speed.peers import SPECIAL, fill_codebooks, parameters, recipe
from vqdna_hf.model.modeling_vqdna import VQDNAModel
from vqdna_hf.model.tokenization_vqdna import VOCABULARY

TITLE = "Start-up: import and loading"

# Seconds of a new process, part by part; `parts` is what it is told to run.
SCRIPT = """
import json, sys, time
parts, names = json.loads(sys.argv[1]), {}
seconds = []
for part in parts:
    start = time.perf_counter()
    exec(part, names)
    seconds.append(time.perf_counter() - start)
print("SECONDS", json.dumps(seconds))
"""
AUTO = "from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer"
# What our public names are made of, without us.
PARTS = f"{AUTO}, ModernBertModel, PreTrainedModel, PreTrainedTokenizerFast, pipeline"
IMPORTS = {
    "import vqdna_hf": "import vqdna_hf",
    "import vqdna_hf, and Transformers' Auto classes": f"import vqdna_hf; {AUTO}",
    "Transformers' Auto classes alone": AUTO,
    "every public name of vqdna_hf, and pipelines": f"from vqdna_hf import *; {PARTS}",
    "the same of Transformers alone": PARTS,
}


def run(context: Context) -> Iterator[Row]:
    """New processes first, then loading again and again in one."""
    yield from imports(context)
    with tempfile.TemporaryDirectory() as parent:
        folders = saved_models(Path(parent), "tiny" if context.quick else "small")
        yield from first_answers(folders, context)
        yield from loading(folders, context)


def fresh(parts: list[str]) -> list[float]:
    """Seconds that each part takes in a new process, one after the other."""
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(parts)],
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith("SECONDS ")]
    if process.returncode or not lines:
        raise RuntimeError(f"a new process failed: {process.stderr.strip()[-500:]}")
    seconds: list[float] = json.loads(lines[-1].removeprefix("SECONDS "))
    return seconds


def in_turn(ways: dict[str, list[str]], context: Context) -> dict[str, list[Timing]]:
    """Each way in a new process, round after round; one timing for each of its parts."""
    timings = {name: [Timing() for _ in parts] for name, parts in ways.items()}
    for number in range(context.repeats):
        if number >= 3 and context.out_of_time():
            context.cut = True
            break
        for name, parts in ways.items():
            for timing, seconds in zip(timings[name], fresh(parts), strict=True):
                timing.seconds.append(seconds)
    return timings


def imports(context: Context) -> Iterator[Row]:
    """Beyond `import torch, transformers`, which comes first in each process."""
    chosen = dict(list(IMPORTS.items())[:2]) if context.quick else IMPORTS
    timings = in_turn({name: ["import torch", "import transformers", part] for name, part in chosen.items()}, context)
    table = "import, in a new process"
    for name, (of_torch, of_transformers, own) in timings.items():
        yield {
            "table": table,
            "what": name,
            "x the import of torch": 1 / own.times_faster_than(of_torch),
            "seconds beyond torch and transformers": own.median,
            "torch, s": of_torch.median,
            "transformers, s": of_transformers.median,
        }
    yield {
        "table": table,
        "note": "Goal: 0.3 s. `import vqdna_hf` imports Transformers' Auto classes, to register with them, and those "
        "alone take what the third line says; the modelling code comes with the first configuration.",
    }


def stock(layers: int, hidden_size: int, heads: int, target: int) -> ModernBertModel:
    """A ModernBERT with about `target` parameters, by the width of its MLP."""

    def build(width: int) -> ModernBertModel:
        size = {"num_hidden_layers": layers, "hidden_size": hidden_size, "num_attention_heads": heads}
        return ModernBertModel(ModernBertConfig(vocab_size=len(VOCABULARY), intermediate_size=width, **size, **SPECIAL))

    with torch.device("meta"):
        few, more = (parameters(build(width)) for width in (64, 128))
    return build(max(8, round((target - few) / (more - few) * 64 / 8 + 8) * 8))


OURS = "VQDNA"
SAME = "ModernBERT of as many layers and parameters"
DEEP = "ModernBERT of as many tensors and parameters"


def saved_models(parent: Path, size: str) -> dict[str, Path]:
    """Save ours with random weights, and stock encoders of its size."""
    config = recipe(size)
    ours = VQDNAModel(config)
    fill_codebooks(ours.codec)
    target = parameters(ours) + sum(buffer.numel() for buffer in ours.codec.buffers())
    layers = (len(ours.state_dict()) - 2) // 6
    narrow = 32 * max(2, round(math.sqrt(target / layers / 10) / 32))
    models: dict[str, PreTrainedModel] = {
        OURS: ours,
        SAME: stock(config.num_hidden_layers, config.hidden_size, config.num_attention_heads, target),
        DEEP: stock(layers, narrow, narrow // 32, target),
    }
    logging.disable_progress_bar()
    for name, model in models.items():
        model.save_pretrained(parent / name)
    return {name: parent / name for name in models}


def first_answers(folders: dict[str, Path], context: Context) -> Iterator[Row]:
    """A new process from its start to the model, and to its first answer."""
    table = "a new process, from its start to the first answer (128 bases, CPU)"

    def parts(folder: Path, first: str, trust: bool = False) -> list[str]:
        load = f"model = AutoModel.from_pretrained({str(folder)!r}, trust_remote_code={trust})"
        answer = "with torch.no_grad(): model(torch.full((1, 128), 5))"
        return [f"import torch, transformers; {first}from transformers import AutoModel; {load}", answer]

    ways = {
        OURS: parts(folders[OURS], "import vqdna_hf; "),
        SAME: parts(folders[SAME], ""),
        f"{OURS}, by the folder's own code": parts(folders[OURS], "", True),
    }
    if context.quick:
        ways = {name: ways[name] for name in (OURS, SAME)}
    timings = in_turn(ways, context)
    reference = timings[SAME]
    for name, (loaded, answered) in timings.items():
        yield {
            "table": table,
            "what": name,
            f"x {SAME}, until loaded": 1 / loaded.times_faster_than(reference[0]),
            "until loaded, s": loaded.median,
            "the first answer, s": answered.median,
        }


def loading(folders: dict[str, Path], context: Context) -> Iterator[Row]:
    """`AutoModel.from_pretrained` in a process that has imported everything."""
    table = "AutoModel.from_pretrained, everything imported, files in the page cache"

    def load(name: str) -> Callable[[], Any]:
        return lambda: AutoModel.from_pretrained(folders[name])

    def load_and_read(name: str) -> Callable[[], Any]:
        return lambda: [value.sum() for value in AutoModel.from_pretrained(folders[name]).state_dict().values()]

    cpu = Context(torch.device("cpu"), context.quick, context.repeats, context.deadline)
    rounds = 1 if context.quick else 3 * context.repeats
    loaded = compare({name: load(name) for name in folders}, cpu, repeats=rounds)
    read = compare({name: load_and_read(name) for name in folders}, cpu, repeats=rounds)
    for name, folder in folders.items():
        model = AutoModel.from_pretrained(folder)
        yield {
            "table": table,
            "what": name,
            f"x {SAME}, loaded": 1 / loaded[name].times_faster_than(loaded[SAME]),
            f"x {DEEP}, loaded": 1 / loaded[name].times_faster_than(loaded[DEEP]),
            f"x {SAME}, and every weight read": 1 / read[name].times_faster_than(read[SAME]),
            "loaded, ms": loaded[name].median * 1e3,
            "and every weight read, ms": read[name].median * 1e3,
            "tensors": len(model.state_dict()),
            "parameters and codebooks, M": sum(value.numel() for value in model.state_dict().values()) / 1e6,
        }
    yield {
        "table": table,
        "note": "Weights are mapped, not read, so that loading takes Transformers' time for each module and tensor; of "
        "these the codec has as many as the backbone. An encoder with as many tensors shows what is our own share: the "
        "check of every codebook for NaN, and one more look at config.json.",
    }
