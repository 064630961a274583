# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Stage 1 from a pre-trained model: the teacher's features, and the script's flags."""

import json
from pathlib import Path

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL, codec_arguments, logged, mlm_arguments, run_example

from vqdna_hf import VQDNACodecModel, VQDNAConfig, VQDNAModel
from vqdna_hf.training import Teacher


@pytest.fixture(scope="module")
def model() -> VQDNAModel:
    torch.manual_seed(0)
    return VQDNAModel(
        VQDNAConfig(**{**TINY_MODEL, "num_hidden_layers": 3, "initializer_range": 0.3}, codec_config=TINY_CODEC)
    )


def test_features_are_a_standardised_layer(model: VQDNAModel) -> None:
    teacher = Teacher(model)
    ids = torch.randint(5, 9, (6, 40))
    teacher.standardize([ids[:3], ids[3:]])
    assert teacher.layer == 2
    features = teacher(ids)
    assert features.shape == (6, 40, 16)
    assert features.mean((0, 1)).abs().max() < 1e-4
    assert (features.flatten(0, 1).std(0) - 1).abs().max() < 1e-3
    with torch.no_grad():
        states = model.eval()(ids, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(features, (states - states.mean((0, 1))) / states.flatten(0, 1).std(0))


def test_special_tokens_and_padding_do_not_count_in_the_spread(model: VQDNAModel) -> None:
    ids = torch.randint(5, 9, (4, 40))
    framed = torch.cat([torch.full((4, 1), 2), ids, torch.full((4, 1), 3), torch.zeros(4, 6, dtype=torch.long)], 1)
    teacher = Teacher(model, layer=1)
    teacher.standardize([framed])
    with torch.no_grad():
        states = model.eval()(framed, output_hidden_states=True).hidden_states[1][:, 1:41].flatten(0, 1)
    torch.testing.assert_close(teacher.mean, states.mean(0))


def test_a_stride_takes_the_mean_over_the_patch(model: VQDNAModel) -> None:
    teacher = Teacher(model)
    ids = torch.cat([torch.full((2, 1), 2), torch.randint(5, 9, (2, 7)), torch.full((2, 1), 3)], 1)
    one, four = teacher(ids), teacher(ids, stride=4)
    assert four.shape == (2, 4, 16)  # [CLS], four bases, three bases, [SEP]
    torch.testing.assert_close(four[:, 0], one[:, 0])
    torch.testing.assert_close(four[:, 1], one[:, 1:5].mean(1))
    torch.testing.assert_close(four[:, 2], one[:, 5:8].mean(1))


def test_a_teacher_does_not_learn(model: VQDNAModel) -> None:
    teacher = Teacher(model).train()
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher(torch.randint(5, 9, (1, 8))).requires_grad


def test_a_layer_that_is_not_there_is_refused(model: VQDNAModel) -> None:
    with pytest.raises(ValueError, match="--teacher_layer 4: the teacher has the layers 0"):
        Teacher(model, layer=4)


@pytest.mark.parametrize("start", ["anew", "from the codec of before"])
def test_the_chain_vocabulary_model_vocabulary_model(
    start: str, genome: Path, codec_folder: Path, mlm_folder: Path, tmp_path: Path
) -> None:
    """Self-distillation as a user runs it: stage 1 again with the model as teacher, then stage 2 again."""
    arguments = codec_arguments(genome, tmp_path / "codec", teacher=mlm_folder)
    if start != "anew":
        del arguments["codec_config"]
        arguments["model_name_or_path"] = codec_folder
    assert run_example("run_codec", **arguments) == 0
    config = json.loads((tmp_path / "codec" / "config.json").read_text())
    assert (config["objective"], config["feature_size"]) == ("distillation", TINY_MODEL["hidden_size"])
    log = logged(tmp_path / "codec")
    assert sum("distillation_loss" in entry for entry in log) == 2  # a step a line
    results = json.loads((tmp_path / "codec" / "eval_results.json").read_text())
    assert 0 < results["eval_distillation_loss"] < 2
    assert VQDNACodecModel.from_pretrained(tmp_path / "codec").config.feature_size == TINY_MODEL["hidden_size"]
    assert run_example("run_mlm", **mlm_arguments(genome, tmp_path / "codec", tmp_path / "mlm")) == 0


def test_what_the_teacher_decides_cannot_be_set(
    genome: Path, mlm_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codec = {**TINY_CODEC, "objective": "window"}
    assert run_example("run_codec", **codec_arguments(genome, tmp_path, teacher=mlm_folder, codec_config=codec)) == 2
    assert "--codec_config sets objective, which --teacher decides" in capsys.readouterr().err
    assert run_example("run_codec", **codec_arguments(genome, tmp_path, teacher=mlm_folder, teacher_layer=9)) == 2
    assert "the teacher has the layers 0" in capsys.readouterr().err


def test_the_codec_is_no_teacher(
    genome: Path, codec_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_example("run_codec", **codec_arguments(genome, tmp_path, teacher=codec_folder)) == 2
    assert "one of type vqdna is needed here" in capsys.readouterr().err
