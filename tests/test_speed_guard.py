# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A guard against slow code: ratios to a plain way beside it, with bounds far wider than noise, and never a time.

`pytest tests/test_speed_guard.py`. Calls alternate, on one thread, by the process's own time, so that what else runs
on the machine hardly counts; each bound is at least a third off what was measured when it was set.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from speed import codec, peers

from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecEncoder

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def times_as_long(one: Callable[[], object], other: Callable[[], object], rounds: int = 7) -> float:
    """How much longer `one` takes: the median of the ratios of the rounds."""

    def taken(call: Callable[[], object]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    one()
    other()
    return statistics.median(taken(one) / taken(other) for _ in range(rounds))


@pytest.fixture(scope="module")
def small_codec() -> VQDNACodecEncoder:
    torch.manual_seed(0)
    encoder = VQDNACodecEncoder(peers.recipe("small").codec_config).eval().requires_grad_(False)
    peers.fill_codebooks(encoder)
    return encoder


@pytest.mark.parametrize(("sequences", "length"), [(4, 128), (1, 512)])
def test_encoding_is_not_slower_than_the_plainest_way(
    small_codec: VQDNACodecEncoder, sequences: int, length: int
) -> None:
    ids = peers.nucleotides(sequences, length, CPU)
    differ = codec.encode(small_codec, ids) != codec.plain_encode(small_codec, ids)
    assert differ.float().mean() < 1e-3
    ratio = times_as_long(lambda: codec.encode(small_codec, ids), lambda: codec.plain_encode(small_codec, ids))
    assert ratio < 1.5  # measured: 0.9


@pytest.fixture(scope="module")
def trainee() -> peers.Trainee:
    """Ours in the size of the `small` recipe; each test sets the batch that it needs."""
    return peers.Trainee(peers.ours(peers.recipe("small")), 1, 128, CPU)


def set_length(trainee: peers.Trainee, length: int) -> None:
    trainee.set_batch(peers.ours(peers.recipe("small")), 1, length)


def test_the_frozen_codec_keeps_nothing_for_backward_and_is_a_small_part_of_the_step(trainee: peers.Trainee) -> None:
    set_length(trainee, 128)
    trainee.step()
    shares = []
    with codec.Watch(trainee.model.vqdna.codec, CPU) as watch:
        for _ in range(3):
            before, start = watch.seconds, time.perf_counter()
            trainee.step()
            shares.append((watch.seconds - before) / (time.perf_counter() - start))
    assert watch.kept == 0
    assert watch.seconds > 0
    assert statistics.median(shares) < 0.25  # measured: 0.09, and 0.06 of `base`


def test_a_step_costs_little_more_than_one_of_its_backbone_on_nucleotides(trainee: peers.Trainee) -> None:
    set_length(trainee, 128)
    config = trainee.model.config
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    kind = peers.modernbert("the same backbone", {name: getattr(config, name) for name in names})
    backbone = peers.Trainee(kind, 1, 128, CPU)
    assert times_as_long(trainee.step, backbone.step, rounds=3) < 1.8  # measured: 1.2


def test_a_stride_saves_what_it_promises(trainee: peers.Trainee) -> None:
    other = peers.Trainee(peers.ours(peers.recipe("small", codec_stride=4)), 1, 256, CPU)
    set_length(trainee, 256)
    assert times_as_long(trainee.forward, other.forward, rounds=3) > 1.5  # measured: 2.7, and 3.9 of 1,024 bases
