# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What tells one run on GUE from another, and names for tables that are as short as tells them apart."""

import hashlib
import json
from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

from vqdna_hf.evaluation.gue_protocol import protocol_for

__all__ = ["model_key", "model_labels", "protocol_labels", "recipe_key"]

Key = TypeVar("Key", bound=Hashable)
_SHORT = 8  # digits of a digest


def model_key(results: Mapping[str, Any]) -> str:
    """The same for runs of the same weights and variant, wherever they lay.

    >>> model_key({"checkpoint": {"name": "a", "variant": "", "sha256": {"m": "0"}}})
    '[{"m": "0"}, "", null]'
    """
    checkpoint = results["checkpoint"]
    return _text([_weights(checkpoint), checkpoint["variant"], checkpoint.get("lora")])


def recipe_key(results: Mapping[str, Any]) -> str:
    """The same for runs of the same protocol, precision and data.

    >>> recipe_key({"protocol": {"name": "cpu"}, "precision": "float32"})
    '[{"name": "cpu"}, "float32", null]'
    """
    return _text([results["protocol"], results.get("precision"), results.get("data")])


def model_labels(results: Mapping[Key, Mapping[str, Any]]) -> dict[Key, str]:
    """A name for each model: that of its folder, and where several have it, with the folder above or a checksum.

    Args:
        results: of a run of each model.

    Example:

    >>> checkpoints = [{"name": "seed-0", "variant": "", "sha256": {"m": str(sum)}} for sum in range(2)]
    >>> folders = ["small/seed-0", "large/seed-0"]
    >>> model_labels({n: {"checkpoint": checkpoints[n], "folder": folders[n]} for n in range(2)})
    {0: 'small/seed-0', 1: 'large/seed-0'}
    """
    weights = {key: _text(_weights(one["checkpoint"])) for key, one in results.items()}
    sources = {weights[key]: results[key] for key in reversed(list(results))}
    shorts = {weight: one["checkpoint"]["name"] for weight, one in sources.items()}
    longer = {weight: one.get("folder", shorts[weight]) for weight, one in sources.items()}
    longest = {weight: f"{longer[weight]} {_digest(weight)}" for weight in sources}
    names = _distinct(_distinct(shorts, longer), longest)
    labels, with_adapters = {}, {}
    for key, one in results.items():
        variant, lora = one["checkpoint"]["variant"], one["checkpoint"].get("lora")
        labels[key] = names[weights[key]] + (f" ({variant})" if variant else "")
        adapters = f"rank, scale, dropout {lora}" if lora else ""
        with_adapters[key] = names[weights[key]] + f" ({', '.join(word for word in (variant, adapters) if word)})"
    return _distinct(labels, with_adapters)


def protocol_labels(results: Mapping[Key, Mapping[str, Any]], models: Mapping[Key, str]) -> dict[Key, str]:
    """A name for the protocol of each row: its own, and what differs from other rows of the model under that name.

    Args:
        results: of a run of each row.
        models: the name of each row's model.

    Example:

    >>> rows = {steps: protocol_for("tf/0", "cpu", {"max_steps": steps}).as_dict() for steps in (2, 3)}
    >>> results = {steps: {"set": "tf/0", "protocol": protocol} for steps, protocol in rows.items()}
    >>> protocol_labels(results, {2: "tiny", 3: "tiny"})
    {2: 'cpu, changed: max_steps 2', 3: 'cpu, changed: max_steps 3'}
    """
    families: dict[tuple[str, str], list[Key]] = {}
    for key, one in results.items():
        families.setdefault((models[key], one["protocol"]["name"]), []).append(key)
    labels: dict[Key, str] = {}
    for (_, name), keys in families.items():
        changes = {key: _changes(results[key]) for key in keys}
        words = sorted({word for one in changes.values() for word in one})
        differing = [word for word in words if len({_text(one.get(word)) for one in changes.values()}) > 1]
        for key in keys:
            said = [f"{word} {changes[key][word]}" for word in differing if word in changes[key]]
            labels[key] = name + (f": {', '.join(said)}" if said else "")
    places = {key: (models[key], labels[key], one["set"]) for key, one in results.items()}
    taken = list(places.values())
    return {
        key: label + (f", data {_digest(_text(results[key].get('data')))}" if taken.count(places[key]) > 1 else "")
        for key, label in labels.items()
    }


def _changes(results: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are not those of the protocol for this set, and the precision."""
    protocol = results["protocol"]
    base = protocol["name"].partition(",")[0]
    own = protocol_for(results["set"], base).as_dict() if base in ("published", "cpu") else {}
    changes = {word: value for word, value in protocol.items() if word != "name" and value != own.get(word)}
    return changes | ({"precision": results["precision"]} if "precision" in results else {})


def _distinct(labels: Mapping[Key, str], longer: Mapping[Key, str]) -> dict[Key, str]:
    """The longer ones where several have the same."""
    taken = list(labels.values())
    return {key: longer[key] if taken.count(label) > 1 else label for key, label in labels.items()}


def _weights(checkpoint: Mapping[str, Any]) -> Any:
    return checkpoint.get("sha256") or checkpoint["name"]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SHORT]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
