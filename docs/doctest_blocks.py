"""A griffe extension: the doctests of a docstring's `Example:` are shown as code, not as quotations."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^Example:\n\n(.*)\Z", flags=re.MULTILINE | re.DOTALL)


def _as_section(match: re.Match[str]) -> str:
    """Google's form of the section: `Examples:` with everything below it indented."""
    lines = [f"    {line}" if line.strip() else "" for line in match.group(1).splitlines()]
    return "Examples:\n" + "\n".join(lines)


class DoctestBlocks(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called once for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(_as_section, obj.docstring.value)
