# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`vqdna corpus build` and `vqdna corpus show`."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

import vqdna_cli.main as cli
from vqdna_cli import corpus
from vqdna_hf.data import built, shards, simulate_fasta
from vqdna_hf.data.cutting import CutPolicy
from vqdna_hf.data.jobs import JobReport

VERBS = {"build": corpus.build, "show": corpus.show}


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    simulate_fasta(tmp_path / "genome.fa", num_bases=6_000, num_contigs=3, seed=0)
    return tmp_path / "genome.fa"


def test_build_and_show(genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "corpus"
    words = ["corpus", "build", str(genome), "-o", str(folder), "--window", "100", "--held-out", "contig3"]
    assert cli.main([*words, "--group", "toys"]) == 0
    written = capsys.readouterr()
    assert written.err == f"{folder}: 6,000 bases\n"
    assert not written.out
    assert cli.main(["corpus", "show", str(folder), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "│ toys  │ train      │      40 │ 4,000 │ 100.00 % │ 100.00 % │" in shown
    assert "│ toys  │ validation │      20 │ 2,000 │ 100.00 % │          │" in shown
    assert "left out: no window\nheld out: contig3\ninput files: 1, shards: 2\n" in shown
    assert "checksums compared: 2, all shards are as they were built" in shown
    assert cli.main(["corpus", "show", str(folder), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["composition"][0]["bases"] == 4_000
    assert content["verified"] == 0
    assert content["inputs"][0]["simulated"] is True


def test_every_option_reaches_the_function(genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def record(*words: Any, **options: Any) -> JobReport:
        calls.append((words, options))
        return JobReport(Path("c"), 1, 0, 0)

    monkeypatch.setattr(shards, "build_corpus", record)
    line = (
        "corpus build a.fa b.fa -o out --window 64 --stride 32 --min-bases 10 --max-n-fraction 0.2 --split-n 5 "
        "--soft-mask drop --max-soft-fraction 0.3 --strand both --held-out chr1 --held-out chr2 --group g "
        "--accessions t.tsv --keep-duplicates --shard-bases 1000 --seed 3 --restart"
    )
    assert cli.main(line.split()) == 0
    policy = CutPolicy(
        window=64, stride=32, min_bases=10, max_n_fraction=0.2, split_n=5, soft_mask="drop", max_soft_fraction=0.3,
        strand="both",
    )  # fmt: skip
    assert calls[0] == (
        (["a.fa", "b.fa"], Path("out")),
        {
            "policy": policy, "held_out": ["chr1", "chr2"], "group": "g", "accessions": Path("t.tsv"),
            "deduplicate": False, "shard_bases": 1000, "seed": 3, "restart": True,
        },
    )  # fmt: skip
    assert cli.main(["corpus", "build", "a.fa"]) == 0
    defaults = {
        "policy": CutPolicy(), "held_out": [], "group": None, "accessions": None, "deduplicate": True,
        "shard_bases": shards.SHARD_BASES, "seed": 0, "restart": False,
    }  # fmt: skip
    assert calls[1] == ((["a.fa"], Path("corpus")), defaults)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example_that_parses(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["corpus", verb, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    example = (inspect.getdoc(VERBS[verb]) or "").partition("Example: `")[2].partition("`")[0]
    assert example.startswith(f"vqdna corpus {verb} ")
    assert f"Example: {example}" in shown
    seen: list[Any] = []
    monkeypatch.setattr(
        shards, "build_corpus", lambda *words, **options: seen.append(words) or JobReport(Path("c"), 1, 0, 0)
    )
    monkeypatch.setattr(built, "show_corpus", lambda *words, **options: seen.append(words) or _NOTHING)
    assert cli.main(example.split()[1:]) == 0
    assert len(seen) == 1


_NOTHING: dict[str, Any] = {
    "composition": [], "dropped": {}, "held_out": {"names": []}, "inputs": [], "shards": 0, "verified": 0
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build"], "Missing argument 'INPUT'."),
        (["build", "no.fa"], "no.fa: no such FASTA file, folder or pattern"),
        (["build", "genome.fa", "--window", "0"], "window is 0: at least 1 base is needed"),
        (["build", "genome.fa", "--soft-mask", "hide"], "soft_mask is 'hide': choose one of ignore, keep, drop, mask"),
        (["build", "genome.fa", "--strand", "reverse"], "strand is 'reverse': choose one of"),
        (["build", "genome.fa", "--held-out", "chrZ"], "held-out pattern 'chrZ' matches no record"),
        (["build", "genome.fa", "-o", "."], ".: is no earlier corpus"),
        (["build", "-"], "standard input cannot be read twice"),
        (["show", "."], ".: is no corpus: it has no corpus.json"),
        (["show", "genome.fa"], "genome.fa: is no corpus: it has no corpus.json"),
        (["show"], "Missing argument 'CORPUS'."),
        (["sho"], "No such command 'sho'."),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, genome: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(genome.parent)
    assert cli.main(["corpus", *words]) == 2
    written = capsys.readouterr()
    assert written.err.startswith(f"error: {message}"), written.err
    assert written.err.count("\n") == 1
    assert not written.out
    assert [path.name for path in genome.parent.iterdir()] == ["genome.fa"]


def test_an_interrupted_build_says_what_was_there(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQDNA_UNIT_BASES", "100")
    cut, calls = shards.cut_windows, []

    def interrupted(*words: Any) -> Any:
        calls.append(words)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return cut(*words)

    monkeypatch.setattr(shards, "cut_windows", interrupted)
    words = ["corpus", "build", str(genome), "-o", str(tmp_path / "c"), "--window", "50"]
    assert cli.main(words) == 130
    assert cli.main([*words, "--seed", "1"]) == 2
    assert "holds what another job has left" in capsys.readouterr().err
    assert cli.main(words) == 0
    assert "3 of 8 units were there already" in capsys.readouterr().err
