# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def vqdna_data() -> Path:
    """Find the real data: `VQDNA_DATA`, else `../shared/data` beside the repository; skip without it."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VQDNA_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no real data: set VQDNA_DATA to its folder ({folder} does not exist)")
    return folder
