# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Bad input: exit code 2, one line on standard error that says what is wrong and where, no traceback."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from example_scripts import (
    TINY_CODEC,
    TINY_MODEL,
    classification_arguments,
    codec_arguments,
    mlm_arguments,
    run_example,
    run_example_process,
)
from safetensors.torch import load_file, save_file


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a script that must refuse; give its one line."""

    def run(script: str, *words: str, **values: Any) -> str:
        capsys.readouterr()
        assert run_example(script, *words, **values) == 2
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, error
        assert error.rstrip().endswith(lines[0]), "nothing behind it"
        assert "Traceback" not in error
        assert "usage:" not in error, "two screens of flags would hide the line"
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such FASTA file"),
        ("", "the file is empty"),
        ("ACGT\n", "a FASTA file starts with a line '>name'"),
        (">chr1 x\nACGT\nACG*T\n", "record 'chr1': illegal"),
        (">a\nACGTACGTAC\n", "too short"),
    ],
)
def test_fasta(text: str | None, message: str, refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "genome.fa"
    if text is not None:
        path.write_text(text)
    line = refused("run_codec", **codec_arguments(path, tmp_path / "run"))
    assert str(path) in line
    if "illegal" in message:
        assert "record 'chr1'" in line
        assert "'*'" in line
        assert "position 7" in line, "counted in bases, from 0"
    elif message != "too short":
        assert message in line


def test_cut_gzip(refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "genome.fa.gz"
    path.write_bytes(gzip.compress(b">a\n" + b"ACGTTGCA" * 5000)[:60])
    assert str(path) in refused("run_codec", **codec_arguments(path, tmp_path / "run"))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2] * 8, "labels must be 0..n-1, found [1, 2]: subtract 1"),
        ([0] * 16, "all rows have the label 0: at least two classes"),
        ([0, 1.5] * 8, "row 2 (1-based, the header not counted): label '1.5'"),
        ([0, 1.5] * 8, "or ask for --problem_type regression if these are measurements"),
        ([0, 1, None, 1] * 4, "row 3"),
    ],
)
def test_labels(
    labels: list[Any],
    message: str,
    refused: Callable[..., str],
    promoters: Path,
    mlm_folder: Path,
    tmp_path: Path,
) -> None:
    data = shutil.copytree(promoters, tmp_path / "data")
    table = pd.read_csv(data / "train.csv")
    table["label"] = pd.Series(labels, dtype=object)
    table.to_csv(data / "train.csv", index=False)
    line = refused("run_classification", **classification_arguments(data, mlm_folder, tmp_path / "run"))
    assert message in line
    assert "train.csv" in line


def test_a_class_that_only_the_test_set_has(
    refused: Callable[..., str], promoters: Path, mlm_folder: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(promoters, tmp_path / "data")
    with (data / "test.csv").open("a") as stream:
        stream.write("ACGTACGTAC,2\n")
    line = refused("run_classification", **classification_arguments(data, mlm_folder, tmp_path / "run"))
    assert "test.csv, row 11" in line


def test_sequences_longer_than_the_model(
    refused: Callable[..., str], promoters: Path, mlm_folder: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(promoters, tmp_path / "data")
    table = pd.read_csv(data / "dev.csv")
    table.loc[4, "sequence"] = "ACGT" * 32
    table.to_csv(data / "dev.csv", index=False)
    arguments = classification_arguments(data, mlm_folder, tmp_path / "run")
    line = refused("run_classification", **arguments)
    assert "dev.csv, row 5: 130 tokens" in line
    assert "at most 128" in line
    # More than the model reads cannot be asked for, less can.
    assert "at most 128" in refused("run_classification", **arguments, model_max_length=4096)
    assert "at most 64" in refused("run_classification", **arguments, model_max_length=64)
    assert run_example("run_classification", "--truncate", **arguments, model_max_length=64) == 0


def test_recipes(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "codec.yaml"

    def run(text: str) -> str:
        recipe.write_text(text)
        return refused("run_codec", str(recipe), **codec_arguments(genome, tmp_path / "run"))

    line = run("learning_rat: 0.1\n")
    assert f"{recipe}: unknown key 'learning_rat': did you mean learning_rate?" in line
    assert "is not valid YAML" in run("window: [32\n")
    assert "a recipe is a mapping" in run("- window\n")
    # What a flag would refuse, a recipe may not smuggle in.
    assert "--save_steps" in run("save_steps: many\n")
    assert "--seed" in run("seed: 1.5\n")
    assert "adam_beta1 takes one value" in run("adam_beta1: [0.9, 0.99]\n")
    assert "cannot read the recipe" in refused("run_codec", str(tmp_path / "missing.yaml"))


def test_flags(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path / "run")
    assert "unknown flag --widow: did you mean --window?" in refused("run_codec", "--widow", "64", **arguments)
    assert "argument --window: invalid int value: 'wide'" in refused("run_codec", **{**arguments, "window": "wide"})
    del arguments["train_files"]
    assert "required: --train_files" in refused("run_codec", **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"codebok_sizes": [8]},
            "unknown key 'codebok_sizes' in VQDNACodecConfig: did you mean 'codebook_sizes'?",
        ),
        ({"codebook_sizes": [8]}, "codebook_sizes [8] and tap_positions [1, 2] must be equally long"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"codebook_sizes": ["a", "b"]}, "codebook_sizes"),
        ({"objective": "both"}, "objective"),
        ({"kernel_size": 4}, "kernel_size=4 must be odd"),
        ({"format_version": 99}, "format_version 99 and this code reads 1"),
    ],
)
def test_codec_config(
    change: dict[str, Any], message: str, refused: Callable[..., str], genome: Path, tmp_path: Path
) -> None:
    arguments = codec_arguments(genome, tmp_path / "run", codec_config={**TINY_CODEC, **change})
    assert message in refused("run_codec", **arguments)


def test_dictionaries(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path / "run")
    for broken in ("{", "[512]", "512"):
        assert "--codec_config" in refused("run_codec", **{**arguments, "codec_config": broken})


def test_checkpoints_of_an_earlier_run(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path)
    assert run_example("run_codec", **arguments) == 0
    line = refused("run_codec", **arguments)
    assert f"{tmp_path} holds checkpoint-2 of an earlier run" in line
    assert "--resume_from_checkpoint" in line
    assert "--overwrite_output_dir" in line


def test_model_folders(
    refused: Callable[..., str],
    genome: Path,
    promoters: Path,
    codec_folder: Path,
    mlm_folder: Path,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    missing = tmp_path / "missing"
    for script, arguments in (
        ("run_mlm", mlm_arguments(genome, missing, run)),
        ("run_classification", classification_arguments(promoters, missing, run)),
        ("run_codec", {**codec_arguments(genome, run, model_name_or_path=missing), "codec_config": "{}"}),
    ):
        assert f"{missing}: no such model folder" in refused(script, **arguments)
    missing.mkdir()
    assert "it holds no config.json" in refused("run_mlm", **mlm_arguments(genome, missing, run))
    # A folder of another stage.
    line = refused("run_mlm", **mlm_arguments(genome, mlm_folder, run))
    assert f"{mlm_folder} holds a model of type vqdna, and one of type vqdna_codec is needed" in line
    assert str(codec_folder) in refused("run_classification", **classification_arguments(promoters, codec_folder, run))


def edited(folder: Path, copy: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A copy of a model whose tensors were changed."""
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    edit(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("buffer", ["embed", "embed_sum", "cluster_size", "initialized", "num_updates"])
def test_a_codebook_buffer_is_missing(
    buffer: str,
    refused: Callable[..., str],
    genome: Path,
    promoters: Path,
    codec_folder: Path,
    mlm_folder: Path,
    tmp_path: Path,
) -> None:
    """Nothing may start anew in silence, in whatever stage."""
    name = f"encoder.quantizer.codebooks.1.{buffer}"
    codec = edited(codec_folder, tmp_path / "codec", lambda tensors: tensors.pop(name))
    assert name in refused("run_mlm", **mlm_arguments(genome, codec, tmp_path / "run"))
    arguments = {**codec_arguments(genome, tmp_path / "run", model_name_or_path=codec), "codec_config": "{}"}
    assert name in refused("run_codec", **arguments)
    name = f"vqdna.codec.quantizer.codebooks.1.{buffer}"
    model = edited(mlm_folder, tmp_path / "mlm", lambda tensors: tensors.pop(name))
    assert name in refused("run_classification", **classification_arguments(promoters, model, tmp_path / "run"))


def test_weights_that_do_not_fit(
    refused: Callable[..., str], genome: Path, promoters: Path, mlm_folder: Path, tmp_path: Path
) -> None:
    def refuse(folder: Path) -> str:
        return refused("run_classification", **classification_arguments(promoters, folder, tmp_path / "run"))

    name = "vqdna.code_projection.weight"
    changes: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
        "shape": lambda tensors: tensors.update({name: torch.zeros(4, 4)}),
        "missing": lambda tensors: tensors.pop(name),
    }
    for kind, edit in changes.items():
        assert name in refuse(edited(mlm_folder, tmp_path / kind, edit))
    deeper = edited(
        mlm_folder,
        tmp_path / "deeper",
        lambda tensors: tensors.update({"vqdna.backbone.layers.1.mlp.Wi.weight": torch.zeros(4, 4)}),
    )
    assert "layers.1.mlp.Wi.weight" in refuse(deeper)
    cut = shutil.copytree(mlm_folder, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:1000])
    assert f"{cut}: the weights cannot be read" in refuse(cut)
    # Stage 2 goes on with a head, so that its head must be there.
    headless = edited(mlm_folder, tmp_path / "headless", lambda tensors: tensors.pop("nucleotide_decoder.weight"))
    arguments = mlm_arguments(genome, headless, tmp_path / "run", model_name_or_path=headless)
    del arguments["codec_path"], arguments["model_config"]
    assert "nucleotide_decoder.weight" in refused("run_mlm", **arguments)


def test_a_newer_format(refused: Callable[..., str], promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    newer = shutil.copytree(mlm_folder, tmp_path / "newer")
    config = json.loads((newer / "config.json").read_text())
    (newer / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    line = refused("run_classification", **classification_arguments(promoters, newer, tmp_path / "run"))
    assert "format_version 2 and this code reads 1" in line


def test_windows_and_masks(refused: Callable[..., str], genome: Path, codec_folder: Path, tmp_path: Path) -> None:
    arguments = mlm_arguments(genome, codec_folder, tmp_path)
    line = refused("run_mlm", **{**arguments, "window": 127})
    assert "window=127 and two special tokens are more than max_position_embeddings=128" in line
    assert run_example("run_mlm", **{**arguments, "window": 126, "max_steps": 1}) == 0
    arguments["output_dir"] = tmp_path / "other"
    for share in (0, 1, -0.5):
        assert "mask_probability" in refused("run_mlm", **arguments, mask_probability=share)
    assert "mean_span_length" in refused("run_mlm", **arguments, mean_span_length=0.5)
    assert "label_smoothing_factor" in refused("run_mlm", **arguments, label_smoothing_factor=0.1)
    assert "--codec_path" in refused("run_mlm", **arguments, model_name_or_path=codec_folder)
    misspelt = {**arguments, "model_config": {**TINY_MODEL, "num_hiden_layers": 2}}
    assert "did you mean 'num_hidden_layers'?" in refused("run_mlm", **misspelt)


def test_lora_targets(refused: Callable[..., str], promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, lora_target_modules="query,Wo")
    line = refused("run_classification", "--use_lora", **arguments)
    assert "LoRA targets ['query'] match no module; this backbone has ['Wi', 'Wo', 'Wqkv']" in line


def test_in_a_process_of_its_own(genome: Path, tmp_path: Path) -> None:
    """What a shell sees: the code, and one last line."""
    arguments = codec_arguments(genome, tmp_path, codec_config={"codebok_sizes": [8]})
    result = run_example_process("run_codec", **arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: unknown key 'codebok_sizes'")


def test_bad_input_loses_no_checkpoint(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    """Overwriting begins with training, not with a command line that has a typo."""
    arguments = codec_arguments(genome, tmp_path / "run", max_steps=1, save_steps=1)
    assert run_example("run_codec", **arguments) == 0
    arguments["train_files"] = tmp_path / "nope.fa"
    assert "no such FASTA file" in refused("run_codec", "--overwrite_output_dir", **arguments)
    assert (tmp_path / "run" / "checkpoint-1" / "trainer_state.json").is_file()


@pytest.mark.parametrize(("key", "value"), [("mask_level", "code"), ("codec_config", {"decay": 0.5})])
def test_model_config_that_has_its_own_flag(
    key: str, value: Any, refused: Callable[..., str], genome: Path, codec_folder: Path, tmp_path: Path
) -> None:
    arguments = mlm_arguments(genome, codec_folder, tmp_path / "run")
    arguments["model_config"] = {**TINY_MODEL, key: value}
    assert f"{key} does not belong into --model_config" in refused("run_mlm", **arguments)


@pytest.mark.parametrize("window", [0, -3])
@pytest.mark.parametrize("script", ["run_codec", "run_mlm", "run_codec_no_trainer"])
def test_a_window_of_no_base(
    script: str, window: int, refused: Callable[..., str], genome: Path, codec_folder: Path, tmp_path: Path
) -> None:
    arguments = codec_arguments(genome, tmp_path / "run", window=window)
    if script == "run_mlm":
        arguments = mlm_arguments(genome, codec_folder, tmp_path / "run", window=window)
    if script == "run_codec_no_trainer":
        arguments.pop("disable_tqdm")
    assert refused(script, **arguments) == f"error: --window {window}: a window has at least 1 base"
    assert not (tmp_path / "run").exists()


def test_bad_input_leaves_no_empty_output(
    refused: Callable[..., str], promoters: Path, codec_folder: Path, tmp_path: Path
) -> None:
    arguments = classification_arguments(promoters, tmp_path / "nosuch", tmp_path / "deep" / "run")
    assert "nosuch: no such model folder" in refused("run_classification", **arguments)
    assert not (tmp_path / "deep").exists()
    arguments["model_name_or_path"] = codec_folder
    line = refused("run_classification", **arguments)
    assert line.endswith(f"(vqdna pretrain --codec_path {codec_folder}), and give that")
    assert not (tmp_path / "deep").exists()
    (tmp_path / "deep" / "run").mkdir(parents=True)
    refused("run_classification", **arguments)
    assert (tmp_path / "deep" / "run").is_dir(), "it was there before"


def test_outputs_below_what_is_no_folder(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for output in (tmp_path / "file" / "run", tmp_path / "link" / "run", tmp_path / "link", tmp_path / ("x" * 300)):
        line = refused("run_codec", **codec_arguments(genome, output))
        assert f"--output_dir {output} cannot be made" in line
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in ("file", "link", "nowhere")) == [
        "file", "link"
    ]  # fmt: skip


def test_output_that_cannot_be_written(refused: Callable[..., str], genome: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    line = refused("run_codec", **codec_arguments(genome, tmp_path / "file"))
    assert f"--output_dir {tmp_path / 'file'} cannot be made" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_flags_that_exclude_each_other(
    refused: Callable[..., str], promoters: Path, mlm_folder: Path, tmp_path: Path
) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, use_lora=True, train_head_only=True)
    assert "exclude each other" in refused("run_classification", **arguments)


def test_no_room_for_a_sequence(refused: Callable[..., str], promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, model_max_length=1, truncate=True)
    assert "--model_max_length 1 leaves no room: at least 3" in refused("run_classification", **arguments)
