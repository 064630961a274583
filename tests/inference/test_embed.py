# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Vectors of records, windows and bases: those of a single pass and of the pipeline, whatever the units."""

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

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel, VQDNAForMaskedLM, build_tokenizer, reverse_complement
from vqdna_hf.data import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.inference import embed
from vqdna_hf.inference.inputs import open_inputs
from vqdna_hf.model.pipeline_vqdna import plan_windows, read_nucleotides, stitch_windows

SIZES: dict[str, Any] = {**TINY_MODEL, "num_hidden_layers": 2, "max_position_embeddings": 66, "initializer_range": 0.3}
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
    """A masked language model that reads 64 nucleotides; weights large enough that vectors differ."""
    return VQDNAForMaskedLM.from_codec(codec, **SIZES).eval()


def vectors(table: pa.Table) -> np.ndarray:
    """(rows, H)."""
    column = table["embedding"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(table), column.type.list_size)


def genome_of(texts: list[str]) -> Genome:
    return Genome.from_sequences(NAMES[: len(texts)], texts)


def states(model: Any, text: str, layer: int = -1) -> torch.Tensor:
    """(n + 2, H) of a plain pass, special tokens included."""
    ids = torch.cat([torch.tensor([2]), read_nucleotides(text), torch.tensor([3])])[None]
    with torch.inference_mode():
        return model.base_model(ids, output_hidden_states=True).hidden_states[layer][0]


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
@pytest.mark.parametrize("layer", [-1, 0, 1, -2])
def test_a_record_that_fits_is_a_single_pass(model: Any, pooling: str, layer: int) -> None:
    with genome_of(SHORT) as genome:
        found = vectors(embed(model, genome, pooling=pooling, layer=layer))
    for row, text in zip(found, SHORT, strict=True):
        every = states(model, text, layer)
        expected = {"mean": every[1:-1].mean(0), "max": every[1:-1].amax(0), "cls": every[0]}[pooling]
        np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("strand", ["forward", "reverse", "both"])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_equal_to_the_pipeline_where_a_record_fits(model: Any, pooling: str, strand: str) -> None:
    pipe = pipeline("dna-embedding", model=model, tokenizer=build_tokenizer(), device="cpu", return_tensors="np")
    with genome_of(SHORT) as genome:
        table = embed(model, genome, pooling=pooling, strand=strand)
    np.testing.assert_allclose(vectors(table), pipe(SHORT, pooling=pooling, strand=strand), atol=1e-5)
    assert set(table["strand"].to_pylist()) == {{"forward": "+", "reverse": "-", "both": "."}[strand]}


@pytest.mark.parametrize("window", [(None, None), (50, 40), (30, 0)])
@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_long_records_are_those_of_the_pipeline(model: Any, pooling: str, window: tuple[int, int]) -> None:
    """Windows, overlap and who owns a base are the same; units are small, so that records lie in several."""
    pipe = pipeline("dna-embedding", model=model, tokenizer=build_tokenizer(), device="cpu", return_tensors="np")
    options = {"pooling": pooling, "window": window[0], "overlap": window[1]}
    with genome_of(LONG) as genome:
        found = vectors(embed(model, genome, **options))
    np.testing.assert_allclose(found, pipe(LONG, **options), atol=1e-5)


@pytest.mark.parametrize(("pooling", "strand"), [("mean", "forward"), ("max", "both"), ("cls", "reverse")])
def test_units_change_no_vector(model: Any, pooling: str, strand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may lie in several units, and several records in one."""
    texts = [*LONG[1:], SHORT[1]]
    with genome_of(texts) as genome:
        whole = embed(model, genome, pooling=pooling, strand=strand, window=30)
        for bases in (30, 100):
            monkeypatch.setenv("VQDNA_UNIT_BASES", str(bases))
            table = embed(model, genome, pooling=pooling, strand=strand, window=30)
            assert table.drop_columns("embedding").equals(whole.drop_columns("embedding"))
            np.testing.assert_allclose(vectors(table), vectors(whole), atol=1e-6)
    assert whole["name"].to_pylist() == NAMES
    assert whole["end"].to_pylist() == list(map(len, texts))


def test_a_vector_a_base_is_stitched_by_centrality(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQDNA_UNIT_BASES", "100")
    with genome_of(LONG) as genome:
        table = embed(model, genome, per="base", window=50, overlap=20)
    expected = []
    for text in LONG:
        windows = plan_windows(len(text), 50, 20)
        expected.append(stitch_windows([states(model, text[start:end])[1:-1] for start, end, *_ in windows], windows))
    np.testing.assert_allclose(vectors(table), torch.cat(expected), atol=1e-5)
    assert table["start"].to_pylist() == [base for text in LONG for base in range(len(text))]
    assert table["end"].to_pylist() == [base + 1 for text in LONG for base in range(len(text))]
    assert table["name"].to_pylist() == [name for name, text in zip(NAMES, LONG, strict=True) for _ in text]


def test_row_i_belongs_to_base_i_on_every_strand(model: Any) -> None:
    text = LONG[1]
    windows = plan_windows(len(text), 50, 20)
    pieces = [text[start:end] for start, end, *_ in windows]
    forward = stitch_windows([states(model, piece)[1:-1] for piece in pieces], windows)
    # The same window is read on the other strand, and its rows are turned.
    other = stitch_windows([states(model, reverse_complement(piece))[1:-1].flip(0) for piece in pieces], windows)
    with genome_of([text]) as genome:
        options: dict[str, Any] = {"per": "base", "window": 50, "overlap": 20}
        np.testing.assert_allclose(vectors(embed(model, genome, strand="reverse", **options)), other, atol=1e-5)
        both = embed(model, genome, strand="both", **options)
        np.testing.assert_allclose(vectors(both), (forward + other) / 2, atol=1e-5)
        for pooling, expected in (("mean", other.mean(0)), ("max", (forward.amax(0) + other.amax(0)) / 2)):
            strand = "reverse" if pooling == "mean" else "both"
            found = embed(model, genome, strand=strand, pooling=pooling, window=50, overlap=20)
            np.testing.assert_allclose(vectors(found)[0], expected, atol=1e-5)
    assert set(both["strand"].to_pylist()) == {"."}


def test_both_strands_are_equal_for_a_sequence_and_its_reverse_complement(model: Any) -> None:
    text = SHORT[0]
    with genome_of([text, reverse_complement(text)]) as genome:
        for per in ("record", "window"):
            one, other = vectors(embed(model, genome, per=per, strand="both"))
            np.testing.assert_allclose(one, other, atol=1e-6)
        rows = vectors(embed(model, genome, per="base", strand="both"))
    np.testing.assert_allclose(rows[: len(text)], rows[len(text) :][::-1], atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls"])
def test_a_vector_a_window_is_that_of_the_window_alone(model: Any, pooling: str) -> None:
    with genome_of(LONG) as genome:
        table = embed(model, genome, per="window", pooling=pooling, window=50, overlap=20)
        pieces = [LONG[NAMES.index(row["name"])][row["start"] : row["end"]] for row in table.to_pylist()]
    bounds = [tuple(window[:2]) for text in LONG for window in plan_windows(len(text), 50, 20)]
    assert list(zip(table["start"].to_pylist(), table["end"].to_pylist(), strict=True)) == bounds
    alone = Genome.from_sequences([str(number) for number in range(len(pieces))], pieces)
    np.testing.assert_allclose(vectors(table), vectors(embed(model, alone, pooling=pooling)), atol=1e-5)


def test_regions_on_their_own_strand(model: Any, tmp_path: Path) -> None:
    text = LONG[3]
    (tmp_path / "r.bed").write_text("chra\t10\t60\tone\t0\t+\nchra\t100\t140\ttwo\t0\t-\nchra\t0\t171\n")
    with genome_of([text]) as genome:
        table = embed(model, genome, bed=tmp_path / "r.bed", rename="auto")
        pieces = Genome.from_sequences(["1", "2", "3"], [text[10:60], reverse_complement(text[100:140]), text])
        np.testing.assert_allclose(vectors(table), vectors(embed(model, pieces)), atol=1e-5)
        rows = embed(model, genome, bed=tmp_path / "r.bed", rename="auto", per="base", layer=0)
    assert table["strand"].to_pylist() == ["+", "-", "+"]
    assert table["start"].to_pylist() == [10, 100, 0]
    # The rows of a region with `-` run along the forward strand, too.
    assert rows["start"].to_pylist() == [*range(10, 60), *range(100, 140), *range(171)]
    expected = states(model, reverse_complement(text[100:140]), 0)[1:-1].flip(0)
    np.testing.assert_allclose(vectors(rows)[50:90], expected, atol=1e-5)


def test_batches_change_nothing(model: Any) -> None:
    with genome_of(LONG) as genome:
        for per in ("record", "window", "base"):
            whole = vectors(embed(model, genome, per=per))
            for batch_bases in (1, 150):
                np.testing.assert_allclose(
                    vectors(embed(model, genome, per=per, batch_bases=batch_bases)), whole, atol=1e-6
                )


def test_a_codec_gives_its_code_vectors(codec: VQDNACodecModel) -> None:
    with torch.inference_mode():
        ids = read_nucleotides(LONG[1])[None]
        expected = codec.encode(ids).quantized[0]
    pipe = pipeline("dna-embedding", model=codec, tokenizer=build_tokenizer(), device="cpu", return_tensors="np")
    with genome_of([LONG[1]]) as genome:
        np.testing.assert_allclose(vectors(embed(codec, genome, per="base")), expected, atol=1e-5)
        for strand in ("forward", "both"):
            found = vectors(embed(codec, genome, strand=strand))
            np.testing.assert_allclose(found, pipe(LONG[1:2], strand=strand), atol=1e-5)
        # Windows that overlap by what a code sees change no code.
        overlap = 2 * (codec.config.receptive_field // 2)
        table = embed(codec, genome, per="base", window=100, overlap=overlap)
        np.testing.assert_allclose(vectors(table), expected, atol=1e-5)
        for options, message in (({"layer": 0}, "a codec has no layers"), ({"pooling": "cls"}, "has no vector")):
            with pytest.raises(ValueError, match=message):
                embed(codec, genome, **options)  # type: ignore[arg-type]


def test_rows_of_a_table(model: Any, tmp_path: Path) -> None:
    with genome_of(LONG) as genome:
        expected = vectors(embed(model, genome))
    tables = {
        "plain.csv": "sequence\n" + "".join(f"{text}\n" for text in LONG),
        "gue.csv": "sequence,label\n" + "".join(f"{text},{number}\n" for number, text in enumerate(LONG)),
        "named.tsv": "id\tsequence\tlabel\n"
        + "".join(f"r{number}\t{text}\t{number}\n" for number, text in enumerate(LONG)),
        "other.csv": "Name,dna,note\n" + "".join(f"r{number},{text.lower()},x\n" for number, text in enumerate(LONG)),
        "fasta.txt": "".join(f">r{number}\n{text}\n" for number, text in enumerate(LONG)),
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
        table = embed(model, tmp_path / name, sequence_column="dna" if name == "other.csv" else None)
        np.testing.assert_allclose(vectors(table), expected, atol=1e-6)
        numbers = [str(number) for number in range(1, 5)]
        is_named = name in ("named.tsv", "other.csv", "fasta.txt")
        assert table["name"].to_pylist() == ([f"r{number}" for number in range(4)] if is_named else numbers)
        assert ("chrom" in table.column_names) == (name == "fasta.txt")
        labels = table["given_label"].to_pylist() if "given_label" in table.column_names else None
        assert labels == (["0", "1", "2", "3"] if "label" in text else None)
        assert table["end"].to_pylist() == list(map(len, LONG))
    frame = tmp_path / "table.parquet"
    pq.write_table(pa.table({"sequence": LONG, "name": NAMES}), frame)
    assert embed(model, frame)["name"].to_pylist() == NAMES


@pytest.mark.parametrize("ending", [".parquet", ".tsv", ".tsv.gz", ".npz"])
@pytest.mark.parametrize("half", [False, True])
def test_files(model: Any, ending: str, half: bool, tmp_path: Path) -> None:
    output = tmp_path / f"out{ending}"
    with genome_of(LONG) as genome:
        expected = embed(model, genome)
        report: Any = embed(model, genome, output, half=half)
    assert report.bases == sum(map(len, LONG))
    kind = np.float16 if half else np.float32
    if ending == ".npz":
        with np.load(output) as arrays:
            assert arrays["name"].tolist() == NAMES
            found = arrays["embedding"]
    elif ending == ".parquet":
        table = pq.read_table(output)
        assert table.schema.field("embedding").type == pa.list_(pa.float16() if half else pa.float32(), 16)
        found = vectors(table)
    else:
        data = output.read_bytes()
        lines = (gzip.decompress(data) if ending.endswith(".gz") else data).decode().splitlines()
        assert lines[0].split("\t") == ["name", "chrom", "start", "end", "strand", "embedding"]
        assert lines[1].split("\t")[:5] == ["a", "a", "0", "64", "+"]
        found = np.array([line.split("\t")[5].split(",") for line in lines[1:]]).astype(np.float64).astype(kind)
    assert found.dtype == kind
    assert np.array_equal(found, vectors(expected).astype(kind))
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name]


def test_a_vector_that_float16_cannot_hold_is_refused(model: Any) -> None:
    model.base_model.backbone.final_norm.weight.data *= 1e6
    try:
        with genome_of(SHORT) as genome, pytest.raises(ValueError, match="larger than float16 can hold"):
            embed(model, genome, half=True)
        model.base_model.backbone.final_norm.weight.data *= torch.inf
        with genome_of(SHORT) as genome, pytest.raises(ValueError, match="a: the embedding is not finite"):
            embed(model, genome)
    finally:
        model.base_model.backbone.final_norm.weight.data.fill_(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per": "gene"}, "per 'gene': choose one of record, window, base"),
        ({"pooling": "sum"}, "pooling 'sum': choose one of mean, max, cls"),
        ({"per": "base", "pooling": "max"}, "a vector a base is not pooled"),
        ({"strand": "sense"}, "strand 'sense'"),
        ({"layer": 3}, r"layer 3: this model has hidden states 0..2, or -3..-1"),
        ({"layer": -4}, "layer -4"),
        ({"window": 65}, "window 65: this model reads 1 to 64 nucleotides at once"),
        ({"window": 0}, "window 0"),
        ({"overlap": 64}, "overlap 64: must be 0 to 63, with windows of 64"),
        ({"overlap": -1}, "overlap -1"),
        ({"sequence_column": "dna"}, "<memory>: is no table, and sequence_column is for tables"),
        ({"output": "vectors.h5"}, "must end in one of"),
    ],
)
def test_options_that_do_not_fit(model: Any, options: dict[str, Any], message: str) -> None:
    with genome_of(SHORT) as genome, pytest.raises(ValueError, match=message):
        embed(model, genome, **options)


def test_tables_that_do_not_fit(model: Any, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("one,two,label\nACGT,GGC,0\n")
    with pytest.raises(ValueError, match=r"t.csv: holds pairs of sequences: name one with --sequence-column"):
        embed(model, table)
    assert embed(model, table, sequence_column="two")["end"].to_pylist() == [3]
    with pytest.raises(ValueError, match=r"t.csv: is a table, and --bed is for genomes"):
        embed(model, table, bed=table)
    table.write_text("sequence,label\nACGT,0\nAC-GT,0\n")
    with pytest.raises(ValueError, match=r"t.csv, row 2 .*'-' at position 2"):
        embed(model, table)
    with pytest.raises(ValueError, match=r"t.tsv: is the input"):
        embed(model, table.rename(tmp_path / "t.tsv"), tmp_path / "t.tsv")


def test_open_reading_frames_of_yeast(model: Any, vqdna_data: Path, tmp_path: Path) -> None:
    """Real names: chrI in the BED, I in the FASTA; and a region is what its letters alone give."""
    fasta = vqdna_data / "genomes" / "fungi" / "Saccharomyces_cerevisiae_R64-1-1.fa.gz"
    lines = (vqdna_data / "annotation" / "Scer_nondubious_ORFs_and_blocked_reading_frames.bed").read_text().splitlines()
    bed = tmp_path / "orfs.bed"
    bed.write_text("\n".join([*lines[:12], *(line for line in lines if line.startswith("chrM\t"))][:16]) + "\n")
    with Genome.open(fasta) as genome:
        with pytest.raises(ValueError, match=r"orfs.bed, line 1: .*--rename auto"):
            embed(model, genome, bed=bed)
        report: Any = embed(model, genome, tmp_path / "orfs.parquet", bed=bed, rename="auto")
        table = pq.read_table(tmp_path / "orfs.parquet")
        row = table.to_pylist()[0]
        text = decode_ids(genome.fetch("I", row["start"], row["end"]))
    assert (row["name"], row["chrom"], row["start"], row["end"], row["strand"]) == ("PAU8", "I", 1806, 2169, "-")
    assert report.bases == sum(
        int(line.split("\t")[2]) - int(line.split("\t")[1]) for line in bed.read_text().splitlines()
    )
    assert set(table["chrom"].to_pylist()) == {"I", "Mito"}
    alone = Genome.from_sequences(["PAU8"], [reverse_complement(text)])
    np.testing.assert_allclose(row["embedding"], vectors(embed(model, alone))[0], atol=1e-5)


def test_an_illegal_letter_is_found_before_the_work(tmp_path: Path) -> None:
    """Also behind an index, where nothing is read to open the file; regions of a BED are their own affair."""
    fasta, bed = tmp_path / "a.fa", tmp_path / "r.bed"
    fasta.write_text(">r\nACGTACGT\n>s\nACGTAC!T\n")
    (tmp_path / "a.fa.fai").write_text("r\t8\t3\t8\t9\ns\t8\t15\t8\t9\n")
    bed.write_text("s\t0\t4\n")
    with pytest.raises(ValueError, match=r"record 's'.*'!'"), open_inputs(fasta):
        pytest.fail("was opened")
    with open_inputs(fasta, bed=bed) as inputs:
        assert inputs.regions[0].length == 4
