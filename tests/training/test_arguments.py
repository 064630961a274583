# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Flags, recipes and old spellings, without a script around them."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainingArguments

from vqdna_hf.training import modernize_arguments, parse_arguments, parse_dictionary, run_script


@dataclass
class Own:
    """A flag of each kind."""

    files: list[str] | None = field(default=None)
    size: int | None = field(default=3)
    share: float = field(default=0.5)
    config: str | None = field(default=None)
    keep: bool = field(default=True)


def parse(tmp_path: Path, recipe: str, *words: str) -> tuple[Own, TrainingArguments]:
    """Both, with a recipe."""
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe)
    own, training = parse_arguments((Own, TrainingArguments), [str(path), "--output_dir", str(tmp_path), *words])
    return own, training


@pytest.mark.parametrize(
    ("recipe", "name", "value"),
    [
        ("files: [a, b]", "files", ["a", "b"]),
        ("files: a", "files", ["a"]),
        ("size: null", "size", None),
        ("size: -4", "size", -4),
        ("share: 1e-3", "share", 0.001),
        ("share: 2", "share", 2.0),
        ("keep: false", "keep", False),
        ("keep: no", "keep", False),
    ],
)
def test_recipe_values_become_what_the_field_wants(recipe: str, name: str, value: Any, tmp_path: Path) -> None:
    own, _ = parse(tmp_path, recipe)
    result = getattr(own, name)
    assert result == value
    assert type(result) is type(value)


def test_flags_win_and_dictionaries_merge(tmp_path: Path) -> None:
    recipe = "size: 5\nfiles: [a, b]\nconfig: {x: 1, y: [2, 3]}\nkeep: false\n"
    own, _ = parse(tmp_path, recipe, "--size", "6", "--files", "c", "--config", '{"y": [4]}', "--keep", "True")
    assert (own.size, own.files, own.keep) == (6, ["c"], True)
    assert json.loads(own.config or "") == {"x": 1, "y": [4]}
    own, _ = parse(tmp_path, recipe)
    assert (own.size, own.files, own.keep) == (5, ["a", "b"], False)
    assert json.loads(own.config or "") == {"x": 1, "y": [2, 3]}


def test_recipes_reach_transformers_arguments(tmp_path: Path) -> None:
    _, training = parse(
        tmp_path,
        "learning_rate: 1e-4\nresume_from_checkpoint: true\nreport_to: [tensorboard]\n"
        "lr_scheduler_kwargs: {num_cycles: 2}\nlr_scheduler_type: cosine\neval_strategy: 'no'\n",
    )
    assert training.learning_rate == 1e-4
    assert str(training.resume_from_checkpoint).lower() == "true"
    assert training.report_to == ["tensorboard"]
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["--evaluation_strategy", "steps"], ["--eval_strategy", "steps"]),
        (["--evaluation_strategy=steps"], ["--eval_strategy", "steps"]),
        (["--no_cuda"], ["--use_cpu"]),
        (["--no_cuda", "False", "--x", "1"], ["--use_cpu", "False", "--x", "1"]),
        (["--kmer", "-1", "--x"], ["--x"]),
        (["--group_by_length"], ["--train_sampling_strategy", "group_by_length"]),
        (["--group_by_length", "False"], []),
        (["--fp16", "False"], ["--fp16", "False"]),
        (["--max_seq_length", "100"], ["--model_max_length", "100"]),
        (["--resume_from_checkpoint", "--x"], ["--resume_from_checkpoint", "True", "--x"]),
        (["--resume_from_checkpoint", "run/checkpoint-4"], ["--resume_from_checkpoint", "run/checkpoint-4"]),
        (["--train_files", "a", "b", "--window", "3"], ["--train_files", "a", "b", "--window", "3"]),
    ],
)
def test_old_spellings(old: list[str], new: list[str]) -> None:
    assert modernize_arguments(old) == new


def test_dictionaries() -> None:
    assert parse_dictionary(None, "--x") == {}
    assert parse_dictionary("{a: 1}", "--x") == {"a": 1}
    with pytest.raises(ValueError, match="--x takes a JSON mapping"):
        parse_dictionary("12", "--x")


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (None, 0, ""),
        (ValueError("two\n  lines"), 2, "error: two lines\n"),
        (FileNotFoundError(2, "No such file", "a.fa"), 2, "error: [Errno 2] No such file: 'a.fa'\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_exit_codes(raised: BaseException | None, code: int, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        if raised is not None:
            raise raised

    with pytest.raises(SystemExit) as info:
        run_script(main)
    assert info.value.code == code
    assert capsys.readouterr().err == text


def test_mistakes_of_ours_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only bad input is told in one line; and VQDNA_DEBUG shows where even that came from."""

    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(ZeroDivisionError):
        run_script(lambda: fail(ZeroDivisionError()))
    monkeypatch.setenv("VQDNA_DEBUG", "1")
    with pytest.raises(ValueError, match="input"):
        run_script(lambda: fail(ValueError("input")))


def test_sys_argv_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", "--size", "9", "--output_dir", str(tmp_path)])
    own, _ = parse_arguments((Own, TrainingArguments))
    assert own.size == 9


def test_a_flag_cut_short_is_refused_with_the_whole_one() -> None:
    """argparse would take it: `--learning_rat 1` would train at that rate."""
    with pytest.raises(ValueError, match="unknown flag --learning_rat: did you mean --learning_rate"):
        parse_arguments((TrainingArguments,), ["--output_dir", "run", "--learning_rat", "1"])
