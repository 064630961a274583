# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Answers of fine-tuned models: those of the stock pipelines, of windows, of bases; as tables and as tracks."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from transformers import pipeline

from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    build_tokenizer,
    reverse_complement,
)
from vqdna_hf.data import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.inference import predict
from vqdna_hf.inference.tracks import import_bigwig
from vqdna_hf.model.pipeline_vqdna import plan_windows, read_nucleotides, stitch_windows
from vqdna_hf.training import add_lora

SIZES: dict[str, Any] = {**TINY_MODEL, "max_position_embeddings": 66, "initializer_range": 0.3}
LABELS = ["promoter", "enhancer", "neither"]
NAMED: dict[str, Any] = {
    "id2label": dict(enumerate(LABELS)), "label2id": {label: number for number, label in enumerate(LABELS)}
}  # fmt: skip
NAMES = ["a", "b", "c", "d"]


def random_text(bases: int, seed: int = 0) -> str:
    return decode_ids(np.random.default_rng(seed).integers(5, 10, bases).astype(np.uint8))


SHORT = [random_text(bases, bases) for bases in (64, 1, 40, 41)]
LONG = [random_text(bases, bases) for bases in (64, 130, 65, 171)]


@pytest.fixture(scope="module")
def codec() -> VQDNACodecModel:
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC, initializer_range=0.3)).train()
    codec(torch.randint(5, 9, (8, 60)))
    return codec.eval()


@pytest.fixture(scope="module")
def model(codec: VQDNACodecModel) -> Any:
    """A classifier of sequences of up to 64 nucleotides, which does not give all the same label."""
    torch.manual_seed(0)
    model = VQDNAForSequenceClassification.from_codec(codec, **SIZES, **NAMED).eval()
    mean = torch.stack([logits(model, text) for text in SHORT]).mean(0)
    model.classifier.bias.data -= mean
    return model


@pytest.fixture(scope="module")
def tokens(codec: VQDNACodecModel) -> Any:
    """A classifier of positions."""
    torch.manual_seed(0)
    return VQDNAForTokenClassification.from_codec(codec, **SIZES, **NAMED).eval()


def genome_of(texts: list[str]) -> Genome:
    return Genome.from_sequences(NAMES[: len(texts)], texts)


def values(table: pa.Table, prefix: str = "probability_") -> np.ndarray:
    """(rows, labels)."""
    return np.stack([table[name].to_numpy() for name in table.column_names if name.startswith(prefix)], axis=1)


def logits(model: Any, text: str, other: str | None = None) -> torch.Tensor:
    """Of a plain pass; special tokens included where there is an answer a position."""
    parts = [torch.tensor([2]), read_nucleotides(text), torch.tensor([3])]
    parts += [] if other is None else [read_nucleotides(other), torch.tensor([3])]
    with torch.inference_mode():
        return model(torch.cat(parts)[None]).logits[0]


def base_logits(model: Any, text: str, window: int, overlap: int, other_strand: bool = False) -> torch.Tensor:
    """(n, labels) of all bases, each from the window in which it is most central."""
    windows = plan_windows(len(text), window, overlap)
    pieces = [text[start:end] for start, end, *_ in windows]
    if other_strand:
        found = [logits(model, reverse_complement(piece))[1:-1].flip(0) for piece in pieces]
    else:
        found = [logits(model, piece)[1:-1] for piece in pieces]
    return stitch_windows(found, windows)


# Classifiers of sequences.


def test_equal_to_the_stock_pipeline(model: Any) -> None:
    pipe = pipeline("text-classification", model=model, tokenizer=build_tokenizer(), device="cpu", top_k=None)
    with genome_of(SHORT) as genome:
        table = predict(model, genome)
    assert table.column_names == [
        "name", "chrom", "start", "end", "strand", "label", *(f"probability_{label}" for label in LABELS)
    ]  # fmt: skip
    for row, answers in zip(table.to_pylist(), pipe(SHORT), strict=True):
        assert row["label"] == answers[0]["label"]
        for answer in answers:
            assert row[f"probability_{answer['label']}"] == pytest.approx(answer["score"], abs=1e-6)
    assert len(set(table["label"].to_pylist())) > 1
    assert table["end"].to_pylist() == list(map(len, SHORT))


@pytest.mark.parametrize(
    ("settings", "columns"),
    [
        ({"problem_type": "multi_label_classification", **NAMED}, [f"probability_{label}" for label in LABELS]),
        ({"problem_type": "regression", "num_labels": 1}, ["value"]),
        ({"problem_type": "regression", **NAMED}, [f"value_{label}" for label in LABELS]),
        ({"num_labels": 1}, ["probability_LABEL_0"]),
    ],
)
def test_other_kinds_of_answers_are_those_of_the_stock_pipeline(
    codec: VQDNACodecModel, settings: dict[str, Any], columns: list[str]
) -> None:
    torch.manual_seed(1)
    model = VQDNAForSequenceClassification.from_codec(codec, **SIZES, **settings).eval()
    pipe = pipeline("text-classification", model=model, tokenizer=build_tokenizer(), device="cpu", top_k=None)
    with genome_of(SHORT) as genome:
        table = predict(model, genome)
    is_number = settings.get("problem_type") == "regression"
    assert table.column_names[5:] == [*([] if is_number else ["label"]), *columns]
    for row, answers in zip(table.to_pylist(), pipe(SHORT), strict=True):
        scores = {answer["label"]: answer["score"] for answer in answers}
        expected = [scores[model.config.id2label[number]] for number in range(len(columns))]
        assert [row[column] for column in columns] == pytest.approx(expected, abs=1e-5)
        if not is_number:
            assert row["label"] == [model.config.id2label[at] for at, score in enumerate(expected) if score >= 0.5]


def test_logits_of_both_strands_are_averaged(model: Any, codec: VQDNACodecModel) -> None:
    forward = torch.stack([logits(model, text) for text in SHORT])
    other = torch.stack([logits(model, reverse_complement(text)) for text in SHORT])
    with genome_of(SHORT) as genome:
        both = predict(model, genome, strand="both")
        np.testing.assert_allclose(values(both), ((forward + other) / 2).softmax(-1), atol=1e-6)
        np.testing.assert_allclose(values(predict(model, genome, strand="reverse")), other.softmax(-1), atol=1e-6)
        # A model that averages by itself is not asked twice, and has no other strand.
        averaging = VQDNAForSequenceClassification.from_codec(codec, **SIZES, **NAMED, average_strands=True).eval()
        averaging.load_state_dict(model.state_dict())
        for strand in ("forward", "reverse", "both"):
            table = predict(averaging, genome, strand=strand)
            np.testing.assert_allclose(values(table), values(both), atol=1e-6)
            assert set(table["strand"].to_pylist()) == {"."}
        with pytest.raises(ValueError, match="strand 'sense'"):
            predict(averaging, genome, strand="sense")


def test_a_sequence_that_is_too_long_is_refused_or_read_in_windows(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with genome_of(LONG) as genome:
        message = "<memory>, record 'b': 130 nucleotides, and this model reads at most 64 at once: give --window"
        with pytest.raises(ValueError, match=message):
            predict(model, genome)
        with pytest.raises(ValueError, match="overlap 3: is for windows, give --window as well"):
            predict(model, genome, overlap=3)
        table = predict(model, genome, window=50, overlap=20)
        monkeypatch.setenv("VQDNA_UNIT_BASES", "70")
        np.testing.assert_allclose(values(predict(model, genome, window=50, overlap=20)), values(table), atol=1e-6)
    bounds = [
        (name, window.start, window.end)
        for name, text in zip(NAMES, LONG, strict=True)
        for window in plan_windows(len(text), 50, 20)
    ]
    rows = table.to_pylist()
    assert [(row["name"], row["start"], row["end"]) for row in rows] == bounds
    expected = [logits(model, LONG[NAMES.index(name)][start:end]).softmax(-1) for name, start, end in bounds]
    np.testing.assert_allclose(values(table), torch.stack(expected), atol=1e-6)


def test_rows_of_a_table_keep_their_names_and_labels(model: Any, tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    table.write_text("sequence,label,id\n" + "".join(f"{text},{at},r{at}\n" for at, text in enumerate(SHORT)))
    found = predict(model, table)
    assert found.column_names[:6] == ["name", "start", "end", "strand", "given_label", "label"]
    assert found["name"].to_pylist() == ["r0", "r1", "r2", "r3"]
    assert found["given_label"].to_pylist() == ["0", "1", "2", "3"]
    with genome_of(SHORT) as genome:
        np.testing.assert_allclose(values(found), values(predict(model, genome)), atol=1e-6)
    table.write_text("sequence,label\nACGT,0\n" + f"{LONG[1]},1\n")
    with pytest.raises(ValueError, match=r"test.csv, row 2: 130 nucleotides.*at most 64 at once: give --window"):
        predict(model, table)
    for output in ("out.bed", "out.bw", "out.bedgraph"):
        with pytest.raises(ValueError, match=r"test.csv: rows of a table have no place on a genome"):
            predict(model, table, tmp_path / output)
    assert [file.name for file in tmp_path.iterdir()] == ["test.csv"]


def test_pairs_are_read_as_in_training(model: Any, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    pairs = [("ACGTT", "GGCAN"), (SHORT[2], "TT"), ("A", SHORT[3])]
    table.write_text("sequence1,sequence2,label\n" + "".join(f"{one},{other},0\n" for one, other in pairs))
    forward = torch.stack([logits(model, *pair) for pair in pairs])
    ids = build_tokenizer()(*pairs[0], return_tensors="pt").input_ids
    with torch.inference_mode():
        torch.testing.assert_close(model(ids).logits[0], forward[0])
    np.testing.assert_allclose(values(predict(model, table)), forward.softmax(-1), atol=1e-6)
    other = torch.stack([logits(model, *map(reverse_complement, pair)) for pair in pairs])
    both = values(predict(model, table, strand="both"))
    np.testing.assert_allclose(both, ((forward + other) / 2).softmax(-1), atol=1e-6)
    with pytest.raises(ValueError, match="pairs of sequences are read whole"):
        predict(model, table, window=10)
    named = predict(model, table, sequence_column=["sequence2", "sequence1"])
    assert not np.allclose(values(named)[1], values(predict(model, table))[1], atol=1e-3)
    table.write_text(f"sequence1,sequence2,label\n{SHORT[2]},{SHORT[2]},0\n")
    with pytest.raises(
        ValueError, match=r"row 1: 81 nucleotides \(both of the pair\), .* at most 64 at once: cut them"
    ):
        predict(model, table)


def test_adapters_are_merged(model: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "base")
    adapted = add_lora(VQDNAForSequenceClassification.from_pretrained(tmp_path / "base"), 2, 4, 0.0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1)
    adapted.save_pretrained(tmp_path / "tuned")
    adapted.eval()
    ids = build_tokenizer()(SHORT[0], return_tensors="pt").input_ids
    with torch.inference_mode():
        expected = adapted(input_ids=ids).logits.softmax(-1)
    with genome_of(SHORT[:1]) as genome:
        found = predict(tmp_path / "tuned", genome)
        np.testing.assert_allclose(values(found), expected, atol=1e-5)
        assert not np.allclose(values(predict(model, genome)), expected, atol=1e-3)


def test_a_model_without_a_classifier_is_refused(codec: VQDNACodecModel) -> None:
    bare = VQDNAForMaskedLM.from_codec(codec, **SIZES)
    with genome_of(SHORT) as genome:
        for model, name in ((bare, "VQDNAForMaskedLM"), (codec, "VQDNACodecModel")):
            with pytest.raises(ValueError, match=rf"has no classifier \(it was saved as {name}\): fine-tune it first"):
                predict(model, genome)


# Classifiers of positions.


@pytest.mark.parametrize("strand", ["forward", "reverse", "both"])
def test_an_answer_a_base(tokens: Any, strand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQDNA_UNIT_BASES", "100")
    with genome_of(LONG) as genome:
        table = predict(tokens, genome, strand=strand, window=50, overlap=20)
        with_default = predict(tokens, genome, strand=strand)
    rows = table.to_pylist()
    for name, text in zip(NAMES, LONG, strict=True):
        ours = [row for row in rows if row["name"] == name]
        assert [row["start"] for row in ours] == [0, *(row["end"] for row in ours[:-1])]
        assert ours[-1]["end"] == len(text)
        forward, other = (base_logits(tokens, text, 50, 20, side) for side in (False, True))
        expected = {"forward": forward, "reverse": other, "both": (forward + other) / 2}[strand].softmax(-1).numpy()
        for number, label in enumerate(LABELS):
            found = np.concatenate([row[f"probability_{label}"] for row in ours])
            np.testing.assert_allclose(found, expected[:, number], atol=1e-6)
        labels = [label for row in ours for label in row["label"]]
        assert labels == [LABELS[best] for best in expected.argmax(-1)]
    # By default as much as the model reads, and a quarter of it: one window where it fits.
    assert len(with_default.filter(pa.compute.equal(with_default["name"], "a"))) == 1
    assert with_default["end"].to_pylist()[:3] == [64, *(window.keep_end for window in plan_windows(130, 64, 16)[:2])]


def test_labels_of_a_base_are_those_of_the_stock_pipeline(tokens: Any) -> None:
    pipe = pipeline("token-classification", model=tokens, tokenizer=build_tokenizer(), device="cpu", ignore_labels=[])
    with genome_of(SHORT) as genome:
        table = predict(tokens, genome)
    for row, answers in zip(table.to_pylist(), pipe(SHORT), strict=True):
        assert row["label"] == [answer["entity"] for answer in answers]
        found = [row[f"probability_{label}"][at] for at, label in enumerate(row["label"])]
        assert found == pytest.approx([float(answer["score"]) for answer in answers], abs=1e-5)


# Tracks.


def spread(model: Any, texts: list[str], label: int, window: int, overlap: int) -> list[np.ndarray]:
    """The probability of a label at each base, (n,) for each text."""
    found = []
    for text in texts:
        if isinstance(model, VQDNAForTokenClassification):
            found.append(base_logits(model, text, window, overlap).softmax(-1).numpy()[:, label])
            continue
        owned = [
            np.full(keep_end - keep_start, logits(model, text[start:end]).softmax(-1)[label])
            for start, end, keep_start, keep_end in plan_windows(len(text), window, overlap)
        ]
        found.append(np.concatenate(owned))
    return found


@pytest.mark.parametrize("ending", [".bedgraph", ".bedGraph", ".bg.gz", ".bw", ".bigWig"])
@pytest.mark.parametrize("kind", ["tokens", "model"])
def test_tracks(kind: str, ending: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A base has the value of the window in which it is most central; BigWig and bedGraph say the same as Parquet."""
    model, path = request.getfixturevalue(kind), tmp_path / f"track{ending}"
    expected = spread(model, LONG, 1, 50, 20)
    with genome_of(LONG) as genome:
        report: Any = predict(model, genome, path, window=50, overlap=20, label="enhancer")
        table: Any = predict(model, genome, window=50, overlap=20)
    assert report.bases == sum(map(len, LONG))
    if ending.lower() in (".bw", ".bigwig"):
        track = import_bigwig().open(str(path))
        assert list(track.chroms().items()) == list(zip(NAMES, map(len, LONG), strict=True))
        found = [track.values(name, 0, len(text), numpy=True) for name, text in zip(NAMES, LONG, strict=True)]
        if kind == "tokens":
            exact = np.concatenate([row["probability_enhancer"] for row in table.to_pylist()]).astype(np.float32)
            np.testing.assert_array_equal(np.concatenate(found), exact)
    else:
        data = path.read_bytes()
        lines = (gzip.decompress(data) if ending.endswith(".gz") else data).decode().splitlines()
        found = [np.full(len(text), np.nan, np.float32) for text in LONG]
        for line in lines:
            chrom, start, end, value = line.split("\t")
            found[NAMES.index(chrom)][int(start) : int(end)] = float(value)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_track_of_regions_is_in_order(tokens: Any, tmp_path: Path) -> None:
    bed = tmp_path / "r.bed"
    bed.write_text("d\t100\t170\tthree\nb\t50\t130\ttwo\t0\t-\nb\t0\t40\tone\n")
    with genome_of(LONG) as genome:
        predict(tokens, genome, tmp_path / "a.bw", bed=bed, label="neither", window=50)
        track = import_bigwig().open(str(tmp_path / "a.bw"))
        table: Any = predict(tokens, genome, bed=bed, window=50)
        bed.write_text("b\t50\t130\ttwo\nb\t0\t51\tone\n")
        with pytest.raises(ValueError, match=r"regions 'one' \(0-51\) and 'two' \(50-130\) of b overlap"):
            predict(tokens, genome, tmp_path / "b.bw", bed=bed, label="neither")
        assert not list(tmp_path.glob("b.bw*"))
    assert table["name"].to_pylist() == ["three", "three", "two", "two", "one"]
    for row in table.to_pylist():
        found = track.values(row["chrom"], row["start"], row["end"])
        np.testing.assert_array_equal(np.float32(found), np.float32(row["probability_neither"]))
    assert np.isnan(track.values("b", 40, 50)).all()
    # A region with `-` is read on its own strand, and its values run along the forward strand.
    expected = base_logits(tokens, reverse_complement(LONG[1][50:130]), 50, 12).softmax(-1).flip(0)[:, 2]
    np.testing.assert_allclose(track.values("b", 50, 130), expected, atol=1e-6)


def test_a_track_of_a_regression_needs_no_label(codec: VQDNACodecModel, tmp_path: Path) -> None:
    model = VQDNAForSequenceClassification.from_codec(codec, **SIZES, num_labels=1, problem_type="regression").eval()
    with genome_of(SHORT) as genome:
        predict(model, genome, tmp_path / "a.bedgraph", track_line="activity")
        table: Any = predict(model, genome)
        with pytest.raises(ValueError, match="BED holds one label a line, and this model does not choose one"):
            predict(model, genome, tmp_path / "a.bed")
    first, *lines = (tmp_path / "a.bedgraph").read_text().splitlines()
    assert first == 'track type=bedGraph name="activity"'
    assert [line.split("\t")[:3] for line in lines] == [
        [name, "0", str(len(text))] for name, text in zip(NAMES, SHORT, strict=True)
    ]
    np.testing.assert_array_equal(np.float32([line.split("\t")[3] for line in lines]), table["value"].to_numpy())


def test_bed_has_a_line_a_run_of_one_label(
    tokens: Any, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQDNA_UNIT_BASES", "60")
    with genome_of(LONG) as genome:
        predict(tokens, genome, tmp_path / "a.bed.gz", window=50, overlap=20)
        predict(model, genome, tmp_path / "b.bed", window=50, overlap=20)
        table: Any = predict(model, genome, window=50, overlap=20)
    found: dict[str, list[str]] = {name: [] for name in NAMES}
    last = None
    for line in gzip.decompress((tmp_path / "a.bed.gz").read_bytes()).decode().splitlines():
        chrom, start, end, label, score, strand = line.split("\t")
        assert len(found[chrom]) == int(start)
        assert last != (chrom, label), "a run goes on where the next window begins"
        found[chrom] += [label] * (int(end) - int(start))
        last = (chrom, label)
        assert 1000 / 3 - 1 <= int(score) <= 1000
        assert strand == "+"
    for name, text in zip(NAMES, LONG, strict=True):
        assert found[name] == [LABELS[best] for best in base_logits(tokens, text, 50, 20).argmax(-1)]
    lines = [line.split("\t") for line in (tmp_path / "b.bed").read_text().splitlines()]
    assert [[*line[:4], line[5]] for line in lines] == [
        [row["chrom"], str(row["start"]), str(row["end"]), row["label"], "+"] for row in table.to_pylist()
    ]
    assert [int(line[4]) for line in lines] == [round(1000 * best) for best in values(table).max(1).tolist()]


@pytest.mark.parametrize(
    ("kind", "name", "options", "message"),
    [
        ("tokens", "a.bw", {}, "has the labels promoter, enhancer, neither: choose one with --label"),
        ("model", "a.bedgraph", {"label": "exon"}, "--label exon: this model has the labels promoter, enhancer"),
        ("model", "a.parquet", {"label": "enhancer"}, "--label enhancer: is for bedGraph and BigWig"),
        ("model", "a.bw", {"label": "enhancer", "track_line": "x"}, "--track-line is for bedGraph"),
        ("tokens", "a.npz", {}, "npz holds matrices, and these are lists of unequal length"),
        ("tokens", "a.parquet", {"window": 65}, "window 65: this model reads 1 to 64"),
        ("tokens", "a.parquet", {"window": 10, "overlap": 10}, "overlap 10: must be 0 to 9"),
        ("model", "a.wig", {}, "the output's name must end in one of .parquet"),
    ],
)
def test_options_that_do_not_fit(
    kind: str, name: str, options: dict[str, Any], message: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with genome_of(SHORT) as genome, pytest.raises(ValueError, match=message):
        predict(request.getfixturevalue(kind), genome, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_names_of_labels_that_cannot_be_told_apart_are_refused(codec: VQDNACodecModel, tmp_path: Path) -> None:
    names = {"id2label": {0: "a", 1: "a"}, "label2id": {"a": 0}}
    model = VQDNAForSequenceClassification.from_codec(codec, **SIZES, **names)
    with genome_of(SHORT) as genome:
        with pytest.raises(ValueError, match="id2label gives two labels one name"):
            predict(model, genome)
        model.config.id2label = {0: "a\tb", 1: "c"}
        with pytest.raises(ValueError, match="holds a tab or a line end"):
            predict(model, genome, tmp_path / "a.tsv")
        assert predict(model, genome).column_names[-2:] == ["probability_a\tb", "probability_c"]


def test_an_answer_that_is_not_finite_is_refused(model: Any, tmp_path: Path) -> None:
    bias = model.classifier.bias.data.clone()
    model.classifier.bias.data.fill_(torch.nan)
    try:
        with genome_of(SHORT) as genome, pytest.raises(ValueError, match="an answer is not finite"):
            predict(model, genome, tmp_path / "a.parquet")
    finally:
        model.classifier.bias.data = bias
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".parquet", ".tsv", ".npz"])
def test_tables(model: Any, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{ending}"
    with genome_of(SHORT) as genome:
        expected: Any = predict(model, genome)
        predict(model, genome, path)
    if ending == ".parquet":
        assert pq.read_table(path).equals(expected)
    elif ending == ".tsv":
        header, *lines = path.read_text().splitlines()
        assert header.split("\t") == expected.column_names
        assert [line.split("\t")[5] for line in lines] == expected["label"].to_pylist()
        np.testing.assert_array_equal(np.float32([line.split("\t")[6:] for line in lines]), values(expected))
    else:
        with np.load(path) as arrays:
            assert arrays["label"].tolist() == expected["label"].to_pylist()
            np.testing.assert_array_equal(arrays["probability_neither"], expected["probability_neither"].to_numpy())


# Real files.


def test_a_test_set_of_gue(model: Any, codec: VQDNACodecModel, vqdna_data: Path, tmp_path: Path) -> None:
    table = vqdna_data / "gue" / "prom" / "prom_core_notata" / "test.csv"
    head = tmp_path / "test.csv"
    head.write_text("".join(table.open().readlines()[:41]))
    wider = VQDNAForSequenceClassification.from_codec(codec, **{**SIZES, "max_position_embeddings": 128}).eval()
    predict(wider, head, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    given = [line.split(",") for line in head.read_text().splitlines()[1:]]
    assert found["given_label"].to_pylist() == [label for _, label in given]
    pipe = pipeline("text-classification", model=wider, tokenizer=build_tokenizer(), device="cpu")
    answers = pipe([text for text, _ in given])
    assert found["label"].to_pylist() == [answer["label"] for answer in answers]
    np.testing.assert_allclose(values(found).max(1), [answer["score"] for answer in answers], atol=1e-5)


def test_open_reading_frames_of_yeast_as_a_track(tokens: Any, vqdna_data: Path, tmp_path: Path) -> None:
    fasta = vqdna_data / "genomes" / "fungi" / "Saccharomyces_cerevisiae_R64-1-1.fa.gz"
    lines = (vqdna_data / "annotation" / "Scer_nondubious_ORFs_and_blocked_reading_frames.bed").read_text().splitlines()
    bed = tmp_path / "orfs.bed"
    bed.write_text("\n".join(lines[:4]) + "\n")
    options: dict[str, Any] = {"bed": bed, "rename": "auto"}
    with Genome.open(fasta) as genome:
        predict(tokens, genome, tmp_path / "orfs.bw", label="promoter", **options)
        table: Any = predict(tokens, genome, **options)
        lengths = genome.lengths
    track = import_bigwig().open(str(tmp_path / "orfs.bw"))
    assert track.chroms() == lengths
    assert track.header()["nBasesCovered"] == sum(len(row) for row in table["label"].to_pylist())
    for row in table.to_pylist():
        assert row["chrom"] == "I"
        expected = np.float32(row["probability_promoter"])
        np.testing.assert_array_equal(track.values("I", row["start"], row["end"], numpy=True), expected)
