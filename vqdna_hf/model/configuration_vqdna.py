# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Configurations: `VQDNACodecConfig` (the learned vocabulary) and `VQDNAConfig` (codec plus backbone)."""

import difflib
import sys
from dataclasses import fields
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import ModernBertConfig, PreTrainedConfig
from transformers.utils import logging

from .patching_vqdna import SPARE_PATCHES
from .tokenization_vqdna import CLS_ID, MASK_ID, PAD_ID, SEP_ID, VOCABULARY

logger = logging.get_logger(__name__)

FORMAT_VERSION = 1
"""The layout of configuration and weights. A checkpoint that carries another number is refused."""

CUSTOM_PIPELINES = {
    "dna-embedding": {"impl": "pipeline_vqdna.DNAEmbeddingPipeline", "pt": ["AutoModel"], "type": "text"},
}
"""Written into every saved model's configuration, so that `pipeline("dna-embedding", ...)` finds the folder's code."""

# With `vqdna_hf` imported these tasks are registered. `pipeline` would ask for trust in the folder's code all the same
# if the configuration named them: so only a configuration that is remote code itself keeps the entry.
_IS_REMOTE_CODE = __name__.startswith("transformers_modules.")


CODEC_STRIDES = (1, 2, 4, 8)
"""How many nucleotides a code may stand for."""

LORA_TARGETS = ("Wqkv", "Wo", "Wi")
"""The linear layers of the backbone: attention in and out, MLP in and out."""

# What Transformers passes to configurations, or reads from them, without declaring it as a field.
_TRANSFORMERS_KEYS = {
    "attn_implementation", "auto_map", "custom_pipelines", "experts_implementation", "global_attn_every_n_layers",
    "global_rope_theta", "local_rope_theta", "name_or_path", "num_labels", "output_attentions", "per_layer_config",
    "quantization_config", "rope_scaling", "task_specific_params", "tokenizer_class", "torch_dtype", "use_cache",
}  # fmt: skip


def _check_keys(config: PreTrainedConfig, unknown: dict[str, Any]) -> None:
    """Say which keys are unknown. Transformers keeps them, so that newer files load; a near miss is a typo."""
    if not _IS_REMOTE_CODE:
        unknown.pop("custom_pipelines", None)
    own = [field.name for field in fields(config)]
    for key in unknown:
        if key in _TRANSFORMERS_KEYS or key.startswith("_") or hasattr(PreTrainedConfig, key):
            continue
        where = f"unknown key {key!r} in {type(config).__name__}"
        if near := difflib.get_close_matches(key, own, n=1, cutoff=0.88):
            raise ValueError(f"{where}: did you mean {near[0]!r}?")
        near = difflib.get_close_matches(key, own, n=1, cutoff=0.3)
        logger.warning("%s: it is kept and has no effect%s", where, f"; the nearest is {near[0]!r}" if near else "")


def _refuse_other_format(version: int) -> None:
    if version != FORMAT_VERSION:
        way_out = "upgrade vqdna_hf" if version > FORMAT_VERSION else "use the version of vqdna_hf that wrote it"
        raise ValueError(
            f"this checkpoint has format_version {version} and this code reads {FORMAT_VERSION}: {way_out}, "
            "or let the checkpoint's own code load it (trust_remote_code=True, where vqdna_hf is not imported)"
        )


@strict
class VQDNACodecConfig(PreTrainedConfig):
    r"""The learned vocabulary: a convolutional encoder, one codebook or several, a mirrored decoder.

    The defaults are the published values of the HRQ codec (Li et al., arXiv 2405.10812, section 4 and appendix A);
    what the paper leaves open is marked *(open)*. `codebook_sizes=[512], tap_positions=[6]` is the single-codebook
    VQ codec.

    Args:
        hidden_size: D, the width of the blocks.
        stem_size: channels after the stem convolution.
        stem_kernel_size: of the stem, odd.
        num_blocks: ConvNeXt-style blocks in the encoder, and again in the decoder.
        kernel_size: of the depth-wise convolutions, odd.
        dilations: of each block's depth-wise convolution: 2 reads every second position, so that a level sees farther
            at the same cost; default 1 everywhere, the paper's.
        expansion: the inverted bottleneck of a block is `expansion * hidden_size` wide.
        codebook_sizes: K of each level, coarse to fine.
        codec_stride: s, nucleotides a code stands for: 1, 2, 4 or 8. Above 1 the stem's outputs of s nucleotides are
            joined, and blocks, codes and the backbone see one position for s nucleotides *(open; the paper has 1)*.
        tap_positions: after which block each level is tapped; ascending, the last is `num_blocks`.
        symmetric_levels: how many levels, from the coarsest, have codes that do not know their strand: those of the
            reverse complement are the same, mirrored. Their latents are the mean over both strands, so blocks up to
            the last such tap run twice; for `codec_stride` 1 *(ours)*.
        level_fusion: a position's code vector is the `"mean"` over levels, the paper's, or the `"sum"`; see
            `HierarchicalResidualQuantizer`.
        codebook_dim: width of a code vector, shared by the levels.
        decay: of the codebooks' moving averages *(open)*.
        dead_code_threshold: an entry used less than this share of an even share is re-seeded; 0 never *(open)*.
        commitment_weight: of the commitment loss.
        objective: `"reconstruction"`, the paper's; `"window"`: each position's code vector alone predicts the
            nucleotides up to `window_radius` away through a linear head, while the decoder learns on the side; or
            `"distillation"`: besides, the coarsest level's code vector alone predicts a teacher's features of its
            position, a layer of a pre-trained model (as HuBERT's units and BEiT v2's tokens are learned).
        window_radius: in nucleotides, for `objective="window"` and `"distillation"`.
        feature_size: width of the teacher's features, for `objective="distillation"`.
        distillation_weight: of the loss on the teacher's features.
        corruption_rate: share of the input nucleotides hidden from the encoder in stage 1; the targets stay.
        norm_eps: of the layer norms.
        initializer_range: standard deviation of the initial weights.

    Example:

    >>> config = VQDNACodecConfig(codebook_sizes=[512], tap_positions=[6])
    >>> config.num_quantizers, config.receptive_field
    (1, 41)
    """

    model_type = "vqdna_codec"
    keys_to_ignore_at_inference = [
        "codes", "quantized", "reconstruction_loss", "commitment_loss", "window_loss", "window_logits",
        "distillation_loss",
        "hidden_states", "perplexity", "codebook_usage",
    ]  # fmt: skip

    vocab_size: int = len(VOCABULARY)
    hidden_size: int = 384
    stem_size: int = 256
    stem_kernel_size: int = 5
    num_blocks: int = 6
    kernel_size: int = 7
    dilations: list[int] | None = None
    expansion: int = 4
    codec_stride: int = 1
    codebook_sizes: list[int] | None = None
    tap_positions: list[int] | None = None
    symmetric_levels: int = 0
    level_fusion: Literal["mean", "sum"] = "mean"
    codebook_dim: int = 384
    decay: float = 0.99
    dead_code_threshold: float | int = 0.03
    commitment_weight: float | int = 0.5
    objective: Literal["reconstruction", "window", "distillation"] = "reconstruction"
    window_radius: int = 4
    feature_size: int = 0
    distillation_weight: float | int = 1.0
    corruption_rate: float | int = 0.0
    norm_eps: float = 1e-6
    initializer_range: float = 0.02
    pad_token_id: int | None = PAD_ID
    format_version: int = FORMAT_VERSION

    def __post_init__(self, **kwargs: Any) -> None:
        self.codebook_sizes = [1024, 2048] if self.codebook_sizes is None else list(self.codebook_sizes)
        self.tap_positions = [3, 6] if self.tap_positions is None else list(self.tap_positions)
        self.dilations = None if self.dilations is None else list(self.dilations)
        _check_keys(self, kwargs)
        super().__post_init__(**kwargs)
        self.validate_codec()  # here too, for a plain ValueError; the strict dataclass would wrap it

    @property
    def num_quantizers(self) -> int:
        """Q, the number of codebooks."""
        return len(self.codebook_sizes or ())

    @property
    def receptive_field(self) -> int:
        """How many nucleotides the last level's code of one position can see."""
        return self.codec_stride + 2 * self.context

    @property
    def context(self) -> int:
        """How many nucleotides a code sees on each side of those that it stands for: the most of all levels."""
        return max(self.contexts)

    @property
    def block_dilations(self) -> list[int]:
        """The dilation of each block's depth-wise convolution."""
        return [1] * self.num_blocks if self.dilations is None else self.dilations

    @property
    def contexts(self) -> list[int]:
        """How many nucleotides each level's code sees on each side of those that it stands for.

        A level also depends on the codes of those before it, so that none sees less than they do.
        """
        half = self.codec_stride * (self.kernel_size // 2)
        return [self.stem_kernel_size // 2 + half * sum(self.block_dilations[:tap]) for tap in self.tap_positions or ()]

    def validate_codec(self) -> None:
        """Refuse values that no codec can have; run by the constructor and by loading."""
        _refuse_other_format(self.format_version)
        sizes, taps = self.codebook_sizes or [], self.tap_positions or []
        if not sizes or len(sizes) != len(taps):
            raise ValueError(
                f"codebook_sizes {sizes} and tap_positions {taps} must be equally long: one tap for each codebook"
            )
        if sorted(set(taps)) != taps or taps[0] < 1 or taps[-1] != self.num_blocks:
            raise ValueError(
                f"tap_positions {taps} must ascend within 1..num_blocks and end at num_blocks={self.num_blocks}: "
                "blocks behind the last tap would learn nothing"
            )
        if len(self.block_dilations) != self.num_blocks or min(self.block_dilations, default=1) < 1:
            raise ValueError(f"dilations {self.dilations} must be {self.num_blocks} numbers of at least 1, one a block")
        if not 0 <= self.symmetric_levels <= len(sizes):
            raise ValueError(
                f"symmetric_levels={self.symmetric_levels} must be in 0..{len(sizes)}, the levels there are"
            )
        if self.symmetric_levels and self.codec_stride > 1:
            raise ValueError(
                f"symmetric_levels needs codec_stride 1, not {self.codec_stride}: patches of the two strands begin at "
                "different nucleotides"
            )
        if self.objective == "distillation" and self.feature_size < 1:
            raise ValueError(
                f"feature_size={self.feature_size}: objective='distillation' needs the width of the teacher's features"
            )
        if min(sizes) < 2:
            raise ValueError(f"codebook_sizes {sizes}: a codebook needs at least 2 entries")
        if self.codec_stride not in CODEC_STRIDES:
            raise ValueError(f"codec_stride={self.codec_stride} must be one of {', '.join(map(str, CODEC_STRIDES))}")
        for name in ("kernel_size", "stem_kernel_size"):
            if getattr(self, name) % 2 == 0 or getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be odd, so that a position keeps its place")
        for name in ("hidden_size", "stem_size", "num_blocks", "expansion", "codebook_dim", "window_radius"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay={self.decay} must be in [0, 1)")
        if not 0 <= self.dead_code_threshold < 1:
            raise ValueError(f"dead_code_threshold={self.dead_code_threshold} must be in [0, 1): it is a ratio")
        for name in ("commitment_weight", "distillation_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if not 0 <= self.corruption_rate < 1:
            raise ValueError(f"corruption_rate={self.corruption_rate} must be in [0, 1)")


@strict
class VQDNAConfig(ModernBertConfig):
    r"""Codec plus backbone. Everything of `ModernBertConfig` stays where it is; the codec's values are nested.

    The defaults are the size of the paper's BERT-Base: 12 layers, 768 wide, 12 heads, global attention everywhere.

    Args:
        codec_config: a `VQDNACodecConfig` or its dictionary.
        freeze_codec: keep the codec in `eval()`, without gradients, its codebooks still.
        freeze_codebooks: with a trainable codec, keep the codebooks still. Adapters save parameters only, so
            codebooks that move would be lost with them.
        code_embeddings: the backbone reads a trained vector of each code (zeros at first) beside the frozen one of its
            codebook.
        mask_level: `"nucleotide"` hides nucleotides before the codec and predicts the clean sequence's codes;
            `"code"` is the paper's form: codes of the clean sequence are hidden after the codec. The latter leaks:
            neighbouring codes have seen the hidden nucleotide.
        nucleotide_loss_weight: of the cross-entropy on masked nucleotides.
        code_loss_weight: of the cross-entropy on the masked positions' codes, mean over levels; 0 drops the heads.
        classifier_pooling: `"mean"` or `"max"` over the sequence's positions, or `"cls"`.
        average_strands: classify both strands and average the logits.
        mask_token_id: the id of `[MASK]`.

    Example:

    >>> config = VQDNAConfig(num_hidden_layers=2, codec_config={"codebook_sizes": [512], "tap_positions": [6]})
    >>> config.hidden_size, config.codec_config.codebook_sizes, config.layer_types
    (768, [512], ['full_attention', 'full_attention'])
    """

    model_type = "vqdna"
    sub_configs = {"codec_config": VQDNACodecConfig}
    keys_to_ignore_at_inference = [
        "past_key_values", "codes", "code_logits", "code_targets", "nucleotide_loss", "code_loss",
        "commitment_loss", "hidden_states", "attentions",
    ]  # fmt: skip

    vocab_size: int = len(VOCABULARY)
    intermediate_size: int = 2048
    num_hidden_layers: int = 12
    pad_token_id: int | None = PAD_ID
    bos_token_id: int | None = CLS_ID
    eos_token_id: int | list[int] | None = SEP_ID
    cls_token_id: int | None = CLS_ID
    sep_token_id: int | None = SEP_ID
    mask_token_id: int = MASK_ID
    tie_word_embeddings: bool = False
    classifier_pooling: Literal["cls", "mean", "max"] = "mean"
    average_strands: bool = False
    codec_config: Any = None
    freeze_codec: bool = True
    freeze_codebooks: bool = False
    code_embeddings: bool = True
    mask_level: Literal["nucleotide", "code"] = "nucleotide"
    nucleotide_loss_weight: float | int = 1.0
    code_loss_weight: float | int = 1.0
    format_version: int = FORMAT_VERSION

    def __post_init__(self, **kwargs: Any) -> None:
        if self.codec_config is None:
            self.codec_config = VQDNACodecConfig()
        elif isinstance(self.codec_config, dict):
            self.codec_config = VQDNACodecConfig(**self.codec_config)
        elif getattr(self.codec_config, "model_type", None) != VQDNACodecConfig.model_type:
            raise ValueError(f"codec_config must be a VQDNACodecConfig or its dictionary, got {self.codec_config!r}")
        _check_keys(self, kwargs)
        # ModernBERT's own default is one global layer in three. Once made, layer_types says it all.
        every = kwargs.pop("global_attn_every_n_layers", 1)
        if self.layer_types is None:
            self.layer_types: list[str] | None = self._layer_types(every)
        super().__post_init__(**kwargs)
        self.validate_vqdna()

    @property
    def max_input_tokens(self) -> int:
        """The longest input in tokens, special tokens included, when rotary positions are not scaled.

        `max_position_embeddings` counts the backbone's positions; with `codec_stride` s each stands for s nucleotides,
        and special tokens and broken patches take some.
        """
        stride = self.codec_config.codec_stride
        return self.max_position_embeddings if stride == 1 else (self.max_position_embeddings - SPARE_PATCHES) * stride

    def _layer_types(self, global_attn_every_n_layers: int) -> list[str]:
        return [
            "sliding_attention" if layer % global_attn_every_n_layers else "full_attention"
            for layer in range(self.num_hidden_layers)
        ]

    def to_dict(self) -> dict[str, Any]:
        """As in Transformers; PEFT, which asks for this before it looks for layers to adapt, is told which.

        So `get_peft_model(model, LoraConfig(task_type="SEQ_CLS"))` needs no `target_modules`, and nobody pays for an
        import of PEFT that is not used.
        """
        peft = sys.modules.get("peft.utils.constants")
        targets = getattr(peft, "TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING", {})
        targets.setdefault(self.model_type, list(LORA_TARGETS))
        return super().to_dict()

    def validate_vqdna(self) -> None:
        """Refuse values that no model can have; run by the constructor and by loading."""
        _refuse_other_format(self.format_version)
        if self.layer_types is not None and len(self.layer_types) != self.num_hidden_layers:
            raise ValueError(
                f"num_hidden_layers={self.num_hidden_layers} and {len(self.layer_types)} layer_types: there must be "
                "one for each layer"
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be a multiple of num_attention_heads={self.num_attention_heads}"
            )
        if self.nucleotide_loss_weight < 0 or self.code_loss_weight < 0:
            raise ValueError("nucleotide_loss_weight and code_loss_weight must not be negative")
        if self.nucleotide_loss_weight == 0 and self.code_loss_weight == 0:
            raise ValueError("nucleotide_loss_weight and code_loss_weight are both 0: nothing would be learnt")


VQDNACodecConfig.register_for_auto_class()
VQDNAConfig.register_for_auto_class()
