# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig

from vqdna_hf import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.configuration_vqdna import FORMAT_VERSION


@contextmanager
def warnings_of_transformers() -> Iterator[list[str]]:
    """What the configuration warns of; Transformers' loggers do not reach pytest's."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("vqdna_hf.model.configuration_vqdna")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


SMALL_CODEC = {"codebook_sizes": [32], "tap_positions": [2], "num_blocks": 2, "hidden_size": 24, "decay": 0.9}


# --- the codec ---


def test_the_codec_defaults_are_the_published_values() -> None:
    config = VQDNACodecConfig()
    assert (config.hidden_size, config.stem_size, config.stem_kernel_size) == (384, 256, 5)
    assert (config.num_blocks, config.kernel_size, config.expansion) == (6, 7, 4)
    assert (config.codebook_sizes, config.tap_positions, config.codebook_dim) == ([1024, 2048], [3, 6], 384)
    assert config.commitment_weight == 0.5
    assert config.objective == "reconstruction"
    assert config.receptive_field == 41
    assert VQDNACodecConfig(num_blocks=3, tap_positions=[1, 3]).receptive_field == 23
    assert config.num_quantizers == 2


def test_two_configurations_share_no_list() -> None:
    sizes = [8, 16]
    first, second = VQDNACodecConfig(codebook_sizes=sizes), VQDNACodecConfig(codebook_sizes=sizes)
    first.codebook_sizes[0] = 9
    assert sizes == second.codebook_sizes == [8, 16]
    assert VQDNACodecConfig().codebook_sizes is not VQDNACodecConfig().codebook_sizes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"codebook_sizes": [8]}, r"codebook_sizes \[8\] and tap_positions \[3, 6\] must be equally long"),
        ({"codebook_sizes": [], "tap_positions": []}, "must be equally long: one tap for each codebook"),
        ({"tap_positions": [6, 3]}, r"tap_positions \[6, 3\] must ascend"),
        ({"tap_positions": [6, 6]}, r"tap_positions \[6, 6\] must ascend"),
        ({"tap_positions": [0, 6]}, r"tap_positions \[0, 6\] must ascend within 1\.\.num_blocks"),
        ({"tap_positions": [2, 5]}, "end at num_blocks=6"),
        ({"num_blocks": 4}, "end at num_blocks=4"),
        ({"codebook_sizes": [1, 8]}, r"codebook_sizes \[1, 8\]: a codebook needs at least 2 entries"),
        ({"kernel_size": 6}, "kernel_size=6 must be odd"),
        ({"kernel_size": -1}, "kernel_size=-1 must be odd"),
        ({"stem_kernel_size": 4}, "stem_kernel_size=4 must be odd"),
        ({"hidden_size": 0}, "hidden_size=0 must be at least 1"),
        ({"stem_size": 0}, "stem_size=0 must be at least 1"),
        ({"codebook_dim": 0}, "codebook_dim=0 must be at least 1"),
        ({"expansion": 0}, "expansion=0 must be at least 1"),
        ({"window_radius": 0}, "window_radius=0 must be at least 1"),
        ({"decay": 1.0}, r"decay=1\.0 must be in \[0, 1\)"),
        ({"decay": -0.1}, r"decay=-0\.1 must be in \[0, 1\)"),
        ({"dead_code_threshold": 1}, r"dead_code_threshold=1 must be in \[0, 1\): it is a ratio"),
        ({"corruption_rate": 1.0}, r"corruption_rate=1\.0 must be in \[0, 1\)"),
        ({"corruption_rate": -0.5}, r"corruption_rate=-0\.5 must be in \[0, 1\)"),
    ],
)
def test_impossible_codec_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        VQDNACodecConfig(**values)
    assert type(error.value) is ValueError  # not wrapped: the message is the first thing a user reads


@pytest.mark.parametrize("values", [{"hidden_size": "16"}, {"objective": "both"}, {"decay": "0.9"}])
def test_values_of_another_type_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(values))):
        VQDNACodecConfig(**values)


# --- the model ---


def test_the_model_defaults() -> None:
    config = VQDNAConfig()
    assert (config.num_hidden_layers, config.hidden_size, config.num_attention_heads) == (12, 768, 12)
    assert config.layer_types == ["full_attention"] * 12
    assert config.codec_config.to_dict() == VQDNACodecConfig().to_dict()
    assert config.freeze_codec
    assert config.mask_level == "nucleotide"
    assert (config.vocab_size, config.pad_token_id, config.mask_token_id) == (10, 0, 4)
    assert (config.cls_token_id, config.sep_token_id) == (2, 3)


def test_local_attention_by_number_or_by_name() -> None:
    config = VQDNAConfig(num_hidden_layers=4, global_attn_every_n_layers=3)
    assert config.layer_types == [
        "full_attention",
        "sliding_attention",
        "sliding_attention",
        "full_attention",
    ]
    again = VQDNAConfig.from_dict(config.to_dict())
    assert again.layer_types == config.layer_types
    named = VQDNAConfig(num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"])
    assert named.layer_types == ["sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"hidden_size": 100, "num_attention_heads": 3},
            "hidden_size=100 must be a multiple of num_attention_heads=3",
        ),
        ({"nucleotide_loss_weight": -1}, "must not be negative"),
        ({"code_loss_weight": -0.5}, "must not be negative"),
        ({"nucleotide_loss_weight": 0, "code_loss_weight": 0}, "both 0: nothing would be learnt"),
        ({"codec_config": 3}, "codec_config must be a VQDNACodecConfig or its dictionary, got 3"),
        ({"codec_config": {"decay": 2.0}}, r"decay=2\.0 must be in \[0, 1\)"),
    ],
)
def test_impossible_model_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VQDNAConfig(**values)


@pytest.mark.parametrize("values", [{"mask_level": "kmer"}, {"classifier_pooling": "median"}])
def test_unknown_choices_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(values))):
        VQDNAConfig(**values)


# --- keys and versions ---


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [
        (VQDNACodecConfig, "codebook_size", "codebook_sizes"),
        (VQDNACodecConfig, "dead_code_treshold", "dead_code_threshold"),
        (VQDNACodecConfig, "tap_position", "tap_positions"),
        (VQDNAConfig, "hiden_size", "hidden_size"),
        (VQDNAConfig, "freeze_codebook", "freeze_codebooks"),
        (VQDNAConfig, "averge_strands", "average_strands"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest(kind: type, key: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"unknown key '{key}' in {kind.__name__}: did you mean '{meant}'"):
        kind(**{key: 1})


def test_a_misspelt_key_of_the_nested_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown key 'expnsion' in VQDNACodecConfig: did you mean 'expansion'"):
        VQDNAConfig(codec_config={"expnsion": 2})


@pytest.mark.parametrize("kind", [VQDNACodecConfig, VQDNAConfig])
def test_unknown_keys_far_from_any_known_one_are_said_and_kept(kind: type) -> None:
    with warnings_of_transformers() as said:
        config = kind(genome_build="hg38", wurst=[1, 2])
    assert [line for line in said if f"unknown key 'genome_build' in {kind.__name__}" in line]
    assert [line for line in said if "'wurst'" in line]
    assert config.genome_build == "hg38"
    assert kind.from_dict(config.to_dict()).wurst == [1, 2]


def test_keys_of_transformers_are_no_typos() -> None:
    config = VQDNAConfig(
        num_labels=3, problem_type="regression", dtype="float32", name_or_path="x", output_attentions=True,
        attn_implementation="eager", architectures=["VQDNAModel"], auto_map={"AutoConfig": "a.B"},
        id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2}, transformers_version="5.4.0",
    )  # fmt: skip
    assert config.num_labels == 3


@pytest.mark.parametrize("kind", [VQDNACodecConfig, VQDNAConfig])
def test_a_newer_format_is_refused_with_the_way_out(kind: type, tmp_path: Path) -> None:
    kind(format_version=FORMAT_VERSION)
    message = f"format_version {FORMAT_VERSION + 1} and this code reads {FORMAT_VERSION}: upgrade vqdna_hf"
    with pytest.raises(ValueError, match=message):
        kind(format_version=FORMAT_VERSION + 1)
    kind().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": FORMAT_VERSION + 1}))
    with pytest.raises(ValueError, match=message):
        kind.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="format_version 0 and this code reads 1: use the version"):
        kind(format_version=0)


# --- round trips ---


@pytest.mark.parametrize(
    "config",
    [
        VQDNACodecConfig(**SMALL_CODEC, objective="window", window_radius=3),
        VQDNAConfig(),
        VQDNAConfig(
            codec_config=SMALL_CODEC, num_hidden_layers=4, global_attn_every_n_layers=2, num_labels=5,
            problem_type="single_label_classification", mask_level="code", average_strands=True,
            freeze_codec=False,
        ),
    ],
)  # fmt: skip
def test_round_trips(config: VQDNACodecConfig | VQDNAConfig, tmp_path: Path) -> None:
    values = config.to_dict()
    assert json.loads(json.dumps(values)) == json.loads(config.to_json_string(use_diff=False))
    assert type(config).from_dict(values).to_dict() == values
    config.save_pretrained(tmp_path)
    for loaded in (type(config).from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is type(config)
        volatile = {"_name_or_path", "transformers_version", "auto_map"}
        assert {k: v for k, v in loaded.to_dict().items() if k not in volatile} == {
            k: v for k, v in values.items() if k not in volatile
        }
    if isinstance(config, VQDNAConfig):
        assert isinstance(loaded.codec_config, VQDNACodecConfig)
        assert loaded.codec_config.codebook_sizes == config.codec_config.codebook_sizes


def test_a_key_that_means_something_else_names_the_nearest() -> None:
    with warnings_of_transformers() as said:
        VQDNACodecConfig(codebooks=[512])
    assert len(said) == 1
    assert "'codebooks'" in said[0]
    assert "the nearest is 'codebook_" in said[0]


def test_known_keys_are_not_spoken_of(tmp_path: Path) -> None:
    with warnings_of_transformers() as said:
        VQDNAConfig(num_labels=3, global_attn_every_n_layers=3, attn_implementation="eager").save_pretrained(tmp_path)
        VQDNAConfig.from_pretrained(tmp_path)
    assert said == []
