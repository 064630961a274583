# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Each run leaves a record of itself: what it read, how, what it measured, and what it started from."""

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from example_scripts import (
    classification_arguments,
    codec_arguments,
    load_script,
    run_example,
)
from transformers import TrainingArguments

from vqdna_hf import VQDNACodecModel
from vqdna_hf.hub import load_run, load_runs, model_card
from vqdna_hf.hub.card_text import reproduce
from vqdna_hf.training import CorpusArguments, VQDNATrainer, parent_record, parse_arguments, read_run
from vqdna_hf.training.provenance import effective_arguments
from vqdna_hf.training.sources import Accessions, read_index


def the_record(folder: Path) -> dict[str, Any]:
    found = read_run(folder)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tuned_folder(promoters: Path, mlm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier after two steps, half of whose training set is used."""
    folder = tmp_path_factory.mktemp("tuned")
    arguments = classification_arguments(promoters, mlm_folder, folder, run_name="prom", max_train_samples=8)
    assert run_example("run_classification", **arguments) == 0
    return folder


def test_the_record_of_a_codec(codec_folder: Path, genome: Path) -> None:
    record = the_record(codec_folder)
    assert (record["format"], record["stage"], record["seed"], record["finished"]) == (1, "codec", 42, True)
    row = record["data"][0]
    assert len(record["data"]) == 1
    assert row["file"] == "genome.fa"
    assert row["sha256"] == hashlib.sha256(genome.read_bytes()).hexdigest()
    assert row["train_bases"] + row["held_out_bases"] == 6_000
    assert (row["train_records"], row["held_out_records"], row["weight"]) == (3, 1, 1.0)
    assert row["simulated"] is True
    assert sorted(row["names"]) == ["contig1", "contig2", "contig3", "contig4"]
    # Two steps of eight windows of 32 bases, and not those of the evaluation.
    assert record["training"]["steps"] == 2
    assert record["training"]["bases"] == 2 * 8 * 32
    assert record["training"]["processes"] == 1
    assert record["training"]["seconds"] > 0
    assert record["evaluation"] == {"windows": 8, "window": 32}
    codec = VQDNACodecModel.from_pretrained(codec_folder)
    assert record["model"]["parameters"] == sum(parameter.numel() for parameter in codec.parameters())
    assert record["model"]["config"]["receptive_field"] == codec.config.receptive_field
    assert record["results"]["eval_results.json"] == json.loads((codec_folder / "eval_results.json").read_text())
    weights = hashlib.sha256((codec_folder / "model.safetensors").read_bytes()).hexdigest()
    assert record["weights"] == {"model.safetensors": weights}
    assert {"vqdna_hf", "torch", "transformers"} <= record["versions"].keys()
    assert record["parents"] == []


def test_no_place_on_this_machine_and_no_token_is_written_down(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path / "run", max_steps=1, hub_token="hf_secret", run_name="mine")
    assert run_example("run_codec", **arguments) == 0
    text = (tmp_path / "run" / "run.json").read_text()
    assert str(tmp_path) not in text
    assert str(genome.parent) not in text
    assert "hf_secret" not in text
    recipe = the_record(tmp_path / "run")["recipe"]
    assert recipe["train_files"] == ["genome.fa"]
    assert recipe["codec_config"]["codebook_sizes"] == [8, 16]
    assert not {"output_dir", "run_name", "logging_steps", "disable_tqdm", "hub_token"} & recipe.keys()


def test_the_recipe_holds_what_is_no_default(tmp_path: Path) -> None:
    plain = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    always = {"seed", "learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "num_train_epochs",
              "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"}  # fmt: skip
    assert effective_arguments([plain]).keys() == always
    changed = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, adam_beta2=0.98, lr_scheduler_type="cosine")
    assert effective_arguments([changed]).keys() == always | {"adam_beta2"}
    assert effective_arguments([changed])["lr_scheduler_type"] == "cosine"
    corpus = CorpusArguments(train_files=[str(tmp_path)], weights=json.dumps({f"{tmp_path}/x.fa": 2, "human/*": 3}))
    assert effective_arguments([corpus])["weights"] == {"x.fa": 2, "human/*": 3}


@pytest.mark.parametrize("stage", ["codec", "mlm", "classification"])
def test_the_command_of_the_card_makes_the_same_recipe(
    stage: str, codec_folder: Path, mlm_folder: Path, tuned_folder: Path, tmp_path: Path
) -> None:
    folder = {"codec": codec_folder, "mlm": mlm_folder, "classification": tuned_folder}[stage]
    record = the_record(folder)
    words = shlex.split(reproduce(record, str(tmp_path)))
    assert words[:2] == ["python", f"examples/run_{stage}.py"]
    script = load_script(f"run_{stage}")
    types = {
        "codec": ["CodecArguments", "CorpusArguments", "TrainingArguments"],
        "mlm": ["MaskedLMArguments", "CorpusArguments", "TrainingArguments"],
        "classification": ["ModelArguments", "DataArguments", "ClassificationTrainingArguments"],
    }[stage]
    groups = parse_arguments([getattr(script, name) for name in types], [*words[2:], "--use_cpu", "True"])
    again = effective_arguments(groups)
    for name in ("codec_path", "model_name_or_path"):
        if name in again:
            assert again.pop(name) == f"runs/{record['recipe'][name]}"
    assert again == {name: value for name, value in record["recipe"].items() if name in again}
    assert record["recipe"].keys() - again.keys() <= {"codec_path", "model_name_or_path"}


def test_a_record_carries_those_of_the_runs_behind_it(codec_folder: Path, mlm_folder: Path, tuned_folder: Path) -> None:
    def carried(folder: Path) -> dict[str, Any]:
        own = {key: value for key, value in the_record(folder).items() if key not in ("progress", "record_sha256")}
        return {**own, "name": folder.name, "recorded": True}

    assert the_record(mlm_folder)["parents"] == [carried(codec_folder)]
    assert the_record(tuned_folder)["parents"] == [carried(mlm_folder)]
    assert the_record(tuned_folder)["parents"][0]["parents"][0]["stage"] == "codec"
    card = model_card("vqdna", [tuned_folder])
    assert "> **SIMULATED DATA.**" in card
    assert [record["stage"] for _, record in load_run(tuned_folder).chain()] == ["codec", "mlm", "classification"]


def test_a_parent_with_other_weights_than_its_record_is_not_believed(codec_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(codec_folder, folder)
    assert parent_record(folder)["recorded"] is True
    with open(folder / "model.safetensors", "ab") as stream:
        stream.write(b"\0")
    found = parent_record(folder)
    assert (found["name"], found["recorded"]) == ("codec", False)
    assert found["weights"]["model.safetensors"] != the_record(folder)["weights"]["model.safetensors"]
    assert parent_record("org/model") == {"name": "org/model", "recorded": False, "weights": {}}


def test_an_edited_record_is_not_carried_on(codec_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "codec"
    shutil.copytree(codec_folder, folder)
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"seed": 42', '"seed": 43'))
    with pytest.raises(ValueError, match=r"codec/run.json: was edited since the run wrote it"):
        parent_record(folder)
    (folder / "run.json").write_text(text.replace("record_sha256", "sha256"))
    with pytest.raises(ValueError, match=r"codec/run.json: has no record_sha256"):
        parent_record(folder)


def test_the_record_of_fine_tuning_counts_its_sequences(tuned_folder: Path, promoters: Path) -> None:
    record = the_record(tuned_folder)
    rows = {row["split"]: row for row in record["data"]}
    assert {split: row["sequences"] for split, row in rows.items()} == {"train": 16, "dev": 8, "test": 10}
    assert {split: row["used_sequences"] for split, row in rows.items()} == {"train": 8, "dev": 8, "test": 10}
    assert rows["test"]["used_bases"] == 10 * 70
    assert rows["dev"]["sha256"] == hashlib.sha256((promoters / "dev.csv").read_bytes()).hexdigest()
    assert set(record["results"]) == {"dev_results.json", "results/prom/eval_results.json"}
    # Two steps of eight sequences out of eight: two whole passes.
    assert record["training"]["epochs"] == 2.0
    assert record["training"]["bases"] == 2 * 8 * 70


def test_only_evaluating_leaves_the_record_alone(tuned_folder: Path, promoters: Path, tmp_path: Path) -> None:
    before = (tuned_folder / "run.json").read_text()
    arguments = classification_arguments(promoters, tuned_folder, tuned_folder, do_predict=True, run_name="prom")
    assert run_example("run_classification", "--overwrite_output_dir", **arguments) == 0
    assert (tuned_folder / "run.json").read_text() == before
    load_run(tuned_folder)  # and the same numbers, measured again, are still those of the run


def test_a_model_that_was_not_kept_has_no_card(promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, save_model=False)
    assert run_example("run_classification", **arguments) == 0
    with pytest.raises(ValueError, match="kept no weights"):
        load_run(tmp_path)


def test_a_resumed_run_counts_from_its_beginning(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path, max_steps=2, lr_scheduler_type="constant")
    assert run_example("run_codec", **arguments) == 0
    first = the_record(tmp_path)["training"]
    assert run_example("run_codec", "--resume_from_checkpoint", **{**arguments, "max_steps": 5}) == 0
    record = the_record(tmp_path)
    assert record["training"]["steps"] == 5
    assert record["training"]["bases"] == 5 * 8 * 32
    assert record["training"]["seconds"] > first["seconds"]
    assert record["sessions"] == [{"first_step": 2, "recorded": True, "changed": {"max_steps": [2, 5]}}]
    assert "was resumed behind step 2; max_steps was 2, then 5." in model_card("codec", [tmp_path])
    # Once more, with nothing left to do: nothing is added.
    assert run_example("run_codec", "--resume_from_checkpoint", **{**arguments, "max_steps": 5}) == 0
    again = the_record(tmp_path)
    assert again["training"]["bases"] == 5 * 8 * 32
    assert again["finished"]


def test_what_came_before_an_unrecorded_checkpoint_is_not_guessed(genome: Path, tmp_path: Path) -> None:
    arguments = codec_arguments(genome, tmp_path / "one", max_steps=2)
    assert run_example("run_codec", **arguments) == 0
    shutil.copytree(tmp_path / "one" / "checkpoint-2", tmp_path / "two" / "checkpoint-2")
    arguments |= {"output_dir": tmp_path / "two", "max_steps": 4}
    assert run_example("run_codec", "--resume_from_checkpoint", **arguments) == 0
    record = the_record(tmp_path / "two")
    assert (record["training"]["bases"], record["training"]["seconds"]) == (None, None)
    assert record["sessions"] == [{"first_step": 2, "recorded": False, "changed": {}}]
    card = model_card("codec", [tmp_path / "two"])
    assert "what came before is not recorded" in card
    assert "| not recorded | not recorded |" in card


def test_a_run_that_broke_off_is_not_finished(genome: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(VQDNATrainer, "evaluate_and_report", fail)
    assert run_example("run_codec", **codec_arguments(genome, tmp_path)) == 2
    assert the_record(tmp_path)["finished"] is False
    assert the_record(tmp_path)["progress"][-1]["bases"] == 2 * 8 * 32
    with pytest.raises(ValueError, match="is not finished"):
        load_run(tmp_path)


def test_real_seeds_are_averaged_and_a_real_difference_is_refused(genome: Path, tmp_path: Path) -> None:
    for name, changes in (("a", {"seed": 1}), ("b", {"seed": 2}), ("c", {"seed": 3, "learning_rate": 5e-3})):
        arguments = codec_arguments(genome, tmp_path / name, held_out=["contig2"], **changes)
        assert run_example("run_codec", **arguments) == 0
    card = model_card("codec", [tmp_path / "a", tmp_path / "b"])
    values = [
        json.loads((tmp_path / name / "eval_results.json").read_text())["eval_reconstruction_accuracy"] for name in "ab"
    ]
    mean, sd = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    assert f"| reconstruction accuracy | {mean:.4f} | {sd:.4f} | 1, 2 |" in card
    with pytest.raises(ValueError, match=r"recipe.learning_rate is 0.001 and 0.005"):
        load_runs([tmp_path / "a", tmp_path / "c"])


@pytest.fixture
def shelf(tmp_path: Path, genome: Path) -> Path:
    """`genomes/index.tsv` above `genomes/made/genome.fa`."""
    (tmp_path / "genomes" / "made").mkdir(parents=True)
    shutil.copy(genome, tmp_path / "genomes" / "made" / "genome.fa")
    (tmp_path / "genomes" / "index.tsv").write_text(
        "file\tspecies\tgroup\taccession\tn_seq\n"
        "genomes/other/genome.fa\tWrong one\tx\tGCA_000000001.1\t4\n"
        "genomes/made/genome.fa\tSaccharomyces cerevisiae S288C\tfungi\tR64-1-1 / GCA_000146045.2\t4\n"
    )
    return tmp_path


def test_accessions_come_from_an_index_above_the_file(shelf: Path) -> None:
    genome = shelf / "genomes" / "made" / "genome.fa"
    assert run_example("run_codec", **codec_arguments(genome, shelf / "run", max_steps=1)) == 0
    row = the_record(shelf / "run")["data"][0]
    assert (row["accession"], row["species"], row["group"]) == (
        "R64-1-1 / GCA_000146045.2", "Saccharomyces cerevisiae S288C", "fungi",
    )  # fmt: skip
    assert "| genome.fa | R64-1-1 / GCA_000146045.2 | Saccharomyces cerevisiae S288C |" in model_card(
        "codec", [shelf / "run"]
    )


def test_a_table_given_by_hand_wins(shelf: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = shelf / "mine.tsv"
    table.write_text("file\taccession\ngenome.fa\tNC_001133.9\n")
    genome = shelf / "genomes" / "made" / "genome.fa"
    found = Accessions(table).find(genome)
    assert found == {"accession": "NC_001133.9", "species": "", "group": ""}
    assert Accessions(table).find(shelf / "other.fa") == {"accession": "", "species": "", "group": ""}
    assert "does not list" in caplog.text


def test_what_no_table_lists_is_known_by_its_records(tuned_folder: Path, codec_folder: Path) -> None:
    assert the_record(codec_folder)["data"][0]["accession"] == ""
    assert "| genome.fa | records contig" in model_card("codec", [codec_folder])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\taccession\n", "no column file"),
        ("file,accession\nx.fa,NC_1\n", "no column accession, file"),
        ("file\taccession\n\tNC_1\n", "line 2: no file"),
    ],
)
def test_a_bad_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_index(tmp_path / "mine.tsv")


def test_a_bad_table_stops_a_run_before_it_trains(
    genome: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.tsv").write_text("file\taccession\ngenome.fa\tNC_1\ngenome.fa\tNC_2\n")
    arguments = codec_arguments(genome, tmp_path / "run", accessions=tmp_path / "mine.tsv")
    assert run_example("run_codec", **arguments) == 2
    assert "mine.tsv: genome.fa stands there with several accessions: keep one row" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoint-*"))
    arguments["accessions"] = tmp_path / "none.tsv"
    assert run_example("run_codec", **arguments) == 2
    assert "none.tsv: cannot be read as a table of accessions" in capsys.readouterr().err
