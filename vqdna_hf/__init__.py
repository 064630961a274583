"""VQDNA for Transformers: genome language models whose vocabulary is learned.

Importing this package registers its classes with the Auto classes, so that nothing here needs
`trust_remote_code`. A saved folder carries the code of `vqdna_hf.model` and loads without this package.

The names below are imported when they are first used: importing this package takes little beyond torch and
Transformers' Auto classes.
"""

import importlib
from typing import TYPE_CHECKING

from .registration import register, register_models, register_pipeline

if TYPE_CHECKING:
    from .model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
    from .model.modeling_vqdna import (
        VQDNAForMaskedLM,
        VQDNAForSequenceClassification,
        VQDNAForTokenClassification,
        VQDNAModel,
    )
    from .model.modeling_vqdna_codec import VQDNACodecModel
    from .model.pipeline_vqdna import DNAEmbeddingPipeline
    from .model.quantization_vqdna import Codebook, HierarchicalResidualQuantizer, VectorQuantizer
    from .model.tokenization_vqdna import VQDNATokenizer, build_tokenizer, reverse_complement, reverse_complement_ids

__version__ = "0.1.0"

__all__ = [
    "Codebook",
    "DNAEmbeddingPipeline",
    "HierarchicalResidualQuantizer",
    "VQDNACodecConfig",
    "VQDNACodecModel",
    "VQDNAConfig",
    "VQDNAForMaskedLM",
    "VQDNAForSequenceClassification",
    "VQDNAForTokenClassification",
    "VQDNAModel",
    "VQDNATokenizer",
    "VectorQuantizer",
    "build_tokenizer",
    "reverse_complement",
    "reverse_complement_ids",
]

_NAMES_OF = {
    "configuration_vqdna": ("VQDNACodecConfig", "VQDNAConfig"),
    "modeling_vqdna": (
        "VQDNAForMaskedLM",
        "VQDNAForSequenceClassification",
        "VQDNAForTokenClassification",
        "VQDNAModel",
    ),
    "modeling_vqdna_codec": ("VQDNACodecModel",),
    "pipeline_vqdna": ("DNAEmbeddingPipeline",),
    "quantization_vqdna": ("Codebook", "HierarchicalResidualQuantizer", "VectorQuantizer"),
    "tokenization_vqdna": ("VQDNATokenizer", "build_tokenizer", "reverse_complement", "reverse_complement_ids"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}

if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f".model.{_MODULE_OF[name]}", __name__), name)
        if _MODULE_OF[name] == "configuration_vqdna":
            register_models()  # now, and not over what somebody registers for this class from here on
        elif name == "DNAEmbeddingPipeline":
            register_pipeline()
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        """All public names, used or not."""
        return sorted({*globals(), *__all__})


register()
