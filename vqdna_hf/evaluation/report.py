# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""What a learned vocabulary means, in numbers: usage, sequence logos, neighbours, and the codes along a region.

Shape letters: Q levels, K entries of one, D width of a code vector, s bases a code stands for, W columns of a logo, n
neighbours, M codes along the region.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.generators import check_seed
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region, Renamer
from vqdna_hf.data.jobs import bases_bar
from vqdna_hf.inference.checkpoints import Checkpoint, load_checkpoint
from vqdna_hf.inference.encode import EncodeTask
from vqdna_hf.inference.inputs import CODEC_WINDOW, open_genome
from vqdna_hf.model.quantization_vqdna import NO_CODE, usage_and_perplexity
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, N_ID, NUM_NUCLEOTIDES

from .report_features import Feature, features_in, find_gene, parse_region, read_features

SAMPLE_BASES = 1_000_000
FLANK = 200
NEIGHBOURS = 8

_SAMPLE_WINDOW = 4096  # a multiple of every codec_stride
_DEFAULT_REGION = 3_000
# Bytes of all logos in the page, before base64. The published codec, 1024 and 2048 entries, takes 0.43 MB.
_LOGO_BYTES = 1_500_000
_MOST_COLUMNS = 65
_LOGGED = re.compile(r"(eval_)?codebook_(usage|perplexity)_level[0-9]+")
_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "AG": "R", "CT": "Y", "CG": "S", "AT": "W", "GT": "K", "AC": "M",
    "CGT": "B", "AGT": "D", "ACT": "H", "ACG": "V", "ACGT": "N",
}  # fmt: skip


def information_content(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Information of the columns of a logo, in bits, with the correction for small samples.

    2 - H - 3 / (2 ln(2) N), with H the entropy of a column and N its number of bases; never below 0. Schneider,
    Stormo, Gold, Ehrenfeucht, *J. Mol. Biol.* 188 (1986) 415; Schneider, Stephens, *Nucleic Acids Res.* 18 (1990) 6097.

    Args:
        counts: (..., 4) of A, C, G, T.

    Returns:
        (...) bits, 0 to 2; 0 without bases.

    Example:

    >>> information_content(np.array([[100, 0, 0, 0], [50, 50, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])).round(4).tolist()
    [1.9784, 0.9784, 0.0, 0.0]
    """
    counts = np.asarray(counts, np.float64)
    total = counts.sum(-1)
    share = counts / np.maximum(total, 1)[..., None]
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(-1)
    correction = (NUM_NUCLEOTIDES - 1) / (2 * math.log(2) * np.maximum(total, 1))
    return np.where(total > 0, np.maximum(math.log2(NUM_NUCLEOTIDES) - entropy - correction, 0), 0)


def consensus(counts: NDArray[Any]) -> str:
    """The IUPAC letters of the columns of a logo.

    One base where it is more than half and more than twice the next; two where they are more than three quarters
    together; three where the fourth never occurs; else N (Cavener, *Nucleic Acids Res.* 15 (1987) 1353).

    Args:
        counts: (W, 4) of A, C, G, T.

    Returns:
        W letters.

    Example:

    >>> consensus(np.array([[9, 0, 0, 1], [5, 0, 4, 1], [3, 3, 4, 0], [3, 3, 2, 2], [0, 0, 0, 0]]))
    'ARVNN'
    """
    letters = []
    for column in np.asarray(counts).tolist():
        total = sum(column)
        order = sorted(range(NUM_NUCLEOTIDES), key=lambda base: -column[base])
        first, second, _, last = (column[base] for base in order)
        if total == 0:
            kept = NUM_NUCLEOTIDES
        elif 2 * first > total and first > 2 * second:
            kept = 1
        elif 4 * (first + second) > 3 * total:
            kept = 2
        else:
            kept = 3 if last == 0 else NUM_NUCLEOTIDES
        letters.append(_IUPAC["".join("ACGT"[base] for base in sorted(order[:kept]))])
    return "".join(letters)


@dataclass(frozen=True, eq=False)
class LevelReport:
    """One codebook.

    Args:
        tap: after which block it is tapped.
        context: bases a code sees on each side of those that it stands for.
        shown: columns of a logo on each side of these; fewer than `context` where the page would grow too large.
        counts: (K,) occurrences in the sample.
        logo: (K, W, 4) counts of A, C, G, T around the occurrences whose surroundings are known bases.
        places: (K, 2) of the code vectors, on their first principal components.
        variance: (2,) shares of the variance that these hold.
        neighbours: (K, n) nearest entries that occur; -1 where there are fewer.
        distances: (K, n) to them, Euclidean.

    Example:

    >>> level = LevelReport(
    ...     1, 0, 0, np.array([6, 0]), np.array([[[6, 0, 0, 0]], [[0] * 4]]), np.zeros((2, 2)), np.zeros(2),
    ...     np.array([[-1], [0]]), np.zeros((2, 1)),
    ... )
    >>> level.size, level.usage, level.perplexity, level.consensus
    (2, 0.5, 1.0, ['A', 'N'])
    """

    tap: int
    context: int
    shown: int
    counts: NDArray[np.int64] = field(repr=False)
    logo: NDArray[np.int64] = field(repr=False)
    places: NDArray[np.float32] = field(repr=False)
    variance: NDArray[np.float64] = field(repr=False)
    neighbours: NDArray[np.int32] = field(repr=False)
    distances: NDArray[np.float32] = field(repr=False)

    @property
    def size(self) -> int:
        """K."""
        return len(self.counts)

    @property
    def usage(self) -> float:
        """The share of entries that occur in the sample."""
        return float((self.counts > 0).mean())

    @property
    def perplexity(self) -> float:
        """exp(entropy) of the codes in the sample, a number of entries."""
        return float(usage_and_perplexity(torch.from_numpy(self.counts).double())[1])

    @property
    def occurrences(self) -> NDArray[np.int64]:
        """(K,) that count in the logos."""
        return self.logo[:, 0].sum(-1)

    @property
    def consensus(self) -> list[str]:
        """W letters for each entry."""
        return [consensus(columns) for columns in self.logo]


@dataclass(frozen=True, eq=False)
class RegionReport:
    """The codes along a stretch of the genome, on both strands, in the forward strand's order.

    Args:
        region: of the genome.
        sequence: its bases.
        forward, reverse: (Q, M) codes of each strand, -1 where all bases are N.
        forward_start, reverse_start: where the first code's s bases begin, in bases of the record; with s > 1 this may
            be before the region, and differs between the strands.
        features: of the annotation.

    Example:

    >>> codes = np.zeros((1, 4), np.int32)
    >>> RegionReport(Region("I", 0, 4, "I:1-4", "."), "ACGT", codes, codes, 0, 0).forward.shape
    (1, 4)
    """

    region: Region
    sequence: str = field(repr=False)
    forward: NDArray[np.int32] = field(repr=False)
    reverse: NDArray[np.int32] = field(repr=False)
    forward_start: int
    reverse_start: int
    features: Sequence[Feature] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that a report shows.

    Args:
        name: of the checkpoint.
        kind: the class that it was saved from.
        stride: s.
        objective: what the vocabulary was learned with.
        levels: coarse to fine.
        region: a stretch of the genome.
        genome: the file's name.
        records, bases: of the genome.
        sampled: bases of the sample.
        seed: of the sample.
        codebooks_sha256: a checksum of all code vectors.
        history: what training logged of usage, perplexity and losses, one mapping a step.

    Example:

    >>> codes = np.zeros((1, 4), np.int32)
    >>> along = RegionReport(Region("I", 0, 4, "I:1-4", "."), "ACGT", codes, codes, 0, 0)
    >>> ReportData("codec", "VQDNACodecModel", 1, "window", [], along, "yeast.fa", 1, 4, 4, 0, "1f").region.sequence
    'ACGT'
    """

    name: str
    kind: str
    stride: int
    objective: str
    levels: Sequence[LevelReport]
    region: RegionReport
    genome: str
    records: int
    bases: int
    sampled: int
    seed: int
    codebooks_sha256: str
    history: Sequence[dict[str, float]] = ()


def vocabulary_report(
    checkpoint: str | os.PathLike[str] | PreTrainedModel | Checkpoint,
    genome: str | os.PathLike[str] | Genome,
    *,
    region: str | None = None,
    annotation: str | os.PathLike[str] | None = None,
    gene: str | None = None,
    rename: str | os.PathLike[str] | None = None,
    flank: int = FLANK,
    sample_bases: int = SAMPLE_BASES,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    batch_bases: int | None = None,
    progress: bool | None = None,
) -> ReportData:
    """Read a sample of a genome with a vocabulary, and one region of it in full.

    Args:
        checkpoint: any of ours, codec or language model.
        genome: FASTA, or an open `Genome`, which is not closed.
        region: what to show, `record:start-end` from 1, the end included; default: a piece of the sample.
        annotation: GFF3, GTF or BED, see `read_features`.
        gene: of the annotation, instead of a region.
        rename: how other spellings of records' names are matched, see `Renamer`.
        flank: bases beside the gene.
        sample_bases: how many are read for usage and logos; windows of 4,096 are drawn at random.
        seed: of the draw.
        device, dtype, batch_bases, progress: see `load_checkpoint`, `Batcher`, `run_job`.

    Raises:
        ValueError: before anything is computed, for options that do not fit, no checkpoint of ours, a genome that
            cannot be read, and a region or gene that is not there; while reading, for an illegal letter.

    Example:

    >>> from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
    >>> config = VQDNACodecConfig(hidden_size=8, stem_size=8, codebook_dim=8, codebook_sizes=[8, 16])
    >>> genome = Genome.from_sequences(["chr1"], ["ACGTTGCA" * 20])
    >>> data = vocabulary_report(VQDNACodecModel(config), genome, region="chr1:11-20", progress=False)
    >>> data.sampled, [level.logo.shape for level in data.levels], data.region.sequence
    (160, [(8, 23, 4), (16, 41, 4)], 'GTTGCAACGT')
    """
    _check_options(region, annotation, gene, flank, sample_bases, seed)
    loaded = load_checkpoint(checkpoint, "codec", device=device, dtype=dtype)
    with open_genome(genome, None, None) as (opened, _):
        sample = _sample(opened, sample_bases, seed)
        renamer = Renamer(opened, rename)
        if gene is not None and annotation is not None:
            place = find_gene(gene, annotation, opened, renamer, flank)
        elif region is not None:
            place = parse_region(region, opened, renamer)
        else:
            place = _default_region(opened, sample)
        features = [] if annotation is None else features_in(place, annotation, opened, renamer)
        tallies = _count(loaded, opened, sample, batch_bases, progress)
        along = _along(loaded, opened, place, features, batch_bases)
        return _joined(loaded, opened, tallies, along, sum(one.length for one in sample), seed)


def _joined(
    checkpoint: Checkpoint, genome: Genome, tallies: Sequence["_Tally"], along: RegionReport, sampled: int, seed: int
) -> ReportData:
    books = checkpoint.encoder.quantizer.codebooks
    return ReportData(
        name=Path(checkpoint.name).name or checkpoint.name,
        kind=type(checkpoint.model).__name__,
        stride=checkpoint.bases_per_code,
        objective=str(checkpoint.codec_config.objective),
        levels=[tally.finish(book.embed) for tally, book in zip(tallies, books, strict=True)],
        region=along,
        genome=Path(genome.path).name,
        records=len(genome.names),
        bases=genome.bases,
        sampled=sampled,
        seed=seed,
        codebooks_sha256=checkpoint.codebooks_sha256,
        history=read_history(checkpoint.name),
    )


def _check_options(
    region: str | None,
    annotation: str | os.PathLike[str] | None,
    gene: str | None,
    flank: int,
    sample_bases: int,
    seed: int,
) -> None:
    if region is not None and gene is not None:
        raise ValueError("give a region or a gene, not both")
    if gene is not None and annotation is None:
        raise ValueError(f"gene {gene!r}: give the annotation that has it, --annotation (GFF3, GTF or BED)")
    if annotation is not None:
        next(iter(read_features(annotation)), None)  # its ending, and whether it is there
    if flank < 0 or sample_bases < 1:
        raise ValueError(f"flank {flank} must not be negative, and sample_bases {sample_bases} at least 1")
    check_seed(seed)


def read_history(folder: str | os.PathLike[str]) -> list[dict[str, float]]:
    """What the training of a codec logged of the usage and the perplexity of each level, by step.

    Args:
        folder: of the run; `trainer_state.json` is looked for in it and in its newest `checkpoint-*`, and
            `eval_results.json` gives the last measurement. Anything else has no history.

    Returns:
        By step, names as they were logged: those of held-out sequences begin with `eval_`.

    Example:

    >>> read_history("my-lab/on-the-hub")
    []
    """
    place = Path(folder)
    steps = {path: path.name.rpartition("-")[2] for path in place.glob("checkpoint-*")}
    newest = sorted((path for path in steps if steps[path].isdecimal()), key=lambda path: int(steps[path]))
    states = [_json_of(path / "trainer_state.json") for path in (place, *reversed(newest))]
    state = next((one for one in states if isinstance(one.get("log_history"), list)), {})
    entries = [one for one in state.get("log_history", []) if isinstance(one, dict)]
    if entries:
        entries.append({"step": state.get("global_step"), **_json_of(place / "eval_results.json")})
    history: dict[int, dict[str, float]] = {}
    for entry in entries:
        step = entry.get("step")
        found = {key: value for key, value in entry.items() if _LOGGED.fullmatch(key) and _is_number(value)}
        if isinstance(step, int) and found:
            history.setdefault(step, {"step": step}).update(found)
    return [history[step] for step in sorted(history)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _json_of(path: Path) -> dict[str, Any]:
    """What stands in a file; nothing where it is not there or damaged: a history is an extra."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _sample(genome: Genome, bases: int, seed: int) -> list[Region]:
    """Windows drawn without replacement until they hold `bases`, in the genome's order."""
    numbers = [-(-length // _SAMPLE_WINDOW) for length in genome.lengths.values()]
    first = np.cumsum([0, *numbers])
    chosen: list[int] = []
    for number in np.random.default_rng(seed).permutation(int(first[-1])).tolist():
        if bases <= 0:
            break
        chosen.append(number)
        bases -= _SAMPLE_WINDOW
    found = []
    for number in sorted(chosen):
        record = int(np.searchsorted(first, number, "right")) - 1
        name = genome.names[record]
        start = (number - int(first[record])) * _SAMPLE_WINDOW
        found.append(Region(name, start, min(start + _SAMPLE_WINDOW, genome.lengths[name]), name, "."))
    return found


def _default_region(genome: Genome, sample: Sequence[Region]) -> Region:
    """Of some windows of the sample, the longest stretch of known bases."""
    pieces = [one._replace(end=min(one.end, one.start + _DEFAULT_REGION)) for one in sample[:20]]
    known = [int((genome.fetch(one.chrom, one.start, one.end) != N_ID).sum()) for one in pieces]
    best = pieces[int(np.argmax(known))]
    return best._replace(name=f"{best.chrom}:{best.start + 1}-{best.end}")


def _widened(region: Region, genome: Genome, flank: int, stride: int) -> Region:
    """With what codes see on both sides, in whole patches; less at the record's ends."""
    left = min(flank, region.start // stride * stride)
    right = min(flank, (genome.lengths[region.chrom] - region.end) // stride * stride)
    return region._replace(start=region.start - left, end=region.end + right)


def _flank(checkpoint: Checkpoint) -> int:
    stride = checkpoint.bases_per_code
    return -(-int(checkpoint.codec_config.context) // stride) * stride


class _Tally:
    """Counts one level's codes and the bases around them."""

    def __init__(self, size: int, tap: int, context: int, shown: int, stride: int) -> None:
        self.size, self.tap, self.context, self.shown, self.stride = size, tap, context, shown, stride
        self.counts = np.zeros(size, np.int64)
        self.logo = np.zeros((2 * shown + stride, size, NUM_NUCLEOTIDES), np.int64)

    def add(self, codes: NDArray[Any], starts: NDArray[np.int64], ids: NDArray[np.uint8], ids_start: int) -> None:
        """Codes (n,) whose bases begin at `starts` (n,) of the record; ids (m,) are its bases from `ids_start` on."""
        known = codes != NO_CODE
        codes, starts = codes[known].astype(np.int64), starts[known] - ids_start
        self.counts += np.bincount(codes, minlength=self.size)
        columns = np.arange(-self.shown, self.stride + self.shown)
        around = starts[:, None] + columns
        inside = (around >= 0) & (around < len(ids))
        bases = np.where(inside, ids[np.clip(around, 0, len(ids) - 1)], N_ID).astype(np.int64) - FIRST_NUCLEOTIDE_ID
        whole = (bases < NUM_NUCLEOTIDES).all(1)
        cells = codes[whole, None] * NUM_NUCLEOTIDES + bases[whole]
        for column in range(len(columns)):
            counted = np.bincount(cells[:, column], minlength=self.size * NUM_NUCLEOTIDES)
            self.logo[column] += counted.reshape(self.size, NUM_NUCLEOTIDES)

    def finish(self, embed: torch.Tensor) -> LevelReport:
        """With the map of the code vectors (K, D)."""
        vectors = embed.detach().float().cpu().numpy()
        places, variance = _map(vectors, self.counts > 0)
        neighbours, distances = _nearest(vectors, self.counts > 0)
        logo = np.ascontiguousarray(self.logo.transpose(1, 0, 2))
        return LevelReport(
            self.tap, self.context, self.shown, self.counts, logo, places, variance, neighbours, distances
        )


def _tallies(checkpoint: Checkpoint) -> list[_Tally]:
    config, stride = checkpoint.codec_config, checkpoint.bases_per_code
    half = config.contexts

    def held(most: int) -> int:
        sizes = zip(config.codebook_sizes, half, strict=True)
        return sum(size * (2 * min(context, most) + stride) * NUM_NUCLEOTIDES for size, context in sizes)

    most = (_MOST_COLUMNS - stride) // 2
    while most > 2 and held(most) > _LOGO_BYTES:
        most -= 1
    levels = zip(config.codebook_sizes, config.tap_positions, half, strict=True)
    return [_Tally(size, tap, context, min(context, most), stride) for size, tap, context in levels]


def _count(
    checkpoint: Checkpoint, genome: Genome, sample: Sequence[Region], batch_bases: int | None, progress: bool | None
) -> list[_Tally]:
    """Each window is read with what its codes see beside it, so that they are those of the whole record."""
    tallies, stride, flank = _tallies(checkpoint), checkpoint.bases_per_code, _flank(checkpoint)
    widened = [_widened(one, genome, flank, stride) for one in sample]
    task = EncodeTask(
        checkpoint, genome, widened, window=max(CODEC_WINDOW, 8 * flank + stride), batch_bases=batch_bases
    )
    with bases_bar("report", task.total_bases, progress) as advance:
        for unit in task.units():
            table = task.compute(unit)
            numbers, starts = table["region"].to_pylist(), table["start"].to_pylist()
            levels = [table[f"codes_{level + 1}"] for level in range(len(tallies))]
            for row, (number, start) in enumerate(zip(numbers, starts, strict=True)):
                own, wide = sample[number], widened[number]
                ids = genome.fetch(wide.chrom, wide.start, wide.end)
                for tally, column in zip(tallies, levels, strict=True):
                    codes = column[row].values.to_numpy(zero_copy_only=False)
                    places = start + stride * np.arange(len(codes), dtype=np.int64)
                    kept = (places >= own.start) & (places < own.end)
                    tally.add(codes[kept], places[kept], ids, wide.start)
            advance(unit.bases)
    if not any(tally.counts.any() for tally in tallies):
        raise ValueError(f"{genome.path}: the sample holds no A, C, G or T: raise --sample-bases, or is it the genome?")
    return tallies


def _along(
    checkpoint: Checkpoint, genome: Genome, region: Region, features: Sequence[Feature], batch_bases: int | None
) -> RegionReport:
    stride = checkpoint.bases_per_code
    wide = _widened(region, genome, _flank(checkpoint), stride)._replace(strand=".")
    window = max(CODEC_WINDOW, 8 * _flank(checkpoint) + stride)
    task = EncodeTask(checkpoint, genome, [wide], strand="both", window=window, batch_bases=batch_bases)
    number = -(-region.length // stride)
    left, right = (region.start - wide.start) // stride, (wide.end - region.end) // stride
    rows = [row for unit in task.units() for row in task.compute(unit).to_pylist()]
    strands: dict[str, NDArray[np.int32]] = {}
    for sign in "+-":
        own = sorted((row for row in rows if row["strand"] == sign), key=lambda row: row["start"])
        names = [f"codes_{level + 1}" for level in range(len(checkpoint.codebook_sizes))]
        strands[sign] = np.array([np.concatenate([row[name] for row in own]) for name in names], np.int32)
    # The other strand's patches are counted from the region's end, so a short one stands at its start.
    last = strands["-"].shape[1] - right
    return RegionReport(
        region,
        decode_ids(genome.fetch(region.chrom, region.start, region.end)),
        strands["+"][:, left : left + number],
        strands["-"][:, last - number : last],
        region.start,
        region.end - number * stride,
        features,
    )


def _map(vectors: NDArray[np.float32], used: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Places (K, 2) on the principal components of the entries that occur, and the variance that these hold."""
    from sklearn.decomposition import PCA

    fitted = vectors[used] if used.sum() > 2 else vectors
    model = PCA(min(2, *fitted.shape), svd_solver="full")
    with np.errstate(invalid="ignore", divide="ignore"):  # of equal vectors
        model.fit(fitted)
    places, variance = np.zeros((len(vectors), 2), np.float32), np.zeros(2)
    places[:, : model.n_components_] = model.transform(vectors)
    variance[: model.n_components_] = np.nan_to_num(model.explained_variance_ratio_)
    return places, variance


def _nearest(vectors: NDArray[np.float32], used: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each entry the nearest others that occur, (K, n), and how far they are."""
    from sklearn.neighbors import NearestNeighbors

    numbers = np.flatnonzero(used)
    neighbours = np.full((len(vectors), NEIGHBOURS), -1, np.int32)
    distances = np.zeros((len(vectors), NEIGHBOURS), np.float32)
    model = NearestNeighbors(algorithm="brute").fit(vectors[numbers])
    far, near = model.kneighbors(vectors, min(NEIGHBOURS + 1, len(numbers)))
    for code, (row, found) in enumerate(zip(far, numbers[near], strict=True)):
        others = found != code  # itself, wherever it stands among equals
        kept = min(int(others.sum()), NEIGHBOURS)
        neighbours[code, :kept], distances[code, :kept] = found[others][:kept], row[others][:kept]
    return neighbours, distances
