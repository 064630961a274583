# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""One code for s nucleotides: the layout, the codec and every head, for every s."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.model.configuration_vqdna import CODEC_STRIDES
from vqdna_hf.model.modeling_vqdna_codec import IGNORED
from vqdna_hf.model.patching_vqdna import lay_out
from vqdna_hf.model.quantization_vqdna import NO_CODE
from vqdna_hf.model.tokenization_vqdna import CLS_ID, MASK_ID, N_ID, PAD_ID, SEP_ID

CODEC: dict[str, Any] = {
    "hidden_size": 16, "stem_size": 8, "num_blocks": 2, "tap_positions": [1, 2], "codebook_sizes": [8, 16],
    "codebook_dim": 12, "initializer_range": 0.3,
}  # fmt: skip
MODEL: dict[str, Any] = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
WIDE = [stride for stride in CODEC_STRIDES if stride > 1]


pytestmark = pytest.mark.usefixtures("one_thread_and_a_fixed_seed")


@pytest.fixture(scope="module", params=CODEC_STRIDES)
def codec(request: pytest.FixtureRequest) -> VQDNACodecModel:
    torch.manual_seed(1)
    model = VQDNACodecModel(VQDNACodecConfig(**CODEC, codec_stride=request.param)).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
        model(torch.randint(5, 9, (8, 64)))
    return model.eval()


def build(kind: type, codec: VQDNACodecModel, **values: Any) -> Any:
    return kind.from_codec(codec, VQDNAConfig(**MODEL | values)).eval()


def sequence(bases: int, low: int = 5, high: int = 9) -> Tensor:
    return torch.randint(low, high, (1, bases))


def framed(*parts: Tensor, left: int = 0, right: int = 0) -> Tensor:
    """[PAD]... [CLS] part [SEP] part [SEP] [PAD]..."""
    row = [*[PAD_ID] * left, CLS_ID]
    for part in parts:
        row += [*part[0].tolist(), SEP_ID]
    return torch.tensor([row + [PAD_ID] * right])


def real_codes(codec: VQDNACodecModel, ids: Tensor) -> Tensor:
    codes = codec.encode(ids).codes[0]
    return codes[:, codes[0] != NO_CODE]


# --- the layout ---


@pytest.mark.parametrize("stride", WIDE)
def test_what_a_patch_holds_depends_on_its_sequence_alone(stride: int) -> None:
    bases = sequence(3 * stride + 1)
    expected = torch.full((4 * stride,), PAD_ID)
    expected[: bases.shape[1]] = bases[0]
    for ids in (bases, framed(bases), framed(bases, left=3, right=5), framed(bases, sequence(5))):
        patches = lay_out(ids, None, stride)
        first = int(patches.first_ids[0].tolist().index(CLS_ID)) + 1 if CLS_ID in patches.first_ids else 0
        assert patches.ids[0, first : first + 4].flatten().tolist() == expected.tolist()
        shown = ids != PAD_ID
        assert torch.equal(patches.to_tokens(patches.grid_ids)[shown], ids[shown])


@pytest.mark.parametrize("stride", CODEC_STRIDES)
def test_a_token_that_the_mask_hides_is_padding(stride: int) -> None:
    ids = framed(sequence(9), right=4)
    hidden = ids.clone()
    hidden[0, -4:] = 6
    mask = (ids != PAD_ID).long()
    assert torch.equal(lay_out(hidden, mask, stride).grid_ids, lay_out(ids, None, stride).grid_ids)


@pytest.mark.parametrize("stride", WIDE)
def test_a_compiled_layout_has_room_for_a_pair_and_holds_the_same(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for first, second in [(1, 1), (stride + 1, 2 * stride + 1), (stride, stride)]:
        ids = framed(sequence(first), sequence(second))
        exact = lay_out(ids, None, stride)
        with monkeypatch.context() as patch:
            patch.setattr(torch.compiler, "is_compiling", lambda: True)
            roomy = lay_out(ids, None, stride)
        patches = exact.first_ids.shape[1]
        assert roomy.first_ids.shape[1] >= patches
        assert torch.equal(roomy.grid_ids[:, : patches * stride], exact.grid_ids)
        assert torch.equal(roomy.to_tokens(roomy.grid_ids), ids)


def test_padding_alone_and_no_length() -> None:
    assert lay_out(torch.zeros(2, 5, dtype=torch.long), None, 4).ids.tolist() == [[[0] * 4]] * 2
    with pytest.raises(ValueError, match="length 0"):
        lay_out(torch.zeros(2, 0, dtype=torch.long), None, 4)


def test_only_known_strides() -> None:
    with pytest.raises(ValueError, match="codec_stride=3 must be one of 1, 2, 4, 8"):
        VQDNACodecConfig(codec_stride=3)


# --- the codec ---


def test_one_code_for_s_nucleotides_and_logits_for_each(codec: VQDNACodecModel) -> None:
    stride = codec.config.codec_stride
    ids = framed(sequence(21))
    output = codec(ids)
    assert real_codes(codec, ids).shape == (2, -(-21 // stride))
    assert output.logits.shape == (1, 23, 4)
    assert output.codes.shape[2] == output.quantized.shape[1]
    decoded = codec.decode(output.codes)
    assert decoded.shape == (1, output.codes.shape[2] * stride, 4)
    at = lay_out(ids, None, stride).to_tokens(decoded)
    assert torch.allclose(at, output.logits, atol=1e-6)


def test_padding_specials_and_the_other_of_a_pair_change_no_code(codec: VQDNACodecModel) -> None:
    bases, other = sequence(19), sequence(11)
    plain = real_codes(codec, bases)
    assert torch.equal(real_codes(codec, framed(bases)), plain)
    assert torch.equal(real_codes(codec, framed(bases, left=5, right=3)), plain)
    together = torch.cat([framed(bases, right=2), framed(other, right=10)])
    assert torch.equal(codec.encode(together).codes[0][:, codec.encode(together).codes[0, 0] != NO_CODE], plain)


def test_the_context_is_exact(codec: VQDNACodecModel) -> None:
    """Change one nucleotide: the last level's latents change just where `context` says that they may."""
    config = codec.config
    assert config.receptive_field == config.codec_stride + 2 * config.context
    at, length = 64, 136
    bases = sequence(length)
    changed = bases.clone()
    changed[0, at] = 5 + (bases[0, at] - 5 + 1) % 4
    with torch.no_grad():
        before, after = (codec.encoder.latents(ids)[0][-1] for ids in (bases, changed))
    touched = (before != after).any(-1)[0].nonzero().squeeze(-1)
    first, last = int(touched[0]), int(touched[-1])
    assert first * config.codec_stride + config.codec_stride - 1 + config.context >= at
    assert last * config.codec_stride - config.context <= at
    seen = [
        patch
        for patch in range(length // config.codec_stride)
        if patch * config.codec_stride - config.context <= at < (patch + 1) * config.codec_stride + config.context
    ]
    assert (first, last) == (seen[0], seen[-1])


@pytest.mark.parametrize("stride", CODEC_STRIDES)
@pytest.mark.parametrize("objective", ["reconstruction", "window"])
def test_training_learns(stride: int, objective: str) -> None:
    values = CODEC | {"hidden_size": 32, "codebook_dim": 32, "codebook_sizes": [64, 128], "initializer_range": 0.02}
    torch.manual_seed(3)
    codec = VQDNACodecModel(VQDNACodecConfig(**values, codec_stride=stride, objective=objective, window_radius=2))
    ids = framed(sequence(61), right=2).expand(4, -1).clone()
    ids[:, 1:62] = torch.randint(5, 9, (4, 61))
    optimizer = torch.optim.AdamW(codec.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        output = codec.train()(ids)
        output.loss.backward()
        assert all(parameter.grad is not None for parameter in codec.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(output.loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert output.logits.shape == (4, 65, 4)
    if objective == "window":
        assert output.window_logits.shape == (4, output.codes.shape[2], 4 + stride, 4)


# --- the model ---


@pytest.mark.parametrize("kind", [VQDNAModel, VQDNAForMaskedLM, VQDNAForTokenClassification])
def test_answers_are_per_nucleotide_and_padding_changes_nothing(codec: VQDNACodecModel, kind: type) -> None:
    model = build(kind, codec)
    bases = sequence(19)
    bases[0, 4], bases[0, 7] = N_ID, MASK_ID
    with torch.no_grad():
        outputs = [model(ids) for ids in (framed(bases), framed(bases, right=6), framed(bases, left=4))]
    key = "last_hidden_state" if kind is VQDNAModel else "logits"
    plain, right, left = (output[key] for output in outputs)
    assert plain.shape[:2] == (1, 21)
    assert torch.allclose(right[:, :21], plain, atol=1e-5)
    if kind is VQDNAModel:  # rotary positions shift with the padding, which leaves their differences
        assert torch.allclose(left[:, 4:], plain, atol=1e-5)
    assert not torch.allclose(plain[:, 8], plain[:, 7], atol=1e-3)  # nucleotides of one patch are told apart


def test_hidden_states_are_per_nucleotide(codec: VQDNACodecModel) -> None:
    model = build(VQDNAModel, codec)
    output = model(framed(sequence(19), right=2), output_hidden_states=True)
    assert [tuple(layer.shape) for layer in output.hidden_states] == [(1, 23, 24)] * 3
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)


def test_classification_pools_nucleotides(codec: VQDNACodecModel) -> None:
    model = build(VQDNAForSequenceClassification, codec, num_labels=3)
    bases = sequence(19)
    assert torch.allclose(model(framed(bases)).logits, model(framed(bases, right=7)).logits, atol=1e-5)
    strands = build(VQDNAForSequenceClassification, codec, num_labels=3, average_strands=True)
    assert torch.isfinite(strands(framed(bases)).logits).all()


def test_masked_codes_are_those_of_the_clean_sequence(codec: VQDNACodecModel) -> None:
    stride = codec.config.codec_stride
    for level in ("nucleotide", "code"):
        model = build(VQDNAForMaskedLM, codec, mask_level=level)
        clean = framed(sequence(21), right=3)
        labels = torch.full_like(clean, IGNORED)
        at = [2, 3, 12]
        labels[0, at] = clean[0, at]
        shown = clean.clone()
        if level == "nucleotide":
            shown[0, at] = MASK_ID
        output = model(shown, labels=labels)
        patches = sorted({1 + (position - 1) // stride for position in at})
        assert torch.equal(output.code_targets, codec.encode(clean).codes[0].T[patches])
        assert [logits.shape[0] for logits in output.code_logits] == [len(patches)] * 2
        assert torch.isfinite(output.loss)
        output.loss.backward()
        unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert unused == []


def test_a_hidden_code_does_not_reach_the_backbone(codec: VQDNACodecModel) -> None:
    model = build(VQDNAModel, codec)
    ids = framed(sequence(21))
    hidden = torch.zeros_like(ids, dtype=torch.bool)
    hidden[0, 9] = True
    patches = lay_out(ids, None, codec.config.codec_stride)
    embeddings, encoded = model._embed(patches, hidden)
    plain, _ = model._embed(patches, None)
    changed = (embeddings != plain).any(-1)[0]
    assert changed.nonzero().squeeze(-1).tolist() == [1 + 8 // codec.config.codec_stride]
    assert encoded.codes.shape[2] == embeddings.shape[1]


def test_longer_input_fits(codec: VQDNACodecModel) -> None:
    stride = codec.config.codec_stride
    model = build(VQDNAModel, codec)
    longest = model.config.max_input_tokens
    assert longest == (64 if stride == 1 else 60 * stride)
    assert model(framed(sequence(longest - 2))).last_hidden_state.shape[1] == longest
    with pytest.raises(ValueError, match="reads at most 64"):
        model(framed(sequence(64 * stride)))


def test_positions_of_another_kind_are_refused() -> None:
    torch.manual_seed(1)
    codec = VQDNACodecModel(VQDNACodecConfig(**CODEC, codec_stride=4)).train()
    codec(torch.randint(5, 9, (8, 64)))
    model = build(VQDNAModel, codec)
    ids = framed(sequence(9))
    with pytest.raises(ValueError, match="codec_stride 1"):
        model(ids, position_ids=torch.arange(11)[None])


def test_saved_and_loaded(codec: VQDNACodecModel, tmp_path: Path) -> None:
    model = build(VQDNAForMaskedLM, codec)
    model.save_pretrained(tmp_path)
    loaded = VQDNAForMaskedLM.from_pretrained(tmp_path)
    ids = framed(sequence(21))
    assert loaded.config.codec_config.codec_stride == codec.config.codec_stride
    assert torch.equal(loaded(ids).logits, model(ids).logits)


@pytest.mark.parametrize("stride", WIDE)
def test_one_graph_and_the_same_answers(stride: int) -> None:
    torch.manual_seed(1)
    codec = VQDNACodecModel(VQDNACodecConfig(**CODEC, codec_stride=stride)).train()
    codec(torch.randint(5, 9, (8, 64)))
    model = build(VQDNAForMaskedLM, codec.eval())
    ids = torch.cat([framed(sequence(21)), framed(sequence(15), right=6)])
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(compiled(ids).logits[0], model(ids).logits[0], atol=1e-5)
        exported = torch.export.export(model, (), {"input_ids": ids, "attention_mask": (ids != PAD_ID).long()})
        again = exported.module()(input_ids=ids, attention_mask=(ids != PAD_ID).long())
    assert torch.allclose(again.logits[0], model(ids).logits[0], atol=1e-5)


def test_an_empty_batch(codec: VQDNACodecModel) -> None:
    assert codec(torch.zeros(0, 5, dtype=torch.long)).codes.shape[:2] == (0, 2)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_embeddings_instead_of_tokens_are_pooled_without_their_padding(codec: VQDNACodecModel, pooling: str) -> None:
    model = build(VQDNAForSequenceClassification, codec, classifier_pooling=pooling)
    alone = torch.randn(1, 6, 24)
    padded = torch.cat([torch.randn(1, 3, 24), alone], 1)
    mask = torch.tensor([[0] * 3 + [1] * 6])
    with torch.no_grad():
        expected = model(inputs_embeds=alone, attention_mask=mask[:, 3:]).logits
        found = model(inputs_embeds=padded, attention_mask=mask).logits
    assert torch.allclose(found, expected, atol=1e-5)


def test_checkpointing_changes_no_gradient_and_keeps_less() -> None:
    def kept_and_gradients(enabled: bool) -> tuple[int, list[Tensor]]:
        torch.manual_seed(1)
        codec = VQDNACodecModel(VQDNACodecConfig(**CODEC)).train()
        if enabled:
            codec.gradient_checkpointing_enable()
        kept = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = codec(torch.arange(5, 9).repeat(2, 16)).loss
        loss.backward()
        return kept, [parameter.grad for parameter in codec.parameters()]

    plain, checkpointed = kept_and_gradients(False), kept_and_gradients(True)
    assert checkpointed[0] < plain[0] / 2
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain[1], checkpointed[1], strict=True))
