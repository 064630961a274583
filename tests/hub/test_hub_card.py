# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Cards carry what finished runs measured, and nothing else."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from example_scripts import TINY_CODEC, TINY_MODEL
from huggingface_hub import EvalResult, ModelCard, constants
from run_folders import (
    CODEC_RESULTS,
    GENOME,
    MLM_RESULTS,
    change,
    model_config,
    parent,
    pretrained,
    record,
    tuned,
    write_run,
)
from safetensors.torch import save_file
from transformers import set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM, VQDNAForSequenceClassification
from vqdna_hf.hub import (
    export,
    export_run,
    load_run,
    load_runs,
    markdown_table,
    measured_results,
    model_card,
    validate_card,
    validate_card_on_hub,
    write_card_files,
)
from vqdna_hf.training import HEAD, add_lora, load_adapter, load_pretrained
from vqdna_hf.training.finetuning import save_adapted_config
from vqdna_hf.training.provenance import weights_sha256


def table(card: str) -> dict[str, list[str]]:
    """The rows of the card's results by their first cell."""
    section = card.split("## Results\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows[2:]}


def test_every_number_of_the_table_is_in_the_files_of_the_runs(tmp_path: Path) -> None:
    control = tuned(tmp_path / "random", mcc=0.6052)
    change(control, recipe=json.loads((control / "run.json").read_text())["recipe"] | {"random_init": True})
    rows = table(model_card("org/vqdna", [tuned(tmp_path / "run")], controls=[control]))
    expected = {
        "codebook usage, level 1 of 8": CODEC_RESULTS["eval_codebook_usage_level1"],
        "codebook perplexity, level 1 of 8": CODEC_RESULTS["eval_codebook_perplexity_level1"],
        "codebook usage, level 2 of 16": CODEC_RESULTS["eval_codebook_usage_level2"],
        "codebook perplexity, level 2 of 16": CODEC_RESULTS["eval_codebook_perplexity_level2"],
        "reconstruction accuracy": CODEC_RESULTS["eval_reconstruction_accuracy"],
        "masked nucleotide accuracy": MLM_RESULTS["eval_masked_accuracy"],
        "always the commonest base": MLM_RESULTS["eval_commonest_base_accuracy"],
        "masked nucleotide perplexity": MLM_RESULTS["eval_mlm_perplexity"],
        "masked code accuracy, level 1 of 8": MLM_RESULTS["eval_code_accuracy_level1"],
        "masked code accuracy, level 2 of 16": MLM_RESULTS["eval_code_accuracy_level2"],
        "test MCC, fine-tuned": 0.6469,
        "the same from random weights": 0.6052,
        "test F1 (macro), fine-tuned": 0.8212,
        "test accuracy, fine-tuned": 0.8217,
    }
    assert {name: float(cells[0]) for name, cells in rows.items()} == expected
    assert rows["test MCC, fine-tuned"][3] == "test set of prom_core_notata (1,200 sequences)"
    assert rows["masked nucleotide accuracy"][3] == "held-out sequences (512 windows of 128 bases)"
    sources = [number.source for row in measured_results(load_runs([tmp_path / "run"])) for number in row.numbers]
    assert sources[0] == f"{tmp_path}/run/run.json > mlm > codec: eval_results.json: eval_codebook_usage_level1"
    assert sources[-1] == f"{tmp_path}/run/run.json: results/prom/eval_results.json: eval_accuracy"


def test_a_card_says_how_many_nucleotides_a_code_stands_for(tmp_path: Path) -> None:
    cards = {}
    for stride in (1, 4):
        folder = tuned(tmp_path / str(stride))
        model = json.loads((folder / "run.json").read_text())["model"]
        if stride > 1:
            model["config"]["codec_config"]["codec_stride"] = stride
        change(folder, model=model)
        cards[stride] = model_card("org/vqdna", [folder])
    assert "One position is one nucleotide." in cards[1]
    assert "It reads at most 512 nucleotides at once." in cards[1]
    assert "A code depends on 17 nucleotides around its position." in cards[1]
    assert "One code stands for 4 nucleotides, and answers are per nucleotide all the same." in cards[4]
    assert "It reads at most 2,038 nucleotides at once." in cards[4]
    assert "A code depends on 17 nucleotides, its own 4 and those around them." in cards[4]


def test_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    """Of 0.5, 0.6 and 0.8 the mean is 1.9 / 3, the sum of squares around it 0.14 / 3, so the deviation 0.1527525."""
    runs = [tuned(tmp_path / f"seed{seed}", seed, mcc) for seed, mcc in ((0, 0.5), (1, 0.6), (7, 0.8))]
    card = model_card("vqdna", runs)
    rows = table(card)
    assert rows["test MCC, fine-tuned"][:3] == ["0.6333", "0.1528", "0, 1, 7"]
    assert rows["test accuracy, fine-tuned"][:2] == ["0.8217", "0.0000"]
    # All three started from one pre-trained model: that is one measurement, not three.
    assert rows["masked nucleotide accuracy"][:3] == ["0.3541", "", "0"]
    assert "sample standard deviation (sd) over 3 seeds" in card
    assert "weights here are those of seed 0" in card
    assert "Fewer than three seeds" not in card
    mcc = validate_card(card).data.eval_results[0]
    assert mcc.metric_value == pytest.approx(1.9 / 3, abs=1e-12)
    assert mcc.metric_args["standard_deviation"] == pytest.approx((0.14 / 3 / 2) ** 0.5, abs=1e-12)
    assert mcc.metric_args["seeds"] == [0, 1, 7]


def test_seeds_that_go_back_to_pre_training_are_averaged_there_too(tmp_path: Path) -> None:
    runs = [
        tuned(tmp_path / str(seed), seed, parents=[pretrained(seed, eval_masked_accuracy=accuracy)])
        for seed, accuracy in ((0, 0.30), (1, 0.34))
    ]
    rows = table(model_card("vqdna", runs))
    assert rows["masked nucleotide accuracy"][:3] == ["0.3200", "0.0283", "0, 1"]
    assert rows["reconstruction accuracy"][1:3] == ["", "0"]


def test_a_single_run_says_one_seed(tmp_path: Path) -> None:
    card = model_card("vqdna", [tuned(tmp_path / "run", seed=5)])
    assert "One seed (5)" in card
    assert table(card)["test MCC, fine-tuned"][1:3] == ["", "5"]
    assert "standard_deviation" not in card


def test_metadata_come_back_as_they_went_in(tmp_path: Path) -> None:
    card = model_card("org/vqdna-hrq", [tuned(tmp_path / "run")], datasets=["org/gue"], base_model="org/base")
    again = ModelCard(card)
    assert again.data.to_dict() == yaml.safe_load(card.split("---\n")[1])
    common = {
        "task_type": "text-classification",
        "dataset_type": "prom_core_notata",
        "dataset_name": "test set of prom_core_notata (1,200 sequences)",
        "dataset_split": "test",
    }
    seeds = {"seeds": [0]}
    assert again.data.eval_results == [
        EvalResult(metric_type="matthews_correlation", metric_name="test MCC, fine-tuned", metric_value=0.6469,
                   metric_args=seeds, **common),
        EvalResult(metric_type="f1", metric_name="test F1 (macro), fine-tuned", metric_value=0.8212,
                   metric_args={**seeds, "average": "macro"}, **common),
        EvalResult(metric_type="accuracy", metric_name="test accuracy, fine-tuned", metric_value=0.8217,
                   metric_args=seeds, **common),
    ]  # fmt: skip
    data = again.data
    about = [data.to_dict()[name] for name in ("license", "library_name", "pipeline_tag")]
    assert about == ["apache-2.0", "transformers", "text-classification"]
    assert (data.datasets, data.base_model, data.model_name) == (["org/gue"], "org/base", "vqdna-hrq")
    assert {"dna", "custom_code"} <= set(data.tags)
    assert ModelCard(str(again)).data.to_dict() == again.data.to_dict()


@pytest.mark.parametrize(
    ("stage", "tag", "metrics"),
    [
        ("codec", "feature-extraction", ["codebook_usage", "codebook_perplexity", "accuracy"]),
        ("mlm", "fill-mask", ["accuracy", "perplexity"]),
    ],
)
def test_the_earlier_stages_have_cards_of_their_own(stage: str, tag: str, metrics: list[str], tmp_path: Path) -> None:
    behind = [] if stage == "codec" else [parent("codec", 0, CODEC_RESULTS, [], "codec")]
    results = CODEC_RESULTS if stage == "codec" else MLM_RESULTS
    data = validate_card(model_card("vqdna", [write_run(tmp_path / "run", record(stage, 0, results, behind))])).data
    assert (data.pipeline_tag, data.metrics) == (tag, metrics)
    assert {result.dataset_split for result in data.eval_results} == {"held-out"}
    # The commonest base is a baseline: it must not stand as the model's accuracy.
    assert 0.3244 not in [result.metric_value for result in data.eval_results]


def test_data_recipe_limits_and_citation(tmp_path: Path) -> None:
    card = model_card("org/vqdna", [tuned(tmp_path / "run")], command="make demo")
    row = "| Homo_sapiens_chr21.fa.gz | NC_000021.9 | Homo sapiens | 1 | 40,000,000 | 1 | 88,622 | 3 "
    assert row + "| abababababababab | 1, 2 |" in card
    assert "| prom_core_notata | train.csv | unknown | unknown | train | 16,000 | 8,000 | 560,000 |" in card
    assert "| stage 2: pre-training | 0 | 562,434 of 716,034 | 300 | 2,457,600 | 76.5 |" in card
    assert "```bash\nmake demo\n```" in card
    assert "python examples/run_mlm.py --output_dir runs/mlm --learning_rate 0.001 --max_steps 300 --seed 0" in card
    assert "--model_name_or_path runs/mlm" in card
    for text in (
        "It learned from 8,000 of 16,000 training sequences: its score is no benchmark's score.",
        "It reads at most 512 nucleotides at once.",
        "A code depends on 17 nucleotides",
        "any clinical use",
        "li2024vqdna",
        "arXiv 2405.10812",
        "@software{vqdna_hf",
        'revision="<commit>"',
    ):
        assert text in card
    assert "SIMULATED" not in card
    assert str(tmp_path) not in card


def test_simulated_data_say_so_in_the_first_lines(tmp_path: Path) -> None:
    chain = pretrained()
    chain["data"][0]["simulated"] = True
    card = model_card("vqdna", [tuned(tmp_path / "run", parents=[chain])])
    first = card.split("---\n", 2)[2].strip().splitlines()[:3]
    assert first[0] == "# vqdna"
    assert "SIMULATED DATA" in first[2]
    assert "simulated-data" in validate_card(card).data.tags


def test_a_collapsed_run_and_an_unhelpful_pre_training_are_said(tmp_path: Path) -> None:
    run = tuned(tmp_path / "run", mcc=0.0)
    results = json.loads((run / "results/prom/eval_results.json").read_text()) | {"eval_collapsed": 1.0}
    (run / "results/prom/eval_results.json").write_text(json.dumps(results))
    change(run, results={"results/prom/eval_results.json": results})
    control = tuned(tmp_path / "random", mcc=0.2)
    change(control, recipe=load_run(control).record["recipe"] | {"random_init": True})
    card = model_card("vqdna", [run], controls=[control])
    assert "**Collapsed** (seeds 0)" in card
    assert "on this task pre-training has not helped" in card
    # The other way round, the comparison is void.
    change(control, recipe={k: v for k, v in load_run(control).record["recipe"].items() if k != "random_init"})
    change(run, recipe=load_run(run).record["recipe"] | {"random_init": True})
    card = model_card("vqdna", [control], controls=[run])
    assert "The control collapsed (seeds 0)" in card
    assert "It did better" not in card


def test_a_doctored_result_is_refused(tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    file = run / "results/prom/eval_results.json"
    file.write_text(file.read_text().replace("0.6469", "0.9469"))
    with pytest.raises(ValueError, match=r"eval_matthews_correlation is 0.9469, but the run wrote 0.6469"):
        model_card("vqdna", [run])
    file.write_text("[0.9469]")
    with pytest.raises(ValueError, match=r"eval_results.json: is no file of results"):
        model_card("vqdna", [run])


def test_other_weights_than_the_measured_ones_are_refused(tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    save_file({"weight": torch.ones(2, 2)}, run / "model.safetensors")
    with pytest.raises(ValueError, match=r"model.safetensors: these are not the weights that were measured"):
        model_card("vqdna", [run])
    (run / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model.safetensors: these are not the weights"):
        model_card("vqdna", [run])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "0.9", True, None])
def test_what_is_no_finite_number_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run", mcc=value)
    with pytest.raises(ValueError, match=r"run.json: eval_matthews_correlation in results/prom/eval_results.json is"):
        model_card("vqdna", [run])


def test_what_was_not_measured_is_refused_by_name(tmp_path: Path) -> None:
    mlm = pretrained()
    del mlm["results"]["eval_results.json"]["eval_mlm_perplexity"]
    with pytest.raises(ValueError, match=r"> mlm: there is no eval_mlm_perplexity in eval_results.json"):
        model_card("vqdna", [tuned(tmp_path / "run", parents=[mlm])])
    untested = write_run(tmp_path / "untested", {**record("classification", 0, {}, [pretrained()]), "results": {}})
    with pytest.raises(ValueError, match="no test set was evaluated"):
        model_card("vqdna", [untested])


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"seed": None}, "lacks seed"),
        ({"data": None}, "lacks data"),
        ({"finished": False}, "is not finished: go on with"),
        ({"format": 2}, "has format 2, and this vqdna_hf reads up to 1"),
        ({"format": None}, "is no record of a run"),
        ({"weights": {}}, "kept no weights"),
        ({"stage": "stage9"}, "there is no stage 'stage9'"),
        ({"seed": "0"}, "lacks seed"),
        ({"data": "everything"}, "lacks data"),
        ({"parents": [pretrained() | {"training": []}]}, "run.json > mlm: lacks training"),
        ({"parents": ["mlm"]}, "parents names no run"),
    ],
)
def test_a_record_that_is_not_whole_is_refused(parts: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    change(run, **parts)
    with pytest.raises(ValueError, match=message):
        model_card("vqdna", [run])


def test_a_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run.json"):
        model_card("vqdna", [tmp_path])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"learning_rate": 0.002, "seed": 1}}, "recipe.learning_rate is 0.001 and 0.002"),
        ({"parents": [pretrained() | {"recipe": {"learning_rate": 0.5}}]}, "parents.0.recipe.learning_rate is 0.001"),
        ({"parents": [{"name": "org/other", "recorded": False, "weights": {}}]}, "more than the seed: parents"),
        ({"data": [{**GENOME, "sha256": "cd" * 32}]}, "differ in more than the seed: data.0.sha256"),
        ({"training": {"processes": 2}}, "processes is 1 and 2"),
    ],
)  # fmt: skip
def test_runs_that_differ_in_more_than_the_seed_are_no_seeds(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    runs = [tuned(tmp_path / "a", 0), tuned(tmp_path / "b", 1, **changes)]
    with pytest.raises(ValueError, match=re.escape(message)):
        load_runs(runs)


def test_one_seed_twice_is_one_seed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have the same seed, 3"):
        load_runs([tuned(tmp_path / "a", 3), tuned(tmp_path / "b", 3)])


def test_a_control_is_a_control(tmp_path: Path) -> None:
    run, control = tuned(tmp_path / "run"), tuned(tmp_path / "random", mcc=0.1)
    with pytest.raises(ValueError, match="random: is no control"):
        model_card("vqdna", [run], controls=[control])
    change(control, recipe=load_run(control).record["recipe"] | {"random_init": True, "learning_rate": 1.0})
    with pytest.raises(ValueError, match=r"recipe.learning_rate is 0.001 and 1.0"):
        model_card("vqdna", [run], controls=[control])


@pytest.mark.parametrize("place", ["summary", "limits", "use", "command"])
def test_a_number_in_a_text_is_one_that_the_card_says(place: str, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    with pytest.raises(ValueError, match=f"{place}: '0.91' in 'It reaches 0.91.' is no whole number or name"):
        model_card("vqdna", [run], **{place: "It reaches 0.91."})
    with pytest.raises(ValueError, match=f"{place}: '0.6469' in .*: leave the number out"):
        model_card("vqdna", [run], **{place: "It reaches a test MCC of 0.6469."})  # for that there is the table
    with pytest.raises(ValueError, match=f"{place}: '0.998' in"):  # of another metric
        model_card("vqdna", [run], **{place: "How good it is at MCC says the table. It is 0.998."})
    text = "It read 40,000,000 bases of Homo_sapiens_chr21.fa.gz (NC_000021.9), 128 at once, with 1 seed."
    assert text in model_card("vqdna", [run], **{place: text})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "org/vqdna-mcc-0.91"}, "name: 'org/vqdna-mcc-0.91' holds a number beside a metric"),
        ({"name": "lab/vqdna-mcc99"}, "name: "),
        ({"name": "lab/sota-0.99"}, "name: "),
        ({"name": "lab/99-percent"}, "name: "),
        ({"datasets": ["org/gue-acc-99"]}, "datasets: 'org/gue-acc-99'"),
        ({"base_model": "org/f1-99"}, "base_model: 'org/f1-99'"),
    ],
)
def test_a_name_boasts_of_nothing(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    with pytest.raises(ValueError, match=re.escape(message)):
        model_card(**{"name": "vqdna", "runs": [run], **arguments})
    assert model_card("org/vqdna-16m-v2", [run])


def test_neither_do_the_names_of_data(tmp_path: Path) -> None:
    recipe = record("classification", 0, {}, [])["recipe"] | {"data_path": "labels MCC 0.99"}
    with pytest.raises(ValueError, match=r"run.json: data set: 'labels MCC 0.99' holds a number"):
        model_card("vqdna", [tuned(tmp_path / "a", recipe=recipe)])
    behind = pretrained()
    behind["data"] = [{**GENOME, "species": "state of the art, 99 %"}]
    with pytest.raises(ValueError, match=r"> mlm: species: 'state of the art, 99 %'"):
        model_card("vqdna", [tuned(tmp_path / "b", parents=[behind])])
    behind["data"] = [{**GENOME, "accession": "", "names": ["MCC=0.99", "chrM"]}]  # from the headers of a file
    card = model_card("vqdna", [tuned(tmp_path / "c", parents=[behind])])
    assert "| records chrM, ... |" in card
    assert "MCC=0.99" not in card


def test_names_from_files_stay_in_their_cells(tmp_path: Path) -> None:
    name = "a|b `c` <img src=x>\n| test MCC, fine-tuned | 0.99 |"
    recipe = record("classification", 0, {}, [])["recipe"] | {"train_file": "x\n```\n# Great", "lora_targets": name}
    behind = pretrained()
    behind["data"] = [{**GENOME, "file": "a|b\\| `c` <img src=x>\n| d |"}]
    session = {"first_step": 2, "recorded": True, "changed": {"held_out": ["<b>", "`x"]}}
    card = model_card("vqdna", [tuned(tmp_path / "run", parents=[behind], recipe=recipe, sessions=[session])])
    assert "| a\\|b\\\\\\| \\`c\\` \\<img src=x> \\| d \\| | NC_000021.9 |" in card
    assert 'held_out was "\\<b>", then "\\`x"' in card
    assert "````bash\npython" in card
    assert "\n````\n\n## Limits" in card


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.3541", "0.9541"),  # a result of a run behind
        ("40000000", "90000000"),
        ('"seed": 0', '"seed": "0"'),
        ('"device": "CPU', '"device": "GPU'),
        ('"learning_rate": 0.001', '"learning_rate": 0.002'),
        ('"finished": true', '"finished": 1'),
    ],
)
def test_an_edited_record_is_refused(old: str, new: str, tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    text = (run / "run.json").read_text()
    assert old in text
    (run / "run.json").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"run.json: was edited since the run wrote it"):
        model_card("vqdna", [run])
    (run / "run.json").write_text(json.dumps(json.loads(text)))  # other spaces are the same record
    assert model_card("vqdna", [run])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as the record"),
        ("\udcff", "cannot be read as the record"),
        ("[]", "is no record of a run"),
        ('"format"', "is no record of a run"),
        ('{"format": 1}', "has no record_sha256"),
        ('{"format": 1, "record_sha256": {}}', "was edited"),
        ('{"format": 1, "parents": ' + "[" * 100_000 + "]" * 100_000 + "}", "is nested too deeply"),
    ],
)
def test_what_is_no_record_gives_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message) as error:
        model_card("vqdna", [tmp_path])
    assert str(error.value).startswith(f"{tmp_path}/run.json: ")
    assert "\n" not in str(error.value)


def test_a_renamed_file_is_the_same_data(tmp_path: Path) -> None:
    other = pretrained(1)
    other["recipe"]["train_files"] = ["renamed.fa"]
    other["data"] = [{**GENOME, "file": "renamed.fa"}]
    recipe = record("classification", 1, {}, [])["recipe"] | {"data_path": "prom_copy"}
    runs = [tuned(tmp_path / "a", 0), tuned(tmp_path / "b", 1, parents=[other], recipe=recipe)]
    assert "2 seeds" in model_card("vqdna", runs)


def test_license_name_and_ids_are_the_hubs(tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    with pytest.raises(ValueError, match="license 'Apache 2' is none of the Hub's"):
        model_card("vqdna", [run], license="Apache 2")
    for arguments in ({"name": "a/b/c"}, {"datasets": ["not an id"]}, {"base_model": "-"}):
        with pytest.raises(ValueError, match=r"Repo id|alphanumeric"):
            model_card(**{"name": "vqdna", "runs": [run], **arguments})


def test_what_was_fine_tuned_from_the_hub_names_its_base(tmp_path: Path) -> None:
    behind = [{"name": "org/vqdna-base", "recorded": False, "weights": {}}]
    card = model_card("org/vqdna-prom", [tuned(tmp_path / "run", parents=behind)])
    assert validate_card(card).data.base_model == "org/vqdna-base"
    assert "It starts from `org/vqdna-base`, whose own data are not recorded here." in card


def write_export(folder: Path, **config: Any) -> Path:
    """An export of `tuned`, seed 0."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(model_config(**config))
    save_file({"weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    return folder


def test_one_text_in_all_places_and_only_beside_its_own_weights(tmp_path: Path) -> None:
    run, export_dir = tuned(tmp_path / "run"), write_export(tmp_path / "export", transformers_version="5.99")
    card = model_card("org/vqdna-hrq", [run])
    files = write_card_files(card, run, export_dir=export_dir, card_dir=tmp_path / "model_cards")
    assert files == [export_dir / "README.md", tmp_path / "model_cards" / "vqdna-hrq.md"]
    assert {file.read_text() for file in files} == {card}
    for tensors in ({"weight": torch.ones(2, 2)}, {"weight": torch.zeros(2, 2), "more": torch.zeros(1)}):
        save_file(tensors, export_dir / "model.safetensors")
        with pytest.raises(ValueError, match=r"export holds other weights than .*run \((weight|more)\)"):
            write_card_files(card, run, export_dir=export_dir)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"id2label": {"0": "promoter", "1": "other"}}, "id2label is {0: 'promoter', 1: 'other'}, and in .*LABEL_0"),
        ({"problem_type": "regression"}, "problem_type is 'regression', and in .*config.json None"),
        ({"classifier_pooling": "cls"}, "classifier_pooling is 'cls'"),
        ({"average_strands": True}, "average_strands is True"),
        ({"codec_config": {"norm_eps": 0.1}}, "codec_config.norm_eps is 0.1"),
        ({"stage": "mlm"}, "it is a VQDNAForMaskedLM, not a VQDNAForSequenceClassification"),
    ],
)
def test_an_export_that_answers_otherwise_is_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    run, export_dir = tuned(tmp_path / "run"), write_export(tmp_path / "export", **config)
    with pytest.raises(ValueError, match=f"export is not the export of .*run: {message}"):
        write_card_files(model_card("vqdna", [run]), run, export_dir=export_dir)
    assert not (export_dir / "README.md").exists()


def test_a_card_is_kept_in_a_folder_and_is_no_readme(tmp_path: Path) -> None:
    run = tuned(tmp_path / "run")
    card, file = model_card("vqdna", [run]), tmp_path / "file"
    file.write_text("mine")
    for place in (file, file / "below"):
        with pytest.raises(ValueError, match=rf"{place} is a file, or lies in one: cards are kept in a folder"):
            write_card_files(card, run, card_dir=place)
    for name in ("README", "org/ReadMe", "org/readme.md"):
        with pytest.raises(ValueError, match=r"would be kept as README.md"):
            model_card(name, [run])
    with pytest.raises(ValueError, match=r"would be kept as README.md"):
        write_card_files(card.replace("name: vqdna\n", "name: readme\n"), run, card_dir=tmp_path)


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """A run of stage 3 with adapters, on a base beside it."""
    set_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))
    codec.train()(torch.randint(5, 9, (8, 40)))
    VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL).save_pretrained(tmp_path / "mlm")
    model = load_pretrained(VQDNAForSequenceClassification, tmp_path / "mlm", HEAD)
    adapted = add_lora(model, rank=2, alpha=4, dropout=0.0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.01)
    behind = pretrained() | {"weights": weights_sha256(tmp_path / "mlm")}
    run = tuned(tmp_path / "run", parents=[behind])
    (run / "model.safetensors").unlink()
    (run / "config.json").unlink()
    adapted.save_pretrained(run)
    save_adapted_config(adapted, run)
    change(run, weights=weights_sha256(run))
    return run


def test_an_export_of_adapters_holds_them_merged(
    adapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, export_dir = model_card("vqdna", [adapters]), tmp_path / "export"
    export_run(adapters, export_dir)
    assert write_card_files(card, adapters, export_dir=export_dir) == [export_dir / "README.md"]
    merged = load_adapter(VQDNAForSequenceClassification, adapters).merge_and_unload()
    with torch.no_grad():
        merged.vqdna.backbone.layers[0].attn.Wo.weight += 0.01
    export(merged, export_dir)
    with pytest.raises(ValueError, match=r"other weights than .*run \(vqdna.backbone.layers.0.attn.Wo.weight\)"):
        write_card_files(card, adapters, export_dir=export_dir)
    monkeypatch.setattr("vqdna_hf.hub.card._has_peft", lambda: False)
    write_card_files(card, adapters, export_dir=export_dir)  # there the head alone can be compared
    with torch.no_grad():
        merged.classifier.weight += 0.01
    export(merged, export_dir)
    with pytest.raises(ValueError, match=r"other weights than .*run \(classifier.weight\)"):
        write_card_files(card, adapters, export_dir=export_dir)


def test_adapters_on_another_base_than_the_measured_one(adapters: Path, tmp_path: Path) -> None:
    export_dir = tmp_path / "export"
    export(load_adapter(VQDNAForSequenceClassification, adapters).merge_and_unload(), export_dir)
    base = VQDNAForMaskedLM.from_pretrained(tmp_path / "mlm")
    with torch.no_grad():
        base.vqdna.backbone.layers[0].attn.Wo.weight += 0.01
    base.save_pretrained(tmp_path / "mlm")
    with pytest.raises(ValueError, match=r"mlm: these are not the weights that the adapters of .*run were trained on"):
        write_card_files(model_card("vqdna", [adapters]), adapters, export_dir=export_dir)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("license: apache-2.0\n", "license: mine\n", "license 'mine'"),
        ("pipeline_tag: text-classification\n", "", "pipeline_tag None"),
        ("value: 0.6469", "value: .nan", "test MCC, fine-tuned is nan"),
        ("value: 0.6469", "value: high", "is 'high', no finite number"),
        ("## Limits\n", "", "no section Limits"),
        ("model-index:", "model-indexed:", "no results"),
        ('revision="<commit>"', "a revision", "should be pinned"),
        ("  - task:\n      type", "  - task:\n      kind", "cannot be read"),
    ],
)
def test_a_card_that_the_hub_would_misread_is_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    card = model_card("vqdna", [tuned(tmp_path / "run")])
    assert old in card
    with pytest.raises(ValueError, match=re.escape(message)):
        validate_card(card.replace(old, new))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(address, requests) of a server that accepts cards, but for those with the tag `refuse-me`."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append({"path": self.path, **body})
            refused = "refuse-me" in body["content"]
            answer = b'"license" is not what it should be' if refused else b"OK"
            self.send_response(400 if refused else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_is_asked_where_one_wants_to_ask_it(hub: tuple[str, list[dict[str, Any]]], tmp_path: Path) -> None:
    endpoint, requests = hub
    before, card = constants.ENDPOINT, model_card("vqdna", [tuned(tmp_path / "run")])
    validate_card_on_hub(card, endpoint)
    assert requests == [{"path": "/api/validate-yaml", "repoType": "model", "content": card}]
    with pytest.raises(ValueError, match=r"refuses the card: .*is not what it should be"):
        validate_card_on_hub(card.replace("- custom_code\n", "- custom_code\n- refuse-me\n"), endpoint)
    with pytest.raises(ConnectionError, match="could not check the card"):
        validate_card_on_hub(card, "http://127.0.0.1:1")
    assert before == constants.ENDPOINT


def test_a_table_shows_floats_with_four_digits() -> None:
    assert markdown_table(["a", "b"], [[1, 1 / 3], ["x|y", True]]).splitlines()[2:] == [
        "| 1 | 0.3333 |",
        "| x\\|y | True |",
    ]
