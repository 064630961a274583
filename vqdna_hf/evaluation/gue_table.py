# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs on GUE in sum: mean and standard deviation a set, what collapsed, and what other papers report."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vqdna_hf.evaluation.gue_protocol import (
    GUE_GROUPS,
    GUE_SIZES,
    PUBLISHED_GROUP_MEANS,
    PUBLISHED_SCORES,
    SOURCES,
    group_of,
)

__all__ = ["gue_table", "summarize_gue"]

MIN_SEEDS = 3
_WORDS = {"matthews_correlation": "MCC", "f1": "macro-F1"}


def summarize_gue(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the records of single runs.

    Args:
        records: of kind `gue`, from `read_records`; of one model or several.

    Returns:
        `rows`, one for each model, protocol and set: `model`, `protocol`, `set`, `group`, `metric`, `seeds`, `values`
        (x 100, in the order of the seeds), `n`, `mean`, `sd` (of the sample; None for one run), `collapsed` (runs that
        gave one class only, or diverged: they count in the mean), `mean_of_others`, `overlap` (test sequences that
        also stand in train), `mean_without_overlap`, `sd_without_overlap`, `is_gue_score` (the published protocol, a
        set of GUE, three seeds or more), `published` (other papers' numbers), `seconds` a run. `groups`, one for each
        model, protocol and group: `sets`, `of`, `mean` over sets, `published`.

    Example:

    >>> summarize_gue([])
    {'rows': [], 'groups': []}
    """
    runs: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        results = record["results"]
        key = (_model_name(results["checkpoint"]), results["protocol"]["name"], results["set"])
        runs.setdefault(key, []).append(record)
    rows = [_row(*key, sorted(runs[key], key=lambda record: record["seeds"])) for key in sorted(runs)]
    return {"rows": rows, "groups": _groups(rows)}


def _model_name(checkpoint: Mapping[str, Any]) -> str:
    return checkpoint["name"] + (f" ({checkpoint['variant']})" if checkpoint["variant"] else "")


def _row(model: str, protocol: str, name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    results = [record["results"] for record in records]
    metric = results[0]["protocol"]["metric"]
    values = [100 * result["test"][metric] for result in results]
    others = [result["test_without_overlap"] for result in results]
    without = [100 * other[metric] for other in others if other is not None]
    flagged = [bool(result["collapsed"] or result["diverged"]) for result in results]
    sound = [value for value, flag in zip(values, flagged, strict=True) if not flag]
    return {
        "model": model,
        "protocol": protocol,
        "set": name,
        "group": group_of(name),
        "metric": metric,
        "seeds": [seed for record in records for seed in record["seeds"]],
        "values": values,
        "n": len(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "collapsed": sum(flagged),
        "mean_of_others": statistics.fmean(sound) if sound else None,
        "overlap": results[0]["overlap"],
        "mean_without_overlap": statistics.fmean(without) if without else None,
        "sd_without_overlap": statistics.stdev(without) if len(without) > 1 else None,
        "is_gue_score": protocol == "published" and results[0]["is_gue"] and len(values) >= MIN_SEEDS,
        "published": PUBLISHED_SCORES.get(name, {}),
        "steps": results[0]["steps"],
        "seconds": statistics.fmean(result["seconds"] for result in results),
    }


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    means: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row["group"] is not None:
            means.setdefault((row["model"], row["protocol"], row["group"]), []).append(row["mean"])
    of = {group: sum(group_of(name) == group for name in GUE_SIZES) for group in GUE_GROUPS}
    return [
        {
            "model": model,
            "protocol": protocol,
            "group": group,
            "sets": len(values),
            "of": of[group],
            "mean": statistics.fmean(values),
            "published": PUBLISHED_GROUP_MEANS[group],
        }
        for (model, protocol, group), values in means.items()
    ]


def gue_table(summary: Mapping[str, Any]) -> str:
    """The summary as Markdown: measured numbers first, those of other papers to the right, with their source.

    Args:
        summary: from `summarize_gue`.

    Returns:
        Two tables, the sets and the groups, and what they mean. Only runs of the published protocol on whole sets of
        GUE, with three seeds or more, are called GUE scores.

    Example:

    >>> gue_table({"rows": [], "groups": []})
    'No run yet.\\n'
    """
    rows = summary["rows"]
    if not rows:
        return "No run yet.\n"
    head = ["model", "protocol", "set", "metric", "measured x 100", "runs", "collapsed", "without overlap"]
    lines = [_line([*head, *SOURCES]), _line(["---"] * 4 + ["---:"] * (len(head) - 4 + len(SOURCES)))]
    lines += [_line([*_measured(row), *_papers(row["published"])]) for row in rows]
    if summary["groups"]:
        head = ["model", "protocol", "group", "sets", "mean x 100"]
        lines += ["", _line([*head, *SOURCES]), _line(["---"] * 3 + ["---:"] * (len(head) - 3 + len(SOURCES)))]
        for row in summary["groups"]:
            sets = f"{row['sets']} of {row['of']}"
            own = [row["model"], row["protocol"], row["group"], sets, f"{row['mean']:.2f}"]
            lines.append(_line([*own, *_papers(row["published"])]))
    return "\n".join([*lines, "", *_notes(rows, summary["groups"])]) + "\n"


def _measured(row: Mapping[str, Any]) -> list[str]:
    n, overlap = row["n"], row["overlap"]
    without = _plus_minus(row["mean_without_overlap"], row["sd_without_overlap"])
    return [
        row["model"],
        row["protocol"],
        row["set"],
        _WORDS[row["metric"]],
        _plus_minus(row["mean"], row["sd"]) + ("" if row["is_gue_score"] else " *"),
        str(n),
        f"**{row['collapsed']} of {n}**" if row["collapsed"] else "0",
        f"{without} ({overlap})" if overlap else "same (0)",
    ]


def _plus_minus(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "none left"
    return f"{mean:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def _papers(published: Mapping[str, float]) -> list[str]:
    return [f"{published[model]:.2f}" if model in published else "" for model in SOURCES]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _notes(rows: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = [
        "Measured: mean ± standard deviation over runs with different seeds, each on the whole test set. Collapsed "
        "runs (one class for every sequence, or a loss that is not finite) count in the mean. Without overlap: on the "
        "test sequences that do not also stand in train (in brackets, how many do).",
    ]
    if not all(row["is_gue_score"] for row in rows):
        notes.append(
            f"\\* No GUE score: that takes the published protocol unchanged, a set of GUE in full, and {MIN_SEEDS} "
            "seeds or more. Not to be compared with the papers' numbers beside it."
        )
    if any(row["sets"] < row["of"] for row in groups):
        notes.append("A group of which sets are missing has no mean that could be compared with a paper's.")
    models: dict[str, list[str]] = {}
    for model, source in SOURCES.items():
        models.setdefault(source, []).append(model)
    sources = "; ".join(f"{', '.join(names)}: {source}" for source, names in models.items())
    notes.append(f"To the right, what papers report, not measured here. {sources}.")
    return [line for note in notes for line in (note, "")][:-1]
