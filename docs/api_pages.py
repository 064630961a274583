"""An mkdocs hook: `{{ names of MODULE }}` on a page becomes one entry for each public name of that module.

So a name that is added to `__all__` is in the documentation, and one that has no docstring fails the build.
"""

import importlib
import inspect
import re
from typing import Any

_PLACEHOLDER = re.compile(r"^\{\{ names of ([\w.]+) \}\}$", flags=re.MULTILINE)


def _entries(match: re.Match[str]) -> str:
    name = match.group(1)
    module = importlib.import_module(name)
    lines = []
    for public in sorted(module.__all__, key=lambda item: (not inspect.isclass(getattr(module, item)), item.lower())):
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isfunction(value):
            if not inspect.getdoc(value):
                raise ValueError(f"{name}.{public} has no docstring")
            lines.append(f"::: {value.__module__}.{public}\n")
        else:
            lines.append(f"### {public}\n\n`{value!r}`\n")
    return "\n".join(lines)


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Fill in the placeholders of a page."""
    return _PLACEHOLDER.sub(_entries, markdown)
