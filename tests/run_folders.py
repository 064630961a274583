# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Folders of finished runs as the scripts leave them, without training."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vqdna_hf.training.provenance import RUN_FILE, weights_sha256, write_record

CLASSES = {
    "codec": "VQDNACodecModel",
    "mlm": "VQDNAForMaskedLM",
    "classification": "VQDNAForSequenceClassification",
}
CODEC_SIZES = {"codebook_sizes": [8, 16], "receptive_field": 17}
CODEC_RESULTS = {
    "eval_codebook_usage_level1": 0.875,
    "eval_codebook_perplexity_level1": 4.5125,
    "eval_codebook_usage_level2": 0.9375,
    "eval_codebook_perplexity_level2": 10.25,
    "eval_reconstruction_accuracy": 0.998,
    "eval_runtime": 0.77,
}
MLM_RESULTS = {
    "eval_masked_accuracy": 0.3541,
    "eval_commonest_base_accuracy": 0.3244,
    "eval_mlm_perplexity": 3.8,
    "eval_code_accuracy_level1": 0.5018,
    "eval_code_accuracy_level2": 0.1862,
}
GENOME = {
    "file": "Homo_sapiens_chr21.fa.gz",
    "sha256": "ab" * 32,
    "accession": "NC_000021.9",
    "species": "Homo sapiens",
    "group": "human",
    "names": ["chr21"],
    "weight": 3.0,
    "train_records": 1,
    "train_bases": 40_000_000,
    "held_out_records": 1,
    "held_out_bases": 88_622,
    "simulated": False,
}


def labelled_rows() -> list[dict[str, Any]]:
    """Three splits; half of the training set is used."""
    about = {"accession": "", "species": "", "group": "", "simulated": False}
    return [
        {"file": f"{split}.csv", "split": split, "sha256": digit * 64, "sequences": n, "used_sequences": used,
         "used_bases": used * 70, **about}
        for split, digit, n, used in (("train", "1", 16000, 8000), ("dev", "2", 500, 500), ("test", "3", 1200, 1200))
    ]  # fmt: skip


def record(stage: str, seed: int, results: dict[str, Any], parents: list[dict[str, Any]]) -> dict[str, Any]:
    """A whole record, unfinished only in that it names no weights."""
    config = dict(CODEC_SIZES) if stage == "codec" else {"codec_config": CODEC_SIZES, "max_position_embeddings": 514}
    file = "results/prom/eval_results.json" if stage == "classification" else "eval_results.json"
    recipe: dict[str, Any] = {"learning_rate": 0.001, "seed": seed, "max_steps": 300}
    if stage == "classification":
        recipe |= {"data_path": "prom_core_notata", "model_name_or_path": "mlm"}
    else:
        recipe |= {"train_files": [GENOME["file"]], "window": 128}
    return {
        "format": 1,
        "finished": True,
        "stage": stage,
        "seed": seed,
        "recipe": recipe,
        "versions": {"vqdna_hf": "0.1.0", "python": "3.11.7", "torch": "2.13.0+cpu", "transformers": "5.24.0"},
        "model": {"class": CLASSES[stage], "parameters": 716_034, "trainable": 562_434, "config": config},
        "data": labelled_rows() if stage == "classification" else [dict(GENOME)],
        "evaluation": {"labels": 2} if stage == "classification" else {"windows": 512, "window": 128},
        "training": {"processes": 1, "device": "CPU, x86_64, 2 threads", "steps": 300, "epochs": 1.0, "seconds": 76.5,
                     "bases": 2_457_600},
        "sessions": [],
        "progress": [],
        "results": {file: results},
        "parents": parents,
    }  # fmt: skip


def parent(stage: str, seed: int, results: dict[str, Any], behind: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """A record as another run carries it."""
    weights = {"model.safetensors": f"{stage}{seed}"}
    return {**record(stage, seed, results, behind), "weights": weights, "name": name, "recorded": True}


def pretrained(seed: int = 0, **changes: float) -> dict[str, Any]:
    """Stage 2, with stage 1 behind it."""
    codec = parent("codec", 0, CODEC_RESULTS, [], "codec")
    return parent("mlm", seed, {**MLM_RESULTS, **changes}, [codec], "mlm")


def model_config(stage: str = "classification", **values: Any) -> str:
    """The text of a `config.json`."""
    kind = "vqdna_codec" if stage == "codec" else "vqdna"
    return json.dumps({"model_type": kind, "architectures": [CLASSES[stage]], **values})


def write_run(folder: Path, content: dict[str, Any]) -> Path:
    """Write a run: its configuration, its weights, its results, its record."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(model_config(content["stage"]))
    save_file({"weight": torch.full((2, 2), float(content["seed"]))}, folder / "model.safetensors")
    for name, results in content["results"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(results))
    content = {**copy.deepcopy(content), "weights": weights_sha256(folder)}
    write_record(folder, content)
    return folder


def tuned(folder: Path, seed: int = 0, mcc: float = 0.6469, **changes: Any) -> Path:
    """Stage 3 with its chain; `changes` replace parts of the record."""
    results = {"eval_matthews_correlation": mcc, "eval_f1": 0.8212, "eval_accuracy": 0.8217, "eval_collapsed": 0.0}
    return write_run(folder, {**record("classification", seed, results, [pretrained()]), **changes})


def change(folder: Path, **parts: Any) -> None:
    """Write another record, as if the run had; None takes a part away."""
    content = json.loads((folder / RUN_FILE).read_text()) | parts
    write_record(folder, {key: value for key, value in content.items() if value is not None})
