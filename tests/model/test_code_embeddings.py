# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The trained vector of each code: zeros at first, then what the task needs, and nothing where there is no code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from safetensors.torch import load_file, save_file

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAConfig, VQDNAForMaskedLM, VQDNAModel
from vqdna_hf.evaluation.baselines import compared_parameters
from vqdna_hf.model.modeling_vqdna_codec import VQDNACheckpointError
from vqdna_hf.training.flops import StepFlops

IDS = torch.tensor([[2, 5, 6, 7, 8, 8, 5, 9, 3], [2, 7, 7, 4, 5, 3, 0, 0, 0]])  # N in one, [MASK] in the other


pytestmark = pytest.mark.usefixtures("one_thread_and_a_fixed_seed")


@pytest.fixture(scope="module")
def codec() -> VQDNACodecModel:
    torch.manual_seed(1)
    model = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    with torch.no_grad():
        model(torch.randint(5, 9, (8, 60)))
    return model.eval()


def model_of(codec: VQDNACodecModel, kind: Any = VQDNAModel, **values: Any) -> Any:
    torch.manual_seed(2)
    return kind.from_codec(codec, **TINY_MODEL | {"initializer_range": 0.2} | values).eval()


def randomised(model: Any) -> Any:
    with torch.no_grad():
        for table in model.base_model.code_embeddings:
            table.weight.normal_()
    return model


def test_a_new_model_reads_exactly_its_codebooks(codec: VQDNACodecModel) -> None:
    model, without = model_of(codec), model_of(codec, code_embeddings=False)
    assert [tuple(table.weight.shape) for table in model.code_embeddings] == [
        (size, TINY_MODEL["hidden_size"]) for size in codec.config.codebook_sizes
    ]
    assert all(not table.weight.any() for table in model.code_embeddings)
    assert without.code_embeddings is None
    without.load_state_dict({name: value for name, value in model.state_dict().items() if "code_emb" not in name})
    assert torch.equal(model(IDS).last_hidden_state, without(IDS).last_hidden_state)


def test_each_level_adds_its_own_vector_and_positions_without_a_code_none(codec: VQDNACodecModel) -> None:
    model = randomised(model_of(codec))
    codes = model(IDS).codes
    added = model.code_embeddings(codes)
    for row, column in ((0, 1), (0, 5), (1, 2)):
        expected = sum(table.weight[codes[row, level, column]] for level, table in enumerate(model.code_embeddings))
        torch.testing.assert_close(added[row, column], expected)
    no_code = codes[:, 0] < 0
    assert no_code[0].tolist() == [True, *[False] * 7, True]
    assert not added[no_code].any()


def test_hidden_codes_show_nothing_of_their_embeddings(codec: VQDNACodecModel) -> None:
    model = randomised(model_of(codec, VQDNAForMaskedLM, mask_level="code"))
    ids = torch.tensor([[2, 5, 6, 7, 8, 8, 5, 6, 3]])
    hidden = torch.zeros_like(ids, dtype=torch.bool)
    hidden[0, 4] = True
    read = {"hidden_codes": hidden}
    before = model.vqdna(ids, **read).last_hidden_state
    code = model.vqdna.encode(ids).codes[0, :, 4]
    elsewhere = model.vqdna.encode(ids).codes[0].clone()
    elsewhere[:, 4] = -1
    changed = 0
    for level, table in enumerate(model.vqdna.code_embeddings):
        if code[level] not in elsewhere[level]:
            changed += 1
            with torch.no_grad():
                table.weight[code[level]] += 1.0
    assert changed
    assert torch.equal(model.vqdna(ids, **read).last_hidden_state, before)
    assert not torch.equal(model.vqdna(ids).last_hidden_state, before)


@pytest.mark.parametrize("stride", [1, 2])
def test_training_moves_the_embeddings_of_codes_that_occur_and_no_others(stride: int) -> None:
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, codec_stride=stride)).train()
    with torch.no_grad():
        codec(torch.randint(5, 9, (8, 60)))
    model = model_of(codec, VQDNAForMaskedLM).train()
    labels = torch.full_like(IDS, -100)
    labels[:, 2:4] = torch.tensor([[6, 7], [7, 8]])  # a row without any would move nothing
    output = model(IDS, labels=labels)
    output.loss.backward()
    for level, table in enumerate(model.vqdna.code_embeddings):
        moved = set(table.weight.grad.abs().sum(1).nonzero().flatten().tolist())
        assert moved == set(output.codes[:, level].unique().tolist()) - {-1}
    assert all(weight.grad is None for weight in model.vqdna.codec.parameters())


def test_they_are_saved_loaded_and_missed(codec: VQDNACodecModel, tmp_path: Path) -> None:
    model = randomised(model_of(codec, VQDNAForMaskedLM))
    model.save_pretrained(tmp_path / "m")
    loaded = VQDNAForMaskedLM.from_pretrained(tmp_path / "m").eval()
    assert torch.equal(loaded(IDS).logits, model(IDS).logits)
    assert torch.equal(VQDNAModel.from_pretrained(tmp_path / "m").eval()(IDS).last_hidden_state,
                       model.vqdna(IDS).last_hidden_state)  # fmt: skip
    with pytest.raises(VQDNACheckpointError, match=r"code_embeddings\.0\.weight is left over"):
        VQDNAForMaskedLM.from_pretrained(tmp_path / "m", code_embeddings=False)
    file = tmp_path / "m" / "model.safetensors"
    tensors = load_file(file)
    del tensors["vqdna.code_embeddings.1.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(VQDNACheckpointError, match=r"vqdna\.code_embeddings\.1\.weight is missing"):
        VQDNAForMaskedLM.from_pretrained(tmp_path / "m")


def test_they_count_as_vocabulary_and_are_trained_for(codec: VQDNACodecModel) -> None:
    model, without = model_of(codec), model_of(codec, code_embeddings=False)
    more = compared_parameters(model).vocabulary - compared_parameters(without).vocabulary
    assert more == sum(codec.config.codebook_sizes) * TINY_MODEL["hidden_size"]
    assert compared_parameters(model).backbone == compared_parameters(without).backbone
    for part in (model.code_projection, model.backbone):
        part.requires_grad_(False)
    frozen = StepFlops(model)
    model.code_embeddings.requires_grad_(False)
    assert frozen(4, 20) > StepFlops(model)(4, 20)  # gradients have to come back through the backbone


def test_the_configuration_says_whether(codec: VQDNACodecModel) -> None:
    assert VQDNAConfig().code_embeddings
    assert VQDNAConfig.from_dict(VQDNAConfig(code_embeddings=False).to_dict()).code_embeddings is False
