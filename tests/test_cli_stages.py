# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`vqdna learn-vocabulary`, `pretrain`, `finetune`: the scripts of `examples/` behind thin doors."""

import inspect
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from example_scripts import (
    assert_same_weights,
    classification_arguments,
    codec_arguments,
    flags,
    mlm_arguments,
    process_environment,
    run_example,
)

import vqdna_cli.main as cli
from vqdna_cli import stages
from vqdna_hf.data import simulate_fasta, simulate_promoters

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("verb", stages.SCRIPTS)
def test_words_arrive_unchanged(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def load(name: str) -> Any:
        return SimpleNamespace(main=lambda: seen.append((name, list(sys.argv))) or 0)

    monkeypatch.setattr(stages, "load_script", load)
    words = [
        "r.yaml",
        "--learning_rate=1e-3",
        "--flag",
        "-1",
        "--",
        "-x",
        "--version",
        "",
        "--held_out",
        "chr 1",
        "--no_x",
    ]
    before = list(sys.argv)
    assert cli.main([verb, *words]) == 0
    assert seen == [(stages.SCRIPTS[verb], [f"vqdna {verb}", *words])]
    assert sys.argv == before


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(None, 0), (0, 0), (2, 2), (130, 130), (ValueError("bad"), 2), (KeyboardInterrupt(), 130), (SystemExit(2), 2)],
)
def test_exit_codes(
    outcome: Any, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> Any:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(stages, "load_script", lambda name: SimpleNamespace(main=main))
    assert cli.main(["pretrain", "--window", "3"]) == code
    if isinstance(outcome, ValueError):
        assert capsys.readouterr().err == "error: bad\n"


@pytest.mark.parametrize("verb", stages.SCRIPTS)
def test_help_shows_an_example_and_all_flags(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    for word in ("--help", "-h"):
        assert cli.main([verb, word]) == 0
        shown = capsys.readouterr().out
        example = (inspect.getdoc(stages._VERBS[verb]) or "").partition("Example: `")[2].partition("`")[0]
        assert example.startswith(f"vqdna {verb} ")
        assert example in shown.partition("usage: ")[0]
        assert f"usage: vqdna {verb} " in shown
        assert "--learning_rate" in shown
        assert "--overwrite_output_dir" in shown
    recipe = example.split()[2]
    assert recipe in shown
    packaged = stages._packaged_recipe(recipe)
    assert packaged is not None
    assert packaged.read_text() == (ROOT / "examples" / "recipes" / recipe).read_text()


def test_a_file_here_wins_over_a_recipe_that_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert stages._packaged_recipe("tiny/mlm.yaml") == ROOT / "examples" / "recipes" / "tiny" / "mlm.yaml"
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "mlm.yaml").write_text("window: 3")
    assert stages._packaged_recipe("tiny/mlm.yaml") is None
    assert stages._packaged_recipe("tiny/none.yaml") is None
    assert stages._packaged_recipe("--window") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --train_files"),
        (["no.yaml"], "cannot read the recipe no.yaml"),
        (["--train_files", "no.fa", "--windwo", "3"], "unknown flag --windwo: did you mean --window?"),
    ],
)
def test_bad_words_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["learn-vocabulary", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_three_stages(tmp_path: Path) -> None:
    """The same weights as by the script itself, then on to the other stages."""
    simulate_fasta(tmp_path / "genome.fa", num_bases=6_000, num_contigs=4, seed=0)
    simulate_promoters(tmp_path / "promoters", num_train=16, num_dev=8, num_test=10, seed=0)
    codec = codec_arguments(tmp_path / "genome.fa", tmp_path / "codec")
    assert cli.main(["learn-vocabulary", *flags(**codec)]) == 0
    assert run_example("run_codec", **{**codec, "output_dir": tmp_path / "same"}) == 0
    assert_same_weights(tmp_path / "codec", tmp_path / "same")
    mlm = mlm_arguments(tmp_path / "genome.fa", tmp_path / "codec", tmp_path / "mlm")
    assert cli.main(["pretrain", *flags(**mlm)]) == 0
    tuned = classification_arguments(tmp_path / "promoters", tmp_path / "mlm", tmp_path / "tuned", run_name="prom")
    assert cli.main(["finetune", *flags(**tuned)]) == 0
    assert (tmp_path / "tuned" / "results" / "prom" / "eval_results.json").is_file()


def test_the_three_stages_on_real_data(tmp_path: Path, vqdna_data: Path) -> None:
    """Two steps each on *S. pombe* and on GUE's tf/0."""
    genome = vqdna_data / "genomes" / "fungi" / "Schizosaccharomyces_pombe_ASM294v2.fa.gz"
    labels = vqdna_data / "gue" / "tf" / "0"
    if not genome.exists() or not labels.is_dir():
        pytest.skip(f"{genome} or {labels} does not exist")
    codec, mlm, tuned = (tmp_path / name for name in ("codec", "mlm", "tuned"))
    few = {"max_train_samples": 16, "max_eval_samples": 16, "run_name": "tf"}
    assert cli.main(["learn-vocabulary", *flags(**codec_arguments(genome, codec))]) == 0
    assert cli.main(["pretrain", *flags(**mlm_arguments(genome, codec, mlm))]) == 0
    assert cli.main(["finetune", *flags(**classification_arguments(labels, mlm, tuned, **few))]) == 0
    assert (tuned / "results" / "tf" / "eval_results.json").is_file()


def test_a_process_of_its_own(tmp_path: Path) -> None:
    """`python -m vqdna_hf` is what `accelerate launch -m` and `torchrun -m` start."""
    result = subprocess.run(
        [sys.executable, "-m", "vqdna_hf", "pretrain", "tiny/mlm.yaml", "--train_files", "no.fa", "--codec_path", "no"],
        cwd=tmp_path, env=process_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: "), result.stderr
    assert not result.stdout


def test_the_package_holds_scripts_and_recipes() -> None:
    """What a wheel would contain: every package by name, `examples/` as `vqdna_cli.scripts`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("vqdna_cli", "vqdna_hf")
        for path in (ROOT / top).rglob("*.py")
    }
    assert set(settings["packages"]) == packages | {"vqdna_cli.scripts"}
    assert settings["package-dir"] == {"vqdna_cli.scripts": "examples"}
    patterns = settings["package-data"]["vqdna_cli.scripts"]
    carried = {path for pattern in patterns for path in (ROOT / "examples").glob(pattern)}
    assert carried >= set((ROOT / "examples").rglob("*.yaml"))
    assert all((ROOT / "examples" / f"{script}.py").is_file() for script in stages.SCRIPTS.values())
