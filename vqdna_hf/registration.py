# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Registration with Transformers' Auto classes and pipelines.

`import vqdna_hf` promises that `AutoModel.from_pretrained(folder)` finds our classes. Configurations and the tokenizer
are registered at once, which takes little beside Transformers' own Auto classes. What takes seconds to import waits
until it is needed: the models for the first configuration that is made, loaded or unpickled, which whoever asks an
Auto class for a model has; the pipeline for the first that is made.
"""

import contextlib
import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_PIPELINES = "transformers.pipelines"
_TASK = "dna-embedding"


def register() -> None:
    """Register what is quick to import, and see to the rest.

    Example:

    >>> import vqdna_hf  # calls it
    >>> from transformers import AutoConfig
    >>> type(AutoConfig.for_model("vqdna", num_hidden_layers=2))
    <class 'vqdna_hf.model.configuration_vqdna.VQDNAConfig'>
    """
    from transformers import AutoConfig, AutoTokenizer

    from .model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
    from .model.tokenization_vqdna import VQDNATokenizer

    for config_class in (VQDNACodecConfig, VQDNAConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        AutoTokenizer.register(config_class, tokenizer_class=VQDNATokenizer, exist_ok=True)
        _register_models_before_the_first(config_class)
    # Of a package that is imported anew there may be an older one. Marked, since its class is another one.
    sys.meta_path[:] = [finder for finder in sys.meta_path if not hasattr(finder, "registers_vqdna")]
    if _PIPELINES in sys.modules:
        _register_as_pipeline(DNAEmbeddingPipeline)
    else:
        sys.meta_path.insert(0, _AfterPipelines())


def _register_models_before_the_first(config_class: Any) -> None:
    """Let `__new__` register the models: it runs for copies and unpickled configurations too."""

    # `inspect.signature` reads `__new__` before `__init__`, and follows it to what it wraps.
    @functools.wraps(config_class.__init__, assigned=(), updated=())
    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        register_models()
        return super(config_class, cls).__new__(cls)

    config_class.__new__ = staticmethod(new)


@functools.cache
def register_models() -> None:
    """Register the models with the Auto classes, but not over what somebody else has; imports them."""
    from transformers import (
        AutoModel,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    from .model import modeling_vqdna as ours
    from .model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
    from .model.modeling_vqdna_codec import VQDNACodecModel

    classes: list[tuple[Any, Any, Any]] = [
        (AutoModel, VQDNACodecConfig, VQDNACodecModel),
        (AutoModel, VQDNAConfig, ours.VQDNAModel),
        (AutoModelForMaskedLM, VQDNAConfig, ours.VQDNAForMaskedLM),
        (AutoModelForSequenceClassification, VQDNAConfig, ours.VQDNAForSequenceClassification),
        (AutoModelForTokenClassification, VQDNAConfig, ours.VQDNAForTokenClassification),
    ]
    for auto, config_class, model_class in classes:
        if config_class not in auto._model_mapping:
            auto.register(config_class, model_class)


class _OnDemand(type):
    """A pipeline class that is imported when it is asked for anything: the real one answers, and is registered.

    Not before, since `transformers.pipelines` may be imported by the module that the real one is in, or by another
    thread than it: an import at that moment would be a circular one.
    """

    def __getattr__(cls, name: str) -> Any:
        return getattr(register_pipeline(), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return register_pipeline()(*args, **kwargs)


class DNAEmbeddingPipeline(metaclass=_OnDemand):
    """Stands for the pipeline of that name."""


def register_pipeline() -> Any:
    """Register the pipeline itself; imports it, and returns it."""
    from .model.pipeline_vqdna import DNAEmbeddingPipeline as RealPipeline

    _register_as_pipeline(RealPipeline)
    return RealPipeline


def _register_as_pipeline(pipeline_class: Any) -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    found = PIPELINE_REGISTRY.supported_tasks.get(_TASK, {}).get("impl")
    if found is pipeline_class:
        return
    if found is not None and found.__name__ == pipeline_class.__name__:
        del PIPELINE_REGISTRY.supported_tasks[_TASK]  # or it would warn
    PIPELINE_REGISTRY.register_pipeline(_TASK, pipeline_class=pipeline_class, pt_model=AutoModel, type="text")


class _AfterPipelines(importlib.abc.MetaPathFinder):
    """Registers the pipeline once Transformers' pipelines are imported, and is gone."""

    registers_vqdna = True

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the other finders find it, with a loader that tells us."""
        if fullname != _PIPELINES:
            return None
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec.loader)
        return spec


class _Telling(importlib.abc.Loader):
    """A loader that gives its place back to the module's own before it begins."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As the module's own; then the pipeline is registered."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _register_as_pipeline(DNAEmbeddingPipeline)
