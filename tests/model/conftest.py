# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Fixtures for tests of the models."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def one_thread_and_a_fixed_seed() -> Iterator[None]:
    """The same sums and the same draws in each test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
