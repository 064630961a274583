# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The language model: a learned vocabulary (the codec's encoder) in front of a stock ModernBERT, and its heads.

Shape letters: B batch, L positions, Q quantizers, K codebook size, D code width, H hidden size, s stride, M patches
of s nucleotides. Position = nucleotide: behind `[CLS]`, hidden state i + 1 belongs to nucleotide i, for every
`codec_stride`. With s > 1 the backbone reads one position for each code, and what it says is up-sampled.
"""

import copy
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ModernBertModel, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask, create_bidirectional_sliding_window_mask
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from transformers.utils import ModelOutput, can_return_tuple

from .configuration_vqdna import CUSTOM_PIPELINES, VQDNAConfig
from .embeddings_vqdna import CodeEmbeddings, init_code_embeddings, own_vectors
from .modeling_vqdna_codec import (
    IGNORED,
    CheckedLoading,
    VQDNACodecEncoder,
    VQDNACodecEncoderOutput,
    VQDNACodecModel,
    init_codec_weights,
    own_class,
    upsample,
)
from .nearest_vqdna import NearestEntries  # noqa: F401
from .patching_vqdna import Patches, lay_out

# The two below are needed directly for nothing but loading: older versions of Transformers copy only the files
# that the modelling file itself names.
from .quantization_vqdna import NO_CODE  # noqa: F401
from .tokenization_vqdna import PAD_ID, is_nucleotide, is_sequence_position, reverse_complement_ids

if TYPE_CHECKING:
    # Never run: Transformers copies the files that it finds named like this, and the pipeline has to travel along.
    from .pipeline_vqdna import DNAEmbeddingPipeline  # noqa: F401

AUTO_MAP = {
    "AutoConfig": "configuration_vqdna.VQDNAConfig",
    "AutoModel": "modeling_vqdna.VQDNAModel",
    "AutoModelForMaskedLM": "modeling_vqdna.VQDNAForMaskedLM",
    "AutoModelForSequenceClassification": "modeling_vqdna.VQDNAForSequenceClassification",
    "AutoModelForTokenClassification": "modeling_vqdna.VQDNAForTokenClassification",
}
"""Written into every saved configuration, so that a folder saved from one head loads with every Auto class."""


@dataclass
class VQDNAModelOutput(ModelOutput):
    """What the bare model returns.

    Attributes:
        last_hidden_state: (B, L, H).
        hidden_states: a tuple of (B, L, H), with `output_hidden_states=True`. With s > 1 those before the last are
            the same for the nucleotides of a patch.
        attentions: a tuple of (B, heads, M, M), with `output_attentions=True` (eager attention).
        codes: (B, Q, M) code ids, -1 at padding and special tokens; None with `inputs_embeds`.
        commitment_loss: scalar, when the codec is being trained.
        patch_hidden_state: (B, M, H), with s > 1: the backbone's answer before it is up-sampled.
    """

    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    codes: Tensor | None = None
    commitment_loss: Tensor | None = None
    patch_hidden_state: Tensor | None = None


@dataclass
class VQDNAMaskedLMOutput(ModelOutput):
    """What the masked language model returns.

    Attributes:
        loss: scalar, the weighted sum of the parts below.
        logits: (B, L, V) over the tokenizer's vocabulary.
        hidden_states, attentions: as in `VQDNAModelOutput`.
        codes: (B, Q, M) code ids of what the backbone read.
        code_logits: Q tensors (P, K), at the P patches that have a label and a code, in row-major order.
        code_targets: (P, Q) the codes of the clean sequence there.
        nucleotide_loss, code_loss, commitment_loss: scalars.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    codes: Tensor | None = None
    code_logits: tuple[Tensor, ...] | None = None
    code_targets: Tensor | None = None
    nucleotide_loss: Tensor | None = None
    code_loss: Tensor | None = None
    commitment_loss: Tensor | None = None


def _padding_mask(attention_mask: Any) -> Tensor | None:
    """The mask if it tells padding, (B, L); None for masks of attention, 4-d or by layer type."""
    return attention_mask if isinstance(attention_mask, Tensor) and attention_mask.dim() == 2 else None


class VQDNAPreTrainedModel(CheckedLoading, PreTrainedModel):
    """What every class of the language model shares."""

    config: VQDNAConfig
    config_class = VQDNAConfig
    base_model_prefix = "vqdna"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["ModernBertEncoderLayer", "VQDNACodecEncoder"]
    _keep_in_fp32_modules_strict = ["codebooks"]
    # A loss is a mean: Trainer divides it by the accumulation steps. Classes that count labels say otherwise.
    accepts_loss_kwargs = False

    def _init_weights(self, module: nn.Module) -> None:
        if not (init_codec_weights(module) or init_code_embeddings(module)):
            super()._init_weights(module)

    def set_attn_implementation(self, attn_implementation: str | dict, *args: Any, **kwargs: Any) -> None:
        """As in Transformers, without its warning that the codec was not asked: it is convolutional and has none."""
        if isinstance(attn_implementation, str):
            attn_implementation = {"": attn_implementation}
        super().set_attn_implementation(attn_implementation, *args, **kwargs)
        self.config.codec_config._attn_implementation_internal = self.config._attn_implementation

    def save_pretrained(self, save_directory: str | PathLike, *args: Any, **kwargs: Any) -> Any:
        """As in Transformers; the configuration names the code of every head and of the pipeline that travel along."""
        if self.is_remote_code():
            self.config.auto_map = {**(getattr(self.config, "auto_map", None) or {}), **AUTO_MAP}
            self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
        # Of the codec's own folder nothing is left here but its values: no code of its own, no path of this machine.
        self.config.codec_config._name_or_path = ""
        for name in ("auto_map", "custom_pipelines"):
            vars(self.config.codec_config).pop(name, None)
        with own_class(self):
            return super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_codec(
        cls, codec: VQDNACodecModel | str | PathLike, config: VQDNAConfig | None = None, **overrides: Any
    ) -> Self:
        """Start a language model from a trained codec: its encoder and codebooks, and a new backbone.

        Args:
            codec: the model of stage 1, or its folder.
            config: of the new model; its `codec_config` is replaced by the codec's. Default: `VQDNAConfig`'s.
            overrides: keys of `VQDNAConfig`, when no `config` is given.

        Raises:
            ValueError: if the codec was never trained, or both `config` and `overrides` are given.
        """
        if config is not None and overrides:
            raise ValueError(f"from_codec takes either config or overrides, got both: {sorted(overrides)}")
        trained = VQDNACodecModel.from_pretrained(codec) if isinstance(codec, (str, PathLike)) else codec
        untrained = [
            level for level, book in enumerate(trained.encoder.quantizer.codebooks) if not bool(book.initialized)
        ]
        if untrained:
            raise ValueError(
                f"the codebooks of levels {untrained} hold no learnt vocabulary: train the codec first (stage 1)"
            )
        codec_config = trained.config.to_dict()
        if config is None:
            config = VQDNAConfig(codec_config=codec_config, **overrides)
        else:
            config = copy.deepcopy(config)  # the caller's own stays as it is
            config.codec_config = type(config)(codec_config=codec_config).codec_config
        model = cls(config)
        model.base_model.codec.load_state_dict(trained.encoder.state_dict())
        return model


class VQDNAModel(VQDNAPreTrainedModel):
    """Nucleotides in, one contextual vector a nucleotide out.

    A frozen codec turns nucleotides into codes. A stock ModernBERT reads each code's vector from its codebook, brought
    to the backbone's width by a linear layer, plus a trained vector of the code's own. Special tokens, `[MASK]` and N
    add a learnt vector too; A, C, G and T reach the backbone through their codes alone.

    Example:

    >>> import torch
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAModel(config).eval()
    >>> output = model(torch.tensor([[2, 5, 6, 7, 8, 3]]))  # [CLS] A C G T [SEP]
    >>> output.last_hidden_state.shape, output.codes.shape
    (torch.Size([1, 6, 16]), torch.Size([1, 2, 6]))
    """

    def __init__(self, config: VQDNAConfig) -> None:
        super().__init__(config)
        config.validate_vqdna()  # `from_pretrained` sets keys after the configuration was checked
        self.codec = VQDNACodecEncoder(config.codec_config)
        self.code_projection = nn.Linear(config.codec_config.codebook_dim, config.hidden_size, bias=False)
        self.code_embeddings = CodeEmbeddings(config) if config.code_embeddings else None
        self.backbone = ModernBertModel(config)
        # FSDP2 shards the table inside them by itself, and not twice.
        self.backbone._no_split_modules.discard("ModernBertEmbeddings")
        self.stride = config.codec_config.codec_stride
        self.upsample: nn.Linear | None = None
        if self.stride > 1:
            self.upsample = nn.Linear(config.hidden_size, self.stride * config.hidden_size)
        self.post_init()
        self.train(self.training)

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's table, of which special tokens, `[MASK]` and N are used."""
        return self.backbone.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the backbone's table."""
        self.backbone.set_input_embeddings(value)

    def train(self, mode: bool = True) -> "VQDNAModel":
        """As in torch, but a frozen codec stays in `eval()` and without gradients.

        Loading calls this last, and it makes new parameters that require gradients: so they are frozen here.
        """
        super().train(mode)
        if self.config.freeze_codec:
            self.codec.eval()
            self.codec.requires_grad_(False)
        elif self.config.freeze_codebooks or not self.codec.stem.weight.requires_grad:
            # Under adapters (PEFT) the codec's own weights stand still; its codebooks, which are buffers, must too.
            self.codec.quantizer.eval()
        return self

    def _scales_positions(self) -> bool:
        """Whether the configuration stretches the rotary positions for input longer than in training."""
        parameters = [self.config.rope_parameters, *(self.config.rope_parameters or {}).values()]
        types = {found.get("rope_type", "default") for found in parameters if isinstance(found, dict)}
        return bool(types - {"default"})

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> VQDNACodecEncoderOutput:
        """Turn nucleotide ids (B, L) into codes (B, Q, M) and code vectors (B, M, D). Moves no codebook.

        See `VQDNACodecEncoder.forward` for the other arguments.
        """
        with torch.no_grad():
            return self.codec(input_ids, attention_mask, update_codebooks=False, return_loss=False, **kwargs)

    def _embed(self, patches: Patches, hidden_codes: Tensor | None) -> tuple[Tensor, VQDNACodecEncoderOutput]:
        if self.config.freeze_codec:
            encoded = self.encode(patches.grid_ids, patches=patches)
        else:
            clean = is_nucleotide(patches.ids).any(-1)
            encoded = self.codec(patches.grid_ids, loss_mask=clean, return_loss=self.training, patches=patches)
        table = self.get_input_embeddings()
        if patches.stride == 1:
            own = table(patches.grid_ids) * (~is_nucleotide(patches.grid_ids)).unsqueeze(-1)
        else:
            own = own_vectors(patches, table)
        embeddings = self.code_projection(encoded.quantized) + own
        if self.code_embeddings is not None:
            embeddings = embeddings + self.code_embeddings(encoded.codes)
        if hidden_codes is not None:
            # Through the table's forward: FSDP gathers its weight for that alone.
            mask_vector = table(patches.grid_ids.new_tensor([[self.config.mask_token_id]])).to(embeddings.dtype)
            embeddings = torch.where(patches.any(hidden_codes).unsqueeze(-1), mask_vector, embeddings)
        return embeddings, encoded

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        hidden_codes: Tensor | None = None,
        **kwargs: Any,
    ) -> VQDNAModelOutput:
        """Read nucleotides.

        Args:
            input_ids: (B, L) nucleotide ids with special tokens.
            attention_mask: (B, L), 0 at padding; default: everything but `[PAD]`.
            position_ids: (B, L) or (1, L), for the rotary positions.
            inputs_embeds: (B, M, H) instead of `input_ids`; the codec is passed by, and s positions are answered for
                each.
            hidden_codes: (B, L) boolean, positions whose code the backbone must not see (`mask_level="code"`).
            kwargs: what Transformers' models take: `output_hidden_states`, `output_attentions`, `return_dict`.

        Raises:
            ValueError: if not exactly one input is given, or it is longer than `max_position_embeddings` and the
                rotary positions are not scaled (`rope_parameters`).
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        if self.stride > 1:
            self._refuse_for_strides(attention_mask, position_ids)
        encoded, patches = VQDNACodecEncoderOutput(), None
        if input_ids is not None:
            # A caller may bring a mask for attention (4-d, or one a layer type): padding is then [PAD] alone.
            patches = lay_out(input_ids, _padding_mask(attention_mask), self.stride)
            self._refuse_length(patches.first_ids.shape[1], input_ids.shape[1])
            if attention_mask is None or self.stride > 1:
                attention_mask = (patches.first_ids != self.config.pad_token_id).long()
            inputs_embeds, encoded = self._embed(patches, hidden_codes)
        else:
            self._refuse_length(inputs_embeds.shape[1], inputs_embeds.shape[1])  # type: ignore[union-attr]
        # return_dict: the outer model answers with a tuple where the configuration asks for one, the inner never.
        outputs = self.backbone(
            inputs_embeds=inputs_embeds,
            attention_mask=self._masks_in_use(inputs_embeds, attention_mask),
            position_ids=position_ids,
            return_dict=True,
            **kwargs,
        )
        return self._to_tokens(outputs, encoded, patches)

    def _to_tokens(self, outputs: Any, encoded: VQDNACodecEncoderOutput, patches: Patches | None) -> VQDNAModelOutput:
        """One state a token out of one a patch."""
        states, hidden_states = outputs.last_hidden_state, outputs.hidden_states
        if self.upsample is not None:
            states = upsample(states, self.upsample, self.stride)
            if patches is not None:
                states = patches.to_tokens(states)
            if hidden_states is not None and patches is not None:
                hidden_states = (*(patches.spread(layer) for layer in hidden_states[:-1]), states)
        return VQDNAModelOutput(
            last_hidden_state=states,
            hidden_states=hidden_states,
            attentions=outputs.attentions,
            codes=encoded.codes,
            commitment_loss=encoded.commitment_loss,
            patch_hidden_state=None if self.upsample is None else outputs.last_hidden_state,
        )

    def _refuse_length(self, positions: int, tokens: int) -> None:
        longest = self.config.max_position_embeddings
        if positions > longest and not self._scales_positions():
            codes = "" if self.stride == 1 else f" in {tokens} tokens ({self.stride} nucleotides a position)"
            raise ValueError(
                f"the input has {positions} positions{codes}, special tokens included, and the model reads at most "
                f"{longest}: split it into windows"
            )

    def _masks_in_use(self, inputs_embeds: Tensor, attention_mask: Any) -> Any:
        """The masks of the layer types that occur. ModernBERT makes both, and each may be a value a pair of positions.

        With global attention everywhere that is a gigabyte and half the time of a small model on 8,192 positions.
        """
        if isinstance(attention_mask, dict):
            return attention_mask
        make = {
            "full_attention": create_bidirectional_mask,
            "sliding_attention": create_bidirectional_sliding_window_mask,
        }
        config = self.backbone.config
        return {
            kind: make[kind](config=config, inputs_embeds=inputs_embeds, attention_mask=attention_mask)
            for kind in sorted(set(config.layer_types))
        }

    def _refuse_for_strides(self, attention_mask: Any, position_ids: Tensor | None) -> None:
        if position_ids is not None or (attention_mask is not None and _padding_mask(attention_mask) is None):
            raise ValueError(
                f"position_ids and masks of attention are for codec_stride 1: with {self.stride} the backbone's "
                "positions are not those of input_ids"
            )


def first_position(hidden: Tensor, input_ids: Tensor | None, padding: Tensor | None) -> Tensor:
    """The state of the first position that is no padding, `[CLS]`: (B, L, H) -> (B, H). Padding may be on the left."""
    if padding is None:
        if input_ids is None:
            return hidden[:, 0]
        padding = input_ids != PAD_ID
    first = padding.long().argmax(1)
    return hidden.gather(1, first[:, None, None].expand(-1, 1, hidden.shape[-1])).squeeze(1)


class VQDNAPredictionHead(nn.Module):
    """Linear layer, activation, layer norm: (..., H) -> (..., H)."""

    def __init__(self, config: VQDNAConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size, bias=config.classifier_bias)
        self.activation = ACT2FN[config.classifier_activation]
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=config.norm_bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Transform each position on its own."""
        return self.norm(self.activation(self.dense(hidden_states)))


def _share(loss: Tensor, counted: Tensor, num_items_in_batch: Tensor | int | None) -> Tensor:
    """A mean over the `counted` positions as their share of the mean over all of an optimizer step.

    Trainer counts the labels of all accumulated batches and all processes, and then adds the shares up: so batches with
    few labels weigh less, and the step is exactly that of one large batch.
    """
    if num_items_in_batch is None:
        return loss
    share = counted.sum() / torch.as_tensor(num_items_in_batch, device=loss.device).clamp(min=1)
    return torch.where(share > 0, loss * share, 0.0)  # the mean of no label at all is NaN


def _add_commitment(loss: Tensor, commitment_loss: Tensor | None, config: VQDNAConfig) -> Tensor:
    """A codec that is trained along keeps its latents close to its codebooks."""
    if commitment_loss is None:
        return loss
    return loss + config.codec_config.commitment_weight * commitment_loss


_LABELS_TAKEN = (
    "Trainer took the labels away (label_smoothing_factor, compute_loss_func), and without them this model masks no "
    "codes and learns none: leave the loss to the model"
)


class VQDNAForMaskedLM(VQDNAPreTrainedModel):
    """Masked modelling: predict hidden nucleotides, and the codes that the codec gives the clean sequence there.

    With `mask_level="nucleotide"` (default) `input_ids` carry `[MASK]` before the codec sees them and `labels` the
    nucleotides that stood there; the teacher is the codec on the clean sequence, as in BEiT. With
    `mask_level="code"` (the paper's form) `input_ids` are clean, and the codes of labelled positions are hidden
    from the backbone.

    Example:

    >>> import torch
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForMaskedLM(config).eval()
    >>> hidden = torch.tensor([[2, 5, 4, 7, 8, 3]])  # [CLS] A [MASK] G T [SEP]
    >>> output = model(hidden, labels=torch.tensor([[-100, -100, 6, -100, -100, -100]]))  # C stood there
    >>> output.logits.shape, [logits.shape for logits in output.code_logits]
    (torch.Size([1, 6, 10]), [torch.Size([1, 8]), torch.Size([1, 16])])
    """

    accepts_loss_kwargs = True  # num_items_in_batch

    def __init__(self, config: VQDNAConfig) -> None:
        super().__init__(config)
        self.vqdna = VQDNAModel(config)
        self.head = VQDNAPredictionHead(config)
        self.nucleotide_decoder = nn.Linear(config.hidden_size, config.vocab_size, bias=config.decoder_bias)
        sizes = config.codec_config.codebook_sizes if config.code_loss_weight > 0 else []
        self.code_decoders = nn.ModuleList(
            nn.Linear(config.hidden_size, size, bias=config.decoder_bias) for size in sizes
        )
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear:
        """The nucleotide decoder."""
        return self.nucleotide_decoder

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the nucleotide decoder."""
        self.nucleotide_decoder = new_embeddings

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> VQDNAMaskedLMOutput:
        """Predict nucleotides everywhere, and codes at labelled positions.

        Args:
            labels: (B, L) the nucleotide ids to predict, -100 elsewhere.
            num_items_in_batch: how many labels the whole optimizer step has, as Trainer counts them.

        Raises:
            ValueError: if Trainer counts labels and keeps them to itself, as for label smoothing.
        """
        if num_items_in_batch is not None and labels is None and self.training:
            raise ValueError(_LABELS_TAKEN)
        hidden_codes = None
        if labels is not None and input_ids is not None and self.config.mask_level == "code":
            hidden_codes = labels != IGNORED
        kwargs = {**kwargs, "hidden_codes": hidden_codes, "return_dict": True}
        outputs = self.vqdna(input_ids, attention_mask, position_ids, inputs_embeds, **kwargs)
        states = self.head(outputs.last_hidden_state)
        logits = self.nucleotide_decoder(states)
        result = VQDNAMaskedLMOutput(
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            codes=outputs.codes,
            commitment_loss=outputs.commitment_loss,
        )
        if labels is None:
            return result
        counted = labels != IGNORED
        total = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
        result.nucleotide_loss = total / counted.sum().clamp(min=1)
        loss = self.config.nucleotide_loss_weight * result.nucleotide_loss
        if len(self.code_decoders) and input_ids is not None:
            clean_ids = torch.where(counted, labels, input_ids)
            patches = lay_out(clean_ids, _padding_mask(attention_mask), self.vqdna.stride)
            # At masked positions only: logits over thousands of entries at every position would dwarf the backbone.
            # Their number depends on the data: here alone a compiled forward breaks into two graphs.
            labelled = patches.any(counted) & is_sequence_position(patches.first_ids)
            positions = labelled.flatten().nonzero().squeeze(-1)
            result.code_targets = self._code_targets(outputs, patches, positions)
            if outputs.patch_hidden_state is None:
                states = states.flatten(0, 1)[positions]
            else:
                states = self.head(outputs.patch_hidden_state.flatten(0, 1)[positions])
            loss = loss + self.config.code_loss_weight * self._predict_codes(result, states)
        result.loss = _share(_add_commitment(loss, outputs.commitment_loss, self.config), counted, num_items_in_batch)
        # A ModelOutput keeps the order of assignment; made anew, its tuple starts with the loss.
        return VQDNAMaskedLMOutput(**result)

    def _code_targets(self, outputs: VQDNAModelOutput, patches: Patches, positions: Tensor) -> Tensor:
        """The codes of the clean sequence at some positions of the flattened batch, (P, Q)."""
        codes: Tensor = outputs.codes
        if self.config.mask_level == "code":  # then the model has read the clean sequence
            return codes.transpose(1, 2).flatten(0, 1)[positions]
        codes = self.vqdna.encode(patches.grid_ids, patches=patches, positions=positions).codes
        return codes[0].T

    def _predict_codes(self, result: VQDNAMaskedLMOutput, states: Tensor) -> Tensor:
        """The loss of the codes at the states' positions, (P, H); sets the output's fields."""
        targets: Tensor = result.code_targets
        result.code_logits = tuple(decoder(states) for decoder in self.code_decoders)
        losses = [
            F.cross_entropy(logits.float(), target, reduction="sum") / max(target.shape[0], 1)
            for logits, target in zip(result.code_logits, targets.unbind(-1), strict=True)
        ]
        result.code_loss = torch.stack(losses).mean()
        return result.code_loss


class VQDNAForSequenceClassification(VQDNAPreTrainedModel):
    """One answer a sequence: classes, several labels, or numbers (`config.problem_type`).

    Example:

    >>> import torch
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForSequenceClassification(config).eval()
    >>> output = model(torch.tensor([[2, 5, 6, 7, 8, 3]]), labels=torch.tensor([1]))  # [CLS] A C G T [SEP]
    >>> output.logits.shape, output.loss.shape
    (torch.Size([1, 3]), torch.Size([]))
    """

    def __init__(self, config: VQDNAConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.vqdna = VQDNAModel(config)
        self.head = VQDNAPredictionHead(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def _pool(self, hidden: Tensor, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        """(B, L, H) -> (B, H) over the positions of the sequence; special tokens and padding do not count."""
        if self.config.classifier_pooling == "cls":
            return first_position(hidden, input_ids, _padding_mask(attention_mask))
        counted = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        if input_ids is not None:
            counted = is_sequence_position(input_ids)
        if (padding := _padding_mask(attention_mask)) is not None:
            counted = counted & padding.bool()
        weight = counted.unsqueeze(-1)
        if self.config.classifier_pooling == "max":
            lowest = torch.finfo(hidden.dtype).min
            pooled = hidden.masked_fill(~weight, lowest).amax(1)
            return torch.where(weight.any(1), pooled, torch.zeros_like(pooled))
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)

    def _logits(self, outputs: VQDNAModelOutput, input_ids: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        if input_ids is None and self.vqdna.stride > 1 and (padding := _padding_mask(attention_mask)) is not None:
            attention_mask = padding.repeat_interleave(self.vqdna.stride, 1)  # a position answers for s nucleotides
        pooled = self._pool(outputs.last_hidden_state, input_ids, attention_mask)
        return self.classifier(self.dropout(self.head(pooled)))

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classify sequences.

        Args:
            labels: (B,) class ids or numbers, or (B, num_labels) for several labels or several numbers.

        Raises:
            ValueError: with `average_strands` and `inputs_embeds`, of which there is no other strand.
        """
        outputs = self.vqdna(input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs)
        logits = self._logits(outputs, input_ids, attention_mask)
        commitment_loss = outputs.commitment_loss
        if self.config.average_strands:
            if input_ids is None:
                raise ValueError("average_strands needs input_ids: there is no other strand of inputs_embeds")
            other_ids = reverse_complement_ids(input_ids)
            other = self.vqdna(other_ids, attention_mask, position_ids, return_dict=True)
            logits = (logits + self._logits(other, other_ids, attention_mask)) / 2
            if commitment_loss is not None:
                commitment_loss = (commitment_loss + other.commitment_loss) / 2
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
            loss = _add_commitment(loss, commitment_loss, self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class VQDNAForTokenClassification(VQDNAPreTrainedModel):
    """One answer a position: logits[i + 1] belongs to nucleotide i.

    Example:

    >>> import torch
    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> model = VQDNAForTokenClassification(config).eval()
    >>> model(torch.tensor([[2, 5, 6, 7, 8, 3]])).logits.shape  # [CLS] A C G T [SEP]
    torch.Size([1, 6, 3])
    """

    accepts_loss_kwargs = True  # num_items_in_batch

    def __init__(self, config: VQDNAConfig) -> None:
        super().__init__(config)
        if config.average_strands:
            raise ValueError("average_strands is for sequence classification: labels of positions have a strand")
        self.num_labels = config.num_labels
        self.vqdna = VQDNAModel(config)
        self.head = VQDNAPredictionHead(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Classify positions.

        Args:
            labels: (B, L) class ids, -100 where there is none (special tokens, padding).
            num_items_in_batch: how many labels the whole optimizer step has, as Trainer counts them.
        """
        outputs = self.vqdna(input_ids, attention_mask, position_ids, inputs_embeds, return_dict=True, **kwargs)
        logits = self.classifier(self.dropout(self.head(outputs.last_hidden_state)))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config)
            loss = _add_commitment(loss, outputs.commitment_loss, self.config)
            loss = _share(loss, labels != IGNORED, num_items_in_batch)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


VQDNAModel.register_for_auto_class("AutoModel")
VQDNAForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
VQDNAForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
VQDNAForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
