# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Answers from files: codes, embeddings, predictions, variant scores, for sequences of any length; resumable."""

from vqdna_hf.inference.batching import Batcher, OutOfMemoryError
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.decode import decode
from vqdna_hf.inference.embed import embed
from vqdna_hf.inference.encode import encode
from vqdna_hf.inference.mutate import MutateReport, mutate
from vqdna_hf.inference.predict import predict
from vqdna_hf.inference.variants import VariantsReport, VariantsSummary, score_variants

__all__ = [
    "Batcher",
    "Checkpoint",
    "MutateReport",
    "OutOfMemoryError",
    "VariantsReport",
    "VariantsSummary",
    "decode",
    "embed",
    "encode",
    "load_checkpoint",
    "mutate",
    "predict",
    "score_variants",
]
