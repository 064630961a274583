# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""One code for s nucleotides: what it saves, and what it costs in reconstruction, masked modelling and fine-tuning.

Speed first, of the `small` recipe's model (on a GPU `base`). Then the three stages of the `tiny` recipe for each s, by
the scripts of `examples/` on the demo's data, with nothing changed but `codec_stride`: one seed, minutes of training.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml

from speed.measure import Context, Row, compare
from vqdna_hf import VQDNACodecConfig, VQDNAConfig, VQDNAForMaskedLM
from vqdna_hf.model.configuration_vqdna import CODEC_STRIDES
from vqdna_hf.model.tokenization_vqdna import CLS_ID, FIRST_NUCLEOTIDE_ID, MASK_ID, NUM_NUCLEOTIDES, SEP_ID

TITLE = "Fewer positions for the same bases: `codec_stride`"

ROOT = Path(__file__).resolve().parents[2]
SPEED = "One code for s nucleotides: speed"
QUALITY = "One code for s nucleotides: quality"


def run(context: Context) -> Iterator[Row]:
    """Speed of each stride, then what the stages reach with it."""
    yield from speed(context)
    yield from quality(context)


def recipe(size: str, stage: str) -> dict[str, Any]:
    """A recipe of `examples/`."""
    return yaml.safe_load((ROOT / "examples" / "recipes" / size / f"{stage}.yaml").read_text(encoding="utf-8"))


def speed(context: Context) -> Iterator[Row]:
    """Training step and forward at 512 bases, all strides in turn."""
    size = "tiny" if context.quick else "base" if context.on_gpu else "small"
    length = 128 if context.quick else 512
    rows = 2 if context.quick else 128 if context.on_gpu else 4
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(
        FIRST_NUCLEOTIDE_ID, FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES, (rows, length), generator=generator
    )
    clean[:, 0], clean[:, -1] = CLS_ID, SEP_ID
    hidden = (torch.rand(clean.shape, generator=generator) < 0.25) & (clean >= FIRST_NUCLEOTIDE_ID)
    labels = torch.where(hidden, clean, -100).to(context.device)
    shown = torch.where(hidden, MASK_ID, clean).to(context.device)
    models = {stride: build(size, stride, context.device) for stride in CODEC_STRIDES}
    optimizers = {s: torch.optim.AdamW(m.parameters(), lr=1e-5, fused=True) for s, m in models.items()}

    def step(stride: int) -> None:
        with torch.autocast(context.device.type, torch.bfloat16, enabled=context.on_gpu):
            loss = models[stride](shown, labels=labels).loss
        loss.backward()
        optimizers[stride].step()
        optimizers[stride].zero_grad()

    def read(stride: int) -> None:
        with torch.inference_mode(), torch.autocast(context.device.type, torch.bfloat16, enabled=context.on_gpu):
            models[stride](shown)

    for name, call in (("training step", step), ("forward", read)):
        ways = {str(stride): lambda stride=stride, call=call: call(stride) for stride in CODEC_STRIDES}
        timings = compare(ways, context)
        for stride in CODEC_STRIDES:
            timing = timings[str(stride)]
            yield {
                "table": SPEED, "what": name, "s": stride,
                "times s = 1": timing.times_faster_than(timings["1"]),
                "bases/s": rows * (length - 2) / timing.median,
                "parameters": sum(parameter.numel() for parameter in models[stride].parameters()),
                "model": f"`{size}`, {rows} x {length} tokens",
            }  # fmt: skip


def build(size: str, stride: int, device: torch.device) -> VQDNAForMaskedLM:
    """The masked language model of a recipe with another stride."""
    torch.manual_seed(0)
    codec = VQDNACodecConfig(**recipe(size, "codec").get("codec_config", {}), codec_stride=stride)
    config = VQDNAConfig(**recipe(size, "mlm").get("model_config", {}), codec_config=codec)
    return VQDNAForMaskedLM(config).to(device).train()


def quality(context: Context) -> Iterator[Row]:
    """The three stages for each stride, on the same data."""
    try:
        demo = load_demo()
    except ImportError as error:
        yield {"table": QUALITY, "note": f"The stages were left out: {error}"}
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inputs = demo.find_inputs(folder, simulated=context.quick)
        for stride in CODEC_STRIDES[2:3] if context.quick else CODEC_STRIDES:
            if context.out_of_time():
                yield context.left_out(QUALITY, f"s = {stride} and above")
                return
            yield train(demo, inputs, folder / str(stride), stride, context)
    yield {
        "table": QUALITY,
        "note": "Each number is one run of the `tiny` recipe with the window objective, minutes long, with one seed; "
        "the test set is whole. "
        "Masks hide single nucleotides for every s. The window objective asks of one pair of codes (17 bits with "
        "256 x 512 entries) 8 + s nucleotides, 2 bits each.",
    }


def load_demo() -> ModuleType:
    """`examples/demo.py`, which finds the data."""
    spec = importlib.util.spec_from_file_location("vqdna_demo", ROOT / "examples" / "demo.py")
    if spec is None or spec.loader is None:
        raise ImportError("examples/demo.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def train(demo: ModuleType, inputs: Any, folder: Path, stride: int, context: Context) -> Row:
    """Stages 1 to 3 with one stride."""
    corpus = ["--train_files", *inputs.genomes, "--weights", json.dumps(inputs.weights)]
    corpus += ["--held_out", *inputs.held_out] if inputs.held_out else []
    extra = ["--max_steps", "2", "--use_cpu", "True"] if context.quick else []
    window = {
        "objective": "window",
        "window_radius": 4,
        "codebook_sizes": [256, 512],
    }  # asks more of a code than one base
    codec_config = json.dumps(recipe("tiny", "codec")["codec_config"] | window | {"codec_stride": stride})
    seconds = [
        script("run_codec.py", "codec", folder / "codec", [*corpus, "--codec_config", codec_config, *extra]),
        script("run_mlm.py", "mlm", folder / "mlm", [*corpus, "--codec_path", str(folder / "codec"), *extra]),
        script(
            "run_classification.py", "classification", folder / "cls",
            ["--model_name_or_path", str(folder / "mlm"), "--data_path", inputs.labelled, "--run_name", "it", *extra],
        ),
    ]  # fmt: skip
    codec, mlm = read(folder / "codec" / "eval_results.json"), read(folder / "mlm" / "eval_results.json")
    test = read(folder / "cls" / "results" / "it" / "eval_results.json")
    return {
        "table": QUALITY, "s": stride,
        "reconstruction": codec["eval_reconstruction_accuracy"],
        "window accuracy": codec["eval_window_accuracy"],
        "masked accuracy": mlm["eval_masked_accuracy"],
        "commonest base": mlm["eval_commonest_base_accuracy"],
        "test MCC": test["eval_matthews_correlation"],
        "measured on": f"{Path(inputs.labelled).name} ({inputs.kind})",
        "s stage 1": seconds[0], "s stage 2": seconds[1], "s stage 3": seconds[2],
    }  # fmt: skip


def script(name: str, stage: str, output: Path, arguments: list[str]) -> float:
    """Run a script of `examples/` with the `tiny` recipe; the seconds of its training."""
    file = ROOT / "examples" / "recipes" / "tiny" / f"{stage}.yaml"
    command = [sys.executable, str(ROOT / "examples" / name), str(file), "--output_dir", str(output), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{name} failed: {result.stderr.strip().splitlines()[-1:]}")
    return read(output / "train_results.json")["train_runtime"]


def read(path: Path) -> dict[str, float]:
    """A file of results."""
    return json.loads(path.read_text(encoding="utf-8"))
