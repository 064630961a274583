# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A classifier to fine-tune, from any folder: a checkpoint of ours, or a model and a tokenizer of Transformers."""

import json
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    set_seed,
)

from vqdna_hf.data import LabelledSequences, decode_ids, encode_sequence
from vqdna_hf.data.accessions import file_sha256
from vqdna_hf.evaluation.baselines import BASELINE_MODEL_TYPES, load_baseline_classifier
from vqdna_hf.model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from vqdna_hf.model.modeling_vqdna import VQDNAForSequenceClassification
from vqdna_hf.model.tokenization_vqdna import build_tokenizer
from vqdna_hf.training import HEAD, add_lora, load_pretrained, random_initialization, tokenize_labelled

__all__ = ["Tokenize", "Variant", "checkpoint_identity", "load_classifier"]

_OUR_TYPES = (VQDNAConfig.model_type, VQDNACodecConfig.model_type)
_IDENTITY_FILES = ("config.json", "tokenizer.json", "vocab.txt")
# Beside our own names, those that Transformers gives a classifier's layers.
_HEADS = (*HEAD, "score.", "pooler.", "bert.pooler.", "classification_head.")
_FILL_BASES, _FILL_SEQUENCES = 512, 64


@dataclass(frozen=True)
class Variant:
    """What is done to a checkpoint before it is trained.

    Args:
        random_init: the same architecture with random weights: the control.
        use_lora: train adapters and the head alone.
        lora_r, lora_alpha, lora_dropout: of the adapters.
        average_strands: average the logits of both strands; for checkpoints of ours.

    Raises:
        ValueError: if the adapters have no rank or no scale.

    Example:

    >>> Variant(random_init=True).label
    'random weights'
    """

    random_init: bool = False
    use_lora: bool = False
    lora_r: int = 8
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    average_strands: bool = False

    def __post_init__(self) -> None:
        for name, value in (("lora_r", self.lora_r), ("lora_alpha", self.lora_alpha)):
            if value < 1:
                raise ValueError(f"{name}={value}: adapters need 1 or more")

    @property
    def label(self) -> str:
        """In words; empty for the plain checkpoint."""
        words = {"random weights": self.random_init, "LoRA": self.use_lora, "both strands": self.average_strands}
        return ", ".join(word for word, on in words.items() if on)


@dataclass(frozen=True)
class Tokenize:
    """Labelled sequences to a data set of token ids, and batches of those.

    Args:
        tokenizer: one of Transformers'.
        max_tokens: that the model reads, special ones included.
        spell_out: write sequences in the letters A, C, G, T, N first, which is all that other tokenizers know.

    Example:

    >>> tokenize = Tokenize(build_tokenizer(), 8)
    >>> tokenize(LabelledSequences(["ACG"], None, ["1"], "train.csv"), [1])["input_ids"][0]
    [2, 5, 6, 7, 3]
    """

    tokenizer: Any
    max_tokens: int
    spell_out: bool = False
    collator: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "collator", DataCollatorWithPadding(self.tokenizer))

    def __call__(self, data: LabelledSequences, labels: list[int]) -> Dataset:
        """`input_ids`, `attention_mask`, `labels`, a row a sequence.

        Raises:
            ValueError: if a sequence is longer than the model reads.
        """
        if self.spell_out:
            pairs = None if data.pairs is None else [_spelt(text, data.path) for text in data.pairs]
            data = replace(data, sequences=[_spelt(text, data.path) for text in data.sequences], pairs=pairs)
        way_out = "this model reads no more: cut the sequences in the file, or name the other sets alone (--set)"
        return tokenize_labelled(data, labels, self.tokenizer, self.max_tokens, way_out=way_out)


def _spelt(text: str, path: str) -> str:
    return decode_ids(encode_sequence(text, where=path))


def load_classifier(
    path: str | PathLike,
    num_labels: int,
    seed: int,
    random_init: bool = False,
    *,
    variant: Variant | None = None,
) -> tuple[Any, Tokenize]:
    """Load a folder as a classifier with a new head.

    Args:
        path: a checkpoint of this package, a baseline of `examples/run_baseline.py`, or any folder that
            `AutoModelForSequenceClassification` and `AutoTokenizer` load. Code in it is never run.
        num_labels: classes.
        seed: of the new head, and of random weights.
        random_init: as in `Variant`, for callers who need nothing else of it.
        variant: what is done to it.

    Returns:
        The model, in training mode, and what makes a data set for it.

    Raises:
        ValueError: if it cannot be loaded: no folder, no weights, a codec alone, parts missing; or the variant is not
            for this model.

    Example:

    >>> load_classifier("no/such/folder", 2, seed=0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: no/such/folder: no such model folder (in ...): ...
    """
    variant = variant or Variant(random_init=random_init)
    folder = Path(path)
    config = _read_config(folder)
    set_seed(seed)
    if config.get("model_type") in _OUR_TYPES:
        model, tokenize = _load_ours(folder, num_labels, seed, variant)
    else:
        for flag, wanted in (("--average-strands", variant.average_strands), ("--use-lora", variant.use_lora)):
            if wanted:
                raise ValueError(f"{folder}: {flag} is for checkpoints of this package")
        if config.get("model_type") in BASELINE_MODEL_TYPES and "vocabulary" in config:
            model, encoder = load_baseline_classifier(folder, num_labels, variant.random_init)
            tokenize = Tokenize(encoder.tokenizer, _longest(model, encoder.tokenizer), spell_out=True)
        else:
            model, tokenize = _load_any(folder, num_labels, variant)
    if variant.use_lora:
        set_seed(seed)
        model = add_lora(model, variant.lora_r, variant.lora_alpha, variant.lora_dropout)
    return model.train(), tokenize


def checkpoint_identity(path: str | PathLike, variant: Variant) -> dict[str, Any]:
    """What tells one model under test from another: name, variant, and a checksum of weights and configuration.

    Raises:
        ValueError: if the folder holds no model.

    Example:

    >>> import tempfile
    >>> checkpoint_identity(tempfile.mkdtemp(), Variant())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...: not a model's folder: it holds no config.json
    """
    folder = Path(path)
    config = _read_config(folder)
    names = [name for name in _IDENTITY_FILES if (folder / name).is_file()]
    weights = sorted(file.name for file in folder.glob("*.safetensors"))
    if not weights:
        raise ValueError(f"{folder}: holds no weights (*.safetensors); pickled ones are not read")
    return {
        "name": folder.resolve().name,
        "variant": variant.label,
        "model_type": config.get("model_type"),
        "lora": [variant.lora_r, variant.lora_alpha, variant.lora_dropout] if variant.use_lora else None,
        "sha256": {name: file_sha256(folder / name) for name in [*names, *weights]},
    }


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: no such model folder (in {Path.cwd()}): a model of the Hub must be here before it is measured "
            "(hf download ORG/NAME --local-dir FOLDER)"
        )
    if (folder / "adapter_config.json").is_file():
        raise ValueError(f"{folder}: holds adapters: merge them into their base first (vqdna export), and give that")
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: not a model's folder: it holds no config.json")
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'}: is no JSON object")
    return config


def _load_ours(folder: Path, num_labels: int, seed: int, variant: Variant) -> tuple[PreTrainedModel, Tokenize]:
    overrides: dict[str, Any] = {"num_labels": num_labels, "problem_type": "single_label_classification"}
    if variant.average_strands:
        overrides["average_strands"] = True
    model = load_pretrained(VQDNAForSequenceClassification, folder, HEAD, **overrides)
    if variant.random_init:
        set_seed(seed)
        # Random codebooks are filled with latents of sequences: of random ones, so that no data set is favoured.
        model = random_initialization(model, torch.randint(5, 9, (_FILL_SEQUENCES, _FILL_BASES)))
    return model, Tokenize(build_tokenizer(), model.config.max_input_tokens)


def _load_any(folder: Path, num_labels: int, variant: Variant) -> tuple[PreTrainedModel, Tokenize]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if variant.random_init:
            config = AutoConfig.from_pretrained(folder, num_labels=num_labels, trust_remote_code=False)
            model, info = AutoModelForSequenceClassification.from_config(config), None
        else:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=num_labels,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        problem = " ".join(str(error).split())[:300]
        raise ValueError(f"{folder}: cannot be loaded as a classifier with a tokenizer: {problem}") from error
    if info is not None:
        absent = [*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])]
        if wrong := sorted(name for name in absent if not name.startswith(_HEADS)):
            raise ValueError(
                f"{folder}: weights are missing or of another shape: {', '.join(wrong[:3])} ({len(wrong)})"
            )
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{folder}: its tokenizer has no padding token, and batches need one")
    return model, Tokenize(tokenizer, _longest(model, tokenizer), spell_out=True)


def _longest(model: PreTrainedModel, tokenizer: Any) -> int:
    """Tokens that both can handle; a model without positions, such as a CNN, has no limit of its own."""
    limit = int(tokenizer.model_max_length)
    return min(limit, int(getattr(model.config, "max_position_embeddings", None) or limit))
