# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Registration with Transformers' Auto classes and pipelines, at the moment when these are there to be used.

`import vqdna_hf` promises that `AutoModel.from_pretrained(folder)` finds our classes. Registering at once would cost
what using them costs: the import of `transformers.models` alone reads some 1,700 files, and the modelling code brings a
compiler and half of SciPy. So it waits for what comes first:

- Transformers' configuration mapping is imported: it gets stand-ins for our configurations, which import nothing. More
  is not possible there, because Transformers may be half imported itself.
- Transformers' tokenizer mapping or pipelines are imported: what these need of Transformers is there, and our
  configurations and tokenizer, or the pipeline, are registered themselves.
- A configuration of ours is made, loaded or unpickled: whoever asks an Auto class for a model has one. Now the models
  are registered.

Transformers has no place for a name instead of a class that would do, so the import of these few modules is watched.
All else is its public `register` functions.
"""

import functools
import importlib
import importlib.abc
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_OURS = "vqdna_hf.model."
_CONFIGURATIONS = "vqdna_hf.model.configuration_vqdna"


class _OnDemand(type):
    """A configuration class that is imported when it is asked for anything: the real one answers, and is registered."""

    def __getattr__(cls, name: str) -> Any:
        return getattr(cls._real(), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls._real()(*args, **kwargs)

    def _real(cls) -> Any:
        return getattr(importlib.import_module(_CONFIGURATIONS), cls.__name__)


class VQDNACodecConfig(metaclass=_OnDemand):
    """Stands for the configuration of that name."""

    model_type = "vqdna_codec"


class VQDNAConfig(metaclass=_OnDemand):
    """Stands for the configuration of that name."""

    model_type = "vqdna"


def _announce_configurations() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    for stand_in in (VQDNACodecConfig, VQDNAConfig):
        AutoConfig.register(stand_in.model_type, stand_in, exist_ok=True)


def _load_configurations() -> None:
    importlib.import_module(_CONFIGURATIONS)  # after which they are registered


def _register_configurations() -> None:
    from transformers import AutoConfig, AutoTokenizer

    from .model import configuration_vqdna as ours
    from .model.tokenization_vqdna import VQDNATokenizer

    for config_class in (ours.VQDNACodecConfig, ours.VQDNAConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        AutoTokenizer.register(config_class, tokenizer_class=VQDNATokenizer, exist_ok=True)
        _register_models_before_the_first(config_class)


def _register_models_before_the_first(config_class: Any) -> None:
    """Let `__new__` register the models: it runs for copies and unpickled configurations too."""

    # `inspect.signature` reads `__new__` before `__init__`, and follows it to what it wraps.
    @functools.wraps(config_class.__init__, assigned=(), updated=())
    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        register_models()
        return object.__new__(cls)

    config_class.__new__ = staticmethod(new)


@functools.cache
def register_models() -> None:
    """Register the models with the Auto classes; imports them."""
    from transformers import (
        AutoModel,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    from .model import modeling_vqdna as ours
    from .model.configuration_vqdna import VQDNACodecConfig, VQDNAConfig
    from .model.modeling_vqdna_codec import VQDNACodecModel

    AutoModel.register(VQDNACodecConfig, VQDNACodecModel, exist_ok=True)
    AutoModel.register(VQDNAConfig, ours.VQDNAModel, exist_ok=True)
    AutoModelForMaskedLM.register(VQDNAConfig, ours.VQDNAForMaskedLM, exist_ok=True)
    AutoModelForSequenceClassification.register(VQDNAConfig, ours.VQDNAForSequenceClassification, exist_ok=True)
    AutoModelForTokenClassification.register(VQDNAConfig, ours.VQDNAForTokenClassification, exist_ok=True)


def _register_pipeline() -> None:
    from transformers import AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from .model.pipeline_vqdna import DNAEmbeddingPipeline

    PIPELINE_REGISTRY.register_pipeline(
        "dna-embedding", pipeline_class=DNAEmbeddingPipeline, pt_model=AutoModel, type="text"
    )


_AFTER_IMPORT: dict[str, Callable[[], None]] = {
    "transformers.models.auto.configuration_auto": _announce_configurations,
    "transformers.models.auto.tokenization_auto": _load_configurations,
    "transformers.pipelines": _register_pipeline,
    _CONFIGURATIONS: _register_configurations,
}


class _Watch(importlib.abc.MetaPathFinder):
    """Does what is due after the import of the modules above, once no module of ours is half imported."""

    def __init__(self) -> None:
        self._state = threading.local()  # another thread's half-imported module is waited for, by its lock

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As the other finders find it, with a loader that tells us."""
        if fullname not in _AFTER_IMPORT and not fullname.startswith(_OURS):
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Telling(spec.loader, self)
        return spec

    def executed(self, module: ModuleType, loader: Any) -> None:
        """Execute the module, and then what is due."""
        ours = module.__name__.startswith(_OURS)
        state = vars(self._state)
        state["depth"] = state.get("depth", 0) + ours
        try:
            loader.exec_module(module)
        finally:
            state["depth"] -= ours
        due = state.setdefault("due", [])
        if module.__name__ in _AFTER_IMPORT:
            due.append(_AFTER_IMPORT[module.__name__])
        while due and not state["depth"]:
            due.pop(0)()


class _Telling(importlib.abc.Loader):
    """A loader that gives its place back to the module's own before it begins."""

    def __init__(self, loader: Any, watch: _Watch) -> None:
        self._loader = loader
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """As the module's own, under the eyes of the watch."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._watch.executed(module, self._loader)


def register_when_used() -> None:
    """Register at once with what is imported already, and with the rest when it is.

    Example:

    >>> import vqdna_hf  # calls it
    >>> from transformers import AutoConfig
    >>> type(AutoConfig.for_model("vqdna", num_hidden_layers=2))
    <class 'vqdna_hf.model.configuration_vqdna.VQDNAConfig'>
    """
    sys.meta_path.insert(0, _Watch())
    for name, action in _AFTER_IMPORT.items():
        if name in sys.modules:
            importlib.import_module(name)  # waits where another thread is at it
            action()
