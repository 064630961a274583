# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Which class of this package a folder was saved from, and adapters merged into their base."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from vqdna_hf.model.modeling_vqdna import (
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel
from vqdna_hf.training.finetuning import load_adapter

_CLASSES: dict[str, type[PreTrainedModel]] = {
    cls.__name__: cls
    for cls in (
        VQDNACodecModel,
        VQDNAModel,
        VQDNAForMaskedLM,
        VQDNAForSequenceClassification,
        VQDNAForTokenClassification,
    )
}
# PEFT's word for the task, and the class that adapters of this package are trained in for it.
_CLASS_OF_TASK = {
    "SEQ_CLS": "VQDNAForSequenceClassification",
    "TOKEN_CLS": "VQDNAForTokenClassification",
    "FEATURE_EXTRACTION": "VQDNAModel",
}


def saved_class(path: str | Path, config: dict[str, Any]) -> type[PreTrainedModel]:
    """The class of this package that a configuration was saved from.

    Args:
        path: of the configuration, for the message.
        config: its content.

    Raises:
        ValueError: if `architectures` names no class of this package.

    Example:

    >>> saved_class("config.json", {"architectures": ["VQDNAForMaskedLM"]}).__name__
    'VQDNAForMaskedLM'
    """
    architecture = config.get("architectures")
    if isinstance(architecture, list) and architecture:
        architecture = architecture[0]
    if not isinstance(architecture, str) or architecture not in _CLASSES:
        raise ValueError(f"{path}: architectures names {architecture!r}, and it must be one of {sorted(_CLASSES)}")
    return _CLASSES[architecture]


def merge_adapter(run: str | Path, **overrides: Any) -> PreTrainedModel:
    """Adapters of a finished run, merged into their base.

    Args:
        run: the adapters' folder.
        overrides: of `load_adapter`.

    Raises:
        ValueError: as `load_adapter`, or if the adapters were trained in none of this package's classes.
    """
    file = Path(run) / "adapter_config.json"
    adapter = json.loads(file.read_text())
    name = (adapter.get("auto_mapping") or {}).get("base_model_class")
    name = _CLASS_OF_TASK.get(str(adapter.get("task_type")), name)
    return load_adapter(saved_class(file, {"architectures": [name]}), run, **overrides).merge_and_unload()
