# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import gzip
import io
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region, Renamer, read_bed, whole_records

GENOME = Genome.from_sequences(["chr1", "chr2", "chrM"], ["ACGT" * 25, "ACGT" * 5, "AC"], path="g.fa")
YEAST = Genome.from_sequences(["I", "II", "X", "Mito"], ["ACGT" * 25] * 4, path="yeast.fa")


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_columns_names_strands_and_lines_passed_over(tmp_path: Path) -> None:
    text = (
        "\ufeffbrowser position chr1:1-100\ntrack name='a b' useScore=1\n# a comment\n\n"
        "chr1\t0\t10\r\n"
        "chr1 5 20 spaced 0 -\n"
        "chr1  90\t100\n"
        "chr2\t1\t20\ttwo words\t960.5\t+\t1\t20\t0,0,255\t2\t3,4\t0,15\n"
        "chr2\t3\t9\t.\t0\t.\n"
        "   \n"
        "track\n"
        "chr1\t0\t10\t\t\n"
        "chr2\t007\t9\tx"
    )
    expected = [
        Region("chr1", 0, 10, "chr1:0-10", "."),
        Region("chr1", 5, 20, "spaced", "-"),
        Region("chr1", 90, 100, "chr1:90-100", "."),
        Region("chr2", 1, 20, "two words", "+"),
        Region("chr2", 3, 9, "chr2:3-9", "."),
        Region("chr1", 0, 10, "chr1:0-10", "."),
        Region("chr2", 7, 9, "x", "."),
    ]
    for content in (text.encode(), gzip.compress(text.encode())):
        regions = read_bed(write(tmp_path / "r.bed", content), GENOME)
        assert regions == expected
        assert [region.length for region in regions] == [10, 15, 10, 19, 6, 10, 2]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"chr1\t0\t10\n", gzip.compress(b"chr1\t0\t10\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert read_bed("-", GENOME) == [Region("chr1", 0, 10, "chr1:0-10", ".")]
    for content, part in ((b"", "<stdin>: the file is empty"), (b"#\nchr1\t0\n", "<stdin>, line 2: 2 columns")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        with pytest.raises(ValueError, match=part):
            read_bed("-", GENOME)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("chr1", r"1 column, a line of BED has at least 3: chrom, start and end, parted by tabs"),
        ("chr1\t5", "2 columns, a line of BED has at least 3"),
        ("chr1\t-1\t5", "the start -1 is negative: BED counts from 0"),
        ("chr1\t5\t5", r"5\.\.5 holds no base"),
        ("chr1\t9\t5", r"9\.\.5 holds no base"),
        ("chr1\t9\t-5", r"9\.\.-5 holds no base"),
        ("chr1\t90\t101", r"90\.\.101 ends behind the end of 'chr1' \(100 bases\): cut the region"),
        ("chr1\t1000\t2000", r"ends behind the end of 'chr1' \(100 bases\)"),
        ("chrom\tstart\tend", r"the start 'start' is not a whole number.*put a '#' before a line of headings"),
        ("chr1\t1.5\t5", "the start '1.5' is not a whole number"),
        ("chr1\t1\t1e3", "the end '1e3' is not a whole number"),
        ("chr1\t1_0\t20", "the start '1_0' is not"),
        ("chr1\t+1\t20", r"the start '\+1' is not"),
        ("chr1\t\t20", "the start '' is not"),
        ("chr1\t१\t20", "is not a whole number"),
        ("chr1\t1\t" + "9" * 5000, r"the end '9{60}\.\.\.' is not a whole number"),
        ("chr1\t1\t5\rchr1\t6\t9", "the end .* is not a whole number"),
        ("chr1\t1\t5\tname\t0\tplus", r"the strand 'plus' \(column 6\) is none of \+ - \."),
        ("chr9\t1\t5", r"g\.fa has no record 'chr9', it has 'chr1', 'chr2', 'chrM'; is this the right genome.*FILE"),
        ("2\t1\t5", r"g\.fa has no record '2'.*'--rename auto' would read it as 'chr2'"),
        ("Chr2\t1\t5", "'--rename auto' would read it as 'chr2'"),
        ("MT\t1\t2", "'--rename auto' would read it as 'chrM'"),
        ("\t1\t2", "no record ''"),
        (">chr1", "1 column"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, line: str, part: str) -> None:
    path = write(tmp_path / "r.bed", f"#\nchr1\t0\t10\n{line}\nchr1\t0\t10\n")
    with pytest.raises(ValueError, match=f"^{path}, line 3: .*{part}") as error:
        read_bed(path, GENOME)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "the file is empty"),
        (b"#\ntrack x\n\n", "the file has no region"),
        (gzip.compress(b"chr1\t0\t10\n" * 500)[:-9], "cut short or damaged"),
        (b"BZh9", "compressed with bzip2"),
    ],
)
def test_errors_of_the_file(tmp_path: Path, content: bytes, part: str) -> None:
    with pytest.raises(ValueError, match=rf"r\.bed: .*{part}"):
        read_bed(write(tmp_path / "r.bed", content), GENOME)
    with pytest.raises(ValueError, match="no such file"):
        read_bed(tmp_path / "absent.bed", GENOME)
    with pytest.raises(ValueError, match="is a folder"):
        read_bed(tmp_path, GENOME)


def test_rename_auto_adds_and_drops_chr() -> None:
    auto = Renamer(YEAST, "auto")
    pairs = {"chrI": "I", "I": "I", "Chr_II": "II", "CHROMOSOME_X": "X", "chrM": "Mito", "MT": "Mito", "Mito": "Mito"}
    assert {name: auto(name, "here") for name in pairs} == pairs
    assert Renamer(GENOME, "auto")("1", "here") == "chr1"
    assert Renamer(GENOME, "auto")("MtDNA", "here") == "chrM"
    for name in ("chr1", "10", "chr", "i", ""):  # Arabic numbers are not taken for Roman ones
        assert auto.find(name) is None
    with pytest.raises(ValueError, match=r"^here: yeast\.fa has no record 'chr1', it has 'I', 'II', 'X' and 1 more;"):
        auto("chr1", "here")
    with pytest.raises(ValueError, match="'--rename auto' would read it as 'I'"):
        Renamer(YEAST)("chrI", "here")


def test_rename_auto_guesses_nothing() -> None:
    both = Genome.from_sequences(["1", "chr1", "Chr2", "chr2"], ["A"] * 4)
    auto = Renamer(both, "auto")
    assert (auto("1", "here"), auto("chr1", "here")) == ("1", "chr1")
    with pytest.raises(ValueError, match="'Chr2' and 'chr2' both could be meant: give a table with '--rename FILE'"):
        auto("2", "here")


def test_rename_by_a_table(tmp_path: Path) -> None:
    table = write(tmp_path / "names.tsv", "# theirs\tours\nNC_001133.9\tI\r\nII\tX\nsome name\tMito\n\nNC_1 II\n")
    renamer = Renamer(YEAST, table)
    pairs = {"NC_001133.9": "I", "II": "X", "some name": "Mito", "NC_1": "II", "I": "I", "X": "X"}
    assert {name: renamer(name, "here") for name in pairs} == pairs
    assert renamer.find("chrI") is None
    bed = write(tmp_path / "r.bed", "NC_001133.9\t3\t5\n")
    assert read_bed(bed, YEAST, rename=table) == [Region("I", 3, 5, "I:3-5", ".")]
    for text, part in (
        ("a\tI\nb\n", "line 2: a table of names has 2 columns"),
        ("a\tI\tII\n", "line 1: a table of names has 2 columns"),
        ("a\t\n", "line 1: a table of names has 2 columns"),
        ("a\tI\nb\tchrI\n", r"line 2: yeast\.fa has no record 'chrI' \(column 2"),
        ("a\tI\na\tI\na\tII\n", "line 3: 'a' was given as 'I' before"),
        ("#\n", "the table of names is empty"),
    ):
        with pytest.raises(ValueError, match=rf"^{tmp_path}/bad\.tsv.*{part}"):
            Renamer(YEAST, write(tmp_path / "bad.tsv", text))
    with pytest.raises(ValueError, match=r"absent\.tsv: no such file"):
        Renamer(YEAST, tmp_path / "absent.tsv")


def test_whole_records() -> None:
    regions = whole_records(GENOME)
    assert regions[2] == Region("chrM", 0, 2, "chrM", ".")
    assert [(region.chrom, region.length) for region in regions] == list(GENOME.lengths.items())


FIELD = st.one_of(
    st.sampled_from(["chr1", "chr2", "1", "chr9", "+", "-", ".", "track", "#"]),
    st.integers(-3, 120).map(str),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=4),
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(FIELD, max_size=8), max_size=4), st.sampled_from(["\t", " ", "\t "]), st.booleans())
def test_any_file_gives_right_regions_or_one_line_of_error(rows: list[list[str]], between: str, auto: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name) / "r.bed", "\n".join(between.join(row) for row in rows))
        try:
            regions = read_bed(path, GENOME, rename="auto" if auto else None)
        except ValueError as error:
            message = str(error)
            assert message.startswith(str(path))
            assert "\n" not in message
        else:
            assert regions
            for region in regions:
                assert 0 <= region.start < region.end <= GENOME.lengths[region.chrom]
                assert region.strand in "+-."
                assert region.name


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("Scer_nondubious_ORFs_and_blocked_reading_frames.bed", 5889),
        ("Scer_polIItranscripts-adjustedTSS.bed", 6445),
        ("Scer_transcripts_w_verifiedORFs.bed", 5088),
        ("rhee2012-TATAboxes-cleaned.bed", 572),
    ],
)
def test_real_bed_of_yeast_needs_rename(vqdna_data: Path, file: str, count: int) -> None:
    path = vqdna_data / "annotation" / file
    with Genome.open(vqdna_data / "genomes" / "fungi" / "Saccharomyces_cerevisiae_R64-1-1.fa.gz") as genome:
        with pytest.raises(ValueError, match=r"line 1: .* has no record 'chrI'.*'--rename auto' would read it as 'I'"):
            read_bed(path, genome)
        regions = read_bed(path, genome, rename="auto")
        assert len(regions) == count
        assert {region.chrom for region in regions} <= set(genome.names)
        assert {region.strand for region in regions} == {"+", "-"}


def test_real_start_codons(vqdna_data: Path) -> None:
    path = vqdna_data / "annotation" / "Scer_nondubious_ORFs_and_blocked_reading_frames.bed"
    with Genome.open(vqdna_data / "genomes" / "fungi" / "Saccharomyces_cerevisiae_R64-1-1.fa.gz") as genome:
        forward = [region for region in read_bed(path, genome, rename="auto") if region.strand == "+"]
        starts = [decode_ids(genome.fetch(region.chrom, region.start, region.start + 3)) for region in forward]
    assert starts.count("ATG") / len(starts) > 0.95
