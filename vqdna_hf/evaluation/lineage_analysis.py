# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What codes know of lineages and mutations, measured: the numbers behind `examples/sars_cov_2.py`."""

import copy
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats

from vqdna_hf.data.fasta import encode_sequence
from vqdna_hf.data.files import write_json
from vqdna_hf.data.generators import check_seed
from vqdna_hf.evaluation.clusters import Features, balanced_draws, cluster_scores, draw_panels, layout_2d
from vqdna_hf.evaluation.lineage_codes import (
    LineageCodes,
    ReferenceCodes,
    kmer_shares,
    mean_hidden_states,
    mutation_vectors,
)
from vqdna_hf.evaluation.lineage_footprints import (
    compare_groups,
    every_substitution,
    footprints,
    mutation_table,
    summarize_footprints,
    told_apart,
)
from vqdna_hf.evaluation.lineages import Gene, Lineages
from vqdna_hf.evaluation.vocabularies import CodecVocabulary
from vqdna_hf.model.modeling_vqdna_codec import VQDNACodecModel

__all__ = ["LineageAnalysis", "Separation", "analyse_lineages", "draw_lineages", "untrained_codec"]

logger = logging.getLogger(__name__)

NOTABLE = (
    "L18F", "D80A", "D215G", "R346T", "K417N", "K417T", "N439K", "L452R", "S477N", "T478K", "E484A", "E484K", "F486L",
    "Q498R", "N501Y", "Y505H", "A570D", "D614G", "H655Y", "N679K", "P681H", "P681R", "T716I", "D950N",
)  # fmt: skip
"""Spike mutations that made the news, each one substitution of the reference."""

_TRANSITIONS = {"A>G", "G>A", "C>T", "T>C"}
_SAMPLE_WINDOW = 256
# What kept scores were measured by: another number, and they are measured anew.
_MEASURED = 1


@dataclass(frozen=True)
class Separation:
    """How often, and of how many, subsets are drawn.

    Args:
        groups: clades a draw; 0 for all that are large enough.
        per_group: lineages of each.
        draws: how many.

    Example:

    >>> Separation(5, 50, 10).name
    '5 clades x 50'
    """

    groups: int
    per_group: int
    draws: int

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.groups or 'all'} clades x {self.per_group}"


@dataclass(frozen=True)
class LineageAnalysis:
    """What `analyse_lineages` returns.

    Args:
        results: for `write_record`; `lineage_summary` reads them.
        mutations: `mutation_table` of all mutations of the lineages.
        spike: the same of every substitution of one gene, whether a lineage has it or not.
        features: of all lineages, by name: kind and level, such as `position 1`; for `draw_lineages`.
        seconds: of each step.
    """

    results: dict[str, Any]
    mutations: pd.DataFrame
    spike: pd.DataFrame
    features: dict[str, Features] = field(repr=False)
    seconds: dict[str, float]


def analyse_lineages(
    lineages: Lineages,
    genes: Sequence[Gene],
    vocabulary: CodecVocabulary,
    *,
    gene: str = "S",
    separations: Sequence[Separation] = (Separation(5, 50, 10), Separation(0, 20, 3)),
    neighbours: int = 5,
    seed: int = 0,
    tile: int = 512,
    cache: Path | None = None,
) -> LineageAnalysis:
    """Measure how codes separate clades and show mutations, beside lists of mutations, k-mers and an untrained codec.

    Args:
        lineages, genes: of `read_lineages`, `read_genes`.
        vocabulary: of any checkpoint with one code a base; of a language model the hidden states are measured too.
        gene: whose substitutions are looked at one by one.
        separations: which balanced subsets are drawn.
        neighbours: of the purity.
        seed: of draws, k-means, permutations, layouts and the untrained codec.
        tile: bases a language model reads at once.
        cache: a folder that keeps what was encoded and measured, so that another call computes only what is new.

    Raises:
        ValueError: before anything is encoded: if there is no such gene or no mutation, clades are too few or too
            small, a number is out of its range, or a code stands for several bases.
    """
    clock = _Clock()
    chosen = _named(genes, gene)
    _check(lineages, tile, seed)
    drawn = _draws(lineages, separations, neighbours, seed)
    with clock("encode lineages"):
        codes = ReferenceCodes(vocabulary, lineages.reference)
        carried = LineageCodes(lineages, codes, cache)
        control = CodecVocabulary(untrained_codec(vocabulary, lineages.reference, seed), name="untrained")
        untrained = LineageCodes(lineages, ReferenceCodes(control, lineages.reference), cache)
    with clock("features"):
        features = _features(lineages, carried, untrained, tile, cache)
    with clock("separation"):
        key = codes.key(lineages.names, lineages.mutations, lineages.carried, lineages.clades, tile)
        separation = _separate(features, lineages.clades, drawn, neighbours, seed, cache, key)
    with clock("footprints"):
        kinds, table = _single(codes, lineages, genes, cache)
        substitutions = every_substitution(lineages.reference, chosen)
        found = footprints(codes, substitutions, cache)
        spike = mutation_table(lineages, [chosen], substitutions, found)
    results = {
        "data": _about(lineages, carried),
        "model": _model(vocabulary),
        "separation": separation,
        "footprints": kinds,
        "synonymous": [_synonymous(table, level + 1, seed) for level in range(len(found))],
        "told_apart": [told_apart(substitutions, own) for own in found],
        "gene": {"name": gene, **_gene_results(spike, len(found), seed)},
    }
    return LineageAnalysis(results, table, spike, features, clock.seconds)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)
        logger.info("%s: %.0f s", name, self.seconds[name])


def untrained_codec(vocabulary: CodecVocabulary, reference: str, seed: int = 0) -> VQDNACodecModel:
    """The same codec with random weights: what its shape alone knows.

    Its codebooks begin as those of every codec do in training, with vectors of a batch: here, of the reference.

    Args:
        vocabulary: of the trained codec.
        reference: letters.
        seed: of the weights.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> codec = untrained_codec(CodecVocabulary(VQDNACodecModel(config).eval()), "ACGTTGCAAC" * 20)
    >>> bool(codec.encoder.quantizer.codebooks[1].initialized), codec.training
    (True, False)
    """
    config = copy.deepcopy(vocabulary.checkpoint.codec_config)
    ids = torch.from_numpy(encode_sequence(reference, where="reference").astype(np.int64))
    window = min(_SAMPLE_WINDOW, len(ids))
    batch = ids[: len(ids) // window * window].view(-1, window)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = VQDNACodecModel(config).train()
        with torch.no_grad():
            codec.encode(batch[:64], update_codebooks=True)
    return codec.eval()


def _named(genes: Sequence[Gene], name: str) -> Gene:
    for gene in genes:
        if gene.name == name:
            return gene
    raise ValueError(f"gene {name!r}: the annotation has {', '.join(sorted({gene.name for gene in genes}))}")


def _check(lineages: Lineages, tile: int, seed: int) -> None:
    if not lineages.mutations:
        raise ValueError("no lineage has a mutation, so nothing tells them apart: take another table (--mutations)")
    if tile < 1:
        raise ValueError(f"tile {tile}: a language model reads 1 base at once at least (--tile)")
    check_seed(seed)


def _draws(
    lineages: Lineages, separations: Sequence[Separation], neighbours: int, seed: int
) -> list[tuple[Separation, int, list[NDArray[np.int64]]]]:
    """For each setting the number of groups, counted where all are wanted, and its draws."""
    found = []
    sizes = Counter(clade for clade in lineages.clades if clade).most_common()
    for own in separations:
        ending = "" if own.groups else "_all"
        options = f"--per_clade{ending}, --draws{ending}" + ("" if ending else ", --clades")
        where = f"column {lineages.label}, {own.name}, {own.draws} draws ({options})"
        large = sum(size >= own.per_group for _, size in sizes)
        groups = own.groups or large
        if own.per_group < 2 or own.draws < 1 or own.groups == 1 or own.groups < 0:
            raise ValueError(f"{where}: give at least 2 clades, 2 lineages of each, and 1 draw")
        if large < max(groups, 2):
            largest = ", ".join(f"{clade} {size}" for clade, size in sizes[:5]) or "no lineage has one"
            raise ValueError(
                f"{where}: only {large} clades have {own.per_group} lineages: lower these numbers, or take another "
                f"column (--label); the largest clades: {largest}"
            )
        most = groups * own.per_group - 1
        if not 1 <= neighbours <= most:
            raise ValueError(f"{where}: {neighbours} neighbours (--neighbours): give from 1 to {most}")
        draws = balanced_draws(lineages.clades, groups=groups, per_group=own.per_group, draws=own.draws, seed=seed)
        found.append((own, groups, draws))
    return found


def _separate(
    features: Mapping[str, Features],
    clades: Sequence[str],
    drawn: Sequence[tuple[Separation, int, list[NDArray[np.int64]]]],
    neighbours: int,
    seed: int,
    cache: Path | None,
    key: str,
) -> dict[str, Any]:
    """The scores of every setting; each is kept as soon as it is there."""
    found = {}
    for own, groups, draws in drawn:
        about = {"groups": groups, "per_group": own.per_group, "draws": own.draws, "neighbours": neighbours}
        what = hashlib.sha256(repr((_MEASURED, key, seed, sorted(about.items()))).encode()).hexdigest()[:16]
        path = None if cache is None else cache / f"separation-{what}.json"
        if path is not None and path.is_file():
            found[own.name] = json.loads(path.read_text())
            continue
        found[own.name] = {**about, "features": _measure(features, clades, draws, neighbours, seed)}
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, found[own.name])
    return found


def _features(
    lineages: Lineages, carried: LineageCodes, untrained: LineageCodes, tile: int, cache: Path | None
) -> dict[str, Features]:
    """What is compared, by name: kind, then level (a number from 1, or `all`)."""
    sizes = carried.codes.vocabulary.sizes
    chosen: dict[str, list[int] | None] = {str(level + 1): [level] for level in range(len(sizes))}
    if len(sizes) > 1:
        chosen["all"] = None
    found: dict[str, Features] = {}
    for level, numbers in chosen.items():
        found[f"position {level}"] = carried.by_position(numbers)
        found[f"bag {level}"] = carried.bags(levels=numbers)
        found[f"vectors {level}"] = carried.mean_vectors(numbers)
        found[f"untrained position {level}"] = untrained.by_position(numbers)
        found[f"untrained bag {level}"] = untrained.bags(levels=numbers)
        found[f"untrained vectors {level}"] = untrained.mean_vectors(numbers)
    if not carried.codes.vocabulary.checkpoint.is_codec:
        found["hidden"] = mean_hidden_states(lineages, carried.codes, tile, cache)
    found["mutations"] = mutation_vectors(lineages)
    for k in (4, 6):
        found[f"{k}-mers"] = kmer_shares(lineages, k)
    return found


def _measure(
    features: Mapping[str, Features], clades: Sequence[str], draws: Sequence[Any], neighbours: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """For each feature and measure the values of all draws, in their order."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, values in features.items():
        scores = [
            cluster_scores(
                values[draw],
                [clades[number] for number in draw],
                neighbours=neighbours,
                seeds=range(seed, seed + 3),
                shuffles=3,
            )
            for draw in draws
        ]
        found[name] = {measure: [round(own[measure], 4) for own in scores] for measure in scores[0]}
    return found


def _about(lineages: Lineages, carried: LineageCodes) -> dict[str, Any]:
    names = sorted(set(lineages.clades) - {""})
    every = carried.by_position
    levels = range(len(carried.codes.vocabulary.sizes))
    return {
        "lineages": len(lineages.names),
        "with_clade": sum(bool(clade) for clade in lineages.clades),
        "label": lineages.label,
        "clades": {name: lineages.clades.count(name) for name in names},
        "bases": len(lineages.reference),
        "substitutions": sum(not mutation.is_deletion for mutation in lineages.mutations),
        "deletions": sum(mutation.is_deletion for mutation in lineages.mutations),
        "distinct_genomes": len({lineages.genome(number) for number in range(len(lineages.names))}),
        "distinct_codes": [_distinct_rows(every([level])) for level in levels],
        "groups": len(carried.groups),
    }


def _distinct_rows(matrix: Any) -> int:
    matrix.sort_indices()
    return len({matrix.indices[a:b].tobytes() for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)})


def _model(vocabulary: CodecVocabulary) -> dict[str, Any]:
    config = vocabulary.checkpoint.codec_config
    described = vocabulary.checkpoint.describe()
    return {
        "name": vocabulary.name,
        "class": described["class"],
        "sha256": described["sha256"],
        "codebook_sizes": list(vocabulary.sizes),
        "objective": config.objective,
        "context": int(config.context),
        "level_context": config.contexts,
    }


def _single(
    codes: ReferenceCodes, lineages: Lineages, genes: Sequence[Gene], cache: Path | None
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Footprints of all mutations of the lineages: summaries by kind and level, and the table, by position."""
    summaries, tables = {}, []
    for kind, is_deletion in (("substitutions", False), ("deletions", True)):
        mutations = [mutation for mutation in lineages.mutations if mutation.is_deletion == is_deletion]
        if mutations:
            found = footprints(codes, mutations, cache)
            summaries[kind] = summarize_footprints(codes, found)
            tables.append(mutation_table(lineages, genes, mutations, found))
    table = pd.concat(tables, ignore_index=True)
    return summaries, table.sort_values("position", kind="stable", ignore_index=True)


def _synonymous(table: pd.DataFrame, level: int, seed: int) -> dict[str, Any]:
    """Synonymous against nonsynonymous substitutions: alone, and within the same exchange of bases."""
    coding = table[table["class"].isin(["synonymous", "nonsynonymous"])]
    silent = (coding["class"] == "synonymous").to_numpy()
    if silent.all() or not silent.any():
        return {}
    found: dict[str, Any] = {}
    for name in ("changed", "moved"):
        values, types = coding[f"{name}_{level}"].to_numpy(), coding["type"].tolist()
        found[name] = {"plain": compare_groups(values, silent)}
        if any(len(set(silent[coding["type"] == kind])) > 1 for kind in set(types)):
            found[name]["same_type"] = compare_groups(values, silent, types, seed=seed)
    return found


def _gene_results(spike: pd.DataFrame, levels: int, seed: int) -> dict[str, Any]:
    """Substitutions that lineages have against those that none has."""
    known = (spike["lineages"] > 0).to_numpy()
    found: dict[str, Any] = {"substitutions": len(spike), "known": int(known.sum()), "levels": []}
    if known.all() or not known.any():
        return found
    for level in range(1, levels + 1):
        values = spike[f"changed_{level}"].to_numpy()
        own: dict[str, Any] = {"plain": compare_groups(values, known), "site": _same_site(spike, level)}
        if any(len(set(known[spike["type"] == kind])) > 1 for kind in set(spike["type"])):
            own["same_type"] = compare_groups(values, known, spike["type"].tolist(), seed=seed)
        rho = stats.spearmanr(spike["lineages"][known], values[known]) if known.sum() > 2 else (float("nan"),) * 2
        own["lineages_rho"], own["lineages_p"] = (None if np.isnan(value) else float(value) for value in rho)
        found["levels"].append(own)
    found["transitions"] = float(spike["type"][known].isin(_TRANSITIONS).mean())
    ranks = stats.rankdata(spike["changed_1"]) / len(spike)
    rows = spike.assign(percentile=ranks.round(3))[known]
    order = ["changed_1", "total_1", "lineages"]
    found["top"] = _rows(rows.sort_values(order, ascending=False, kind="stable").head(20))
    found["notable"] = _rows(rows[rows["effect"].isin(NOTABLE)])
    return found


def _same_site(spike: pd.DataFrame, level: int) -> dict[str, Any]:
    """Known substitutions against the mean of the unknown ones at the same site, in pairs."""
    column = f"changed_{level}"
    sites = spike.assign(known=spike["lineages"] > 0).pivot_table(column, "position", "known").dropna()
    if sites.empty or sites.shape[1] < 2:
        return {}
    difference = (sites[True] - sites[False]).to_numpy()
    test = stats.wilcoxon(difference) if difference.any() else None
    return {
        "sites": len(sites),
        "mean_difference": float(difference.mean()),
        "higher": float((difference > 0).mean()),
        "lower": float((difference < 0).mean()),
        "p": 1.0 if test is None else float(test.pvalue),
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: _plain(value) for name, value in row.items()} for row in table.round(3).to_dict("records")]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def draw_lineages(
    path: Path, lineages: Lineages, features: Mapping[str, Features], *, layout: str = "auto", seed: int = 0
) -> str:
    """Draw all lineages, coloured by clade: coarse and fine codes, by position and as mean vectors, and baselines.

    Args:
        path: of the PNG.
        lineages, features: of an analysis.
        layout, seed: of `layout_2d`.

    Returns:
        The layout that was used.
    """
    fine = max(int(name.split()[1]) for name in features if name.startswith("position") and name[-1].isdigit())
    panels = {
        "coarse codes by position": "position 1", "fine codes by position": f"position {fine}",
        "mutations": "mutations", "coarse code vectors, mean": "vectors 1",
        "fine code vectors, mean": f"vectors {fine}", "6-mers": "6-mers",
    }  # fmt: skip
    if "hidden" in features:
        panels["hidden states, mean"] = "hidden"
    places = {}
    for title, name in panels.items():
        places[title], layout = layout_2d(features[name], method=layout, seed=seed)
    title = f"{len(lineages.names)} lineages, by {lineages.label} ({layout})"
    draw_panels(path, places, lineages.clades, title=title)
    return layout
