# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Which folders can be measured: ours, baselines, any classifier of Transformers; and which are refused."""

import json
from pathlib import Path

import pytest
import torch
from gue_folders import save_checkpoint, write_set
from transformers import ModernBertConfig, ModernBertForMaskedLM

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, build_tokenizer
from vqdna_hf.data import LabelledSequences
from vqdna_hf.evaluation.baselines import build_baseline_tokenizer
from vqdna_hf.evaluation.classifiers import Variant, checkpoint_identity, load_classifier
from vqdna_hf.evaluation.gue import run_once
from vqdna_hf.evaluation.gue_protocol import protocol_for
from vqdna_hf.evaluation.gue_sets import read_set

FAST = {"max_steps": 2, "batch_size": 8, "learning_rate": 1e-2, "warmup_steps": 0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


def save_other(folder: Path, vocabulary: str, plain: bool = False) -> Path:
    """A ModernBERT on another vocabulary; `plain` without the mark of our baselines."""
    tokenizer = build_baseline_tokenizer(vocabulary, model_max_length=64)
    torch.manual_seed(99)  # no seed that is used below
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )  # fmt: skip
    if not plain:
        config.vocabulary = vocabulary
    ModernBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def body_of(model: torch.nn.Module) -> torch.Tensor:
    """Weights that pre-training gave."""
    return next(value for name, value in model.named_parameters() if "Wqkv" in name).detach()


def test_ours(checkpoint: Path) -> None:
    one, tokenize = load_classifier(checkpoint, 3, seed=0)
    again, _ = load_classifier(checkpoint, 3, seed=0)
    other, _ = load_classifier(checkpoint, 3, seed=1)
    assert one.training
    assert one.config.num_labels == 3
    assert torch.equal(one.classifier.weight, again.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert torch.equal(body_of(one), body_of(other))
    random, _ = load_classifier(checkpoint, 3, seed=0, random_init=True)
    assert not torch.equal(body_of(one), body_of(random))
    same, _ = load_classifier(checkpoint, 3, seed=0, random_init=True)
    assert torch.equal(body_of(random), body_of(same))
    assert tokenize.max_tokens == 128
    with pytest.raises(ValueError, match="row 1: 130 tokens"):
        tokenize(LabelledSequences(["A" * 128], None, ["0"], "train.csv"), [0])


@pytest.mark.parametrize("plain", [False, True], ids=["baseline", "any"])
def test_other_vocabularies(plain: bool, tmp_path: Path) -> None:
    folder = save_other(tmp_path / "other", "3mer", plain)
    model, tokenize = load_classifier(folder, 2, seed=0)
    # Lower case, RNA and ambiguity are spelt out before a tokenizer that knows none of them.
    rows = tokenize(LabelledSequences(["acgu", "ACGT", "ACGR"], None, ["0", "1", "1"], "x.csv"), [0, 1, 1])["input_ids"]
    assert rows[0] == rows[1]
    assert tokenize.max_tokens == 64
    random, _ = load_classifier(folder, 2, seed=0, random_init=True)
    assert not torch.equal(body_of(model), body_of(random))
    own = read_set("own", write_set(tmp_path / "own"))
    results = run_once(folder, own, protocol_for("own", "cpu", FAST), 0)
    assert results["steps"] == 2
    with pytest.raises(ValueError, match="lora_r=0: adapters need 1 or more"):
        Variant(lora_r=0)
    for variant in (Variant(average_strands=True), Variant(use_lora=True)):
        with pytest.raises(ValueError, match="is for checkpoints of this package"):
            load_classifier(folder, 2, 0, variant=variant)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = save_other(tmp_path / "other", "3mer", plain=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2, "layer_types": None}))
    with pytest.raises(ValueError, match="weights are missing or of another shape"):
        load_classifier(folder, 2, seed=0)


def test_folders_that_cannot_be_measured(checkpoint: Path, tmp_path: Path) -> None:
    def refused(folder: Path, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            load_classifier(folder, 2, seed=0)
        if "codec" not in match and "tokenizer" not in match:
            with pytest.raises(ValueError, match=match):
                checkpoint_identity(folder, Variant())

    refused(tmp_path / "none", "hf download")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no config.json")
    (tmp_path / "empty" / "config.json").write_text("{")
    refused(tmp_path / "empty", "config.json: is not JSON")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "adapter_config.json").write_text("{}")
    refused(tmp_path / "adapters", "merge them into their base first")
    codec = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[4, 8])
    VQDNACodecModel(codec).save_pretrained(tmp_path / "codec")
    refused(tmp_path / "codec", "make a language model of this codec first")
    folder = save_other(tmp_path / "other", "3mer", plain=True)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    refused(folder, "cannot be loaded as a classifier with a tokenizer")


def test_identity_changes_with_weights_and_variant(checkpoint: Path, tmp_path: Path) -> None:
    plain = checkpoint_identity(checkpoint, Variant())
    assert plain["name"] == "tiny"
    assert set(plain["sha256"]) == {"config.json", "model.safetensors"}
    assert checkpoint_identity(save_checkpoint(tmp_path / "tiny"), Variant()) == plain  # wherever it lies
    other = checkpoint_identity(save_checkpoint(tmp_path / "other" / "tiny", seed=1), Variant())
    assert other["sha256"]["model.safetensors"] != plain["sha256"]["model.safetensors"]
    assert checkpoint_identity(checkpoint, Variant(use_lora=True))["lora"] == [8, 32, 0.05]
    for file in (tmp_path / "tiny").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        checkpoint_identity(tmp_path / "tiny", Variant())


def test_our_tokenizer_files_are_part_of_the_identity(checkpoint: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "tiny")
    build_tokenizer().save_pretrained(folder)
    assert "tokenizer.json" in checkpoint_identity(folder, Variant())["sha256"]
