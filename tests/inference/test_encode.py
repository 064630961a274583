# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Codes with coordinates: those of a single pass, on either strand, from any checkpoint; and back."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from vqdna_cli.main import main
from vqdna_hf import VQDNACodecModel, reverse_complement
from vqdna_hf.data import decode_ids, read_fasta
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.jobs import unit_bases
from vqdna_hf.inference import decode, encode, load_checkpoint
from vqdna_hf.model.pipeline_vqdna import read_nucleotides


def random_text(bases: int, seed: int = 0) -> str:
    return decode_ids(np.random.default_rng(seed).integers(5, 9, bases).astype(np.uint8))


def codes_of(table: pa.Table, strand: str = "+") -> list[list[int]]:
    """Codes of all rows of a strand behind each other, a list a level."""
    rows = [row for row in table.to_pylist() if row["strand"] == strand]
    levels = [name for name in table.column_names if name.startswith("codes_")]
    return [[code for row in rows for code in row[level]] for level in levels]


def single_pass(codec: VQDNACodecModel, text: str) -> list[list[int]]:
    with torch.inference_mode():
        return codec.encode(read_nucleotides(text)[None]).codes[0].tolist()


@pytest.fixture(scope="module")
def codec_folder(tiny_codec: VQDNACodecModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "codec"
    tiny_codec.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("bases", [1, 30, 60, 61, 500])
def test_windows_change_no_code(tiny_codec: VQDNACodecModel, bases: int) -> None:
    text = random_text(bases)
    with Genome.from_sequences(["chr1"], [text]) as genome:
        table = encode(tiny_codec, genome, window=60)
    assert codes_of(table) == single_pass(tiny_codec, text)
    assert table["start"].to_pylist() == [0, *table["end"].to_pylist()[:-1]]
    assert table["end"].to_pylist()[-1] == bases


def test_code_i_belongs_to_base_i_on_both_strands(tiny_codec: VQDNACodecModel) -> None:
    text = random_text(200)
    with Genome.from_sequences(["chr1"], [text]) as genome:
        table = encode(tiny_codec, genome, strand="both", window=80)
        assert encode(tiny_codec, genome, strand="reverse", window=80).equals(
            table.filter(pa.compute.equal(table["strand"], "-"))
        )
    assert codes_of(table, "+") == single_pass(tiny_codec, text)
    other = single_pass(tiny_codec, reverse_complement(text))
    assert codes_of(table, "-") == [codes[::-1] for codes in other]


def test_an_unknown_base_has_no_code(tiny_codec: VQDNACodecModel) -> None:
    with Genome.from_sequences(["r"], ["ACGTNNACGTR"]) as genome:
        codes = codes_of(encode(tiny_codec, genome))
    for level in codes:
        assert [place for place, code in enumerate(level) if code == -1] == [4, 5, 10]


def test_regions_of_a_bed(tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    text = random_text(300)
    (tmp_path / "regions.bed").write_text("chr1\t10\t110\tone\t0\t+\nchr1\t50\t90\ttwo\t0\t-\n")
    with Genome.from_sequences(["1"], [text]) as genome:
        table = encode(tiny_codec, genome, bed=tmp_path / "regions.bed", rename="auto")
        with pytest.raises(ValueError, match=r"regions.bed.*line 1.*chr1.*--rename auto"):
            encode(tiny_codec, genome, bed=tmp_path / "regions.bed")
    rows = table.to_pylist()
    assert [(row["name"], row["chrom"], row["start"], row["end"], row["strand"]) for row in rows] == [
        ("one", "1", 10, 110, "+"),
        ("two", "1", 50, 90, "-"),
    ]
    # A region is read alone, and one with `-` on its own strand.
    assert codes_of(table, "+") == single_pass(tiny_codec, text[10:110])
    assert codes_of(table, "-") == [codes[::-1] for codes in single_pass(tiny_codec, reverse_complement(text[50:90]))]


def test_every_checkpoint_has_codes(tiny_codec: VQDNACodecModel, tiny_masked_lm: Any, tmp_path: Path) -> None:
    text = random_text(100)
    tiny_masked_lm.save_pretrained(tmp_path / "mlm")
    with Genome.from_sequences(["r"], [text]) as genome:
        found = [codes_of(encode(model, genome)) for model in (tiny_codec, tiny_masked_lm, tmp_path / "mlm")]
    assert found[0] == found[1] == found[2]


def test_batches_change_nothing(tiny_codec: VQDNACodecModel) -> None:
    names = [f"r{length}" for length in (5, 90, 33, 61, 7)]
    texts = [random_text(int(name[1:]), seed) for seed, name in enumerate(names)]
    with Genome.from_sequences(names, texts) as genome:
        whole = encode(tiny_codec, genome, window=60)
        assert encode(tiny_codec, genome, window=60, batch_bases=1).equals(whole)
        assert encode(tiny_codec, genome, window=60, batch_bases=150).equals(whole)


@pytest.mark.parametrize("ending", [".parquet", ".tsv", ".tsv.gz"])
def test_there_and_back(ending: str, codec_folder: Path, tmp_path: Path) -> None:
    """The command, from gzip FASTA to codes to FASTA: as the codec itself decodes in a single pass; N stays N."""
    records = {"chr1": random_text(150) + "NNN" + random_text(90, 1), "chr2": random_text(61, 2)}
    fasta = tmp_path / "genome.fa.gz"
    fasta.write_bytes(gzip.compress("".join(f">{name}\n{text}\n" for name, text in records.items()).encode()))
    codes, decoded = tmp_path / f"codes{ending}", tmp_path / "decoded.fa"
    assert main(["encode", str(fasta), "-m", str(codec_folder), "-o", str(codes), "--window", "80"]) == 0
    assert main(["decode", str(codes), "-m", str(codec_folder), "-o", str(decoded)]) == 0
    codec = VQDNACodecModel.from_pretrained(codec_folder)
    found = {record.name: decode_ids(record.ids) for record in read_fasta(decoded)}
    assert list(found) == list(records)
    for name, text in records.items():
        ids = read_nucleotides(text)[None]
        with torch.inference_mode():
            kept = codec.encode(ids).codes.masked_fill((ids == 9)[:, None], -1)
            best = (codec.decode(kept).argmax(-1)[0] + 5).masked_fill(ids[0] == 9, 9)
        assert found[name] == decode_ids(best.to(torch.uint8).numpy())
        assert [place for place, base in enumerate(found[name]) if base == "N"] == [
            place for place, base in enumerate(text) if base == "N"
        ]


def test_the_other_strand_is_decoded_too(tiny_codec: VQDNACodecModel, codec_folder: Path, tmp_path: Path) -> None:
    text = random_text(200)
    with Genome.from_sequences(["r"], [text]) as genome:
        for strand in ("reverse", "both", "forward"):
            encode(codec_folder, genome, tmp_path / f"{strand}.parquet", strand=strand, window=80)
    found = {
        strand: "".join(decode(codec_folder, tmp_path / f"{strand}.parquet")["sequence"].to_pylist())
        for strand in ("reverse", "both", "forward")
    }
    assert found["both"] == found["forward"]
    with Genome.from_sequences(["r"], [reverse_complement(text)]) as genome:
        encode(codec_folder, genome, tmp_path / "rc.parquet", window=80)
    other = "".join(decode(codec_folder, tmp_path / "rc.parquet")["sequence"].to_pylist())
    assert found["reverse"] == reverse_complement(other)


def test_parquet_says_what_made_it(codec_folder: Path, tmp_path: Path) -> None:
    fasta = tmp_path / "a.fa"
    fasta.write_text(">r\nACGTACGT\n")
    report = encode(codec_folder, fasta, tmp_path / "codes.parquet")
    assert (report.units, report.bases) == (1, 8)
    about = json.loads(pq.read_schema(tmp_path / "codes.parquet").metadata[b"vqdna"])
    assert (about["model"], about["strand"], about["inputs"][0]["file"]) == ("codec", "forward", "a.fa")
    assert len(about["sha256"]) == 64
    assert pq.read_schema(tmp_path / "codes.parquet").field("codes_1").type == pa.list_(pa.int16())


def test_standard_input_and_output(
    codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fasta = tmp_path / "a.fa"
    fasta.write_text(">r\nACGTACGT\n")
    with open(fasta) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert main(["encode", "-", "-m", str(codec_folder), "-o", "-"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["name", "chrom", "start", "end", "strand", "region", "codes_1", "codes_2"]
    assert lines[1].split("\t")[:6] == ["r", "r", "0", "8", "+", "0"]
    assert len(lines[1].split("\t")[6].split(",")) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "codes.csv"], "codes.csv: the output's name must end in one of .parquet .tsv .tsv.gz"),
        (["-o", "no/such/codes.tsv"], "no/such/codes.tsv: there is no folder no/such to write to"),
        (["-o", "a.tsv/codes.tsv"], "a.tsv/codes.tsv: there is no folder a.tsv"),
        (["-o", "codes.tsv", "--strand", "sense"], "strand 'sense': choose one of forward, reverse, both"),
        (["-o", "codes.tsv", "--window", "10"], "window=10: this codec sees"),
        (["-o", "codes.tsv", "--batch-bases", "many"], "--batch-bases many: give a number of nucleotides"),
        (["-o", "codes.tsv", "--device", "cuda:99"], "device cuda:99: cannot be used here"),
        (["-o", "codes.tsv", "--dtype", "float8"], "dtype 'float8': choose one of auto, float32, bfloat16, float16"),
        (["-o", "codes.tsv", "--bed", "absent.bed"], "absent.bed: no such file"),
        (["-o", "codes.tsv", "-m", "absent"], "absent: no such model folder"),
    ],
)
def test_bad_words_are_one_line(
    words: list[str],
    message: str,
    codec_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.fa").write_text(">r\nACGT\n")
    model = [] if "-m" in words else ["-m", str(codec_folder)]
    assert main(["encode", "a.fa", *model, *words]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {message}")
    assert shown.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.fa"]


def test_the_input_is_not_overwritten(codec_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "codes.tsv"
    table.write_text(">r\nACGT\n")
    assert main(["encode", str(table), "-m", str(codec_folder), "-o", str(table)]) == 2
    assert "codes.tsv: is the input" in capsys.readouterr().err
    assert table.read_text() == ">r\nACGT\n"


def test_the_table_of_names_is_an_input(codec_folder: Path, tmp_path: Path) -> None:
    """It is not overwritten, and who goes on with another one is told."""
    (tmp_path / "a.fa").write_text(">x\nACGTACGT\n>y\nTTTTTTTT\n")
    (tmp_path / "r.bed").write_text("one\t0\t8\n")
    names = tmp_path / "names.tsv"
    names.write_text("one\tx\n")
    arguments = {"bed": tmp_path / "r.bed", "rename": names}
    with pytest.raises(ValueError, match=r"names\.tsv: is the input"):
        encode(codec_folder, tmp_path / "a.fa", names, **arguments)
    assert names.read_text() == "one\tx\n"

    encode(codec_folder, tmp_path / "a.fa", tmp_path / "codes.parquet", **arguments)
    about = json.loads(pq.read_schema(tmp_path / "codes.parquet").metadata[b"vqdna"])
    assert [entry.get("file") for entry in about["inputs"]] == ["a.fa", "r.bed", "names.tsv", None]
    assert about["inputs"][-1] == {"rename": str(names)}

    parts = tmp_path / "other.parquet.parts"
    parts.mkdir()
    record = {"verb": "encode", "unit_bases": unit_bases(), **about}
    record.pop("batch_bases")
    (parts / "job.json").write_text(json.dumps(record))
    names.write_text("one\ty\n")
    with pytest.raises(ValueError, match=r"holds what another job has left \(inputs: "):
        encode(codec_folder, tmp_path / "a.fa", tmp_path / "other.parquet", **arguments)


def test_standard_input_is_one_file_and_one_process(
    codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("encode", "embed"):
        assert main([verb, "-", "-m", str(codec_folder), "-o", "out.parquet", "--bed", "-"]) == 2
        assert capsys.readouterr().err == "error: two inputs are '-': only one of them can be standard input\n"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    Path("a.fa").write_text(">r\nACGT\n")
    for verb in ("encode", "embed"):
        for words in (["-"], ["a.fa", "--bed", "-"]):
            assert main([verb, *words, "-m", str(codec_folder), "-o", "out.parquet"]) == 2
            assert capsys.readouterr().err == "error: several processes cannot share standard input: give a file\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.fa"]


def test_a_record_of_another_kind_says_nothing(tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    codes = tmp_path / "codes.parquet"
    with Genome.from_sequences(["r"], ["ACGTACGT"]) as genome:
        encode(tiny_codec, genome, codes)
    for about in ("[1", "[1]", "null", "7"):
        pq.write_table(pq.read_table(codes).replace_schema_metadata({"vqdna": about}), codes)
        assert decode(tiny_codec, codes).num_rows == 1


@pytest.mark.parametrize("ending", [".parquet", ".tsv"])
def test_regions_stay_apart(ending: str, tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    """A line twice, a place on both strands, and neighbours of one name: each is a record, as if it stood alone."""
    text = random_text(300)
    lines = [
        "r\t10\t110\tone\t0\t+", "r\t10\t110\tone\t0\t+", "r\t10\t110\tone\t0\t-",
        "r\t110\t180\tone\t0\t+", "r\t180\t250\ta name\t0\t-", "r\t0\t9\tone_2",
    ]  # fmt: skip
    bed, codes = tmp_path / "r.bed", tmp_path / f"codes{ending}"
    with Genome.from_sequences(["r"], [text]) as genome:
        alone = []
        for line in lines:
            bed.write_text(line + "\n")
            encode(tiny_codec, genome, codes, bed=bed, window=80)
            alone.append("".join(decode(tiny_codec, codes)["sequence"].to_pylist()))
        bed.write_text("\n".join(lines) + "\n")
        for strand in ("forward", "both"):
            encode(tiny_codec, genome, codes, bed=bed, window=80, strand=strand)
            decode(tiny_codec, codes, tmp_path / "out.fa")
            found = {record.name: decode_ids(record.ids) for record in read_fasta(tmp_path / "out.fa")}
            assert list(found) == ["one", "one_2", "one_3", "one_4", "a_name", "one_2_2"]
            assert list(found.values()) == alone
    assert (tmp_path / "out.fa").read_text().startswith(">one r from 10\n")
    table = encode(tiny_codec, Genome.from_sequences(["r"], [text]), bed=bed, window=200)
    assert table.schema.field("region").type == pa.int64()
    assert table["region"].to_pylist() == list(range(6))


def row(codes: str, end: int = 2, strand: str = "+") -> str:
    return f"name\tchrom\tstart\tend\tstrand\tregion\tcodes_1\tcodes_2\nr\tr\t0\t{end}\t{strand}\t0\t{codes}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (row("1,2\t3,99"), "row 1: code 99 of level 2 is none of this codec's, which has 16"),
        (row("1,2\t3"), "row 1: no row of codes"),
        (row("1,2,3\t1,2,3"), r"row 1: r:0-2 strand '\+' with 3 codes a level"),
        (row("1,x\t1,2"), "row 1: no row of codes"),
        (row("1,2\t1,2", strand="?"), r"strand '\?'"),
        (row("1,2\t1,2", end=99999999999999999999), "row 1"),
        (row("1,2"), "row 1: 7 columns, the header has 8"),
        (row("1,2\t1,2").replace("\t0\t1", "\tx\t1"), "row 1: no row of codes"),
        (row("1,2\t1,2").replace("region", "place"), "and this codec needs name, chrom, start, end, strand, region"),
        ("name\t" + "x" * 999 + "\t\n", r"the columns are name, x{40}\.\.\., , and this"),
        ("\t".join(["name", *map(str, range(99))]) + "\n", "the columns are name, 0, 1, .*, 10 and 88 more, and this"),
        ("name\tstart\n", "the columns are name, start, and this codec needs name, chrom"),
        (">chr1 of a genome\nACGT\n", r"codes.tsv: is no table of codes: give what `vqdna encode` wrote$"),
        (row("1,2\t1,2").split("\n")[0] + "\n", "the table has no rows"),
        ("", "the file is empty"),
    ],
)
def test_what_is_no_table_of_codes_is_refused(text: str, message: str, codec_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "codes.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        decode(codec_folder, tmp_path / "codes.tsv", tmp_path / "out.fa")
    (tmp_path / "codes.parquet").write_text(text or "x")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        decode(codec_folder, tmp_path / "codes.parquet", tmp_path / "out.fa")
    assert {path.name for path in tmp_path.iterdir()} == {"codes.tsv", "codes.parquet"}


def test_decoding_needs_a_decoder(tiny_masked_lm: Any, tmp_path: Path) -> None:
    (tmp_path / "codes.tsv").write_text(row("1,2\t1,2"))
    with pytest.raises(ValueError, match=r"has no decoder \(it was saved as VQDNAForMaskedLM\): .*--codec"):
        decode(tiny_masked_lm, tmp_path / "codes.tsv")


def test_half_precision_keeps_the_codebooks_exact(codec_folder: Path) -> None:
    checkpoint = load_checkpoint(codec_folder, dtype="bfloat16")
    assert checkpoint.encoder.stem.weight.dtype == torch.bfloat16
    assert checkpoint.encoder.quantizer.codebooks[0].embed.dtype == torch.float32
    with Genome.from_sequences(["r"], [random_text(100)]) as genome:
        assert len(codes_of(encode(checkpoint, genome))[0]) == 100


def test_a_real_chromosome(vqdna_data: Path, tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    """Yeast's shortest, of a plain gzip file with 17 records: one pass gives the same codes, and the same back."""
    file = vqdna_data / "genomes" / "fungi" / "Saccharomyces_cerevisiae_R64-1-1.fa.gz"
    if not file.exists():
        pytest.skip(f"{file} does not exist")
    with Genome.open(file) as genome:
        assert len(genome.names) == 17
        name = min(genome.names, key=lambda name: genome.lengths[name])
        text = decode_ids(genome.fetch(name, 0, genome.lengths[name]))
        with Genome.from_sequences([name], [text]) as alone:
            codes = encode(tiny_codec, alone)
            assert codes_of(codes) == single_pass(tiny_codec, text)
    pq.write_table(codes, tmp_path / "codes.parquet")
    decoded = "".join(decode(tiny_codec, tmp_path / "codes.parquet")["sequence"].to_pylist())
    with torch.inference_mode():
        best = tiny_codec.decode(torch.tensor([codes_of(codes)])).argmax(-1)[0] + 5
    assert decoded == decode_ids(best.to(torch.uint8).numpy())


def test_simulated_fasta_of_many_short_records(tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    texts = [random_text(length, length) for length in range(1, 120, 3)]
    names = [f"r{number}" for number in range(len(texts))]
    with Genome.from_sequences(names, texts) as genome:
        table = encode(tiny_codec, genome)
    assert table["name"].to_pylist() == names
    for text, row in zip(texts, table.to_pylist(), strict=True):
        assert [row["codes_1"], row["codes_2"]] == single_pass(tiny_codec, text)


def test_regions_come_back_one_by_one(codec_folder: Path, tmp_path: Path) -> None:
    """A line twice, one place on both strands, neighbours of one name: each region is a record, decoded alone."""
    text = random_text(300)
    (tmp_path / "g.fa").write_text(f">c\n{text}\n")
    lines = ["c\t10\t90\tx\t0\t+", "c\t10\t90\tx\t0\t+", "c\t100\t150\ty\t0\t-", "c\t100\t150\ty\t0\t+",
             "c\t150\t200\tx\t0\t+", "c\t200\t290\tx\t0\t+"]  # fmt: skip
    (tmp_path / "r.bed").write_text("\n".join(lines) + "\n")
    encode(codec_folder, tmp_path / "g.fa", tmp_path / "c.parquet", bed=tmp_path / "r.bed", window=60)
    decode(codec_folder, tmp_path / "c.parquet", tmp_path / "d.fa")
    found = {record.name: decode_ids(record.ids) for record in read_fasta(tmp_path / "d.fa")}
    assert list(found) == ["x", "x_2", "y", "y_2", "x_3", "x_4"]
    for name, line in zip(found, lines, strict=True):
        (tmp_path / "one.bed").write_text(line + "\n")
        encode(codec_folder, tmp_path / "g.fa", tmp_path / "one.parquet", bed=tmp_path / "one.bed", window=60)
        assert found[name] == "".join(decode(codec_folder, tmp_path / "one.parquet")["sequence"].to_pylist())


def test_codes_of_another_vocabulary_are_refused(
    codec_folder: Path, tiny_codec: VQDNACodecModel, tiny_masked_lm: Any, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    other = VQDNACodecModel(tiny_codec.config).train()
    other(torch.randint(5, 9, (8, 64)))
    (tmp_path / "g.fa").write_text(">c\nACGTACGTAC\n")
    encode(tiny_masked_lm, tmp_path / "g.fa", tmp_path / "c.parquet", dtype="bfloat16")
    assert decode(codec_folder, tmp_path / "c.parquet").num_rows == 1, "the same vocabulary, in another model and dtype"
    with pytest.raises(ValueError, match=r"c.parquet: was encoded with other codebooks than VQDNACodecModel has"):
        decode(other.eval(), tmp_path / "c.parquet", tmp_path / "d.fa")
    assert tiny_masked_lm.dtype == torch.float32, "the caller's model stays as it was"


def test_another_table_of_names_is_another_job(codec_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_text(f">q1\n{random_text(50)}\n>q2\n{random_text(50, 1)}\n")
    (tmp_path / "r.bed").write_text("A\t0\t50\n")
    records = []
    for name in ("q1", "q2"):
        (tmp_path / f"{name}.tsv").write_text(f"A\t{name}\n")
        output = tmp_path / f"{name}.parquet"
        encode(codec_folder, tmp_path / "g.fa", output, bed=tmp_path / "r.bed", rename=str(tmp_path / f"{name}.tsv"))
        assert pq.read_table(output)["chrom"].to_pylist() == [name]
        records.append(json.loads(pq.read_schema(output).metadata[b"vqdna"])["inputs"])
    assert records[0] != records[1]
    table = tmp_path / "q1.tsv"
    with pytest.raises(ValueError, match=r"q1.tsv: is the input"):
        encode(codec_folder, tmp_path / "g.fa", table, bed=tmp_path / "r.bed", rename=str(table))


@pytest.mark.parametrize("window", [0, -5])
def test_no_window_is_no_default(window: int, tiny_codec: VQDNACodecModel) -> None:
    with Genome.from_sequences(["r"], ["ACGT"]) as genome, pytest.raises(ValueError, match=f"window={window}: this"):
        encode(tiny_codec, genome, window=window)


def test_one_standard_input(codec_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="only one of them can be standard input"):
        encode(codec_folder, "-", bed="-")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes cannot share standard input: give a file"):
        encode(codec_folder, "-")
