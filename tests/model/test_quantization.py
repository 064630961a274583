# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import copy
import math

import pytest
import torch
from torch import Tensor

from vqdna_hf.model import nearest_vqdna
from vqdna_hf.model.quantization_vqdna import (
    NO_CODE,
    Codebook,
    HierarchicalResidualQuantizer,
    VectorQuantizer,
    code_counts,
    usage_and_perplexity,
)

pytestmark = pytest.mark.usefixtures("one_thread_and_a_fixed_seed")


def set_entries(codebook: Codebook, entries: Tensor, cluster_size: Tensor | None = None) -> None:
    """Put known entries into a codebook, as if data had initialised it."""
    size = torch.ones(len(entries)) if cluster_size is None else cluster_size
    codebook.embed.copy_(entries)
    codebook.cluster_size.copy_(size)
    codebook.embed_sum.copy_(entries * size.unsqueeze(-1))
    codebook.initialized.fill_(1.0)


def quantizer_with(*levels: list[list[float]], **kwargs: float) -> HierarchicalResidualQuantizer:
    quantizer = HierarchicalResidualQuantizer([len(level) for level in levels], len(levels[0][0]), **kwargs)
    for codebook, entries in zip(quantizer.codebooks, levels, strict=True):
        set_entries(codebook, torch.tensor(entries))
    return quantizer


def state(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same_state(module: torch.nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), f"{name} moved"


# --- nearest and lookup ---


def test_nearest_equals_brute_force() -> None:
    codebook = Codebook(37, 11)
    set_entries(codebook, torch.randn(37, 11))
    vectors = torch.randn(500, 11)
    expected = torch.cdist(vectors, codebook.embed, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1)
    assert torch.equal(codebook.nearest(vectors), expected)
    assert len(expected.unique()) > 20  # otherwise the comparison says little


@pytest.mark.parametrize("limit", [1, 37, 100, 37 * 499])
def test_codes_do_not_depend_on_the_chunk_size(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codebook = Codebook(37, 11)
    set_entries(codebook, torch.randn(37, 11))
    vectors = torch.randn(500, 11)
    whole = codebook.nearest(vectors)
    calls: list[int] = []
    addmm = torch.addmm

    def counting(bias: Tensor, left: Tensor, *args: Tensor, **kwargs: float) -> Tensor:
        calls.append(len(left))
        return addmm(bias, left, *args, **kwargs)

    monkeypatch.setattr(nearest_vqdna, "_MAX_DISTANCES_PER_CHUNK", limit)
    monkeypatch.setattr(torch, "addmm", counting)
    assert torch.equal(codebook.nearest(vectors), whole)
    # The chunks are made indeed, and none holds more distances than allowed (one row is the least there is).
    assert len(calls) > 1
    assert sum(calls) == 500
    assert max(calls) * 37 <= max(limit, 37)


def test_lookup_gives_the_entries_and_zeros_without_a_code() -> None:
    quantizer = quantizer_with([[1.0, 2.0], [3.0, 4.0]], [[10.0, 0.0], [0.0, 10.0], [5.0, 5.0]])
    codes = torch.tensor([[[0, 1, NO_CODE], [2, 0, NO_CODE]]])
    expected = torch.tensor([[[3.0, 3.5], [6.5, 2.0], [0.0, 0.0]]])
    torch.testing.assert_close(quantizer.lookup(codes), expected)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.zeros(1, 3, 4, dtype=torch.long), r"\(B, 2, L\), got \(1, 3, 4\)"),
        (torch.zeros(2, 4, dtype=torch.long), r"\(B, 2, L\), got \(2, 4\)"),
        (torch.tensor([[[1], [3]]]), r"level 1 must be -1 or in 0\.\.2, found 3\.\.3"),
        (torch.tensor([[[2], [0]]]), r"level 0 must be -1 or in 0\.\.1, found 2\.\.2"),
        (torch.tensor([[[-2], [0]]]), r"level 0 must be -1 or in 0\.\.1, found -2\.\.-2"),
    ],
)
def test_lookup_refuses_what_no_codebook_has(codes: Tensor, message: str) -> None:
    quantizer = HierarchicalResidualQuantizer([2, 3], 2)
    with pytest.raises(ValueError, match=message):
        quantizer.lookup(codes)


def test_another_number_of_taps_is_refused() -> None:
    with pytest.raises(ValueError, match="2 codebooks need as many taps, got 1"):
        HierarchicalResidualQuantizer([2, 3], 2)([torch.zeros(1, 1, 2)])


# --- the moving average ---


def test_ema_update_by_hand() -> None:
    quantizer = VectorQuantizer(3, 2, decay=0.75, dead_code_threshold=0.0).train()
    set_entries(
        quantizer,
        torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]),
        cluster_size=torch.tensor([4.0, 2.0, 1.0]),
    )
    vectors = torch.tensor([[[1.0, 1.0], [1.0, -1.0], [2.0, 0.0], [8.0, 4.0]]])
    codes, _, _ = quantizer(vectors)
    assert codes.tolist() == [[0, 0, 0, 1]]
    # size <- 0.75 size + 0.25 count; sum <- 0.75 sum + 0.25 (sum of the assigned vectors); embed = sum / size
    torch.testing.assert_close(quantizer.cluster_size, torch.tensor([3.75, 1.75, 0.75]))
    torch.testing.assert_close(quantizer.embed_sum, torch.tensor([[1.0, 0.0], [17.0, 1.0], [0.0, 7.5]]))
    torch.testing.assert_close(
        quantizer.embed, torch.tensor([[1.0 / 3.75, 0.0], [17.0 / 1.75, 1.0 / 1.75], [0.0, 10.0]])
    )
    assert quantizer.num_updates.item() == 1


def test_output_and_loss_use_the_entries_from_before_the_update() -> None:
    quantizer = VectorQuantizer(2, 1, decay=0.5, dead_code_threshold=0.0).train()
    set_entries(quantizer, torch.tensor([[0.0], [10.0]]))
    _, quantized, loss = quantizer(torch.tensor([[[2.0]]]))
    assert quantized.item() == 0.0
    assert loss.item() == 4.0
    assert quantizer.embed[0].item() != 0.0


def test_an_entry_out_of_use_keeps_its_vector_for_ever() -> None:
    quantizer = VectorQuantizer(2, 2, decay=0.1, dead_code_threshold=0.0).train()
    entries = torch.tensor([[0.0, 0.0], [100.0, -50.0]])
    set_entries(quantizer, entries)
    for _ in range(200):  # 0.1 ** 200 is far below the smallest number of fp32
        quantizer(torch.zeros(1, 3, 2))
    torch.testing.assert_close(quantizer.embed, entries, rtol=1e-5, atol=1e-5)


def test_dead_entries_are_reseeded_with_vectors_of_the_batch_and_live_ones_are_not() -> None:
    quantizer = VectorQuantizer(4, 2, decay=0.9, dead_code_threshold=0.1).train()
    entries = torch.tensor([[0.0, 0.0], [10.0, 0.0], [500.0, 500.0], [-500.0, 500.0]])
    set_entries(quantizer, entries, cluster_size=torch.tensor([10.0, 10.0, 0.2, 2.0]))
    vectors = torch.tensor([[1.0, 0.0], [9.0, 0.0], [0.0, 1.0], [11.0, 1.0]])
    quantizer(vectors.unsqueeze(0))
    # After the decay the sizes are 9.2, 9.2, 0.18, 1.8; a tenth of their mean is 0.51: entry 2 is dead.
    even_share = (9.2 + 9.2 + 0.18 + 1.8) / 4
    torch.testing.assert_close(quantizer.cluster_size, torch.tensor([9.2, 9.2, even_share, 1.8]))
    distances = torch.cdist(quantizer.embed[2:3], vectors)
    assert distances.min() < 1e-5
    torch.testing.assert_close(quantizer.embed[3], entries[3])
    torch.testing.assert_close(quantizer.embed[0], torch.tensor([0.1 / 9.2, 0.1 / 9.2]))
    torch.testing.assert_close(quantizer.embed_sum, quantizer.embed * quantizer.cluster_size.unsqueeze(-1))


def test_reseeding_takes_other_vectors_at_every_update() -> None:
    vectors = torch.randn(1, 101, 2)
    seeds = []
    for updates in (0, 1):
        quantizer = VectorQuantizer(4, 2, dead_code_threshold=0.5).train()
        set_entries(quantizer, torch.full((4, 2), 1e3), cluster_size=torch.tensor([10.0, 0.0, 0.0, 0.0]))
        quantizer.num_updates.fill_(updates)
        quantizer(vectors)
        seeds.append(quantizer.embed[1:].clone())
    assert torch.cdist(torch.cat(seeds), vectors[0]).min(-1).values.max() < 1e-3
    assert torch.cdist(seeds[0], seeds[1]).min() > 1e-3


def test_a_threshold_of_zero_never_reseeds() -> None:
    quantizer = VectorQuantizer(2, 1, dead_code_threshold=0.0).train()
    set_entries(quantizer, torch.tensor([[0.0], [100.0]]), cluster_size=torch.tensor([1.0, 0.0]))
    quantizer(torch.tensor([[[1.0], [2.0]]]))
    assert quantizer.embed[1].item() == 100.0


def test_data_initialisation_takes_distinct_vectors_of_the_batch() -> None:
    codebook = Codebook(16, 3)
    vectors = torch.randn(97, 3)
    codebook.initialize(vectors)
    distances = torch.cdist(codebook.embed, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(-1).values.max() == 0.0
    assert len(distances.argmin(-1).unique()) == 16
    # Each entry starts with an even share of the batch, and its sum fits.
    torch.testing.assert_close(codebook.cluster_size, torch.full((16,), 97 / 16))
    torch.testing.assert_close(codebook.embed_sum, codebook.embed * 97 / 16)
    assert codebook.initialized.item() == 1.0


def test_fewer_vectors_than_entries_are_all_taken() -> None:
    codebook = Codebook(16, 3)
    vectors = torch.randn(5, 3)
    codebook.initialize(vectors)
    distances = torch.cdist(codebook.embed, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(-1).values.max() == 0.0
    assert len(distances.argmin(-1).unique()) == 5


def test_initialisation_waits_for_a_valid_position() -> None:
    quantizer = VectorQuantizer(4, 3).train()
    grid = quantizer.embed.clone()
    vectors = torch.randn(1, 8, 3)
    quantizer(vectors, torch.zeros(1, 8, dtype=torch.bool))
    assert quantizer.initialized.item() == 0.0
    torch.testing.assert_close(quantizer.embed, grid)
    quantizer(vectors, torch.ones(1, 8, dtype=torch.bool))
    assert quantizer.initialized.item() == 1.0
    assert torch.cdist(quantizer.embed, vectors[0]).min(-1).values.max() < 0.5
    assert not torch.allclose(quantizer.embed, grid)


def test_a_later_batch_does_not_initialise_again() -> None:
    quantizer = VectorQuantizer(4, 3, decay=0.99, dead_code_threshold=0.0).train()
    quantizer(torch.randn(1, 8, 3))
    before = quantizer.embed.clone()
    quantizer(torch.randn(1, 8, 3) + 5)
    assert (quantizer.embed - before).abs().max() < 1.0  # a step of the average, not vectors around 5


@pytest.mark.parametrize("initialized", [False, True])
@pytest.mark.parametrize("how", ["eval", "update=False"])
def test_nothing_moves_in_eval_or_when_told_so(how: str, initialized: bool) -> None:
    quantizer = HierarchicalResidualQuantizer([4, 8], 3).train()
    if initialized:
        quantizer([torch.randn(2, 9, 3)] * 2)
        assert quantizer.codebooks[1].num_updates.item() == 1
    before = state(quantizer)
    quantizer.train(how != "eval")
    for _ in range(3):
        quantizer([torch.randn(2, 9, 3)] * 2, update=how != "update=False")
    assert_same_state(quantizer, before)


# --- gradients, losses, the HRQ equations ---


def test_straight_through_gradient_is_the_identity_for_one_level() -> None:
    quantizer = quantizer_with([[0.0, 0.0], [5.0, 5.0]]).train()
    tap = torch.randn(2, 3, 2, requires_grad=True)
    weight = torch.randn(2, 3, 2)
    output = quantizer([tap])
    torch.testing.assert_close(output.quantized, quantizer.lookup(output.codes), atol=0.2, rtol=0)  # after a step
    (output.quantized * weight).sum().backward()
    torch.testing.assert_close(tap.grad, weight)


@pytest.mark.parametrize("num_quantizers", [2, 3])
def test_hrq_gradient_is_one_share_for_the_first_tap_and_two_for_the_others(num_quantizers: int) -> None:
    quantizer = HierarchicalResidualQuantizer([4] * num_quantizers, 2).eval()
    taps = [torch.randn(2, 3, 2, requires_grad=True) for _ in range(num_quantizers)]
    weight = torch.randn(2, 3, 2)
    (quantizer(taps).quantized * weight).sum().backward()
    for level, tap in enumerate(taps):
        share = (1 if level == 0 else 2) / num_quantizers
        torch.testing.assert_close(tap.grad, share * weight)


def test_hrq_equations_by_hand_for_two_levels() -> None:
    # (2, 2) is nearest to 2 Z(2), (1, 1) to Z(2), (0, 1) to Z(2) - e(M(1)), and (0.5, 2.5) to H(2).
    fine = [[2.0, 2.0], [1.0, 1.0], [0.0, 1.0], [0.5, 2.5]]
    quantizer = quantizer_with([[1.0, 0.0], [0.0, 1.0]], fine).eval()
    first = torch.tensor([[[0.9, 0.2]]])  # H(1) = Z(1); the nearest entry is (1, 0)
    second = torch.tensor([[[0.9, 1.1]]])  # H(2) = (1.8, 2.2) - (1, 0) = (0.8, 2.2)
    output = quantizer([first, second])
    assert output.codes.tolist() == [[[0], [3]]]
    torch.testing.assert_close(output.quantized, torch.tensor([[[0.75, 1.25]]]))
    level_1 = (0.1**2 + 0.2**2) / 2
    level_2 = (0.3**2 + 0.3**2) / 2
    assert output.commitment_loss.item() == pytest.approx((level_1 + level_2) / 2, rel=1e-5)


def test_hrq_equations_by_hand_for_three_levels() -> None:
    quantizer = quantizer_with([[0.0], [4.0]], [[-2.0], [1.0]], [[0.0], [6.0], [9.0]]).eval()
    taps = [torch.tensor([[[z]]]) for z in (3.0, 2.2, 2.6)]
    # H(1) = 3 -> 4; H(2) = 4.4 - 4 = 0.4 -> 1; H(3) = 5.2 - 1 = 4.2 -> 6 (with e(M(1)) it were 1.2 -> 0)
    output = quantizer(taps)
    assert output.codes.flatten().tolist() == [1, 1, 1]
    assert output.quantized.item() == pytest.approx((4 + 1 + 6) / 3, rel=1e-6)
    assert output.commitment_loss.item() == pytest.approx((1.0**2 + 0.6**2 + 1.8**2) / 3, rel=1e-5)


def test_commitment_loss_by_hand_and_its_gradient() -> None:
    quantizer = quantizer_with([[0.0, 0.0], [10.0, 10.0]]).eval()
    tap = torch.tensor([[[1.0, 2.0], [9.0, 10.0]]], requires_grad=True)
    loss = quantizer([tap]).commitment_loss
    assert loss.item() == pytest.approx((1 + 4 + 1 + 0) / 4)
    loss.backward()  # the entries are constants: d/dx of the mean over 4 numbers is (x - e) / 2
    torch.testing.assert_close(tap.grad, torch.tensor([[[0.5, 1.0], [-0.5, 0.0]]]))


def test_no_loss_when_not_asked_for() -> None:
    assert (
        HierarchicalResidualQuantizer([4, 4], 2)([torch.randn(1, 3, 2)] * 2, return_loss=False).commitment_loss is None
    )


# --- masks ---


@pytest.mark.parametrize("garbage", [3.0, 1e30, math.inf, math.nan])
def test_masked_vectors_change_nothing(garbage: float) -> None:
    taps = [torch.randn(2, 6, 3) for _ in range(2)]
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    loss_mask = mask & torch.tensor([[1, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    results = []
    for fill in (0.0, garbage):
        quantizer = HierarchicalResidualQuantizer([3, 5], 3, decay=0.5, dead_code_threshold=0.2).train()
        filled = [tap.masked_fill(~mask.unsqueeze(-1), fill).requires_grad_() for tap in taps]
        for _ in range(3):
            output = quantizer(filled, mask, loss_mask)
        (output.quantized.square().sum() + output.commitment_loss).backward()
        results.append((output, state(quantizer), [tap.grad[mask] for tap in filled]))
    (clean, clean_state, clean_grad), (dirty, dirty_state, dirty_grad) = results
    assert torch.equal(clean.codes, dirty.codes)
    assert torch.equal(clean.quantized, dirty.quantized)
    assert torch.equal(clean.commitment_loss, dirty.commitment_loss)
    for name in clean_state:
        assert torch.equal(clean_state[name], dirty_state[name]), name
    torch.testing.assert_close(clean_grad, dirty_grad)
    assert (dirty.codes.transpose(1, 2)[~mask] == NO_CODE).all()
    assert (dirty.codes.transpose(1, 2)[mask] != NO_CODE).all()
    assert (dirty.quantized[~mask] == 0).all()


def test_the_loss_mask_leaves_positions_out_of_loss_and_counts_but_gives_them_codes() -> None:
    quantizer = quantizer_with([[0.0], [10.0]], decay=0.5, dead_code_threshold=0.0).train()
    tap = torch.tensor([[[1.0], [7.0], [12.0]]])
    output = quantizer([tap], torch.tensor([[True, True, True]]), torch.tensor([[True, False, True]]))
    assert output.codes.tolist() == [[[0, 1, 1]]]
    assert output.commitment_loss.item() == pytest.approx((1 + 4) / 2)
    torch.testing.assert_close(quantizer.codebooks[0].cluster_size, torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(quantizer.codebooks[0].embed, torch.tensor([[0.5], [11.0]]))


def test_the_loss_mask_defaults_to_the_mask() -> None:
    quantizer = quantizer_with([[0.0], [10.0]], decay=0.5, dead_code_threshold=0.0).train()
    output = quantizer([torch.tensor([[[1.0], [7.0]]])], torch.tensor([[True, False]]))
    assert output.commitment_loss.item() == pytest.approx(1.0)
    assert quantizer.codebooks[0].embed[1].item() == 10.0


def test_a_batch_without_a_valid_position_has_a_loss_of_zero() -> None:
    quantizer = HierarchicalResidualQuantizer([3, 5], 3, dead_code_threshold=0.5).train()
    quantizer([torch.randn(1, 9, 3)] * 2)
    for codebook in quantizer.codebooks:  # a dead entry: there is nothing to re-seed it with
        codebook.cluster_size[0] *= 1e-3
        codebook.embed_sum[0] *= 1e-3
    before = [codebook.embed.clone() for codebook in quantizer.codebooks]
    output = quantizer([torch.randn(1, 4, 3)] * 2, torch.zeros(1, 4, dtype=torch.bool))
    assert output.commitment_loss.item() == 0.0
    for codebook, embed in zip(quantizer.codebooks, before, strict=True):
        torch.testing.assert_close(codebook.embed, embed)


# --- precision ---


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_latents_get_the_codes_of_fp32_distances(dtype: torch.dtype) -> None:
    quantizer = HierarchicalResidualQuantizer([64], 8).eval()
    set_entries(quantizer.codebooks[0], 5 + 0.05 * torch.randn(64, 8))
    latents = (5 + 0.05 * torch.randn(1, 200, 8)).to(dtype)
    expected = torch.cdist(
        latents[0].double(),
        quantizer.codebooks[0].embed.double(),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    codes = quantizer([latents]).codes[0, 0]
    # Rounding may decide a tie, never more: the chosen entry is as near as the nearest, to fp32's digits.
    chosen = expected.gather(1, codes[:, None])[:, 0]
    assert (chosen - expected.min(-1).values).max() < 1e-3
    assert (codes == expected.argmin(-1)).float().mean() > 0.98
    # The test can tell: distances in half precision choose others.
    entries = quantizer.codebooks[0].embed.to(dtype)
    rough = entries.square().sum(-1) - 2 * latents[0] @ entries.t()
    assert (rough.argmin(-1) == expected.argmin(-1)).float().mean() < 0.9


def test_autocast_does_not_change_the_codes() -> None:
    quantizer = HierarchicalResidualQuantizer([64, 128], 8).eval()
    for codebook in quantizer.codebooks:
        set_entries(codebook, 5 + 0.05 * torch.randn(codebook.codebook_size, 8))
    taps = [5 + 0.05 * torch.randn(2, 100, 8) for _ in range(2)]
    expected = quantizer(taps)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = quantizer(taps)
    assert torch.equal(output.codes, expected.codes)
    assert torch.equal(output.quantized, expected.quantized)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_codebook_stays_fp32_in_a_model_of_another_dtype_and_trains(dtype: torch.dtype) -> None:
    quantizer = HierarchicalResidualQuantizer([4, 8], 3).train()
    quantizer([torch.randn(2, 9, 3)] * 2)
    before = state(quantizer)
    quantizer.to(dtype)
    for name, value in quantizer.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, before[name]), name
    output = quantizer([torch.randn(2, 9, 3, dtype=dtype)] * 2)
    assert output.commitment_loss.isfinite()
    assert quantizer.codebooks[0].num_updates.item() == 2
    assert not torch.equal(quantizer.codebooks[0].embed, before["codebooks.0.embed"])


def test_counts_beyond_the_reach_of_half_precision() -> None:
    quantizer = quantizer_with([[0.0], [10.0]], decay=0.0, dead_code_threshold=0.0).train().half()
    quantizer([torch.ones(1, 5001, 1, dtype=torch.float16)])  # fp16 has no 5001
    assert quantizer.codebooks[0].cluster_size[0].item() == 5001.0
    assert quantizer.codebooks[0].embed[0].item() == 1.0


# --- metrics ---


def test_code_counts_leave_out_positions_without_a_code() -> None:
    codes = torch.tensor([[0, 2, NO_CODE], [2, 2, NO_CODE]])
    assert code_counts(codes, 4).tolist() == [1.0, 0.0, 3.0, 0.0]


@pytest.mark.parametrize(
    ("counts", "usage", "perplexity"),
    [
        ([7.0, 7.0, 7.0, 7.0], 1.0, 4.0),
        ([0.0, 9.0, 0.0, 0.0], 0.25, 1.0),
        ([2.0, 1.0, 1.0, 0.0], 0.75, 2.0**1.5),
        ([0.0, 0.0, 0.0, 0.0], 0.0, 1.0),
    ],
)
def test_usage_and_perplexity(counts: list[float], usage: float, perplexity: float) -> None:
    found = usage_and_perplexity(torch.tensor(counts))
    assert found[0].item() == pytest.approx(usage)
    assert found[1].item() == pytest.approx(perplexity, rel=1e-5)


def test_the_untrained_codebook_is_the_same_every_time_and_has_no_twins() -> None:
    first, second = Codebook(512, 8), Codebook(512, 8)
    assert torch.equal(first.embed, second.embed)
    assert len(first.embed.unique(dim=0)) == 512
    assert first.embed.abs().max() <= 1.0


# --- one step: what it keeps, what it waits for, and the same result however it is cut ---


def plain_step(
    taps: list[Tensor], embeds: list[Tensor], mask: Tensor, loss_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The HRQ equations in the open: codes (B, Q, L), output, loss; gradients by autograd."""
    codes: list[Tensor] = []
    entries: list[Tensor] = []
    outputs: list[Tensor] = []
    losses: list[Tensor] = []
    for tap, embed in zip(taps, embeds, strict=True):
        residual = 2 * tap.float() - entries[-1] if entries else tap.float()
        index = torch.cdist(residual, embed.expand(len(tap), -1, -1)).argmin(-1)
        entries.append(embed[index])
        outputs.append(entries[-1] + residual - residual.detach())
        losses.append((residual - entries[-1])[loss_mask].square().mean())
        codes.append(index.masked_fill(~mask, NO_CODE))
    output = torch.stack(outputs).mean(0) * mask.unsqueeze(-1)
    return torch.stack(codes, 1), output, torch.stack(losses).mean()


@pytest.mark.parametrize("limit", [1 << 21, 64], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("sizes", [[7], [7, 64, 5]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_equals_the_equations_under_autograd(
    dtype: torch.dtype, sizes: list[int], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_vqdna, "_MAX_DISTANCES_PER_CHUNK", limit)
    quantizer = HierarchicalResidualQuantizer(sizes, 6, dead_code_threshold=0.0).train()
    for book in quantizer.codebooks:
        set_entries(book, torch.randn(book.codebook_size, 6))
    embeds = [book.embed.clone() for book in quantizer.codebooks]
    mask, loss_mask = torch.rand(2, 3, 40) < 0.8
    loss_mask &= mask
    taps = [torch.randn(3, 40, 6).to(dtype).requires_grad_() for _ in sizes]
    weight = torch.randn(3, 40, 6)
    found = quantizer(taps, mask, loss_mask)
    ((found.quantized * weight).sum() + 3 * found.commitment_loss).backward()
    gradients = [tap.grad for tap in taps]
    for tap in taps:
        tap.grad = None
    codes, output, loss = plain_step(taps, embeds, mask, loss_mask)
    ((output * weight).sum() + 3 * loss).backward()
    assert torch.equal(found.codes, codes)
    torch.testing.assert_close(found.quantized, output)
    torch.testing.assert_close(found.commitment_loss, loss)
    for tap, gradient in zip(taps, gradients, strict=True):
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient, tap.grad)
    # And the codebooks moved as the residuals say.
    for level, (book, embed) in enumerate(zip(quantizer.codebooks, embeds, strict=True)):
        residual = taps[level].detach().float()
        if level:
            residual = 2 * residual - embeds[level - 1][codes[:, level - 1].clamp(min=0)]
        expected = VectorQuantizer(len(embed), 6, dead_code_threshold=0.0)
        set_entries(expected, embed)
        expected.update(residual[loss_mask], codes[:, level][loss_mask])
        torch.testing.assert_close(book.embed, expected.embed)
        torch.testing.assert_close(book.cluster_size, expected.cluster_size)


@pytest.mark.parametrize("with_loss_mask", [False, True])
def test_the_gradient_of_the_loss_in_double_precision(with_loss_mask: bool) -> None:
    quantizer = HierarchicalResidualQuantizer([5, 9], 3).eval()
    taps = [torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    loss_mask = torch.rand(2, 6) < 0.7 if with_loss_mask else None
    assert torch.autograd.gradcheck(lambda *taps: quantizer(taps, None, loss_mask).commitment_loss, taps)


def test_the_output_is_the_code_vectors_to_the_bit() -> None:
    quantizer = quantizer_with([[0.1, 0.2], [0.3, -0.7]]).eval()
    tap = (1e4 * torch.randn(1, 50, 2)).requires_grad_()  # x + (e - x) has no digit of e left
    output = quantizer([tap])
    assert torch.equal(output.quantized, quantizer.lookup(output.codes))


def test_nothing_is_kept_for_backward_but_inputs_codes_and_entries() -> None:
    quantizer = HierarchicalResidualQuantizer([4, 8], 16).train()
    taps = [torch.randn(1, 1000, 16, requires_grad=True) for _ in range(2)]
    mask = torch.rand(1, 1000) < 0.9
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = quantizer(taps, mask)
    for tap in taps:
        assert kept.pop(tap.untyped_storage().data_ptr()) == 1000 * 16 * 4
    assert sum(kept.values()) <= 2 * 1000 * 8 + 1000 + (4 + 8) * 16 * 4 + 100
    (output.quantized.sum() + output.commitment_loss).backward()
    assert all(tap.grad.isfinite().all() for tap in taps)


def test_a_training_step_is_one_graph_and_so_waits_for_nothing() -> None:
    """No shape and no branch depends on data, for which a GPU would have to be waited for."""
    quantizer = HierarchicalResidualQuantizer([5, 9], 3, decay=0.5, dead_code_threshold=0.5).train()
    taps = [torch.randn(2, 30, 3, requires_grad=True) for _ in range(2)]
    mask = torch.rand(2, 30) < 0.7
    quantizer(taps, mask)
    results = []
    for compiled in (False, True):
        module = copy.deepcopy(quantizer)
        step = torch.compile(module, backend="aot_eager", fullgraph=True) if compiled else module
        for tap in taps:
            tap.grad = None
        output = step(taps, mask)
        (output.quantized.square().sum() + output.commitment_loss).backward()
        results.append((output.codes, output.quantized, [tap.grad for tap in taps], state(module)))
    torch.testing.assert_close(results[1], results[0])
    torch._dynamo.reset()


@pytest.mark.parametrize("reset", ["load_state_dict", "initial_state", "to_empty"])
def test_a_codebook_that_is_set_back_waits_for_data_again(reset: str) -> None:
    quantizer = VectorQuantizer(4, 3).train()
    fresh = state(quantizer)
    quantizer(torch.randn(1, 9, 3))
    assert quantizer.initialized.item() == 1.0
    if reset == "load_state_dict":
        quantizer.load_state_dict(fresh)
    else:
        if reset == "to_empty":
            quantizer.to_empty(device="cpu")
        for name, value in quantizer.initial_state().items():
            getattr(quantizer, name).copy_(value)
    quantizer(torch.randn(1, 9, 3) + 100)
    assert quantizer.initialized.item() == 1.0
    assert (quantizer.embed > 90).all()


def test_a_level_in_eval_stands_still_beside_one_in_training() -> None:
    quantizer = HierarchicalResidualQuantizer([4, 8], 3).train()
    quantizer([torch.randn(2, 9, 3)] * 2)
    quantizer.codebooks[0].eval()
    before = [state(book) for book in quantizer.codebooks]
    quantizer([torch.randn(2, 9, 3)] * 2)
    assert_same_state(quantizer.codebooks[0], before[0])
    assert quantizer.codebooks[1].num_updates.item() == before[1]["num_updates"].item() + 1
    assert not torch.equal(quantizer.codebooks[1].embed, before[1]["embed"])


def test_encode_gives_the_codes_of_forward_for_any_shape() -> None:
    quantizer = HierarchicalResidualQuantizer([7, 64], 5).eval()
    taps = [torch.randn(3, 20, 5) for _ in range(2)]
    mask = torch.rand(3, 20) < 0.8
    expected = quantizer(taps, mask)
    assert expected.codes.shape == (3, 2, 20)
    assert torch.equal(quantizer.encode(taps, mask), expected.codes)
    flat = [tap.reshape(60, 5) for tap in taps]
    output = quantizer(flat, mask.view(60))
    assert torch.equal(output.codes, expected.codes.transpose(0, 1).reshape(2, 60))
    assert torch.equal(output.quantized.view(3, 20, 5), expected.quantized)
    assert torch.equal(quantizer.encode(flat, mask.view(60)), output.codes)
    assert quantizer.encode([tap[:0] for tap in flat]).shape == (2, 0)


def test_of_equal_entries_the_first_is_taken() -> None:
    codebook = Codebook(256, 4)
    entries = torch.randn(64, 4)
    codebook.embed.copy_(entries.repeat(4, 1))
    codes = codebook.nearest(entries + 1e-4)
    assert torch.equal(codes, torch.arange(64))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_codes_are_those_of_exact_products_whatever_precision_is_allowed(precision: str, compiled: bool) -> None:
    codebook = Codebook(256, 64)
    codebook.embed.copy_(5 + 0.05 * torch.randn(256, 64))
    vectors = 5 + 0.05 * torch.randn(512, 64)
    nearest = torch.compile(codebook.nearest, backend="aot_eager", fullgraph=True) if compiled else codebook.nearest
    expected = codebook.nearest(vectors)
    inside: list[str] = []
    addmm = torch.addmm

    def watching(*args: Tensor, **kwargs: float) -> Tensor:
        inside.append(torch.backends.mkldnn.matmul.fp32_precision + torch.backends.cuda.matmul.fp32_precision)
        return addmm(*args, **kwargs)

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "addmm", watching)
            found = nearest(vectors)
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
        torch._dynamo.reset()
    assert torch.equal(found, expected)
    assert set(inside) == {"ieeeieee"}


@pytest.mark.parametrize("levels", [1, 2])
def test_training_without_the_commitment_loss(levels: int) -> None:
    """The codebooks move before backward, which then must not need them."""
    torch.manual_seed(0)
    quantizer = HierarchicalResidualQuantizer([8, 16][:levels], codebook_dim=4).train()
    taps = [torch.randn(2, 9, 4, requires_grad=True) for _ in range(levels)]
    output = quantizer(taps, return_loss=False)
    output.quantized.square().sum().backward()
    scale = 2 * output.quantized.detach() / levels
    for level, tap in enumerate(taps):
        assert torch.allclose(tap.grad, scale if level == 0 else 2 * scale)
