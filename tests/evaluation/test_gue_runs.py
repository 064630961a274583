# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs on tiny sets with a tiny model: what is written, what is flagged, what is refused, and what is resumed."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gue_folders import rows_of, save_checkpoint, write_set, write_split

from vqdna_hf.evaluation import gue
from vqdna_hf.evaluation.classifiers import Variant
from vqdna_hf.evaluation.gue import evaluate_gue, measure, run_once
from vqdna_hf.evaluation.gue_protocol import protocol_for
from vqdna_hf.evaluation.gue_sets import read_set
from vqdna_hf.evaluation.gue_table import summarize_gue
from vqdna_hf.evaluation.records import read_records

FAST = {"max_steps": 2, "batch_size": 8, "learning_rate": 1e-2, "eval_steps": 1, "warmup_steps": 0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "GUE")


def write_data(folder: Path) -> Path:
    write_set(folder / "tf" / "0")
    write_set(folder / "mouse" / "2", seed=1)
    return folder


def evaluate(checkpoint: Path, data: Path, output: Path, **changes: Any) -> dict[str, Any]:
    options = {"protocol": "cpu", "overrides": FAST, "seeds": (0, 1)}
    return evaluate_gue(checkpoint, data, output, **{**options, **changes})


@pytest.fixture(scope="module")
def finished(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """An evaluation of both sets with two seeds: its folder, its summary, and what was said. Not to be changed."""
    folder, said = tmp_path_factory.mktemp("finished"), []
    summary = evaluate(checkpoint, write_data(folder / "GUE"), folder / "out", say=said.append)
    return folder / "out", summary, said


@pytest.fixture
def output(finished: tuple[Path, Any, Any], tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(finished[0], tmp_path / "out")
    return tmp_path / "out"


def runs_in(output: Path) -> dict[str, float]:
    """The runs that are there, and when each was written."""
    return {str(path.relative_to(output)): path.stat().st_mtime_ns for path in sorted(output.rglob("seed-*.json"))}


ALL = ["mouse/2/seed-0.json", "mouse/2/seed-1.json", "tf/0/seed-0.json", "tf/0/seed-1.json"]


def test_records_summary_and_table(finished: tuple[Path, dict[str, Any], list[str]]) -> None:
    output, summary, said = finished
    assert list(runs_in(output)) == ALL
    records = read_records(output, "gue")
    assert summary["rows"] == json.loads((output / "summary.json").read_text())["results"]["rows"]
    for row in summary["rows"]:
        own = [record["results"] for record in records if record["results"]["set"] == row["set"]]
        values = [100 * result["test"]["matthews_correlation"] for result in own]
        assert row["values"] == values
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["sd"] == pytest.approx(np.std(values, ddof=1))
        assert (row["n"], row["seeds"], row["is_gue_score"]) == (2, [0, 1], False)
        assert f"{row['mean']:.2f} ± {row['sd']:.2f} *" in (output / "table.md").read_text()
    first = records[0]
    assert (first["kind"], first["name"], first["seeds"]) == ("gue", "mouse/2", [0])
    assert first["bases_seen"] == 2 * 8 * 24
    assert first["results"]["steps"] == 2
    assert [step for step, _ in first["results"]["dev"]["history"]] == [1, 2]
    assert first["results"]["dev"]["best"] == max(value for _, value in first["results"]["dev"]["history"])
    assert sum(" seed " in line for line in said) == 4
    assert not list((output).rglob("checkpoint*"))
    assert not list((output).rglob("*.safetensors"))


def test_what_is_there_is_not_repeated(checkpoint: Path, data: Path, output: Path) -> None:
    (output / "tf" / "0" / "seed-1.json").unlink()
    before, said = runs_in(output), []
    summary = evaluate(checkpoint, data, output, say=said.append)
    after = runs_in(output)
    assert {name: after[name] for name in before} == before
    assert list(after) == ALL
    assert [row["n"] for row in summary["rows"]] == [2, 2]
    assert said[0].endswith("1 runs to make of 4")


def test_a_seed_gives_the_same_run_again(checkpoint: Path, data: Path, finished: tuple[Path, Any, Any]) -> None:
    before = read_records(finished[0] / "tf" / "0")[0]["results"]
    own = read_set("tf/0", data / "tf" / "0")
    again = run_once(checkpoint, own, protocol_for("tf/0", "cpu", FAST), seed=0)
    assert json.loads(json.dumps(again["dev"])) == before["dev"]
    assert again["test"] == before["test"]
    assert again["model"]["parameters"] > 0


def test_learns_what_is_easy(checkpoint: Path, data: Path) -> None:
    own = read_set("tf/0", data / "tf" / "0")
    results = run_once(checkpoint, own, protocol_for("tf/0", "cpu", {**FAST, "max_steps": 30, "eval_steps": 10}), 0)
    assert results["test"]["matthews_correlation"] == 1.0
    assert not results["collapsed"]
    assert not results["diverged"]


def test_overlap_by_hand(checkpoint: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = rows_of(8, 5)
    write_split(data / "tf" / "0" / "train.csv", train)
    # Test: of four sequences two are in train; one of each pair is answered right. Lengths differ, so rows are sorted.
    test = [(train[0][0], 0), ("GGGG" * 9, 1), (train[1][0].lower(), 1), ("ATATAT", 0)]
    write_split(data / "tf" / "0" / "test.csv", test)
    own = read_set("tf/0", data / "tf" / "0")
    order = np.argsort([-len(sequence) for sequence, _ in test], kind="stable")
    right_of = np.array([0, 0, 1, 0])[order]  # what is predicted: row 1 wrong, the others right
    results = gue._test_results(own, np.eye(2)[right_of], order, diverged=False)
    assert results["overlap"] == 2
    assert results["test"]["accuracy"] == 0.75
    assert results["test_without_overlap"]["accuracy"] == results["test_without_near"]["accuracy"] == 0.5
    assert (results["near"], results["contradicted"]) == (2, 0)
    assert (results["collapsed"], results["test_without_overlap"]["collapsed"]) == (False, 1.0)


def test_collapsed_and_diverged_answers() -> None:
    assert measure(np.array([[1.0, 0.0]] * 4), np.array([0, 1, 0, 1]))["collapsed"] == 1.0
    metrics = measure(np.array([[np.nan, 0.0], [0.0, 1.0]]), np.array([0, 1]))
    assert (metrics["diverged"], metrics["collapsed"], metrics["accuracy"]) == (1.0, 0.0, 1.0)


def test_a_loss_that_is_nan(checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = gue.load_classifier

    def broken(*args: Any, **kwargs: Any) -> Any:
        model, tokenize = load(*args, **kwargs)
        torch.nn.init.constant_(model.classifier.weight, float("nan"))
        return model, tokenize

    monkeypatch.setattr(gue, "load_classifier", broken)
    summary = evaluate(checkpoint, data, tmp_path / "out", sets=["tf/0"], seeds=(0,))
    results = read_records(tmp_path / "out", "gue")[0]["results"]
    assert (results["collapsed"], results["diverged"]) == (True, True)
    assert results["test"]["matthews_correlation"] == 0.0
    row = summary["rows"][0]
    assert (row["collapsed"], row["mean"], row["mean_of_others"]) == (1, 0.0, None)
    assert "**1 of 1**" in (tmp_path / "out" / "table.md").read_text()


def test_variants_and_kept_models(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    from vqdna_hf.inference.checkpoints import load_checkpoint

    variant = Variant(random_init=True, average_strands=True)
    kept = tmp_path / "kept"
    summary = evaluate(checkpoint, data, tmp_path / "out", sets=["tf/0"], seeds=(0,), variant=variant, keep_models=kept)
    assert summary["rows"][0]["model"] == "tiny (random weights, both strands)"
    assert summary["rows"][0]["sd"] is None
    assert load_checkpoint(kept / "tf" / "0" / "seed-0", "sequence").model.config.average_strands
    with pytest.raises(ValueError, match="cannot be kept among the records"):
        evaluate(checkpoint, data, tmp_path / "out", keep_models=tmp_path / "out" / "models")


def test_adapters(checkpoint: Path, data: Path) -> None:
    pytest.importorskip("peft")
    own, variant = read_set("tf/0", data / "tf" / "0"), Variant(use_lora=True, lora_r=2)
    results = run_once(checkpoint, own, protocol_for("tf/0", "cpu", FAST), 0, variant)
    assert 0 < results["model"]["trainable"] < results["model"]["parameters"]


def test_a_checkpoint_that_changes_between_runs(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are read anew for each run: those of another model must not go under the first one's checksum."""
    moving, output, write = tmp_path / "moving", tmp_path / "out", gue._write_run
    shutil.copytree(checkpoint, moving)

    def replace_behind(*args: Any) -> None:
        write(*args)
        save_checkpoint(moving, seed=1)

    monkeypatch.setattr(gue, "_write_run", replace_behind)
    with pytest.raises(ValueError, match=r"moving: has changed since this evaluation began \(sha256\)"):
        evaluate(moving, data, output, sets=["tf/0"])
    assert list(runs_in(output)) == ["tf/0/seed-0.json"]


def test_the_checksum_of_data_is_of_what_was_read(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, check = read_set("tf/0", data / "tf" / "0").checksums, gue._check_readable

    def replace_data(*args: Any) -> None:
        check(*args)
        write_set(data / "tf" / "0", seed=7)

    monkeypatch.setattr(gue, "_check_readable", replace_data)
    evaluate(checkpoint, data, tmp_path / "out", sets=["tf/0"], seeds=(0,))
    assert read_records(tmp_path / "out", "gue")[0]["results"]["data"] == before
    assert read_set("tf/0", data / "tf" / "0").checksums != before


def test_copies_of_runs_are_no_other_runs(checkpoint: Path, data: Path, output: Path) -> None:
    shutil.copy(output / "tf" / "0" / "seed-0.json", output / "tf" / "0" / "seed-7.json")
    with pytest.raises(ValueError, match=r"seed-7.json: is a record of seed 0: no copy of it counts as another run"):
        evaluate(checkpoint, data, output, seeds=(7,))
    (output / "tf" / "0" / "seed-7.json").unlink()
    shutil.copytree(output / "tf", output / "copy")
    with pytest.raises(
        ValueError, match=r"copy/0/seed-0.json: is a record that belongs to .*tf/0/seed-0.json: move it"
    ):
        evaluate(checkpoint, data, output)
    # Where a table is made of any folder, copies count once.
    rows = [row for row in summarize_gue(read_records(output, "gue"))["rows"] if row["set"] == "tf/0"]
    assert [(row["n"], row["seeds"], row["copies"]) for row in rows] == [(2, [0, 1], 2)]


def test_runs_of_another_precision_are_refused(
    checkpoint: Path, data: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gue, "_precision", lambda protocol: "bfloat16")
    with pytest.raises(ValueError, match=r"another protocol \(precision 'float32', now 'bfloat16'\)"):
        evaluate(checkpoint, data, output)


@pytest.mark.parametrize("results", [{"a": 1}, None, [1], {"set": "tf/0", "checkpoint": None}])
def test_records_without_sound_results(checkpoint: Path, data: Path, output: Path, results: Any) -> None:
    path = output / "tf" / "0" / "seed-1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "results": results}))
    with pytest.raises(ValueError, match=r"tf/0/seed-1.json: a record without a sound .*: delete it"):
        evaluate(checkpoint, data, output)


@pytest.mark.parametrize("content", [b"{'a", b"\xff\xfe\x00", b""])
def test_records_that_cannot_be_read_are_named(output: Path, content: bytes) -> None:
    (output / "tf" / "0" / "seed-1.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tf/0/seed-1.json: cannot be read as a record"):
        read_records(output)


def test_a_run_is_on_record_before_its_model_is_kept(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    options: dict[str, Any] = {"sets": ["tf/0"], "seeds": (0,)}
    with pytest.raises(ValueError, match=r"--keep-models .*file/kept cannot be made"):
        evaluate(checkpoint, data, tmp_path / "out", **options, keep_models=tmp_path / "file" / "kept")
    kept, said = tmp_path / "kept", []
    (kept / "tf").mkdir(parents=True)
    (kept / "tf" / "0").write_text("in the way")
    with pytest.raises(ValueError, match=r"kept/tf/0/seed-0: the model cannot be kept .*; its run is on record"):
        evaluate(checkpoint, data, tmp_path / "out", **options, keep_models=kept)
    assert list(runs_in(tmp_path / "out")) == ["tf/0/seed-0.json"]
    evaluate(checkpoint, data, tmp_path / "out", **options, keep_models=kept, say=said.append)
    assert "--keep-models: 1 runs are there already, and are not made again to keep their models" in said


def another_model(checkpoint: Path, data: Path, tmp_path: Path) -> dict[str, Any]:
    return {"checkpoint": save_checkpoint(tmp_path / "tiny", seed=1)}


def another_protocol(checkpoint: Path, data: Path, tmp_path: Path) -> dict[str, Any]:
    return {"overrides": {**FAST, "max_steps": 3}}


def another_variant(checkpoint: Path, data: Path, tmp_path: Path) -> dict[str, Any]:
    return {"variant": Variant(random_init=True)}


def other_data(checkpoint: Path, data: Path, tmp_path: Path) -> dict[str, Any]:
    write_set(data / "tf" / "0", seed=7)
    return {}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (another_model, "seed-0.json: was made with another checkpoint"),
        (another_protocol, r"another protocol \(max_steps 2, now 3\): give another --output, or delete that run"),
        (another_variant, "another checkpoint"),
        (other_data, "another data"),
    ],
)
def test_runs_of_another_kind_are_refused(
    checkpoint: Path, data: Path, tmp_path: Path, output: Path, change: Callable, match: str
) -> None:
    before = runs_in(output)
    changes = {"checkpoint": checkpoint, **change(checkpoint, data, tmp_path / "other")}
    with pytest.raises(ValueError, match=match):
        evaluate(changes.pop("checkpoint"), data, output, **changes)
    assert runs_in(output) == before


def test_errors_come_before_training(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gue, "_run", lambda *_: pytest.fail("a run has begun"))
    write_split(data / "tf" / "0" / "test.csv", [("ACGT", 0), ("A" * 127, 1)])
    with pytest.raises(ValueError, match=r"row 2: 129 tokens, .* at most 128 are read: this model reads no more: cut"):
        evaluate(checkpoint, data, tmp_path / "out")
    with pytest.raises(ValueError, match="no such model folder"):
        evaluate(tmp_path / "none", data, tmp_path / "out")
    for seeds, message in (
        ((1, 1), "--seeds 1,1: give different numbers"),
        ((0, 2**32), "seed 4294967296: give a whole number from 0 to"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(checkpoint, data, tmp_path / "out", seeds=seeds)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"--output .*file cannot be made: .* is not a folder"):
        evaluate(checkpoint, tmp_path / "no data", tmp_path / "file")
    write_split(data / "tf" / "0" / "test.csv", [("ACGT", "no")])
    with pytest.raises(ValueError, match=r"nothing was trained: .*test.csv, row 1"):
        evaluate(checkpoint, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_processes_do_not_share_a_folder(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    (tmp_path / "out").mkdir()
    with gue._only_process(tmp_path / "out"), pytest.raises(ValueError, match="another evaluation writes there"):
        evaluate(checkpoint, data, tmp_path / "out")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_evaluation_loses_one_run(
    checkpoint: Path, data: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """A forked child gets a real signal in the middle of its second run."""
    output = tmp_path / "out"
    slow = {**FAST, "max_steps": 100_000, "eval_steps": 100_000}

    (tmp_path / "temporary").mkdir()

    def child() -> None:
        once = gue._run

        def second_never_ends(*args: Any) -> Any:
            if not runs_in(output):
                return once(*args)
            (tmp_path / "second").touch()
            return once(args[0], args[1], protocol_for("tf/0", "cpu", slow), *args[3:])

        gue._run = second_never_ends
        tempfile.tempdir = str(tmp_path / "temporary")
        evaluate(checkpoint, data, output, sets=["mouse/2"])

    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)
        try:
            child()
        except KeyboardInterrupt:
            os._exit(130)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        os._exit(1)
    deadline = time.monotonic() + 120
    while not (tmp_path / "second").exists():
        assert time.monotonic() < deadline
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        time.sleep(0.02)
    time.sleep(0.5)  # into its training
    os.kill(pid, number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert not list((tmp_path / "temporary").iterdir())
    before = runs_in(output)
    assert list(before) == ALL[:1]
    evaluate(checkpoint, data, output, sets=["mouse/2"])
    after = runs_in(output)
    assert list(after) == ALL[:2]
    assert after[ALL[0]] == before[ALL[0]]
    assert {path.name for path in output.iterdir()} == {"mouse", "summary.json", "table.md"}
