# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""VCF: each fault is named with its line, and what is read equals what htslib reads."""

import gzip
import random
from pathlib import Path

import numpy as np
import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqdna_hf.data.genome import Genome
from vqdna_hf.data.vcf import (
    COLUMNS,
    Allele,
    InfoField,
    VcfRecord,
    VcfWriter,
    allele_kind,
    annotated_header,
    annotated_line,
    check_ref,
    normal_form,
    open_vcf,
    to_ids,
)

META = "##fileformat=VCFv4.3\n##contig=<ID=1,length=1000>\n"
HEADER = META + "\t".join(COLUMNS) + "\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def records(path: Path) -> list[VcfRecord]:
    with open_vcf(path) as vcf:
        return list(vcf)


def line(*columns: str) -> str:
    return "\t".join([*columns, *[".", "1", ".", "A", "C", ".", ".", "."][len(columns) :]])


def random_calls(rng: random.Random, count: int, samples: int = 2) -> str:
    names = "".join(f"\ts{number}" for number in range(samples))
    text = META + '##INFO=<ID=DP,Number=1,Type=Integer,Description="x">\n'
    text += '##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n'
    text += "\t".join(COLUMNS) + f"\tFORMAT{names}\n"
    for _ in range(count):
        ref = "".join(rng.choices("ACGTacgtN", k=rng.randint(1, 6)))
        alts = [
            rng.choice(["<DEL>", "*", "G[1:5[", "".join(rng.choices("ACGTn", k=3)), rng.choice("ACGT")])
            for _ in range(rng.randint(1, 3))
        ]
        alt = rng.choice([",".join(alts), "."])
        calls = "\t0|1" * samples
        text += f"1\t{rng.randint(1, 900)}\t{rng.choice(['.', 'rs1;rs2'])}\t{ref}\t{alt}\t9.5\tPASS\tDP=3\tGT{calls}\n"
    return text


def test_records_equal_those_of_htslib(tmp_path: Path) -> None:
    path = write(tmp_path / "x.vcf", random_calls(random.Random(0), 300))
    ours = records(path)
    with pysam.VariantFile(str(path)) as theirs:
        for record, other in zip(ours, theirs, strict=True):
            assert (record.chrom, record.position, record.start) == (other.chrom, other.pos, other.start)
            assert record.ref == (other.ref or "").upper()
            assert record.alts == (other.alts or (".",))
            assert record.identifier == (other.id or ".")


def test_packed_line_ends_and_blank_lines_change_nothing(tmp_path: Path) -> None:
    text = random_calls(random.Random(1), 50)
    expected = records(write(tmp_path / "x.vcf", text))
    assert [record.line for record in expected] == list(range(6, 56))
    packed = write(tmp_path / "x.vcf.gz", gzip.compress(text.encode()))
    pysam.tabix_compress(str(tmp_path / "x.vcf"), str(tmp_path / "b.vcf.gz"))
    windows = write(tmp_path / "w.vcf", text.replace("\n", "\r\n"))
    for path in (packed, tmp_path / "b.vcf.gz", windows, write(tmp_path / "m.vcf", b"\xef\xbb\xbf" + text.encode())):
        assert records(path) == expected
    assert records(write(tmp_path / "e.vcf", text.rstrip("\n"))) == expected
    gaps = records(write(tmp_path / "g.vcf", text + "\n\n"))
    assert gaps == expected
    with open_vcf(windows) as vcf:
        assert vcf.contigs == {"1": 1000}
        assert vcf.meta[0] == b"##fileformat=VCFv4.3"


def test_a_vcf_without_records_and_without_contigs(tmp_path: Path) -> None:
    path = write(tmp_path / "x.vcf", "##fileformat=VCFv4.2\n" + "\t".join(COLUMNS) + "\n")
    assert records(path) == []
    with open_vcf(path) as vcf:
        assert vcf.contigs == {}
    path = write(tmp_path / "n.vcf", "##fileformat=VCFv4.2\n##contig=<ID=chr2>\n" + "\t".join(COLUMNS) + "\n")
    with open_vcf(path) as vcf:
        assert vcf.contigs == {"chr2": None}


FAULTY_HEADERS = {
    "empty": ("", "the file is empty"),
    "fasta": (">chr1\nACGT\n", "is no VCF: it should start with '##fileformat=VCF'"),
    "only meta": (META, "line 2: the line '#CHROM"),
    "no columns": (META + line("1") + "\n", "line 3: the line '#CHROM"),
    "spaces": (META + " ".join(COLUMNS) + "\n", "line 3: columns are separated by spaces"),
    "lower case": (META + "\t".join(COLUMNS).lower() + "\n", "line 3: '#chrom"),
    "missing column": (META + "\t".join(COLUMNS[:7]) + "\n", "line 3: '#CHROM"),
    "no FORMAT": (META + "\t".join([*COLUMNS, "s1"]) + "\n", "with FORMAT before any samples"),
}


@pytest.mark.parametrize("name", FAULTY_HEADERS)
def test_faults_of_the_header(tmp_path: Path, name: str) -> None:
    text, message = FAULTY_HEADERS[name]
    path = write(tmp_path / "x.vcf", text)
    with pytest.raises(ValueError, match=r"x\.vcf") as caught:
        records(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


FAULTY_LINES = {
    "few columns": ("1\t5\t.\tA", "has 4 columns, and the header names 8"),
    "many columns": (line("1") + "\tGT", "has 9 columns, and the header names 8"),
    "spaces": ("1 5 . A C . . .", "columns are separated by spaces"),
    "header again": (HEADER.splitlines()[-1], "a header line among the records"),
    "no chrom": (line(""), "CHROM '' is no name"),
    "blank in chrom": (line("chr 1"), "CHROM 'chr 1' is no name"),
    "word": (line("1", "x"), "POS 'x' is no whole number"),
    "negative": (line("1", "-4"), "POS '-4' is no whole number"),
    "fraction": (line("1", "1.5"), "POS '1.5' is no whole number"),
    "empty pos": (line("1", ""), "POS '' is no whole number"),
    "other digits": (line("1", "٣"), "is no whole number"),
    "endless pos": (line("1", "9" * 5000), "POS '999999999999999999999999999...' is no whole number"),
    "empty ref": (line("1", "5", ".", ""), "REF '' is no sequence of bases"),
    "missing ref": (line("1", "5", ".", "."), "REF '.' is no sequence of bases"),
    "gap": (line("1", "5", ".", "A-"), "REF 'A-' is no sequence of bases"),
    "protein": (line("1", "5", ".", "Q"), "REF 'Q' is no sequence of bases"),
    "two refs": (line("1", "5", ".", "A,C"), "REF 'A,C' is no sequence of bases"),
    "empty alt": (line("1", "5", ".", "A", ""), "ALT '' is neither bases nor a symbol"),
    "comma": (line("1", "5", ".", "A", "C,,T"), "ALT '' is neither bases nor a symbol"),
    "half a symbol": (line("1", "5", ".", "A", "<DEL"), "ALT '<DEL' is neither bases nor a symbol"),
    "half a breakend": (line("1", "5", ".", "A", "G[1:5"), "ALT 'G[1:5' is neither bases nor a symbol"),
    "not utf-8": ("1\t5\t.\tA\t\xff\t.\t.\t.", "is neither bases nor a symbol"),
}


@pytest.mark.parametrize("name", FAULTY_LINES)
def test_faults_of_a_line(tmp_path: Path, name: str) -> None:
    text, message = FAULTY_LINES[name]
    content = HEADER.encode() + f"{line('1')}\n{text}\n{line('1')}\n".encode(
        "latin-1" if name == "not utf-8" else "utf-8"
    )
    path = write(tmp_path / "x.vcf", content)
    with open_vcf(path) as vcf:
        found = iter(vcf)
        assert next(found).line == 4
        with pytest.raises(ValueError, match=f"{path}, line 5: ") as caught:
            next(found)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_and_foreign_files(tmp_path: Path) -> None:
    text = HEADER + "".join(line("1", str(at)) + "\n" for at in range(1, 9000))
    plain = write(tmp_path / "x.vcf", text)
    packed = gzip.compress(text.encode())
    with pytest.raises(ValueError, match="cut short or damaged"):
        records(write(tmp_path / "cut.vcf.gz", packed[: len(packed) // 2]))
    pysam.tabix_compress(str(plain), str(tmp_path / "b.vcf.gz"))
    content = (tmp_path / "b.vcf.gz").read_bytes()
    for keep in (len(content) - 28, len(content) - 1, len(content) // 2):
        # The first is cut between two blocks: as gzip it is whole, but lines are missing.
        with pytest.raises(ValueError, match="cut short"):
            records(write(tmp_path / "cut.vcf.gz", content[:keep]))
    with (
        pysam.VariantFile(str(plain)) as source,
        pysam.VariantFile(str(tmp_path / "x.bcf"), "wb", header=source.header),
    ):
        pass
    with pytest.raises(ValueError, match="is BCF, the binary form: convert it with `bcftools view`"):
        records(tmp_path / "x.bcf")
    with pytest.raises(ValueError, match="no such file"):
        records(tmp_path / "none.vcf")
    with pytest.raises(ValueError, match="is a folder"):
        records(tmp_path)


def test_a_failure_of_the_caller_is_not_taken_for_one_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.vcf", HEADER + line("1") + "\n")

    def fail_while_reading() -> None:
        with open_vcf(path) as vcf:
            next(iter(vcf))
            raise OSError("no space")

    with pytest.raises(OSError, match="no space") as caught:
        fail_while_reading()
    assert type(caught.value) is OSError


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text(alphabet="1\tAC.<>,*[]:#\n\r =N", max_size=80)))
def test_whatever_follows_the_header_is_read_or_refused_in_one_line(tmp_path: Path, content: bytes | str) -> None:
    body = content if isinstance(content, bytes) else content.encode()
    for start in (b"", META.encode(), HEADER.encode()):
        message = ""
        try:
            found = records(write(tmp_path / "x.vcf", start + body))
        except ValueError as error:
            message = str(error)
        if message:
            assert message.startswith(str(tmp_path))
            assert len(message.splitlines()) == 1
        else:
            assert all(record.alts and record.ref and record.chrom for record in found)
            assert len(found) <= body.count(b"\n") + 1


def test_kinds_of_alleles() -> None:
    expected = {
        "A": "bases", "acgu": "bases", "N": "ambiguous_base", "AR": "ambiguous_base", ".": "no_alt",
        "*": "spanning_deletion", "<*>": "symbolic", "<DUP:TANDEM>": "symbolic", "<CN0>": "symbolic",
        "G]17:198982]": "breakend", "[13:123457[A": "breakend", "]<ctg1>:329]T": "breakend", ".A": "breakend",
        "A.": "breakend", "": None, "<>": None, "<A B>": None, "A B": None, "-": None, "[": None, "1": None,
    }  # fmt: skip
    assert {alt: allele_kind(alt) for alt in expected} == expected
    assert allele_kind("[" * 200_000) is None  # at once


def test_ref_against_the_genome() -> None:
    def check(ref: str, there: str, position: int = 5) -> str | None:
        return check_ref(VcfRecord(1, "1", position, ".", ref, ("A",), b""), to_ids(there))

    assert check("ACG", "ACG") is None
    assert check("ACG", "ACT") == "ref_mismatch"
    assert check("ACG", "ACN") == "ref_mismatch"
    assert check("N", "N") == check("ACR", "ACA") == check("N", "A") == "ambiguous_base"
    assert check("NC", "AG") == "ref_mismatch"
    assert check("ACG", "AC") == check("A", "A", position=0) == "outside_record"


def apply(text: str, start: int, ref: str, alt: str) -> str:
    assert text[start : start + len(ref)] == ref
    return text[:start] + alt + text[start + len(ref) :]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_normal_form_is_the_one_of_all_spellings(data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet="AC", min_size=1, max_size=14)) * data.draw(st.integers(1, 60))
    start = data.draw(st.integers(0, len(text) - 1))
    ref = text[start : start + data.draw(st.integers(1, 6))]
    alt = data.draw(st.text(alphabet="ACG", min_size=1, max_size=6))
    genome = Genome.from_sequences(["1"], [text])
    allele = normal_form("1", start, ref, alt, genome.fetch)
    letters = dict(zip(to_ids("ACGT").tolist(), "ACGT", strict=True))
    short, long = ("".join(letters[one] for one in part) for part in (allele.ref, allele.alt))
    haplotype = apply(text, start, ref, alt)
    assert apply(text, allele.start, short, long) == haplotype
    if ref == alt:
        assert allele.ref == allele.alt == b""
        return
    # No base is shared at the ends, and an insertion or deletion can move no further.
    if short and long:
        assert short[0] != long[0]
        assert short[-1] != long[-1]
    elif allele.start:
        moved = text[allele.start - 1] + (short or long)
        assert moved[0] != moved[-1]
        # Every other place that gives the same haplotype has the same normal form.
        for other in range(len(text) - len(short) + 1):
            inserted = haplotype[other : other + len(long)]
            removed = text[other : other + len(short)]
            if apply(text, other, removed, inserted) == haplotype:
                assert normal_form("1", other, removed, inserted, genome.fetch) == allele


def test_an_indel_moves_further_than_one_look() -> None:
    genome = Genome.from_sequences(["1"], ["G" + "CA" * 700])
    assert normal_form("1", 1398, "ACA", "A", genome.fetch) == Allele("1", 1, to_ids("CA").tobytes(), b"")
    genome = Genome.from_sequences(["1"], ["A" * 600])
    assert normal_form("1", 599, "A", "AA", genome.fetch) == Allele("1", 0, b"", to_ids("A").tobytes())


FIELDS = [InfoField("VQDNA_LLR", "A", "Float", 'a "ratio"'), InfoField("VQDNA_SKIPPED", ".", "String", "why")]


def annotate(path: Path, output: Path, value: str) -> None:
    with open_vcf(path) as vcf, VcfWriter(output, bgzip=output.suffix == ".gz") as writer:
        writer.write(annotated_header(vcf, FIELDS, "VQDNA_", "vqdna_test=window 5"))
        for record in vcf:
            info = {"VQDNA_LLR": ",".join([value] * len(record.alts)), "VQDNA_SKIPPED": None}
            writer.write([annotated_line(record.text, info, "VQDNA_")])


def test_an_annotated_copy_is_valid_and_changes_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "x.vcf", random_calls(random.Random(2), 3000))
    annotate(path, tmp_path / "out.vcf.gz", "-1.5")
    with pysam.VariantFile(str(path)) as old, pysam.VariantFile(str(tmp_path / "out.vcf.gz")) as new:
        assert new.header.info["VQDNA_LLR"].number == "A"
        assert new.header.info["VQDNA_LLR"].type == "Float"
        for before, after in zip(old, new, strict=True):
            if before.alts:
                assert after.info["VQDNA_LLR"] == (-1.5,) * len(before.alts)
                del after.info["VQDNA_LLR"]
                assert str(before) == str(after)
    plain = tmp_path / "out.vcf"
    annotate(path, plain, "-1.5")
    assert gzip.decompress((tmp_path / "out.vcf.gz").read_bytes()) == plain.read_bytes()
    # Once more, on what was annotated: the old values go.
    annotate(plain, tmp_path / "again.vcf", "2")
    assert (tmp_path / "again.vcf").read_text() == plain.read_text().replace("-1.5", "2")
    # An index can be made.
    sorted_path = write(tmp_path / "s.vcf", HEADER + "".join(line("1", str(at)) + "\n" for at in range(1, 900)))
    annotate(sorted_path, tmp_path / "s.vcf.gz", "1")
    pysam.tabix_index(str(tmp_path / "s.vcf.gz"), preset="vcf")
    with pysam.VariantFile(str(tmp_path / "s.vcf.gz")) as vcf:
        assert [record.pos for record in vcf.fetch("1", 99, 102)] == [100, 101, 102]


def test_blocks_of_bgzip_hold_anything(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(200_000).replace(b"\n", b"x")
    lines = [noise, b"", b"A" * 300_000, b"end"]
    for path in (tmp_path / "one.gz", tmp_path / "two.gz"):
        with VcfWriter(path, bgzip=True) as writer:
            writer.write(lines)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    with pysam.BGZFile(str(tmp_path / "one.gz")) as packed:
        assert packed.read() == b"".join(one + b"\n" for one in lines)


def test_a_header_without_its_first_line_gets_one(tmp_path: Path) -> None:
    path = write(tmp_path / "x.vcf", "##source=x\n" + "\t".join(COLUMNS) + "\n" + line("1") + "\n")
    annotate(path, tmp_path / "out.vcf", "1")
    assert (tmp_path / "out.vcf").read_text().startswith("##fileformat=VCFv4.2\n##source=x\n")


def test_contigs_are_declared_as_far_as_they_lack_and_can_be(tmp_path: Path) -> None:
    path = write(tmp_path / "x.vcf", "##fileformat=VCFv4.3\n##contig=<length=5,ID=a>\n" + "\t".join(COLUMNS) + "\n")
    with open_vcf(path) as vcf:
        contigs = {"a": 7, "HLA:01": 9, "b,c": 3, "<d>": None, "e": None}
        header = annotated_header(vcf, FIELDS[:1], "VQDNA_", "vqdna_test=1", contigs)
    assert header[1:4] == [b"##contig=<length=5,ID=a>", b"##contig=<ID=HLA:01,length=9>", b"##contig=<ID=e>"]
    assert header[4].startswith(b"##INFO=<ID=VQDNA_LLR")


def test_the_1000_genomes_sites(vqdna_data: Path) -> None:
    path = vqdna_data / "variants" / "vg_1mb1kgp_z.vcf.gz"
    found = records(path)
    assert len(found) == 28_998
    with Genome.open(vqdna_data / "genomes" / "human" / "Homo_sapiens_1000G_1Mb_z.fa.gz") as genome:
        for record in found:
            assert check_ref(record, genome.fetch("z", record.start, record.start + len(record.ref))) is None
    with pysam.VariantFile(str(path)) as theirs:
        assert [(one.position, one.ref, one.alts) for one in found] == [(one.pos, one.ref, one.alts) for one in theirs]
