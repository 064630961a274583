# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Tiny data and tiny models of each stage, made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from example_scripts import codec_arguments, mlm_arguments, run_example

from vqdna_hf.data import simulate_fasta, simulate_promoters


@pytest.fixture(scope="package", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four contigs of 1,500 simulated bases."""
    path = tmp_path_factory.mktemp("genome") / "genome.fa"
    simulate_fasta(path, num_bases=6_000, num_contigs=4, seed=0)
    return path


@pytest.fixture(scope="session")
def promoters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GUE folder: 16, 8 and 10 simulated sequences of 70 bases."""
    folder = tmp_path_factory.mktemp("promoters")
    simulate_promoters(folder, num_train=16, num_dev=8, num_test=10, seed=0)
    return folder


@pytest.fixture(scope="session")
def codec_folder(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec after two steps."""
    folder = tmp_path_factory.mktemp("codec")
    assert run_example("run_codec", **codec_arguments(genome, folder)) == 0
    return folder


@pytest.fixture(scope="session")
def mlm_folder(genome: Path, codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model after two steps."""
    folder = tmp_path_factory.mktemp("mlm")
    assert run_example("run_mlm", **mlm_arguments(genome, codec_folder, folder)) == 0
    return folder
