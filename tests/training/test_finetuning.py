# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Adapters, a frozen backbone, and the random control."""

import json
from pathlib import Path

import pytest
import torch
from example_scripts import classification_arguments, run_example, weights
from peft import PeftModel
from torch import Tensor

from vqdna_hf import VQDNAForSequenceClassification, build_tokenizer
from vqdna_hf.training import (
    HEAD,
    VQDNATrainer,
    add_lora,
    freeze_codec,
    load_pretrained,
    random_initialization,
)


@pytest.fixture
def classifier(mlm_folder: Path) -> VQDNAForSequenceClassification:
    """The pre-trained model with a new head for two classes."""
    torch.manual_seed(0)
    return load_pretrained(VQDNAForSequenceClassification, mlm_folder, HEAD, num_labels=2)


@pytest.fixture(scope="module")
def input_ids() -> Tensor:
    """(4, 34), four random sequences with their special tokens."""
    bases = torch.randint(5, 9, (4, 32), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.full((4, 1), 2), bases, torch.full((4, 1), 3)], dim=1)


def test_adapters_are_saved_alone_and_load_on_a_clean_base(
    promoters: Path, mlm_folder: Path, tmp_path: Path, input_ids: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[VQDNATrainer] = []
    original = VQDNATrainer.train_and_report

    def remember(self: VQDNATrainer, *args: object, **kwargs: object) -> bool:
        trained.append(self)
        return original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(VQDNATrainer, "train_and_report", remember)
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, learning_rate=0.05, warmup_steps=0)
    assert run_example("run_classification", "--use_lora", **arguments) == 0
    adapter = json.loads((tmp_path / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(mlm_folder)
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < (mlm_folder / "model.safetensors").stat().st_size
    torch.manual_seed(123)  # the clean base's own new head differs, and must not matter
    base = load_pretrained(VQDNAForSequenceClassification, mlm_folder, HEAD, num_labels=2)
    reloaded = PeftModel.from_pretrained(base, tmp_path).eval()
    model = trained[0].model.eval()
    expected = model(input_ids).logits
    assert torch.equal(reloaded(input_ids).logits, expected)
    with reloaded.disable_adapter():
        assert not torch.allclose(reloaded(input_ids).logits, expected), "the adapters do something"


def test_four_modules_a_layer_are_adapted(classifier: VQDNAForSequenceClassification) -> None:
    model = add_lora(classifier, rank=4, alpha=8, dropout=0.0)
    adapted = {
        name.split(".lora_A")[0].split("base_model.model.")[1]
        for name, _ in model.named_parameters()
        if ".lora_A." in name
    }
    layers = range(classifier.config.num_hidden_layers)
    parts = ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo")
    assert adapted == {f"vqdna.backbone.layers.{layer}.{part}" for layer in layers for part in parts}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or "modules_to_save" in name for name in trained)
    assert any("classifier.modules_to_save" in name for name in trained)


def test_unknown_targets_are_refused(classifier: VQDNAForSequenceClassification) -> None:
    with pytest.raises(ValueError, match=r"\['query'\] match no module; this backbone has \['Wi', 'Wo', 'Wqkv'\]"):
        add_lora(classifier, 4, 8, 0.0, ["Wqkv", "query"])


@pytest.mark.parametrize("kind", ["lora", "head"])
def test_codebooks_that_would_move_are_frozen(
    kind: str, classifier: VQDNAForSequenceClassification, input_ids: Tensor
) -> None:
    """Buffers are no parameters: `requires_grad` does not stop them, and adapters do not save them."""
    classifier.config.freeze_codec = False
    classifier.vqdna.codec.requires_grad_(True)
    classifier.train()
    book = classifier.vqdna.codec.quantizer.codebooks[0]
    start = book.embed_sum.clone()
    classifier(input_ids)
    assert not torch.equal(book.embed_sum, start), "otherwise this test says nothing"
    model = classifier
    if kind == "lora":
        model = add_lora(classifier, 4, 8, 0.0)
    else:
        freeze_codec(classifier)
    start = book.embed_sum.clone()
    model.train()
    model(input_ids=input_ids)
    assert torch.equal(book.embed_sum, start)


def test_train_head_only_changes_the_head_alone(promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, learning_rate=0.05, warmup_steps=0)
    assert run_example("run_classification", "--train_head_only", **arguments) == 0
    before, after = weights(mlm_folder), weights(tmp_path)
    changed = {name for name in after if name not in before or not torch.equal(before[name], after[name])}
    assert {"classifier.weight", "classifier.bias", "head.dense.weight"} <= changed
    assert all(name.startswith(HEAD) for name in changed)


def test_the_random_control(classifier: VQDNAForSequenceClassification, input_ids: Tensor) -> None:
    torch.manual_seed(1)
    control = random_initialization(classifier, input_ids)
    assert type(control) is type(classifier)
    assert control.config.to_dict() == classifier.config.to_dict()
    shapes = {name: value.shape for name, value in classifier.state_dict().items()}
    assert {name: value.shape for name, value in control.state_dict().items()} == shapes
    for level, book in enumerate(control.vqdna.codec.quantizer.codebooks):
        assert bool(book.initialized)
        assert not torch.equal(book.embed, classifier.vqdna.codec.quantizer.codebooks[level].embed)
    for name in ("vqdna.code_projection.weight", "vqdna.codec.stem.weight", "head.dense.weight"):
        assert not torch.equal(control.state_dict()[name], classifier.state_dict()[name]), name
    control.train()
    assert not control.vqdna.codec.training, "frozen as the original"
    assert not any(parameter.requires_grad for parameter in control.vqdna.codec.parameters())
    assert len(control.vqdna.encode(input_ids).codes[:, 1].unique()) > 2, "its codes tell sequences apart"


def test_the_random_control_through_the_script(promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, learning_rate=0.0)
    assert run_example("run_classification", "--random_init", **arguments) == 0
    before, after = weights(mlm_folder), weights(tmp_path)
    assert not torch.equal(before["vqdna.code_projection.weight"], after["vqdna.code_projection.weight"])
    assert after["vqdna.codec.quantizer.codebooks.0.initialized"].item() == 1


def test_pooling_and_strands_reach_the_model(promoters: Path, mlm_folder: Path, tmp_path: Path) -> None:
    arguments = classification_arguments(promoters, mlm_folder, tmp_path, classifier_pooling="max")
    assert run_example("run_classification", "--average_strands", **arguments) == 0
    model = VQDNAForSequenceClassification.from_pretrained(tmp_path).eval()
    assert model.config.classifier_pooling == "max"
    tokenizer = build_tokenizer()
    strands = [tokenizer(text, return_tensors="pt")["input_ids"] for text in ("ACGTTGCATT", "AATGCAACGT")]
    assert torch.allclose(model(strands[0]).logits, model(strands[1]).logits, atol=1e-6)


def test_another_number_of_labels_starts_the_classifier_anew(
    classifier: VQDNAForSequenceClassification, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    classifier.save_pretrained(tmp_path)
    caplog.set_level("INFO", logger="vqdna_hf")
    model = load_pretrained(VQDNAForSequenceClassification, tmp_path, HEAD, num_labels=5)
    assert model.classifier.weight.shape[0] == 5
    assert torch.equal(model.head.dense.weight, classifier.head.dense.weight)
    assert "new weights: classifier.bias, classifier.weight" in caplog.text
    with pytest.raises(ValueError, match="no trained classifier"):
        load_pretrained(VQDNAForSequenceClassification, tmp_path, num_labels=5)
