# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""The dataset card of a built corpus, made of its record alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from vqdna_hf.data.built import composition_rows

_INPUTS_SHOWN = 50
_REASONS = {
    "duplicate": "equal to an earlier window, on either strand",
    "like_held_out": "to learn from, but equal to a held-out one",
    "n": "with too many N",
    "short": "too short",
    "soft_masked": "with too many soft-masked bases",
}
_STRANDS = {
    "forward": "as they stand in the files",
    "both": "each window and its reverse complement",
    "canonical": "of a window and its reverse complement the one that comes first in the alphabet",
}
_SOFT_MASK = {
    "ignore": "read like others",
    "keep": "lower case in `sequence`",
    "mask": "N in `sequence`",
    "drop": "windows with more than a share of {max_soft_fraction:g} of them are left out",
}


def corpus_card(record: Mapping[str, Any]) -> str:
    """The text of `README.md`: the splits for the Hub, composition, files, and how windows were made.

    Args:
        record: as in `corpus.json`.

    Example:

    >>> counts = {"windows": 2, "bases": 10, "n": 0, "gc": 5, "soft_masked": 0}
    >>> groups = {"fungi": {"drawn": 1.0, "train": counts, "validation": {**counts, "windows": 0}}}
    >>> options = {"window": 5, "stride": 5, "min_bases": 2, "max_n_fraction": 0.1, "split_n": None, "seed": 0}
    >>> options |= {"soft_mask": "ignore", "strand": "forward", "deduplicate": True, "max_soft_fraction": 0.5}
    >>> shards = [{"split": "train", "file": "data/train-00000-of-00001.parquet"}]
    >>> record = {"groups": groups, "options": options, "shards": shards, "inputs": [], "dropped": {}, "held_out": []}
    >>> corpus_card(record).splitlines()[1:6]
    ['configs:', '- config_name: default', '  data_files:', '  - split: train', '    path: data/train-*.parquet']
    """
    splits = list(dict.fromkeys(shard["split"] for shard in record["shards"]))
    head = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        head += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    head += ["tags:", "- dna", "- genomics"]
    head += ["- simulated-data"] * any(entry["simulated"] for entry in record["inputs"])
    parts = ["\n".join([*head, "---"]), "# A corpus of DNA windows", *_how(record), *_what(record)]
    return "\n\n".join(parts) + "\n"


def _how(record: Mapping[str, Any]) -> list[str]:
    options = record["options"]
    every = "" if options["stride"] == options["window"] else f", one every {options['stride']:,} bases"
    gaps = "" if options["split_n"] is None else f" Records are cut at runs of at least {options['split_n']:,} N."
    equal = "dropped" if options["deduplicate"] else "kept"
    lines = [
        f"- Windows of {options['window']:,} bases{every}; the last of a record has {options['min_bases']:,} at least."
        + gaps,
        f"- At most a share of {options['max_n_fraction']:g} of N. IUPAC codes are N, U is T.",
        f"- Soft-masked bases: {_SOFT_MASK[options['soft_mask']].format(**options)}.",
        f"- Strands: {_STRANDS[options['strand']]}.",
        f"- Windows that equal an earlier one, on either strand, are {equal}; windows to learn from that equal a "
        "held-out one are dropped.",
        "- The order is drawn by lot over all files.",
        "- `weight` says how often a window is drawn, against a window of weight 1.",
    ]
    usage = (
        "```python\nfrom datasets import load_dataset\nfrom vqdna_hf.data import stream_corpus\n\n"
        'rows = load_dataset("FOLDER_OR_REPOSITORY", split="train", streaming=True)\n'
        'items = stream_corpus("FOLDER_OR_REPOSITORY", seed=0)  # ids for training, weights heeded\n```'
    )
    return ["## How it is made", "\n".join(lines), "## How it is read", usage]


def _what(record: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            row["group"], row["split"], f"{row['windows']:,}", f"{row['bases']:,}", f"{row['share']:.4f}",
            "" if row["drawn"] is None else f"{row['drawn']:.4f}", f"{row['gc']:.4f}", f"{row['n']:.4f}",
            f"{row['soft_masked']:.4f}",
        ]
        for row in composition_rows(record["groups"])
    ]  # fmt: skip
    parts = [
        "## What it holds",
        _table(["group", "split", "windows", "bases", "share", "drawn", "GC", "N", "soft-masked"], rows),
        "`share` is of the bases of a split, `drawn` of what training draws, by weight.",
    ]
    dropped = [f"{count:,} {_REASONS.get(reason, reason)}" for reason, count in record["dropped"].items() if count]
    if dropped:
        parts.append(f"Windows left out: {'; '.join(dropped)}.")
    inputs = record["inputs"]
    files = [
        [
            entry["file"], entry["species"] or "unknown", entry["accession"] or "unknown", entry["group"],
            f"{entry['records']:,}", f"{entry['held_out_records']:,}", f"{entry['bases']:,}", f"{entry['weight']:g}",
            entry["sha256"][:12],
        ]
        for entry in inputs[:_INPUTS_SHOWN]
    ]  # fmt: skip
    header = ["file", "species", "accession", "group", "records", "held out", "bases", "weight", "SHA-256"]
    parts += ["## Where it comes from", _table(header, files)]
    if len(inputs) > _INPUTS_SHOWN:
        parts.append(
            f"And {len(inputs) - _INPUTS_SHOWN:,} files more: see `corpus.json`, which has all checksums in full."
        )
    return [*parts, "The sequences keep the licences of their sources."]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
