# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a level sees and is taught: dilated blocks, strand-symmetric levels, a teacher's features."""

from typing import Any

import pytest
import torch

from vqdna_hf import (
    HierarchicalResidualQuantizer,
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    reverse_complement_ids,
)
from vqdna_hf.model.tokenization_vqdna import mirrored_positions

SIZES: dict[str, Any] = {
    "hidden_size": 16, "stem_size": 8, "num_blocks": 4, "tap_positions": [2, 4], "codebook_sizes": [32, 64],
    "codebook_dim": 16, "initializer_range": 0.3,
}  # fmt: skip


def trained(**values: Any) -> VQDNACodecModel:
    """A codec whose codebooks have seen data."""
    torch.manual_seed(0)
    model = VQDNACodecModel(VQDNACodecConfig(**SIZES | values)).train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randint(5, 9, (8, 64)))
    return model.eval()


def test_dilations_widen_what_each_level_sees() -> None:
    plain, wide = VQDNACodecConfig(**SIZES), VQDNACodecConfig(**SIZES, dilations=[1, 2, 1, 4])
    assert plain.block_dilations == [1, 1, 1, 1]
    assert plain.contexts == [2 + 6, 2 + 12]
    assert wide.contexts == [2 + 3 * 3, 2 + 3 * 8]
    assert (plain.receptive_field, wide.receptive_field) == (29, 53)


def test_a_change_reaches_exactly_as_far_as_the_contexts_say() -> None:
    model = trained(dilations=[1, 2, 1, 4])
    ids = torch.randint(5, 9, (1, 121))
    changed = ids.clone()
    changed[0, 60] = 5 + (ids[0, 60] - 4) % 4
    with torch.no_grad():
        pairs = zip(model.encoder.latents(ids)[0], model.encoder.latents(changed)[0], strict=True)
        reached = [(one != other).any(-1)[0].nonzero().flatten() for one, other in pairs]
    assert [(int(at.min()), int(at.max())) for at in reached] == [(60 - 11, 60 + 11), (60 - 26, 60 + 26)]


def test_the_decoder_sees_as_far_as_the_encoder() -> None:
    model = trained(dilations=[1, 2, 1, 4])
    codes = model.encode(torch.randint(5, 9, (1, 121))).codes
    changed = codes.clone()
    changed[0, :, 60] = (codes[0, :, 60] + 1) % 32
    with torch.no_grad():
        moved = (model.decode(codes) != model.decode(changed)).any(-1)[0].nonzero().flatten()
    # Both de-convolutions have the stem's kernel.
    assert (int(moved.min()), int(moved.max())) == (60 - 28, 60 + 28)


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_symmetric_levels_have_mirrored_codes(levels: int) -> None:
    model = trained(symmetric_levels=levels)
    ids = torch.randint(5, 9, (16, 60))
    ids[0, 10:14] = 9  # N
    with torch.no_grad():
        codes = model.encode(ids).codes
        other = model.encode(reverse_complement_ids(ids)).codes.flip(-1)
    same = (codes == other).float().mean((0, 2))
    assert (same[:levels] == 1).all()
    assert (same[levels:] < 0.5).all()
    assert codes.unique().numel() > 8


def test_symmetric_levels_do_not_see_padding_or_the_other_of_a_pair() -> None:
    model = trained(symmetric_levels=1)
    one, two = torch.randint(5, 9, (1, 40)), torch.randint(5, 9, (1, 20))
    cls, sep, pad = (torch.tensor([[value]]) for value in (2, 3, 0))
    with torch.no_grad():
        alone = model.encode(torch.cat([cls, one, sep], 1)).codes[:, :, 1:41]
        padded = model.encode(torch.cat([pad, pad, cls, one, sep, pad, pad, pad], 1)).codes[:, :, 3:43]
        mirrored = model.encode(reverse_complement_ids(torch.cat([cls, one, sep, two, sep], 1))).codes
        paired = model.encode(torch.cat([cls, one, sep, two, sep], 1)).codes
    assert torch.equal(alone, padded)
    assert torch.equal(mirrored[0, 0, 1:41].flip(-1), paired[0, 0, 1:41])
    assert torch.equal(mirrored[0, 0, 42:62].flip(-1), paired[0, 0, 42:62])


def test_mirrored_positions_are_those_of_the_reverse_complement() -> None:
    ids = torch.tensor([[2, 5, 6, 4, 3, 7, 8, 3, 0, 0], [0, 2, 5, 5, 9, 8, 7, 6, 5, 3]])
    positions = mirrored_positions(ids)
    assert torch.equal(positions.gather(1, positions), torch.arange(10).expand(2, 10))
    complement = torch.tensor([0, 1, 2, 3, 4, 8, 7, 6, 5, 9])[ids]
    assert torch.equal(complement.gather(1, positions), reverse_complement_ids(ids))


def test_a_language_model_takes_the_options_along() -> None:
    codec = trained(symmetric_levels=1, dilations=[1, 2, 1, 4])
    config = VQDNAConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = VQDNAForMaskedLM.from_codec(codec, config).eval()
    ids = torch.randint(5, 9, (2, 50))
    assert torch.equal(model.vqdna.encode(ids).codes, codec.encode(ids).codes)
    labels = torch.where(torch.rand(ids.shape) < 0.3, ids, -100)
    output = model(torch.where(labels == -100, ids, 4), labels=labels)
    positions = (labels != -100).flatten().nonzero().flatten()
    wanted = codec.encode(ids).codes.transpose(1, 2).flatten(0, 1)[positions]
    assert torch.equal(output.code_targets, wanted)


def test_distillation_teaches_the_coarsest_level_alone() -> None:
    torch.manual_seed(0)
    config = VQDNACodecConfig(**SIZES, objective="distillation", feature_size=4, commitment_weight=0)
    model = VQDNACodecModel(config).train()
    ids = torch.randint(5, 9, (4, 32))
    output = model(ids, features=torch.randn(4, 32, 4))
    parts = output.reconstruction_loss + output.window_loss + output.distillation_loss
    assert output.loss.item() == pytest.approx(parts.item(), rel=1e-6)
    output.distillation_loss.backward()
    assert model.encoder.tap_projections[0].weight.grad.abs().sum() > 0
    assert model.encoder.tap_projections[1].weight.grad is None
    assert all(weight.grad is None for weight in model.encoder.blocks[3].parameters())


def test_distillation_learns_features_that_are_a_function_of_the_bases() -> None:
    torch.manual_seed(0)
    config = VQDNACodecConfig(**SIZES, objective="distillation", feature_size=3, decay=0.8)
    model = VQDNACodecModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        ids = torch.randint(5, 9, (8, 32))
        strong = ((ids == 6) | (ids == 7)).float()
        features = torch.stack([strong - 0.5, strong.roll(1, 1) - 0.5, torch.full_like(strong, 0.1)], -1)
        loss = model(ids, features=features)
        optimizer.zero_grad()
        loss.loss.backward()
        optimizer.step()
        losses.append(loss.distillation_loss.item())
    assert losses[0] > 0.5
    assert losses[-1] < 0.25


def test_padding_and_n_do_not_count_in_distillation() -> None:
    torch.manual_seed(0)
    model = VQDNACodecModel(VQDNACodecConfig(**SIZES, objective="distillation", feature_size=4)).eval()
    ids = torch.cat([torch.randint(5, 9, (1, 20)), torch.zeros(1, 6, dtype=torch.long)], 1)
    features = torch.randn(1, 26, 4)
    loss = model(ids, features=features).distillation_loss
    features[:, 20:] = 1e6
    assert model(ids, features=features).distillation_loss == loss


def test_a_codec_without_its_teacher_answers_but_does_not_train() -> None:
    model = VQDNACodecModel(VQDNACodecConfig(**SIZES, objective="distillation", feature_size=4))
    ids = torch.randint(5, 9, (2, 32))
    assert model.eval()(ids).distillation_loss is None
    with pytest.raises(ValueError, match="trains on a teacher's features"):
        model.train()(ids)


def test_the_sum_of_levels_is_plain_residual_quantization() -> None:
    torch.manual_seed(0)
    quantizer = HierarchicalResidualQuantizer([8, 16], 4, level_fusion="sum").train()
    taps = [torch.randn(2, 9, 4, requires_grad=True) for _ in range(2)]
    quantizer(taps)
    quantizer.eval()
    output = quantizer(taps)
    coarse, fine = (book.embed for book in quantizer.codebooks)
    first = torch.cdist(taps[0], coarse).argmin(-1)
    second = torch.cdist(taps[1] - coarse[first], fine).argmin(-1)
    assert torch.equal(output.codes, torch.stack([first, second], 1))
    torch.testing.assert_close(output.quantized, coarse[first] + fine[second])
    torch.testing.assert_close(quantizer.lookup(output.codes), coarse[first] + fine[second])
    assert torch.equal(quantizer.encode(taps), output.codes)
    output.quantized.sum().backward()
    assert all(torch.equal(tap.grad, torch.ones_like(tap)) for tap in taps)  # straight through, each level whole


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dilations": [1, 1]}, "must be 4 numbers"),
        ({"dilations": [1, 0, 1, 1]}, "at least 1"),
        ({"symmetric_levels": 3}, "symmetric_levels=3"),
        ({"symmetric_levels": 1, "codec_stride": 2}, "needs codec_stride 1"),
        ({"objective": "distillation"}, "feature_size=0"),
        ({"distillation_weight": -1}, "must not be negative"),
    ],
)
def test_impossible_options_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VQDNACodecConfig(**SIZES | values)
