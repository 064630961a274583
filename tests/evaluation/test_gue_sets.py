# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Folders of GUE: their layouts, what is complete, and every way in which a set can be wrong."""

from pathlib import Path

import pytest
from gue_folders import letters, rows_of, write_set, write_split

from vqdna_hf.data import LabelledSequences, read_labelled
from vqdna_hf.evaluation import gue_sets
from vqdna_hf.evaluation.gue_sets import find_sets, read_set, read_sets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path / "GUE" / "tf" / "0")
    write_set(tmp_path / "GUE" / "prom" / "prom_core_all", seed=1)
    write_split(tmp_path / "GUE" / "EMP" / "H3" / "dev.csv", rows_of(4, 0))
    write_split(tmp_path / "GUE" / "EMP" / "H3" / "test.csv", rows_of(4, 0))
    (tmp_path / "GUE" / "STATUS.tsv").write_text("a\tb\n")
    return tmp_path / "GUE"


def test_layouts(root: Path) -> None:
    found = find_sets(root)
    assert list(found.complete) == ["prom/prom_core_all", "tf/0"]
    assert found.missing == {"EMP/H3": ["train"]}
    assert list(find_sets(root / "tf").complete) == ["tf/0"]
    assert list(find_sets(root / "tf" / "0").complete) == ["tf/0"]
    assert list(find_sets(write_set(root.parent / "own")).complete) == ["own"]
    write_set(root.parent / "mine" / "a" / "b")
    assert list(find_sets(root.parent / "mine").complete) == ["a/b"]


def test_choosing(root: Path) -> None:
    found = find_sets(root)
    assert list(found.choose(None)) == ["prom/prom_core_all", "tf/0"]
    assert list(found.choose(["prom_core_all"])) == ["prom/prom_core_all"]
    with pytest.raises(ValueError, match="EMP/H3 has no train; complete: prom/prom_core_all, tf/0; incomplete:"):
        found.choose(["tf/0", "EMP/H3"])
    with pytest.raises(ValueError, match="there is no tf/9"):
        found.choose(["tf/9"])


def test_folders_without_sets(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        find_sets(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no set"):
        find_sets(tmp_path / "empty")
    with pytest.raises(ValueError, match="no set has train, dev and test: complete: none; incomplete: EMP/H3"):
        find_sets(root / "EMP").choose(None)
    write_set(root / "copy" / "tf" / "0")
    with pytest.raises(ValueError, match="two folders are the set tf/0"):
        find_sets(root)


def test_overlap_by_hand(tmp_path: Path) -> None:
    write_split(tmp_path / "train.csv", [("ACGT", 0), ("GGGG", 1), ("TTTT", 1)])
    write_split(tmp_path / "dev.csv", [("AAAA", 0), ("CCCC", 1)])
    # The same letters in lower case and as RNA, a part of one, and twice.
    write_split(tmp_path / "test.csv", [("acgu", 0), ("GGG", 1), ("GGGG", 0), ("GGGG", 1), ("CATG", 0)])
    assert read_set("own", tmp_path).overlap.tolist() == [True, False, True, True, False]


def test_copies_on_the_other_strand_and_with_another_label(tmp_path: Path) -> None:
    write_split(tmp_path / "train.csv", [("AACG", 0), ("GGGG", 1), ("GGGG", 0)])
    write_split(tmp_path / "dev.csv", [("AAAA", 0), ("CCCC", 1)])
    write_split(tmp_path / "test.csv", [("CGTT", 1), ("CGTT", 0), ("GGGG", 0), ("GCAA", 1)])
    own = read_set("own", tmp_path)
    assert own.overlap.tolist() == [True, True, True, False]
    assert own.contradicted.tolist() == [True, False, True, False]


def test_50_bases_in_common_by_hand(tmp_path: Path) -> None:
    train, other = letters(70, 1), letters(70, 2)
    back = train[::-1].translate(str.maketrans("ACGT", "TGCA"))
    write_split(tmp_path / "train.csv", [(train, 0), (letters(70, 3), 1), ("ACGT", 1)])
    write_split(tmp_path / "dev.csv", [(other, 0), (other, 1)])
    shifted = [other[:20] + train[:50], other[:21] + train[:49], other[:10] + back[20:], train[:49] + "N" + train[50:]]
    write_split(tmp_path / "test.csv", [*((text, 0) for text in [*shifted, other, "ACGT"]), (train.lower(), 1)])
    assert read_set("own", tmp_path).near.tolist() == [True, False, True, False, False, True, True]


def test_links_do_not_make_two_sets_of_one(root: Path) -> None:
    (root / "tf" / "0" / "again").symlink_to(root)
    (root / "link").symlink_to(root / "prom")
    assert list(find_sets(root).complete) == ["prom/prom_core_all", "tf/0"]
    (root.parent / "links").mkdir()
    own = write_set(root.parent / "own")
    for name in ("one", "two"):
        (root.parent / "links" / name).symlink_to(own)
    assert list(find_sets(root.parent / "links").complete) == ["one"]


def test_a_file_that_changes_while_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: str, **options: str) -> LabelledSequences:
        table = read_labelled(path, **options)
        write_split(Path(path), rows_of(6, 9))
        return table

    monkeypatch.setattr(gue_sets, "read_labelled", read)
    with pytest.raises(ValueError, match=r"train.csv: has changed while it was read"):
        read_set("tf/0", root / "tf" / "0")


def test_pairs_overlap_as_pairs(tmp_path: Path) -> None:
    header = "sequence1,sequence2,label"
    write_split(tmp_path / "train.csv", [("ACGT", "GG", 0), ("AC", "GTGG", 1)], header)
    write_split(tmp_path / "dev.csv", [("ACGT", "GG", 0), ("AC", "GG", 1)], header)
    write_split(tmp_path / "test.csv", [("ACGT", "GG", 0), ("GG", "ACGT", 1), ("ACG", "TGG", 0)], header)
    own = read_set("own", tmp_path)
    assert own.overlap.tolist() == [True, False, False]
    assert own.mean_bases() == 6.0


def test_only_whole_sets_of_gue_are_gue(root: Path) -> None:
    assert not read_set("tf/0", root / "tf" / "0").is_gue  # 24 sequences, not 32,378


BROKEN = {
    "header": ("sequence,class", [("ACGT", 0), ("GGGG", 1)], "train.csv: no column 'label': .* is sequence,class"),
    "no header": ("ACGTACGTACGT,0", [("ACGT", 0)], "the first line is data, not a header"),
    "text labels": (
        "sequence,label",
        [("ACGT", "yes"), ("GG", 1)],
        r"row 1 .* 'yes' is .*: number the classes 0, 1, 2, \.\.\.$",
    ),
    "two labels": ("sequence,label,label", [("ACGT", 0, 1), ("GGGG", 1, 0)], "two columns are named 'label'"),
    "protein": ("sequence,label", [("ACGT", 0), ("MKLV", 1)], "row 2 .* column 'sequence': 'L' at position 2"),
    "gaps": ("sequence,label", [("ACGT", 0), ("A-CG", 1)], "row 2 .*'-' at position 1"),
    "empty sequence": ("sequence,label", [("ACGT", 0), ("", 1)], "row 2 .* the sequence is empty"),
    "one class": ("sequence,label", [("ACGT", 1), ("GGGG", 1)], "all rows have the label 1"),
    "classes from 1": ("sequence,label", [("ACGT", 1), ("GGGG", 2)], "labels must be 0..n-1"),
    "no rows": ("sequence,label", [], "no rows"),
    "pairs": ("sequence1,sequence2,label", [("ACGT", "GG", 0), ("GGGG", "AC", 1)], "train has pairs .* dev, test has"),
    "half a pair": ("sequence1,sequence2,label", [("ACGT", "", 0), ("GGGG", "AC", 1)], "row 1 .*'sequence2'.* empty"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_sets(root: Path, kind: str) -> None:
    header, rows, match = BROKEN[kind]
    write_split(root / "tf" / "0" / "train.csv", rows, header)
    with pytest.raises(ValueError, match=match):
        read_set("tf/0", root / "tf" / "0")


def test_a_class_that_train_does_not_know(root: Path) -> None:
    write_split(root / "tf" / "0" / "test.csv", [("ACGT", 0), ("GGGG", 2)])
    with pytest.raises(ValueError, match=r"test.csv, row 2 .* label 2 is not among the training set's 0..1"):
        read_set("tf/0", root / "tf" / "0")


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_split_of_one_class_chooses_and_measures_nothing(root: Path, split: str) -> None:
    write_split(root / "tf" / "0" / f"{split}.csv", [("ACGT", 1), ("GGGG", 1)])
    with pytest.raises(ValueError, match=rf"{split}.csv: all rows have the label 1: .* every class into train"):
        read_set("tf/0", root / "tf" / "0")


def test_an_empty_file(root: Path) -> None:
    (root / "tf" / "0" / "dev.csv").write_text("")
    with pytest.raises(ValueError, match=r"dev.csv"):
        read_set("tf/0", root / "tf" / "0")


def test_every_broken_set_is_named_at_once(root: Path) -> None:
    write_split(root / "tf" / "0" / "dev.csv", [("ACGT", "x")])
    write_split(root / "prom" / "prom_core_all" / "test.csv", [("ACXT", 0)])
    with pytest.raises(ValueError, match=r"nothing was trained: .*prom_core_all.*'X'.*; .*tf.*0.dev.csv.*'x'"):
        read_sets(find_sets(root).choose(None))


def test_real_sets(vqdna_data: Path) -> None:
    found = find_sets(vqdna_data / "gue")
    assert {"tf/0", "mouse/2", "prom/prom_300_tata"} <= set(found.complete)
    assert found.missing["EMP/H3"] == ["train"]
    tata = read_set("prom/prom_300_tata", found.complete["prom/prom_300_tata"])
    assert tata.is_gue
    assert int(tata.overlap.sum()) == 6  # as counted when the data were collected
    assert (int(tata.near.sum()), int(tata.contradicted.sum())) == (56, 0)
