# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`ModelTesterMixin` and `ConfigTester` of the installed Transformers against every model class of this package."""

import unittest
from typing import Any

import pytest
import torch
from transformers.models.auto import modeling_auto

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)

pytest.importorskip("transformers_tests", reason="Transformers' own tests are fetched and run by `make compat`")

from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin

CODEC: dict[str, Any] = {
    "hidden_size": 16, "stem_size": 8, "num_blocks": 2, "tap_positions": [1, 2], "codebook_sizes": [8, 16],
    "codebook_dim": 12,
}  # fmt: skip

# The mixin looks up by a class's name which labels it takes: without this, training tests of classes that are not
# part of Transformers pass without training.
modeling_auto.MODEL_MAPPING_NAMES.update(vqdna="VQDNAModel")
modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.update(vqdna="VQDNAForMaskedLM")
modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.update(vqdna="VQDNAForSequenceClassification")
modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES.update(vqdna="VQDNAForTokenClassification")


def nucleotides(batch_size: int, length: int) -> torch.Tensor:
    """[CLS], random nucleotides, [SEP]."""
    ids = torch.randint(5, 9, (batch_size, length))
    ids[:, 0], ids[:, -1] = 2, 3
    return ids


class LanguageModelTester:
    """What the mixin asks for: sizes, a configuration, inputs."""

    batch_size = 3
    seq_length = 16
    is_training = True
    num_labels = 3
    num_hidden_layers = 2
    num_attention_heads = 4
    hidden_size = 32
    vocab_size = 99  # room to shrink; nucleotides keep their ids
    freeze_codec = True

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent

    def get_config(self) -> VQDNAConfig:
        """Global and local attention, so that both are met."""
        return VQDNAConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=40,
            vocab_size=self.vocab_size,
            max_position_embeddings=64,
            local_attention=8,
            global_attn_every_n_layers=2,
            freeze_codec=self.freeze_codec,
            codec_config=CODEC,
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[VQDNAConfig, dict[str, torch.Tensor]]:
        """A batch without padding; tests make their own masks."""
        ids = nucleotides(self.batch_size, self.seq_length)
        return self.get_config(), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class CodecTester(LanguageModelTester):
    """The same for the codec."""

    num_hidden_layers = CODEC["num_blocks"]
    hidden_size = CODEC["hidden_size"]

    def get_config(self) -> VQDNACodecConfig:  # type: ignore[override]
        """Two levels, two blocks."""
        return VQDNACodecConfig(**CODEC)


class Common(ModelTesterMixin):
    """What both test classes share."""

    test_can_init_all_missing_weights_before_2023 = True
    make_tester: type
    config_class: type
    config_arguments: dict[str, int] = {}

    def setUp(self) -> None:
        """Before each test."""
        torch.manual_seed(0)
        self.model_tester = self.make_tester(self)
        self.config_tester = ConfigTester(
            self,
            config_class=self.config_class,
            has_text_modality=False,
            common_properties=["hidden_size", "vocab_size"],
            hidden_size=32,
            **self.config_arguments,
        )

    def _prepare_for_class(self, inputs_dict: dict, model_class: type, return_labels: bool = False) -> dict[str, Any]:
        """The mixin labels everything with id 0, which is padding here: nucleotides are predicted instead."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels and model_class is VQDNAForMaskedLM:
            inputs["labels"] = inputs["input_ids"].clone()
        return inputs

    def test_config(self) -> None:
        """All of `ConfigTester`."""
        self.config_tester.run_common_tests()


class LanguageModelTest(Common, unittest.TestCase):
    """The bare model and every head, with a frozen codec (the default)."""

    all_model_classes = (
        VQDNAModel,
        VQDNAForMaskedLM,
        VQDNAForSequenceClassification,
        VQDNAForTokenClassification,
    )
    make_tester = LanguageModelTester
    config_class = VQDNAConfig
    config_arguments = {"num_attention_heads": 4}
    test_all_params_have_gradient = False  # the frozen codec has none


class CodecTest(Common, unittest.TestCase):
    """The codec."""

    has_attentions = False
    test_resize_embeddings = False

    all_model_classes = (VQDNACodecModel,)
    make_tester = CodecTester
    config_class = VQDNACodecConfig
