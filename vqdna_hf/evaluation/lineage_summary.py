# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What `analyse_lineages` found, as Markdown: tables, and a verdict that follows from the numbers by rules."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vqdna_hf.evaluation.clusters import MEASURES

__all__ = ["compare_draws", "lineage_summary", "lineage_verdict"]

LEAST_DIFFERENCE = 0.01
"""Of two means, for one to be called better."""

AGREEING = 0.9
"""The share of draws that must agree on which is better."""

NEGLIGIBLE = 0.147
"""Cliff's delta below which groups are called alike (Romano et al. 2006)."""

SIGNIFICANT = 0.05
"""The probability below which a difference is no chance, divided by the number of comparisons (Bonferroni)."""

APART = 0.95
"""The share of pairs of mutations with different codes from which on codes are said to tell mutations apart."""

_KINDS = {"position": "codes by position", "bag": "bag of codes", "vectors": "mean code vectors"}
_TITLES = {"silhouette": "silhouette", "purity": "purity", "nmi": "NMI"}


def compare_draws(one: Sequence[float], other: Sequence[float]) -> str:
    """Whether one feature is better than another on the same draws.

    Args:
        one, other: a measure of each draw, in the same order; more is better.

    Returns:
        `better` if the mean is higher by 0.01 and nine draws of ten agree, `worse` the other way round, else `equal`.

    Example:

    >>> compare_draws([0.9, 0.8], [0.7, 0.7]), compare_draws([0.9, 0.6], [0.7, 0.7]), compare_draws([0.2], [0.3])
    ('better', 'equal', 'worse')
    """
    difference = np.asarray(one) - np.asarray(other)
    for word, signed in (("better", difference), ("worse", -difference)):
        if signed.mean() >= LEAST_DIFFERENCE and (signed > 0).mean() >= AGREEING:
            return word
    return "equal"


def lineage_summary(results: Mapping[str, Any]) -> str:
    """Tables and verdict as Markdown.

    Args:
        results: of `analyse_lineages`, or of a record that holds them.
    """
    data, model = results["data"], results["model"]
    parts = [
        f"Vocabulary {model['name']} ({model['class']}, codebooks {model['codebook_sizes']}, objective "
        f"{model['objective']}; a code sees {', '.join(map(str, model['level_context']))} bases on each side). "
        f"{data['lineages']} lineages, {data['with_clade']} with a clade ({data['label']}: {len(data['clades'])} of "
        f"them), {data['substitutions']} substitutions and {data['deletions']} deletions on {data['bases']} bases; "
        f"{data['distinct_genomes']} genomes are distinct, and so are {_listed(data['distinct_codes'])} sets of "
        "codes, coarse to fine."
    ]
    for name, setting in sorted(results["separation"].items()):
        parts += [
            f"### Separation of clades: {name} ({setting['groups']} a draw, {setting['draws']} draws)",
            _separation_table(setting["features"]),
        ]
    parts += ["### Footprints of single mutations", _footprint_table(results["footprints"])]
    gene = results["gene"]
    if gene.get("top"):
        parts += [
            f"### Substitutions of {gene['name']} that move most coarse codes (of {gene['known']} that lineages have)",
            _gene_table(gene["top"]),
        ]
    if gene.get("notable"):
        parts += [f"### Well-known substitutions of {gene['name']}", _gene_table(gene["notable"])]
    parts += ["### Verdict", "\n".join(f"- **{word}**: {text}" for word, text in lineage_verdict(results))]
    return "\n\n".join(parts) + "\n"


def lineage_verdict(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The verdict, sentence by sentence: (`holds`, `holds in part`, `does not hold` or `open`, the claim).

    Args:
        results: of `analyse_lineages`.
    """
    sentences: list[tuple[str, str] | None] = [
        _against_chance(results["separation"]),
        _against(results, {}, "Coarse codes separate clades better than those of an untrained codec", "untrained "),
        _against_baseline(results["separation"], "mutations", "a list of mutations"),
        _against_baseline(results["separation"], "4-mers", "counts of 4-mers"),
        _against_baseline(results["separation"], "6-mers", "counts of 6-mers"),
    ]
    levels = len(results["told_apart"])
    if levels > 1:
        fine = {kind: f"{kind} {levels}" for kind in _KINDS}
        sentences.insert(1, _against(results, fine, "Coarse codes separate clades better than fine codes"))
    if any("hidden" in setting["features"] for setting in results["separation"].values()):
        sentences.append(_against_hidden(results["separation"], levels))
    sentences += [_told_apart(results["told_apart"]), _reach(results["footprints"])]
    sentences += [_synonymous(results["synonymous"]), _known(results["gene"])]
    return [sentence for sentence in sentences if sentence is not None]


def _against_chance(separation: Mapping[str, Any]) -> tuple[str, str]:
    words, texts = [], []
    for name, setting in sorted(separation.items()):
        for kind, title in _KINDS.items():
            own = setting["features"][f"{kind} 1"]
            words += [compare_draws(own[measure], own[f"{measure}_chance"]) for measure in MEASURES]
            texts.append(f"{title} {_mean(own['purity'])} against {_mean(own['purity_chance'])} ({name})")
    return _word(
        words
    ), f"Coarse codes separate clades better than chance; {_tally(words)}. Purity: {'; '.join(texts)}."


def _against(results: Mapping[str, Any], others: Mapping[str, str], claim: str, prefix: str = "") -> tuple[str, str]:
    """One claim over all kinds of features, measures and settings."""
    words, texts = [], []
    for name, setting in sorted(results["separation"].items()):
        features = setting["features"]
        for kind, title in _KINDS.items():
            own, other = features[f"{kind} 1"], features[others.get(kind, f"{prefix}{kind} 1")]
            words += [compare_draws(own[measure], other[measure]) for measure in MEASURES]
            texts.append(f"{title} {_mean(own['silhouette'])} against {_mean(other['silhouette'])} ({name})")
    return _word(words), f"{claim}; {_tally(words)}. Silhouette: {'; '.join(texts)}."


def _against_baseline(separation: Mapping[str, Any], baseline: str, title: str) -> tuple[str, str]:
    words, texts = [], []
    for name, setting in sorted(separation.items()):
        other = setting["features"][baseline]
        for kind, own_title in _KINDS.items():
            own = setting["features"][f"{kind} 1"]
            words += [compare_draws(own[measure], other[measure]) for measure in MEASURES]
            texts.append(f"{own_title} {_mean(own['nmi'])}")
        texts[-1] += f", {baseline} {_mean(other['nmi'])} ({name})"
    return _word(words), f"Coarse codes separate clades better than {title}; {_tally(words)}. NMI: {'; '.join(texts)}."


def _against_hidden(separation: Mapping[str, Any], levels: int) -> tuple[str, str]:
    words, texts = [], []
    level = "all" if levels > 1 else "1"
    for name, setting in sorted(separation.items()):
        own, other = setting["features"]["hidden"], setting["features"][f"vectors {level}"]
        words += [compare_draws(own[measure], other[measure]) for measure in MEASURES]
        texts.append(f"{_mean(own['nmi'])} against {_mean(other['nmi'])} ({name})")
    claim = "Mean hidden states separate clades better than mean code vectors"
    return _word(words), f"{claim}; {_tally(words)}. NMI: {'; '.join(texts)}."


def _told_apart(levels: Sequence[Mapping[str, float]]) -> tuple[str, str]:
    coarse, fine = levels[0]["told_apart"], levels[-1]["told_apart"]
    numbers = "; ".join(
        f"level {number}: {own['seen']:.3f} seen, {own['told_apart']:.3f} told apart"
        for number, own in enumerate(levels, start=1)
    )
    ground = f"Of all single substitutions of the gene, and of the pairs at one site: {numbers}."
    if fine < APART:
        return "does not hold", f"Fine codes tell mutations apart. {ground}"
    if len(levels) > 1 and fine - coarse < 1 - APART:
        return "holds in part", f"Fine codes tell mutations apart, but coarse codes do as well. {ground}"
    return "holds", f"Fine codes tell mutations apart, coarse codes do not as well. {ground}"


def _reach(kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[str, str] | None:
    if "substitutions" not in kinds:
        return None
    rows = kinds["substitutions"]
    numbers = "; ".join(
        f"level {number}: {row['changed_mean']:.1f} codes, half of them within {row['half_within']} bases, none beyond "
        f"{row['farthest']:.0f}"
        for number, row in enumerate(rows, start=1)
    )
    wider = len(rows) > 1 and rows[0]["changed_mean"] >= rows[-1]["changed_mean"]
    return (
        "holds" if wider else "does not hold",
        f"A substitution changes more coarse codes than fine ones. {numbers}.",
    )


def _synonymous(levels: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    found = [
        (number, name, own[name].get("same_type", own[name]["plain"]), own[name]["plain"])
        for number, own in enumerate(levels, start=1)
        for name in ("changed", "moved")
        if name in own
    ]
    if not found:
        return None
    alike = _alike([best for _, _, best, _ in found])
    titles = {"changed": "codes changed", "moved": "vector distance"}
    numbers = "; ".join(
        f"level {number}, {titles[name]}: {best['delta']:+.3f} (p {best['p']:.3g}), over all exchanges "
        f"{plain['delta']:+.3f} (p {plain['p']:.3g})"
        for number, name, best, plain in found
    )
    return (
        {True: "holds", False: "does not hold", None: "open"}[alike],
        "Synonymous and nonsynonymous substitutions have like footprints, as codes that know no protein must. "
        f"Cliff's delta within the same exchange of bases: {numbers}.",
    )


def _known(gene: Mapping[str, Any]) -> tuple[str, str] | None:
    if not gene["levels"]:
        return None
    deltas = [own.get("same_type", own["plain"]) for own in gene["levels"]]
    alike = _alike(deltas)
    numbers = "; ".join(
        f"level {number}: {_known_level(own, best)}"
        for number, (own, best) in enumerate(zip(gene["levels"], deltas, strict=True), start=1)
    )
    claim = (
        f"Substitutions of {gene['name']} that lineages have ({gene['known']}) change other numbers of codes than "
        f"those that none has ({gene['substitutions'] - gene['known']})"
    )
    return {True: "does not hold", False: "holds", None: "open"}[alike], f"{claim}. {numbers}."


def _alike(found: Sequence[Mapping[str, float]]) -> bool | None:
    """Whether two groups are alike in all of some comparisons: None where a difference may be chance."""
    large = [own for own in found if abs(own["delta"]) >= NEGLIGIBLE]
    if not large:
        return True
    return False if any(own["p"] < SIGNIFICANT / len(found) for own in large) else None


def _known_level(own: Mapping[str, Any], best: Mapping[str, float]) -> str:
    plain, site, rho = own["plain"], own["site"], own["lineages_rho"]
    parts = [
        f"{plain['mean_1']:.2f} codes against {plain['mean_2']:.2f}",
        f"delta {best['delta']:+.3f} (p {best['p']:.3g}) within the same exchange of bases",
    ]
    if site:
        parts.append(f"{site['mean_difference']:+.2f} codes against the others at the same site (p {site['p']:.3g})")
    if rho is not None:
        parts.append(f"rank correlation with the number of lineages {rho:+.3f} (p {own['lineages_p']:.3g})")
    return ", ".join(parts)


def _word(words: Sequence[str]) -> str:
    share = words.count("better") / len(words)
    return "holds" if share > 2 / 3 else "does not hold" if share < 1 / 3 else "holds in part"


def _tally(words: Sequence[str]) -> str:
    return f"{words.count('better')} of {len(words)} comparisons are better, {words.count('worse')} worse"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}"


def _listed(values: Sequence[Any]) -> str:
    return " and ".join(map(str, values))


def _separation_table(features: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    titles = [f"{title} (chance)" for title in _TITLES.values()]
    lines = [f"| features | {' | '.join(titles)} |", "|---|" + "---|" * len(titles)]
    for name in sorted(features, key=_feature_order):
        own = features[name]
        cells = [
            f"{np.mean(own[measure]):.3f} ± {_deviation(own[measure]):.3f} ({np.mean(own[f'{measure}_chance']):.3f})"
            for measure in MEASURES
        ]
        lines.append(f"| {_feature_title(name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _deviation(draws: Sequence[float]) -> float:
    """Of the sample; 0 for a single draw."""
    return float(np.std(draws, ddof=1)) if len(draws) > 1 else 0.0


def _feature_order(name: str) -> tuple[bool, int, str]:
    """Codes by kind and level, then baselines, then the same of the untrained codec: as a file has lost the order."""
    *words, level = name.split()
    kind = words[-1] if words else level
    return len(words) > 1, list(_KINDS).index(kind) if kind in _KINDS else len(_KINDS), name


def _feature_title(name: str) -> str:
    *words, level = name.split()
    if not words:
        return {"mutations": "list of mutations", "hidden": "mean hidden states"}.get(name, name)
    kind = f"{_KINDS[words[-1]]}, {'all levels' if level == 'all' else f'level {level}'}"
    return f"{kind}, untrained" if len(words) > 1 else kind


def _footprint_table(kinds: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = [
        "| mutations | level | codes changed | 5 to 95 % | none | half within | farthest | distance (typical) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, rows in sorted(kinds.items(), reverse=True):
        for level, row in enumerate(rows, start=1):
            low, high = row["changed_quantiles"][1], row["changed_quantiles"][5]
            lines.append(
                f"| {row['mutations']} {kind} | {level} | {row['changed_mean']:.2f} ± {row['changed_sd']:.2f} | "
                f"{low:.0f} to {high:.0f} | {row['silent']:.3f} | {row['half_within']} | {row['farthest']:.0f} | "
                f"{row['moved']:.3f} ({row['typical']:.3f}) |"
            )
    return "\n".join(lines)


def _gene_table(rows: Sequence[Mapping[str, Any]]) -> str:
    levels = sorted(name.removeprefix("changed_") for name in rows[0] if name.startswith("changed_"))
    titles = [f"codes {level} | distance {level}" for level in levels]
    lines = [
        f"| effect | substitution | lineages | {' | '.join(titles)} | rank of codes 1 |",
        "|---|---|---|" + "---|---|" * len(levels) + "---|",
    ]
    for row in rows:
        cells = [f"{row[f'changed_{level}']:.0f} | {row[f'moved_{level}']:.3f}" for level in levels]
        first = f"{row['effect']} | {row['mutation']} | {row['lineages']}"
        lines.append(f"| {first} | {' | '.join(cells)} | {row['percentile']:.3f} |")
    return "\n".join(lines)
