# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Every measure of a learned vocabulary in one record: the evidence for or against it."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vqdna_hf.data.generators import check_seed
from vqdna_hf.data.genome import Genome
from vqdna_hf.evaluation.annotation import Annotation, read_annotation
from vqdna_hf.evaluation.genome_codes import (
    GenomeCodes,
    annotation_information,
    encode_sample,
    kmer_information,
    offset_information,
    reconstruction,
    sample_regions,
    strand_information,
    usage_of,
)
from vqdna_hf.evaluation.gue_sets import GueSet, find_sets, read_sets
from vqdna_hf.evaluation.leak import STEPS, TEST_WINDOWS, WINDOW, WINDOWS, masking_leak
from vqdna_hf.evaluation.probe import MAX_TRAIN, check_probed, probe_sets
from vqdna_hf.evaluation.records import FORMAT
from vqdna_hf.evaluation.stability import POSITIONS, substitution_stability
from vqdna_hf.evaluation.vocabularies import CodecVocabulary
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.training.provenance import read_run

logger = logging.getLogger(__name__)

GENOME_PARTS = ("reconstruction", "usage", "kmers", "offsets", "strand", "stability", "leak")
PARTS = (*GENOME_PARTS, "annotation", "probe")
MAX_BASES = 200_000
"""Bases of the genome that are encoded on both strands, if nothing else is said."""

KIND = "vocabulary"
"""Of records that hold what `measure_vocabulary` gives."""

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Budget:
    """How much is measured.

    Args:
        max_bases: of the genome, encoded on both strands.
        positions: that are substituted.
        leak_windows: of 128 bases, for the leak's predictor; a quarter is held out.
        leak_steps: of its training.
        max_train: training sequences of a probe; None for all.
        seed: of all samples.

    Raises:
        ValueError: for a seed that is none, see `check_seed`.

    Example:

    >>> Budget(positions=10).positions
    10
    """

    max_bases: int = MAX_BASES
    positions: int = POSITIONS
    leak_windows: int = WINDOWS
    leak_steps: int = STEPS
    max_train: int | None = MAX_TRAIN
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)


def measure_vocabulary(
    codec: AnyPath | PreTrainedModel | Checkpoint,
    *,
    genome: AnyPath | Genome | None = None,
    gue: AnyPath | Sequence[GueSet] | None = None,
    annotation: AnyPath | Sequence[AnyPath] | None = None,
    sets: Sequence[str] | None = None,
    parts: Sequence[str] | None = None,
    budget: Budget | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure a vocabulary: what it keeps, uses, means, how it moves, what it leaks, and what a linear probe reads.

    Everything is read and checked before anything is measured, but for the letters of the genome.

    Args:
        codec: any checkpoint of this package; reconstruction needs one with a decoder.
        genome: FASTA, for all parts but the probe.
        gue: a folder of sets as of GUE, of which the complete ones are probed; or sets that are read already.
        annotation: GFF3 or BED files about the genome; needs `genome`.
        sets: of GUE, only these; needs `gue`.
        parts: of `PARTS`, each of which must come about; default: all that the inputs allow.
        budget: how much; default `Budget()`.
        device: as in torch, or `auto`.

    Returns:
        What JSON can hold: `codec` (name, codebook sizes, taps, objective, stride, checksum), each part by its name,
        `budget`, `seconds` by part, and `left_out`, why a part is not there; annotations by the file's name, or by its
        path where several have one name.

    Raises:
        ValueError: for inputs that cannot be read or probed, no input at all, unknown parts, and parts that are asked
            for and whose input is absent or does not allow them.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> from vqdna_hf.data import simulate_genome
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> genome = Genome.from_sequences(["chr1"], [simulate_genome(2_000, seed=0)])
    >>> record = measure_vocabulary(VQDNACodecModel(config).eval(), genome=genome, parts=["usage"])
    >>> [level["size"] for level in record["usage"]]
    [8, 16]
    """
    budget = budget or Budget()
    chosen = _parts(parts, genome is not None, gue is not None, annotation is not None, sets)
    vocabulary = CodecVocabulary(load_checkpoint(codec, "codec", device=device))
    gue_sets = _read_gue(gue, sets) if "probe" in chosen else []
    check_probed(gue_sets, budget.max_train, budget.seed)
    record: dict[str, Any] = {"codec": describe_codec(vocabulary.checkpoint), "budget": asdict(budget)}
    record |= {"left_out": {}, "seconds": {}}
    if genome is not None and set(chosen) - {"probe"}:
        with _opened(genome) as opened:
            annotations = _read_annotations(annotation, opened) if "annotation" in chosen else {}
            sample = _measure_genome(record, chosen, vocabulary, opened, budget, parts is not None)
            _measure_annotations(record, vocabulary, opened, sample, annotations, parts is not None)
    if gue_sets:
        with _part(record, "probe", True):
            record["probe"] = probe_sets(vocabulary, gue_sets, max_train=budget.max_train, seed=budget.seed)
    return record


def describe_codec(checkpoint: Checkpoint) -> dict[str, Any]:
    """What tells one vocabulary from another.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> describe_codec(load_checkpoint(VQDNACodecModel(config).eval(), device="cpu"))["receptive_field"]
    41
    """
    config = checkpoint.codec_config
    names = ("codebook_sizes", "codebook_dim", "tap_positions", "num_blocks", "hidden_size", "codec_stride")
    return {
        "name": os.path.basename(checkpoint.name.rstrip("/")),
        **{name: getattr(config, name) for name in names},
        "objective": config.objective,
        "receptive_field": config.receptive_field,
        "parameters": sum(weight.numel() for weight in checkpoint.encoder.parameters()),
        "codebooks_sha256": checkpoint.codebooks_sha256,
    }


def bases_of_training(codec: AnyPath) -> int | None:
    """Nucleotides that a codec has seen, from the record of its run (`run.json`); None where there is none.

    Example:

    >>> bases_of_training("no/such/folder") is None
    True
    """
    record = read_run(codec) if os.path.isdir(codec) else None
    progress = (record or {}).get("progress") or [{}]
    return progress[-1].get("bases")


def check_output(path: AnyPath) -> None:
    """Refuse to overwrite what is no record of a vocabulary.

    Args:
        path: where a record is to be written; need not be there.

    Raises:
        ValueError: if a file is there that holds something else.

    Example:

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> check_output(path)
    >>> _ = path.write_text('{"model_type": "vqdna"}')
    >>> check_output(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ...config.json: is there, and is no record of a vocabulary: give another name, or move the file away
    """
    if not os.path.exists(path):
        return
    try:
        content = json.loads(Path(path).read_bytes())
    except ValueError:
        content = None
    if not isinstance(content, dict) or (content.get("format"), content.get("kind")) != (FORMAT, KIND):
        name = os.fspath(path)
        raise ValueError(
            f"{name}: is there, and is no record of a vocabulary: give another name, or move the file away"
        )


@contextmanager
def _opened(genome: AnyPath | Genome) -> Iterator[Genome]:
    """A genome of a path is closed again; one that was given stays as it is."""
    if isinstance(genome, Genome):
        yield genome
    else:
        with Genome.open(genome) as opened:
            yield opened


@contextmanager
def _part(record: dict[str, Any], part: str, strict: bool) -> Iterator[None]:
    """Put down how long a part took; or, unless it is strict, why it cannot be made: the others still hold."""
    start = perf_counter()
    try:
        yield
    except ValueError as error:
        if strict:
            raise ValueError(f"part {part}: {error}") from error
        record["left_out"][part] = str(error)
    record["seconds"][part] = round(perf_counter() - start, 2)
    logger.info("%s: %.1f s", part, record["seconds"][part])


def _parts(
    parts: Sequence[str] | None, genome: bool, gue: bool, annotation: bool, sets: Sequence[str] | None
) -> list[str]:
    if annotation and not genome:
        raise ValueError("an annotation says something of a genome: give that, too")
    if sets and not gue:
        raise ValueError(f"sets {', '.join(sets)}: give the folder that they are in, too (--data)")
    possible = [*(GENOME_PARTS if genome else ()), *(["annotation"] if annotation else []), *(["probe"] if gue else [])]
    if not possible:
        raise ValueError("nothing to measure a vocabulary on: give a genome, a folder of GUE, or both")
    if parts is None:
        return possible
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"parts {', '.join(unknown)}: choose of {', '.join(PARTS)}")
    if sets and "probe" not in parts:
        raise ValueError(f"sets {', '.join(sets)} are for the probe, which is none of the parts {', '.join(parts)}")
    if lacking := [part for part in parts if part not in possible]:
        raise ValueError(f"parts {', '.join(lacking)}: their input (genome, annotation or gue) is not given")
    return [part for part in possible if part in parts]


def _read_gue(gue: AnyPath | Sequence[GueSet] | None, sets: Sequence[str] | None) -> list[GueSet]:
    if isinstance(gue, (str, os.PathLike)):
        return read_sets(find_sets(gue).choose(sets))
    there = {one.name: one for one in gue or ()}
    if strange := [name for name in sets or () if name not in there]:
        raise ValueError(f"sets {', '.join(strange)}: there are {', '.join(there)}")
    return [there[name] for name in sets or there]


def _read_annotations(given: AnyPath | Sequence[AnyPath] | None, genome: Genome) -> dict[str, Annotation]:
    """By the name of the file, or by its path where several have one name."""
    paths = [given] if isinstance(given, (str, os.PathLike)) else given or ()
    different = dict.fromkeys(os.fspath(path) for path in paths)
    names = [os.path.basename(path) for path in different]
    return {
        name if names.count(name) == 1 else path: read_annotation(path, genome)
        for name, path in zip(names, different, strict=True)
    }


def _measure_genome(
    record: dict[str, Any],
    parts: Sequence[str],
    vocabulary: CodecVocabulary,
    genome: Genome,
    budget: Budget,
    strict: bool,
) -> GenomeCodes:
    checkpoint, seed = vocabulary.checkpoint, budget.seed
    start = perf_counter()
    sample = encode_sample(vocabulary, genome, sample_regions(genome, budget.max_bases, seed=seed))
    record["seconds"]["encode"] = round(perf_counter() - start, 2)
    record["genome"] = {"name": os.path.basename(genome.path), "bases": sample.bases}
    reach = int(checkpoint.codec_config.context)

    def reconstruct() -> Any:
        return reconstruction(load_checkpoint(checkpoint, "decoder"), sample)

    def leak() -> Any:
        windows = _windows(sample, budget.leak_windows)
        held_out = min(TEST_WINDOWS, len(windows) // 4)
        return masking_leak(checkpoint, windows, test_windows=held_out, steps=budget.leak_steps, seed=seed)

    def substitute() -> Any:
        return substitution_stability(vocabulary, genome, reach=reach, positions=budget.positions, seed=seed)

    measures: dict[str, Callable[[], Any]] = {
        # First what may be impossible: there is no decoder, the genome is too short.
        "reconstruction": reconstruct,
        "stability": substitute,
        "leak": leak,
        "usage": lambda: usage_of(sample),
        "kmers": lambda: kmer_information(sample),
        "offsets": lambda: offset_information(sample),
        "strand": lambda: strand_information(sample),
    }
    for part, measure in measures.items():
        if part in parts:
            with _part(record, part, strict):
                record[part] = measure()
    return sample


def _measure_annotations(
    record: dict[str, Any],
    vocabulary: CodecVocabulary,
    genome: Genome,
    whole: GenomeCodes,
    annotations: Mapping[str, Annotation],
    strict: bool,
) -> None:
    if not annotations:
        return
    found, most, seed = {}, record["budget"]["max_bases"], record["budget"]["seed"]
    with _part(record, "annotation", strict):
        for name, one in annotations.items():
            regions = sample_regions(genome, most, seed=seed, records=one.records)
            sample = whole if regions == whole.regions else encode_sample(vocabulary, genome, regions)
            found[name] = {
                "bases": sample.bases,
                "skipped_records": list(one.skipped),
                "tracks": annotation_information(sample, one, seed=seed),
            }
        record["annotation"] = found


def _windows(sample: GenomeCodes, count: int) -> NDArray[np.uint8]:
    """(count, WINDOW) ids at most, in the genome's order: the last ones stand apart from the first."""
    found = [ids[start : start + WINDOW] for ids in sample.ids for start in range(0, len(ids) - WINDOW + 1, WINDOW)]
    if len(found) < 8:
        raise ValueError(f"the sample has {len(found)} windows of {WINDOW} bases: 8 at least are needed")
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).astype(np.int64)
    return np.stack([found[number] for number in chosen])
