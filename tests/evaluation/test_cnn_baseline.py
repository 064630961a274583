# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The supervised CNN: padding, what it reads, saving, and that it learns a motif."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

from vqdna_hf import build_tokenizer
from vqdna_hf.evaluation.cnn import CNNConfig, CNNForSequenceClassification

CONFIG = CNNConfig(hidden_size=12, dense_size=6, num_layers=3, num_labels=3)


def model_of(**values: object) -> CNNForSequenceClassification:
    set_seed(0)
    return CNNForSequenceClassification(CNNConfig(**{"hidden_size": 12, "dense_size": 6, **values})).eval()


def test_padding_changes_nothing() -> None:
    model, tokenizer = model_of(), build_tokenizer()
    texts = ["ACGTTGCA", "ACGTACGTNNACGTACGTACGTTTA", "A"]
    together = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    alone = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
    assert torch.allclose(together, alone, atol=1e-6)
    ids = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    assert torch.allclose(model(ids).logits, alone, atol=1e-6)  # without a mask [PAD] is known by its id


def test_a_sequence_without_a_base_gets_an_answer() -> None:
    assert model_of()(torch.tensor([[2, 9, 9, 3]])).logits.isfinite().all()


def test_order_matters_and_n_does_not_count() -> None:
    model = model_of()
    one, other = model(torch.tensor([[2, 5, 6, 7, 8, 3]])).logits, model(torch.tensor([[2, 8, 7, 6, 5, 3]])).logits
    assert not torch.allclose(one, other, atol=1e-4)


def test_receptive_field() -> None:
    model = model_of(num_layers=3, stem_kernel_size=3, kernel_size=3)
    field = model.config.receptive_field
    assert field == 3 + 2 * (2 + 4)
    seen = {}

    def keep(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        seen["states"] = output.detach()

    model.convolutions[-1].register_forward_hook(keep)
    ids = torch.full((1, 41), 5)
    model(ids)
    before = seen["states"]
    changed = ids.clone()
    changed[0, 20] = 7
    model(changed)
    moved = (seen["states"] - before).abs().sum(1)[0].nonzero().flatten()
    assert moved.tolist() == [place for place in range(41) if abs(place - 20) <= field // 2 and place in moved.tolist()]
    assert moved.min() == 20 - field // 2
    assert moved.max() == 20 + field // 2


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ({"num_labels": 3}, torch.tensor([1, 2])),
        ({"num_labels": 1, "problem_type": "regression"}, torch.tensor([0.5, 1.5])),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, torch.ones(2, 3)),
    ],
)
def test_losses(values: dict, labels: torch.Tensor) -> None:
    loss = model_of(**values)(torch.tensor([[2, 5, 6, 3], [2, 8, 7, 3]]), labels=labels).loss
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()


def test_it_is_registered_and_comes_back(tmp_path: Path) -> None:
    model = CNNForSequenceClassification(CONFIG).eval()
    model.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), CNNConfig)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[2, 5, 6, 7, 8, 9, 3]])
    assert torch.equal(model(ids).logits, again(ids).logits)
    assert isinstance(model(ids, return_dict=False), tuple)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size=4 must be odd"):
        CNNConfig(kernel_size=4)
    with pytest.raises(ValueError, match="num_layers=0 must be at least 1"):
        CNNConfig(num_layers=0)


def test_it_learns_a_motif_anywhere() -> None:
    set_seed(0)
    model = CNNForSequenceClassification(CNNConfig(hidden_size=16, dense_size=16, num_layers=2, dropout=0.0))
    motif = torch.tensor([8, 5, 8, 5, 5, 5, 7])  # TATAAAG

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids, labels = torch.randint(5, 9, (size, 60)), torch.randint(0, 2, (size,))
        for row in labels.nonzero().flatten().tolist():
            start = int(torch.randint(0, 53, ()))
            ids[row, start : start + 7] = motif
        return ids, labels

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        ids, labels = batch(64)
        model(ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    ids, labels = batch(500)
    accuracy = (model.eval()(ids).logits.argmax(-1) == labels).float().mean().item()
    assert accuracy > 0.95
