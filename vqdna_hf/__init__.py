"""VQDNA for Transformers: genome language models whose vocabulary is learned.

Importing this package registers its classes with the Auto classes, so that nothing here needs
`trust_remote_code`. A saved folder carries the code of `vqdna_hf.model` and loads without this package.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from .model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
from .model.modeling_vqdna import (
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
)
from .model.modeling_vqdna_codec import VQDNACodecModel
from .model.quantization_vqdna import Codebook, HierarchicalResidualQuantizer, VectorQuantizer
from .model.tokenization_vqdna import build_tokenizer, reverse_complement, reverse_complement_ids

__version__ = "0.1.0"

__all__ = [
    "Codebook",
    "HierarchicalResidualQuantizer",
    "VQDNACodecConfig",
    "VQDNACodecModel",
    "VQDNAConfig",
    "VQDNAForMaskedLM",
    "VQDNAForSequenceClassification",
    "VQDNAForTokenClassification",
    "VQDNAModel",
    "VectorQuantizer",
    "build_tokenizer",
    "reverse_complement",
    "reverse_complement_ids",
]

AutoConfig.register("vqdna_codec", VQDNACodecConfig)
AutoConfig.register("vqdna", VQDNAConfig)
AutoModel.register(VQDNACodecConfig, VQDNACodecModel)
AutoModel.register(VQDNAConfig, VQDNAModel)
AutoModelForMaskedLM.register(VQDNAConfig, VQDNAForMaskedLM)
AutoModelForSequenceClassification.register(VQDNAConfig, VQDNAForSequenceClassification)
AutoModelForTokenClassification.register(VQDNAConfig, VQDNAForTokenClassification)
