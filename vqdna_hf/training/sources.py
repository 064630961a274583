"""What a run has read, a row a file: name, checksum, records and bases, accession and species."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqdna_hf.data import Corpus, FastaRecord, LabelledSequences
from vqdna_hf.data.accessions import Accessions, file_sha256, read_index
from vqdna_hf.data.built import BuiltCorpus, corpus_of_shard
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID

__all__ = ["Accessions", "corpus_rows", "file_sha256", "read_index", "table_rows"]

_NAMES_KEPT = 4


def corpus_rows(train: Corpus | None, held_out: Corpus, accessions: str | None = None) -> list[dict[str, Any]]:
    """The files behind the corpora of stages 1 and 2.

    Args:
        train: what is learned from; None where that is known otherwise.
        held_out: what is measured on.
        accessions: a table for `Accessions`.

    Returns:
        One dictionary a file, in the order of reading: `file` (name), `sha256`, `accession`, `species`, `group`,
        `names` (of the first records), `weight`, `train_records`, `train_bases`, `held_out_records`,
        `held_out_bases`, `simulated`. A record whose end was cut off to be held out counts on both sides. For a
        corpus that `build_corpus` made and that is used as it stands, the files that it was made of.

    Raises:
        ValueError: on a table that cannot be used.

    Example:

    >>> corpus = Corpus.from_sequences(["ACGT" * 9, "GGCA" * 9], ["a", "b"])
    >>> train, held_out = corpus.split(held_out=["b"])
    >>> row = corpus_rows(train, held_out)[0]
    >>> row["train_bases"], row["held_out_records"], row["names"]
    (36, 1, ['a', 'b'])
    """
    table = Accessions(accessions)
    parts = [part for part in (train, held_out) if part is not None]
    paths = dict.fromkeys(record.path for part in parts for record in part.records)
    built = _built_corpora(train, held_out)
    rows: list[dict[str, Any]] = []
    for path in paths:
        folder = corpus_of_shard(path)
        if folder not in built:
            rows.append(_corpus_row(path, train, held_out, table))
        elif built[folder]:
            rows += built[folder]
            built[folder] = []  # said once, not for every shard
    return rows


def _built_corpora(train: Corpus | None, held_out: Corpus) -> dict[str | None, list[dict[str, Any]]]:
    """The built corpora that are used as they stand, by folder, with the files that they were made of."""
    bases: dict[str, list[int]] = {}
    folders: dict[str, str | None] = {}
    for place, part in enumerate((train, held_out)):
        for record in part.records if part is not None else ():
            if record.path not in folders:
                folders[record.path] = corpus_of_shard(record.path)
            folder = folders[record.path]
            if folder is not None:
                bases.setdefault(folder, [0, 0])[place] += record.bases
    found: dict[str | None, list[dict[str, Any]]] = {}
    for folder, (learned, kept) in bases.items():
        corpus = BuiltCorpus.open(folder)
        recorded = [sum(shard["bases"] for shard in corpus.shards(split)) for split in ("train", "validation")]
        if learned == recorded[0] and kept in (0, recorded[1]):
            rows = corpus.source_rows()
            found[folder] = rows if kept else [{**row, "held_out_records": 0, "held_out_bases": 0} for row in rows]
    return found


def _corpus_row(path: str, train: Corpus | None, held_out: Corpus, table: Accessions) -> dict[str, Any]:
    learned, weights = _records_of(train, path)
    kept, kept_weights = _records_of(held_out, path)
    about = table.find(path)
    used = sorted(set(weights or kept_weights))
    return {
        "file": Path(path).name,
        "sha256": file_sha256(path) if os.path.isfile(path) else None,
        **about,
        "names": list(dict.fromkeys(record.name for record in [*learned, *kept]))[:_NAMES_KEPT],
        "weight": used[0] if len(used) == 1 else f"{used[0]:g} to {used[-1]:g}",
        "train_records": len(learned),
        "train_bases": sum(record.bases for record in learned),
        "held_out_records": len(kept),
        "held_out_bases": sum(record.bases for record in kept),
        "simulated": _says_simulated(about, (record.description for record in [*learned, *kept])),
    }


def _records_of(corpus: Corpus | None, path: str) -> tuple[Sequence[FastaRecord], list[float]]:
    pairs = (
        [(record, weight) for record, weight in zip(corpus.records, corpus.weights, strict=True) if record.path == path]
        if corpus is not None
        else []
    )
    return [record for record, _ in pairs], [weight for _, weight in pairs]


def _says_simulated(about: Mapping[str, str], descriptions: Iterable[str] = ()) -> bool:
    """By the headers of `simulate_fasta`, or by the table."""
    return about["species"].lower().startswith("simulated") or any("simulated=true" in text for text in descriptions)


def table_rows(
    splits: Mapping[str, LabelledSequences], used: Mapping[str, Sequence[Any]], accessions: str | None = None
) -> list[dict[str, Any]]:
    """The labelled files of stage 3.

    Args:
        splits: train, dev, test, as read.
        used: of each split, the token ids of the sequences that are used.
        accessions: a table for `Accessions`.

    Returns:
        One dictionary a split: `file`, `split`, `sha256`, `accession`, `species`, `group`, `sequences` (in the
        file), `used_sequences`, `used_bases`, `simulated`.

    Raises:
        ValueError: on a table that cannot be used.

    Example:

    >>> data = LabelledSequences(["ACG", "TT"], None, ["0", "1"], "dev.csv")
    >>> row = table_rows({"dev": data}, {"dev": [[2, 5, 6, 7, 3]]})[0]
    >>> row["sequences"], row["used_sequences"], row["used_bases"]
    (2, 1, 3)
    """
    table = Accessions(accessions)
    rows = []
    for split, data in splits.items():
        about = table.find(data.path)
        rows.append(
            {
                "file": Path(data.path).name,
                "split": split,
                "sha256": file_sha256(data.path) if os.path.isfile(data.path) else None,
                **about,
                "sequences": len(data),
                "used_sequences": len(used[split]),
                "used_bases": sum(int((np.asarray(ids) >= FIRST_NUCLEOTIDE_ID).sum()) for ids in used[split]),
                "simulated": _says_simulated(about),
            }
        )
    return rows
