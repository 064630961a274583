# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Run the scripts of `examples/` as a user would, in this process or in one of their own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file

from vqdna_hf.training import run_script

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

TINY_CODEC: dict[str, Any] = {
    "hidden_size": 16,
    "stem_size": 8,
    "num_blocks": 2,
    "tap_positions": [1, 2],
    "codebook_sizes": [8, 16],
    "codebook_dim": 16,
}
TINY_MODEL: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 128,
}


def load_script(name: str) -> ModuleType:
    """Import `examples/<name>.py` without running it."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


def flags(**values: Any) -> list[str]:
    """Flags as typed: `window=32` becomes `--window 32`; dictionaries are JSON, lists several words."""
    words = []
    for name, value in values.items():
        words.append(f"--{name}")
        if isinstance(value, dict):
            words.append(json.dumps(value))
        elif isinstance(value, list):
            words += [str(item) for item in value]
        else:
            words.append(str(value))
    return words


def run_example(name: str, *words: str, **values: Any) -> int:
    """Run a script in this process; give its exit code.

    The scripts' messages go to the root logger and to standard error, as they would on their own.
    """
    module = load_script(name)
    argv = [f"{name}.py", *words, *flags(**values)]
    with mock.patch.object(sys, "argv", argv), pytest.raises(SystemExit) as exit_info:
        run_script(module.main)
    code = exit_info.value.code
    assert isinstance(code, int)
    return code


def process_environment() -> dict[str, str]:
    """The environment of a script in a process of its own: as many threads as here, no progress bars."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "HF_HUB_OFFLINE": "1"}


def example_command(name: str, *words: str, **values: Any) -> list[str]:
    """The command line that runs a script in a process of its own."""
    return [sys.executable, str(EXAMPLES / f"{name}.py"), *words, *flags(**values)]


def run_example_process(name: str, *words: str, **values: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    return subprocess.run(
        example_command(name, *words, **values),
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _corpus_arguments(genome: Path, output_dir: Path) -> dict[str, Any]:
    """What stages 1 and 2 share."""
    return {
        "train_files": genome,
        "output_dir": output_dir,
        "window": 32,
        "max_steps": 2,
        "max_eval_windows": 8,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "disable_tqdm": True,
    }


def codec_arguments(genome: Path, output_dir: Path, **values: Any) -> dict[str, Any]:
    """Stage 1, tiny: overwritten by `values`."""
    return {**_corpus_arguments(genome, output_dir), "codec_config": TINY_CODEC, **values}


def mlm_arguments(genome: Path, codec: Path, output_dir: Path, **values: Any) -> dict[str, Any]:
    """Stage 2, tiny: overwritten by `values`."""
    return {**_corpus_arguments(genome, output_dir), "codec_path": codec, "model_config": TINY_MODEL, **values}


def classification_arguments(data: Path, model: Path, output_dir: Path, **values: Any) -> dict[str, Any]:
    """Stage 3, tiny: overwritten by `values`."""
    return {
        "data_path": data,
        "model_name_or_path": model,
        "output_dir": output_dir,
        "max_steps": 2,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "disable_tqdm": True,
        **values,
    }


def logged(output_dir: Path) -> list[dict[str, Any]]:
    """The log of a finished run, an entry a call of `Trainer.log`."""
    return json.loads((output_dir / "trainer_state.json").read_text())["log_history"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Parameters and codebook buffers of a saved model."""
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    """To the bit."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert any(name.endswith(".embed_sum") for name in ours), "the codebooks' buffers are part of the comparison"
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different
