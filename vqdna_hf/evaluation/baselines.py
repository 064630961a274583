"""Baselines in the same code path: one switch, equal backbone, equal parameters.

A baseline is a stock ModernBERT over the ids of a stock tokenizer, with the depth, width and heads of the VQDNA model
that it is compared with, or a supervised CNN. `intermediate_size` makes up for what a table of tokens and a codec
differ in: the parameters of vocabulary and backbone are equal within 3 %. Prediction heads are left out: what a model
predicts while it is pre-trained is gone when it is used.
"""

from dataclasses import dataclass
from math import isqrt
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from vqdna_hf.model.configuration_vqdna import VQDNAConfig
from vqdna_hf.model.modeling_vqdna import VQDNAModel
from vqdna_hf.model.tokenization_vqdna import CLS_ID, PAD_ID, SEP_ID
from vqdna_hf.training.finetuning import HEAD, load_pretrained
from vqdna_hf.training.trainer import count_parameters

from .baseline_masking import TokenMaskingCollator, masked_token_metrics, masked_token_sums
from .baseline_tokenizers import (
    VOCABULARIES,
    SequenceEncoder,
    build_baseline_tokenizer,
    kmer_of,
    train_bpe,
)
from .cnn import CNNConfig, CNNForSequenceClassification

__all__ = [
    "BASELINE_MODEL_TYPES",
    "VOCABULARIES",
    "CNNConfig",
    "CNNForSequenceClassification",
    "SequenceEncoder",
    "TokenMaskingCollator",
    "build_baseline",
    "build_baseline_tokenizer",
    "compared_parameters",
    "load_baseline_classifier",
    "masked_token_metrics",
    "masked_token_sums",
    "train_bpe",
]

_CLASSIFIERS: dict[str, type[PreTrainedModel]] = {
    ModernBertConfig.model_type: ModernBertForSequenceClassification,
    CNNConfig.model_type: CNNForSequenceClassification,
}
BASELINE_MODEL_TYPES = tuple(_CLASSIFIERS)
"""What `model_type` a baseline's `config.json` has."""

PARAMETER_TOLERANCE = 0.03

# What a baseline's backbone has from the model that it is compared with.
_SHARED = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "hidden_activation",
    "layer_types", "local_attention", "rope_parameters", "norm_eps", "norm_bias", "attention_bias", "mlp_bias",
    "initializer_range", "initializer_cutoff_factor", "attention_dropout", "embedding_dropout", "mlp_dropout",
    "classifier_dropout", "classifier_bias", "classifier_activation", "decoder_bias",
)  # fmt: skip
_STEP = 8  # widths that matrix products like
_DENSE_SHARE = 0.1  # of a CNN's parameters, in the layer behind the pooling


@dataclass
class ComparedParameters:
    """Parameters of a model, without its head.

    Attributes:
        vocabulary: of what turns letters into vectors: the codec's encoder, codebooks, projection and embeddings of
            codes; or a table.
        backbone: of the rest.
    """

    vocabulary: int
    backbone: int

    @property
    def total(self) -> int:
        """Of both; what is equal within 3 %."""
        return self.vocabulary + self.backbone

    def __str__(self) -> str:
        return f"{self.total:,} (vocabulary {self.vocabulary:,}, backbone {self.backbone:,})"


def compared_parameters(model: nn.Module | VQDNAConfig) -> ComparedParameters:
    """The parameters that count in a comparison: vocabulary and backbone, without any prediction head.

    Args:
        model: a VQDNA language model, or its configuration; a ModernBERT; a `CNNForSequenceClassification`.

    Returns:
        Both numbers. Codebook entries count, though they are learnt without gradients. The table of our backbone, which
        has special tokens alone, counts for the backbone.

    Example:

    >>> config = VQDNAConfig(
    ...     hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [8, 16]},
    ... )
    >>> compared_parameters(config).total == compared_parameters(VQDNAModel(config)).total
    True
    """
    if isinstance(model, VQDNAConfig):
        with torch.device("meta"):
            return compared_parameters(VQDNAModel(model))
    trunk = getattr(model, "base_model", model)
    if isinstance(trunk, VQDNAModel):
        codec = count_parameters(trunk.codec)
        reading = sum(_count(part) for part in (trunk.code_projection, trunk.code_embeddings) if part is not None)
        ours = codec["parameters"] + codec["codebook_values"] + reading
        return ComparedParameters(ours, _count(trunk) - codec["parameters"] - reading)
    if isinstance(trunk, CNNForSequenceClassification):
        return ComparedParameters(0, _count(trunk) - _count(trunk.classifier))
    table = _count(trunk.get_input_embeddings())
    return ComparedParameters(table, _count(trunk) - table)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def build_baseline(
    vocabulary: str,
    like: VQDNAConfig,
    tokenizer: PreTrainedTokenizerFast | None = None,
    tolerance: float = PARAMETER_TOLERANCE,
) -> PreTrainedModel:
    """Make an untrained baseline that has the size of a VQDNA model.

    Args:
        vocabulary: one of `VOCABULARIES` but `vq` and `hrq`, which are the model itself.
        like: of the model to compare with; depth, width, heads and all else but `intermediate_size` are its own.
        tokenizer: for `bpe`, whose size it has.
        tolerance: how far the parameters of vocabulary and backbone may be from that model's, as a share of its.

    Returns:
        `ModernBertForMaskedLM`, or for `cnn` a `CNNForSequenceClassification`; `config.vocabulary` says what it reads.
        The prediction of tokens shares the table, as in stock ModernBERT.

    Raises:
        ValueError: if no `intermediate_size` makes the parameters equal, with the numbers; or on another vocabulary.

    Example:

    >>> like = VQDNAConfig(
    ...     hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
    ...     codec_config={"hidden_size": 16, "stem_size": 8, "codebook_dim": 16, "codebook_sizes": [32, 64]},
    ... )
    >>> model = build_baseline("3mer", like)
    >>> type(model).__name__, model.config.hidden_size, model.config.vocab_size
    ('ModernBertForMaskedLM', 32, 74)
    >>> abs(compared_parameters(model).total / compared_parameters(like).total - 1) < 0.03
    True
    """
    kmer_of(vocabulary)  # refuses what is none
    wanted = compared_parameters(like)
    if vocabulary == "cnn":
        config: Any = _cnn_config(wanted.total)
        model_class: Any = CNNForSequenceClassification
        smallest = None
    else:
        if tokenizer is None:
            if vocabulary == "bpe":
                raise ValueError("vocabulary 'bpe' has the size of its tokenizer: give it")
            tokenizer = build_baseline_tokenizer(vocabulary)
        config, smallest = _modernbert_config(like, len(tokenizer), wanted.total, tolerance)
        model_class = ModernBertForMaskedLM
    with torch.device("meta"):
        found = compared_parameters(model_class(config))
    if abs(found.total / wanted.total - 1) > tolerance:
        raise ValueError(_why_unequal(vocabulary, found, wanted, smallest, tolerance))
    config.vocabulary = vocabulary
    return model_class(config)


def _why_unequal(
    vocabulary: str,
    found: ComparedParameters,
    wanted: ComparedParameters,
    smallest: ComparedParameters | None,
    tolerance: float,
) -> str:
    way_out = "give another size"
    if smallest is not None and smallest.total > wanted.total:
        way_out = (
            f"the least that this width and depth can have is {smallest}: compare with a larger model, whose codec, "
            "depth or intermediate_size takes up as much"
        )
    return (
        f"vocabulary {vocabulary!r}: vocabulary and backbone would have {found} parameters, "
        f"{found.total / wanted.total - 1:+.1%} beside the VQDNA model's {wanted}, and {tolerance:.0%} is allowed: "
        f"{way_out}, or allow more (--parameter_tolerance) and say so"
    )


def _modernbert_config(
    like: VQDNAConfig, vocab_size: int, wanted: int, tolerance: float
) -> tuple[ModernBertConfig, ComparedParameters]:
    """The configuration with the nearest number of parameters, and the least number there can be."""
    shared = {name: getattr(like, name) for name in _SHARED}
    pooling = "cls" if like.classifier_pooling == "cls" else "mean"

    def configured(intermediate_size: int) -> ModernBertConfig:
        return ModernBertConfig(
            **shared,
            vocab_size=vocab_size,
            intermediate_size=intermediate_size,
            classifier_pooling=pooling,
            pad_token_id=PAD_ID,
            bos_token_id=CLS_ID,
            eos_token_id=SEP_ID,
            cls_token_id=CLS_ID,
            sep_token_id=SEP_ID,
        )

    with torch.device("meta"):
        one, two = (compared_parameters(ModernBertModel(configured(size))) for size in (1, 2))
    exact = 1 + (wanted - one.total) / (two.total - one.total)
    rounded = max(_STEP, _STEP * round(exact / _STEP))
    if abs(rounded - exact) * (two.total - one.total) > tolerance * wanted:
        rounded = max(1, round(exact))
    return configured(rounded), one


def _cnn_config(wanted: int) -> CNNConfig:
    """As many channels as nine tenths of the parameters allow; the dense layer takes the rest."""
    plain = CNNConfig()

    def counted(width: int, dense: int) -> int:
        with torch.device("meta"):
            return compared_parameters(
                CNNForSequenceClassification(CNNConfig(hidden_size=width, dense_size=dense))
            ).total

    width = max(1, isqrt(int((1 - _DENSE_SHARE) * wanted / plain.kernel_size / (plain.num_layers - 1))))
    while width > 1 and counted(width, 1) > (1 - _DENSE_SHARE) * wanted:
        width -= 1
    dense = 1 + round((wanted - counted(width, 1)) / (2 * width + 1))
    return CNNConfig(hidden_size=width, dense_size=max(1, dense))


def load_baseline_classifier(
    path: str | PathLike, num_labels: int, random_init: bool = False, **overrides: Any
) -> tuple[PreTrainedModel, SequenceEncoder]:
    """Load a baseline for fine-tuning, and what turns sequences into its tokens.

    Args:
        path: a folder that `examples/run_baseline.py` wrote, or one that was fine-tuned from it.
        num_labels: classes; where the folder has a classifier for another number, it starts anew.
        random_init: random weights: the control that says what pre-training is worth.
        overrides: keys of the configuration, such as `problem_type`.

    Returns:
        The model, and a function of a list of sequences that gives `input_ids` and `attention_mask` as the stock
        tokenizer does, which it has as `.tokenizer` (for `DataCollatorWithPadding`).

    Raises:
        ValueError: if the folder holds no baseline, or its weights do not fit.

    Example:

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> config = CNNConfig(hidden_size=8, dense_size=4)
    >>> config.vocabulary = "cnn"
    >>> CNNForSequenceClassification(config).save_pretrained(folder)
    >>> _ = build_baseline_tokenizer("cnn").save_pretrained(folder)
    >>> model, tokenize = load_baseline_classifier(folder, num_labels=5)
    >>> tokenize(["ACGT", "acn"])["input_ids"]
    [[2, 5, 6, 7, 8, 3], [2, 5, 6, 9, 3]]
    >>> model(**tokenize(["ACGT"], return_tensors="pt")).logits.shape
    torch.Size([1, 5])
    """
    config, encoder = _read_baseline(path)
    model = load_pretrained(_CLASSIFIERS[config.model_type], path, HEAD, num_labels=num_labels, **overrides)
    if random_init:
        model = type(model)(model.config)
    return model.eval(), encoder


def _read_baseline(path: str | PathLike) -> tuple[Any, SequenceEncoder]:
    """Configuration and tokens of a folder, which must belong together."""
    if not (Path(path) / "config.json").is_file():
        raise ValueError(f"{path}: not a baseline's folder: it holds no config.json")
    config = AutoConfig.from_pretrained(path)
    if config.model_type not in _CLASSIFIERS or not hasattr(config, "vocabulary"):
        raise ValueError(
            f"{path}: holds a model of type {config.model_type} that is no baseline: give a folder of "
            "examples/run_baseline.py"
        )
    encoder = SequenceEncoder.from_pretrained(path)
    if encoder.vocabulary != config.vocabulary or len(encoder.bases) != config.vocab_size:
        raise ValueError(
            f"{path}: the model reads {config.vocabulary} ({config.vocab_size} tokens) and the tokenizer gives "
            f"{encoder.vocabulary} ({len(encoder.bases)}): get the folder anew from where it was saved"
        )
    return config, encoder
