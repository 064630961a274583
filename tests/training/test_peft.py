# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Adapters: what is adapted, what is saved, and that what is loaded again gives the same logits.

Tolerances: to the bit for adapters on a clean base; 1e-5 for merged weights, whose sums run in another order.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL, process_environment, weights
from peft import (
    AutoPeftModel,
    AutoPeftModelForSequenceClassification,
    AutoPeftModelForTokenClassification,
    LoraConfig,
    get_peft_model,
)
from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULT_TARGETS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.hub import export
from vqdna_hf.training import HEAD, VQDNATrainer, add_lora, load_adapter, load_pretrained, lora_config

CLASSIFIERS = (VQDNAForSequenceClassification, VQDNAForTokenClassification)
ADAPTED = ("attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo")


@pytest.fixture(scope="module")
def input_ids() -> Tensor:
    """(4, 34), four random sequences with their special tokens."""
    bases = torch.randint(5, 9, (4, 32), generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.full((4, 1), 2), bases, torch.full((4, 1), 3)], dim=1)


@pytest.fixture(scope="module")
def base(codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pre-trained folder of two layers."""
    torch.manual_seed(0)
    config = VQDNAConfig(**{**TINY_MODEL, "num_hidden_layers": 2})
    folder = tmp_path_factory.mktemp("base")
    VQDNAForMaskedLM.from_codec(VQDNACodecModel.from_pretrained(codec_folder), config).save_pretrained(folder)
    return folder


def classifier(base: Path, kind: type = VQDNAForSequenceClassification, **values: Any) -> Any:
    """The pre-trained model with a new head."""
    torch.manual_seed(1)
    return load_pretrained(kind, base, HEAD, **{"num_labels": 3, **values})


def targets(kind: type, input_ids: Tensor) -> dict[str, Tensor]:
    """A batch with labels for one of the classes."""
    labels = {
        VQDNAForSequenceClassification: torch.tensor([0, 1, 2, 0]),
        VQDNAForTokenClassification: torch.where(input_ids > 4, input_ids % 3, -100),
        VQDNAForMaskedLM: torch.where(input_ids > 6, input_ids, -100),
    }
    return {"input_ids": input_ids, "labels": labels[kind]}


def train(model: nn.Module, batch: dict[str, Tensor], folder: Path, stock: type = Trainer, **values: Any) -> Trainer:
    """Three steps of a Trainer, with a learning rate that can be seen."""
    rows = [{name: value[row] for name, value in batch.items()} for row in range(4)]
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=3, learning_rate=0.05, per_device_train_batch_size=4, use_cpu=True,
        save_strategy="no", disable_tqdm=True, logging_steps=1, **values,
    )  # fmt: skip
    trainer = stock(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    return trainer


def adapted_modules(model: nn.Module) -> set[str]:
    """The names of the modules that carry an adapter."""
    names = (name for name, _ in model.named_parameters() if ".lora_A." in name)
    return {name.split(".lora_A")[0].removeprefix("base_model.model.") for name in names}


def expected_modules(layers: int, prefix: str = "vqdna.") -> set[str]:
    """Four a layer: attention in and out, MLP in and out."""
    return {f"{prefix}backbone.layers.{layer}.{part}" for layer in range(layers) for part in ADAPTED}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", [*CLASSIFIERS, VQDNAForMaskedLM, VQDNAModel])
def test_the_default_targets_are_four_modules_a_layer(kind: type, layers: int) -> None:
    values = {**TINY_MODEL, "num_hidden_layers": layers, "codec_config": {"hidden_size": 16, "stem_size": 8}}
    model = kind(VQDNAConfig(**values))
    prefix = "" if kind is VQDNAModel else "vqdna."
    adapted = adapted_modules(add_lora(model, rank=2, alpha=4, dropout=0.0))
    assert len(adapted) == 4 * layers
    assert adapted == expected_modules(layers, prefix)


@pytest.mark.parametrize("task", ["SEQ_CLS", "TOKEN_CLS", None])
def test_peft_alone_finds_the_targets(task: str | None, base: Path, input_ids: Tensor) -> None:
    """`LoraConfig` without `target_modules`, whichever of PEFT and this package was imported first."""
    kind = {"SEQ_CLS": CLASSIFIERS[0], "TOKEN_CLS": CLASSIFIERS[1], None: VQDNAForMaskedLM}[task]
    model = classifier(base, kind)
    DEFAULT_TARGETS.pop("vqdna", None)  # as when PEFT is imported behind the model
    adapted = get_peft_model(model, LoraConfig(task_type=task))
    assert adapted_modules(adapted) == expected_modules(2)
    assert type(adapted).__name__ == {
        "SEQ_CLS": "PeftModelForSequenceClassification",
        "TOKEN_CLS": "PeftModelForTokenClassification",
        None: "PeftModel",
    }[task]  # fmt: skip
    assert adapted(**targets(kind, input_ids)).loss.requires_grad


@pytest.mark.parametrize("freeze_codec", [True, False])
def test_all_linear_is_harmless(freeze_codec: bool, base: Path, input_ids: Tensor, tmp_path: Path) -> None:
    """PEFT adapts the codec's layers too. A frozen codec has no gradient, so its adapters stay nothing.

    Codebooks stand still either way, and what is saved gives the same logits on a clean base.
    """
    model = classifier(base, freeze_codec=freeze_codec)
    before = {name: value.clone() for name, value in model.named_buffers()}
    codes = model.vqdna.encode(input_ids).codes
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules="all-linear", lora_dropout=0.1))
    assert any(".codec." in name for name in adapted_modules(adapted)), "otherwise this test says nothing"
    train(adapted, targets(type(model), input_ids), tmp_path)
    adapted.eval()
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    of_codec = [value for name, value in adapted.named_parameters() if ".codec." in name and ".lora_B." in name]
    assert any(bool(value.any()) for value in of_codec) != freeze_codec
    if freeze_codec:
        assert torch.equal(model.vqdna.encode(input_ids).codes, codes)
    adapted.save_pretrained(tmp_path / "adapter")
    again = AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "adapter", num_labels=3, freeze_codec=freeze_codec
    )
    assert torch.equal(again.eval()(input_ids).logits, adapted(input_ids).logits)


@pytest.mark.parametrize("targets_of", ["default", "all-linear"])
def test_codebooks_do_not_move_though_the_codec_is_trainable(targets_of: str, base: Path, input_ids: Tensor) -> None:
    """Adapters save parameters; PEFT knows nothing of `freeze_codec`, whose default would keep them still anyway."""
    model = classifier(base, freeze_codec=False).train()
    book = model.vqdna.codec.quantizer.codebooks[0]
    start = book.embed_sum.clone()
    model(input_ids)
    assert not torch.equal(book.embed_sum, start), "otherwise this test says nothing"
    start = {name: value.clone() for name, value in model.named_buffers()}
    config = LoraConfig(task_type="SEQ_CLS", target_modules=None if targets_of == "default" else targets_of)
    get_peft_model(model, config).train()(input_ids=input_ids)
    assert all(torch.equal(value, start[name]) for name, value in model.named_buffers())


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_saved_as_adapters_and_loaded_on_a_clean_base(
    kind: type, base: Path, input_ids: Tensor, tmp_path: Path
) -> None:
    files = {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()}
    model = add_lora(classifier(base, kind), rank=4, alpha=8, dropout=0.0)
    trainer = train(model, targets(kind, input_ids), tmp_path, VQDNATrainer)
    trainer.save_model()
    saved = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "model_config.json"} <= saved
    assert not any(name.startswith(("model.safetensors", "modeling_")) for name in saved)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    assert len(tensors) == 2 * 8 + 4, "two matrices a module; the weights of the head and the classifier"
    adapter = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (str(base), None)
    expected = model.eval()(input_ids).logits
    torch.manual_seed(99)  # a clean base's own new head differs, and must not matter
    auto = AutoPeftModelForSequenceClassification if kind is CLASSIFIERS[0] else AutoPeftModelForTokenClassification
    for again in (auto.from_pretrained(tmp_path, num_labels=3), load_adapter(kind, tmp_path)):
        assert torch.equal(again.eval()(input_ids).logits, expected)
        head = again.get_base_model().head
        trained = model.get_base_model().head
        assert torch.equal(
            head.modules_to_save["default"].dense.weight, trained.modules_to_save["default"].dense.weight
        )
        assert not torch.equal(head.original_module.dense.weight, head.modules_to_save["default"].dense.weight)
        with again.disable_adapter():
            assert not torch.allclose(again(input_ids).logits, expected), "the adapters do something"
    assert {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()} == files, "the base is untouched"


def test_adapters_on_the_masked_language_model(base: Path, input_ids: Tensor, tmp_path: Path) -> None:
    """PEFT has no task for it: it writes the class down, and asks that its package be allowed."""
    model = add_lora(VQDNAForMaskedLM.from_pretrained(base), rank=4, alpha=8, dropout=0.0)
    train(model, targets(VQDNAForMaskedLM, input_ids), tmp_path).save_model()
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert len(trained) == 2 * 8
    assert all(".lora_" in name for name in trained)
    expected = model.eval()(input_ids).logits
    allowed = AutoPeftModel.from_pretrained(tmp_path, import_allowlist=["vqdna_hf.model.modeling_vqdna"])
    for again in (allowed, load_adapter(VQDNAForMaskedLM, tmp_path)):
        assert torch.equal(again.eval()(input_ids).logits, expected)
    assert not torch.allclose(VQDNAForMaskedLM.from_pretrained(base).eval()(input_ids).logits, expected)


def test_what_the_base_does_not_know_is_found_beside_the_adapters(
    base: Path, input_ids: Tensor, tmp_path: Path
) -> None:
    """The base's own configuration has two labels and mean pooling: PEFT must be told, `load_adapter` reads it."""
    values = {"num_labels": 5, "classifier_pooling": "max", "average_strands": True}
    model = add_lora(classifier(base, **values), rank=4, alpha=8, dropout=0.0)
    train(model, targets(CLASSIFIERS[0], input_ids), tmp_path, VQDNATrainer).save_model()
    expected = model.eval()(input_ids).logits
    with pytest.raises(RuntimeError, match=r"size mismatch for base_model\.model\.classifier"):
        AutoPeftModelForSequenceClassification.from_pretrained(tmp_path)
    told = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path, **values)
    assert torch.equal(told.eval()(input_ids).logits, expected)
    half_told = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path, num_labels=5)
    assert not torch.allclose(half_told.eval()(input_ids).logits, expected)
    again = load_adapter(CLASSIFIERS[0], tmp_path)
    assert torch.equal(again.eval()(input_ids).logits, expected)
    assert len(again.config.id2label) == 5
    # Adapters that PEFT itself saved: the number of labels is read off the classifier.
    (tmp_path / "model_config.json").unlink()
    told = load_adapter(CLASSIFIERS[0], tmp_path, classifier_pooling="max", average_strands=True)
    assert torch.equal(told.eval()(input_ids).logits, expected)


def test_merged_it_is_a_plain_model(base: Path, input_ids: Tensor, tmp_path: Path) -> None:
    model = add_lora(classifier(base), rank=4, alpha=8, dropout=0.0)
    train(model, targets(CLASSIFIERS[0], input_ids), tmp_path / "run")
    expected = model.eval()(input_ids).logits
    merged = model.merge_and_unload()
    assert type(merged) is VQDNAForSequenceClassification
    plain = classifier(base).state_dict()
    assert merged.state_dict().keys() == plain.keys()
    assert torch.allclose(merged(input_ids).logits, expected, atol=1e-5)
    merged.save_pretrained(tmp_path / "saved")
    export(merged, tmp_path / "exported")
    for name in ("saved", "exported"):
        again = load_pretrained(VQDNAForSequenceClassification, tmp_path / name).eval()
        assert torch.allclose(again(input_ids).logits, expected, atol=1e-5)
        assert not list((tmp_path / name).glob("adapter*"))
    moved = {name for name, value in weights(tmp_path / "saved").items() if not torch.equal(value, plain[name])}
    assert {name for name in moved if not name.startswith(HEAD)} == {f"{name}.weight" for name in expected_modules(2)}


def test_a_base_from_the_hub_is_recorded_with_its_revision(base: Path) -> None:
    model = classifier(base)
    model.config._commit_hash = "0" * 40
    assert lora_config(model).revision == "0" * 40
    assert lora_config(classifier(base)).revision is None


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing_gives_the_same_gradients(
    reentrant: bool, base: Path, input_ids: Tensor, tmp_path: Path
) -> None:
    """The base is frozen: without a gradient at the embeddings, checkpointed layers would have none to give."""
    trained = []
    for checkpointing in (False, True):
        model = add_lora(classifier(base), rank=4, alpha=8, dropout=0.0)
        train(
            model,
            targets(CLASSIFIERS[0], input_ids),
            tmp_path,
            gradient_checkpointing=checkpointing,
            gradient_checkpointing_kwargs={"use_reentrant": reentrant},
        )
        assert model.get_base_model().vqdna.backbone.layers[0].gradient_checkpointing == checkpointing
        trained.append({name: value for name, value in model.named_parameters() if value.requires_grad})
    assert any(bool(value.any()) for name, value in trained[1].items() if "lora_B" in name)
    for name, value in trained[0].items():
        torch.testing.assert_close(trained[1][name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_no_adapters_is_said(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no adapters \(there is no adapter_config.json\)"):
        load_adapter(VQDNAForSequenceClassification, base)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": null}')
    (tmp_path / "adapter_model.bin").write_bytes(b"a pickle")
    with pytest.raises(ValueError, match=r"holds no adapter_model\.safetensors: .* never from pickles"):
        load_adapter(VQDNAForSequenceClassification, tmp_path)
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="names no base_model_name_or_path"):
        load_adapter(VQDNAForSequenceClassification, tmp_path)


@pytest.mark.parametrize("damage", ["missing", "nan"])
def test_damaged_adapters_are_refused_by_tensor(damage: str, base: Path, tmp_path: Path) -> None:
    add_lora(VQDNAForSequenceClassification.from_pretrained(base), 2, 4, 0.0).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if "lora_A" in name)
    if damage == "missing":
        del tensors[name]
    else:
        tensors[name].fill_(float("nan"))
    save_file(tensors, file)
    said = {"missing": "is missing", "nan": "holds NaN or infinity"}[damage]
    with pytest.raises(ValueError, match=f"{re.escape(name)} {said}"):
        load_adapter(VQDNAForSequenceClassification, tmp_path)


def test_what_cannot_be_adapted_is_said(base: Path, tmp_path: Path) -> None:
    adapted = add_lora(VQDNAForSequenceClassification.from_pretrained(base), 2, 4, 0.0)
    for model in (adapted, VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC))):
        with pytest.raises(ValueError, match="has no backbone to adapt"):
            add_lora(model, 2, 4, 0.0)
    with pytest.raises(ValueError, match=r"LoRA targets \['nothing'\] match no module"):
        add_lora(VQDNAForSequenceClassification.from_pretrained(base), 2, 4, 0.0, "nothing")


WITHOUT_PACKAGE = """
import sys
sys.modules["vqdna_hf"] = None
import torch
from peft import AutoPeftModelForSequenceClassification, LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification
folder, base, data = sys.argv[1:]
saved = torch.load(data)
model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=3, trust_remote_code=True).eval()
assert torch.equal(model(saved["input_ids"]).logits, saved["logits"])
plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=3, trust_remote_code=True)
adapted = get_peft_model(plain, LoraConfig(task_type="SEQ_CLS"))
assert sum(".lora_A." in name for name, _ in adapted.named_parameters()) == 8
assert type(plain).__module__.startswith("transformers_modules."), type(plain).__module__
"""


def test_without_the_package(base: Path, input_ids: Tensor, tmp_path: Path) -> None:
    """The base brings its code; adapters load on it, and new ones find their layers."""
    model = add_lora(classifier(base), rank=4, alpha=8, dropout=0.0)
    train(model, targets(CLASSIFIERS[0], input_ids), tmp_path / "run").save_model()
    torch.save({"input_ids": input_ids, "logits": model.eval()(input_ids).logits.detach()}, tmp_path / "data.pt")
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, str(tmp_path / "run"), str(base), str(tmp_path / "data.pt")],
        env={**process_environment(), "HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
