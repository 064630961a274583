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
    AutoTokenizer,
)
from transformers.pipelines import PIPELINE_REGISTRY

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

AutoConfig.register("vqdna_codec", VQDNACodecConfig)
AutoConfig.register("vqdna", VQDNAConfig)
AutoModel.register(VQDNACodecConfig, VQDNACodecModel)
AutoModel.register(VQDNAConfig, VQDNAModel)
AutoModelForMaskedLM.register(VQDNAConfig, VQDNAForMaskedLM)
AutoModelForSequenceClassification.register(VQDNAConfig, VQDNAForSequenceClassification)
AutoModelForTokenClassification.register(VQDNAConfig, VQDNAForTokenClassification)
AutoTokenizer.register(VQDNAConfig, tokenizer_class=VQDNATokenizer)
AutoTokenizer.register(VQDNACodecConfig, tokenizer_class=VQDNATokenizer)
PIPELINE_REGISTRY.register_pipeline(
    "dna-embedding", pipeline_class=DNAEmbeddingPipeline, pt_model=AutoModel, type="text"
)
