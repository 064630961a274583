# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Two gloo processes, each with its part of a batch, against one process with all of it.

Tolerance: 1e-6, absolute and relative. The same vectors are chosen; only the order of the sums differs.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_worker import CODEBOOK_SIZES, DEAD_CODE_UPDATE, DIM, SPLITS, UPDATES, train
from torch import Tensor

from vqdna_hf.model.quantization_vqdna import HierarchicalResidualQuantizer

WORKER = Path(__file__).with_name("distributed_worker.py")


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """The states of both ranks: by rank, split, and step and name."""
    folder = tmp_path_factory.mktemp("ranks")
    workers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outputs = [worker.communicate(timeout=120)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    for worker, output in zip(workers, outputs, strict=True):
        assert worker.returncode == 0, output
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", SPLITS)
def test_two_processes_equal_one_on_the_joined_batch(name: str, two_ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    quantizer = HierarchicalResidualQuantizer(CODEBOOK_SIZES, DIM, decay=0.5, dead_code_threshold=0.3).train()
    expected = train(quantizer, None, SPLITS[name])
    for rank in range(2):
        found = {key: value for key, value in two_ranks[rank][name].items() if not key.endswith("messages")}
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6, msg=f"rank {rank}, {key}")
    # The run holds what it is to test: initialisation at the first step, re-seeding when the data moved.
    assert expected["0.codebooks.0.initialized"].item() == 1.0
    before, after = (expected[f"{step}.codebooks.1.embed"] for step in (DEAD_CODE_UPDATE - 1, DEAD_CODE_UPDATE + 1))
    assert (before.mean(-1) < 15).all()
    assert (after.mean(-1) > 15).sum() > 3


@pytest.mark.parametrize("name", SPLITS)
def test_both_ranks_hold_the_same_to_the_bit(name: str, two_ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    for key, value in two_ranks[0][name].items():
        assert torch.equal(value, two_ranks[1][name][key]), key


@pytest.mark.parametrize("name", SPLITS)
def test_a_step_sends_two_messages_whatever_the_number_of_levels(
    name: str, two_ranks: list[dict[str, dict[str, Tensor]]]
) -> None:
    """The first step alone needs more: each level is initialised with what the one before leaves."""
    for step in range(1, UPDATES):
        assert two_ranks[0][name][f"{step}.messages"].tolist() == [1, 1]
    assert two_ranks[0][name]["0.messages"].tolist() == [3, 2]
