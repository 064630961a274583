# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`benchmarks/bench_speed.py`: what is kept when a run is cut, how results are told, and its codec and model sections.

`pytest tests/test_bench_speed.py`; every section runs at sizes that say nothing about speed.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import bench_speed
from speed import codec, models, peers, report
from speed.measure import Context

CPU = torch.device("cpu")
QUICK = Context(CPU, quick=True, repeats=1)


def row(value: float) -> dict[str, Any]:
    return {"table": "a table", "way": "plain", "times faster": value}


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[Context], Iterator[dict[str, Any]]]]:
    """Sections that measure nothing, by name; the test fills them in."""
    runs: dict[str, Any] = {"first": lambda context: iter([row(1.0)]), "second": lambda context: iter([row(2.0)])}

    def load(name: str) -> SimpleNamespace:
        return SimpleNamespace(TITLE=f"The {name}", run=runs[name])

    monkeypatch.setattr(bench_speed, "SECTIONS", ("first", "second"))
    monkeypatch.setattr(bench_speed, "load_section", load)
    monkeypatch.setattr(bench_speed, "tidy", lambda: None)
    return runs


def result(folder: Path) -> dict[str, Any]:
    (file,) = folder.glob("speed-*.json")
    return json.loads(file.read_text())


def test_a_run_writes_results_and_renders_them(
    sections: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    found = result(tmp_path)
    assert found["kind"] == "cpu"
    assert found["versions"]["torch"] == torch.__version__
    assert found["command"] == f"python benchmarks/bench_speed.py --output {tmp_path}"
    assert found["threads"] == torch.get_num_threads()
    assert list(found["sections"]) == ["first", "second"]
    assert found["sections"]["second"]["rows"] == [row(2.0)]
    assert found["sections"]["second"]["finished"] is True
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.index("The first") < page.index("The second")
    assert "| plain | 2.00 |" in page
    assert "| plain | 2.00 |" in capsys.readouterr().out


def test_rows_are_on_disk_as_they_come_and_a_cut_keeps_them(sections: dict[str, Any], tmp_path: Path) -> None:
    def cut(context: Context) -> Iterator[dict[str, Any]]:
        for value in (1.0, 2.0):
            yield row(value)
            assert result(tmp_path)["sections"]["first"]["rows"][-1] == row(value)
        raise KeyboardInterrupt

    sections["first"] = cut
    assert bench_speed.main(["--output", str(tmp_path)]) == 130
    found = result(tmp_path)["sections"]
    assert list(found) == ["first"]
    assert found["first"]["rows"] == [row(1.0), row(2.0)]
    assert found["first"]["finished"] is False
    assert bench_speed.main(["--output", str(tmp_path), "--render"]) == 0
    assert "cut short" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize("error", [MemoryError("no room"), RuntimeError("no room\nfor this"), ValueError("no room")])
def test_a_section_that_fails_keeps_its_rows_and_the_next_has_its_turn(
    sections: dict[str, Any], tmp_path: Path, error: Exception
) -> None:
    def fail(context: Context) -> Iterator[dict[str, Any]]:
        yield row(1.0)
        raise error

    sections["first"] = fail
    assert bench_speed.main(["--output", str(tmp_path)]) == 1
    found = result(tmp_path)["sections"]
    assert found["first"]["rows"][0] == row(1.0)
    assert f"{type(error).__name__}: no room" in found["first"]["rows"][1]["note"]
    assert found["first"]["finished"] is False
    assert found["second"]["finished"] is True


def test_what_cannot_be_imported_is_skipped_and_an_earlier_result_stays(
    sections: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(context: Context) -> Iterator[dict[str, Any]]:
        raise ImportError("No module named 'a_peer'")
        yield

    sections["first"] = missing
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    assert "a_peer" in result(tmp_path)["sections"]["first"]["rows"][0]["note"]
    sections["first"] = lambda context: iter([row(1.0)])
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    sections["first"] = missing
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    assert result(tmp_path)["sections"]["first"]["rows"] == [row(1.0)]

    def no_module(name: str) -> None:
        raise ModuleNotFoundError(f"No module named 'speed.{name}'")

    monkeypatch.setattr(bench_speed, "load_section", no_module)
    assert bench_speed.main(["--output", str(tmp_path / "other")]) == 0
    assert "speed.second" in result(tmp_path / "other")["sections"]["second"]["rows"][0]["note"]


def test_a_run_of_some_sections_replaces_those_alone(sections: dict[str, Any], tmp_path: Path) -> None:
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    sections["first"] = sections["second"] = lambda context: iter([row(9.0)])
    assert bench_speed.main(["--output", str(tmp_path), "--sections", "second"]) == 0
    found = result(tmp_path)["sections"]
    assert [found[name]["rows"] for name in ("first", "second")] == [[row(1.0)], [row(9.0)]]


def test_no_section_begins_behind_the_deadline(
    sections: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(context: Context) -> Iterator[dict[str, Any]]:
        yield row(5.0)
        assert context.deadline is not None
        context.deadline -= 1000.0

    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    sections["first"] = slow
    assert bench_speed.main(["--output", str(tmp_path), "--minutes", "9"]) == 0
    assert "--sections second" in capsys.readouterr().out
    found = result(tmp_path)["sections"]
    assert found["first"]["rows"] == [row(5.0)]
    assert found["first"]["finished"] is False
    assert found["second"]["rows"] == [row(2.0)]


def test_trials_write_nowhere_unless_told_and_render_nothing(
    sections: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_speed, "HERE", tmp_path)
    assert bench_speed.main(["--quick"]) == 0
    assert not list(tmp_path.iterdir())
    assert bench_speed.main(["--quick", "--output", str(tmp_path)]) == 0
    assert [("quick" in path.name, path.suffix) for path in tmp_path.iterdir()] == [(True, ".json")]
    assert "The first" not in report.render(tmp_path, bench_speed.SECTIONS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--sections", "first,third"],
        ["--sections", ","],
        ["--minutes", "0"],
        pytest.param(
            ["--device", "cuda"], marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    sections: dict[str, Any], arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_speed.main([*arguments, "--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert arguments[0] in line
    assert not list(tmp_path.iterdir())


def test_pages_tell_cpu_and_gpu_apart(tmp_path: Path) -> None:
    page = report.render(tmp_path, ["first"])
    assert report.GPU_COMMAND in page
    assert page.index("## CPU") < page.index("## GPU")
    about = {"versions": {"torch": "2.11"}, "date": "2026-11-25T10:00:00+00:00", "command": "python x", "threads": 2}
    rows = [
        {"table": "one", "way": "a|b", "times faster": 1.234, "bases/s": 123456.7, "n": 131072, "error": None},
        {"table": "one", "way": "c", "times faster": float("nan"), "bases/s": "out of memory", "n": 1, "error": None},
        {"table": "two", "note": "A sentence."},
        {"table": "one", "note": "Under its table."},
    ]
    section = {"title": "The first", "rows": rows, "seconds": 60.0, "finished": True, "date": "2026-11-24T10:00:00"}
    section["versions"] = {"torch": "2.10"}
    for kind, device in (("cuda", "A GPU"), ("cpu", "A CPU, 2 cores")):
        content = {**about, "kind": kind, "device": device, "sections": {"first": section}}
        report.write_json(tmp_path / f"speed-{report.slug(device)}.json", content)
    page = report.render(tmp_path, ["first"])
    assert report.GPU_COMMAND not in page
    assert page.index("## CPU: A CPU, 2 cores") < page.index("## GPU: A GPU")
    assert "| a\\|b | 1.23 | 123,000 | 131,072 | - |" in page
    assert "| c | - | out of memory | 1 | - |" in page
    assert page.index("Under its table.") < page.index("A sentence.")
    assert "(measured on 2026-11-24; with torch 2.10)" in page


def test_numbers_are_readable() -> None:
    values = (0, 7, 12345, 0.0, 0.5, 999.6, 12345.6, 0.00123, 0.000001234, -2.0, True, None, float("inf"))
    written = ["0", "7", "12,345", "0", "0.500", "1,000", "12,300", "0.00123", "1.23e-06", "-2.00", "yes", "-", "-"]
    assert [report.number(value) for value in values] == written


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    report.write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        report.write_json(tmp_path / "a.json", {"a": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_peers_have_their_published_sizes() -> None:
    with torch.device("meta"):
        assert peers.parameters(peers.dnabert2().build()) == pytest.approx(117e6, rel=0.005)
        assert peers.parameters(peers.nucleotide_transformer().build()) == pytest.approx(98e6, rel=0.02)


@pytest.mark.parametrize("size", ["small", "base"])
def test_peers_have_our_number_of_parameters(size: str) -> None:
    kinds = models.kinds_of(size)
    with torch.device("meta"):
        numbers = {name: peers.parameters(kind.build()) for name, kind in kinds.items() if "stride" not in name}
    mine = numbers.pop(models.OURS)
    assert numbers.pop("ModernBERT, same backbone") < mine
    numbers.pop("DNABERT-2's, as published", None)
    assert sorted(numbers) == ["BERT", "DNABERT-2's", "ModernBERT", "NT v2's"]
    assert all(number == pytest.approx(mine, rel=0.03) for number in numbers.values()), numbers


def test_batches_hold_the_same_bases_for_every_model() -> None:
    batch = peers.ours(peers.recipe("tiny", codec_stride=4)).batch(8, 512, CPU)
    ids, labels = batch["input_ids"], batch["labels"]
    assert ids.shape == (8, 514)
    assert ids[:, 0].eq(peers.CLS_ID).all()
    assert ids[:, -1].eq(peers.SEP_ID).all()
    chosen = labels != peers.IGNORED
    assert chosen[:, 1:-1].float().mean().item() == pytest.approx(peers.MASKED, abs=0.05)
    assert chosen[:, 1:-1].view(8, 128, 4).float().mean(-1).unique().tolist() == [0.0, 1.0]  # whole patches
    assert (ids[chosen] == peers.MASK_ID).float().mean().item() == pytest.approx(0.8, abs=0.1)
    assert torch.equal(ids[~chosen][ids[~chosen] < peers.FIRST_NUCLEOTIDE_ID].unique(), torch.tensor([2, 3]))
    longer = peers.nucleotide_transformer().batch(8, 512, CPU)["input_ids"]
    assert longer.shape == (8, 2 + 86)
    assert longer.max() > 4000


def test_the_watch_sees_what_a_codec_keeps_and_leaves_it_as_it_was() -> None:
    trainee = peers.Trainee(peers.ours(peers.recipe("tiny")), 1, 32, CPU)
    encoder = trainee.model.vqdna.codec
    with codec.Watch(encoder, CPU) as watch:
        trainee.step()
    assert watch.seconds > 0
    assert watch.kept == 0
    assert 0 < codec.arithmetic_share(trainee) < 1
    encoder.requires_grad_(True)
    with codec.Watch(encoder, CPU) as watch:
        encoder(trainee.batch["input_ids"])
    assert watch.kept > 0
    assert not {"forward", "taps", "latents"} & set(vars(encoder))


def test_the_plain_reference_gives_the_same_codes() -> None:
    encoder = codec.encoder_of(QUICK)
    ids = peers.nucleotides(3, 100, CPU)
    codes = codec.encode(encoder, ids)
    assert torch.equal(codes, codec.plain_encode(encoder, ids))
    assert codes.unique().numel() > 20


def test_other_codes_are_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "plain_encode", lambda encoder, ids: codec.encode(encoder, ids) + 1)
    with pytest.raises(RuntimeError, match=r"plain reference.*100.00% of the codes"):
        list(codec.ways(QUICK))


def columns_agree(rows: list[dict[str, Any]]) -> bool:
    tables: dict[str, set[tuple[str, ...]]] = {}
    for found in rows:
        if not report.is_note(found):
            tables.setdefault(found["table"], set()).add(tuple(found))
    return bool(tables) and all(len(kinds) == 1 for kinds in tables.values())


def test_the_codec_section_runs() -> None:
    rows = list(codec.run(QUICK))
    assert columns_agree(rows)
    (share,) = (found for found in rows if "codec's share" in found)
    assert 0 < share["codec's share"] < 1
    assert share["kept for backward, bytes"] == 0
    parts = [found for found in rows if "quantizer" in found]
    assert all(
        sum(value for value in found.values() if isinstance(value, float) and value < 1) > 0.9 for found in parts
    )


def test_the_models_section_runs() -> None:
    rows = list(models.run(QUICK))
    assert columns_agree(rows)
    first = [found for found in rows if found["table"] == rows[0]["table"] and "model" in found]
    assert [found["model"] for found in first[:2]] == [models.OURS, "ModernBERT, same backbone"]
    assert first[0][f"{models.OURS} is times faster, step"] == 1.0
    assert all(found["step, bases/s"] > 0 and found["step, peak MB"] > 0 for found in first)
    last = [found for found in rows if "length 32" in found["table"] and "model" in found]
    assert [(found["model"], found["step, bases/s"] is None) for found in last] == [("VQDNA", False), ("BERT", True)]
    assert [found["note"] for found in rows if "length 32" in found["table"] and "note" in found][
        -1
    ] == "No step of BERT."
    assert "several bases wins" in next(found["note"] for found in rows if found["table"] == "What the tables say")


def test_memory_that_does_not_suffice_is_a_cell_and_half_the_bases_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: peers.Trainee) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(peers.Trainee, "step", no_memory)
    monkeypatch.setattr(models, "peak_memory", lambda call, device: 1)
    trainees: dict[str, Any] = {}
    for name, kind in models.kinds_of("tiny").items():
        if name in (models.OURS, "BERT"):
            trainees[name] = (kind, peers.Trainee(kind, 1, 32, CPU))
    plan = models.Plan("tiny", 32, 128, kinds=(models.OURS, "BERT"))
    rows = [found for found in models.measured(plan, trainees, QUICK) if "model" in found]
    assert [found["table"].rpartition(", ")[2] for found in rows[::2]] == [
        "128 bases a batch", "64 bases a batch", "32 bases a batch"
    ]  # fmt: skip
    assert all("out of memory" in found["step, bases/s"] for found in rows)
    assert all(found["forward, bases/s"] > 0 for found in rows)


def test_the_table_of_compiled_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda model: model)
    rows = list(models.compiled(QUICK))
    assert [found["model"] for found in rows] == [
        "VQDNA", "VQDNA, compiled", "ModernBERT, same backbone", "ModernBERT, same backbone, compiled"
    ]  # fmt: skip
    assert columns_agree(rows)
