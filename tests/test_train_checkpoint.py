# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The script that makes shipped checkpoints: in slices, resumably, with codes that rounding does not change."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from example_scripts import TINY_CODEC, TINY_MODEL, load_script, run_example
from safetensors import safe_open
from transformers import AutoModel, AutoModelForMaskedLM

from vqdna_hf import VQDNAForMaskedLM
from vqdna_hf.data import simulate_fasta


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("one", "two", "held")):
        simulate_fasta(folder / f"{name}.fa", num_bases=4_000, num_contigs=2, seed=seed)
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    shared = {"window": 32, "max_eval_windows": 8, "max_steps": 4, "save_steps": 1, "save_strategy": "steps"}
    shared |= {"use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "per_device_train_batch_size": 4}
    corpus = {
        "inputs": [{"files": "one.fa", "group": "a"}, {"files": "*.fa", "group": "b"}],
        "shares": {"a": 0.25, "b": 0.75},
        "held_out": ["held.fa"],
    }
    corpus["inputs"].reverse()  # type: ignore[attr-defined]  # the last row that names a file counts
    for name, values in (
        ("codec", shared | {"codec_config": TINY_CODEC}),
        ("mlm", shared | {"model_config": TINY_MODEL}),
        ("corpus", corpus),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_checkpoint_is_made_in_slices_and_once(
    data: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, work = tmp_path / "vqdna-hrq-test", tmp_path / "work"

    def go_on(*words: str) -> int:
        values = {"data": data, "output": output, "work": work}
        return run_example("recipes/train_checkpoint", str(recipe), *words, **values)

    assert go_on("--minutes", "0") == 130
    assert "the same command goes on" in capsys.readouterr().out
    assert not output.exists()
    assert go_on() == 0
    steps = [json.loads((work / stage / "trainer_state.json").read_text())["global_step"] for stage in ("codec", "mlm")]
    assert steps == [4, 4]
    assert set(json.loads((work / "corpus" / "corpus.json").read_text())["groups"]) == {"a", "b"}

    made = VQDNAForMaskedLM.from_pretrained(work / "mlm").eval()
    loaded = AutoModelForMaskedLM.from_pretrained(output, trust_remote_code=True).eval()
    ids = torch.randint(5, 9, (4, 60), generator=torch.Generator().manual_seed(0))
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded(ids).codes, made(ids).codes)
    torch.testing.assert_close(loaded(ids).logits, made(ids).logits, atol=0.02, rtol=0)
    with safe_open(output / "model.safetensors", "pt") as tensors:
        types = {name: tensors.get_tensor(name).dtype for name in tensors.keys()}  # noqa: SIM118
    assert {kind for name, kind in types.items() if ".codec." in name} == {torch.float32}
    assert {kind for name, kind in types.items() if ".codec." not in name} == {torch.bfloat16}
    codec = AutoModel.from_pretrained(output, subfolder="codec", trust_remote_code=True)
    assert torch.equal(codec.encode(ids).codes, loaded(ids).codes)

    before = (work / "mlm" / "model.safetensors").stat().st_mtime_ns
    assert go_on() == 0
    assert (work / "mlm" / "model.safetensors").stat().st_mtime_ns == before


def test_failures_and_unknown_recipes_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    values = {"data": tmp_path, "output": tmp_path / "out", "work": tmp_path / "work"}
    assert run_example("recipes/train_checkpoint", "huge", **values) == 2
    assert "huge: no such recipe; there are base, small, tiny, vqdna-hrq-tiny" in capfd.readouterr().err
    assert run_example("recipes/train_checkpoint", "vqdna-hrq-tiny", **values) == 2
    assert "the corpus failed, exit code 2" in capfd.readouterr().err


def test_the_shipped_recipe_s_corpus_names_what_is_there(vqdna_data: Path, tmp_path: Path) -> None:
    from vqdna_hf.data.manifest import open_manifest

    script = load_script("recipes/train_checkpoint")
    manifest = open_manifest(script.write_manifest(script.RECIPES / "vqdna-hrq-tiny", vqdna_data, tmp_path))
    groups = {entry.group for entry in manifest.inputs}
    assert groups == {"human", "vertebrate", "invertebrate", "plant", "bacteria", "fungi", "virus"}
    weights = {Path(entry.path).name: entry.weight for entry in manifest.inputs}
    assert weights["Klebsiella_aerogenes_KCTC2190.fa.gz"] == 0.1
    assert "Caenorhabditis_elegans_1pct.fa.gz" not in weights
