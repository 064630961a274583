# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAConfig,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
    reverse_complement_ids,
)
from vqdna_hf.model.modeling_vqdna import VQDNAPreTrainedModel
from vqdna_hf.model.patching_vqdna import lay_out
from vqdna_hf.model.tokenization_vqdna import CLS_ID, MASK_ID, N_ID, PAD_ID, SEP_ID

CODEC = {
    "hidden_size": 16, "stem_size": 8, "num_blocks": 2, "tap_positions": [1, 2], "codebook_sizes": [8, 16],
    "codebook_dim": 12, "initializer_range": 0.3,
}  # fmt: skip
IGNORED = -100
HEADS = [VQDNAForMaskedLM, VQDNAForSequenceClassification, VQDNAForTokenClassification]
ALL_MODELS = [VQDNAModel, *HEADS]

M = TypeVar("M", bound=VQDNAPreTrainedModel)


pytestmark = pytest.mark.usefixtures("one_thread_and_a_fixed_seed")


@pytest.fixture(scope="module")
def codec() -> VQDNACodecModel:
    torch.manual_seed(1)
    model = VQDNACodecModel(VQDNACodecConfig(**CODEC)).train()
    with torch.no_grad():
        model(torch.randint(5, 9, (8, 60)))
    return model.eval()


def config_with(**values: Any) -> VQDNAConfig:
    defaults: dict[str, Any] = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "max_position_embeddings": 64, "initializer_range": 0.2, "codec_config": CODEC,
    }  # fmt: skip
    return VQDNAConfig(**defaults | values)


def build(kind: type[M], codec: VQDNACodecModel, **values: Any) -> M:
    """A tiny model in eval() on the trained codec."""
    return kind.from_codec(codec, config_with(**values)).eval()


def dna_batch(batch: int = 3, length: int = 20) -> Tensor:
    """[CLS], nucleotides, [SEP]."""
    ids = torch.randint(5, 9, (batch, length))
    ids[:, 0], ids[:, -1] = CLS_ID, SEP_ID
    return ids


def labels_at(ids: Tensor, *positions: int) -> Tensor:
    labels = torch.full_like(ids, IGNORED)
    for position in positions:
        labels[:, position] = ids[:, position]
    return labels


def some_labels(model: VQDNAPreTrainedModel, ids: Tensor) -> Tensor:
    if isinstance(model, VQDNAForMaskedLM):
        return labels_at(ids, 4, 9)
    if isinstance(model, VQDNAForSequenceClassification):
        return torch.arange(len(ids)) % model.config.num_labels
    return torch.randint(0, model.config.num_labels, ids.shape)


def buffers_of(model: VQDNAPreTrainedModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.base_model.codec.named_buffers()}


def moved(model: VQDNAPreTrainedModel, before: dict[str, Tensor]) -> bool:
    now = dict(model.base_model.codec.named_buffers())
    return any(not torch.equal(now[name], value) for name, value in before.items())


def train_a_few_steps(model: VQDNAPreTrainedModel, steps: int = 3) -> None:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-3)
    for _ in range(steps):
        ids = dna_batch()
        loss = model(ids, labels=some_labels(model, ids)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# --- the codec inside ---


@pytest.mark.parametrize("kind", HEADS)
def test_a_frozen_codec_stays_in_eval_without_gradients_and_still(
    kind: type[M], codec: VQDNACodecModel, tmp_path: Path
) -> None:
    model = build(kind, codec)
    model.save_pretrained(tmp_path)
    for candidate in (model, kind.from_pretrained(tmp_path), kind(config_with())):
        before = {name: value.clone() for name, value in candidate.base_model.codec.state_dict().items()}
        candidate.train()
        assert candidate.training
        assert candidate.base_model.backbone.training
        train_a_few_steps(candidate)
        assert not any(module.training for module in candidate.base_model.codec.modules())
        assert not any(parameter.requires_grad for parameter in candidate.base_model.codec.parameters())
        assert all(p.requires_grad for n, p in candidate.named_parameters() if "codec." not in n)
        for name, value in candidate.base_model.codec.state_dict().items():
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("freeze_codebooks", [False, True])
def test_a_trainable_codec_gets_gradients_and_its_codebooks_move_unless_frozen(
    kind: type[M], freeze_codebooks: bool, codec: VQDNACodecModel
) -> None:
    model = build(kind, codec, freeze_codec=False, freeze_codebooks=freeze_codebooks)
    before = buffers_of(model)
    ids = dna_batch()
    assert model(ids, labels=some_labels(model, ids)).loss.isfinite()
    assert not moved(model, before)
    model.train()
    model(ids, labels=some_labels(model, ids)).loss.backward()
    assert moved(model, before) != freeze_codebooks
    for name, parameter in model.base_model.codec.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_commitment_loss_of_a_trainable_codec_is_part_of_the_loss(codec: VQDNACodecModel) -> None:
    ids = dna_batch()
    model = build(VQDNAForMaskedLM, codec, freeze_codec=False, freeze_codebooks=True).train()
    output = model(ids, labels=labels_at(ids, 3))
    assert output.commitment_loss.item() > 0
    total = output.nucleotide_loss + output.code_loss + 0.5 * output.commitment_loss
    assert output.loss.item() == pytest.approx(total.item(), rel=1e-6)
    assert build(VQDNAForMaskedLM, codec)(ids, labels=labels_at(ids, 3)).commitment_loss is None


@pytest.mark.parametrize("mask_level", ["nucleotide", "code"])
def test_only_what_the_backbone_reads_moves_the_codebooks_not_the_teacher(
    mask_level: str, codec: VQDNACodecModel
) -> None:
    labels = labels_at(dna_batch(), 3, 7)
    ids = torch.where((labels != IGNORED) & (torch.tensor(mask_level == "nucleotide")), MASK_ID, dna_batch())
    with_labels = build(VQDNAForMaskedLM, codec, freeze_codec=False, mask_level=mask_level).train()
    without = build(VQDNAForMaskedLM, codec, freeze_codec=False, mask_level=mask_level).train()
    with_labels(ids, labels=labels)
    without(ids)
    states = [dict(model.vqdna.codec.named_buffers()) for model in (with_labels, without)]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert states[0]["quantizer.codebooks.0.num_updates"].item() == 2  # one of the fixture, one of this step


def test_from_codec_takes_the_trained_codec_over(codec: VQDNACodecModel, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    overrides: dict[str, Any] = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    for model in (
        VQDNAForMaskedLM.from_codec(codec, **overrides),
        VQDNAForMaskedLM.from_codec(tmp_path, **overrides),
        VQDNAModel.from_codec(codec, config_with(codec_config=None)),
    ):
        for name, value in model.base_model.codec.state_dict().items():
            assert torch.equal(value, codec.encoder.state_dict()[name]), name
        assert model.config.codec_config.codebook_sizes == [8, 16]
        ids = dna_batch()
        assert torch.equal(model.base_model.encode(ids).codes, codec.encode(ids).codes)
        assert not any(parameter.requires_grad for parameter in model.base_model.codec.parameters())


def test_from_codec_refuses_an_untrained_codec_and_two_sources_of_values(codec: VQDNACodecModel) -> None:
    with pytest.raises(ValueError, match=r"levels \[0, 1\] hold no learnt vocabulary"):
        VQDNAModel.from_codec(VQDNACodecModel(VQDNACodecConfig(**CODEC)))
    with pytest.raises(ValueError, match=r"either config or overrides, got both: \['mask_level'\]"):
        VQDNAModel.from_codec(codec, config_with(), mask_level="code")


# --- inputs ---


@pytest.mark.parametrize("kind", ALL_MODELS)
def test_padding_changes_no_state_and_no_logit(kind: type[M], codec: VQDNACodecModel) -> None:
    model = build(kind, codec)
    ids = dna_batch(1, 14)
    ids[0, 5] = N_ID
    padded = torch.full((3, 30), PAD_ID)
    padded[1:, :25] = dna_batch(2, 25)
    padded[0, :14] = ids[0]
    first = "last_hidden_state" if kind is VQDNAModel else "logits"
    with torch.no_grad():
        alone = model(ids)[first]
        for mask in (None, (padded != PAD_ID).long(), padded != PAD_ID):
            found = model(padded, attention_mask=mask)[first][:1]
            part = found if kind is VQDNAForSequenceClassification else found[:, :14]
            torch.testing.assert_close(part, alone, atol=1e-5, rtol=1e-5)
        # The test can tell: a mask that lets padding in changes the result.
        wrong = model(padded, attention_mask=torch.ones_like(padded))[first][:1]
        wrong = wrong if kind is VQDNAForSequenceClassification else wrong[:, :14]
        assert (wrong - alone).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ALL_MODELS)
def test_wrong_inputs_are_refused(kind: type[M], codec: VQDNACodecModel) -> None:
    model = build(kind, codec)
    with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="exactly one of input_ids or inputs_embeds"):
        model(dna_batch(), inputs_embeds=torch.zeros(3, 20, 24))
    assert model(dna_batch(1, 64)) is not None
    message = "65 positions, special tokens included, and the model reads at most 64: split it into windows"
    with pytest.raises(ValueError, match=message):
        model(dna_batch(1, 65))
    with pytest.raises(ValueError, match=message):
        model(inputs_embeds=torch.zeros(1, 65, 24))


def test_inputs_embeds_pass_the_codec_by(codec: VQDNACodecModel) -> None:
    model = build(VQDNAModel, codec)
    ids = dna_batch()
    encoded = model.encode(ids)
    table = model.get_input_embeddings().weight
    embeddings = model.code_projection(encoded.quantized)
    embeddings[:, 0] = embeddings[:, 0] + table[CLS_ID]
    embeddings[:, -1] = embeddings[:, -1] + table[SEP_ID]
    output = model(inputs_embeds=embeddings)
    torch.testing.assert_close(output.last_hidden_state, model(ids).last_hidden_state)
    assert output.codes is None


def test_nucleotides_reach_the_backbone_through_their_codes_alone(codec: VQDNACodecModel) -> None:
    model = build(VQDNAModel, codec)
    ids = dna_batch()
    ids[0, 3], ids[1, 4] = N_ID, MASK_ID
    before = model(ids).last_hidden_state
    with torch.no_grad():
        model.get_input_embeddings().weight[5:9] += torch.randn(4, 24)
    assert torch.equal(model(ids).last_hidden_state, before)
    for token, row in ((N_ID, 0), (MASK_ID, 1)):
        with torch.no_grad():
            model.get_input_embeddings().weight[token] += torch.randn(24)
        after = model(ids).last_hidden_state
        assert (after[row] - before[row]).abs().max() > 1e-3
        before = after


def test_encode_moves_no_codebook_in_any_mode(codec: VQDNACodecModel) -> None:
    model = build(VQDNAModel, codec, freeze_codec=False).train()
    before = buffers_of(model)
    encoded = model.encode(dna_batch())
    assert not moved(model, before)
    assert not encoded.quantized.requires_grad


@pytest.mark.parametrize("kind", ALL_MODELS)
def test_hidden_states_and_attentions(kind: type[M], codec: VQDNACodecModel) -> None:
    model = build(kind, codec, attn_implementation="eager")
    output = model(dna_batch(), output_hidden_states=True, output_attentions=True)
    assert [tuple(state.shape) for state in output.hidden_states] == [(3, 20, 24)] * 3
    assert [tuple(weights.shape) for weights in output.attentions] == [(3, 2, 20, 20)] * 2
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 20))
    plain = model(dna_batch())
    assert plain.hidden_states is None
    assert plain.attentions is None


@pytest.mark.parametrize("kind", ALL_MODELS)
def test_tuples_by_argument_and_by_configuration(kind: type[M], codec: VQDNACodecModel) -> None:
    ids = dna_batch()
    model = build(kind, codec)
    arguments = {} if kind is VQDNAModel else {"labels": some_labels(model, ids)}
    with torch.no_grad():
        expected = model(ids, **arguments)
        by_argument = model(ids, return_dict=False, **arguments)
        model.config.return_dict = False
        by_configuration = model(ids, **arguments)
    first = expected.last_hidden_state if kind is VQDNAModel else expected.loss
    for output in (by_argument, by_configuration):
        assert isinstance(output, tuple)
        assert torch.equal(output[0], first)  # Trainer takes the first for the loss
        if kind is not VQDNAModel:
            assert torch.equal(output[1], expected.logits)


@pytest.mark.parametrize("form", ["4d", "by layer type"])
def test_a_callers_own_attention_mask(form: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec)
    ids = dna_batch()
    ids[0, 15:] = PAD_ID
    seen = (ids != PAD_ID)[:, None, None].expand(3, 1, 20, 20)
    mask = seen if form == "4d" else {"full_attention": seen}
    labels = labels_at(ids, 4)
    with torch.no_grad():
        expected, found = model(ids, labels=labels), model(ids, attention_mask=mask, labels=labels)
    kept = ids != PAD_ID
    torch.testing.assert_close(found.logits[kept], expected.logits[kept], atol=1e-5, rtol=1e-5)
    assert torch.equal(found.code_targets, expected.code_targets)
    torch.testing.assert_close(found.loss, expected.loss)


# --- masked modelling ---


def test_mlm_targets_and_losses(codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec, nucleotide_loss_weight=0.5, code_loss_weight=2.0)
    clean = dna_batch()
    clean[0, 14:] = PAD_ID
    labels = torch.full_like(clean, IGNORED)
    labels[0, 3], labels[1, [4, 5]], labels[2, 9] = clean[0, 3], clean[1, [4, 5]], clean[2, 9]
    counted = labels != IGNORED
    masked = torch.where(counted, MASK_ID, clean)
    masked[2, 9] = 5 + (clean[2, 9] - 5 + 1) % 4  # a collator may also put another nucleotide there
    with torch.no_grad():
        for mask in (None, (clean != PAD_ID).long()):
            output = model(masked, attention_mask=mask, labels=labels)
            codes = codec.encode(clean).codes
            assert torch.equal(output.code_targets, codes.transpose(1, 2)[counted])
            assert not torch.equal(codec.encode(masked).codes.transpose(1, 2)[counted], output.code_targets)
            assert torch.equal(output.codes, codec.encode(masked).codes)
            states = model.head(model.vqdna(masked).last_hidden_state)
            assert [tuple(logits.shape) for logits in output.code_logits] == [(4, 8), (4, 16)]
            code_losses = []
            for level, logits in enumerate(output.code_logits):
                torch.testing.assert_close(logits, model.code_decoders[level](states)[counted])
                code_losses.append(F.cross_entropy(logits, output.code_targets[:, level]))
            nucleotide_loss = F.cross_entropy(output.logits[counted], labels[counted])
            assert output.nucleotide_loss.item() == pytest.approx(nucleotide_loss.item(), rel=1e-5)
            assert output.code_loss.item() == pytest.approx(sum(code_losses).item() / 2, rel=1e-5)
            expected = 0.5 * nucleotide_loss + 2 * sum(code_losses) / 2
            assert output.loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_label_without_a_code_counts_for_the_nucleotides_only(codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec)
    ids = dna_batch(1)
    output = model(ids, labels=labels_at(ids, 0, 5))  # position 0 is [CLS]
    assert output.code_targets.shape == (1, 2)
    assert output.nucleotide_loss.item() == pytest.approx(
        F.cross_entropy(output.logits[0, [0, 5]], ids[0, [0, 5]]).item()
    )


@pytest.mark.parametrize("mask_level", ["nucleotide", "code"])
def test_a_batch_without_a_mask_has_a_finite_loss_of_zero(mask_level: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec, mask_level=mask_level).train()
    ids = dna_batch()
    output = model(ids, labels=torch.full_like(ids, IGNORED))
    assert (output.loss.item(), output.nucleotide_loss.item(), output.code_loss.item()) == (0.0, 0.0, 0.0)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() == 0, name


def test_without_code_heads(codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec, code_loss_weight=0)
    ids = dna_batch()
    output = model(ids, labels=labels_at(ids, 3))
    assert output.code_logits is None
    assert output.loss.item() == output.nucleotide_loss.item()
    assert not [name for name, _ in model.named_parameters() if "code_decoders" in name]


def test_inputs_embeds_and_labels_have_no_codes_to_predict(codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec)
    output = model(inputs_embeds=torch.randn(3, 20, 24), labels=labels_at(dna_batch(), 3))
    assert output.code_loss is None
    assert output.loss.item() == output.nucleotide_loss.item()


def test_hidden_codes_do_not_reach_the_backbone(codec: VQDNACodecModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swap the code vector of the hidden position alone, as no input could: the logits must not notice."""
    model = build(VQDNAForMaskedLM, codec, mask_level="code")
    ids = dna_batch(2)
    labels = labels_at(ids, 6)
    encode = model.vqdna.encode
    at = [6]

    def tampered(*args: Any, **kwargs: Any) -> Any:
        encoded = encode(*args, **kwargs)
        encoded.quantized = encoded.quantized.clone()
        encoded.quantized[:, at[0]] += 5.0
        return encoded

    with torch.no_grad():
        hidden = model(ids, labels=labels)
        seen = model(ids)
        monkeypatch.setattr(model.vqdna, "encode", tampered)
        assert torch.equal(model(ids, labels=labels).logits, hidden.logits)
        # The test can tell: without labels, or at a position that is not hidden, the change is seen.
        assert (model(ids).logits - seen.logits).abs().max() > 1e-3
        at[0] = 7
        assert (model(ids, labels=labels).logits - hidden.logits).abs().max() > 1e-3
    # Codes of the clean input are the targets, and the neighbours are those of the clean input: the leak.
    assert torch.equal(hidden.codes, codec.encode(ids).codes)
    assert torch.equal(hidden.code_targets, hidden.codes[:, :, 6])
    embeddings, _ = model.vqdna._embed(lay_out(ids, None, 1), labels != IGNORED)
    torch.testing.assert_close(embeddings[:, 6], model.get_input_embeddings().weight[MASK_ID].expand(2, -1))


# --- classification ---


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_pooling_by_hand(pooling: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForSequenceClassification, codec, classifier_pooling=pooling, num_labels=3)
    ids = dna_batch(2)
    ids[0, 12], ids[0, 13:], ids[1, 4], ids[1, 5] = SEP_ID, PAD_ID, N_ID, MASK_ID
    with torch.no_grad():
        hidden = model.vqdna(ids).last_hidden_state
        rows = []
        for row, length in ((0, 12), (1, 19)):
            inside = hidden[row, 1:length]  # neither [CLS] nor [SEP] nor padding
            rows.append({"mean": inside.mean(0), "max": inside.amax(0), "cls": hidden[row, 0]}[pooling])
        expected = model.classifier(model.head(torch.stack(rows)))
        torch.testing.assert_close(model(ids).logits, expected, atol=1e-5, rtol=1e-5)
        mask = (ids != PAD_ID).long()
        torch.testing.assert_close(model(ids, attention_mask=mask).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_of_negative_states_takes_nothing_from_padding(pooling: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForSequenceClassification, codec, classifier_pooling=pooling)
    hidden = torch.full((1, 5, 24), 7.0)
    hidden[0, 1], hidden[0, 2] = -3.0, -1.0
    pooled = model._pool(hidden, torch.tensor([[CLS_ID, 5, N_ID, SEP_ID, PAD_ID]]), None)
    assert torch.equal(pooled, torch.full((1, 24), -2.0 if pooling == "mean" else -1.0))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_over_no_position_is_zero(pooling: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForSequenceClassification, codec, classifier_pooling=pooling)
    pooled = model._pool(torch.randn(1, 2, 24), torch.tensor([[CLS_ID, SEP_ID]]), None)
    assert torch.equal(pooled, torch.zeros(1, 24))


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_averaged_strands_answer_alike_for_both(pooling: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForSequenceClassification, codec, average_strands=True, classifier_pooling=pooling)
    single = VQDNAForSequenceClassification(config_with(classifier_pooling=pooling)).eval()
    single.load_state_dict(model.state_dict())
    ids = dna_batch(2)
    ids[0, 12], ids[0, 13:] = SEP_ID, PAD_ID
    other = reverse_complement_ids(ids)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, model(other).logits, atol=1e-6, rtol=1e-6)
        expected = (single(ids).logits + single(other).logits) / 2
        torch.testing.assert_close(model(ids).logits, expected)
        assert (single(ids).logits - single(other).logits).abs().max() > 1e-3
    with pytest.raises(ValueError, match="no other strand of inputs_embeds"):
        model(inputs_embeds=torch.randn(1, 5, 24))


def test_token_classification_does_not_average_strands() -> None:
    with pytest.raises(ValueError, match="average_strands is for sequence classification"):
        VQDNAForTokenClassification(config_with(average_strands=True))


def test_the_problem_types(codec: VQDNACodecModel) -> None:
    ids = dna_batch(4)

    def run(labels: Tensor, **values: Any) -> tuple[Tensor, Tensor]:
        model = build(VQDNAForSequenceClassification, codec, **values)
        output = model(ids, labels=labels)
        return output.loss, output.logits

    numbers = torch.tensor([0.5, -1.0, 2.0, 0.0])
    loss, logits = run(numbers, num_labels=1, problem_type="regression")
    assert loss.item() == pytest.approx((logits[:, 0] - numbers).square().mean().item(), rel=1e-5)
    several = torch.randn(4, 2)
    loss, logits = run(several, num_labels=2, problem_type="regression")
    assert loss.item() == pytest.approx((logits - several).square().mean().item(), rel=1e-5)
    classes = torch.tensor([0, 2, 1, 2])
    loss, logits = run(classes, num_labels=3, problem_type="single_label_classification")
    assert loss.item() == pytest.approx(-logits.log_softmax(-1)[range(4), classes].mean().item(), rel=1e-5)
    tags = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    loss, logits = run(tags, num_labels=2, problem_type="multi_label_classification")
    expected = -(tags * logits.sigmoid().log() + (1 - tags) * (1 - logits.sigmoid()).log()).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_token_classification_has_one_answer_a_nucleotide(codec: VQDNACodecModel) -> None:
    model = build(VQDNAForTokenClassification, codec, num_labels=4)
    ids = dna_batch(2)
    labels = torch.full_like(ids, IGNORED)
    labels[:, 1:-1] = ids[:, 1:-1] - 5
    output = model(ids, labels=labels)
    assert output.logits.shape == (2, 20, 4)
    inside = labels != IGNORED
    assert output.loss.item() == pytest.approx(F.cross_entropy(output.logits[inside], labels[inside]).item(), rel=1e-5)
    # Position i + 1 of the logits is nucleotide i: the model can learn to name each nucleotide in its place.
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(60):
        loss = model.train()(ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model.eval()(ids).logits[:, 1:-1].argmax(-1) == ids[:, 1:-1] - 5).float().mean() > 0.95


# --- no parameter unused, half precision ---


@pytest.mark.parametrize("freeze_codec", [True, False])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (VQDNAForMaskedLM, {}),
        (VQDNAForMaskedLM, {"mask_level": "code"}),
        (VQDNAForMaskedLM, {"code_loss_weight": 0}),
        (VQDNAForMaskedLM, {"nucleotide_loss_weight": 0}),
        (VQDNAForSequenceClassification, {}),
        (VQDNAForSequenceClassification, {"average_strands": True}),
        (VQDNAForTokenClassification, {}),
    ],
)
def test_every_trainable_parameter_receives_a_gradient(
    kind: type[M], values: dict[str, Any], freeze_codec: bool, codec: VQDNACodecModel
) -> None:
    model = build(kind, codec, freeze_codec=freeze_codec, **values).train()
    ids = dna_batch()
    model(ids, labels=some_labels(model, ids)).loss.backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert freeze_codec
            assert ".codec." in name
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        if not (values.get("nucleotide_loss_weight") == 0 and "nucleotide_decoder" in name):
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_half_precision(how: str, codec: VQDNACodecModel) -> None:
    model = build(VQDNAForMaskedLM, codec)
    ids = dna_batch()
    labels = labels_at(ids, 3, 8)
    expected = model(ids, labels=labels)
    codebook = model.vqdna.codec.quantizer.codebooks[0]
    embed = codebook.embed.clone()
    if how == "bfloat16":
        found = model.to(torch.bfloat16)(ids, labels=labels)
    else:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(ids, labels=labels)
    assert torch.equal(codebook.embed, embed)
    found.loss.backward()
    assert found.loss.item() == pytest.approx(expected.loss.item(), rel=0.1)
