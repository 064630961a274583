# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Each stage can learn 32 sequences by heart: gradients reach what they must."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from torch.utils.data import Dataset
from transformers import TrainingArguments, set_seed

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM, VQDNAForSequenceClassification
from vqdna_hf.data import MaskedNucleotideCollator, NucleotideCollator
from vqdna_hf.evaluation import classification_metrics
from vqdna_hf.training import VQDNATrainer, codec_metrics, codec_sums, masked_lm_metrics, masked_lm_sums


class Sequences(Dataset):
    """32 random sequences of 32 bases, their random labels, and for each a seed that fixes its mask."""

    def __init__(self, labelled: bool = False) -> None:
        rng = np.random.default_rng(5)
        self.items: list[dict[str, Any]] = []
        for row in range(32):
            self.items.append({"input_ids": rng.integers(5, 9, 32), "seed": row})
            if labelled:
                self.items[-1]["labels"] = row % 2

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def trainer(model: Any, dataset: Dataset, folder: Path, steps: int, rate: float, **kwargs: Any) -> VQDNATrainer:
    """One batch of all 32, the same data to evaluate on."""
    kwargs.setdefault("data_collator", NucleotideCollator())
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=32,
        per_device_eval_batch_size=12,
        learning_rate=rate,
        warmup_steps=10,
        save_strategy="no",
        logging_steps=steps,
        disable_tqdm=True,
        prediction_loss_only="sums_function" in kwargs,
        remove_unused_columns=False,
    )
    return VQDNATrainer(model=model, args=arguments, train_dataset=dataset, eval_dataset=dataset, **kwargs)


def train_codec(dataset: Dataset, folder: Path, steps: int) -> tuple[VQDNACodecModel, VQDNATrainer]:
    """Stage 1."""
    set_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))
    kwargs = {"sums_function": codec_sums, "metrics_function": codec_metrics}
    stage = trainer(codec, dataset, folder, steps, 0.01, **kwargs)
    stage.train()
    return codec, stage


def test_codec_reconstructs_every_base(tmp_path: Path) -> None:
    _, stage = train_codec(Sequences(), tmp_path, 200)
    metrics = stage.evaluate()
    assert metrics["eval_reconstruction_accuracy"] == 1.0
    assert metrics["eval_codebook_perplexity_level1"] > 2


def test_mlm_fills_in_every_mask(tmp_path: Path) -> None:
    codec, _ = train_codec(Sequences(), tmp_path, 60)
    set_seed(0)
    wider = {**TINY_MODEL, "hidden_size": 64, "intermediate_size": 64}
    model = VQDNAForMaskedLM.from_codec(codec, **wider)
    stage = trainer(
        model,
        Sequences(),
        tmp_path,
        300,
        0.01,
        sums_function=masked_lm_sums,
        metrics_function=masked_lm_metrics,
        data_collator=MaskedNucleotideCollator(mask_probability=0.15),
    )
    before = stage.evaluate()["eval_masked_accuracy"]
    stage.train()
    metrics = stage.evaluate()
    assert before < 0.6
    assert metrics["eval_masked_accuracy"] == 1.0
    assert metrics["eval_code_accuracy_level1"] > 0.9


def test_classifier_learns_random_labels(tmp_path: Path) -> None:
    codec, _ = train_codec(Sequences(), tmp_path, 60)
    set_seed(0)
    model = VQDNAForSequenceClassification.from_codec(codec, **TINY_MODEL)
    stage = trainer(
        model,
        Sequences(labelled=True),
        tmp_path,
        150,
        0.01,
        compute_metrics=lambda output: classification_metrics(output.predictions, output.label_ids),
    )
    stage.train()
    metrics = stage.evaluate()
    assert metrics["eval_accuracy"] == 1.0
    assert metrics["eval_matthews_correlation"] == 1.0
    assert torch.isfinite(torch.tensor(metrics["eval_loss"]))
