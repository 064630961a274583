# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vqdna_hf.data.tables import (
    check_class_labels,
    check_float_labels,
    check_labels_known,
    find_split_files,
    number_of_labels,
    read_labelled,
    read_table,
)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_all_formats_give_the_same_text(tmp_path: Path) -> None:
    rows = [["NA", "01"], ["nan", "2.0"], ["ACGT", "-1"]]
    lines = [["sequence", "label"], *rows]
    paths = [
        write(tmp_path / "a.csv", "\n".join(",".join(line) for line in lines) + "\n"),
        write(tmp_path / "crlf.csv", "\ufeff" + "\r\n".join(",".join(line) for line in lines)),
        write(tmp_path / "a.tsv", "\n".join("\t".join(line) for line in lines)),
        write(tmp_path / "a.txt", "\n".join("\t".join(line) for line in lines)),
        write(tmp_path / "a.jsonl", "\n".join(f'{{"sequence": "{a}", "label": "{b}"}}' for a, b in rows)),
        write(
            tmp_path / "a.json",
            "[" + ",".join(f'{{"sequence": "{a}", "label": "{b}"}}' for a, b in rows) + "]",
        ),
        str(tmp_path / "b.csv.gz"),
        str(tmp_path / "a.parquet"),
    ]
    Path(paths[-2]).write_bytes(gzip.compress(Path(paths[0]).read_bytes()))
    pd.DataFrame(rows, columns=["sequence", "label"]).to_parquet(paths[-1])
    for path in paths:
        table = read_table(path)
        assert table.columns.tolist() == ["sequence", "label"], path
        assert table.values.tolist() == rows, path


def test_numbers_in_json_and_parquet_become_text(tmp_path: Path) -> None:
    pd.DataFrame({"sequence": ["A", "C"], "label": [1, 0], "x": [0.5, None]}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").values.tolist() == [["A", "1", "0.5"], ["C", "0", ""]]
    path = write(tmp_path / "a.json", '{"sequence": "A", "label": 1}\n{"sequence": "C", "label": null}\n')
    assert read_table(path).values.tolist() == [["A", "1"], ["C", ""]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "the file is empty"),
        ("a.csv", "\n\n", "no header line"),
        ("a.csv", "sequence,label\n", r"header \(sequence, label\) but no rows"),
        ("a.csv", "ACGTACGTACGT,1\nACG,0\n", "first line is data, not a header"),
        ("a.csv", "sequence,label\nA,1,2\nC,1,2\n", "more fields than the header"),
        ("a.csv", "sequence,label\nA,1\nC,1,2\n", "cannot be read as a table"),
        ("a.csv", "sequence,label,label\nA,1,0\n", "two columns are named 'label': rename one"),
        ("a.tsv", "sequence\tlabel\t label\nA\t1\t0\n", "two columns are named 'label': rename one"),
        ("a.xls", "x", r"the name must end in \.csv"),
        ("a.json", "[{", "cannot be read as JSON"),
        ("a.jsonl", "3\n", "row 1: is int, not an object"),
        ("a.parquet", "PAR1", "cannot be read as Parquet"),
        ("a.csv.gz", "\x1f", "cannot be read|no header|no rows"),
    ],
)
def test_table_errors(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = write(tmp_path / name, text)
    with pytest.raises(ValueError, match=message) as error:
        read_table(path)
    assert path in str(error.value)


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_table(tmp_path / "d.csv")


def test_columns_by_position_and_name(tmp_path: Path) -> None:
    def read(text: str, **options: Any) -> tuple[Any, Any, Any]:
        table = read_labelled(write(tmp_path / "a.csv", text), **options)
        assert len(table) == len(table.sequences)
        return table.sequences, table.pairs, table.labels

    assert read("sequence,label\nA,1\n") == (["A"], None, ["1"])
    assert read("label,sequence\n1,A\n") == (["A"], None, ["1"])
    assert read("text,target\nA,1\n") == (["A"], None, ["1"])
    assert read("sequence1,sequence2,label\nA,C,1\n") == (["A"], ["C"], ["1"])
    assert read("enhancer,promoter,label\nA,C,1\n") == (["A"], ["C"], ["1"])
    assert read("id,sequence,label,split\nx,A,1,train\n") == (["A"], None, ["1"])
    assert read("id,sequence1,sequence2,label\nx,A,C,1\n") == (["A"], ["C"], ["1"])
    assert read("x,y,z\nid,A,3\n", sequence_column="y", label_column="z") == (["A"], None, ["3"])
    assert read("x,y,z\nG,A,3\n", sequence_column=["y", "x"], label_column="z") == (["A"], ["G"], ["3"])
    assert read("sequence\nA\n", require_labels=False) == (["A"], None, None)
    assert read("sequence,label\nA,1\n", require_labels=False) == (["A"], None, ["1"])
    assert read("name,sequence\nx,A\n", require_labels=False) == (["A"], None, None)
    for text, options, message in [
        ("sequence\nA\n", {}, "no column 'label'"),
        ("a,b,c,label\nA,C,G,1\n", {}, "no column 'sequence': name it with sequence_column"),
        (
            "sequence,label\nA,1\n",
            {"sequence_column": "dna"},
            "no column 'dna': the columns are sequence, label",
        ),
        ("sequence,label\nA,1\n", {"label_column": "y"}, "no column 'y'"),
        ("sequence,label\nA,1\n", {"sequence_column": []}, "give one name, or two for pairs"),
    ]:
        with pytest.raises(ValueError, match=message):
            read(text, **options)


def test_alphabet_errors_name_row_and_position(tmp_path: Path) -> None:
    path = write(tmp_path / "train.csv", "sequence,label\nACGT,1\nACGxT,0\n")
    with pytest.raises(ValueError, match=r"train\.csv, row 2 \(1-based, the header not counted\), column 'sequence'"):
        read_labelled(path)
    with pytest.raises(ValueError, match=r"'x' at position 3 \(0-based\)"):
        read_labelled(path)
    with pytest.raises(ValueError, match=r"row 1 .*the sequence is empty"):
        read_labelled(write(tmp_path / "b.csv", "sequence,label\n,1\n"))
    with pytest.raises(ValueError, match=r"row 1 .*column 'b'.*' ' at position 1"):
        read_labelled(write(tmp_path / "c.csv", "a,b,label\nA,C G,1\n"))


def test_class_labels() -> None:
    assert check_class_labels(["0", "1.0", 2, 3.0], "t") == [0, 1, 2, 3]
    for bad in ("yes", "", "1.5", "-1", None, "nan", "inf"):
        with pytest.raises(ValueError, match=r"t\.csv, row 2 .*is not a whole number") as error:
            check_class_labels(["0", bad], "t.csv")
        assert repr(bad) in str(error.value)
    assert number_of_labels([2, 0, 1, 1], "t") == 3
    for labels, message in [
        ([1, 2, 1], r"t\.csv: labels must be 0\.\.n-1, found \[1, 2\]: subtract 1"),
        ([0, 2], r"found \[0, 2\]: number the classes without gaps"),
        ([1, 1], "all rows have the label 1: at least two classes"),
        ([], "no labels"),
    ]:
        with pytest.raises(ValueError, match=message):
            number_of_labels(labels, "t.csv")


def test_known_and_float_labels() -> None:
    check_labels_known([0, 1, 1], 2, "dev.csv")
    with pytest.raises(ValueError, match=r"dev\.csv, row 3 .*label 2 is not among the training set's 0\.\.1"):
        check_labels_known([0, 1, 2], 2, "dev.csv")
    assert check_float_labels(["1", "-0.25", 3], "t") == [1.0, -0.25, 3.0]
    with pytest.raises(ValueError, match=r"row 1 .*'nan' is not a finite number"):
        check_float_labels(["nan"], "t")


@pytest.fixture
def touch(tmp_path: Path) -> Callable[..., Path]:
    def make(folder: str, *names: str) -> Path:
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text("")
        return tmp_path / folder

    return make


def test_split_files(touch: Callable[..., Path]) -> None:
    def names(folder: Path) -> dict[str, str]:
        return {split: Path(path).name for split, path in find_split_files(folder).items()}

    assert names(touch("a", "train.csv", "dev.csv", "test.csv", "x")) == {
        "train": "train.csv",
        "dev": "dev.csv",
        "test": "test.csv",
    }
    assert names(touch("b", "train.tsv.gz", "validation.parquet")) == {
        "train": "train.tsv.gz",
        "dev": "validation.parquet",
    }
    with pytest.raises(ValueError, match=r"no train file .*: found dev\.csv, test\.csv"):
        find_split_files(touch("c", "dev.csv", "test.csv"))
    with pytest.raises(ValueError, match="found nothing"):
        find_split_files(touch("d"))
    with pytest.raises(ValueError, match=r"several files for the dev split \(dev\.csv, valid\.csv\)"):
        find_split_files(touch("e", "train.csv", "dev.csv", "valid.csv"))
    with pytest.raises(ValueError, match="no such folder"):
        find_split_files("absent-folder")


def test_real_gue(vqdna_data: Path) -> None:
    files = find_split_files(vqdna_data / "gue" / "prom" / "prom_core_notata")
    train, test = read_labelled(files["train"]), read_labelled(files["test"])
    assert set(map(len, test.sequences)) == {70}
    labels = check_class_labels(train.labels or [], train.path)
    assert number_of_labels(labels, train.path) == 2
    check_labels_known(check_class_labels(test.labels or [], test.path), 2, test.path)


def test_what_a_row_is_called_is_no_sequence(tmp_path: Path) -> None:
    """A column `id` or `name` is set aside, and then the table is read as without it."""
    path = tmp_path / "t.csv"
    path.write_text("id,sequence,label\nr1,ACGT,0\nr2,GG,1\n")
    table = read_labelled(path)
    assert (table.ids, table.sequences, table.pairs, table.labels) == (["r1", "r2"], ["ACGT", "GG"], None, ["0", "1"])
    path.write_text("one,Name,two,label\nAC,r1,GT,0\n")
    table = read_labelled(path)
    assert (table.ids, table.sequences, table.pairs) == (["r1"], ["AC"], ["GT"])
    path.write_text("sequence,label,locus\nACGT,0,BRCA1\n")
    assert read_labelled(path, id_column="locus").ids == ["BRCA1"]
    with pytest.raises(ValueError, match="no column 'gene'"):
        read_labelled(path, id_column="gene")
    # Where nothing else is there, or it was asked for, it is the sequence.
    path.write_text("name,label\nACGT,0\n")
    assert (read_labelled(path).sequences, read_labelled(path).ids) == (["ACGT"], None)
    path.write_text("name,sequence,label\nACGT,GG,0\n")
    table = read_labelled(path, sequence_column="name")
    assert (table.sequences, table.ids) == (["ACGT"], None)
