# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Why nucleotides are hidden before the codec: hiding codes only leaves the answer in the neighbouring codes.

The DNA is a first-order Markov chain: the best possible guess from the other bases is known exactly. A small
probe reads what the backbone reads around one masked position and names the masked base.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, MASK_ID

LENGTH, CENTRE, REACH = 33, 16, 4
TRANSITIONS = torch.tensor(
    [[0.50, 0.20, 0.20, 0.10], [0.15, 0.25, 0.10, 0.50], [0.20, 0.45, 0.20, 0.15], [0.15, 0.10, 0.50, 0.25]]
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread_and_a_fixed_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def stationary() -> Tensor:
    return torch.linalg.matrix_power(TRANSITIONS.double(), 200)[0].float()


def markov_dna(count: int) -> Tensor:
    """(count, LENGTH) nucleotide ids."""
    bases = [torch.multinomial(stationary().expand(count, 4), 1)[:, 0]]
    for _ in range(LENGTH - 1):
        bases.append(torch.multinomial(TRANSITIONS[bases[-1]], 1)[:, 0])
    return torch.stack(bases, 1) + FIRST_NUCLEOTIDE_ID


def best_accuracy() -> float:
    """Of the guess that knows all other bases; in a chain the two neighbours are all that helps."""
    joint = stationary()[:, None, None] * TRANSITIONS[:, :, None] * TRANSITIONS[None, :, :]
    return joint.amax(1).sum().item()


@pytest.fixture(scope="module")
def codec() -> VQDNACodecModel:
    config = VQDNACodecConfig(
        hidden_size=32,
        stem_size=16,
        num_blocks=2,
        tap_positions=[1, 2],
        codebook_sizes=[64, 128],
        codebook_dim=32,
        objective="window",
    )
    model = VQDNACodecModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        loss = model(markov_dna(32)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def read_by_the_backbone(codec: VQDNACodecModel, mask_level: str, clean: Tensor) -> Tensor:
    """What the backbone receives within REACH of the masked position CENTRE, flat: (B, features)."""
    config = VQDNAConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        mask_level=mask_level,
    )
    torch.manual_seed(1)
    model = VQDNAForMaskedLM.from_codec(codec, config).eval()
    nn.init.orthogonal_(model.vqdna.code_projection.weight)  # nothing of the codes is lost on the way
    labels = torch.full_like(clean, -100)
    labels[:, CENTRE] = clean[:, CENTRE]
    read: list[Tensor] = []

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        read.append(kwargs["inputs_embeds"])

    model.vqdna.backbone.register_forward_pre_hook(record, with_kwargs=True)
    with torch.no_grad():
        model(
            torch.where((labels != -100) & torch.tensor(mask_level == "nucleotide"), MASK_ID, clean),
            labels=labels,
        )
    return read[0][:, CENTRE - REACH : CENTRE + REACH + 1].flatten(1)


def probe_accuracy(codec: VQDNACodecModel, mask_level: str) -> float:
    torch.manual_seed(2)
    train, test = markov_dna(4000), markov_dna(2000)
    features, held_out = (read_by_the_backbone(codec, mask_level, ids) for ids in (train, test))
    mean, scale = features.mean(0), features.std(0) + 1e-3
    targets, answers = (ids[:, CENTRE] - FIRST_NUCLEOTIDE_ID for ids in (train, test))
    probe = nn.Sequential(nn.Linear(features.shape[1], 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3, weight_decay=0.05)
    for _ in range(300):
        rows = torch.randint(len(train), (256,))
        loss = F.cross_entropy(probe((features[rows] - mean) / scale), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    guesses = probe.eval()((held_out - mean) / scale).argmax(-1)
    return (guesses == answers).float().mean().item()


def test_the_best_guess_is_far_from_certain() -> None:
    assert 0.4 < best_accuracy() < 0.6


def test_hidden_codes_leak_through_their_neighbours(codec: VQDNACodecModel) -> None:
    # The position's own code is hidden, and still the answer is better than it could honestly be.
    assert probe_accuracy(codec, "code") > best_accuracy() + 0.2


def test_hidden_nucleotides_do_not_leak(codec: VQDNACodecModel) -> None:
    accuracy = probe_accuracy(codec, "nucleotide")
    # 2000 answers: two standard errors are 0.022. Below, the probe must have learnt what can be known.
    assert best_accuracy() - 0.08 < accuracy < best_accuracy() + 0.03
