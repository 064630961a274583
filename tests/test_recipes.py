"""The recipes: readable by their scripts, and of the sizes that their names promise."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from transformers import TrainingArguments

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM
from vqdna_hf.training import parse_arguments

RECIPES = Path(__file__).resolve().parent.parent / "examples" / "recipes"
SCRIPTS = {"codec": "run_codec", "mlm": "run_mlm", "classification": "run_classification"}
# Codec (encoder, decoder, codebooks) and backbone together, in millions of values.
SIZES = {"tiny": (1.0, 1.5), "small": (28.0, 33.0), "base": (98.0, 106.0)}


def read(name: str, stage: str) -> dict:
    return yaml.safe_load((RECIPES / name / f"{stage}.yaml").read_text())


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name: str) -> None:
    codec_config = read(name, "codec").get("codec_config", {})
    with torch.device("meta"):
        codec = VQDNACodecModel(VQDNACodecConfig(**codec_config))
        model = VQDNAForMaskedLM(VQDNAConfig(codec_config=codec_config, **read(name, "mlm").get("model_config", {})))
    parts = (model.vqdna.backbone, model.vqdna.code_embeddings)
    backbone = sum(parameter.numel() for part in parts for parameter in part.parameters())
    whole = sum(parameter.numel() for parameter in codec.parameters())
    codebooks = sum(book.embed.numel() for book in codec.encoder.quantizer.codebooks)
    low, high = SIZES[name]
    assert low <= (backbone + whole + codebooks) / 1e6 <= high


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("stage", SCRIPTS)
def test_every_key_is_known(name: str, stage: str, tmp_path: Path) -> None:
    import importlib.util

    path = RECIPES.parent / f"{SCRIPTS[stage]}.py"
    spec = importlib.util.spec_from_file_location(f"recipe_{stage}", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    types = [value for value in vars(script).values() if getattr(value, "__module__", "") == spec.name]
    types = [value for value in types if hasattr(value, "__dataclass_fields__")]
    types = types if stage == "classification" else [*types, script.CorpusArguments, TrainingArguments]
    flags = ["--output_dir", str(tmp_path), "--bf16", "False", "--use_cpu", "True"]
    flags += ["--model_name_or_path", "x"] if stage == "classification" else ["--train_files", "x.fa"]
    parsed = parse_arguments(types, [os.fspath(RECIPES / name / f"{stage}.yaml"), *flags])
    assert parsed[-1].learning_rate == pytest.approx(float(read(name, stage)["learning_rate"]))
