# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The verbs `evaluate gue` and `evaluate make-species`: the table on standard output, errors in one line."""

from pathlib import Path

import pytest
from gue_folders import contigs_of, save_checkpoint, write_genomes, write_set, write_split

from vqdna_cli.main import main

FAST = ["--protocol", "cpu", "--max-steps", "2", "--batch-size", "8", "--eval-steps", "1", "--warmup-steps", "0"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


def gue(checkpoint: Path, folder: Path, *words: str) -> int:
    return main(["evaluate", "gue", str(checkpoint), "--data", str(folder / "GUE"), "-o", str(folder / "out"), *words])


def test_the_table_goes_to_standard_output(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "GUE" / "tf" / "0")
    write_split(tmp_path / "GUE" / "tf" / "1" / "test.csv", [("ACGT", 0)])
    assert gue(checkpoint, tmp_path, *FAST, "--seeds", "0,1,2", "--random_init") == 0
    out, err = capsys.readouterr()
    assert out == (tmp_path / "out" / "table.md").read_text()
    assert "| tiny (random weights) | cpu, changed | tf/0 | MCC |" in out
    assert "incomplete: tf/1 (no train, no dev)" in err
    assert "run 3 of 3" in err
    assert gue(checkpoint, tmp_path, *FAST, "--random-init") == 0
    assert "0 runs to make of 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "tf/1"], "tf/1 has no train, no dev; complete: tf/0"),
        (["--seeds", "a,b"], "--seeds a,b: give whole numbers"),
        (["--protocol", "fast"], "choose published or cpu"),
        (["--learning-rate", "0"], "learning_rate 0.0: it must be above 0"),
        (["--epochs", "inf"], "num_train_epochs inf: it must be above 0, and finite"),
        (["--weight-decay", "nan"], "weight_decay nan: it must not be below 0"),
        (["--seeds", "0,4294967296"], "seed 4294967296: give a whole number from 0 to"),
        (["--keep-models", "{}/out/models"], "models cannot be kept among the records"),
    ],
)
def test_errors_are_one_line(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    write_set(tmp_path / "GUE" / "tf" / "0")
    write_split(tmp_path / "GUE" / "tf" / "1" / "test.csv", [("ACGT", 0)])
    assert gue(checkpoint, tmp_path, *[word.format(tmp_path) for word in words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert message in lines[-1]
    assert not (tmp_path / "out").exists()


def test_make_species(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genomes = write_genomes(
        tmp_path / "genomes",
        {
            ("human", "Homo sapiens", "human"): contigs_of(1),
            ("mouse", "Mus musculus", "vertebrate"): contigs_of(2),
            ("cow", "Bos taurus", "vertebrate"): contigs_of(3, number=1),
        },
    )
    words = ["evaluate", "make-species", str(genomes), "-o", str(tmp_path / "sets"), "--window", "50", "--window", "60"]
    small = ["--train", "8", "--dev", "3", "--test", "3"]
    assert main([*words, *small]) == 0
    err = capsys.readouterr().err
    assert "species-60: 2 classes: Homo sapiens, Mus musculus" in err
    assert "left out: Bos taurus: 1 contigs" in err
    assert main([*words, *small]) == 2
    assert "is there already" in capsys.readouterr().err
    for option, message in (("--gap", "it must not be below 0"), ("--seed", "give a whole number from 0 to")):
        assert main([*words, option, "-1"]) == 2
        assert f"error: {option[2:]} -1: {message}" in capsys.readouterr().err
