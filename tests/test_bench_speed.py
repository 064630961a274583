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
from speed import codec, models, peers, report, training
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
    assert "cut short" in (tmp_path / "RESULTS.md").read_text()
    (tmp_path / "RESULTS.md").unlink()
    assert bench_speed.main(["--output", str(tmp_path), "--render"]) == 0
    assert "cut short" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_a_result_stays_until_a_new_one_holds_as_much(
    sections: dict[str, Any], tmp_path: Path, end: type[BaseException]
) -> None:
    def section(values: list[float], error: BaseException | None = None) -> Callable[[Context], Iterator[Any]]:
        def measure(context: Context) -> Iterator[dict[str, Any]]:
            yield {"table": "a table", "note": "A note is no result."}
            yield from map(row, values)
            if error is not None:
                raise error

        return measure

    def values() -> list[float]:
        rows = result(tmp_path)["sections"]["first"]["rows"]
        return [found["times faster"] for found in rows if not report.is_note(found)]

    status = 130 if end is KeyboardInterrupt else 1
    for measured, error, kept in (
        ([1.0, 1.0], None, [1.0, 1.0]),
        ([2.0], end("cut"), [1.0, 1.0]),
        ([3.0, 3.0, 3.0], end("cut"), [3.0, 3.0, 3.0]),
        ([4.0], None, [4.0]),
    ):
        sections["first"] = section(measured, error)
        assert bench_speed.main(["--output", str(tmp_path)]) == (0 if error is None else status)
        assert values() == kept


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
    assert "go on with --sections first,second\n" in capsys.readouterr().out
    found = result(tmp_path)["sections"]
    assert found["first"]["rows"] == [row(5.0)]
    assert found["first"]["finished"] is False
    assert found["second"]["rows"] == [row(2.0)]


def test_a_section_that_leaves_something_out_is_named_and_cut(
    sections: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def short(context: Context) -> Iterator[dict[str, Any]]:
        yield row(5.0)
        yield context.left_out("a table", "the rest")

    sections["first"] = short
    assert bench_speed.main(["--output", str(tmp_path), "--minutes", "9"]) == 0
    assert "go on with --sections first\n" in capsys.readouterr().out
    found = result(tmp_path)["sections"]
    assert found["first"]["rows"][1] == {"table": "a table", "note": "No time was left for the rest."}
    assert [found[name]["finished"] for name in ("first", "second")] == [False, True]


def test_threads_are_told_where_they_differ(
    sections: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    assert "on 1 thread" not in (tmp_path / "RESULTS.md").read_text()
    (file,) = tmp_path.glob("speed-*.json")
    older = json.loads(file.read_text())
    for section in older["sections"].values():
        assert section.pop("threads") == 1  # older files hold the number once for all sections
        assert "bench_speed.py" in section.pop("command")
    report.write_json(file, older)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert bench_speed.main(["--output", str(tmp_path), "--sections", "second"]) == 0
    assert {name: section["threads"] for name, section in result(tmp_path)["sections"].items()} == {
        "first": 1, "second": 3
    }  # fmt: skip
    page = (tmp_path / "RESULTS.md").read_text()
    assert page.index("The first") < page.index("*(on 1 thread)*") < page.index("The second")
    assert "; 3 threads;" in page
    assert page.count("on 1 thread") == 1


def test_files_that_hold_no_results_count_as_none(sections: dict[str, Any], tmp_path: Path) -> None:
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("speed-*.json")
    for text in ("{}", "[]", '{"sections": {}}'):
        file.write_text(text)
        assert bench_speed.main(["--output", str(tmp_path), "--render"]) == 0
        assert "No result yet" in (tmp_path / "RESULTS.md").read_text()
        assert bench_speed.main(["--output", str(tmp_path)]) == 0
        assert list(result(tmp_path)["sections"]) == ["first", "second"]


@pytest.mark.parametrize("more", [[], ["--render"]])
def test_what_is_no_json_or_no_folder_is_one_clear_line(
    sections: dict[str, Any], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_speed.main(["--output", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("speed-*.json")
    file.write_text("{")
    capsys.readouterr()
    for output, said in ((tmp_path, str(file)), (file, f"--output {file}"), (file / "below", str(file))):
        assert bench_speed.main(["--output", str(output), *more]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert said in line
    assert file.read_text() == "{"


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
        ["--minutes", "nan"],
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


def test_steps_take_batches_in_turn_that_differ_in_what_is_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = peers.ours(peers.recipe("tiny"))
    trainee = peers.Trainee(kind, 2, 128, CPU)
    batches = [kind.batch(2, 128, CPU, number) for number in range(peers.MASKS)]
    assert torch.equal(batches[0]["labels"], trainee.batch["labels"])
    assert len({int((batch["labels"] != peers.IGNORED).sum()) for batch in batches}) >= 3
    taken: list[Any] = []
    monkeypatch.setattr(trainee, "step", lambda: taken.append(trainee.batch))
    one, other = trainee.steps_over(batches), trainee.steps_over(batches)
    for _ in range(peers.MASKS + 1):
        one()
        other()
    numbers = [next(number for number, batch in enumerate(batches) if batch is found) for found in taken]
    assert numbers == [number for number in (*range(peers.MASKS), 0) for _ in range(2)]


def test_all_ways_of_training_take_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compile_nothing(model: Any, **options: Any) -> Any:
        assert options.get("dynamic") is not False  # each count of labelled positions would be compiled anew
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, "compile", compile_nothing)
    trainee = training.Switched(peers.ours(peers.recipe("tiny")), 2, 64, CPU)
    labels = {int(batch["labels"].ne(peers.IGNORED).sum()): 0 for batch in trainee.batches}
    taken: dict[tuple[Any, int], int] = {}
    step = peers.Trainee.step

    def counting(self: training.Switched) -> None:
        key = (self.dtype, int(self.batch["labels"].ne(peers.IGNORED).sum()))
        taken[key] = taken.get(key, 0) + 1
        step(self)

    monkeypatch.setattr(training.Switched, "step", counting)
    ceilings = {torch.float32: 1e9, torch.bfloat16: 1e9}
    context = Context(CPU, quick=True, repeats=3)
    rows = list(training._compared(context, trainee, ["fp32", "bf16, torch.compile"], ceilings))
    assert [found["way"] for found in rows] == ["fp32", "bf16, torch.compile"]
    assert len(compiled) == 1
    for count in labels:
        assert taken[torch.float32, count] < taken[torch.bfloat16, count]  # which warmed up with every batch


def test_what_time_does_not_suffice_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def late() -> Context:
        return Context(CPU, quick=True, repeats=1, deadline=0.0)

    context = late()
    rows = [*codec.shares(context), *codec.parts(context), *models.compiled(context)]
    assert context.cut
    assert sum(found["note"].startswith("No time was left for") for found in rows) == 1 + 2 + 4
    monkeypatch.setattr(training, "_compared", lambda *_: iter(()))
    monkeypatch.setattr(training, "matrix_rate", lambda *_, **__: 1e9)
    monkeypatch.setattr(training, "Switched", lambda *_: None)
    context = late()
    context.quick = False
    (found,) = training.steps(context, 512, {})
    assert context.cut
    assert found == {"table": training.STEPS, "note": "No time was left for bf16 with torch.compile at length 512."}


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


def test_without_a_compiler_the_models_section_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(model: Any) -> Any:
        def call(**batch: Any) -> None:
            raise RuntimeError("InvalidCxxCompiler: no working C++ compiler\nand more")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    rows = list(models.compiled(QUICK))
    notes = [found["note"] for found in rows if report.is_note(found)]
    assert len(notes) == 2
    assert "VQDNA, compiled does not run here: RuntimeError: InvalidCxxCompiler: no working C++ compiler" in notes
    assert [found["model"] for found in rows if "model" in found] == ["VQDNA", "ModernBERT, same backbone"]
    assert columns_agree(rows)
