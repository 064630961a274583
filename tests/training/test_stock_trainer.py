# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Transformers' own `Trainer`, without a line of ours around it, on the codec and on every head.

Gradient accumulation against the large batch, after two steps of SGD: weights to 1e-6, losses to 1e-5 relative.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from example_scripts import TINY_CODEC, TINY_MODEL, weights
from torch import Tensor
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments

from vqdna_hf import (
    Codebook,
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
)
from vqdna_hf.training import VQDNATrainer

Rows = list[dict[str, Tensor]]
SEQUENCES, TOKENS, MASKED, CODEC = "sequences", "tokens", "masked", "codec"
KINDS: dict[str, type[PreTrainedModel]] = {
    SEQUENCES: VQDNAForSequenceClassification,
    TOKENS: VQDNAForTokenClassification,
    MASKED: VQDNAForMaskedLM,
}
# So slow, and without re-seeding, that codebooks stand still within rounding: what is left is the gradient.
STILL = {"decay": 1 - 1e-9, "dead_code_threshold": 0}


def build(kind: str, codec: dict[str, Any] | None = None, **values: Any) -> PreTrainedModel:
    """The same tiny model every time; its codec's codebooks go on from their fixed start."""
    torch.manual_seed(0)
    model = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, **(codec or {})))
    for book in model.encoder.quantizer.codebooks:
        book.initialized.fill_(1.0)
    if kind == CODEC:
        return model
    return KINDS[kind].from_codec(model, VQDNAConfig(**TINY_MODEL, **{"num_labels": 3, **values}))


def rows_of(kind: str, uneven: bool = False) -> Rows:
    """Eight sequences of 20 nucleotides; with `uneven`, the later ones have ever fewer labels."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for number in range(8):
        input_ids = torch.cat([torch.tensor([2]), torch.randint(5, 9, (20,), generator=generator), torch.tensor([3])])
        row = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        labelled = torch.zeros(22, dtype=torch.bool)
        labelled[1 : 20 - 2 * number if uneven else 11] = True
        if kind == SEQUENCES:
            row["labels"] = torch.tensor(number % 3)
        elif kind == TOKENS:
            row["labels"] = torch.where(labelled, input_ids % 3, -100)
        elif kind == MASKED:
            row["labels"] = torch.where(labelled, input_ids, -100)
            row["input_ids"] = torch.where(labelled, 4, input_ids)
        rows.append(row)
    return rows


def make_trainer(model: PreTrainedModel, rows: Rows, folder: Path, stock: Any = Trainer, **values: Any) -> Trainer:
    """Two steps of eight sequences, in their order."""
    extra = {name: values.pop(name) for name in ("compute_metrics", "callbacks") if name in values}
    defaults: dict[str, Any] = {
        "max_steps": 2, "per_device_train_batch_size": 8, "learning_rate": 0.1, "optim": "sgd", "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant", "train_sampling_strategy": "sequential", "save_strategy": "no",
    }  # fmt: skip
    arguments = TrainingArguments(
        output_dir=str(folder), use_cpu=True, disable_tqdm=True, logging_steps=1, **{**defaults, **values}
    )
    return stock(model=model, args=arguments, train_dataset=rows, eval_dataset=rows, **extra)


def losses(trainer: Trainer) -> list[float]:
    """As logged, a step an entry."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def batch_of(rows: Rows) -> dict[str, Tensor]:
    """All rows at once."""
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To 1e-6, absolute and relative."""
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-6, msg=name)


# --- gradient accumulation -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("kind", [SEQUENCES, TOKENS, MASKED])
def test_accumulation_is_the_large_batch(kind: str, uneven: bool, tmp_path: Path) -> None:
    """Micro-batches with other numbers of labels too: the step is the mean over all labels of the large batch."""
    trained = []
    for size in (8, 2):
        trainer = make_trainer(
            build(kind),
            rows_of(kind, uneven),
            tmp_path,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
        )
        trainer.train()
        trained.append((losses(trainer), trainer.model.state_dict()))
    (large, large_weights), (small, small_weights) = trained
    assert small == pytest.approx(large, rel=1e-5)
    with torch.no_grad():
        expected = build(kind)(**batch_of(rows_of(kind, uneven))).loss.item()
    assert large[0] == pytest.approx(expected, rel=1e-4), "the mean itself, not multiplied by anything"
    start = build(kind).state_dict()
    assert sum(not torch.equal(value, start[name]) for name, value in large_weights.items()) > 8
    assert_close(small_weights, large_weights)


def test_accumulation_with_a_codec_that_is_trained_along(tmp_path: Path) -> None:
    """Its commitment loss is weighed as the rest; codebooks are held still."""
    trained = []
    for size in (8, 2):
        model = build(MASKED, freeze_codec=False, freeze_codebooks=True)
        trainer = make_trainer(
            model,
            rows_of(MASKED),
            tmp_path,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=8 // size,
        )
        trainer.train()
        trained.append((losses(trainer), model.state_dict()))
    assert trained[1][0] == pytest.approx(trained[0][0], rel=1e-5)
    assert_close(trained[1][1], trained[0][1])


def train_codec(folder: Path, accumulation: int, **codec: Any) -> tuple[list[float], dict[str, Tensor]]:
    """Two steps; losses, and the state behind them."""
    trainer = make_trainer(
        build(CODEC, codec),
        rows_of(CODEC),
        folder,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    trainer.train()
    return losses(trainer), trainer.model.state_dict()


def test_accumulation_on_the_codec_is_exact_where_codebooks_stand_still(tmp_path: Path) -> None:
    """Loss, gradients and weights are those of the large batch; every micro-batch counts as an update."""
    large, large_state = train_codec(tmp_path, 1, **STILL)
    small, small_state = train_codec(tmp_path, 4, **STILL)
    assert small == pytest.approx(large, rel=1e-5)
    updates = {name for name in large_state if name.endswith("num_updates")}
    assert {small_state[name].item() for name in updates} == {8.0}
    assert {large_state[name].item() for name in updates} == {2.0}
    assert_close(small_state, {name: value for name, value in large_state.items() if name not in updates})


def test_accumulation_moves_codebooks_once_a_micro_batch() -> None:
    """With k micro-batches a step they forget k times as fast: `decay ** (1 / k)` gives the old pace back.

    Not its very numbers: the last micro-batch weighs more than the first. Measured over 5 steps of 4 micro-batches, as
    the greatest difference of a code vector from the large batch's, relative to how far that has moved.
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator)
    shifted = start + 1.0
    codes = torch.arange(4).repeat(400)
    steps = [shifted[codes] + 0.5 * torch.randn(1600, 3, generator=generator) for _ in range(5)]

    def train(accumulation: int, decay: float) -> Tensor:
        book = Codebook(4, 3, decay=decay, dead_code_threshold=0)
        book.embed.copy_(start)
        book.cluster_size.fill_(400 / accumulation)  # the scale that a first batch of this size leaves
        book.embed_sum.copy_(start * book.cluster_size.unsqueeze(-1))
        for vectors in steps:
            for part in vectors.chunk(accumulation):
                book.update(part, codes[: len(part)])
        assert book.num_updates == 5 * accumulation
        return book.embed

    large = train(1, 0.9)
    moved = (large - start).abs().max()
    assert (train(4, 0.9 ** (1 / 4)) - large).abs().max() < 0.02 * moved
    assert (train(4, 0.9) - large).abs().max() > 0.5 * moved


# --- label smoothing -------------------------------------------------------------------------------------------------


def smoothed(logits: Tensor, labels: Tensor, epsilon: float) -> float:
    """By hand: (1 - e) of the label's own negative log-likelihood, and e of the mean over all classes."""
    kept = labels.flatten() != -100
    negative = -F.log_softmax(logits.flatten(0, -2)[kept].double(), -1)
    own = negative[torch.arange(len(negative)), labels.flatten()[kept]]
    return ((1 - epsilon) * own + epsilon * negative.mean(-1)).mean().item()


@pytest.mark.parametrize("stock", [Trainer, VQDNATrainer])
@pytest.mark.parametrize("kind", [SEQUENCES, TOKENS])
@pytest.mark.parametrize("accumulation", [1, 4])
def test_label_smoothing(kind: str, accumulation: int, stock: Any, tmp_path: Path) -> None:
    """Against a hand computation; under accumulation too, with other numbers of labels in each micro-batch."""
    rows, model = rows_of(kind, uneven=True), build(kind)
    with torch.no_grad():
        model.classifier.weight.mul_(50)  # opinions, of which smoothing takes some away
        logits = model(**batch_of(rows)).logits
    expected = smoothed(logits, batch_of(rows)["labels"], 0.2)
    trainer = make_trainer(
        model,
        rows,
        tmp_path,
        stock,
        label_smoothing_factor=0.2,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
    )
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(expected, rel=1e-5)
    assert abs(expected - smoothed(logits, batch_of(rows)["labels"], 0.0)) > 1e-3 * expected


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (MASKED, {}, "the loss of this model has parts of its own"),
        (CODEC, {}, "the loss of this model has parts of its own"),
        (SEQUENCES, {"problem_type": "regression", "num_labels": 1}, "one class of several, not for regression"),
        (SEQUENCES, {"problem_type": "multi_label_classification"}, "not for multi_label_classification"),
        (SEQUENCES, {"freeze_codec": False}, "would leave out the codec's commitment loss"),
    ],
)
def test_label_smoothing_is_refused_where_it_would_be_wrong(
    kind: str, values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(build(kind, **values), rows_of(kind), tmp_path, VQDNATrainer, label_smoothing_factor=0.1)


def test_without_our_trainer_label_smoothing_is_refused_or_without_effect(tmp_path: Path) -> None:
    """The masked language model sees that its labels were taken; the codec has none that could be."""
    values = {"label_smoothing_factor": 0.1, "max_steps": 1}
    with pytest.raises(ValueError, match=r"Trainer took the labels away \(label_smoothing_factor"):
        make_trainer(build(MASKED), rows_of(MASKED), tmp_path, **values).train()
    trainer = make_trainer(build(CODEC), rows_of(CODEC), tmp_path, **values)
    trainer.train()
    with torch.no_grad():
        assert losses(trainer)[0] == pytest.approx(build(CODEC)(**batch_of(rows_of(CODEC))).loss.item(), rel=1e-5)


# --- evaluation, prediction, checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SEQUENCES, TOKENS, MASKED])
def test_compute_metrics_sees_logits_alone(kind: str, tmp_path: Path) -> None:
    """An array, not a tuple with codes and parts of the loss."""
    rows, seen = rows_of(kind), []

    def measure(prediction: Any) -> dict[str, float]:
        seen.append(prediction.predictions)
        kept = prediction.label_ids != -100
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids)[kept].mean())}

    trainer = make_trainer(build(kind), rows, tmp_path, compute_metrics=measure, per_device_eval_batch_size=3)
    metrics = trainer.evaluate()
    with torch.no_grad():
        output = trainer.model(**batch_of(rows))
    assert isinstance(seen[0], np.ndarray)
    np.testing.assert_allclose(seen[0], output.logits.numpy(), atol=1e-5)
    if kind != TOKENS:  # positions: means over batches of equally many labels
        assert metrics["eval_loss"] == pytest.approx(output.loss.item(), rel=1e-4)
    kept = batch_of(rows)["labels"] != -100
    right = (output.logits.argmax(-1) == batch_of(rows)["labels"])[kept].float().mean().item()
    assert metrics["eval_accuracy"] == pytest.approx(right)


def test_the_codec_needs_no_labels(tmp_path: Path) -> None:
    """`eval_loss` is there, `predict` gives the logits alone, and neither moves a codebook."""
    rows = rows_of(CODEC)
    trainer = make_trainer(build(CODEC), rows, tmp_path, per_device_eval_batch_size=2)
    before = {name: value.clone() for name, value in trainer.model.named_buffers()}
    with torch.no_grad():
        output = build(CODEC).eval()(**batch_of(rows))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    prediction = trainer.predict(rows)
    assert isinstance(prediction.predictions, np.ndarray)
    np.testing.assert_allclose(prediction.predictions, output.logits.numpy(), atol=1e-5)
    assert prediction.metrics["test_loss"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_buffers())


@pytest.mark.parametrize("kind", [CODEC, MASKED])
def test_the_best_checkpoint_is_loaded_at_the_end(kind: str, tmp_path: Path) -> None:
    """Codebooks included: they are part of what was best."""
    trainer = make_trainer(
        build(kind),
        rows_of(kind),
        tmp_path,
        max_steps=3,
        learning_rate=1e-9,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    scores = iter([0.5, 0.1, 0.9])
    original = trainer.evaluate

    def scripted(*args: Any, **kwargs: Any) -> dict[str, float]:
        return {**original(*args, **kwargs), "eval_loss": next(scores)}

    trainer.evaluate = scripted  # type: ignore[method-assign]
    trainer.train()
    assert trainer.state.best_global_step == 2
    state, best = trainer.model.state_dict(), weights(tmp_path / "checkpoint-2")
    assert all(torch.equal(state[name], value) for name, value in best.items())
    if kind == CODEC:
        last = weights(tmp_path / "checkpoint-3")
        assert not torch.equal(best["encoder.quantizer.codebooks.0.embed"], last["encoder.quantizer.codebooks.0.embed"])


@pytest.mark.parametrize("kind", [CODEC, MASKED, SEQUENCES, TOKENS])
def test_resumed_equals_uninterrupted_to_the_bit(kind: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {"optim": "adamw_torch", "per_device_train_batch_size": 2, "max_steps": 4}
    whole = make_trainer(build(kind), rows_of(kind), tmp_path, save_strategy="steps", save_steps=2, **values)
    whole.train()
    halves = make_trainer(build(kind), rows_of(kind), tmp_path / "other", **values)
    halves.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    state = halves.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.model.state_dict().items())
    half = weights(tmp_path / "checkpoint-2")
    assert any(not torch.equal(value, state[name]) for name, value in half.items()), "the second half trains"


@pytest.mark.parametrize("kind", [MASKED, SEQUENCES, TOKENS])
def test_activation_checkpointing_gives_the_same_weights(kind: str, tmp_path: Path) -> None:
    """With a codec that is trained along: its codebooks must not move again in the second forward."""
    trained = []
    for checkpointing in (False, True):
        model = build(kind, freeze_codec=False)
        trainer = make_trainer(model, rows_of(kind), tmp_path, gradient_checkpointing=checkpointing)
        trainer.train()
        assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules()) == checkpointing
        trained.append(model.state_dict())
    updates = [value.item() for name, value in trained[1].items() if name.endswith("num_updates")]
    assert updates == [2.0, 2.0]
    assert_close(trained[1], trained[0])


@pytest.mark.parametrize("kind", [CODEC, MASKED])
def test_bf16_leaves_codebooks_in_fp32(kind: str, tmp_path: Path) -> None:
    """Autocast on CPU; the codec is trained along."""
    model = build(kind, freeze_codec=False)
    seen: set[torch.dtype] = set()

    class Watch(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            seen.update(value.dtype for name, value in kwargs["model"].named_buffers() if "codebooks" in name)

    make_trainer(model, rows_of(kind), tmp_path, bf16=True, callbacks=[Watch()]).train()
    assert seen == {torch.float32}
    start = build(kind).state_dict()
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, start[name])]
    assert any(name.endswith(".embed") for name in moved)


@pytest.mark.parametrize("kind", [CODEC, MASKED])
def test_the_tokens_seen_are_counted(kind: str, tmp_path: Path) -> None:
    rows = rows_of(kind)
    for row in rows[:4]:
        row["input_ids"][-2:], row["attention_mask"][-2:] = 0, 0
    counts = []
    for how in ("all", "non_padding"):
        trainer = make_trainer(build(kind), rows, tmp_path, include_num_input_tokens_seen=how)
        trainer.train()
        counts.append(trainer.state.num_input_tokens_seen)
    assert counts == [2 * 8 * 22, 2 * (8 * 22 - 8)]


def test_what_trainer_saves_has_no_key_that_is_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Trainer writes values of its own into the configuration."""
    trainer = make_trainer(build(MASKED), rows_of(MASKED), tmp_path, max_steps=1)
    trainer.train()
    trainer.save_model()
    caplog.clear()
    VQDNAForMaskedLM.from_pretrained(tmp_path)
    assert "unknown key" not in caplog.text
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["VQDNAForMaskedLM"]
