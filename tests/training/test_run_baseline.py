# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`examples/run_baseline.py`: each vocabulary end to end, the same bases as stage 2, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import logged, mlm_arguments, run_example, weights
from transformers import AutoModelForMaskedLM

from vqdna_hf.evaluation.baselines import load_baseline_classifier


def arguments(genome: Path, like: Path, output_dir: Path, **values: Any) -> dict[str, Any]:
    """Those of stage 2, with `--like` for `--codec_path`."""
    stage_2 = mlm_arguments(genome, like, output_dir, **values)
    stage_2["like"] = stage_2.pop("codec_path")
    return stage_2


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("vocabulary", ["base", "3mer", "3mer-overlapping", "6mer", "6mer-overlapping", "bpe"])
def test_a_baseline_trains_and_comes_back(
    vocabulary: str, genome: Path, codec_folder: Path, mlm_folder: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {"bpe": {"bpe_vocab_size": 64}}.get(vocabulary, {})
    if vocabulary.startswith("6mer"):  # whose table is larger than the whole model here
        more = {"parameter_tolerance": 10}
    run = arguments(genome, codec_folder, tmp_path, vocabulary=vocabulary, **more)
    assert run_example("run_baseline", **run) == 0
    ours, theirs = record(tmp_path), record(mlm_folder)
    assert ours["finished"]
    assert ours["training"]["bases"] == theirs["training"]["bases"] == 2 * 8 * 32
    assert ours["data"] == theirs["data"]
    for name in ("learning_rate", "per_device_train_batch_size", "seed", "window", "max_steps"):
        assert ours["recipe"][name] == theirs["recipe"][name], name
    assert ours["recipe"]["vocabulary"] == vocabulary
    if not vocabulary.startswith("6mer"):
        sizes = ours["evaluation"]
        assert sizes["compared_parameters"] == pytest.approx(sizes["compared_parameters_of_like"], rel=0.03)
    results = json.loads((tmp_path / "eval_results.json").read_text())
    names = ("masked_accuracy", "commonest_base_accuracy", "nucleotide_loss", "token_accuracy", "token_loss")
    assert {f"eval_{name}" for name in names} <= results.keys()
    assert "bases_per_second" in next(entry for entry in logged(tmp_path) if "loss" in entry)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in weights(tmp_path).items())
    model, tokenize = load_baseline_classifier(tmp_path, num_labels=2)
    assert model(**tokenize(["ACGTNACGTTG"], return_tensors="pt")).logits.shape == (1, 2)


def test_the_same_windows_as_stage_2(genome: Path, codec_folder: Path, mlm_folder: Path, tmp_path: Path) -> None:
    assert run_example("run_baseline", **arguments(genome, codec_folder, tmp_path, vocabulary="base")) == 0
    # The same bases are hidden, so the commonest of them has the same share.
    ours, theirs = (json.loads((folder / "eval_results.json").read_text()) for folder in (tmp_path, mlm_folder))
    assert ours["eval_commonest_base_accuracy"] == theirs["eval_commonest_base_accuracy"]


def test_a_run_is_resumed_with_its_own_vocabulary(genome: Path, codec_folder: Path, tmp_path: Path) -> None:
    run = arguments(genome, codec_folder, tmp_path / "whole", vocabulary="bpe", bpe_vocab_size=64, max_steps=4)
    run |= {"save_strategy": "steps", "save_steps": 2}
    assert run_example("run_baseline", **run) == 0
    before = weights(tmp_path / "whole")
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    run |= {"resume_from_checkpoint": checkpoint}
    assert run_example("run_baseline", **run) == 0
    after = weights(tmp_path / "whole")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run_example("run_baseline", **{**run, "vocabulary": "base"}) == 2


def test_a_cnn_is_written_as_it_is(genome: Path, codec_folder: Path, tmp_path: Path) -> None:
    assert run_example("run_baseline", **arguments(genome, codec_folder, tmp_path, vocabulary="cnn")) == 0
    model, tokenize = load_baseline_classifier(tmp_path, num_labels=4)
    assert model(**tokenize(["ACGTNACG"], return_tensors="pt")).logits.shape == (1, 4)
    assert not (tmp_path / "run.json").exists()


def test_hrq_is_stage_2(genome: Path, codec_folder: Path, mlm_folder: Path, tmp_path: Path) -> None:
    assert run_example("run_baseline", **arguments(genome, codec_folder, tmp_path, vocabulary="hrq")) == 0
    ours, theirs = weights(tmp_path), weights(mlm_folder)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocabulary": "vq"}, "has 2 codebooks, which is hrq"),
        ({"vocabulary": "6mer"}, "3% is allowed: the least that this width and depth can have is"),
        ({"vocabulary": "3mer", "window": 127}, "window=127 and two special tokens are more"),
        ({"vocabulary": "bpe"}, "entries of the 4096 that are wanted"),
        ({"vocabulary": "3mer", "like": "/no/such/folder"}, "/no/such/folder: no such model folder"),
        ({"vocabulary": "3mer", "model_config": {"hidden_sizes": 3}}, "did you mean 'hidden_size'"),
        ({"vocabulary": "3mer", "mask_probability": 1.5}, "give a share above 0 and below 1"),
    ],
)
def test_bad_input_is_one_line_before_training(
    values: dict[str, Any],
    message: str,
    genome: Path,
    codec_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_example("run_baseline", **{**arguments(genome, codec_folder, tmp_path / "out"), **values}) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list((tmp_path / "out").glob("checkpoint-*"))


def test_the_size_of_a_model_of_stage_2(
    genome: Path, mlm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = arguments(genome, mlm_folder, tmp_path, vocabulary="3mer")
    assert run_example("run_baseline", **{**run, "model_config": {"num_hidden_layers": 2}}) == 2
    assert "--model_config says num_hidden_layers=2" in capsys.readouterr().err
    assert run_example("run_baseline", **run) == 0
