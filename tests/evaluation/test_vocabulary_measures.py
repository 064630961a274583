# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Measures of vocabularies against what is known of them. Run: pytest tests/evaluation/test_vocabulary_measures.py"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from example_scripts import TINY_CODEC
from typer.testing import CliRunner

from vqdna_cli.main import main
from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data import Genome, Region, decode_ids, encode_sequence, simulate_genome, simulate_promoters
from vqdna_hf.evaluation.annotation import Annotation, read_annotation
from vqdna_hf.evaluation.genome_codes import (
    _read_labels,
    _rotated,
    annotation_information,
    encode_sample,
    kmer_information,
    offset_information,
    reconstruction,
    sample_regions,
    strand_information,
    usage_of,
)
from vqdna_hf.evaluation.gue_sets import find_sets, read_sets
from vqdna_hf.evaluation.information import centred_kmers, entropy, mutual_information
from vqdna_hf.evaluation.leak import MASK_LEVELS, masking_leak
from vqdna_hf.evaluation.records import read_records
from vqdna_hf.evaluation.stability import substitution_stability
from vqdna_hf.evaluation.vocabularies import CodecVocabulary, KmerVocabulary
from vqdna_hf.evaluation.vocabulary import Budget, measure_vocabulary
from vqdna_hf.inference import load_checkpoint
from vqdna_hf.model.tokenization_vqdna import reverse_complement

# A chain whose next base is known from the last one with 0.5 at best, as in tests/model/test_masking_leak.py.
TRANSITIONS = np.array(
    [[0.50, 0.20, 0.20, 0.10], [0.15, 0.25, 0.10, 0.50], [0.20, 0.45, 0.20, 0.15], [0.15, 0.10, 0.50, 0.25]]
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def markov_dna(rows: int, length: int, seed: int) -> np.ndarray:
    """(rows, length) nucleotide ids."""
    rng = np.random.default_rng(seed)
    bases = [rng.integers(4, size=rows)]
    for _ in range(length - 1):
        bases.append((rng.random((rows, 1)) > TRANSITIONS[bases[-1]].cumsum(1)).sum(1).clip(max=3))
    return (np.stack(bases, 1) + 5).astype(np.uint8)


def best_accuracy() -> float:
    """Of the guess from both neighbours, which are all that helps in a chain."""
    stationary = np.linalg.matrix_power(TRANSITIONS, 200)[0]
    return float((stationary[:, None, None] * TRANSITIONS[:, :, None] * TRANSITIONS[None]).max(1).sum())


@pytest.fixture(scope="module")
def genome() -> Genome:
    return Genome.from_sequences(["a", "b"], [simulate_genome(20_000, seed=0), simulate_genome(9_001, seed=1)])


@pytest.fixture(scope="module")
def trained() -> VQDNACodecModel:
    """Some steps on the chain, so that codes say something of their window."""
    torch.manual_seed(0)
    config = {**TINY_CODEC, "hidden_size": 32, "codebook_sizes": [64, 128], "codebook_dim": 32, "stem_size": 16}
    model = VQDNACodecModel(VQDNACodecConfig(**config, objective="window", window_radius=2, decay=0.9)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(70):
        loss = model(torch.from_numpy(markov_dna(32, 33, step).astype(np.int64))).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def make_codec(**values: Any) -> VQDNACodecModel:
    """A codec whose codebooks saw one batch."""
    torch.manual_seed(1)
    codec = VQDNACodecModel(VQDNACodecConfig(**{**TINY_CODEC, **values})).train()
    codec(torch.randint(5, 9, (16, 64)))
    return codec.eval()


def random_ids(count: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(size, size=count)


def test_a_column_tells_all_of_itself_and_of_what_it_determines() -> None:
    column = random_ids(5_000, 300, 0)
    same = mutual_information(column, column)
    assert same["bits"] == pytest.approx(entropy(column), abs=1e-5)
    assert same["normalised"] == pytest.approx(1.0)
    coarse = mutual_information(column, column // 10)
    assert coarse["bits"] == pytest.approx(entropy(column // 10), abs=1e-5)


@pytest.mark.parametrize("sizes", [(4, 4), (64, 3), (200, 200)])
def test_independent_columns_tell_nothing_after_correction(sizes: tuple[int, int]) -> None:
    one, other = random_ids(8_000, sizes[0], 1), random_ids(8_000, sizes[1], 2)
    found = mutual_information(one, other)
    assert abs(found["bits"]) < 0.02
    if sizes == (200, 200):
        assert found["plug_in"] > 1.0  # what is corrected


def test_half_a_bit_in_many_codes_is_found() -> None:
    # A binary channel behind 50 synonyms a symbol: the synonyms add entropy, and no information.
    rng = np.random.default_rng(3)
    sent = rng.integers(2, size=20_000)
    got = sent ^ (rng.random(20_000) < 0.11)
    codes = got * 50 + rng.integers(50, size=20_000)
    assert mutual_information(codes, sent)["bits"] == pytest.approx(0.5, abs=0.03)


def test_places_without_a_code_are_left_out_and_constants_tell_nothing() -> None:
    found = mutual_information(np.array([0, 1, -1, 0]), np.array([0, 1, 1, -1]))
    assert (found["positions"], found["bits"]) == (2, 0.0)  # too few to say more than chance
    assert mutual_information(np.zeros(100, int), random_ids(100, 4, 0))["bits"] == 0.0
    assert mutual_information(np.array([], int), np.array([], int))["positions"] == 0
    with pytest.raises(ValueError, match="give one of each"):
        mutual_information(np.zeros(3, int), np.zeros(4, int))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_centred_kmers_stand_around_the_middle(stride: int) -> None:
    ids = encode_sequence("ACGTTGCAAC", where="a test")
    text, found = decode_ids(ids), centred_kmers(ids, 3, stride)
    for patch, word in enumerate(found):
        middle = min(patch * stride + (stride - 1) // 2, len(text) - 1)
        around = text[middle - 1 : middle + 2] if middle else ""
        expected = KmerVocabulary(3).encode([around])[0][0, 0] if len(around) == 3 else -1
        assert word == expected


def test_samples_do_not_overlap_and_keep_to_their_budget(genome: Genome) -> None:
    regions = sample_regions(genome, 8_000, seed=1, chunk=1_000)
    assert sum(region.length for region in regions) <= 8_000
    assert all(region.length % 8 == 0 for region in regions)
    assert len({region[:2] for region in regions}) == len(regions)
    assert {region.chrom for region in sample_regions(genome, 10**9, records=["b"])} == {"b"}
    with pytest.raises(ValueError, match="no record has 8 bases"):
        sample_regions(Genome.from_sequences(["x"], ["ACGT"]), 100)


def test_kmers_measured_as_codes_tell_of_kmers_what_arithmetic_says(genome: Genome) -> None:
    sample = encode_sample(KmerVocabulary(1), genome, sample_regions(genome, 20_000))
    rows = kmer_information(sample, [1, 3])[0]
    assert rows["1"]["normalised"] == rows["3"]["normalised"] == 1.0
    strand = strand_information(sample)
    assert strand["levels"][0]["normalised"] == pytest.approx(1.0)  # the complement is known
    assert strand["levels"][0]["agreement"] == 0.0  # and is never the base itself
    assert strand["controls"]["3"]["normalised"] == pytest.approx(1.0)
    usage = usage_of(sample)[0]
    assert (usage["size"], usage["used"], usage["usage"]) == (4, 4, 1.0)
    assert 3.5 < usage["perplexity"] <= 4.0


@pytest.mark.parametrize("k", [3, 5])
def test_a_word_tells_of_the_bases_in_it_alone(genome: Genome, k: int) -> None:
    sample = encode_sample(KmerVocabulary(k), genome, sample_regions(genome, 20_000, chunk=20_000))
    # Words are numbered by where they begin; at the end there are fewer than bases.
    padded = [np.pad(codes, ((0, 0), (0, k - 1)), constant_values=-1) for codes in sample.forward]
    found = offset_information(replace(sample, forward=padded), reach=6)
    for offset, bits in zip(found["offsets"], found["levels"][0], strict=True):
        assert bits > 1.8 if 0 <= offset < k else bits < 0.2


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_mirrored_codes_are_those_of_the_same_bases(genome: Genome, stride: int) -> None:
    vocabulary = CodecVocabulary(make_codec(codec_stride=stride))
    regions = sample_regions(genome, 400, chunk=400)
    sample = encode_sample(vocabulary, genome, regions)
    text = decode_ids(sample.ids[0])
    own, other = (vocabulary.encode([one])[0] for one in (text, reverse_complement(text)))
    assert sample.mirrored(1).tolist() == other[1, ::-1].tolist()
    assert sample.column(0).tolist() == own[0].tolist()
    assert len(sample.kmers(3)) == len(sample.mirrored_kmers(3)) == own.shape[1]


def test_codes_of_a_trained_codec_tell_of_their_bases(trained: VQDNACodecModel) -> None:
    text = decode_ids(markov_dna(1, 6_000, 99)[0])
    genome = Genome.from_sequences(["a"], [text])
    sample = encode_sample(CodecVocabulary(trained), genome, sample_regions(genome, 6_000))
    coarse = kmer_information(sample, [1, 3])[0]
    assert coarse["1"]["normalised"] > 0.7
    assert coarse["3"]["bits"] > coarse["1"]["bits"] + 1.0
    found = reconstruction(load_checkpoint(trained, "decoder", device="cpu"), sample)
    assert found["accuracy"] > found["commonest"] + 0.2
    assert found["bases"] == sample.bases


@pytest.mark.parametrize("values", [{}, {"codec_stride": 2}, {"codec_stride": 8}, {"kernel_size": 3}])
def test_no_code_changes_beyond_the_receptive_field(genome: Genome, values: dict[str, int]) -> None:
    codec = make_codec(**values)
    config = codec.config
    found = substitution_stability(CodecVocabulary(codec), genome, reach=3 * config.context, positions=20)
    fine, coarse = found["levels"][1], found["levels"][0]
    stride = config.codec_stride
    assert fine["furthest"] <= -(-config.context // stride) * stride
    block = config.kernel_size // 2  # the coarse tap stands behind the first of two blocks
    assert coarse["furthest"] <= -(-(config.stem_kernel_size // 2 + stride * block) // stride) * stride
    assert found["substitutions"] == 60
    assert fine["changed"] == pytest.approx(sum(fine["by_distance"]), abs=0.01)
    assert fine["changed"] > 0


def test_the_stability_of_kmers_is_known(genome: Genome) -> None:
    found = substitution_stability(KmerVocabulary(5), genome, reach=8, positions=10)["levels"][0]
    assert found["changed"] == 5.0
    assert found["furthest"] == 4
    assert found["unchanged"] == 0.0
    assert found["changed_by_transition"] == found["changed_by_transversion"] == 5.0


def test_substitutions_need_room_and_known_bases() -> None:
    with pytest.raises(ValueError, match="no record has the 41 bases"):
        substitution_stability(KmerVocabulary(3), Genome.from_sequences(["a"], ["ACGT" * 5]), reach=10)
    with pytest.raises(ValueError, match="without N"):
        substitution_stability(KmerVocabulary(3), Genome.from_sequences(["a"], ["N" * 99]), reach=10, positions=3)


def test_hidden_codes_leak_and_hidden_nucleotides_do_not(trained: VQDNACodecModel) -> None:
    checkpoint = load_checkpoint(trained, device="cpu")
    state = torch.random.get_rng_state()
    found = masking_leak(checkpoint, markov_dna(400, 64, 5), test_windows=100, mask_rate=0.15, steps=60)
    assert torch.equal(state, torch.random.get_rng_state())
    best = best_accuracy()
    # 1,000 bases are asked for: two standard errors are 0.03. A neighbour that is masked, too, tells less.
    assert best - 0.12 < found["nucleotide"]["accuracy"] < best + 0.03
    assert found["code"]["accuracy"] > best + 0.15
    assert found["code"]["code_accuracy"][0] > found["nucleotide"]["code_accuracy"][0]


def test_a_run_of_n_is_no_code_that_was_guessed(trained: VQDNACodecModel) -> None:
    checkpoint = load_checkpoint(trained, device="cpu")
    whole = np.random.default_rng(7).integers(5, 9, (120, 64), dtype=np.uint8)
    half = whole.copy()
    half[:, 16:48] = 9  # N
    one, other = (masking_leak(checkpoint, ids, test_windows=40, steps=20) for ids in (whole, half))
    assert other["masked"] == pytest.approx(one["masked"] / 2, rel=0.1)
    for level in MASK_LEVELS:  # of 300 codes, each with 0.3 at most: two standard errors are 0.05
        assert other[level]["code_accuracy"] == pytest.approx(one[level]["code_accuracy"], abs=0.12)
    with pytest.raises(ValueError, match="of the 40 windows that are held out no A, C, G or T is masked"):
        masking_leak(checkpoint, np.full_like(whole, 9), test_windows=40, steps=1)
    half[:60] = 9  # most batches hold nothing to learn from
    half[60:80, 3:] = 9
    assert np.isfinite(masking_leak(checkpoint, half, test_windows=40, steps=3)["code"]["accuracy"])


GFF = """##gff-version 3
chr1\t.\tmRNA\t11\t60\t.\t+\t.\tID=t1;Parent=g1
chr1\t.\texon\t11\t30\t.\t+\t.\tParent=t1
chr1\t.\texon\t41\t60\t.\t+\t.\tParent=t1
chr1\t.\tCDS\t21\t30\t.\t+\t0\tParent=t1
chr1\t.\tCDS\t41\t45\t.\t+\t2\tParent=t1
chr1\t.\tintron\t1\t90\t9\t+\t.\tName=of another source
chr1\t.\tCDS\t71\t79\t.\t-\t0\tParent=t2
chr9\t.\tCDS\t1\t9\t.\t-\t0\tParent=t3
"""


def test_gff3_becomes_labels_on_both_strands(tmp_path: Path) -> None:
    path = tmp_path / "a.gff3"
    path.write_text(GFF)
    genome = Genome.from_sequences(["1"], ["ACGTACGTAC" * 10])
    annotation = read_annotation(path, genome, tss_window=3)
    assert annotation.skipped == ["chr9"]
    assert annotation.records == ["1"]
    phase = annotation.tracks["phase"]["1"]
    assert phase[0, 20:30].tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert phase[0, 40:45].tolist() == [1, 2, 0, 1, 2]  # the codon goes on across the intron
    assert phase[1, 70:79].tolist() == [2, 1, 0] * 3
    whole = Region("1", 70, 79, "", ".")
    assert annotation.labels("phase", whole, reverse=True).tolist() == [0, 1, 2] * 3
    intron, exon = annotation.tracks["intron"]["1"], annotation.tracks["exon"]["1"]
    assert np.flatnonzero(intron[0] == 1).tolist() == list(range(30, 40))
    assert np.flatnonzero(intron[1] == -1).tolist() == list(range(30, 40))
    assert exon[0, 70:79].tolist() == [-1] * 9  # only the other strand has one
    assert np.flatnonzero(annotation.tracks["tss"]["1"][0] == 1).tolist() == list(range(7, 14))
    assert "transcript" not in annotation.tracks


def test_bed_names_chromosomes_in_its_own_way(tmp_path: Path) -> None:
    path = tmp_path / "a.bed"
    path.write_text("chrI\t10\t30\tone\t0\t+\nchrI\t50\t70\ttwo\t0\t-\n")
    annotation = read_annotation(path, Genome.from_sequences(["I", "II"], ["A" * 100, "C" * 10]), tss_window=2)
    assert list(annotation.tracks) == ["transcript", "tss"]
    tss = annotation.tracks["tss"]["I"]
    assert np.flatnonzero(tss[0] == 1).tolist() == [8, 9, 10, 11, 12]
    assert np.flatnonzero(tss[1] == 1).tolist() == [67, 68, 69, 70, 71]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.gff3", "1\t.\tCDS\t1\n", "line 1: 4 columns"),
        ("a.gff3", "#\n1\t.\tCDS\t9\t3\t.\t+\t0\tID=a\n", "line 2: start '9' and end '3'"),
        ("a.gff3", "1\t.\tCDS\t1\t\u00b2\t.\t+\t0\tID=a\n", "line 1: start '1' and end '\u00b2'"),
        ("a.gff3", f"1\t.\tCDS\t1\t{'9' * 5_000}\t.\t+\t0\tID=a\n", "line 1: start '1' and end '9{20}' should"),
        ("a.gff3", "1\t.\tCDS\t1\t3\t.\t+\t.\tID=a\n", "line 1: the phase of a CDS"),
        ("a.gff3", "1\t.\texon\t1\t300\t.\t+\t.\tID=a\n", "line 1: ends at 300, and record '1'"),
        ("a.gff3", "7\t.\texon\t1\t30\t.\t+\t.\tID=a\n", "says nothing of a record of .*no record '7'"),
        ("a.bed", "1\t3\t9\n", "no line has a strand"),
        ("a.txt", "", "an annotation is .gff, .gff3 or .bed"),
    ],
)
def test_bad_annotations_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_annotation(tmp_path / name, Genome.from_sequences(["1", "2"], ["ACGT" * 10, "AC"]))


def test_codons_are_seen_by_words_on_their_own_strand(tmp_path: Path) -> None:
    # Genes whose every codon is GCA, GCC, GCG or GCT, on both strands, between random bases.
    rng = np.random.default_rng(0)
    parts, lines, place = [], [], 0
    for number in range(40):
        gene = "".join("GC" + base for base in rng.choice(list("ACGT"), 40))
        strand = "+-"[number % 2]
        spacer = "".join(rng.choice(list("ACGT"), 50))
        start = place + len(spacer) + 1
        lines.append(f"1\t.\tCDS\t{start}\t{start + len(gene) - 1}\t.\t{strand}\t0\tID=g{number}\n")
        parts += [spacer, gene if strand == "+" else reverse_complement(gene)]
        place += len(spacer) + len(gene)
    path = tmp_path / "a.gff3"
    path.write_text("".join(lines))
    genome = Genome.from_sequences(["1"], ["".join(parts)])
    annotation = read_annotation(path, genome)
    sample = encode_sample(KmerVocabulary(1), genome, sample_regions(genome, 10**6))
    found = annotation_information(sample, annotation)["phase"]
    assert sum(found["labelled"].values()) > 40 * 120 * 0.9
    assert found["levels"][0]["bits"] > 0.6  # a base alone
    assert found["controls"]["3"]["bits"] > 1.2  # of log2(3) = 1.58
    assert found["controls"]["3"]["normalised"] > found["levels"][0]["normalised"]


def test_labels_that_mean_nothing_are_within_their_rotations(genome: Genome) -> None:
    """Runs of labels beside stretches of their own composition: more bits than shuffling says, and no evidence."""
    rng = np.random.default_rng(0)
    parts = [rng.choice(list("ACGT"), 500, p=[gc / 2, 0.5 - gc / 2, 0.5 - gc / 2, gc / 2]) for gc in rng.random(100)]
    text = "".join(base for part in parts for base in part)
    runs = np.repeat(rng.integers(2, size=100), 500).astype(np.int8)
    of_first = np.array([base in "AC" for base in text], dtype=np.int8)
    own = Genome.from_sequences(["1"], [text])
    tracks = {"runs": {"1": np.stack([runs, runs])}, "base": {"1": np.stack([of_first, 1 - of_first])}}
    sample = encode_sample(KmerVocabulary(1), own, sample_regions(own, 10**6))
    found = annotation_information(sample, Annotation("a.gff3", tracks))
    for track, known in (("runs", False), ("base", True)):
        for one in (*found[track]["levels"], *found[track]["controls"].values()):
            assert one["rotated_max"] >= one["rotated_mean"]
            assert (one["bits"] > 2 * one["rotated_max"]) is known, (track, one)
    assert found["runs"]["controls"]["5"]["rotated_mean"] > 0.003  # what shuffling takes for information
    again = annotation_information(sample, Annotation("a.gff3", tracks), rotations=0)
    assert "rotated_max" not in again["runs"]["levels"][0]
    assert again["runs"]["levels"][0]["bits"] == found["runs"]["levels"][0]["bits"]


@pytest.mark.parametrize("stride", [1, 2])
def test_rotations_keep_labels_of_a_record_and_of_both_strands_together(stride: int) -> None:
    own = Genome.from_sequences(["1", "2"], ["ACGT" * 4_000, "A" * 40])
    regions = sample_regions(own, 10**6)
    marked = np.arange(16_000) % 100
    chunks = [np.stack([marked[r.start : r.end], -marked[r.start : r.end]]).astype(np.int8) for r in regions[:-1]]
    chunks.append(np.full((2, 40), 101, dtype=np.int8))
    turned = _rotated(chunks, regions, np.random.default_rng(0))
    assert [one.shape for one in turned] == [one.shape for one in chunks]
    assert (turned[-1] == 101).all()
    joined = np.concatenate(turned[:-1], axis=1)
    assert (joined[0] == -joined[1]).all()
    assert (np.diff(joined[0].astype(int)) % 100 == 1).all()  # one circle
    assert len(_read_labels(turned, stride)) == 2 * 16_040 // stride


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, trained: VQDNACodecModel) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inputs")
    trained.save_pretrained(folder / "codec")
    (folder / "g.fa").write_text(f">1\n{decode_ids(simulate_genome(12_000, seed=3))}\n")
    (folder / "a.gff3").write_text("chr1\t.\tCDS\t101\t400\t.\t+\t0\tID=a\n")
    simulate_promoters(folder / "gue" / "own", num_train=60, num_dev=20, num_test=20, seed=0)
    return {name: str(folder / path) for name, path in
            {"codec": "codec", "genome": "g.fa", "annotation": "a.gff3", "gue": "gue"}.items()}  # fmt: skip


def test_everything_in_one_record(inputs: dict[str, str], tmp_path: Path) -> None:
    from vqdna_cli.vocabulary import register_on

    app = typer.Typer()
    app.callback()(lambda: None)
    register_on(app)
    arguments = ["vocabulary", inputs["codec"], "--genome", inputs["genome"], "--data_path", inputs["gue"]]
    arguments += ["--annotation", inputs["annotation"], "-o", str(tmp_path / "record.json")]
    arguments += ["--max-bases", "8000", "--positions", "10", "--max-train", "40", "--leak-steps", "3"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    [record] = read_records(tmp_path, "vocabulary")
    assert (record["name"], record["seeds"]) == ("codec", [0])
    found = record["results"]
    assert found["left_out"] == {}
    assert found["codec"]["codebook_sizes"] == [64, 128]
    for part in ("reconstruction", "usage", "kmers", "offsets", "strand", "stability", "leak", "annotation", "probe"):
        assert found[part]
        assert found["seconds"][part] >= 0
    assert found["probe"]["own"]["mean"]["train"] == 40
    assert found["annotation"]["a.gff3"]["tracks"]["phase"]["labelled"]
    assert json.loads(json.dumps(found)) == found


def test_inputs_are_checked_before_anything_is_measured(inputs: dict[str, str], tmp_path: Path) -> None:
    codec = inputs["codec"]
    with pytest.raises(ValueError, match="nothing to measure"):
        measure_vocabulary(codec)
    with pytest.raises(ValueError, match="parts colour: choose of"):
        measure_vocabulary(codec, genome=inputs["genome"], parts=["colour"])
    with pytest.raises(ValueError, match="sets tf/0 are for the probe, which is none of the parts usage"):
        measure_vocabulary(codec, genome=inputs["genome"], gue=[], sets=["tf/0"], parts=["usage"])
    with pytest.raises(ValueError, match="parts probe: their input"):
        measure_vocabulary(codec, genome=inputs["genome"], parts=["probe"])
    with pytest.raises(ValueError, match="give that, too"):
        measure_vocabulary(codec, annotation=inputs["annotation"])
    with pytest.raises(ValueError, match="holds no set"):
        measure_vocabulary(codec, genome=inputs["genome"], gue=tmp_path)
    with pytest.raises(ValueError, match=r"sets tf/0: give the folder that they are in, too .--data."):
        measure_vocabulary(codec, genome=inputs["genome"], sets=["tf/0"])
    own = read_sets(find_sets(inputs["gue"]).choose(None))
    with pytest.raises(ValueError, match="sets tf/0: there are own"):
        measure_vocabulary(codec, gue=own, sets=["tf/0"])
    with pytest.raises(ValueError, match="seed -1: give a whole number from 0"):
        Budget(seed=-1)


def verb(inputs: dict[str, str], *words: str) -> int:
    small = ["--max-bases", "8000", "--positions", "10", "--max-train", "40", "--leak-steps", "3"]
    return main(["evaluate", "vocabulary", inputs["codec"], *small, *words])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("sequence,label\nACGT,0\nACGG,0\nTTGA,1\nTTGC,1\nACCA,2\n", "class 2 has 1 of 5"),
        ("sequence1,sequence2,label\nACGT,AC,0\nACGA,AC,0\nTTGC,GG,1\n", "pairs"),
    ],
)
def test_sets_that_cannot_be_probed_are_refused_before_the_genome_is_measured(
    inputs: dict[str, str],
    tmp_path: Path,
    table: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vqdna_hf.evaluation.vocabulary.encode_sample", lambda *_: pytest.fail("encoded"))
    (tmp_path / "gue" / "tf" / "0").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (tmp_path / "gue" / "tf" / "0" / f"{split}.csv").write_text(table)
    output = tmp_path / "record.json"
    assert verb(inputs, "--genome", inputs["genome"], "--data", str(tmp_path / "gue"), "-o", str(output)) == 2
    assert re.search(rf"error: tf/0, .*train\.csv: {message}", capsys.readouterr().err)


def test_only_records_of_vocabularies_are_overwritten(
    inputs: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "record.json"
    words = ["--genome", inputs["genome"], "--part", "usage", "-o", str(output)]
    for foreign in ("{}", "[1]", "no JSON", "\u00b2", json.dumps({"format": 1, "kind": "gue"})):
        output.write_text(foreign)
        assert verb(inputs, *words) == 2
        assert f"{output}: is there, and is no record of a vocabulary: give another name" in capsys.readouterr().err
        assert output.read_text() == foreign
    output.unlink()
    assert verb(inputs, *words) == 0
    assert verb(inputs, *words) == 0


def test_annotations_of_one_name_are_both_kept(inputs: dict[str, str], tmp_path: Path) -> None:
    places = []
    for name, end in (("a", 400), ("b", 700)):
        (tmp_path / name).mkdir()
        places.append(tmp_path / name / "g.gff3")
        places[-1].write_text(f"1\t.\tCDS\t101\t{end}\t.\t+\t0\tID=a\n")
    given: list[str | Path] = [*places, places[0], inputs["annotation"]]
    found = measure_vocabulary(
        inputs["codec"],
        genome=inputs["genome"],
        annotation=given,
        parts=["annotation"],
        budget=Budget(max_bases=12_000),
    )["annotation"]
    assert list(found) == [*map(str, places), "a.gff3"]
    counts = [sum(one["tracks"]["phase"]["labelled"].values()) for one in found.values()]
    assert counts == [300, 600, 300]


@pytest.mark.parametrize(
    ("sequence", "part", "message"),
    [
        ("ACGT" * 15, "leak", "part leak: the sample has 0 windows of 128 bases"),
        ("ACGT" * 5, "stability", "part stability: .*no record has the"),
        ("N" * 3_000, "reconstruction", "g.fa: the sample holds no A, C, G or T"),
        ("N" * 3_000, None, "g.fa: the sample holds no A, C, G or T"),
    ],
)
def test_what_is_asked_for_and_cannot_be_made_is_an_error(
    inputs: dict[str, str],
    tmp_path: Path,
    sequence: str,
    part: str | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "g.fa").write_text(f">1\n{sequence}\n")
    output = tmp_path / "record.json"
    words = ["--part", part] if part else []
    assert verb(inputs, "--genome", str(tmp_path / "g.fa"), "--part", "usage", *words, "-o", str(output)) == 2
    assert re.search(f"error: .*{message}", capsys.readouterr().err)
    assert not output.exists()


def test_what_cannot_be_made_is_left_out_where_nothing_is_asked_for(inputs: dict[str, str], tmp_path: Path) -> None:
    genome = Genome.from_sequences(["1"], ["ACGT" * 15 + "N" * 40])
    (tmp_path / "a.gff3").write_text("1\t.\tCDS\t1\t30\t.\t+\t0\tID=a\n")
    found = measure_vocabulary(inputs["codec"], genome=genome, annotation=tmp_path / "a.gff3")
    assert set(found["left_out"]) == {"leak"}
    assert found["annotation"]["a.gff3"]["tracks"]["phase"]["levels"][0]["rotated_max"] >= 0
