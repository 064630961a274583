# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Tiny models with a vocabulary, one for each head."""

from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM


@pytest.fixture(scope="session")
def tiny_codec() -> VQDNACodecModel:
    """A codec whose codebooks saw one batch."""
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (8, 64)))
    return codec.eval()


@pytest.fixture(scope="session")
def tiny_masked_lm(tiny_codec: VQDNACodecModel) -> Any:
    """A masked language model on it, with random weights."""
    torch.manual_seed(1)
    return VQDNAForMaskedLM.from_codec(tiny_codec, **TINY_MODEL).eval()
