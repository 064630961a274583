# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The studies of vocabularies and the page that is made of their records, at sizes that say nothing of biology."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from example_scripts import TINY_CODEC, TINY_MODEL

from vqdna_hf.data import simulate_fasta, simulate_promoters
from vqdna_hf.data.files import write_json
from vqdna_hf.evaluation.records import read_records, write_record
from vqdna_hf.training import run_script

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import compare_vocabularies
import make_results

BENCHMARKS = Path(make_results.__file__).parent


def run(monkeypatch: pytest.MonkeyPatch, data: Path, *words: str) -> int:
    """Run the studies' command in this process; the trainings have their own."""
    monkeypatch.setenv("VQDNA_DATA", str(data))
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    monkeypatch.setattr(sys, "argv", ["compare_vocabularies.py", *words])
    with pytest.raises(SystemExit) as exit_info:
        run_script(compare_vocabularies.main)
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two genomes, one annotated, and one labelled set."""
    folder = tmp_path_factory.mktemp("data")
    simulate_fasta(folder / "train.fa", num_bases=6_000, num_contigs=4, seed=0)
    simulate_fasta(folder / "other.fa", num_bases=9_000, num_contigs=2, seed=1)
    name = (folder / "other.fa").read_text().split()[0][1:]
    (folder / "other.gff3").write_text(
        f"##gff-version 3\n{name}\t.\tgene\t101\t1300\t.\t+\t.\tID=g\n"
        f"{name}\t.\tmRNA\t101\t1300\t.\t+\t.\tID=t;Parent=g\n"
        + "".join(
            f"{name}\t.\t{kind}\t{start}\t{end}\t.\t+\t{'0' if kind == 'CDS' else '.'}\tParent=t\n"
            for start, end in ((101, 400), (801, 1300))
            for kind in ("exon", "CDS")
        )
    )
    simulate_promoters(folder / "gue" / "prom" / "prom_core_all", num_train=32, num_dev=8, num_test=10, seed=0)
    return folder


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A study of codecs and one of models on them, like those of the project."""
    folder = tmp_path_factory.mktemp("studies")
    shared: dict[str, Any] = {
        "recipe": "tiny", "train_files": ["train.fa"], "validation_files": ["other.fa"], "seeds": [0],
    }  # fmt: skip
    codecs = {
        "codec_config": {**TINY_CODEC, "objective": "window"},
        "measure": {
            "genome": "other.fa",
            "annotation": ["other.gff3"],
            "gue": "gue",
            "parts": ["reconstruction", "usage", "kmers", "strand", "stability", "annotation", "probe"],
        },
        "entries": {
            "control": {"2-mers": {"kmer": 2}},
            "objective": {"window": {}, "distilled": {"teacher": "window"}},
        },
    }
    models = {
        "codecs": str(folder / "codecs.yaml"),
        "model_config": {**TINY_MODEL, "intermediate_size": 64},
        "baseline_steps": 3,
        "protocol": "cpu",
        "sets": ["prom/prom_core_all"],
        "entries": {
            "vocabulary": {
                "hrq-vectors": {"codec": "window", "model_config": {"code_embeddings": False}},
                "hrq": {"codec": "window"},
                "3mer": {},
                "cnn": {},
            }
        },
    }
    (folder / "codecs.yaml").write_text(yaml.safe_dump(shared | codecs, sort_keys=False))
    (folder / "models.yaml").write_text(yaml.safe_dump(shared | models, sort_keys=False))
    return folder


def test_a_study_trains_measures_and_goes_on_where_it_was(
    data: Path, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results"), "--max_steps", "2"]
    words += ["--window", "32", "--max_eval_windows", "8", "--logging_steps", "1"]
    assert run(monkeypatch, data, str(studies / "codecs.yaml"), *words) == 0
    records = {record["name"]: record for record in read_records(tmp_path / "results" / "codecs", "codec")}
    assert list(records) == ["2-mers", "distilled", "window"]
    assert records["distilled"]["results"]["codec"]["objective"] == "distillation"
    assert records["window"]["bases_seen"] == 2 * 64 * 32
    assert records["window"]["command"].startswith("python benchmarks/compare_vocabularies.py ")
    assert "--only window --seeds 0 --max_steps 2" in records["window"]["command"]
    assert len(records["2-mers"]["results"]["probe"]) == 1

    (tmp_path / "results" / "codecs" / "distilled-seed-0.json").unlink()
    capsys.readouterr()
    assert run(monkeypatch, data, str(studies / "codecs.yaml"), *words) == 0
    said = capsys.readouterr().out
    assert "distilled" in said
    assert "trained" not in said  # models are there; one record was not
    assert "window-seed-0" not in said

    path = tmp_path / "results" / "codecs" / "window-seed-0.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps(before | {"results": {**before["results"], "usage": "of old"}}))
    assert run(monkeypatch, data, str(studies / "codecs.yaml"), *words, "--again", "usage") == 0
    assert json.loads(path.read_text()) == before

    assert run(monkeypatch, data, str(studies / "models.yaml"), *words, "--seeds", "0") == 0
    kinds = {(record["kind"], record["name"]) for record in read_records(tmp_path / "results" / "models")}
    assert {("pretraining", "hrq"), ("pretraining", "3mer")} <= kinds
    for record in read_records(tmp_path / "results" / "models", "gue"):
        assert "models.yaml --only" in record["command"]
        assert "--work" not in record["command"]
    pretrained = read_records(tmp_path / "results" / "models", "pretraining")
    sizes = {record["name"]: record["results"]["parameters"] for record in pretrained}
    assert len(sizes) == 4
    for name, size in sizes.items():  # a table of codes is paid for by the backbone
        assert abs(size / sizes["hrq-vectors"] - 1) < 0.03, name
    assert sum(kind == "gue" for kind, _ in kinds) >= 1

    page = make_results.results_page(tmp_path / "results")
    for expected in ("### Controls", "### Objectives", "## Models on them", "set by set"):
        assert expected in page
    for row in ("| distilled |", "| 2-mers |", "| 3mer |", "| cnn |"):
        assert row in page


def test_what_a_study_cannot_do_is_one_line(
    data: Path, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, message in (
        (["no-such"], "no such study; there are codecs, models"),
        ([str(studies / "codecs.yaml"), "--only", "nothing"], "no such entry or section; there are 2-mers"),
    ):
        assert run(monkeypatch, data, *words, "--work", str(tmp_path)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


def probed(value: float) -> dict[str, Any]:
    """What a probe gives, as far as the page tells it."""
    names = ("matthews_correlation", "matthews_correlation_without_overlap", "cross_validated")
    return dict.fromkeys(names, value) | {"train": 10}


def test_the_page_tells_means_over_seeds_and_what_it_cost(tmp_path: Path) -> None:
    for seed, value in ((0, 0.40), (1, 0.50)):
        write_record(
            tmp_path / "codecs" / f"4-mers-seed-{seed}.json",
            kind="codec",
            name="4-mers",
            command=f"python benchmarks/compare_vocabularies.py codecs --only 4-mers --seeds {seed}",
            seeds=[seed],
            seconds=30.0,
            results={
                "section": "control",
                "sizes": [256],
                "probe": {"tf/0": {"bag": probed(value)}},
            },
        )
    page = make_results.results_page(tmp_path)
    assert "| 4-mers | 256 |" in page
    assert "45.0 ± 7.1" in page
    assert "seeds 0, 1; 1 minutes in all" in page
    with pytest.raises(ValueError, match="no records in codecs, models, gue, sars_cov_2 below it"):
        make_results.results_page(tmp_path / "codecs")


def test_information_that_rotated_annotation_gives_as_well_is_in_brackets(tmp_path: Path) -> None:
    def measured(bits: float, rotated: float) -> dict[str, float]:
        return {"bits": bits, "rotated_max": rotated}

    for seed, bits in ((0, 0.02), (1, 0.04)):
        tracks = {
            track: {
                "controls": {"3": measured(0.01, 0.001), "5": measured(0.01, 0.01)},
                "levels": [measured(bits, 0.001), measured(bits, 0.035)],
            }
            for track in make_results.TRACKS
        }
        write_record(
            tmp_path / "codecs" / f"a-seed-{seed}.json", kind="codec", name="a", command="python x.py", seeds=[seed],
            results={
                "section": "objective", "sizes": [4, 8], "annotation": {"a.gff3": {"tracks": tracks}},
                "probe": {"tf/0": {"bag": probed(0.5)}},
            },
        )  # fmt: skip
    page = make_results.results_page(tmp_path)
    assert "| a | 0.0300 / (0.0300) | 0.0300 / (0.0300) |" in page
    assert "| 3-mers | 0.0100 |" in page
    assert "| 5-mers | (0.0100) |" in page


def test_a_page_is_not_made_of_what_does_not_belong_there(tmp_path: Path) -> None:
    def codec(path: str, **values: Any) -> None:
        results = {"section": "control", "changes": {}, "sizes": [4], "probe": {"tf/0": {"bag": probed(0.5)}}}
        write_record(
            tmp_path / path, kind=values.pop("kind", "codec"), name="a", command="python x.py", seeds=[0],
            results=results | values,
        )  # fmt: skip

    codec("one/codecs/a-seed-0.json")
    codec("one/codecs/copy/a-seed-0.json")
    with pytest.raises(ValueError, match="more than one record of a 0: remove all but one"):
        make_results.results_page(tmp_path / "one")
    codec("two/codecs/a-seed-0.json", kind="pretraining")
    with pytest.raises(ValueError, match="records of the kind pretraining are not made into a table here"):
        make_results.results_page(tmp_path / "two")
    codec("three/codecs/a-seed-0.json", section="typo")
    with pytest.raises(ValueError, match="records of the sections typo; there are control, "):
        make_results.results_page(tmp_path / "three")


def test_what_a_study_has_is_not_mixed_with_other_values(
    data: Path, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codecs = str(studies / "codecs.yaml")
    assert run(monkeypatch, data, codecs, "--work", str(tmp_path), "--max_steps", "2") == 2
    assert "--max_steps 2: no values of the study's: give folders of your own" in capsys.readouterr().err

    words = ["--work", str(tmp_path / "work"), "--results", str(tmp_path / "results"), "--only", "2-mers"]
    assert run(monkeypatch, data, codecs, *words) == 0
    values = yaml.safe_load(Path(codecs).read_text())
    values["entries"]["control"]["2-mers"]["kmer"] = 1
    changed = tmp_path / "codecs.yaml"
    changed.write_text(yaml.safe_dump(values))
    assert run(monkeypatch, data, str(changed), *words) == 2
    assert "2-mers-seed-0.json is of other values, {'kmer': 2}: remove it" in capsys.readouterr().err


def test_a_model_of_other_values_is_not_taken_for_the_study_s(data: Path, tmp_path: Path) -> None:
    study = compare_vocabularies.Study(
        "own", {"recipe": "tiny", "train_files": [], "validation_files": []}, tmp_path, tmp_path, ["--max_steps", "2"]
    )
    folder = tmp_path / "codec" / "seed-0"
    folder.mkdir(parents=True)
    (folder / compare_vocabularies.TRAINED).write_text("{}")
    (folder.parent / "seed-0.values.json").write_text(json.dumps({"extra": []}))
    with pytest.raises(ValueError, match="was trained with other values"):
        study.run("run_codec", "codec", folder, seed=0)


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "a: [", "recipe: tiny", *(f"recipe: tiny\nseeds: [0]\nentries: {it}" for it in ("[a]", "{s: {x: }}"))],
)
def test_a_file_that_is_no_study_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (tmp_path / "study.yaml").write_text(text)
    assert run(monkeypatch, data, str(tmp_path / "study.yaml"), "--work", str(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "study.yaml: " in error


def test_a_model_has_one_score_a_set(tmp_path: Path) -> None:
    run_on_gue = next(iter(read_records(make_results.RECORDS / "models", "gue")))
    pretraining = next(iter(read_records(make_results.RECORDS / "models", "pretraining")))
    folder = tmp_path / "models" / "a"
    name = run_on_gue["results"]["checkpoint"]["name"]
    for part in ("gue", "other"):
        (folder / part).mkdir(parents=True)
    write_json(folder / "gue" / "seed-0.json", run_on_gue | {"seeds": [0]})
    with pytest.raises(ValueError, match=f"no pretraining.json of {name}, which have runs on GUE"):
        make_results.results_page(tmp_path)
    write_json(folder / "pretraining.json", pretraining | {"name": name})
    assert "Not run: " in make_results.results_page(tmp_path)
    assert "Without records: codecs, gue, sars_cov_2." in make_results.results_page(tmp_path)
    results = run_on_gue["results"]
    other = results | {"protocol": results["protocol"] | {"max_steps": 7}}
    write_json(folder / "other" / "seed-0.json", run_on_gue | {"seeds": [0], "results": other})
    with pytest.raises(ValueError, match="in more than one way: remove one of them"):
        make_results.results_page(tmp_path)
    (folder / "other" / "seed-0.json").unlink()
    write_json(folder / "pretraining.json", pretraining | {"name": name, "results": {"section": "vocabulary"}})
    with pytest.raises(ValueError, match="a record lacks what the page tells of it"):
        make_results.results_page(tmp_path)


def test_the_page_is_what_the_records_give() -> None:
    assert make_results.PAGE.read_text() == make_results.results_page()


def test_every_record_of_the_project_names_its_command() -> None:
    for record in read_records(make_results.RECORDS):
        assert record["command"].startswith(("python benchmarks/", "python examples/", "vqdna "))
        assert not any(word.startswith("/") for word in record["command"].split())
        assert str(make_results.ROOT) not in json.dumps(record)
