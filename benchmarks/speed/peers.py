# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The models that are compared, ours and peers of published sizes, with random weights, and a step of training."""

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, ModernBertConfig, ModernBertForMaskedLM, PreTrainedModel

from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.modeling_vqdna import VQDNAForMaskedLM
from vqdna_hf.model.modeling_vqdna_codec import IGNORED, VQDNACodecEncoder
from vqdna_hf.model.tokenization_vqdna import CLS_ID, FIRST_NUCLEOTIDE_ID, MASK_ID, NUM_NUCLEOTIDES, PAD_ID, SEP_ID

RECIPES = Path(__file__).resolve().parents[2] / "examples" / "recipes"
LONGEST = 16384
"""Positions that every model is made for: rotary positions cost nothing, BERT's table counts as its parameters."""

MASKED = 0.25
MASKS = 4
"""Batches that a step of a compiled model takes in turn: with each, another number of positions is labelled."""

SPECIAL = {"pad_token_id": PAD_ID, "bos_token_id": CLS_ID, "eos_token_id": SEP_ID, "cls_token_id": CLS_ID}
SPECIAL["sep_token_id"] = SEP_ID


def recipe(size: str, **codec: Any) -> VQDNAConfig:
    """The configuration that a size's recipes of stages 1 and 2 give; `codec` overrides keys of the codec's.

    Args:
        size: `"tiny"`, `"small"` or `"base"`.
        codec: keys of `VQDNACodecConfig`.
    """
    files = (RECIPES / size / f"{stage}.yaml" for stage in ("codec", "mlm"))
    stage1, stage2 = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files)
    codec_config = {**stage1.get("codec_config", {}), **codec}
    model_config = {**stage2.get("model_config", {}), "max_position_embeddings": LONGEST}
    return VQDNAConfig(**model_config, codec_config=codec_config)


def has_stride() -> bool:
    """Whether a code of this version can stand for several nucleotides."""
    return hasattr(VQDNACodecConfig(), "codec_stride")


@dataclass
class Kind:
    """A model to compare: how to build it, and how many bases a token of its stands for.

    Attributes:
        name: in the tables.
        build: makes it with random weights.
        bases_per_token: nucleotides a token stands for; the published mean for learned tokens.
        vocabulary: token ids of content are drawn below this; None for nucleotides, ours too.
        patch: nucleotides that are masked together.
    """

    name: str
    build: Callable[[], PreTrainedModel]
    bases_per_token: float = 1.0
    vocabulary: int | None = None
    patch: int = 1

    def batch(self, sequences: int, length: int, device: torch.device, number: int = 0) -> dict[str, Tensor]:
        """`[CLS]`, content, `[SEP]`; a quarter of the content is masked as in our collator.

        Of what is masked 0.8 show `[MASK]`, 0.1 something else, 0.1 themselves. The same for every model, so that
        the loss has equally many positions a token. Another `number` gives other content and another mask, with
        another count of labelled positions.
        """
        generator = torch.Generator().manual_seed(length + 1_000_003 * number)
        tokens = math.ceil(length / self.bases_per_token)
        low, high = FIRST_NUCLEOTIDE_ID, self.vocabulary or FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES
        clean, other = torch.randint(low, high, (2, sequences, tokens), generator=generator).unbind()
        patches = math.ceil(tokens / self.patch)
        drawn = torch.rand(sequences, patches, generator=generator).repeat_interleave(self.patch, 1)[:, :tokens]
        shown = torch.where(drawn < 0.8 * MASKED, MASK_ID, torch.where(drawn < 0.9 * MASKED, other, clean))
        ends = torch.tensor([[CLS_ID], [SEP_ID]]).expand(2, sequences).unsqueeze(-1)
        input_ids = torch.cat([ends[0], shown, ends[1]], 1)
        labels = torch.full_like(input_ids, IGNORED)
        labels[:, 1:-1] = torch.where(drawn < MASKED, clean, IGNORED)
        batch = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), "labels": labels}
        return {name: value.to(device) for name, value in batch.items()}


def ours(config: VQDNAConfig, name: str = "VQDNA") -> Kind:
    """Our masked language model; its codebooks hold vectors that occur, as after training."""
    stride = getattr(config.codec_config, "codec_stride", 1)

    def build() -> PreTrainedModel:
        model = VQDNAForMaskedLM(copy.deepcopy(config))
        fill_codebooks(model.vqdna.codec)
        return model

    return Kind(name, build, patch=stride)


def fill_codebooks(encoder: VQDNACodecEncoder) -> None:
    """Give each codebook latents of random sequences as its entries, so that codes are spread as trained ones are."""
    device = encoder.stem.weight.device
    if device.type == "meta":  # built to be counted
        return
    ids = nucleotides(4, 1024, device)
    training = encoder.training
    encoder.train()
    with torch.no_grad():
        encoder(ids, update_codebooks=True, return_loss=False)
    encoder.train(training)


def nucleotides(sequences: int, length: int, device: torch.device) -> Tensor:
    """Random ids of A, C, G and T, the same each time."""
    generator = torch.Generator().manual_seed(1)
    high = FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES
    ids = torch.randint(FIRST_NUCLEOTIDE_ID, high, (sequences, length), generator=generator, device="cpu")
    return ids.to(device)


def modernbert(name: str, size: dict[str, Any], **own: Any) -> Kind:
    """A stock ModernBERT with global attention everywhere, as ours has."""
    vocabulary = own.pop("vocabulary", None)
    per_token = own.pop("bases_per_token", 1.0)
    values: dict[str, Any] = {
        "vocab_size": vocabulary or FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES + 1,
        "tie_word_embeddings": False,
        "max_position_embeddings": LONGEST,
        "global_attn_every_n_layers": 1,
    }
    config = ModernBertConfig(**{**values, **SPECIAL, **size, **own})
    return Kind(name, lambda: ModernBertForMaskedLM(copy.deepcopy(config)), per_token, vocabulary)


def bert(name: str, size: dict[str, Any]) -> Kind:
    """A stock BERT without dropout, which ours does not have either."""
    config = BertConfig(
        vocab_size=FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES + 1,
        max_position_embeddings=LONGEST // 2 + 8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=PAD_ID,
        **size,
    )
    return Kind(name, lambda: BertForMaskedLM(copy.deepcopy(config)))


def dnabert2(**size: Any) -> Kind:
    """DNABERT-2 (117 M): about five bases a token, logits at labelled positions only as in its own code."""
    published = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    own = {"vocabulary": 4096, "bases_per_token": 5.0, "tie_word_embeddings": True, "sparse_prediction": True}
    return modernbert("DNABERT-2's", {**published, **size}, **own)


def nucleotide_transformer(**size: Any) -> Kind:
    """Nucleotide Transformer v2, 100 M: six bases a token."""
    published = {"hidden_size": 512, "num_hidden_layers": 22, "num_attention_heads": 16, "intermediate_size": 2048}
    return modernbert("NT v2's", {**published, **size}, vocabulary=4107, bases_per_token=6.0, hidden_activation="silu")


def parameters(model: nn.Module) -> int:
    """How many, the frozen codec's and position tables included."""
    return sum(parameter.numel() for parameter in model.parameters())


def with_parameters(make: Callable[[int], Kind], target: int) -> Kind:
    """The model that has about `target` parameters, by the width of its MLP alone.

    Args:
        make: a model from the width of its MLP.
        target: parameters.
    """
    with torch.device("meta"):
        few, more = (parameters(make(width).build()) for width in (64, 128))
    return make(max(8, round((target - few) / (more - few) * 64 / 8 + 8) * 8))


class Trainee:
    """A model with its batch: a forward pass, and a step of training with fused AdamW."""

    def __init__(self, kind: Kind, sequences: int, length: int, device: torch.device) -> None:
        self.device, self.bases = device, sequences * length
        torch.manual_seed(0)
        with device:
            self.model = kind.build().train()
        self.parameters = parameters(self.model)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
        self.set_batch(kind, sequences, length)
        self.called: Callable[..., Any] = self.model

    def set_batch(self, kind: Kind, sequences: int, length: int) -> None:
        """Go on with other sizes."""
        self.bases = sequences * length
        self.batch = kind.batch(sequences, length, self.device)

    def steps_over(self, batches: Sequence[dict[str, Tensor]]) -> Callable[[], None]:
        """A step that takes the next of the batches each time it is called, and begins anew behind the last."""
        turns = itertools.cycle(batches)

        def step() -> None:
            self.batch = next(turns)
            self.step()

        return step

    def compile(self) -> None:
        """From now on through `torch.compile`."""
        self.called = torch.compile(self.model)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bf16 on a GPU, as the recipes train; fp32 on a CPU."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def forward(self) -> Any:
        """What inference does: no labels, no gradients."""
        inputs = {name: value for name, value in self.batch.items() if name != "labels"}
        with torch.no_grad(), self.autocast():
            return self.called(**inputs)

    def step(self) -> None:
        """Forward, backward, AdamW."""
        try:
            with self.autocast():
                loss = self.called(**self.batch).loss
            loss.backward()
            self.optimizer.step()
        finally:  # where memory did not suffice, gradients must not stay behind either
            self.optimizer.zero_grad(set_to_none=True)
