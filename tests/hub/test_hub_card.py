# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Cards carry what was measured, and nothing else."""

from typing import Any

import pytest
import yaml

from vqdna_hf.hub import markdown_table, write_card

TEMPLATE = "# {name}\n{summary}\n{data}\n{results}\n{citation}\nseed {seed}\n"


def card(**changes: Any) -> str:
    """A card whose parts can be replaced."""
    arguments: dict[str, Any] = {
        "summary": "A tiny model.",
        "data": [{"file": "yeast.fa", "kind": "real"}],
        "results": [{"metric": "MCC", "value": 0.51239, "measured on": "test.csv"}],
        "values": {"seed": 3},
        **changes,
    }
    return write_card("org/name", TEMPLATE, **arguments)


def test_a_card_has_front_matter_and_tables() -> None:
    _, front, body = card().split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "apache-2.0"
    assert metadata["library_name"] == "transformers"
    assert "# org/name\nA tiny model.\n" in body
    assert "| file | kind |\n|---|---|\n| yeast.fa | real |" in body
    assert "| MCC | 0.5124 | test.csv |" in body
    assert "seed 3" in body
    assert "li2024vqdna" in body


def test_what_was_not_measured_cannot_get_in() -> None:
    with pytest.raises(ValueError, match="without a measured result"):
        card(results=[])
    with pytest.raises(ValueError, match="'seed'"):
        card(values={})


def test_a_table_shows_floats_with_four_digits() -> None:
    assert markdown_table(["a", "b"], [[1, 1 / 3], ["x", True]]).splitlines()[2:] == [
        "| 1 | 0.3333 |",
        "| x | True |",
    ]
