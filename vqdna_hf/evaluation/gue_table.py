# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Runs on GUE in sum: mean and standard deviation a set, what collapsed, and what other papers report."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vqdna_hf.evaluation.gue_labels import model_key, model_labels, protocol_labels, recipe_key
from vqdna_hf.evaluation.gue_protocol import (
    GUE_GROUPS,
    GUE_SIZES,
    PUBLISHED_GROUP_MEANS,
    PUBLISHED_SCORES,
    SOURCES,
    group_of,
    protocol_for,
)

__all__ = ["gue_table", "summarize_gue"]

MIN_SEEDS = 3
_WORDS = {"matthews_correlation": "MCC", "f1": "macro-F1"}
_WITHOUT = {"overlap": "without overlap", "near": "without shared 50-mers"}


def summarize_gue(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Add up the records of single runs.

    Runs are of one row if weights, variant, all values of the protocol, precision and data are the same, whatever the
    folders are called. Runs of one row with the same seed are copies: the first counts.

    Args:
        records: of kind `gue`, from `read_records`; of one model or several.

    Returns:
        `rows`, one for each model, protocol and set: `model`, `protocol` (as short as tells them apart), `set`,
        `group`, `metric`, `seeds`, `values` (x 100, in the order of the seeds), `n`, `copies` (runs left out), `mean`,
        `sd` (of the sample; None for one run), `collapsed` (runs that gave one class only, or diverged: they count in
        the mean), `mean_of_others`, `overlap` (test sequences that also stand in train), `mean_without_overlap`,
        `sd_without_overlap`, `near` (those that share 50 bases in a row with train; None in records that do not say
        it), `mean_without_near`, `sd_without_near`, `contradicted` (those whose copy in train has another label),
        `is_gue_score` (the published protocol, a set of GUE, three seeds or more), `published` (other papers'
        numbers), `steps`, `seconds` a run. `groups`, one for each model, protocol and group: `sets`, `of`, `mean` over
        sets, `published`.

    Example:

    >>> summarize_gue([])
    {'rows': [], 'groups': []}
    """
    runs: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for record in records:
        results = record["results"]
        runs.setdefault((model_key(results), recipe_key(results), results["set"]), []).append(record)
    firsts = {key: of_key[0]["results"] for key, of_key in runs.items()}
    of_model = model_labels({key[0]: results for key, results in firsts.items()})
    models = {key: of_model[key[0]] for key in runs}
    protocols = protocol_labels(firsts, models)
    order = sorted(runs, key=lambda key: (models[key], protocols[key], key[2], key))
    rows = [_row(models[key], protocols[key], key[2], runs[key]) for key in order]
    return {"rows": rows, "groups": _groups(rows)}


def _row(model: str, protocol: str, name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    of_seed: dict[int, Mapping[str, Any]] = {}
    for record in records:
        of_seed.setdefault(record["seeds"][0], record["results"])
    results = [of_seed[seed] for seed in sorted(of_seed)]
    metric = results[0]["protocol"]["metric"]
    values = [100 * result["test"][metric] for result in results]
    flagged = [bool(result["collapsed"] or result["diverged"]) for result in results]
    sound = [value for value, flag in zip(values, flagged, strict=True) if not flag]
    return {
        "model": model,
        "protocol": protocol,
        "set": name,
        "group": group_of(name),
        "metric": metric,
        "seeds": sorted(of_seed),
        "values": values,
        "n": len(values),
        "copies": len(records) - len(values),
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "collapsed": sum(flagged),
        "mean_of_others": statistics.fmean(sound) if sound else None,
        **_without("overlap", results, metric),
        **_without("near", results, metric),
        "contradicted": results[0].get("contradicted"),
        "is_gue_score": _is_published(results[0]) and len(values) >= MIN_SEEDS,
        "published": PUBLISHED_SCORES.get(name, {}),
        "steps": results[0]["steps"],
        "seconds": statistics.fmean(result["seconds"] for result in results),
    }


def _without(what: str, results: Sequence[Mapping[str, Any]], metric: str) -> dict[str, Any]:
    """How many test sequences train tells something of, and the metric on the others."""
    rest = [result.get(f"test_without_{what}") for result in results]
    values = [100 * one[metric] for one in rest if one is not None]
    return {
        what: results[0].get(what),
        f"mean_without_{what}": statistics.fmean(values) if values else None,
        f"sd_without_{what}": statistics.stdev(values) if len(values) > 1 else None,
    }


def _is_published(results: Mapping[str, Any]) -> bool:
    return bool(results["is_gue"]) and dict(results["protocol"]) == protocol_for(results["set"]).as_dict()


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
    head = ["model", "protocol", "set", "metric", "measured x 100", "runs", "collapsed", *_WITHOUT.values()]
    lines = [_line([*head, *SOURCES]), _line(["---"] * 4 + ["---:"] * (len(head) - 4 + len(SOURCES)))]
    lines += [_line([*_measured(row), *_papers(row["published"])]) for row in rows]
    if summary["groups"]:
        head = ["model", "protocol", "group", "sets", "mean x 100"]
        lines += ["", _line([*head, *SOURCES]), _line(["---"] * 3 + ["---:"] * (len(head) - 3 + len(SOURCES)))]
        for row in summary["groups"]:
            sets = f"{row['sets']} of {row['of']}"
            own = [_plain(row["model"]), _plain(row["protocol"]), row["group"], sets, f"{row['mean']:.2f}"]
            lines.append(_line([*own, *_papers(row["published"])]))
    return "\n".join([*lines, "", *_notes(rows, summary["groups"])]) + "\n"


def _measured(row: Mapping[str, Any]) -> list[str]:
    n = row["n"]
    return [
        _plain(row["model"]),
        _plain(row["protocol"]),
        _plain(row["set"]),
        _WORDS[row["metric"]],
        _plus_minus(row["mean"], row["sd"]) + ("" if row["is_gue_score"] else " *"),
        str(n),
        f"**{row['collapsed']} of {n}**" if row["collapsed"] else "0",
        *(_rest(row, what) for what in _WITHOUT),
    ]


def _rest(row: Mapping[str, Any], what: str) -> str:
    if row[what] is None:
        return "not counted"
    without = _plus_minus(row[f"mean_without_{what}"], row[f"sd_without_{what}"])
    return f"{without} ({row[what]})" if row[what] else "same (0)"


def _plain(name: str) -> str:
    """The name of a folder as the text of one cell, whatever Markdown or HTML it holds."""
    return re.sub(r"([\\|<`\[])", r"\\\1", " ".join(name.split()))


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
        "test sequences that do not also stand in train, on either strand (in brackets, how many do). Without shared "
        "50-mers: on those that have no 50 bases in a row in common with train, on either strand.",
    ]
    if any(row["protocol"].startswith("published") for row in rows):
        notes.append(
            "The published protocol is the budget of DNABERT-2's scripts; the best state on dev is chosen by the "
            "metric, once an epoch, where the scripts go by the loss, every 200 or 400 steps."
        )
    told = {(row["set"], row["contradicted"]) for row in rows if row["contradicted"]}
    if told:
        sets = ", ".join(f"{_plain(name)} {count}" for name, count in sorted(told))
        notes.append(f"Test sequences whose copy in train has another label: {sets}.")
    if copies := sum(row["copies"] for row in rows):
        notes.append(f"Runs of the same model, protocol, set and seed count once: {copies} are left out as copies.")
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
