# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A simulator of genomes and promoters, for machines without real data. Nothing it makes is biology.

**The genome** is a Markov chain of order 3 whose 64 x 4 transition matrix is drawn once a `species`
(Dirichlet around the wanted GC content), cut into pieces of 1,000 bases, every second one turned to the other
strand. Over it are written, on either strand:

- genes, a quarter of the bases: `ATG`, 100 to 400 codons with a strong species bias in their use, a stop
  codon;
- tandem repeats, about 3 %: a unit of 1 to 6 bases, 8 to 30 copies, 2 % of the letters changed;
- motifs, one every 100 bases or so: consensus sequences well known from the literature, written here as plain
  IUPAC strings; each ambiguous letter is drawn anew.

So there is something to learn at three ranges: the neighbours (the chain), words (codons, motifs) and copies
(repeats). Two genomes of one species and different seeds share the matrix, the codon use and the motifs, but
no sequence.

**The promoters** are a balanced two-class task in the GUE layout; see `simulate_promoters`.

Everything is a function of the arguments: the same call writes the same bytes.
"""

import gzip
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.files import write_bytes
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUCLEOTIDES, NUM_NUCLEOTIDES

DEFAULT_MOTIFS = (
    "TATAWAAR",  # TATA box
    "CCAAT",  # CCAAT box
    "GGGCGG",  # GC box
    "TGACGTCA",  # cAMP response element
    "CACGTG",  # E-box
    "TGASTCA",  # AP-1 site
    "GGGRNWYYCC",  # NF-kappa-B site
    "CCGCGNGGNGGCAG",  # core of an insulator site
    "AATAAA",  # polyadenylation signal
    "TTGACA",  # bacterial -35 box
)

_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
_ORDER = 3
_CHUNK_BASES = 1_000
_CONCENTRATION = 8.0
_STOP_CODONS = ("TAA", "TAG", "TGA")
_GENE_SHARE = 0.25
_REPEAT_SHARE = 0.03
_MOTIF_SPACING = 100

# Where a core promoter's elements stand (relative to the start of transcription), how often a positive has
# them, and how often a letter of one is replaced by any base. Tuned for the k-mer baseline in
# `simulate_promoters`.
_TATA_START, _TATA_JITTER, _TATA_SHARE = -31, 2, 0.5
_INITIATOR, _INITIATOR_START, _INITIATOR_SHARE = "YYANWYY", -2, 0.7
_DOWNSTREAM, _DOWNSTREAM_START, _DOWNSTREAM_SHARE = "RGWYV", 28, 0.4
_GC_BOX, _GC_BOX_SHARE = "GGGCGG", 0.7
_LETTER_NOISE = 0.05
_MIN_PROMOTER_LENGTH = 70

Codes = NDArray[np.uint8]


def simulate_genome(
    num_bases: int, *, seed: int, gc: float = 0.42, motifs: Sequence[str] = DEFAULT_MOTIFS, species: int = 0
) -> NDArray[np.uint8]:
    """Make one sequence; see the module for how.

    Args:
        num_bases: its length.
        seed: chooses the sequence; not negative.
        gc: the share of G and C the chain is drawn around, above 0 and below 1.
        motifs: IUPAC strings to plant.
        species: chooses the transition matrix and the codon use; not negative.

    Returns:
        (num_bases,) uint8 nucleotide ids, A C G T only; `decode_ids` writes them as text.

    Raises:
        ValueError: a length below 1, a GC share outside its range, a negative seed, or a motif with a letter
            outside the alphabet.

    Example:

    >>> ids = simulate_genome(5000, seed=1)
    >>> ids.shape, sorted(set(decode_ids(ids)))
    ((5000,), ['A', 'C', 'G', 'T'])
    >>> bool((ids == simulate_genome(5000, seed=1)).all())
    True
    """
    _check_not_negative(seed=seed, species=species)
    if num_bases < 1:
        raise ValueError(f"num_bases is {num_bases}: at least 1 is needed")
    if not 0 < gc < 1:
        raise ValueError(f"gc is {gc}: give a share above 0 and below 1")
    for motif in motifs:
        if not motif or any(letter not in _IUPAC for letter in motif):
            raise ValueError(f"motif {motif!r}: only the IUPAC letters {''.join(_IUPAC)} can be planted")
    rng = np.random.default_rng([seed, 1, species])
    genome = _markov(num_bases, _transitions(gc, species), rng)
    _plant_genes(genome, rng, _codon_use(species))
    _plant_repeats(genome, rng)
    for _ in range(num_bases // _MOTIF_SPACING if motifs else 0):
        _plant(genome, _instance(motifs[int(rng.integers(len(motifs)))], rng), rng)
    return _as_ids(genome)


def simulate_fasta(
    path: str | os.PathLike[str],
    *,
    num_bases: int = 1_000_000,
    num_contigs: int = 4,
    seed: int = 0,
    gc: float = 0.42,
    motifs: Sequence[str] = DEFAULT_MOTIFS,
    species: int = 0,
    line_width: int = 60,
) -> None:
    """Write a simulated genome as FASTA, atomically; gzip where the name ends in `.gz`.

    Args:
        path: the file to write; its folder must exist.
        num_bases: in all contigs together.
        num_contigs: the number of records, named `contig1`, ...; all but the last are equally long.
        seed: chooses the sequences; every header says `simulated=true seed=<seed>`.
        gc: see `simulate_genome`.
        motifs: see `simulate_genome`.
        species: see `simulate_genome`.
        line_width: bases a line.

    Raises:
        ValueError: as `simulate_genome`; fewer bases than contigs; no such folder.

    Example:

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "simulated.fa")
    >>> simulate_fasta(path, num_bases=1000, num_contigs=2, seed=3)
    >>> open(path).readline().strip()
    '>contig1 simulated=true seed=3 species=0 bases=500'
    """
    if num_contigs < 1 or num_bases < num_contigs:
        raise ValueError(f"num_bases is {num_bases}, num_contigs is {num_contigs}: a contig has at least 1 base")
    if line_width < 1:
        raise ValueError(f"line_width is {line_width}: at least 1 is needed")
    _check_not_negative(seed=seed)
    lines = []
    for number in range(1, num_contigs + 1):
        start, stop = (number - 1) * num_bases // num_contigs, number * num_bases // num_contigs
        contig_seed = int(np.random.default_rng([seed, number]).integers(2**63))
        ids = simulate_genome(stop - start, seed=contig_seed, gc=gc, motifs=motifs, species=species)
        text = decode_ids(ids)
        lines.append(f">contig{number} simulated=true seed={seed} species={species} bases={len(text)}")
        lines.extend(text[i : i + line_width] for i in range(0, len(text), line_width))
    _write_atomically(os.fspath(path), "\n".join(lines) + "\n")


def simulate_promoters(
    folder: str | os.PathLike[str],
    *,
    num_train: int = 2_000,
    num_dev: int = 250,
    num_test: int = 250,
    length: int = 70,
    seed: int = 0,
) -> None:
    """Write a two-class task in the GUE layout: `train.csv`, `dev.csv`, `test.csv` with `sequence,label`.

    Transcription starts in the middle. A positive (label 1) has, each with its own probability and with 5 %
    of the letters replaced: a TATA box at -31 +- 2, an initiator at -2, a downstream element at +28, and a GC
    box anywhere between the TATA box and the start. A negative is made in the same way, except that the
    letters of each element are shuffled and it stands anywhere: the composition is the same, so that counting
    bases does not help. Half of the rows are positives (to one row).

    Measured with 2,000 training and 1,000 test rows, seeds 0 to 2: a logistic regression on counts of words
    of 1 to 5 letters reaches an MCC of 0.52 to 0.56, on the one-hot letters in their places 0.68 to 0.71, on
    counts of single letters -0.02 to 0.07. Part of the signal is in the words, part in where they stand.

    Args:
        folder: where to write; made if it does not exist.
        num_train: rows of `train.csv`; at least 2, as for the others.
        num_dev: rows of `dev.csv`.
        num_test: rows of `test.csv`.
        length: bases a sequence, at least 70.
        seed: chooses the sequences; not negative.

    Raises:
        ValueError: too few rows, too short a sequence, or a negative seed.

    Example:

    >>> import tempfile, os
    >>> folder = tempfile.mkdtemp()
    >>> simulate_promoters(folder, num_train=8, num_dev=4, num_test=4, seed=0)
    >>> sorted(os.listdir(folder)), open(os.path.join(folder, "train.csv")).readline().strip()
    (['dev.csv', 'test.csv', 'train.csv'], 'sequence,label')
    """
    _check_not_negative(seed=seed)
    if length < _MIN_PROMOTER_LENGTH:
        raise ValueError(f"length is {length}: the elements of a promoter need {_MIN_PROMOTER_LENGTH} bases")
    sizes = {"train": num_train, "dev": num_dev, "test": num_test}
    for split, size in sizes.items():
        if size < 2:
            raise ValueError(f"num_{split} is {size}: at least 2 are needed, one a class")
    folder = os.fspath(folder)
    os.makedirs(folder, exist_ok=True)
    transitions = _transitions(0.5, species=0)
    for number, (split, size) in enumerate(sizes.items()):
        rng = np.random.default_rng([seed, 2, number])
        labels = rng.permutation(np.arange(size) % 2)
        rows = [f"{_promoter(bool(label), length, transitions, rng)},{label}" for label in labels]
        _write_atomically(os.path.join(folder, f"{split}.csv"), "\n".join(["sequence,label", *rows]) + "\n")


def _check_not_negative(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{name} is {value}: it must not be negative")


def _codes(text: str) -> Codes:
    return np.array([NUCLEOTIDES.index(letter) for letter in text], dtype=np.uint8)


def _as_ids(codes: Codes) -> NDArray[np.uint8]:
    return codes + np.uint8(FIRST_NUCLEOTIDE_ID)


def _other_strand(codes: Codes) -> Codes:
    return reverse_complement_array(_as_ids(codes)) - np.uint8(FIRST_NUCLEOTIDE_ID)


def _transitions(gc: float, species: int) -> NDArray[np.float64]:
    """Cumulative probabilities of the next base after each of the 64 words of 3: (64, 4)."""
    base = np.array([(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2])
    rng = np.random.default_rng([species, 3])
    return np.cumsum(rng.dirichlet(_CONCENTRATION * base, NUM_NUCLEOTIDES**_ORDER), axis=1)


def _markov(num_bases: int, cumulative: NDArray[np.float64], rng: np.random.Generator) -> Codes:
    # All pieces take their next step together: as fast as numpy for any length.
    pieces = -(-num_bases // _CHUNK_BASES)
    steps = min(num_bases, _CHUNK_BASES)
    out = np.empty((steps, pieces), dtype=np.uint8)
    state = rng.integers(len(cumulative), size=pieces)
    for step in range(steps):
        draw = rng.random(pieces)
        following = (draw[:, None] > cumulative[state, : NUM_NUCLEOTIDES - 1]).sum(axis=1)
        out[step] = following
        state = (state * NUM_NUCLEOTIDES + following) % len(cumulative)
    chains = out.T.copy()
    chains[1::2] = (NUM_NUCLEOTIDES - 1 - chains[1::2])[:, ::-1]  # A C G T: the complement of code c is 3 - c
    return chains.reshape(-1)[:num_bases].copy()


def _codon_use(species: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The 61 sense codons, (61, 3) codes, and how often each is used."""
    codons = [a + b + c for a in NUCLEOTIDES for b in NUCLEOTIDES for c in NUCLEOTIDES if a + b + c not in _STOP_CODONS]
    use = np.random.default_rng([species, 4]).dirichlet(np.full(len(codons), 0.3))
    return np.stack([_codes(codon) for codon in codons]), use


def _plant_genes(
    genome: Codes, rng: np.random.Generator, codon_use: tuple[NDArray[np.uint8], NDArray[np.float64]]
) -> None:
    codons, use = codon_use
    planted = 0
    while planted < _GENE_SHARE * len(genome):
        body = codons[rng.choice(len(codons), int(rng.integers(100, 401)), p=use)].reshape(-1)
        stop = _codes(_STOP_CODONS[int(rng.integers(len(_STOP_CODONS)))])
        gene = np.concatenate([_codes("ATG"), body, stop])
        planted += len(gene)
        _plant(genome, gene, rng)


def _plant_repeats(genome: Codes, rng: np.random.Generator) -> None:
    planted = 0
    while planted < _REPEAT_SHARE * len(genome):
        unit = rng.integers(NUM_NUCLEOTIDES, size=int(rng.integers(1, 7)), dtype=np.uint8)
        repeat = _noisy(np.tile(unit, int(rng.integers(8, 31))), 0.02, rng)
        planted += len(repeat)
        _plant(genome, repeat, rng)


def _plant(genome: Codes, element: Codes, rng: np.random.Generator) -> None:
    """Write an element over the genome somewhere, on either strand; what does not fit is left out."""
    if len(element) <= len(genome):
        start = int(rng.integers(len(genome) - len(element) + 1))
        genome[start : start + len(element)] = element if rng.random() < 0.5 else _other_strand(element)


def _instance(motif: str, rng: np.random.Generator) -> Codes:
    return _codes("".join(_IUPAC[letter][int(rng.integers(len(_IUPAC[letter])))] for letter in motif))


def _noisy(codes: Codes, share: float, rng: np.random.Generator) -> Codes:
    replaced = rng.random(len(codes)) < share
    return np.where(replaced, rng.integers(NUM_NUCLEOTIDES, size=len(codes), dtype=np.uint8), codes)


def _promoter(positive: bool, length: int, transitions: NDArray[np.float64], rng: np.random.Generator) -> str:
    sequence = _markov(length, transitions, rng)
    start = length // 2
    tata = start + _TATA_START + int(rng.integers(-_TATA_JITTER, _TATA_JITTER + 1))
    gc_box = int(rng.integers(tata + 8, start + _INITIATOR_START - len(_GC_BOX) + 1))
    elements = [
        (_GC_BOX, gc_box, _GC_BOX_SHARE),
        ("TATAWAAR", tata, _TATA_SHARE),
        (_INITIATOR, start + _INITIATOR_START, _INITIATOR_SHARE),
        (_DOWNSTREAM, start + _DOWNSTREAM_START, _DOWNSTREAM_SHARE),
    ]
    for motif, position, share in elements:
        if rng.random() < share:
            element = _noisy(_instance(motif, rng), _LETTER_NOISE, rng)
            if not positive:
                element = rng.permutation(element)
                position = int(rng.integers(length - len(element) + 1))
            sequence[position : position + len(element)] = element
    return decode_ids(_as_ids(sequence))


def _write_atomically(path: str, text: str) -> None:
    """Write beside the file, then move: a reader never sees half of it."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ValueError(f"{path}: its folder does not exist: make it first")
    data = text.encode("ascii")
    if path.lower().endswith(".gz"):
        data = gzip.compress(data, compresslevel=6, mtime=0)  # no time stamp: the same call, the same bytes
    write_bytes(path, data)
