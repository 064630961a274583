# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Thousands of malformed files thrown at every reader.

The contract: either a `ValueError` that names the file, or the right answer, which for FASTA, BED and VCF is what a
naive parser of a few lines says. Never another exception, a traceback, or an output left behind. The examples are the
same in every run; see `fuzz_files`.
"""

import csv
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pytest
import torch
from example_scripts import TINY_CODEC
from fuzz_files import (
    ACCESSIONS,
    BED,
    CODES,
    FASTA,
    GOOD_FASTA,
    INDEX,
    IUPAC,
    JSON,
    MANIFESTS,
    RECORDS,
    REGIONS,
    RENAMES,
    VCF,
    broken,
    fuzz,
    indexed_fasta,
    naive_bed,
    naive_fasta,
    naive_vcf,
    parquet,
    text_tables,
    unpack,
)
from hypothesis import strategies as st

import vqdna_cli.main as cli
from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.data.accessions import read_index
from vqdna_hf.data.fasta import decode_ids, read_fasta
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import read_bed
from vqdna_hf.data.manifest import open_manifest
from vqdna_hf.data.tables import read_labelled, read_table
from vqdna_hf.data.vcf import open_vcf
from vqdna_hf.inference.decode import read_codes
from vqdna_hf.inference.mutate import parse_region
from vqdna_hf.inference.variants import score_variants

LEAST_FILES = 2000
READ: Counter[str] = Counter()
REFUSED: Counter[str] = Counter()
WHY: dict[str, str] = {}
"""The last message of each kind of file."""


def outcome(kind: str, path: Any, read: Callable[[], Any]) -> Any:
    """What a reader gives, or None where it refuses the file as it must."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = read()
        except ValueError as error:
            message = " ".join(str(error).split())  # a library's words may go over lines; `main` joins them
            assert str(path) in message
            assert len(message) < 700, message
            REFUSED[kind] += 1
            WHY[kind] = message
            return None
    READ[kind] += 1
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a good genome, a codec, and room for output."""
    place = tmp_path_factory.mktemp("fuzz")
    (place / "good.fa").write_text(GOOD_FASTA)
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (8, 60)))
    codec.eval().save_pretrained(place / "codec")
    (place / "out").mkdir()
    return place


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@fuzz(450, data=broken(FASTA))
def test_fasta_record_by_record(data: bytes, folder: Path) -> None:
    path = write(folder / "records.fa", data)
    found = outcome("FASTA", path, lambda: {record.name: decode_ids(record.ids) for record in read_fasta(path)})
    assert found == naive_fasta(data)


@fuzz(450, data=broken(FASTA), index=INDEX, ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_fasta_at_random_places(data: bytes, index: str | None, ends: tuple[float, float], folder: Path) -> None:
    """Also with an index beside it that may be another file's."""
    path = write(folder / "random.fa", data)
    Path(f"{path}.fai").unlink(missing_ok=True)
    if index is not None:
        Path(f"{path}.fai").write_text(index)

    def parts_of(lengths: dict[str, int]) -> dict[str, tuple[int, int]]:
        places = {name: sorted(int(share * length) for share in ends) for name, length in lengths.items()}
        return {name: (start, end) for name, (start, end) in places.items()}

    def read() -> tuple[dict[str, str], dict[str, str]]:
        with Genome.open(path) as genome:
            whole = {name: decode_ids(genome.fetch(name, 0, length)) for name, length in genome.lengths.items()}
            parts = {name: decode_ids(genome.fetch(name, *ends)) for name, ends in parts_of(genome.lengths).items()}
            for name, length in genome.lengths.items():
                with pytest.raises(ValueError, match="lies outside its"):
                    genome.fetch(name, 0, length + 1)
            return whole, parts

    found, expected = outcome("FASTA at random", path, read), naive_fasta(data)
    if found is None:
        # A wrong index that looks right is found out when the place is read, and named.
        assert expected is None or f"{path}.fai" in WHY["FASTA at random"]
        return
    assert found[0] == expected
    places = parts_of({name: len(text) for name, text in found[0].items()})
    assert found[1] == {name: found[0][name][slice(*place)] for name, place in places.items()}


@fuzz(150, files=indexed_fasta())
def test_fasta_with_the_index_of_an_earlier_file(files: tuple[bytes, bytes], folder: Path) -> None:
    path, (first, second) = folder / "indexed.fa", files
    for old in folder.glob("indexed.fa*"):
        old.unlink()
    pysam.faidx(str(write(path, first)))
    os.utime(write(path, second), (1, 1))  # the index looks younger

    def read() -> dict[str, str]:
        with Genome.open(path) as genome:
            return {name: decode_ids(genome.fetch(name, 0, length)) for name, length in genome.lengths.items()}

    found = outcome("FASTA with an index", path, read)
    assert found == naive_fasta(second) or (found is None and f"{path}.fai" in WHY["FASTA with an index"])


@fuzz(300, data=broken(BED))
def test_bed(data: bytes, folder: Path) -> None:
    path = write(folder / "regions.bed", data)
    with Genome.open(folder / "good.fa") as genome:
        found = outcome("BED", path, lambda: read_bed(path, genome))
    assert (None if found is None else [tuple(region) for region in found]) == naive_bed(data)


@fuzz(150, text=REGIONS)
def test_regions(text: str, folder: Path) -> None:
    with Genome.open(folder / "good.fa") as genome:
        region = outcome("region", f"region {text}", lambda: parse_region(text, genome))
    if region is not None and text not in RECORDS:
        chrom, _, places = text.rpartition(":")
        start, end = (int(number.replace(",", "")) for number in places.split("-"))
        assert (region.chrom, region.start + 1, region.end) == (chrom, start, end)


@fuzz(250, data=broken(VCF))
def test_vcf(data: bytes, folder: Path) -> None:
    path = write(folder / "calls.vcf", data)

    def read() -> list[tuple[str, int, str, str]]:
        with open_vcf(path) as vcf:
            return [(record.chrom, record.position, record.ref, ",".join(record.alts)) for record in vcf]

    found = outcome("VCF", path, read)
    if found is not None:
        assert found == naive_vcf(data)
        assert all(ref and set(ref) <= IUPAC for _, _, ref, _ in found)


@fuzz(120, data=broken(VCF))
def test_scores_of_a_vcf(data: bytes, folder: Path) -> None:
    """Every ALT is scored or counted, and scored only where the genome has its REF."""
    path, codec = write(folder / "scored.vcf", data), VQDNACodecModel.from_pretrained(folder / "codec").eval()
    report = outcome(
        "VCF, scores", path, lambda: score_variants(codec, folder / "good.fa", path, scores=["codes"], progress=False)
    )
    if report is None:
        return
    summary = report.summary
    assert summary.alleles == sum(len(row[3].split(",")) for row in naive_vcf(data))
    assert summary.scored == len(report.table) == summary.alleles - sum(summary.skipped.values())
    for row in report.table.to_pylist():
        ref, alt = (row[name].upper().replace("U", "T") for name in ("ref", "alt"))
        assert RECORDS[row["chrom"]][row["pos"] - 1 : row["pos"] - 1 + len(ref)] == ref != alt
        assert set(ref + alt) <= set("ACGT")


@fuzz(250, data=broken(text_tables()), ending=st.sampled_from([".csv", ".csv", ".tsv", ".txt", ".csv.gz"]))
def test_text_tables(data: bytes, ending: str, folder: Path) -> None:
    path = write(folder / f"table{ending}", data)
    found = outcome("table", path, lambda: read_table(path))
    labelled = outcome("labelled table", path, lambda: read_labelled(path, require_labels=False))
    if labelled is not None:
        texts = [*labelled.sequences, *(labelled.pairs or [])]
        assert all(text and set(text.upper()) <= IUPAC for text in texts)
        assert found is not None
        assert len(labelled) == len(found)
    unpacked = unpack(data)
    if found is None or unpacked is None or b'"' in unpacked or b"\r" in unpacked:
        return  # quotes are a grammar of their own
    text, separator = unpacked.decode("utf-8"), "," if ".csv" in ending else "\t"
    lines = [line for line in text.split("\n") if line.strip(" \t" if separator == "," else " ")]
    head, *rows = csv.reader(lines, delimiter=separator)
    assert [list(row) for row in found.to_numpy()] == [row + [""] * (len(head) - len(row)) for row in rows]


@fuzz(150, data=broken(JSON), ending=st.sampled_from([".json", ".jsonl"]))
def test_json_tables(data: bytes, ending: str, folder: Path) -> None:
    path = write(folder / f"table{ending}", data)
    found = outcome("JSON", path, lambda: read_labelled(path, require_labels=False))
    if found is not None:
        assert all(text and set(text.upper()) <= IUPAC for text in found.sequences)


def check_codes(rows: Any) -> None:
    for row in rows or []:
        assert row.strand in ("+", "-")
        assert row.codes.shape == (row.end - row.start, 2)
        assert row.codes.min() >= -1
        assert row.codes[:, 0].max() < 8
        assert row.codes[:, 1].max() < 16


@fuzz(150, data=parquet())
def test_parquet_tables(data: bytes, folder: Path) -> None:
    path = write(folder / "table.parquet", data)
    labelled = outcome("Parquet", path, lambda: read_labelled(path, require_labels=False))
    if labelled is not None:
        assert all(text and set(text.upper()) <= IUPAC for text in labelled.sequences)
    check_codes(outcome("Parquet of codes", path, lambda: list(read_codes(path, [8, 16]))))


@fuzz(150, data=broken(CODES))
def test_codes_as_text(data: bytes, folder: Path) -> None:
    path = write(folder / "codes.tsv", data)
    check_codes(outcome("codes", path, lambda: list(read_codes(path, [8, 16]))))


@fuzz(200, data=MANIFESTS)
def test_manifests(data: tuple[str, bytes], folder: Path) -> None:
    path = write(folder / f"manifest{data[0]}", data[1])
    manifest = outcome("manifest", path, lambda: open_manifest(path))
    for entry in manifest.inputs if manifest is not None else ():
        assert Path(entry.path).is_file()
        assert 0 < entry.weight < float("inf")


@fuzz(80, data=broken(RENAMES))
def test_tables_of_names(data: bytes, folder: Path) -> None:
    path, bed = write(folder / "names.txt", data), write(folder / "x.bed", b"x\t1\t3\n")
    with Genome.open(folder / "good.fa") as genome:
        # A good table that lacks the name x leaves the fault with the BED file.
        found = outcome("names", folder, lambda: read_bed(bed, genome, rename=path))
    if found is not None:
        text = (unpack(data) or b"").decode("utf-8", "replace")
        rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
        assert found[0].chrom in {row[1] for row in rows if row and row[0] == "x"}


@fuzz(100, data=broken(ACCESSIONS))
def test_tables_of_accessions(data: bytes, folder: Path) -> None:
    path = write(folder / "accessions.tsv", data)
    rows = outcome("accessions", path, lambda: read_index(path))
    for row in rows or []:
        assert row["file"]
        assert all(value in data.decode() for value in row.values())


COMMANDS = {
    "FASTA": ("input.fa", "encode {0}/input.fa -o {0}/out/codes.parquet", FASTA),
    "BED": ("input.bed", "encode {0}/good.fa --bed {0}/input.bed -o {0}/out/codes.tsv.gz", BED),
    "VCF": ("input.vcf", "variants {0}/good.fa {0}/input.vcf --scores codes -o {0}/out/s.vcf -t {0}/out/t.tsv", VCF),
    "codes": ("input.tsv", "decode {0}/input.tsv -o {0}/out/back.fa", CODES),
    "table": ("input.csv", "embed {0}/input.csv -o {0}/out/vectors.npz", text_tables()),
    "regions": ("regions.bed", "mutate {0}/good.fa --bed {0}/regions.bed -o {0}/out/s.tsv --html {0}/out/s.html", BED),
    "corpus": ("corpus.fa", "corpus build {0}/corpus.fa --window 4 -o {0}/out/corpus", FASTA),
}
"""What the file is called, the command, and the file's content."""


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_command_is_clear_and_leaves_nothing(kind: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name, line, content = COMMANDS[kind]
    words = line.format(folder).split() + ["-m", str(folder / "codec")] * (kind != "corpus")

    @fuzz(60 if kind == "corpus" else 30, data=broken(content))
    def throw(data: bytes) -> None:
        path = write(folder / name, data)
        capfd.readouterr()
        code = cli.main(words)
        shown = capfd.readouterr()
        left = sorted((folder / "out").iterdir())
        assert "Traceback" not in shown.err + shown.out
        if code:
            assert code == 2
            assert shown.err.startswith("error: ")
            assert shown.err.count("\n") == 1
            assert str(path) in shown.err or "no window to learn from is left" in shown.err  # of all files together
            assert not left
            REFUSED[f"command, {kind}"] += 1
            return
        assert len(left) == 1 + (kind in ("VCF", "regions"))
        for output in left:
            if output.is_dir():
                shutil.rmtree(output)
            else:
                assert output.stat().st_size
                output.unlink()
        READ[f"command, {kind}"] += 1

    throw()


def test_there_were_enough() -> None:
    """Files, and of each kind both good ones and bad ones."""
    kinds = {*READ, *REFUSED}
    if len(kinds) < 23:
        pytest.skip("only some of the tests above were run")
    twice = ("labelled table", "Parquet of codes")  # the same files, by another reader
    files = sum(READ[kind] + REFUSED[kind] for kind in kinds if kind not in twice)
    print(f"{files} files", {kind: (READ[kind], REFUSED[kind]) for kind in sorted(kinds)})
    assert files >= LEAST_FILES
    for kind in kinds:
        assert READ[kind], kind
        assert REFUSED[kind], kind
