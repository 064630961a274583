"""What ships to the Hub: configurations, codec, quantizers, language model, tokenizer, pipeline, endpoint handler."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Import a module of this package when it is first asked for."""
    if not name.endswith("_vqdna") and name not in ("handler", "modeling_vqdna_codec"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from error
