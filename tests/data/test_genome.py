# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import errno
import gzip
import io
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pysam
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from vqdna_hf.data import genome_files
from vqdna_hf.data.fasta import FastaRecord, decode_ids, encode_sequence, read_fasta
from vqdna_hf.data.genome import Genome
from vqdna_hf.model.tokenization_vqdna import IUPAC_LETTERS

PACKINGS = ("plain", "gzip", "bgzip")
TEXT = ">chr1 first\nACGTacgtNN\nACgtRYswUU\nAC\n>chr2\nTTTTGGGG\n"


def write(path: Path, text: str | bytes, packing: str = "plain", index: bool = False) -> Path:
    content = text.encode() if isinstance(text, str) else text
    if packing == "plain":
        path.write_bytes(content)
    elif packing == "gzip":
        path.write_bytes(gzip.compress(content))
    else:
        plain = path.with_name("unpacked")
        plain.write_bytes(content)
        pysam.tabix_compress(str(plain), str(path), force=True)
        plain.unlink()
    for old in (index_of(path, "fai"), index_of(path, "gzi")):
        old.unlink(missing_ok=True)
    if index:
        make_index(path)
    return path


def make_index(path: Path) -> bool:
    before = pysam.set_verbosity(0)
    try:
        pysam.faidx(str(path))
    except pysam.SamtoolsError:
        return False
    finally:
        pysam.set_verbosity(before)
    return True


def index_of(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}")


def way(genome: Genome) -> str:
    return type(genome._letters).__name__


def assert_equal(genome: Genome, records: list[FastaRecord], seed: int = 0) -> None:
    assert genome.names == [record.name for record in records]
    assert list(genome.lengths.items()) == [(record.name, record.bases) for record in records]
    assert genome.bases == sum(record.bases for record in records)
    rng = random.Random(seed)
    for record in records:
        ends = sorted(rng.choices(range(record.bases + 1), k=2))
        for start, end in [(0, record.bases), (record.bases - 1, record.bases), (0, 1), tuple(ends)]:
            ids = genome.fetch(record.name, start, end)
            assert ids.dtype == np.uint8
            assert ids.tolist() == record.ids[start:end].tolist()
            assert record.soft_mask is not None
            assert genome.soft_mask(record.name, start, end).tolist() == record.soft_mask[start:end].tolist()


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_gives_the_same(tmp_path: Path, packing: str, index: bool) -> None:
    path = write(tmp_path / "x.fa", TEXT, packing, index and packing != "gzip")
    before = sorted(tmp_path.iterdir())
    with Genome.open(path) as genome:
        assert_equal(genome, list(read_fasta(path, soft_mask=True)))
        assert way(genome) == ("InPlace" if packing == "plain" or (index and packing == "bgzip") else "Unpacked")
        assert decode_ids(genome.fetch("chr1", 8, 12)) == "NNAC"
        assert repr(genome) == f"Genome({str(path)!r}, 2 records, 30 bases)"
        genome.check()
    assert sorted(tmp_path.iterdir()) == before


EXTRA = [b" ", b"\r", b"\n", b">", b"-", b"\x00", b"*", b"\xc3\xa9", b"\t", b"@", b"\n>r0\n", b"\n>r9\n"]
LETTERS = st.text(IUPAC_LETTERS + IUPAC_LETTERS.lower(), min_size=1, max_size=90)


@st.composite
def layouts(draw: st.DrawFn) -> bytes:
    """FASTA as people write it: any line length, even or ragged, CRLF, blank lines, a mark, no last line end."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    blank = st.sampled_from(["", "", "", end, end * 2])
    text = draw(st.sampled_from(["", "", "\ufeff"])) + draw(blank)
    for number, letters in enumerate(draw(st.lists(LETTERS, min_size=1, max_size=5))):
        text += draw(st.sampled_from([">r", "> r", ">é"])) + str(number)
        text += draw(st.sampled_from(["", " ", " words here", "\tword"])) + end + draw(blank)
        width = draw(st.integers(1, 30))
        while letters:
            text += letters[:width] + end
            letters = letters[width:]
            if draw(st.integers(0, 30)) == 0:
                text += draw(blank)
                width = draw(st.integers(1, 30))
        text += draw(blank)
    return (text if draw(st.booleans()) else text.rstrip(end)).encode()


quick = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(layouts(), st.sampled_from(PACKINGS), st.booleans(), st.integers(1, 40), st.integers(0, 9))
def test_any_layout_gives_what_read_fasta_gives(text: bytes, packing: str, index: bool, block: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(genome_files, "_SCAN_BYTES", block)
        path = write(Path(name) / "x.fa", text, packing, index and packing != "gzip")
        with Genome.open(path) as genome:
            assert_equal(genome, list(read_fasta(path, soft_mask=True)), seed)


@quick
@example(b">a\nAC\n>a\nACG\n", b"", 0, "plain")  # the index leaves out the second
@example(b">a\n>b\nAC\n", b"", 0, "plain")  # and the empty one
@example(b">\nAC\n>b\nAC\n", b"", 0, "plain")  # and one without a name is all right for it
@example(b">a\nACGT\nAC T\n", b"", 0, "bgzip")  # faidx drops the blank
@example(b">a\nACGT \nACGT \nA\n", b"", 0, "plain")  # as long as CRLF
@example(b">a\r\nACGT\r\nAC GT\nAC\r\n", b"", 0, "plain")
@example(b">a\r\nACGT\r\nAC\rGT\nAC\r\n", b"", 0, "plain")
@example(b">a\nACGT\r", b"", 0, "plain")
@example(b">a\nACGT\n\n>", b"", 0, "plain")
@given(layouts(), st.sampled_from(EXTRA), st.integers(0, 400), st.sampled_from(["plain", "bgzip"]))
def test_what_read_fasta_refuses_is_refused_with_an_index_and_without(
    text: bytes, extra: bytes, place: int, packing: str
) -> None:
    text = text[:place] + extra + text[place:]
    assume(b">\n>" not in text.replace(b"\r\n", b"\n"))  # read_fasta passes over a header without anything
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name) / "bad.fa", text, packing)
        try:
            records = list(read_fasta(path, soft_mask=True))
        except ValueError:
            records = None
        for indexed in (False, True):
            if indexed:
                make_index(path)
            if records is None:
                with pytest.raises(ValueError, match=f"^{path}[^\n]*$"), Genome.open(path) as genome:
                    genome.check()
            else:
                with Genome.open(path) as genome:
                    assert_equal(genome, records)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (">a\nAC-GT\n", ["record 'a'", "'-' at position 2 (0-based)", "gaps"]),
        (">a\nACGT\n>b\nACG\nTTé\n", ["record 'b'", "'é' at position 5"]),
        (">a\n>b\nAC\n", ["record 'a'", "no bases"]),
        (">a\nAC\n>b\n", ["record 'b'", "no bases"]),
        (">a\nAC\n>b", ["record 'b'", "no bases"]),
        (">\nAC\n", ["record 1 has no name"]),
        (">a x\nAC\n>b\nAC\n>a y\nGT\n", ["two records are named 'a'", "record 3", "unique"]),
        ("ACGT\n>a\nAC\n", ["text before the first '>'", "'ACGT'"]),
        ("@read\nACGT\n+\nIIII\n", ["FASTQ", "'@read'", "convert"]),
        ("", ["the file is empty"]),
        ("\n\n", ["no FASTA record"]),
        (">a" + "b" * (1 << 20) + "\nAC\n", ["a header is longer than 1048576 bytes"]),
        (b"\x28\xb5\x2f\xfdxx", ["compressed with zstd", "gzip"]),
        (gzip.compress(b">a\n" + b"ACGT" * 5000)[:-12], ["cut short or damaged"]),
        (gzip.compress(b">a\nACGT\n")[:12] + b"\x00" * 20, ["cut short or damaged"]),
    ],
)
def test_errors_name_file_record_position_and_way_out(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    path = write(tmp_path / "bad.fa", text)
    with pytest.raises(ValueError, match=r"bad\.fa") as error:
        Genome.open(path)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)
    with pytest.raises(ValueError, match="no such file"):
        Genome.open(tmp_path / "absent.fa")
    with pytest.raises(ValueError, match="is a folder"):
        Genome.open(tmp_path)


def test_letters_cut_between_blocks_keep_their_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genome_files, "_SCAN_BYTES", 50)
    path = write(tmp_path / "x.fa", ">a\r\n" + "ACGT\r\n" * 100 + "ACéT\r\n")
    with pytest.raises(ValueError, match=r"x\.fa, record 'a': 'é' at position 402 \(0-based\)"):
        Genome.open(path)


@pytest.mark.parametrize(
    ("place", "part"),
    [
        (("chr3", 0, 1), "has no record 'chr3', it has 'chr1', 'chr2'"),
        (("chr1", 0, 23), r"record 'chr1': 0\.\.23 lies outside its 22 bases"),
        (("chr1", -1, 3), r"-1\.\.3 lies outside"),
        (("chr1", 5, 4), r"5\.\.4 lies outside"),
    ],
)
@pytest.mark.parametrize("packing", PACKINGS)
def test_places_outside(tmp_path: Path, packing: str, place: tuple[str, int, int], part: str) -> None:
    with Genome.open(write(tmp_path / "x.fa", TEXT, packing)) as genome:
        for method in (genome.fetch, genome.soft_mask):
            with pytest.raises(ValueError, match=part):
                method(*place)
        assert genome.fetch("chr1", 22, 22).shape == (0,)
        assert genome.fetch("chr1", np.int64(0), np.int32(2)).tolist() == [5, 6]
    with pytest.raises(ValueError, match="was closed"):
        genome.fetch("chr1", 0, 1)
    genome.close()


@pytest.mark.parametrize("packing", ["plain", "bgzip"])
def test_an_indexed_file_is_not_read_at_first_but_its_letters_are_checked(tmp_path: Path, packing: str) -> None:
    path = write(tmp_path / "x.fa", ">a\nACGTACGT\nAC*TACGT\n>b\nACG\n", packing, index=True)
    with Genome.open(path) as genome:
        assert genome.fetch("a", 0, 10).tolist() == [5, 6, 7, 8] * 2 + [5, 6]
        for call in (genome.check, lambda: genome.fetch("a", 3, 12), lambda: genome.soft_mask("a", 10, 11)):
            with pytest.raises(ValueError, match=r"x\.fa, record 'a': '\*' at position 10 \(0-based\)"):
                call()


@pytest.mark.parametrize("packing", ["plain", "bgzip"])
def test_stale_and_foreign_indices_are_not_trusted(
    tmp_path: Path, packing: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "x.fa", TEXT, packing, index=True)
    fai = index_of(path, "fai")
    good, gzi = fai.read_text(), index_of(path, "gzi")
    expected = list(read_fasta(path, soft_mask=True))
    lines = good.splitlines(keepends=True)
    bad = {
        "another name": good.replace("chr1", "chrA"),
        "too short": good.replace("22", "21"),
        "too long": good.replace("22", "23"),
        "shifted": good.replace("\t12\t", "\t13\t"),
        "a record is missing": lines[0],
        "the first is missing": lines[1],
        "a name twice": good + lines[1],
        "order": lines[1] + lines[0],
        "without bases": good + "chr3\t0\t50\t0\t0\n",
        "other lines": good.replace("\t10\t11", "\t11\t12"),
        "huge": good.replace("22", str(10**19)).replace("\t12\t", f"\t{10**18}\t"),
        "columns": "chr1\t22\t12\n",
        "FASTQ": "\n".join(line + "\t90" for line in good.splitlines()) + "\n",
        "words": "chr1\ta\tb\tc\td\n",
        "nothing": "",
    }
    for what, text in bad.items():
        fai.write_text(text)
        caplog.clear()
        with caplog.at_level(logging.WARNING), Genome.open(path) as genome:
            assert_equal(genome, expected)
        assert "does not fit the file: it is not used" in caplog.text, what
        assert fai.read_text() == text
    fai.write_text(good)
    os.utime(fai, ns=(0, path.stat().st_mtime_ns - 1))
    caplog.clear()
    with caplog.at_level(logging.WARNING), Genome.open(path) as genome:
        assert_equal(genome, expected)
    assert "x.fa.fai is older than the file" in caplog.text
    if packing == "bgzip":
        fai.write_text(good)
        for content in (b"", b"\x01" + bytes(7), b"\xff" * 8, (1).to_bytes(8, "little") + b"\x07" * 16):
            gzi.write_bytes(content)
            with Genome.open(path) as genome:
                assert_equal(genome, expected)
        gzi.unlink()
        with Genome.open(path) as genome:
            assert_equal(genome, expected)


def test_a_file_that_changes_under_its_index_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.fa", ">a\nACGT\nACGT\nACGT\n>b\nAC\n", index=True)
    with Genome.open(path) as genome:
        path.write_bytes(b">a\nACGTACGTACGTAC\n>b\nAC\n")
        with pytest.raises(ValueError, match=r"x\.fa, record 'a': line ends are not where the index says"):
            genome.fetch("a", 0, 12)


@pytest.mark.parametrize("index", [False, True])
def test_lines_that_htslib_takes_for_even(tmp_path: Path, index: bool) -> None:
    path = write(tmp_path / "x.fa", b">a\r\nACGT\r\nACGT\r\nACGTA\nAC\r\n")
    assert not index or make_index(path)
    with Genome.open(path) as genome:
        assert decode_ids(genome.fetch("a", 11, 15)) == "TAAC"
        assert way(genome) == "Unpacked"


def many_blocks(tmp_path: Path, index: bool = True) -> tuple[Path, np.ndarray]:
    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)[rng.integers(0, 4, 600_000)].tobytes().decode()
    text = ">a\n" + "\n".join(letters[i : i + 61] for i in range(0, len(letters), 61)) + "\n"
    return write(tmp_path / "x.fa.gz", text, "bgzip", index), encode_sequence(letters, where="x")


def test_bgzip_blocks(tmp_path: Path) -> None:
    path, expected = many_blocks(tmp_path)
    rng = random.Random(1)
    with Genome.open(path) as genome:
        assert way(genome) == "InPlace"
        for _ in range(150):
            start = rng.randrange(len(expected))
            end = min(len(expected), start + rng.choice([1, 50, 5000, 70_000, 400_000]))
            assert (genome.fetch("a", start, end) == expected[start:end]).all()
        for start in range(0, len(expected), 9973):
            assert (genome.fetch("a", start, min(start + 12_000, len(expected))) == expected[start:][:12_000]).all()


@pytest.mark.parametrize("index", [False, True])
def test_bgzip_files_one_behind_the_other(tmp_path: Path, index: bool) -> None:
    first = write(tmp_path / "1.gz", ">a\nACGT\nAC", "bgzip").read_bytes()
    second = write(tmp_path / "2.gz", "GT\n>b\nTTTT\n", "bgzip").read_bytes()
    path = tmp_path / "both.fa.gz"
    path.write_bytes(first + second)
    if index:
        assert make_index(path)
    with Genome.open(path) as genome:
        assert way(genome) == ("InPlace" if index else "Unpacked")
        assert_equal(genome, list(read_fasta(path, soft_mask=True)))


def test_processes_after_a_fork_do_not_disturb_each_other(tmp_path: Path) -> None:
    path, expected = many_blocks(tmp_path)
    with Genome.open(path) as genome:

        def right(seed: int) -> bool:
            rng = random.Random(seed)
            starts = [rng.randrange(len(expected) - 100) for _ in range(300)]
            return all(
                (genome.fetch("a", start, start + 100) == expected[start : start + 100]).all() for start in starts
            )

        child = os.fork()
        if child == 0:
            os._exit(0 if right(1) else 1)
        assert right(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_truncated_and_damaged_bgzip(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, _ = many_blocks(tmp_path)
    whole = path.read_bytes()
    index_times = path.stat().st_mtime_ns
    second = whole.index(b"\x1f\x8b\x08\x04", 100)
    for index in (True, False):
        for cut in (len(whole) - 28, len(whole) - 1, len(whole) // 2, second, 40):
            path.write_bytes(whole[:cut])
            os.utime(path, ns=(index_times, index_times))
            with pytest.raises(
                ValueError, match=r"x\.fa\.gz: the gzip data is cut short or damaged.*copy the file again"
            ):
                Genome.open(path)
        damaged = bytearray(whole)
        damaged[second + 5000] ^= 0xFF
        path.write_bytes(damaged)
        os.utime(path, ns=(index_times, index_times))
        with pytest.raises(ValueError, match=r"x\.fa\.gz: the gzip data is cut short"), Genome.open(path) as genome:
            genome.check()
        if index:
            index_of(path, "fai").unlink()
    assert capfd.readouterr() == ("", "")


def test_gzip_of_several_members_and_false_names(tmp_path: Path) -> None:
    path = tmp_path / "plain.fa"
    path.write_bytes(gzip.compress(b">a\nAC") + gzip.compress(b"GT\n>b\nA\n"))
    with Genome.open(path) as genome:
        assert genome.lengths == {"a": 4, "b": 1}
    write(tmp_path / "packed.fa.gz", TEXT)
    with Genome.open(tmp_path / "packed.fa.gz") as genome:
        assert genome.bases == 30


@pytest.mark.parametrize("packing", PACKINGS)
def test_standard_input_and_pipes(tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.fa", TEXT, packing)
    expected = list(read_fasta(path, soft_mask=True))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    with Genome.open("-") as genome:
        assert genome.path == "<stdin>"
        assert_equal(genome, expected)
    for text, part in ((b"", "<stdin>: the file is empty"), (b">a\nA-\n", "<stdin>, record 'a': '-' at position 1")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
        with pytest.raises(ValueError, match=part):
            Genome.open("-")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()))
    writer.start()
    with Genome.open(pipe) as genome:
        writer.join()
        assert_equal(genome, expected)


def test_temporary_files_have_no_name_or_go_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for packing in PACKINGS:
        with Genome.open(write(tmp_path / "x.fa", TEXT, packing)):
            assert list(temporary.iterdir()) == []
        with pytest.raises(ValueError, match="has no bases"):
            Genome.open(write(tmp_path / "x.fa", TEXT + ">c\n", packing))
        assert list(temporary.iterdir()) == []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b">a\nAC\n>b\n")))
    with pytest.raises(ValueError, match="has no bases"):
        Genome.open("-")
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a disk without room")
def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "wb+")  # noqa: SIM115 - closed by the genome
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    with pytest.raises(ValueError, match=r"x\.fa: no temporary copy can be made in .*No space left.*TMPDIR"):
        Genome.open(write(tmp_path / "x.fa", TEXT, "gzip"))
    assert full.closed

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b">a\nAC\n")))
    monkeypatch.setattr(shutil, "copyfileobj", refuse)
    with pytest.raises(ValueError, match=r"<stdin>: no temporary copy can be made in .*No space left.*TMPDIR"):
        Genome.open("-")


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("width", [60, 12_000_000])
def test_memory_is_bounded_and_independent_of_the_record(tmp_path: Path, packing: str, width: int) -> None:
    letters = b"ACGTTGCATC" * 1_200_000
    lines = [letters[i : i + width] for i in range(0, len(letters), width)]
    path = tmp_path / "x.fa"
    if packing == "bgzip":
        with pysam.BGZFile(str(path), "wb", None) as file:
            file.write(b">a\n" + b"\n".join(lines) + b"\n")
        assert make_index(path)
    else:
        with gzip.open(path, "wb", compresslevel=1) if packing == "gzip" else open(path, "wb") as file:
            file.write(b">a\n" + b"\n".join(lines) + b"\n")
    del letters, lines
    tracemalloc.start()
    with Genome.open(path) as genome:
        assert genome.lengths == {"a": 12_000_000}
        for start in range(0, 12_000_000, 1_500_000):
            assert len(genome.fetch("a", start, start + 8192)) == 8192
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9e6


def test_from_sequences(tmp_path: Path) -> None:
    genome = Genome.from_sequences(["a", "b"], ["ACgu", np.array([5, 9], dtype=np.uint8)], path="x.csv")
    assert (genome.path, genome.names, genome.lengths) == ("x.csv", ["a", "b"], {"a": 4, "b": 2})
    assert (decode_ids(genome.fetch("a", 0, 4)), decode_ids(genome.fetch("b", 0, 2))) == ("ACGT", "AN")
    assert genome.soft_mask("a", 0, 4).tolist() == [False, False, True, True]
    for names, sequences, part in (
        (["a"], [], "1 names for 0"),
        (["a", "a"], ["A", "C"], "two records are named 'a'"),
        (["a", "b"], ["A", ""], "record 'b': the sequence is empty"),
        (["a"], ["A-"], "record 'a': '-' at position 1"),
        (["a"], [np.array([5, 4], dtype=np.uint8)], r"record 'a': '\?' at position 1"),
    ):
        with pytest.raises(ValueError, match=f"x.csv.*{part}"):
            Genome.from_sequences(names, sequences, path="x.csv")


def test_real_genome_in_place_and_unpacked(vqdna_data: Path, tmp_path: Path) -> None:
    packed = vqdna_data / "genomes" / "fungi" / "Saccharomyces_cerevisiae_R64-1-1.fa.gz"
    plain = tmp_path / "yeast.fa"
    with gzip.open(packed) as source, open(plain, "wb") as target:
        shutil.copyfileobj(source, target)
    with Genome.open(packed) as unpacked, Genome.open(plain) as in_place:
        assert (way(unpacked), way(in_place)) == ("Unpacked", "InPlace")
        assert unpacked.lengths == in_place.lengths
        assert (unpacked.bases, unpacked.names[0], unpacked.names[-1]) == (12_157_105, "I", "Mito")
        for record in read_fasta(packed):
            for genome in (unpacked, in_place):
                assert (genome.fetch(record.name, 0, record.bases) == record.ids).all()
    assert subprocess.run(["ls", tmp_path], capture_output=True, text=True, check=True).stdout == "yeast.fa\n"
