# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The scripts of `examples/`, end to end: what they log, what they write, what they accept."""

import itertools
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from example_scripts import (
    TINY_CODEC,
    classification_arguments,
    codec_arguments,
    flags,
    logged,
    mlm_arguments,
    run_example,
    run_example_process,
    weights,
)
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, set_seed

from vqdna_hf import VQDNAForSequenceClassification
from vqdna_hf.data import simulate_fasta, simulate_promoters

Stages = dict[str, Path]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """All three stages, two steps each, and what they read."""
    root = tmp_path_factory.mktemp("stages")
    paths = {name: root / name for name in ("codec", "mlm", "classification", "promoters")}
    paths["genome"] = root / "genome.fa"
    simulate_fasta(paths["genome"], num_bases=6_000, num_contigs=4, seed=0)
    simulate_promoters(paths["promoters"], num_train=16, num_dev=8, num_test=10, seed=0)
    assert run_example("run_codec", **codec_arguments(paths["genome"], paths["codec"])) == 0
    assert run_example("run_mlm", **mlm_arguments(paths["genome"], paths["codec"], paths["mlm"])) == 0
    arguments = classification_arguments(
        paths["promoters"],
        paths["mlm"],
        paths["classification"],
        run_name="prom",
        per_device_eval_batch_size=3,
    )
    assert run_example("run_classification", **arguments) == 0
    return paths


def names_of(log: list[dict[str, Any]], marker: str) -> set[str]:
    """The names in the entries that hold `marker`."""
    return {name for entry in log if marker in entry for name in entry}


def test_codec_logs_reconstruction_and_each_codebook(stages: Stages) -> None:
    names = {
        "reconstruction_accuracy",
        "reconstruction_loss",
        "commitment_loss",
        "codebook_usage_level1",
        "codebook_usage_level2",
        "codebook_perplexity_level1",
        "codebook_perplexity_level2",
    }
    log = logged(stages["codec"])
    assert [entry["step"] for entry in log if "loss" in entry] == [1, 2]
    assert names | {"loss", "grad_norm", "bases_per_second"} <= names_of(log, "loss")
    results = json.loads((stages["codec"] / "eval_results.json").read_text())
    assert {f"eval_{name}" for name in names} | {"eval_loss"} <= results.keys()
    assert 0 <= results["eval_reconstruction_accuracy"] <= 1
    assert 1 <= results["eval_codebook_perplexity_level2"] <= 16


def test_mlm_logs_masked_accuracy_and_each_level(stages: Stages) -> None:
    names = {
        "masked_accuracy",
        "commonest_base_accuracy",
        "nucleotide_loss",
        "mlm_perplexity",
        "code_loss",
        "code_accuracy_level1",
        "code_accuracy_level2",
    }
    assert names | {"loss"} <= names_of(logged(stages["mlm"]), "loss")
    results = json.loads((stages["mlm"] / "eval_results.json").read_text())
    assert {f"eval_{name}" for name in names} | {"eval_loss"} <= results.keys()
    # Never below the commonest of four, never above 1.
    assert 0.25 <= results["eval_commonest_base_accuracy"] <= 1


def test_classification_writes_results_under_dnabert2_names(stages: Stages) -> None:
    folder = stages["classification"] / "results" / "prom"
    results = json.loads((folder / "eval_results.json").read_text())
    names = {f"eval_{name}" for name in ("matthews_correlation", "f1", "accuracy", "precision", "recall", "loss")}
    assert names <= results.keys()
    assert "eval_matthews_correlation" in names_of(logged(stages["classification"]), "eval_loss")
    dev = json.loads((stages["classification"] / "dev_results.json").read_text())
    assert "dev_matthews_correlation" in dev


def test_predictions_have_one_line_a_test_row_and_agree_with_the_metrics(stages: Stages) -> None:
    folder = stages["classification"] / "results" / "prom"
    predictions = pd.read_csv(folder / "predictions.csv")
    test = pd.read_csv(stages["promoters"] / "test.csv")
    assert predictions["sequence"].tolist() == test["sequence"].tolist()
    assert predictions["label"].tolist() == test["label"].tolist()
    accuracy = (predictions["prediction"] == predictions["label"]).mean()
    results = json.loads((folder / "eval_results.json").read_text())
    assert results["eval_accuracy"] == pytest.approx(accuracy)
    total = predictions["probability_0"] + predictions["probability_1"]
    assert total.tolist() == pytest.approx([1.0] * len(test), abs=1e-5)
    # Batches of three, but each row is what the saved model says about it alone.
    model = VQDNAForSequenceClassification.from_pretrained(stages["classification"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(stages["classification"])
    logits = model(**tokenizer(test["sequence"][7], return_tensors="pt")).logits
    assert logits.softmax(-1)[0, 1].item() == pytest.approx(predictions["probability_1"][7], abs=1e-5)


def test_each_stage_leaves_a_folder_that_the_auto_classes_load(stages: Stages) -> None:
    codec = AutoModel.from_pretrained(stages["codec"])
    assert bool(codec.encoder.quantizer.codebooks[1].initialized)
    model = AutoModelForMaskedLM.from_pretrained(stages["mlm"])
    learnt, used = weights(stages["codec"]), model.state_dict()
    for name, value in learnt.items():
        if name.startswith("encoder."):
            assert torch.equal(used["vqdna.codec." + name.removeprefix("encoder.")], value), name


def test_stage_2_leaves_the_frozen_codec_alone_and_stage_3_too(stages: Stages) -> None:
    before, after = weights(stages["codec"]), weights(stages["classification"])
    names = [name for name in before if name.startswith("encoder.")]
    assert names
    for name in names:
        assert torch.equal(before[name], after["vqdna.codec." + name.removeprefix("encoder.")]), name


def test_checkpoints_of_a_finished_run_are_where_trainer_puts_them(stages: Stages) -> None:
    for stage in ("codec", "mlm", "classification"):
        for name in (
            "trainer_state.json",
            "train_results.json",
            "all_results.json",
            "checkpoint-2/optimizer.pt",
        ):
            assert (stages[stage] / name).is_file(), f"{stage}/{name}"


def test_the_best_checkpoint_is_chosen_by_matthews_correlation(stages: Stages) -> None:
    state = json.loads((stages["classification"] / "trainer_state.json").read_text())
    scores = {
        entry["step"]: entry["eval_matthews_correlation"]
        for entry in logged(stages["classification"])
        if "eval_matthews_correlation" in entry
    }
    assert len(scores) == 1
    assert state["best_metric"] == max(scores.values())


def test_the_best_of_several_epochs_is_kept(stages: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [0.1, 0.6, 0.3, 0.2]  # of the epochs; what comes behind is dev and test with the best model

    def scripted(logits: Any, labels: Any) -> dict[str, float]:
        return {"matthews_correlation": scores[calls] if (calls := next(counter)) < 4 else 0.0}

    counter = itertools.count()
    monkeypatch.setattr("vqdna_hf.evaluation.classification_metrics", scripted)
    arguments = classification_arguments(stages["promoters"], stages["mlm"], tmp_path, max_steps=-1, num_train_epochs=4)
    assert run_example("run_classification", **arguments) == 0
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert (state["best_metric"], state["best_global_step"]) == (0.6, 4)
    # The best one and the newest, which resuming needs; never more.
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-4", "checkpoint-8"}
    kept, best, last = (weights(tmp_path / name) for name in (".", "checkpoint-4", "checkpoint-8"))
    assert all(torch.equal(kept[name], best[name]) for name in kept)
    assert not all(torch.equal(kept[name], last[name]) for name in kept)


def test_parquet_corpus(stages: Stages, tmp_path: Path) -> None:
    path = tmp_path / "corpus.parquet"
    sequences = ["ACGTTGCA" * 40, "GGCATTAC" * 40, "TTTACCGA" * 40]
    pd.DataFrame({"name": ["a", "b", "c"], "sequence": sequences}).to_parquet(path)
    arguments = codec_arguments(path, tmp_path / "run", held_out=["b"], max_steps=1)
    assert run_example("run_codec", **arguments) == 0
    assert (tmp_path / "run" / "eval_results.json").is_file()


def test_a_recipe_and_flags_that_win_over_it(stages: Stages, tmp_path: Path) -> None:
    recipe = {
        "codec_config": TINY_CODEC,
        "window": 32,
        "max_steps": 5,
        "max_eval_windows": 4,
        "logging_steps": 1,
        "learning_rate": "1e-3",
        "held_out": "contig2",
        "train_files": str(stages["genome"]),
        "disable_tqdm": True,
    }
    path = tmp_path / "codec.yaml"
    # YAML reads 1e-3 as text (it wants 1.0e-3): recipes with it are meant as numbers all the same.
    path.write_text(yaml.safe_dump(recipe).replace("'1e-3'", "1e-3"))
    output_dir = tmp_path / "run"
    words = [str(path), *flags(output_dir=output_dir, max_steps=1, codec_config={"codebook_sizes": [4, 12]})]
    assert run_example("run_codec", *words) == 0
    log = [entry for entry in logged(output_dir) if "loss" in entry]
    assert [entry["step"] for entry in log] == [1]
    assert log[0]["learning_rate"] == pytest.approx(1e-3)
    config = json.loads((output_dir / "config.json").read_text())
    assert config["codebook_sizes"] == [4, 12]
    assert config["hidden_size"] == 16, "a flag with a dictionary changes single keys of the recipe's"


def test_tensorboard_only_when_asked(stages: Stages, tmp_path: Path) -> None:
    arguments = codec_arguments(stages["genome"], tmp_path / "run", max_steps=1, report_to="tensorboard")
    assert run_example("run_codec", **arguments) == 0
    events = list((tmp_path / "run").rglob("events.out.tfevents.*"))
    assert events
    assert b"codebook_perplexity_level2" in b"".join(path.read_bytes() for path in events)
    assert not list(stages["codec"].rglob("events.out.tfevents.*"))


def test_save_model_false_keeps_no_weights_in_output_dir(stages: Stages, tmp_path: Path) -> None:
    arguments = classification_arguments(
        stages["promoters"],
        stages["mlm"],
        tmp_path,
        save_model=False,
        save_strategy="no",
        eval_strategy="no",
        load_best_model_at_end=False,
    )
    assert run_example("run_classification", **arguments) == 0
    assert not list(tmp_path.rglob("*.safetensors"))
    assert (tmp_path / "results" / "run" / "eval_results.json").is_file()


def test_without_a_dev_set_the_last_state_is_kept(
    stages: Stages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_bytes((stages["promoters"] / f"{split}.csv").read_bytes())
    arguments = classification_arguments(tmp_path, stages["mlm"], tmp_path / "run")
    assert run_example("run_classification", **arguments) == 0
    assert "no dev set" in caplog.text
    assert not (tmp_path / "run" / "dev_results.json").exists()
    assert (tmp_path / "run" / "results" / "run" / "eval_results.json").is_file()


def test_only_prediction_with_a_fine_tuned_folder(stages: Stages, tmp_path: Path) -> None:
    arguments = classification_arguments(
        stages["promoters"], stages["classification"], tmp_path, do_predict=True, run_name="again"
    )
    assert run_example("run_classification", **arguments) == 0
    before = (stages["classification"] / "results" / "prom" / "predictions.csv").read_text()
    assert (tmp_path / "results" / "again" / "predictions.csv").read_text() == before
    assert not list(tmp_path.glob("checkpoint-*"))


def test_prediction_takes_the_labels_from_the_model(stages: Stages, tmp_path: Path) -> None:
    """A test file may lack a class, or hold one only."""
    table = pd.read_csv(stages["promoters"] / "test.csv")
    table[table["label"] == 1].to_csv(tmp_path / "ones.csv", index=False)
    arguments = classification_arguments(stages["promoters"], stages["classification"], tmp_path, do_predict=True)
    del arguments["data_path"]
    assert run_example("run_classification", **arguments, test_file=tmp_path / "ones.csv") == 0
    predictions = pd.read_csv(next(tmp_path.glob("results/*/predictions.csv")))
    assert set(predictions["label"]) == {1}
    assert "probability_0" in predictions.columns


def test_prediction_alone_needs_a_trained_classifier(
    stages: Stages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = classification_arguments(stages["promoters"], stages["mlm"], tmp_path, do_predict=True)
    assert run_example("run_classification", **arguments) == 2
    assert "no trained classifier" in capsys.readouterr().err


def test_regression_writes_correlations(stages: Stages, tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        table = pd.read_csv(stages["promoters"] / f"{split}.csv")
        table["label"] = [text.count("G") / len(text) for text in table["sequence"]]
        table.to_csv(tmp_path / f"{split}.csv", index=False)
    arguments = classification_arguments(tmp_path, stages["mlm"], tmp_path / "run", problem_type="regression")
    assert run_example("run_classification", **arguments) == 0
    folder = tmp_path / "run" / "results" / "run"
    results = json.loads((folder / "eval_results.json").read_text())
    assert {"eval_pearson", "eval_spearman", "eval_mean_squared_error"} <= results.keys()
    predictions = pd.read_csv(folder / "predictions.csv")
    error = (predictions["prediction"] - predictions["label"]).pow(2).mean()
    assert results["eval_mean_squared_error"] == pytest.approx(error, rel=1e-4)
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text())
    assert state["best_metric"] == max(e["eval_spearman"] for e in logged(tmp_path / "run") if "eval_spearman" in e)


def test_pairs_of_sequences(stages: Stages, tmp_path: Path) -> None:
    for split, rows in (("train", 8), ("dev", 4), ("test", 4)):
        table = pd.read_csv(stages["promoters"] / f"{split}.csv")[:rows]
        halves = {"first": table["sequence"].str[:30], "second": table["sequence"].str[30:]}
        pd.DataFrame({**halves, "label": [row % 2 for row in range(rows)]}).to_csv(
            tmp_path / f"{split}.csv", index=False
        )
    arguments = classification_arguments(tmp_path, stages["mlm"], tmp_path / "run", max_steps=1)
    assert run_example("run_classification", **arguments) == 0


DNABERT2_LINE = """
--kmer -1 --evaluation_strategy steps --eval_steps 1 --save_steps 1 --overwrite_output_dir True
--warmup_ratio 0.1 --no_cuda --logging_dir log --group_by_length --fp16 --find_unused_parameters False
--model_max_length 128 --use_lora --lora_r 4 --lora_alpha 16 --lora_target_modules Wqkv,Wo,Wi
--per_device_train_batch_size 8 --per_device_eval_batch_size 16 --gradient_accumulation_steps 1
--learning_rate 3e-5 --max_steps 2 --log_level warning --save_model True --eval_and_save_results True
--save_total_limit 2 --checkpointing False --run_name DNABERT2_promoters --disable_tqdm True
"""


def test_a_dnabert2_command_line_runs(stages: Stages, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = flags(data_path=stages["promoters"], model_name_or_path=stages["mlm"], output_dir=tmp_path)
    caplog.set_level(logging.WARNING, logger="vqdna_hf")
    assert run_example("run_classification", *DNABERT2_LINE.split(), *paths) == 0
    assert (tmp_path / "results" / "DNABERT2_promoters" / "eval_results.json").is_file()
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["r"] == 4
    assert config["lora_alpha"] == 16
    assert len([entry for entry in logged(tmp_path) if "eval_loss" in entry]) == 2, "--eval_steps 1 was followed"
    warned = [record.getMessage() for record in caplog.records if record.name == "vqdna_hf.training.arguments"]
    for name in (
        "kmer",
        "evaluation_strategy",
        "warmup_ratio",
        "no_cuda",
        "logging_dir",
        "group_by_length",
        "fp16",
        "find_unused_parameters",
        "checkpointing",
    ):
        assert len([line for line in warned if line.startswith(f"--{name} ")]) == 1, name
    assert len(warned) == 9
    assert not any("\n" in line for line in warned)


def test_a_run_glue_command_line_runs(stages: Stages, tmp_path: Path) -> None:
    data = stages["promoters"]
    words = flags(
        model_name_or_path=stages["mlm"],
        train_file=data / "train.csv",
        validation_file=data / "dev.csv",
        test_file=data / "test.csv",
        max_seq_length=128,
        max_train_samples=8,
        num_train_epochs=1,
        output_dir=tmp_path,
        disable_tqdm=True,
    )
    words += ["--do_train", "--do_eval", "--do_predict", "--overwrite_output_dir"]
    assert run_example("run_classification", *words) == 0
    assert json.loads((tmp_path / "train_results.json").read_text())["epoch"] == 1.0
    assert (tmp_path / "dev_results.json").is_file()
    assert (tmp_path / "results" / "run" / "predictions.csv").is_file()


def test_old_spellings_mean_what_they_meant(stages: Stages, tmp_path: Path) -> None:
    words = ["--evaluation_strategy", "steps", "--eval_steps", "1", "--warmup_ratio", "0.5", "--no_cuda"]
    arguments = codec_arguments(stages["genome"], tmp_path, max_steps=4, lr_scheduler_type="linear")
    assert run_example("run_codec", *words, **arguments) == 0
    log = logged(tmp_path)
    rates = [entry["learning_rate"] for entry in log if "loss" in entry]
    # Half of the four steps warm up: 0, then half of the rate, then all of it, then down again.
    assert rates == pytest.approx([0.0, 5e-4, 1e-3, 5e-4])
    assert len([entry for entry in log if "eval_reconstruction_accuracy" in entry]) >= 4


@pytest.mark.parametrize("script", ["run_codec", "run_mlm", "run_classification"])
def test_help_lists_own_flags(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_example(script, "--help") == 0
    text = capsys.readouterr().out
    assert "--overwrite_output_dir" in text
    assert "--learning_rate" in text


def test_a_run_prints_no_noise(stages: Stages, tmp_path: Path) -> None:
    """No warnings about pinned memory, no report about a head that is new on purpose."""
    result = run_example_process(
        "run_classification", **classification_arguments(stages["promoters"], stages["mlm"], tmp_path)
    )
    assert result.returncode == 0, result.stderr
    output = result.stdout + result.stderr
    for noise in ("pin_memory", "LOAD REPORT", "UNEXPECTED", "Warning", "Traceback"):
        assert noise not in output, output
    assert "new weights: classifier.bias, classifier.weight" in output


def test_the_same_seed_gives_the_same_weights(stages: Stages, tmp_path: Path) -> None:
    set_seed(99)  # the global generators' state before the run is no part of it
    assert run_example("run_codec", **codec_arguments(stages["genome"], tmp_path / "same")) == 0
    assert run_example("run_codec", **codec_arguments(stages["genome"], tmp_path / "other", seed=7)) == 0
    first, same, other = weights(stages["codec"]), weights(tmp_path / "same"), weights(tmp_path / "other")
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_losses_are_finite_numbers(stages: Stages) -> None:
    for stage in ("codec", "mlm", "classification"):
        losses = [entry["loss"] for entry in logged(stages[stage]) if "loss" in entry]
        assert losses
        assert all(math.isfinite(loss) and loss > 0 for loss in losses)
