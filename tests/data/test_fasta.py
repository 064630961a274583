# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import gzip
import random
from pathlib import Path

import numpy as np
import pytest

from vqdna_hf.data import fasta
from vqdna_hf.data.fasta import decode_ids, encode_sequence, find_fasta, read_fasta
from vqdna_hf.model.tokenization_vqdna import IUPAC_LETTERS, build_tokenizer


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_ids_equal_the_tokenizer_for_every_iupac_letter_in_both_cases(tmp_path: Path) -> None:
    rng = random.Random(0)
    letters = IUPAC_LETTERS + IUPAC_LETTERS.lower()
    texts = [letters, *("".join(rng.choices(letters, k=rng.randrange(1, 400))) for _ in range(20))]
    lines = [f">r{i}\n" + "\n".join(text[j : j + 60] for j in range(0, len(text), 60)) for i, text in enumerate(texts)]
    records = list(read_fasta(write(tmp_path / "x.fa", "\n".join(lines) + "\n")))
    tokenizer = build_tokenizer()
    for record, text in zip(records, texts, strict=True):
        expected = tokenizer(text, add_special_tokens=False).input_ids
        assert record.ids.dtype == np.uint8
        assert record.ids.tolist() == expected == encode_sequence(text, where="x").tolist()
        assert decode_ids(record.ids) == tokenizer.decode(expected)


def test_headers_line_ends_blank_lines_and_soft_mask(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf\r\n>chr1 the first\r\nACgt\r\n\r\nnN\r\n\r\n>chr2\r\nT\r\n\r\n\r\n>c\xc3\xa93\r\nuA"
    first, second, third = read_fasta(write(tmp_path / "x.fa", text), soft_mask=True)
    assert (first.name, first.description, first.bases, first.path) == (
        "chr1",
        "chr1 the first",
        6,
        str(tmp_path / "x.fa"),
    )
    assert first.ids.tolist() == [5, 6, 7, 8, 9, 9]
    assert first.soft_mask is not None
    assert first.soft_mask.tolist() == [False, False, True, True, True, False]
    assert (second.name, second.bases, third.name, third.ids.tolist()) == ("chr2", 1, "cé3", [8, 5])
    assert next(iter(read_fasta(tmp_path / "x.fa"))).soft_mask is None


def test_gzip_by_content_and_blocks_cut_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f">r{i} x\r\n{'ACGTN' * (i + 1)}\r\n" for i in range(12))
    plain = write(tmp_path / "plain.gz", text)  # the name lies
    packed = write(tmp_path / "packed.fa", gzip.compress(text.encode()))
    expected = [decode_ids(record.ids) for record in read_fasta(plain)]
    assert expected == ["ACGTN" * (i + 1) for i in range(12)]
    for size in (1, 2, 7, 64):
        monkeypatch.setattr(fasta, "_BLOCK_BYTES", size)
        for path in (plain, packed):
            assert [decode_ids(record.ids) for record in read_fasta(path)] == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (">a\nAC-GT\n", ["record 'a'", "'-' at position 2 (0-based)", "gaps"]),
        (">a\nACGT\n>b\nACG\nTT.A\n", ["record 'b'", "'.' at position 5", "gaps"]),
        (">a\nACGT*\n", ["'*' at position 4", "protein"]),
        (">a\nMKLE\n", ["'L' at position 2", "protein"]),
        (">a\nAC GT\n", ["' ' at position 2", "white space"]),
        (">a\nACGT \n", ["' ' at position 4", "white space"]),
        (">a\nAC\tGT\n", ["'\\t' at position 2", "white space"]),
        (">a\nAC\rGT\n", ["'\\r' at position 2", "white space"]),
        (">a\n1 ACGT\n", ["'1' at position 0", "N where the base is unknown"]),
        (">a\nACé\n", ["'é' at position 2"]),
        (">a\nAC>b\n", ["'>' at position 2", "line of its own"]),
        (">a\n>b\nAC\n", ["record 'a'", "no bases"]),
        (">a\nAC\n>b\n", ["record 'b'", "no bases"]),
        (">\nAC\n", ["record 1 has no name"]),
        (">\n>r\nAC\n", ["record 1 has no name"]),
        (">r\nAC\n>\n>s\nAC\n", ["record 2 has no name"]),
        (">a x\nAC\n>b\nAC\n>a y\nGT\n", ["two records are named 'a'", "record 3", "unique"]),
        ("ACGT\n>a\nAC\n", ["text before the first '>'", "'ACGT'"]),
        ("@read\nACGT\n+\nIIII\n", ["FASTQ", "'@read'", "convert"]),
        ("", ["the file is empty"]),
        (gzip.compress(b""), ["the file is empty"]),
        ("\n\n", ["no FASTA record"]),
        (b"\x28\xb5\x2f\xfdxx", ["compressed with zstd", "gzip"]),
        (gzip.compress(b">a\n" + b"ACGT" * 5000)[:-12], ["cut short or damaged"]),
        (gzip.compress(b">a\nACGT\n")[:12] + b"\x00" * 20, ["cut short or damaged"]),
    ],
)
def test_errors_name_file_record_position_and_way_out(tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    path = write(tmp_path / "bad.fa", text)
    with pytest.raises(ValueError, match="bad") as error:
        list(read_fasta(path))
    assert path in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        list(read_fasta(tmp_path / "absent.fa"))
    with pytest.raises(ValueError, match="is a folder"):
        list(read_fasta(tmp_path))


def test_position_counts_across_lines_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta, "_BLOCK_BYTES", 50)
    text = ">a\n" + "ACGT\n" * 100 + "AC?T\n"
    with pytest.raises(ValueError, match=r"'\?' at position 402 \(0-based\)"):
        list(read_fasta(write(tmp_path / "x.fa", text)))


@pytest.mark.parametrize(
    ("text", "part"),
    [("", "empty"), ("ACx", "'x' at position 2"), ("A\n", "position 1"), ("Ā", "'Ā' at position 0")],
)
def test_encode_sequence_errors(text: str, part: str) -> None:
    with pytest.raises(ValueError, match=r"train\.csv, row 12") as error:
        encode_sequence(text, where="train.csv, row 12")
    assert part in str(error.value)


def test_encode_sequence_wants_text() -> None:
    with pytest.raises(ValueError, match="expected a string"):
        encode_sequence(None, where="x")  # type: ignore[arg-type]


def test_find_fasta(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.fa", "a.FASTA.gz", "sub/c.fna", "sub/d.fas.gz", "notes.txt", ".hidden.fa"):
        write(tmp_path / name, ">x\nA\n")
    (tmp_path / "link.fa").symlink_to(tmp_path / "b.fa")
    found = find_fasta([str(tmp_path), str(tmp_path / "*.fa"), str(tmp_path / "notes.txt")])
    names = [Path(path).relative_to(tmp_path).as_posix() for path in found]
    assert names == ["a.FASTA.gz", "b.fa", "notes.txt", "sub/c.fna", "sub/d.fas.gz"]
    assert find_fasta(str(tmp_path / "**" / "*.fna")) == [str(tmp_path / "sub" / "c.fna")]
    for pattern in ("absent.fa", "*.zzz"):
        with pytest.raises(ValueError, match="no such FASTA file"):
            find_fasta([str(tmp_path), str(tmp_path / pattern)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no FASTA file in this folder"):
        find_fasta([str(tmp_path / "empty")])
    with pytest.raises(ValueError, match="no FASTA path"):
        find_fasta([])


def test_real_genome(vqdna_data: Path) -> None:
    (record,) = read_fasta(vqdna_data / "genomes" / "bacteria" / "Escherichia_coli_K12_MG1655.fa.gz")
    assert record.bases == 4_641_652
    gc = np.isin(record.ids, [6, 7]).mean()
    assert gc == pytest.approx(0.508, abs=0.001)
