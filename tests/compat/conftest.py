# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Transformers' own common tests, out of its source distribution, against the classes of this package.

`make compat` fetches the distribution and names the folder of its tests in `VQDNA_COMPAT_TESTS`; without it these
tests are skipped. Nothing of the distribution is kept here.
"""

import importlib.util
import os
import sys
import types
from pathlib import Path

import pytest
from exclusions import EXCLUDED

FOLDER = os.environ.get("VQDNA_COMPAT_TESTS")
PACKAGE = "transformers_tests"


def _stub(name: str, **members: object) -> None:
    """A module that the distribution's tests import and the distribution does not hold."""
    module = types.ModuleType(f"{PACKAGE}.{name}")
    module.__dict__.update(members)
    sys.modules[module.__name__] = module


def _make_importable(folder: Path) -> None:
    """The distribution's `tests/` as the package `transformers_tests`: its own name is taken by everyone's tests."""
    spec = importlib.util.spec_from_loader(PACKAGE, loader=None, is_package=True)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package
    # Generation is for models that generate; graph export is tested in tests/model, with numbers.
    _stub("generation")
    _stub("generation.test_utils", GenerationTesterMixin=type("GenerationTesterMixin", (), {}))
    _stub("exporters")
    _stub("exporters.test_export", ExportTesterMixin=type("ExportTesterMixin", (), {}))
    _stub("utils")
    # Values that no configuration has by default, to be found again after saving and loading.
    _stub(
        "utils.test_configuration_utils",
        config_common_kwargs={
            "return_dict": False, "output_hidden_states": True, "output_attentions": True, "dtype": "float16",
            "chunk_size_feed_forward": 5, "architectures": ["BertModel"], "finetuning_task": "translation",
            "id2label": {0: "label"}, "label2id": {"label": "0"}, "problem_type": "regression",
        },
    )  # fmt: skip


if FOLDER:
    _make_importable(Path(FOLDER))


def pytest_configure(config: pytest.Config) -> None:
    """The marks that the distribution's own configuration declares."""
    for mark in ("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "torch_compile_test"):
        config.addinivalue_line("markers", f"{mark}: of Transformers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An excluded test must fail: an exclusion that is no longer needed fails the run."""
    for item in items:
        owner = getattr(item, "cls", None)
        name = getattr(item, "originalname", None) or item.name
        reason = EXCLUDED.get((owner.__name__ if owner else "", name))
        if reason:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
