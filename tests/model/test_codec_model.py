# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig
from vqdna_hf.model.modeling_vqdna_codec import IGNORED, VQDNACodecModel, window_targets
from vqdna_hf.model.quantization_vqdna import NO_CODE
from vqdna_hf.model.tokenization_vqdna import CLS_ID, MASK_ID, N_ID, PAD_ID, SEP_ID

pytestmark = pytest.mark.usefixtures("one_thread_and_a_fixed_seed")


def tiny_codec(trained: bool = True, **values: Any) -> VQDNACodecModel:
    """A small codec whose weights are large enough to matter; `trained`: its codebooks come from data."""
    defaults: dict[str, Any] = {
        "hidden_size": 16, "stem_size": 8, "num_blocks": 2, "tap_positions": [1, 2],
        "codebook_sizes": [8, 16], "codebook_dim": 12, "initializer_range": 0.3,
    }  # fmt: skip
    codec = VQDNACodecModel(VQDNACodecConfig(**defaults | values)).train()
    with torch.no_grad():  # biases start at zero, where they cannot leak into padding
        for name, parameter in codec.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    if trained:
        with torch.no_grad():
            codec(random_dna(8, 60))
    return codec.eval()


def random_dna(batch: int, length: int, low: int = 5, high: int = 9) -> Tensor:
    return torch.randint(low, high, (batch, length))


def set_every_tensor_apart(codec: VQDNACodecModel) -> None:
    with torch.no_grad():
        for index, tensor in enumerate(codec.state_dict().values()):
            tensor.copy_(torch.randn(tensor.shape).abs() + 0.01 * index)


# --- size ---


@pytest.mark.parametrize(
    ("sizes", "taps", "parameters", "entries"),
    [([512], [6], 15.2e6, 512), ([1024, 2048], [3, 6], 15.4e6, 3072)],
    ids=["VQ", "HRQ"],
)
def test_the_default_codecs_have_the_published_size(
    sizes: list[int], taps: list[int], parameters: float, entries: int
) -> None:
    with torch.device("meta"):
        codec = VQDNACodecModel(VQDNACodecConfig(codebook_sizes=sizes, tap_positions=taps))
    count = sum(parameter.numel() for parameter in codec.parameters())
    values = sum(codebook.embed.numel() for codebook in codec.encoder.quantizer.codebooks)
    assert values == entries * 384
    # The paper: 16 M (VQ) and 17 M (HRQ), encoder and decoder; it does not say whether entries count.
    assert 15e6 < count < 17e6
    assert 15e6 < count + values < 17e6
    assert count == pytest.approx(parameters, rel=0.02)


# --- what a position sees ---


def test_the_receptive_fields_are_23_and_41_nucleotides() -> None:
    config = VQDNACodecConfig(
        hidden_size=16, stem_size=8, codebook_dim=12, codebook_sizes=[8, 16], initializer_range=0.3
    )
    codec = VQDNACodecModel(config).eval()
    ids = random_dna(1, 121)
    changed = ids.clone()
    changed[0, 60] = 5 + (ids[0, 60] - 5 + 1) % 4
    with torch.no_grad():
        before, after = codec.encoder.latents(ids)[0], codec.encoder.latents(changed)[0]
    for tap, (old, new), reach in zip((1, 2), zip(before, after, strict=True), (11, 20), strict=True):
        moved = (old - new).abs().amax(-1)[0] > 0
        positions = moved.nonzero().flatten()
        assert (positions.min().item(), positions.max().item()) == (60 - reach, 60 + reach), f"tap {tap}"
        assert moved[60 - reach : 60 + reach + 1].all()
    assert config.receptive_field == 41


# --- one code path ---


@pytest.mark.parametrize("objective", ["reconstruction", "window"])
def test_forward_encode_and_decode_agree(objective: str) -> None:
    codec = tiny_codec(objective=objective)
    ids = random_dna(3, 30, high=10)
    ids[:, 0], ids[:, 25], ids[1:, 26:] = CLS_ID, SEP_ID, PAD_ID
    ids[0, 7] = MASK_ID
    with torch.no_grad():
        output = codec(ids)
        encoded = codec.encode(ids)
        logits = codec.decode(encoded.codes)
        from_vectors = codec.decode(quantized=encoded.quantized, mask=encoded.codes[:, 0] != NO_CODE)
    assert torch.equal(output.codes, encoded.codes)
    torch.testing.assert_close(output.quantized, codec.encoder.quantizer.lookup(encoded.codes), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.logits, logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(from_vectors, logits, atol=1e-5, rtol=1e-5)
    assert encoded.commitment_loss is None
    assert len(encoded.codes[:, 1].unique()) > 4


def test_decode_refuses_both_and_neither_and_foreign_codes() -> None:
    codec = tiny_codec()
    codes = codec.encode(random_dna(1, 5)).codes
    with pytest.raises(ValueError, match="either codes or quantized"):
        codec.decode()
    with pytest.raises(ValueError, match="either codes or quantized"):
        codec.decode(codes, codec.encoder.quantizer.lookup(codes))
    with pytest.raises(ValueError, match=r"codes must be \(B, 2, L\)"):
        codec.decode(codes[:, :1])
    with pytest.raises(ValueError, match=r"codes of level 0 must be -1 or in 0\.\.7, found 8\.\.8"):
        codec.decode(torch.full_like(codes, 8))


def test_decode_without_a_mask_takes_every_position() -> None:
    codec = tiny_codec()
    codes = codec.encode(random_dna(2, 9)).codes
    vectors = codec.encoder.quantizer.lookup(codes)
    torch.testing.assert_close(codec.decode(quantized=vectors), codec.decode(codes))


def test_a_tuple_on_request() -> None:
    codec = tiny_codec()
    ids = random_dna(1, 9)
    output = codec(ids, return_dict=False)
    assert isinstance(output, tuple)
    assert torch.equal(output[0], codec(ids).loss)


def test_without_losses_on_request() -> None:
    output = tiny_codec(objective="window")(random_dna(1, 9), return_loss=False)
    assert output.loss is None
    assert output.window_logits is None
    assert output.logits.shape == (1, 9, 4)


# --- padding ---


def test_padding_batching_and_special_tokens_change_nothing() -> None:
    codec = tiny_codec()
    length = 33
    sequence = random_dna(1, length)
    sequence[0, 10] = N_ID

    def placed(before: int, after: int, filler: int, rows: int = 1) -> Tensor:
        batch = random_dna(rows, before + length + after)
        batch[0, :before], batch[0, before + length :] = filler, filler
        batch[0, before : before + length] = sequence
        return batch

    with_specials = placed(1, 1, SEP_ID)
    with_specials[0, 0] = CLS_ID
    dirty = placed(4, 6, 7)  # nucleotides behind the mask must not be seen either
    dirty_mask = torch.zeros_like(dirty)
    dirty_mask[0, 4 : 4 + length] = 1
    batched = placed(0, 9, PAD_ID, rows=4)
    cases: list[tuple[str, Tensor, Tensor | None, int]] = [
        ("right padding", placed(0, 17, PAD_ID), None, 0),
        ("right padding with a mask", placed(0, 17, PAD_ID), (placed(0, 17, PAD_ID) != PAD_ID).long(), 0),
        ("left padding", placed(5, 0, PAD_ID), None, 5),
        ("in a batch", batched, None, 0),
        ("in a batch with a mask", batched, (batched != PAD_ID), 0),
        ("with [CLS] and [SEP]", with_specials, None, 1),
        ("masked nucleotides", dirty, dirty_mask, 4),
    ]
    with torch.no_grad():
        alone, _ = codec.encoder.latents(sequence)
        output = codec(sequence)
        for name, ids, mask, start in cases:
            part = slice(start, start + length)
            latents, _ = codec.encoder.latents(ids, mask)
            found = codec(ids, mask)
            for old, new in zip(alone, latents, strict=True):
                torch.testing.assert_close(new[:1, part], old, atol=1e-5, rtol=0, msg=name)
            assert torch.equal(found.codes[:1, :, part], output.codes), name
            torch.testing.assert_close(found.logits[:1, part], output.logits, atol=1e-5, rtol=0, msg=name)
            outside = torch.ones(ids.shape[1], dtype=torch.bool)
            outside[part] = False
            assert (found.codes[0][:, outside] == NO_CODE).all(), name
            assert (found.quantized[0, outside] == 0).all(), name
            if ids.shape[0] == 1:
                assert found.loss.item() == pytest.approx(output.loss.item(), rel=1e-5), name
                assert torch.equal(found.perplexity, output.perplexity), name
                assert torch.equal(found.codebook_usage, output.codebook_usage), name


def test_training_statistics_leave_padding_out() -> None:
    ids = random_dna(2, 20)
    padded = F.pad(ids, (0, 30), value=PAD_ID)
    codecs = []
    for batch in (ids, padded):
        torch.manual_seed(1)
        codec = tiny_codec(trained=False).train()
        for _ in range(3):
            codec(batch)
        codecs.append(codec)
    for name, value in codecs[0].named_buffers():
        torch.testing.assert_close(dict(codecs[1].named_buffers())[name], value, msg=name)


# --- targets, losses, metrics ---


def test_n_and_mask_have_codes_but_are_no_targets() -> None:
    codec = tiny_codec()
    ids = random_dna(2, 40)
    ids[0, 5], ids[1, 6] = N_ID, MASK_ID
    with torch.no_grad():
        output = codec(ids)
        assert (output.codes != NO_CODE).all()
        counted = (ids >= 5) & (ids <= 8)
        expected = F.cross_entropy(output.logits[counted], ids[counted] - 5)
        assert output.reconstruction_loss.item() == pytest.approx(expected.item(), rel=1e-5)
        taps, mask = codec.encoder.latents(ids)
        vectors = [
            book.lookup(codes)
            for book, codes in zip(codec.encoder.quantizer.codebooks, output.codes.unbind(1), strict=True)
        ]
        errors = (taps[0] - vectors[0]).square(), (2 * taps[1] - vectors[0] - vectors[1]).square()
        commitment = sum(error[counted].mean() for error in errors) / 2
    assert mask.all()
    assert output.commitment_loss.item() == pytest.approx(float(commitment), rel=1e-5)
    assert output.loss.item() == pytest.approx(expected.item() + 0.5 * float(commitment), rel=1e-5)


def test_n_does_not_move_the_codebooks() -> None:
    codec = tiny_codec(trained=False).train()
    codec(torch.full((2, 20), N_ID))
    for codebook in codec.encoder.quantizer.codebooks:
        assert codebook.initialized.item() == 0.0
    output = codec(torch.full((2, 20), N_ID))
    assert output.loss.item() == 0.0  # and not NaN
    assert output.codebook_usage.tolist() == [0.0, 0.0]


def test_metrics_count_the_nucleotides_codes() -> None:
    codec = tiny_codec()
    ids = random_dna(2, 40)
    ids[0, :20] = N_ID
    output = codec(ids)
    for level, size in enumerate((8, 16)):
        counts = torch.bincount(output.codes[:, level][ids != N_ID], minlength=size).float()
        share = counts[counts > 0] / counts.sum()
        assert output.codebook_usage[level].item() == pytest.approx((counts > 0).float().mean().item())
        assert output.perplexity[level].item() == pytest.approx(
            torch.exp(-(share * share.log()).sum()).item(), rel=1e-5
        )
    assert not output.perplexity.requires_grad
    assert output.perplexity[1] > 2


def test_window_targets_at_the_edges() -> None:
    assert window_targets(torch.tensor([[3, IGNORED, 1, 2]]), 2)[0].tolist() == [
        [IGNORED, IGNORED, 3, IGNORED, 1],
        [IGNORED] * 5,  # no target itself: it has no code to predict from
        [3, IGNORED, 1, 2, IGNORED],
        [IGNORED, 1, 2, IGNORED, IGNORED],
    ]
    assert window_targets(torch.tensor([[0]]), 3)[0].tolist() == [[IGNORED] * 3 + [0] + [IGNORED] * 3]


def test_the_window_loss_is_that_of_a_linear_head_on_each_code_vector() -> None:
    codec = tiny_codec(objective="window", window_radius=2)
    ids = random_dna(2, 15)
    ids[1, 3] = N_ID
    with torch.no_grad():
        output = codec(ids)
        logits = codec.window_head(output.quantized).view(2, 15, 5, 4)
    torch.testing.assert_close(output.window_logits, logits)
    losses = []
    for row in range(2):
        for position in range(15):
            for offset in range(-2, 3):
                # N is neither a target nor a position that predicts.
                inside = 0 <= position + offset < 15
                if inside and N_ID not in (ids[row, position], ids[row, position + offset]):
                    target = ids[row, position + offset] - 5
                    losses.append(F.cross_entropy(logits[row, position, offset + 2], target))
    assert output.window_loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    total = output.reconstruction_loss + 0.5 * output.commitment_loss + output.window_loss
    assert output.loss.item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("objective", "part", "reaches"),
    [
        ("reconstruction", "reconstruction_loss", True),
        ("window", "reconstruction_loss", False),
        ("window", "window_loss", True),
        ("window", "commitment_loss", True),
    ],
)
def test_which_loss_shapes_the_encoder(objective: str, part: str, reaches: bool) -> None:
    codec = tiny_codec(objective=objective).train()
    getattr(codec(random_dna(2, 30)), part).backward()
    gradients = {name: parameter.grad for name, parameter in codec.encoder.named_parameters()}
    if reaches:
        assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())
    else:
        assert all(gradient is None or gradient.abs().sum() == 0 for gradient in gradients.values())
        assert codec.decoder.projection.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("values", [{}, {"codebook_sizes": [16], "tap_positions": [2]}], ids=["HRQ", "VQ"])
@pytest.mark.parametrize("objective", ["reconstruction", "window"])
def test_no_parameter_is_unused(objective: str, values: dict[str, Any]) -> None:
    codec = tiny_codec(objective=objective, **values).train()
    codec(random_dna(2, 30)).loss.backward()
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_corruption_hides_in_training_only_and_the_targets_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tiny_codec(corruption_rate=0.5)
    ids = random_dna(4, 50)
    ids[:, 0], ids[:, 7], ids[0, 40:] = CLS_ID, N_ID, PAD_ID
    seen: list[Tensor] = []
    encode = codec.encode

    def recording(input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen.append(input_ids)
        return encode(input_ids, *args, **kwargs)

    monkeypatch.setattr(codec, "encode", recording)
    codec(ids)
    assert torch.equal(seen[0], ids)
    output = codec.train()(ids)
    hidden = seen[1] != ids
    assert (seen[1][hidden] == MASK_ID).all()
    assert not hidden[ids == CLS_ID].any()
    assert not hidden[ids == N_ID].any()
    assert not hidden[ids == PAD_ID].any()
    nucleotides = (ids >= 5) & (ids <= 8)
    assert 0.35 < hidden[nucleotides].float().mean() < 0.65
    expected = F.cross_entropy(output.logits[nucleotides], ids[nucleotides] - 5)
    assert output.reconstruction_loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_training_learns_and_evaluation_moves_nothing() -> None:
    codec = tiny_codec(trained=False).train()
    optimizer = torch.optim.AdamW(codec.parameters(), lr=3e-3)
    ids = random_dna(8, 40)
    losses = []
    for _ in range(60):
        loss = codec(ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-10:]) < 0.5 * losses[0]
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    codec.eval()(ids)
    codec.encode(ids)
    for name, value in codec.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_autocast_changes_no_code_of_the_same_latents(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = tiny_codec()
    ids = random_dna(4, 50)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        taps, mask = codec.encoder.latents(ids)
        codes = codec.encode(ids).codes
    expected = codec.encoder.quantizer.eval()([tap.float() for tap in taps], mask).codes
    assert torch.equal(codes, expected)
    assert taps[0].dtype in (torch.bfloat16, torch.float32)


# --- saving and loading ---


def assert_restored(loaded: VQDNACodecModel, original: VQDNACodecModel) -> None:
    expected = original.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_every_parameter_and_buffer_comes_back(tmp_path: Path) -> None:
    codec = tiny_codec(objective="window")
    assert dict(codec.named_buffers()).keys() <= codec.state_dict().keys()  # no buffer stays out of the file
    set_every_tensor_apart(codec)
    codec.save_pretrained(tmp_path)
    loaded = VQDNACodecModel.from_pretrained(tmp_path)
    assert_restored(loaded, codec)
    assert not loaded.training
    ids = random_dna(2, 20)
    assert torch.equal(loaded(ids).logits, codec(ids).logits)


@pytest.mark.parametrize("buffer", ["embed", "embed_sum", "cluster_size", "initialized", "num_updates"])
def test_a_file_without_a_buffer_of_the_codebook_is_refused(buffer: str, tmp_path: Path) -> None:
    tiny_codec().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    gone = f"encoder.quantizer.codebooks.0.{buffer}"
    tensors = {name: value for name, value in load_file(path).items() if name != gone}
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{gone} is missing"):
        VQDNACodecModel.from_pretrained(tmp_path)


def test_codebooks_stay_fp32_when_loaded_in_half_precision(tmp_path: Path) -> None:
    codec = tiny_codec()
    codec.save_pretrained(tmp_path)
    loaded = VQDNACodecModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.encoder.stem.weight.dtype == torch.bfloat16
    for name, value in loaded.encoder.quantizer.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, codec.encoder.quantizer.state_dict()[name]), name
    output = loaded.train()(random_dna(2, 20))
    output.loss.backward()
    assert output.loss.isfinite()
    # And again: what a half-precision model saves is still the fp32 codebook.
    loaded.save_pretrained(tmp_path / "half")
    again = VQDNACodecModel.from_pretrained(tmp_path / "half")
    assert_restored(again.encoder.quantizer, loaded.encoder.quantizer)
    assert again.encoder.quantizer.codebooks[0].embed.dtype == torch.float32


def test_training_goes_on_after_loading_and_does_not_start_the_codebooks_again(tmp_path: Path) -> None:
    codec = tiny_codec(dead_code_threshold=0, decay=0.99)
    codec.save_pretrained(tmp_path)
    loaded = VQDNACodecModel.from_pretrained(tmp_path).train()
    twin = codec.train()
    assert torch.equal(loaded.encoder.quantizer.codebooks[0].initialized, torch.tensor(1.0))
    ids = random_dna(4, 30)
    for _ in range(3):
        assert torch.equal(loaded(ids).loss, twin(ids).loss)
    assert_restored(loaded, twin)
    for codebook in loaded.encoder.quantizer.codebooks:
        assert codebook.num_updates.item() == 4
