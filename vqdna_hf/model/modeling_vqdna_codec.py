# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The learned vocabulary: nucleotides -> latents -> codes -> nucleotides (a VQ-VAE, Li et al. 2024, section 3.2).

Shape letters: B batch, L positions, Q quantizers, K codebook size, D code width, C width of the blocks, s stride, M
patches of s nucleotides. Position = nucleotide: logits at position i of `input_ids` belong to the nucleotide at
position i, and with `codec_stride=1` so does its code: then M = L. Otherwise see `patching_vqdna`.
"""

import contextlib
import copy
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from .configuration_vqdna import CUSTOM_PIPELINES, VQDNACodecConfig
from .nearest_vqdna import NearestEntries  # noqa: F401
from .patching_vqdna import Patches, lay_out
from .quantization_vqdna import NO_CODE, Codebook, HierarchicalResidualQuantizer, code_counts, usage_and_perplexity
from .tokenization_vqdna import (
    FIRST_NUCLEOTIDE_ID,
    MASK_ID,
    NUM_NUCLEOTIDES,
    is_nucleotide,
    is_sequence_position,
    mirrored_positions,
    reverse_complement_ids,
)

if TYPE_CHECKING:
    # Never run: Transformers copies the files that it finds named like this, and the pipeline has to travel along.
    from .pipeline_vqdna import DNAEmbeddingPipeline  # noqa: F401

IGNORED = -100


@dataclass
class VQDNACodecEncoderOutput(ModelOutput):
    """What encoding returns.

    Attributes:
        codes: (B, Q, M) code ids, coarse to fine; -1 at padding and special tokens.
        quantized: (B, M, D) code vectors, mean over levels; zero at padding and special tokens.
        commitment_loss: scalar, or None when not asked for.
        hidden_states: a tuple of (B, M, C), behind the stem and each block, when asked for.
        coarse: (B, M, D) the coarsest level's code vectors by themselves, when losses are asked for and
            `objective="distillation"`.
    """

    codes: Tensor | None = None
    quantized: Tensor | None = None
    commitment_loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    coarse: Tensor | None = None


@dataclass
class VQDNACodecOutput(ModelOutput):
    """What the codec's forward returns.

    Attributes:
        loss: scalar, the weighted sum of the parts below.
        logits: (B, L, 4) of A, C, G, T at each position.
        codes: (B, Q, M) code ids, -1 at padding and special tokens.
        quantized: (B, M, D) code vectors, mean over levels.
        reconstruction_loss: scalar, cross-entropy of `logits` on A, C, G, T positions.
        commitment_loss: scalar, mean over levels.
        window_loss: scalar, for `objective="window"` and `"distillation"`.
        window_logits: (B, M, 2 * radius + s, 4), for the same.
        distillation_loss: scalar, 1 - cosine with the teacher's features, for `objective="distillation"`.
        perplexity: (Q,) exp(entropy) of each level's codes in this batch, detached.
        codebook_usage: (Q,) share of each codebook's entries used in this batch, detached.
        hidden_states: the encoder's, a tuple of (B, M, C) behind the stem and each block, with
            `output_hidden_states=True`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    codes: Tensor | None = None
    quantized: Tensor | None = None
    reconstruction_loss: Tensor | None = None
    commitment_loss: Tensor | None = None
    window_loss: Tensor | None = None
    window_logits: Tensor | None = None
    distillation_loss: Tensor | None = None
    perplexity: Tensor | None = None
    codebook_usage: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class VQDNAConv1d(nn.Conv1d):
    """A 1-d convolution over (B, L, C) that does not leave that layout.

    `conv1d` on the transposed tensor copies it twice and is ten times slower for depth-wise kernels on CPU; the
    same numbers come out of a 2-d convolution of height one, for which (B, L, C) *is* the channels-last layout.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) -> (B, L, C')."""
        x = x.transpose(1, 2).unsqueeze(2)
        padding, dilation = (0, int(self.padding[0])), (1, self.dilation[0])
        x = F.conv2d(x, self.weight.unsqueeze(2), self.bias, padding=padding, dilation=dilation, groups=self.groups)
        return x.squeeze(2).transpose(1, 2)


class VQDNAConvNextBlock(nn.Module):
    """Depth-wise convolution, layer norm, two linear layers with an inverted bottleneck, GELU; residual.

    The input is zero at masked positions and so is the output: padding never reaches a nucleotide.
    """

    def __init__(self, config: VQDNACodecConfig, dilation: int = 1) -> None:
        super().__init__()
        width, kernel = config.hidden_size, config.kernel_size
        reach = dilation * (kernel // 2)
        self.depthwise = VQDNAConv1d(width, width, kernel, padding=reach, dilation=dilation, groups=width)
        self.norm = nn.LayerNorm(width, eps=config.norm_eps)
        self.up = nn.Linear(width, config.expansion * width)
        self.down = nn.Linear(config.expansion * width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, L, C), (B, L, 1) -> (B, L, C)."""
        hidden = self.up(self.norm(self.depthwise(x)))
        # In place where no gradient needs it: the codec's widest buffer is then held once, not twice.
        hidden = F.gelu(hidden) if hidden.requires_grad else torch.ops.aten.gelu_(hidden)
        return (x + self.down(hidden)) * mask


class VQDNACodecBlock(GradientCheckpointingLayer, VQDNAConvNextBlock):
    """The block of a codec that is trained by itself, whose activations may be checkpointed.

    Not that of a language model's codec, which is frozen: Transformers takes the first such layer for one that is not.
    """


class VQDNACodecEncoder(nn.Module):
    """Stem, blocks, taps and quantizer. Both the codec and the language model hold exactly this module."""

    def __init__(self, config: VQDNACodecConfig, block: type[VQDNAConvNextBlock] = VQDNAConvNextBlock) -> None:
        super().__init__()
        self.config = config
        kernel = config.stem_kernel_size
        self.stem = VQDNAConv1d(NUM_NUCLEOTIDES, config.stem_size, kernel, padding=kernel // 2)
        self.stem_norm = nn.LayerNorm(config.stem_size, eps=config.norm_eps)
        # The paper goes from 256 to 384 channels without saying how; a linear layer keeps the receptive field.
        # With a stride it reads the s nucleotides of a patch at once: a convolution whose kernel is its stride.
        self.stem_projection = nn.Linear(config.codec_stride * config.stem_size, config.hidden_size)
        self.blocks = nn.ModuleList(block(config, dilation) for dilation in config.block_dilations)
        self.tap_norms = nn.ModuleList(
            nn.LayerNorm(config.hidden_size, eps=config.norm_eps) for _ in config.tap_positions or ()
        )
        self.tap_projections = nn.ModuleList(
            nn.Linear(config.hidden_size, config.codebook_dim) for _ in config.tap_positions or ()
        )
        self.quantizer = HierarchicalResidualQuantizer(
            config.codebook_sizes or [],
            config.codebook_dim,
            config.decay,
            float(config.dead_code_threshold),
            config.level_fusion,
        )

    def taps(self, patches: Patches, hidden_states: list[Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
        """What the blocks give at each tap, before its norm and projection.

        Args:
            patches: of `lay_out`.
            hidden_states: a list that takes what comes out of the stem and of each block, (B, M, C).

        Returns:
            Q tensors (B, M, C), and the boolean mask (B, M) of positions that stand for nucleotides.
        """
        mask = is_sequence_position(patches.first_ids)
        tapped = self._tap(patches.grid_ids, mask, self.config.tap_positions or [], hidden_states)
        if symmetric := (self.config.tap_positions or [])[: self.config.symmetric_levels]:
            # Special tokens and padding stay put on the other strand, so its mask is the same.
            mirrored = mirrored_positions(patches.grid_ids).unsqueeze(-1)
            others = self._tap(reverse_complement_ids(patches.grid_ids), mask, symmetric)
            for level, other in enumerate(others):
                tapped[level] = (tapped[level] + other.gather(1, mirrored.expand_as(other))) / 2
        return tapped, mask

    def _tap(
        self, ids: Tensor, mask: Tensor, positions: list[int], hidden_states: list[Tensor] | None = None
    ) -> list[Tensor]:
        """What comes out of some blocks, for one strand."""
        nucleotide_ids = torch.arange(NUM_NUCLEOTIDES, device=ids.device) + FIRST_NUCLEOTIDE_ID
        dtype = self.stem.weight.dtype
        x = F.gelu(self.stem_norm(self.stem((ids.unsqueeze(-1) == nucleotide_ids).to(dtype))))
        weight = mask.unsqueeze(-1).to(dtype)
        if (stride := self.config.codec_stride) > 1:
            x = x * is_sequence_position(ids).unsqueeze(-1).to(dtype)
            x = x.unflatten(1, (-1, stride)).flatten(2)
        x = self.stem_projection(x) * weight
        tapped: list[Tensor] = []
        if hidden_states is not None:
            hidden_states.append(x)
        for position, block in enumerate(self.blocks[: positions[-1]], start=1):
            x = block(x, weight)
            if hidden_states is not None:
                hidden_states.append(x)
            if position in positions:
                tapped.append(x)
        return tapped

    def project(self, tapped: list[Tensor]) -> list[Tensor]:
        """The taps as the quantizer reads them: Q tensors (..., C) -> (..., D)."""
        layers = zip(self.tap_projections, self.tap_norms, tapped, strict=True)
        return [projection(norm(x)) for projection, norm, x in layers]

    def latents(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        hidden_states: list[Tensor] | None = None,
        patches: Patches | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """The taps before quantization.

        Args:
            input_ids: (B, L) nucleotide ids, with or without special tokens.
            attention_mask: (B, L), 0 at padding; default: everything but `[PAD]`.
            hidden_states: a list that takes what comes out of the stem and of each block, (B, M, C).
            patches: of `lay_out`, where the caller has them; the two above are then not read.

        Returns:
            Q tensors (B, M, D), and the boolean mask (B, M) of positions that stand for nucleotides.

        Raises:
            ValueError: if L is 0.
        """
        if patches is None:
            patches = lay_out(input_ids, attention_mask, self.config.codec_stride)
        tapped, mask = self.taps(patches, hidden_states)
        weight = mask.unsqueeze(-1).to(tapped[0].dtype)
        return [latent * weight for latent in self.project(tapped)], mask

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        loss_mask: Tensor | None = None,
        update_codebooks: bool = True,
        return_loss: bool = True,
        output_hidden_states: bool = False,
        patches: Patches | None = None,
        positions: Tensor | None = None,
    ) -> VQDNACodecEncoderOutput:
        """Encode (B, L) nucleotide ids; see `latents` for the arguments that are not described here.

        Args:
            loss_mask: (B, M) boolean, the positions that count in the loss and move the codebooks; default all
                that have a code.
            update_codebooks: whether the codebooks may move; they never do in `eval()`.
            return_loss: whether to compute the commitment loss.
            output_hidden_states: whether to return what comes out of the stem and of each block.
            positions: (P,) numbers of positions in the flattened batch that all stand for nucleotides: only there is
                anything computed behind the blocks, and the answer is codes alone, (1, Q, P).
        """
        if positions is not None:
            # In forward, since that is where FSDP gathers the weights.
            if patches is None:
                patches = lay_out(input_ids, attention_mask, self.config.codec_stride)
            chosen = [x.flatten(0, 1)[positions].unsqueeze(0) for x in self.taps(patches)[0]]
            return VQDNACodecEncoderOutput(codes=self.quantizer.encode(self.project(chosen)))
        hidden_states: list[Tensor] | None = [] if output_hidden_states else None
        taps, mask = self.latents(input_ids, attention_mask, hidden_states, patches)
        result = self.quantizer(taps, mask, loss_mask, update_codebooks, return_loss)
        coarse: Tensor | None = None
        if return_loss and self.config.objective == "distillation":
            entries = self.quantizer.codebooks[0].lookup(result.codes[:, 0].clamp(min=0)).to(taps[0].dtype)
            coarse = taps[0] + (entries - taps[0]).detach()
        return VQDNACodecEncoderOutput(
            codes=result.codes,
            quantized=result.quantized.to(taps[0].dtype),
            commitment_loss=result.commitment_loss,
            hidden_states=None if hidden_states is None else tuple(hidden_states),
            coarse=coarse,
        )


def upsample(x: Tensor, layer: nn.Linear, stride: int) -> Tensor:
    """One vector a patch to one a nucleotide: (B, M, C) -> (B, M * s, C), the patch's own plus a part by place."""
    batch, patches, width = x.shape
    return (x.unsqueeze(2) + layer(x).view(batch, patches, stride, width)).view(batch, patches * stride, width)


class VQDNACodecDecoder(nn.Module):
    """The encoder mirrored: projection, blocks, up-sampling with a stride, two de-convolutions to four nucleotides."""

    def __init__(self, config: VQDNACodecConfig) -> None:
        super().__init__()
        kernel = config.stem_kernel_size
        self.projection = nn.Linear(config.codebook_dim, config.hidden_size)
        self.blocks = nn.ModuleList(VQDNACodecBlock(config, dilation) for dilation in reversed(config.block_dilations))
        self.stride = config.codec_stride
        self.upsample: nn.Linear | None = None
        if self.stride > 1:
            self.upsample = nn.Linear(config.hidden_size, self.stride * config.hidden_size)
        self.unstem = nn.ConvTranspose1d(config.hidden_size, config.stem_size, kernel, padding=kernel // 2)
        self.unstem_norm = nn.LayerNorm(config.stem_size, eps=config.norm_eps)
        self.output = nn.ConvTranspose1d(config.stem_size, NUM_NUCLEOTIDES, kernel, padding=kernel // 2)

    def forward(self, quantized: Tensor, mask: Tensor) -> Tensor:
        """(B, M, D) code vectors, (B, M) boolean -> (B, M * s, 4) logits of A, C, G, T."""
        weight = mask.unsqueeze(-1).to(quantized.dtype)
        x = self.projection(quantized) * weight
        for block in self.blocks:
            x = block(x, weight)
        if self.upsample is not None:
            x = upsample(x, self.upsample, self.stride)
            weight = weight.repeat_interleave(self.stride, 1)
            x = x * weight
        x = F.gelu(self.unstem_norm(self.unstem(x.transpose(1, 2)).transpose(1, 2))) * weight
        return self.output(x.transpose(1, 2)).transpose(1, 2)


def init_codec_weights(module: nn.Module) -> bool:
    """Restore the buffers of a codebook. Returns whether `module` was one (and needs nothing else)."""
    if not isinstance(module, Codebook):
        return False
    # What was loaded stays as it is. Making its start anew, only to throw it away, took longer than all the loading.
    if not all(getattr(buffer, "_is_hf_initialized", False) for buffer in module.buffers(recurse=False)):
        for name, value in module.initial_state().items():
            init.copy_(getattr(module, name), value)
    return True


class VQDNACheckpointError(ValueError, RuntimeError):
    """The weights of a folder do not fit its configuration. A `RuntimeError` too, as Transformers raises for shapes."""


class CheckedLoading:
    """A mixin for `PreTrainedModel`: what a folder does not hold is refused, where Transformers would warn and guess.

    Only a head that the folder was not saved with starts anew (a classifier on a masked language model), with
    Transformers' own warning. Weights are read from safetensors alone, never from pickles.
    """

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike | None, *args: Any, **kwargs: Any) -> Any:
        """Load as in Transformers, and check what came.

        Args:
            pretrained_model_name_or_path: a folder or a Hub id.
            args, kwargs: of `PreTrainedModel.from_pretrained`. With `ignore_mismatched_sizes=True` weights of another
                shape start anew, with Transformers' warning: what changing `num_labels` needs. Those of the codec
                never do.

        Raises:
            VQDNACheckpointError: if the folder holds another type of model or weights that cannot be read, if a
                tensor is missing, left over or of another shape, or a codebook holds NaN or infinity; the message
                names the tensors.
            ValueError: with `use_safetensors=False`.
        """
        path = pretrained_model_name_or_path
        with_info = kwargs.pop("output_loading_info", False)
        may_mismatch = kwargs.pop("ignore_mismatched_sizes", False)
        if kwargs.pop("use_safetensors", None) is False:
            raise ValueError("use_safetensors=False: weights are read from safetensors alone, never from pickles")
        _refuse_other_type(path, kwargs.get("subfolder") or "", cls.config_class.model_type)  # type: ignore[attr-defined]
        kwargs |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        try:
            model, info = super().from_pretrained(path, *args, **kwargs)  # type: ignore[misc]
        except SafetensorError as error:
            raise VQDNACheckpointError(f"{path}: the weights cannot be read: {error}") from error
        if path is not None:
            problems = _mismatched(info, may_mismatch) + _wrongly_missing(model, info) + _left_over(info)
            problems += broken_codebooks(model)
            if problems:
                more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
                raise VQDNACheckpointError(
                    f"{path}: the weights do not fit the configuration of "
                    f"{type(model).__name__}: {'; '.join(problems[:5])}{more}. Get the folder anew from where it was "
                    "saved; for another number of labels pass ignore_mismatched_sizes=True"
                )
        return (model, info) if with_info else model

    @classmethod
    def is_custom_code(cls) -> bool:
        """False: `_init_weights` here uses `transformers.initialization` alone, which knows what was loaded.

        Of other people's code Transformers takes every module without parameters of its own for initialised, and the
        backbone's weights would not get ModernBERT's initialisation when they are made anew.
        """
        return False


def _refuse_other_type(path: str | PathLike | None, subfolder: str, wanted: str) -> None:
    """Refuse a local folder of another type of model before its configuration is taken for ours."""
    file = os.path.join(path or "", subfolder, "config.json")
    if path is None or not os.path.isfile(file):
        return
    with open(file, encoding="utf-8") as stream:
        try:
            found = json.load(stream).get("model_type")
        except ValueError as error:
            raise VQDNACheckpointError(f"{file} cannot be read: {error}") from error
    if found != wanted:
        raise VQDNACheckpointError(f"{file}: this is a model of type {found}, and one of type {wanted} is needed here")


# Of the codec, in a language model's bare form or within a head, and of the codec itself.
_CODEC_TENSORS = ("codec.", "vqdna.codec.", "encoder.", "decoder.")


def _mismatched(info: dict[str, Any], allowed: bool) -> list[str]:
    return sorted(
        f"{name} has shape {tuple(found)} in the file and {tuple(wanted)} in the model"
        for name, found, wanted in info["mismatched_keys"]
        if not allowed or name.startswith(_CODEC_TENSORS)
    )


def _left_over(info: dict[str, Any]) -> list[str]:
    """Tensors of codec and backbone that the model has no place for. Heads of another task are left over on purpose."""
    ours = (*_CODEC_TENSORS, "vqdna.", "backbone.", "code_projection.", "code_embeddings.")
    return [f"{name} is left over" for name in sorted(info["unexpected_keys"]) if name.startswith(ours)]


def _wrongly_missing(model: PreTrainedModel, info: dict[str, Any]) -> list[str]:
    """Missing tensors, but for a head that the folder was not saved with."""
    missing = sorted(info["missing_keys"])
    saved_with_this_head = type(model).__name__ in (model.config.architectures or ())
    if model.base_model is not model and not saved_with_this_head:
        missing = [name for name in missing if name.startswith(f"{model.base_model_prefix}.")]
    return [f"{name} is missing" for name in missing]


def broken_codebooks(model: nn.Module) -> list[str]:
    """Say which buffers of which codebooks hold NaN or infinity."""
    return [
        f"{module_name}.{name} holds NaN or infinity"
        for module_name, module in model.named_modules()
        if isinstance(module, Codebook)
        for name, value in module.named_buffers()
        if value.device.type != "meta" and not _is_finite(value)
    ]


def _is_finite(value: Tensor) -> bool:
    """Whether no element is NaN or infinity. One of them shows in the sum, which takes a hundredth of the time."""
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


@contextlib.contextmanager
def own_class(model: nn.Module) -> Iterator[None]:
    """FSDP2 puts a class made in torch over the model's own. Saving copies the file of the class: let it be ours."""
    sharded = type(model)
    model.__class__ = next(kind for kind in sharded.__mro__ if not kind.__module__.startswith("torch."))
    try:
        yield
    finally:
        model.__class__ = sharded


class VQDNACodecPreTrainedModel(CheckedLoading, PreTrainedModel):
    """What every codec class shares: configuration, initialisation, how Trainer is to treat the loss."""

    config: VQDNACodecConfig
    config_class = VQDNACodecConfig
    base_model_prefix = "codec"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules = ["VQDNACodecBlock", "HierarchicalResidualQuantizer"]
    # Moving averages need fp32, and codes are argmins. The name must match no other module.
    _keep_in_fp32_modules_strict = ["codebooks"]
    # The loss is a mean already: Trainer divides it by the accumulation steps.
    accepts_loss_kwargs = False

    def _init_weights(self, module: nn.Module) -> None:
        if not init_codec_weights(module):
            super()._init_weights(module)

    def save_pretrained(self, save_directory: str | PathLike, *args: Any, **kwargs: Any) -> Any:
        """As in Transformers; the configuration names the pipeline that travels along."""
        if self.is_remote_code():
            self.config.custom_pipelines = copy.deepcopy(CUSTOM_PIPELINES)
        with own_class(self):
            return super().save_pretrained(save_directory, *args, **kwargs)


class VQDNACodecModel(VQDNACodecPreTrainedModel):
    """The whole VQ-VAE: encode nucleotides into codes, decode codes into nucleotides, train both.

    Example:

    >>> import torch
    >>> config = VQDNACodecConfig(
    ...     hidden_size=16, stem_size=8, num_blocks=2, tap_positions=[1, 2], codebook_sizes=[8, 16], codebook_dim=16
    ... )
    >>> codec = VQDNACodecModel(config).eval()
    >>> input_ids = torch.tensor([[2, 5, 6, 7, 8, 3]])  # [CLS] A C G T [SEP]
    >>> codes = codec.encode(input_ids).codes
    >>> codes.shape, codec.decode(codes).shape
    (torch.Size([1, 2, 6]), torch.Size([1, 6, 4]))
    """

    def __init__(self, config: VQDNACodecConfig) -> None:
        super().__init__(config)
        self.encoder = VQDNACodecEncoder(config, VQDNACodecBlock)
        self.decoder = VQDNACodecDecoder(config)
        self.window_head: nn.Linear | None = None
        self.feature_head: nn.Linear | None = None
        if config.objective != "reconstruction":
            predicted = 2 * config.window_radius + config.codec_stride
            self.window_head = nn.Linear(config.codebook_dim, predicted * NUM_NUCLEOTIDES)
        if config.objective == "distillation":
            self.feature_head = nn.Linear(config.codebook_dim, config.feature_size)
        self.post_init()

    def get_input_embeddings(self) -> None:
        """None: nucleotides go in one-hot. Accelerate asks every model for its table before it shards it."""
        return None

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        loss_mask: Tensor | None = None,
        update_codebooks: bool = False,
        return_loss: bool = False,
        output_hidden_states: bool = False,
        patches: Patches | None = None,
    ) -> VQDNACodecEncoderOutput:
        """Turn nucleotide ids (B, L) into codes (B, Q, M) and code vectors (B, M, D).

        Padding changes nothing: a sequence has the same codes alone, padded, or in any batch. Two sequences of a pair
        are one input: next to the `[SEP]` between them, codes see a few nucleotides of the other. Distances are fp32 in
        every dtype, latents are not: bf16 may choose another entry where two are nearly as near. See
        `VQDNACodecEncoder` for the arguments; the codebooks move only when asked to, and only in `train()`.
        """
        return self.encoder(
            input_ids, attention_mask, loss_mask, update_codebooks, return_loss, output_hidden_states, patches
        )

    def decode(
        self, codes: Tensor | None = None, quantized: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Turn codes, or code vectors, into logits (B, M * s, 4) of A, C, G, T.

        Args:
            codes: (B, Q, M); -1 marks a position without nucleotides.
            quantized: (B, M, D), instead of codes.
            mask: (B, M) boolean, with `quantized`: the positions that stand for nucleotides; default all.

        Returns:
            With `codec_stride` s > 1 the s nucleotides of each code in turn, those that its sequence does not have
            (the last code may stand for fewer) and those of special tokens included.

        Raises:
            ValueError: if not exactly one of `codes` and `quantized` is given, or a code does not exist.
        """
        if (codes is None) == (quantized is None):
            raise ValueError("decode takes either codes or quantized")
        if codes is not None:
            quantized = self.encoder.quantizer.lookup(codes).to(self.decoder.projection.weight.dtype)
            mask = (codes != NO_CODE).all(1)
        if mask is None:
            mask = torch.ones(quantized.shape[:2], dtype=torch.bool, device=quantized.device)  # type: ignore[union-attr]
        return self.decoder(quantized, mask)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_loss: bool = True,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        features: Tensor | None = None,
        **kwargs: Any,
    ) -> VQDNACodecOutput | tuple:
        """Encode, decode, and compare with the input.

        Args:
            input_ids: (B, L) nucleotide ids. N and `[MASK]` have codes but are no targets.
            attention_mask: (B, L), 0 at padding; default: everything but `[PAD]`.
            return_loss: whether to compute losses and metrics.
            return_dict, output_hidden_states: as in Transformers; default: the configuration's.
            features: (B, M, F) the teacher's, for `objective="distillation"`; in `eval()` they may be missing, and so
                is then that part of the loss.
            kwargs: what Transformers hands to models of every kind (`output_attentions`, `token_type_ids`): no effect.

        Raises:
            ValueError: in training, if the objective needs features and there are none.
        """
        if output_hidden_states is None:
            output_hidden_states = bool(self.config.output_hidden_states)
        clean = is_nucleotide(input_ids)
        if attention_mask is not None:
            clean = clean & attention_mask.bool()
        visible = input_ids
        if self.training and self.config.corruption_rate > 0:
            hidden = torch.rand(input_ids.shape, device=input_ids.device) < self.config.corruption_rate
            visible = torch.where(hidden & clean, MASK_ID, input_ids)
        patches = lay_out(visible, attention_mask, self.config.codec_stride)
        counted = patches.any(clean)
        encoded = self.encode(visible, attention_mask, counted, True, return_loss, output_hidden_states, patches)
        codes: Tensor = encoded.codes
        quantized: Tensor = encoded.quantized
        # With the window objective the decoder only learns to read the vocabulary, not to shape it.
        readable = quantized if self.window_head is None else quantized.detach()
        logits = patches.to_tokens(self.decode(quantized=readable, mask=codes[:, 0] != NO_CODE))
        output = VQDNACodecOutput(logits=logits, codes=codes, quantized=quantized, hidden_states=encoded.hidden_states)
        if return_loss:
            output.commitment_loss = encoded.commitment_loss
            self._add_losses(output, torch.where(clean, input_ids.long() - FIRST_NUCLEOTIDE_ID, IGNORED), patches)
            if self.feature_head is not None:
                self._add_distillation(output, self.feature_head(encoded.coarse), features, counted)
            self._add_metrics(output, counted)
            # A ModelOutput keeps the order of assignment; made anew, its tuple starts with the loss.
            output = VQDNACodecOutput(**output)
        if not (self.config.return_dict if return_dict is None else return_dict):
            return output.to_tuple()
        return output

    def _add_losses(self, output: VQDNACodecOutput, targets: Tensor, patches: Patches) -> None:
        output.reconstruction_loss = _mean_cross_entropy(output.logits, targets)
        commitment_loss: Tensor = output.commitment_loss
        output.loss = output.reconstruction_loss + self.config.commitment_weight * commitment_loss
        if self.window_head is not None:
            logits = self.window_head(output.quantized)
            output.window_logits = logits.view(*logits.shape[:2], -1, NUM_NUCLEOTIDES)
            wanted = window_targets(patches.to_grid(targets, IGNORED), self.config.window_radius, patches.stride)
            output.window_loss = _mean_cross_entropy(output.window_logits, wanted)
            output.loss = output.loss + output.window_loss

    def _add_distillation(
        self, output: VQDNACodecOutput, predicted: Tensor, features: Tensor | None, counted: Tensor
    ) -> None:
        if features is None:
            if self.training:
                raise ValueError("objective='distillation' trains on a teacher's features: give features (--teacher)")
            return
        alike = F.cosine_similarity(predicted.float(), features.float(), dim=-1)
        output.distillation_loss = ((1 - alike) * counted).sum() / counted.sum().clamp(min=1)
        output.loss = output.loss + self.config.distillation_weight * output.distillation_loss

    @torch.no_grad()
    def _add_metrics(self, output: VQDNACodecOutput, counted: Tensor) -> None:
        codes = torch.where(counted.unsqueeze(1), output.codes, NO_CODE)
        metrics = [
            usage_and_perplexity(code_counts(level, size))
            for level, size in zip(codes.unbind(1), self.config.codebook_sizes or (), strict=True)
        ]
        output.codebook_usage = torch.stack([usage for usage, _ in metrics])
        output.perplexity = torch.stack([perplexity for _, perplexity in metrics])


def _mean_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the targets that are not ignored; 0, not NaN, when all are."""
    total = F.cross_entropy(logits.float().flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (targets != IGNORED).sum().clamp(min=1)


def window_targets(targets: Tensor, radius: int, stride: int = 1) -> Tensor:
    """For each patch the targets from `radius` before it to `radius` behind it: (B, M * s) -> (B, M, 2 * radius + s).

    Patches without a target of their own predict nothing: a `[CLS]` or padding has no code to predict from.

    >>> window_targets(torch.tensor([[0, 1, 2, -100]]), 1)[0].tolist()
    [[-100, 0, 1], [0, 1, 2], [1, 2, -100], [-100, -100, -100]]
    >>> window_targets(torch.tensor([[0, 1, 2, 3]]), 1, stride=2)[0].tolist()
    [[-100, 0, 1, 2], [1, 2, 3, -100]]
    """
    windows = F.pad(targets, (radius, radius), value=IGNORED).unfold(-1, 2 * radius + stride, stride)
    own = (targets != IGNORED).view(*windows.shape[:2], stride).any(-1, keepdim=True)
    return torch.where(own, windows, IGNORED)


VQDNACodecModel.register_for_auto_class("AutoModel")
