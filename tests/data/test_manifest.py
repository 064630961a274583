# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Manifests of corpora: files, groups, weights, what is held out; mistakes are named with their place."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdna_hf.data.manifest import CorpusInput, held_out_by, open_manifest

YAML = """
held_out: [Gallus gallus, 21]
shares: {fungi: 1, human: 3}
inputs:
  - files: fungi/*.fa
    group: fungi
    held_out: chrM
  - files: [human/a.fa, human]
    group: human
    weight: 2
    species: Homo sapiens
  - files: human/alts.fa
    group: human
    weight: 0.1
    held_out: true
  - {files: human/old.fa, weight: 0}
"""


@pytest.fixture
def genomes(tmp_path: Path) -> Path:
    for name in ("fungi/y.fa", "fungi/z.fa", "human/a.fa", "human/alts.fa", "human/old.fa"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(">1\nACGT\n")
    return tmp_path


def names(inputs: tuple[CorpusInput, ...]) -> list[str]:
    return [os.path.basename(entry.path) for entry in inputs]


def test_yaml(genomes: Path) -> None:
    (genomes / "m.yaml").write_text(YAML)
    manifest = open_manifest(genomes / "m.yaml", held_out=["chrX"])
    assert names(manifest.inputs) == ["y.fa", "z.fa", "a.fa", "alts.fa"]
    assert [entry.weight for entry in manifest.inputs] == [1.0, 1.0, 2.0, 0.1]
    assert [entry.held_out for entry in manifest.inputs] == [("chrM",), ("chrM",), (), ("*",)]
    assert [entry.species for entry in manifest.inputs] == ["", "", "Homo sapiens", ""]
    assert manifest.held_out == ("Gallus gallus", "21", "chrX")
    assert manifest.shares == {"fungi": 0.25, "human": 0.75}


def test_table_and_its_accessions(genomes: Path) -> None:
    (genomes / "index.tsv").write_text(
        "file\taccession\tspecies\tgroup\nfungi/y.fa\tGCA_1\tYeast\tyeasts\nhuman/a.fa\tGCA_2\tMan\tapes\n"
    )
    (genomes / "m.tsv").write_text(
        "# mine\nfiles\tgroup\tweight\theld_out\nfungi\t\t\tchrM, chr1\n\nhuman/a.fa\tprimates\t3\ttrue\r\n"
    )
    inputs = open_manifest([str(genomes / "m.tsv")], group="other").inputs
    assert names(inputs) == ["y.fa", "z.fa", "a.fa"]
    assert [(entry.group, entry.species, entry.accession, entry.weight) for entry in inputs] == [
        ("yeasts", "Yeast", "GCA_1", 1.0), ("other", "", "", 1.0), ("primates", "Man", "GCA_2", 3.0),
    ]  # fmt: skip
    assert [entry.held_out for entry in inputs] == [("chrM", "chr1"), ("chrM", "chr1"), ("*",)]


def test_plain_files_need_no_manifest(genomes: Path) -> None:
    inputs = open_manifest([genomes / "fungi", genomes / "human" / "a.fa"]).inputs
    assert [(entry.group, entry.weight) for entry in inputs] == [("all", 1.0)] * 3


def test_what_holds_a_record_out() -> None:
    entry = CorpusInput("g/human/a.fa", species="Homo sapiens", held_out=("chr2*",))
    for name, patterns, expected in [
        ("chr21", [], ["chr2*"]),
        ("chr1", [], []),
        ("chr1", ["chr?", "chr1"], ["chr?", "chr1"]),
        (
            "chr1",
            ["Homo sapiens", "human/*", "g/human/a.fa", "a.fa"],
            ["Homo sapiens", "human/*", "g/human/a.fa", "a.fa"],
        ),
        ("chr1", ["Homo", "human", "CHR1"], []),
    ]:
        assert held_out_by(name, entry, patterns) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs: [", "is not valid YAML"),
        ("just text", "a manifest holds a list 'inputs'"),
        ("inputs: {files: x}", "a manifest holds a list 'inputs'"),
        ("inputs: []", "a corpus needs at least one FASTA file"),
        ("inputs: [3]", "input 1: is a mapping with 'files', not 3"),
        ("inputs: [{group: x}]", "input 1: 'files' names a FASTA file"),
        ("inputs: [{files: [3]}]", "input 1: 'files' names a FASTA file"),
        ("inputs: [{file: x}]", "input 1: unknown key 'file': did you mean 'files'"),
        ("input: []\ninputs: []", "unknown key 'input': did you mean 'inputs'"),
        ("inputs: [{files: no.fa}]", "input 1: .*no.fa: no such FASTA file"),
        ("inputs: [{files: fungi, weight: -1}]", "input 1: weight: -1 is not a number of at least 0"),
        ("inputs: [{files: fungi, weight: .inf}]", "weight: inf is not a number"),
        ("inputs: [{files: fungi, weight: true}]", "weight: True is not a number"),
        ("inputs: [{files: fungi, weight: 0}]", "at least one FASTA file of a weight above 0"),
        ("inputs: [{files: fungi, held_out: {a: 1}}]", "input 1: held_out: give names of records"),
        ("inputs: [{files: fungi, group: x}]\nshares: {y: 1}", "shares: 'x' has no share, and others have one"),
        ("inputs: [{files: fungi, group: x}]\nshares: {x: 1, y: 1}", "shares: 'y' is the group of no file"),
        ("inputs: [{files: fungi, group: x}]\nshares: {x: 0}", "shares: 'x': 0.0 is not a number above 0"),
        ("inputs: [{files: fungi}]\nshares: 3", "shares is a mapping"),
        ("inputs: [{files: fungi}]\naccessions: no.tsv", "no.tsv: cannot be read as a table of accessions"),
    ],
)  # fmt: skip
def test_mistakes_in_yaml(text: str, message: str, genomes: Path) -> None:
    (genomes / "m.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        open_manifest(genomes / "m.yaml")
    assert ".yaml" in str(raised.value) or "no.tsv" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group\tweight\nx\t1\n", "no column 'files'"),
        ("files\tfiles\nfungi\tfungi\n", "line 1: 'files' stands twice"),
        ("files\tgruop\nfungi\tx\n", "line 1: unknown key 'gruop': did you mean 'group'"),
        ("files\nfungi\tx\n", "line 2: 2 cells under 1 columns"),
        ("files\tweight\nfungi\tmuch\n", "line 2: weight: 'much' is not a number"),
        ("files\tgroup\n\tx\n", "line 2: 'files' names"),
        ("files\n", "at least one FASTA file"),
        ("\x00\x01", "unknown key|no column"),
    ],
)
def test_mistakes_in_tables(text: str, message: str, genomes: Path) -> None:
    (genomes / "m.tsv").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_manifest(genomes / "m.tsv")


def test_a_group_that_later_rows_leave_no_file_of(genomes: Path) -> None:
    path = genomes / "m.tsv"
    path.write_text("files\tgroup\tweight\nfungi\tyeasts\t1\n.\teverything\t1\n")
    with pytest.raises(ValueError, match="line 2: no file is left of group 'yeasts': line 3 names the same files, and"):
        open_manifest(path)
    path.write_text("files\tgroup\tweight\n.\teverything\t1\nfungi\tyeasts\t1\n")
    assert {entry.group for entry in open_manifest(path).inputs} == {"everything", "yeasts"}
    path.write_text("files\tgroup\tweight\nfungi\tyeasts\t1\n.\teverything\t1\nfungi\tx\t0\n")
    assert {entry.group for entry in open_manifest(path).inputs} == {"everything"}, "weight 0 takes a file on purpose"
    path.write_text("files\tgroup\tweight\nfungi\tyeasts\t1\nfungi\tyeasts\t2\n")
    assert {(entry.group, entry.weight) for entry in open_manifest(path).inputs} == {("yeasts", 2.0)}
    (genomes / "m.yaml").write_text("[{files: fungi, group: a}, {files: fungi, group: b}, {files: fungi, group: c}]")
    with pytest.raises(ValueError, match=r"m\.yaml, input 1: no file is left of group 'a': input 3 names"):
        open_manifest(genomes / "m.yaml")


def test_mistakes_beside_manifests(genomes: Path) -> None:
    (genomes / "m.yaml").write_text("[{files: fungi}]")
    for words, message in [
        ([genomes / "m.yaml", genomes / "fungi"], "a manifest stands alone"),
        (["-"], "standard input cannot be read twice"),
        ([], "no FASTA path was given"),
        ([genomes / "no.yaml"], "no.yaml: no such file"),
        ([genomes / "nothing"], "nothing: no such FASTA file"),
    ]:
        with pytest.raises(ValueError, match=message):
            open_manifest(words)
    (genomes / "b.tsv").write_bytes(b"\xff\xfe\x00files")
    with pytest.raises(ValueError, match=r"b\.tsv: is no text"):
        open_manifest(genomes / "b.tsv")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60), st.sampled_from([".yaml", ".tsv"]))
def test_any_text_is_a_manifest_or_one_line_of_error(
    tmp_path_factory: pytest.TempPathFactory, text: str, end: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{end}"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    with pytest.raises(ValueError, match=r"any|FASTA") as raised:
        open_manifest(path)
    assert str(raised.value)
