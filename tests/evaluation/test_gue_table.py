# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Sums over runs by hand, and what a table may call a GUE score."""

from typing import Any

import pytest

from vqdna_hf.evaluation.gue_protocol import GUE_SIZES, protocol_for
from vqdna_hf.evaluation.gue_table import gue_table, summarize_gue


def record(
    seed: int, mcc: float, name: str = "tf/0", protocol: str = "published", without: float | None = None, **changes: Any
) -> dict[str, Any]:
    """As `evaluate_gue` writes it."""
    other = mcc if without is None else without
    results = {
        "set": name,
        "is_gue": name in GUE_SIZES,
        "checkpoint": {"name": "tiny", "variant": ""},
        "protocol": protocol_for(name, protocol).as_dict(),
        "test": {"matthews_correlation": mcc, "f1": 0.5},
        "test_without_overlap": {"matthews_correlation": other, "f1": 0.5},
        "overlap": 0 if without is None else 6,
        "collapsed": False,
        "diverged": False,
        "steps": 10,
        "seconds": 2.0,
    }
    return {"seeds": [seed], "results": {**results, **changes}}


def test_mean_and_sd_by_hand_collapsed_runs_included() -> None:
    runs = [record(2, 0.0, collapsed=True, without=0.0), record(0, 0.6, without=0.5), record(1, 0.3, without=0.4)]
    row = summarize_gue(runs)["rows"][0]
    assert row["seeds"] == [0, 1, 2]
    assert row["values"] == pytest.approx([60, 30, 0])
    assert (row["mean"], row["sd"]) == (pytest.approx(30), pytest.approx(30))
    assert (row["collapsed"], row["mean_of_others"]) == (1, pytest.approx(45))
    assert (row["overlap"], row["mean_without_overlap"]) == (6, pytest.approx(30))
    table = gue_table(summarize_gue(runs))
    line = "| tiny | published | tf/0 | MCC | 30.00 ± 30.00 | 3 | **1 of 3** | 30.00 ± 26.46 (6) | not counted | 66.84 "
    assert line in table


@pytest.mark.parametrize(
    ("runs", "is_score"),
    [
        ([record(seed, 0.5) for seed in range(3)], True),
        ([record(seed, 0.5) for seed in range(2)], False),
        ([record(seed, 0.5, protocol="cpu") for seed in range(3)], False),
        ([record(seed, 0.5, is_gue=False) for seed in range(3)], False),
        ([record(seed, 0.5, name="species-1000") for seed in range(3)], False),
    ],
)
def test_only_the_published_protocol_on_whole_sets_with_three_seeds_is_a_score(runs: list, is_score: bool) -> None:
    summary = summarize_gue(runs)
    assert summary["rows"][0]["is_gue_score"] is is_score
    assert ("No GUE score" in gue_table(summary)) is not is_score
    assert ("50.00 ± 0.00 *" in gue_table(summary)) is not is_score


def test_covid_is_measured_by_f1() -> None:
    row = summarize_gue([record(0, 0.9, name="virus/covid")])["rows"][0]
    assert (row["metric"], row["mean"], row["sd"]) == ("f1", 50.0, None)


def test_groups_say_how_many_of_their_sets_there_are() -> None:
    summary = summarize_gue([record(0, 0.4), record(0, 0.6, name="tf/1"), record(0, 0.1, name="mouse/0")])
    groups = {row["group"]: row for row in summary["groups"]}
    assert (groups["TF-H"]["sets"], groups["TF-H"]["of"]) == (2, 5)
    assert groups["TF-H"]["mean"] == pytest.approx(50)
    assert groups["TF-H"]["published"]["VQDNA (HRQ)"] == 70.56
    assert "A group of which sets are missing" in gue_table(summary)


def test_models_and_protocols_have_rows_of_their_own() -> None:
    other = record(0, 0.2, checkpoint={"name": "tiny", "variant": "random weights"})
    rows = summarize_gue([record(0, 0.4), other, record(0, 0.3, protocol="cpu")])["rows"]
    assert [(row["model"], row["protocol"], row["n"]) for row in rows] == [
        ("tiny", "cpu", 1),
        ("tiny", "published", 1),
        ("tiny (random weights)", "published", 1),
    ]


def of_model(seed: int, sha: str, folder: str, **changes: Any) -> dict[str, Any]:
    checkpoint = {"name": folder.rpartition("/")[2], "variant": "", "sha256": {"model": sha, "tokenizer": "same"}}
    checkpoint |= changes.pop("checkpoint", {})
    return record(seed, 0.5, checkpoint=checkpoint, folder=folder, **changes)


def test_a_seed_counts_once() -> None:
    summary = summarize_gue([record(0, 0.5), record(0, 0.5), record(0, 0.5)])
    row = summary["rows"][0]
    assert (row["n"], row["seeds"], row["copies"], row["is_gue_score"]) == (1, [0], 2, False)
    assert "2 are left out as copies" in gue_table(summary)


def test_models_of_one_name_have_rows_of_their_own() -> None:
    runs = [of_model(0, "a", "small/seed-0"), of_model(1, "b", "large/seed-0"), of_model(2, "c", "large/other")]
    rows = summarize_gue(runs)["rows"]
    assert [(row["model"], row["n"]) for row in rows] == [("large/seed-0", 1), ("other", 1), ("small/seed-0", 1)]
    # The same folder, trained anew; and the same weights under another name.
    rows = summarize_gue([of_model(0, "a", "x/tiny"), of_model(1, "b", "x/tiny")])["rows"]
    assert len({row["model"] for row in rows}) == 2
    assert all(row["model"].startswith("x/tiny ") for row in rows)
    rows = summarize_gue([of_model(0, "a", "x/tiny"), of_model(1, "a", "y/copy")])["rows"]
    assert [(row["model"], row["seeds"]) for row in rows] == [("tiny", [0, 1])]


def test_variants_protocols_precisions_and_data_have_rows_of_their_own() -> None:
    adapters = [{"variant": "LoRA", "lora": [rank, 32, 0.05]} for rank in (8, 16)]
    rows = summarize_gue([of_model(0, "a", "x/tiny", checkpoint=one) for one in adapters])["rows"]
    assert {row["model"] for row in rows} == {
        f"tiny (LoRA, rank, scale, dropout [{rank}, 32, 0.05])" for rank in (8, 16)
    }
    changed = [protocol_for("tf/0", "cpu", {"max_steps": 9, "learning_rate": rate}).as_dict() for rate in (0.1, 0.2)]
    rows = summarize_gue([{**record(0, 0.5), "results": {**record(0, 0.5)["results"], "protocol": p}} for p in changed])
    assert [row["protocol"] for row in rows["rows"]] == [
        f"cpu, changed: learning_rate {rate}, lora_learning_rate {rate}" for rate in (0.1, 0.2)
    ]
    rows = summarize_gue([record(seed, 0.5, precision=kind) for seed, kind in enumerate(("float32", "bfloat16"))])[
        "rows"
    ]
    assert [row["protocol"] for row in rows] == ["published: precision bfloat16", "published: precision float32"]
    rows = summarize_gue([record(seed, 0.5, data={"train": str(seed)}) for seed in range(2)])["rows"]
    assert [row["n"] for row in rows] == [1, 1]
    assert len({row["protocol"] for row in rows}) == 2


def test_a_protocol_that_only_has_the_name_gives_no_score() -> None:
    protocol = {**protocol_for("mouse/2").as_dict(), "max_steps": 410}
    runs = [record(seed, 0.5, name="mouse/2") for seed in range(3)]
    assert summarize_gue(runs)["rows"][0]["is_gue_score"]
    for run in runs:
        run["results"]["protocol"] = protocol
    assert not summarize_gue(runs)["rows"][0]["is_gue_score"]


def test_near_sequences_and_contradictions_are_told() -> None:
    near = {"matthews_correlation": 0.4, "f1": 0.5}
    summary = summarize_gue([record(0, 0.5, near=37, test_without_near=near, contradicted=3)])
    assert "| same (0) | 40.00 (37) |" in gue_table(summary)
    assert "whose copy in train has another label: tf/0 3." in gue_table(summary)


def test_names_of_folders_are_text() -> None:
    table = gue_table(summarize_gue([of_model(0, "a", "x/a|b <img src=x>")]))
    assert "| a\\|b \\<img src=x> | published |" in table


def test_the_table_names_its_sources() -> None:
    table = gue_table(summarize_gue([record(0, 0.4)]))
    assert "what papers report, not measured here" in table
    assert "arXiv 2405.10812" in table
    assert "arXiv 2306.15006" in table
    assert "where the scripts go by the loss" in table
    assert "where the scripts go by the loss" not in gue_table(summarize_gue([record(0, 0.4, protocol="cpu")]))
