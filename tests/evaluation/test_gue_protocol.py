# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The published protocol and numbers, against the papers' text."""

import pytest

from vqdna_hf.evaluation.gue_protocol import (
    CPU,
    GUE_GROUPS,
    GUE_SIZES,
    PUBLISHED_GROUP_MEANS,
    PUBLISHED_SCORES,
    SOURCES,
    group_of,
    protocol_for,
)


@pytest.mark.parametrize(
    ("name", "epochs", "warmup", "steps"),
    [
        ("EMP/H3", 3, 50, 3 * 375),
        ("prom/prom_core_all", 4, 50, 4 * 1480),
        ("prom/prom_300_all", 4, 50, 4 * 1480),
        ("prom/prom_300_tata", 10, 50, 10 * 154),
        ("prom/prom_core_tata", 10, 50, 10 * 154),
        ("splice/reconstructed", 5, 50, 5 * 1141),
        ("virus/covid", 8, 50, 8 * 2428),
        ("mouse/0", 100, 30, 1000),  # Trainer lets `--max_steps 1000` override the scripts' 5 epochs
        ("mouse/2", 100, 30, 1000),
        ("mouse/4", 100, 30, 1000),
        ("tf/0", 3, 30, 3 * 1012),
    ],
)
def test_published_protocol(name: str, epochs: int, warmup: int, steps: int) -> None:
    protocol = protocol_for(name)
    assert (protocol.num_train_epochs, protocol.warmup_steps) == (epochs, warmup)
    assert protocol.steps(GUE_SIZES[name][0]) == steps
    assert (protocol.learning_rate, protocol.lora_learning_rate) == (3e-5, 1e-4)
    assert (protocol.weight_decay, protocol.batch_size, protocol.mixed_precision) == (0.01, 32, True)
    assert protocol.metric == ("f1" if name == "virus/covid" else "matthews_correlation")
    assert (protocol.eval_steps, protocol.max_dev, protocol.name) == (None, None, "published")


def test_an_epoch_lies_between_evaluations_and_a_short_run_has_one() -> None:
    assert protocol_for("tf/0").steps_between_evaluations(32_378) == 1012
    assert protocol_for("tf/0", overrides={"max_steps": 7}).steps_between_evaluations(32_378) == 7


def test_cpu_protocol_is_capped_and_small_sets_get_as_many_steps() -> None:
    for name, sizes in GUE_SIZES.items():
        if sizes is not None:
            assert protocol_for(name, "cpu").steps(sizes[0]) == 300
    assert CPU.learning_rate == 1e-3
    assert protocol_for("virus/covid", "cpu").metric == "f1"


def test_overrides_are_recorded_in_the_name() -> None:
    changed = protocol_for("tf/0", "published", {"learning_rate": 1e-3, "max_steps": None})
    assert changed.name == "published, changed"
    assert changed.lora_learning_rate == 1e-3
    assert protocol_for("tf/0", "published", {"num_train_epochs": 3, "max_steps": None}).name == "published"


@pytest.mark.parametrize(
    ("base", "overrides", "match"),
    [
        ("quick", {}, "choose published or cpu"),
        ("cpu", {"epochs": 3}, "no value epochs"),
        ("cpu", {"name": "published"}, "no value name"),
        ("cpu", {"learning_rate": 0.0}, "learning_rate 0.0"),
        ("cpu", {"max_steps": 0}, "max_steps 0"),
        ("cpu", {"warmup_steps": -1}, "warmup_steps -1"),
        ("published", {"num_train_epochs": float("inf")}, "num_train_epochs inf: it must be above 0, and finite"),
        ("cpu", {"learning_rate": float("inf")}, "learning_rate inf: it must be above 0, and finite"),
        ("cpu", {"learning_rate": float("nan")}, "learning_rate nan"),
        ("cpu", {"weight_decay": float("nan")}, "weight_decay nan: it must not be below 0, and finite"),
        ("cpu", {"lr_scheduler": "step"}, "choose linear, cosine"),
        ("cpu", {"metric": "accuracy"}, "choose matthews_correlation or f1"),
    ],
)
def test_values_that_make_no_sense(base: str, overrides: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        protocol_for("tf/0", base, overrides)


def test_groups_have_the_sets_that_papers_average_over() -> None:
    sizes = {group: sum(group_of(name) == group for name in GUE_SIZES) for group in GUE_GROUPS}
    assert sizes == {"EMP": 10, "TF-M": 5, "TF-H": 5, "CPD": 3, "PD": 3, "SSP": 1, "CVC": 1}


def test_published_numbers() -> None:
    assert set(PUBLISHED_GROUP_MEANS) == set(GUE_GROUPS)
    for numbers in PUBLISHED_GROUP_MEANS.values():
        assert list(numbers) == list(SOURCES)
    assert PUBLISHED_GROUP_MEANS["PD"]["NT-2500M-multi"] == 88.15
    assert PUBLISHED_SCORES["tf/0"]["VQDNA (HRQ)"] == 72.48
    assert "VQDNA (HRQ)" not in PUBLISHED_SCORES["mouse/0"]
    # A group of one set has one number.
    for group, name in (("SSP", "splice/reconstructed"), ("CVC", "virus/covid")):
        assert PUBLISHED_SCORES[name] == PUBLISHED_GROUP_MEANS[group]
