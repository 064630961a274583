# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`vqdna embed` and `vqdna predict`: words in, files out; an error is one line, and nothing is left behind."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL

from vqdna_cli.main import main
from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    inference,
)
from vqdna_hf.data import decode_ids
from vqdna_hf.inference.embed import EmbedTask
from vqdna_hf.inference.predict import PredictTask

SIZES: dict[str, Any] = {**TINY_MODEL, "max_position_embeddings": 66}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, a genome, regions, and a table."""
    folder = tmp_path_factory.mktemp("place")
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, initializer_range=0.3)).train()
    codec(torch.randint(5, 9, (8, 60)))
    for name, kind in {
        "mlm": VQDNAForMaskedLM, "tuned": VQDNAForSequenceClassification, "tokens": VQDNAForTokenClassification
    }.items():  # fmt: skip
        kind.from_codec(codec.eval(), **SIZES).save_pretrained(folder / name)
    texts = [decode_ids(np.random.default_rng(seed).integers(5, 9, 300).astype(np.uint8)) for seed in range(3)]
    (folder / "g.fa").write_text("".join(f">chr{number}\n{text}\n" for number, text in enumerate(texts)))
    (folder / "r.bed").write_text("0\t10\t70\tone\t0\t-\n2\t0\t40\ttwo\t0\t+\n")
    (folder / "t.csv").write_text(
        "sequence,label\n" + "".join(f"{text[:50]},{text.count('A') % 2}\n" for text in texts)
    )
    return folder


def run(place: Path, words: str) -> int:
    return main(words.replace("@", f"{place}/").split())


@pytest.mark.parametrize("verb", ["embed", "predict"])
def test_help_shows_an_example_that_parses(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([verb, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    example = shown.partition(f"Example: vqdna {verb} ")[2].split()
    end = example.index("-o") + 2
    seen: list[Any] = []
    report = SimpleNamespace(output="x", bases=1, units=1, resumed=0)
    monkeypatch.setattr(inference, verb, lambda *words, **options: seen.append((words, options)) or report)
    assert main([verb, *example[:end]]) == 0
    ((words, options),) = seen
    assert words[1] == "genome.fa.gz"
    assert options["strand"] == "both"
    for option in ("--device", "--dtype", "--batch-bases", "--strand", "--bed", "--rename", "--restart"):
        assert option in shown


@pytest.mark.parametrize(
    ("words", "columns", "rows"),
    [
        ("embed @g.fa -m @mlm", ["name", "chrom", "start", "end", "strand", "embedding"], 3),
        ("embed @g.fa -m @mlm --per window --window 50 --overlap 0 --pooling max --layer 0", ["embedding"], 18),
        ("embed @g.fa -m @tuned --per base --half --batch-bases 100 --dtype float32 --device cpu", ["embedding"], 900),
        ("embed @g.fa -m @tokens --bed @r.bed --rename auto --strand both --pooling cls", ["embedding"], 2),
        ("embed @t.csv -m @mlm --label-column label", ["given_label", "embedding"], 3),
        (
            "predict @g.fa -m @tuned --window 60 --overlap 20",
            ["label", "probability_LABEL_0", "probability_LABEL_1"],
            21,
        ),
        ("predict @g.fa -m @tokens --strand reverse", ["label", "probability_LABEL_0"], 18),
        ("predict @g.fa -m @tuned --bed @r.bed --rename auto --strand both", ["label", "start"], 2),
        ("predict @t.csv -m @tuned --sequence-column sequence --id-column label", ["name", "label"], 3),
    ],
)
def test_verbs(words: str, columns: list[str], rows: int, place: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(place, f"{words} -o {tmp_path}/out.parquet") == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"{tmp_path}/out.parquet: ")
    assert shown.out == ""
    table = pq.read_table(tmp_path / "out.parquet")
    assert set(columns) <= set(table.column_names)
    assert len(table) == rows
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def test_standard_input_and_output(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    assert run(place, f"predict @g.fa -m @tuned --window 60 -o {tmp_path}/out.tsv") == 0
    capfdbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((place / "g.fa").read_bytes())))
    assert run(place, "predict - -m @tuned --window 60 -o -") == 0
    assert capfdbinary.readouterr().out == (tmp_path / "out.tsv").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("embed @no.fa -m @mlm -o @out/a.parquet", "no.fa: no such file"),
        ("embed @no.csv -m @mlm -o @out/a.parquet", "no.csv: no such file"),
        ("embed @g.fa -m @no -o @out/a.parquet", "no: no such model folder"),
        ("embed @g.fa -m @mlm -o @out/a.json", "must end in one of .parquet .tsv .tsv.gz .npz"),
        ("embed @g.fa -m @mlm -o @no/a.tsv", "there is no folder"),
        ("embed @g.fa -m @mlm -o @out/a.tsv --per gene", "per 'gene': choose one of record, window, base"),
        ("embed @g.fa -m @mlm -o @out/a.tsv --bed @r.bed", "r.bed, line 1: "),
        ("embed @g.fa -m @mlm -o @out/a.tsv --batch-bases 0", "--batch-bases 0: give a number"),
        ("embed @g.fa -m @mlm -o @out/a.tsv --layer x", "Invalid value for '--layer'"),
        (
            "predict @g.fa -m @mlm -o @out/a.tsv",
            "has no classifier (it was saved as VQDNAForMaskedLM): fine-tune it first",
        ),
        ("predict @g.fa -m @tuned -o @out/a.tsv", "record 'chr0': 300 nucleotides, and this model reads at most 64"),
        ("predict @g.fa -m @tokens -o @out/a.bw", "has the labels LABEL_0, LABEL_1: choose one with --label"),
        ("predict @t.csv -m @tuned -o @out/a.bw --label LABEL_0", "rows of a table have no place on a genome"),
        (
            "predict @t.csv -m @tuned -o @out/a.tsv --sequence-column dna",
            "no column 'dna': the columns are sequence, label",
        ),
        ("predict @t.csv -m @tuned -o @t.csv", "must end in one of"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = place / "out"
    out.mkdir(exist_ok=True)
    assert run(place, words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert not shown.out
    assert not list(out.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        "embed @g.fa -m @mlm -o @run/a.parquet",
        "embed @g.fa -m @mlm --per base --strand both -o @run/a.npz",
        "embed @g.fa -m @mlm --per window --pooling max -o @run/a.tsv.gz",
        "predict @g.fa -m @tuned --window 40 -o @run/a.tsv",
        "predict @g.fa -m @tokens --strand both --label LABEL_1 -o @run/a.bw",
        "predict @g.fa -m @tuned --window 40 --label LABEL_0 -o @run/a.bedgraph.gz",
        "predict @g.fa -m @tokens -o @run/a.bed",
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    words: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VQDNA_UNIT_BASES", "100")
    folder = place / "run"
    folder.mkdir(exist_ok=True)
    assert run(place, words) == 0
    (whole,) = folder.iterdir()
    expected = whole.read_bytes()
    whole.unlink()
    task: Any = EmbedTask if words.startswith("embed") else PredictTask
    compute, calls = task.compute, []

    def interrupted(self: Any, unit: Any) -> Any:
        calls.append(unit)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return compute(self, unit)

    with monkeypatch.context() as patch:
        patch.setattr(task, "compute", interrupted)
        assert run(place, words) == 130
    assert [file.name for file in folder.iterdir()] == [f"{whole.name}.parts"]
    # Another question must not take up what this one has left.
    assert run(place, f"{words} --dtype bfloat16") == 2
    assert "holds what another job has left" in capsys.readouterr().err
    assert run(place, words) == 0
    assert "3 of " in capsys.readouterr().err
    assert whole.read_bytes() == expected
    whole.unlink()
    assert not list(folder.iterdir())
