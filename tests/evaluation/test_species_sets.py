# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows of species: whole contigs held out, near kin and N left out, balanced, and the same for a seed."""

import json
from pathlib import Path

import numpy as np
import pytest
from gue_folders import contigs_of, letters, write_genomes

from vqdna_hf.data import encode_sequence, read_labelled
from vqdna_hf.evaluation.gue_sets import find_sets, read_set
from vqdna_hf.evaluation.species import SpeciesPolicy, _kmers, binomial, make_species_sets

SMALL = {"window": 50, "train": 8, "dev": 3, "test": 3}


@pytest.fixture
def genomes(tmp_path: Path) -> Path:
    return write_genomes(
        tmp_path / "genomes",
        {
            ("human", "Homo sapiens", "human"): contigs_of(1),
            ("mouse", "Mus musculus", "vertebrate"): contigs_of(2),
            ("coli", "Escherichia coli K-12", "bacteria"): contigs_of(3),
            ("archaeon", "Methanobacterium sp. AL-21", "archaea"): [letters(4000, 9)],
            ("alts", "Homo sapiens", "human_alts"): contigs_of(1),
        },
    )


def windows_of(folder: Path) -> dict[str, list[tuple[str, str]]]:
    found = {}
    for split in ("train", "dev", "test"):
        table = read_labelled(folder / f"{split}.csv")
        found[split] = list(zip(table.sequences, table.labels or [], strict=True))
    return found


def test_contigs_are_held_out_whole(genomes: Path, tmp_path: Path) -> None:
    manifest = make_species_sets(genomes, tmp_path / "out", policies=[SpeciesPolicy(**SMALL)])[0]
    folder = tmp_path / "out" / "species-50"
    assert json.loads((folder / "manifest.json").read_text()) == manifest
    assert manifest["classes"] == ["Homo sapiens", "Mus musculus"]
    where = {
        f"{file}_{n}": contig
        for file, seed in (("human", 1), ("mouse", 2))
        for n, contig in enumerate(contigs_of(seed))
    }
    for number, label in enumerate(manifest["classes"]):
        records = {split: {row["record"] for row in rows} for split, rows in manifest["contigs"][label].items()}
        assert not records["train"] & records["dev"]
        assert not records["train"] & records["test"]
        assert not records["dev"] & records["test"]
        for split, windows in windows_of(folder).items():
            own = [sequence for sequence, found in windows if found == str(number)]
            assert len(own) == SMALL[split] == sum(row["windows"] for row in manifest["contigs"][label][split])
            # The contigs that the manifest names, and no others, hold these windows.
            holders = {name for name, contig in where.items() for sequence in own if sequence in contig}
            assert holders == records[split]
    assert list(find_sets(tmp_path / "out").complete) == ["species-50"]
    assert not read_set("species-50", folder).overlap.any()


def test_the_same_for_a_seed(genomes: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        make_species_sets(genomes, tmp_path / name, policies=[SpeciesPolicy(**SMALL, seed=seed)])
    one, two, three = (windows_of(tmp_path / name / "species-50") for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_several_windows(genomes: Path, tmp_path: Path) -> None:
    policies = [SpeciesPolicy(**{**SMALL, "window": window}) for window in (50, 100)]
    make_species_sets(genomes, tmp_path / "out", policies=policies)
    assert list(find_sets(tmp_path / "out").complete) == ["species-100", "species-50"]
    assert {len(sequence) for sequence, _ in windows_of(tmp_path / "out" / "species-100")["test"]} == {100}


def test_kingdoms_merge_human_and_leave_haplotypes_out(genomes: Path, tmp_path: Path) -> None:
    manifest = make_species_sets(genomes, tmp_path / "out", policies=[SpeciesPolicy(by="group", **SMALL)])[0]
    assert manifest["classes"] == ["bacteria", "vertebrate"]
    assert manifest["left_out"]["archaea"].startswith("1 contigs, and train, dev and test need one each")
    species = [row["species"] for row in manifest["contigs"]["vertebrate"]["train"]]
    assert set(species) == {"Homo sapiens", "Mus musculus"}
    assert not any(row["file"] == "alts.fa" for rows in manifest["contigs"]["vertebrate"].values() for row in rows)


def test_a_single_record_is_cut_with_a_gap_if_asked_for(genomes: Path, tmp_path: Path) -> None:
    policy = SpeciesPolicy(by="group", **SMALL, split_single=True, gap=200)
    manifest = make_species_sets(genomes, tmp_path / "out", policies=[policy])[0]
    assert "archaea" in manifest["classes"]
    rows = {split: found[0] for split, found in manifest["contigs"]["archaea"].items()}
    assert rows["dev"]["first"] - (rows["train"]["last"] + 50) >= 200
    assert rows["test"]["first"] - (rows["dev"]["last"] + 50) >= 200


def test_windows_with_n_are_left_out(tmp_path: Path) -> None:
    contigs = contigs_of(1)
    # Three Ns of 50 letters are 6 %, two are 4 %.
    spoilt = ["NNN" + contig[3:50] + "NN" + contig[52:] for contig in contigs]
    folder = write_genomes(tmp_path / "genomes", {("a", "A a", "human"): spoilt, ("b", "B b", "human"): contigs_of(2)})
    policy = SpeciesPolicy(**{**SMALL, "train": 40, "dev": 15, "test": 15})
    make_species_sets(folder, tmp_path / "out", policies=[policy])
    texts = [sequence for windows in windows_of(tmp_path / "out" / "species-50").values() for sequence, _ in windows]
    assert {sequence.count("N") for sequence in texts} <= {0, 2}
    assert any(sequence.count("N") == 2 for sequence in texts)


def test_near_kin_do_not_leak_into_held_out_windows(tmp_path: Path) -> None:
    """Each contig of one strain is, on the other strand, a contig of the other: held-out ones are in train, too."""
    contigs = contigs_of(1, number=4)
    other = [contig[::-1].translate(str.maketrans("ACGT", "TGCA")) for contig in contigs]
    folder = write_genomes(
        tmp_path / "genomes",
        {
            ("one", "Klebsiella pneumoniae X", "bacteria"): [*contigs, *contigs_of(5, 4)],
            ("two", "Klebsiella variicola Y", "bacteria"): [*other, *contigs_of(6, 4)],
        },
    )
    policy = SpeciesPolicy(**{**SMALL, "train": 60, "dev": 2, "test": 2})
    manifest = make_species_sets(folder, tmp_path / "out", policies=[policy], groups=["bacteria"])[0]
    assert sum(manifest["shared"].values()) > 0
    windows = windows_of(tmp_path / "out" / "species-50")
    known: set[int] = set()
    for split in ("train", "dev", "test"):
        words = [set(_kmers(encode_sequence(text, where=split)).tolist()) for text, _ in windows[split]]
        if split != "train":
            assert max(len(own & known) / len(own) for own in words) <= 0.05
        known |= set().union(*words)


def test_kmers_by_hand() -> None:
    text = letters(80, 0)
    ids = np.array(["ACGT".index(letter) for letter in text]) + 5
    expected = set()
    for start in range(50):
        word = text[start : start + 31]
        back = word[::-1].translate(str.maketrans("ACGT", "TGCA"))
        values = [sum("ACGT".index(letter) << 2 * (30 - place) for place, letter in enumerate(w)) for w in (word, back)]
        expected.add(min(values))
    assert set(_kmers(ids.astype(np.uint8)).tolist()) == expected
    ids[40] = 9  # N: 31 words gone
    assert len(_kmers(ids.astype(np.uint8))) == 19
    assert len(_kmers(np.full(40, 9, dtype=np.uint8))) == 0


def test_names() -> None:
    assert binomial("Klebsiella pneumoniae NTUH-K2044") == binomial("Klebsiella pneumoniae MGH78578")
    assert binomial("Candidatus Blochmannia vafer") == "Candidatus Blochmannia vafer"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"classes": ["Homo sapiens", "Felis catus"]}, "no genome is of the species Felis catus"),
        ({"groups": ["fungi"]}, "no genome is of the group fungi: there are archaea, bacteria"),
        ({"groups": ["human"]}, r"fewer than two classes are asked for \(Homo sapiens\): choose others by --class"),
        ({"classes": ["Homo sapiens"]}, r"fewer than two classes are asked for \(Homo sapiens\)"),
        ({"policies": [SpeciesPolicy(**{**SMALL, "train": 90})]}, "cannot give 90, 3 and 3"),
        ({"classes": ["Homo sapiens", "Methanobacterium sp."]}, "Methanobacterium sp. .1 contigs, and train, dev"),
    ],
)
def test_what_cannot_be_made(genomes: Path, tmp_path: Path, changes: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make_species_sets(genomes, tmp_path / "out", **{"policies": [SpeciesPolicy(**SMALL)], **changes})
    assert not (tmp_path / "out").exists()


def test_a_set_is_not_written_over(genomes: Path, tmp_path: Path) -> None:
    make_species_sets(genomes, tmp_path / "out", policies=[SpeciesPolicy(**SMALL)])
    with pytest.raises(ValueError, match="species-50: is there already"):
        make_species_sets(genomes, tmp_path / "out", policies=[SpeciesPolicy(**SMALL)])


def test_a_genome_that_is_not_there(genomes: Path, tmp_path: Path) -> None:
    (genomes / "human" / "human.fa").unlink()
    with pytest.raises(ValueError, match=r"index.tsv: lists genomes/human/human.fa, which is not there"):
        make_species_sets(genomes, tmp_path / "out", policies=[SpeciesPolicy(**SMALL)])


@pytest.mark.parametrize("values", [{"by": "family"}, {"window": 31}, {"dev": 0}, {"max_n": 1.0}, {"max_shared": -0.1}])
def test_policies_that_make_no_sense(values: dict) -> None:
    with pytest.raises(ValueError, match=r"choose species or group|a window must be longer|give shares"):
        SpeciesPolicy(**values)


@pytest.mark.parametrize(("name", "way_out"), [("gap", "it must not be below 0"), ("seed", "give a whole number")])
def test_gap_and_seed_are_not_below_zero(name: str, way_out: str) -> None:
    with pytest.raises(ValueError, match=f"{name} -1: {way_out}"):
        SpeciesPolicy(**{name: -1})


def test_a_table_without_genomes(tmp_path: Path) -> None:
    (tmp_path / "index.tsv").write_text("file\tspecies\tgroup\taccession\n")
    with pytest.raises(ValueError, match=r"fewer than two classes are asked for \(no genome fits\)"):
        make_species_sets(tmp_path, tmp_path / "out")


def test_a_class_of_n_alone_is_named(genomes: Path, tmp_path: Path) -> None:
    (genomes / "vertebrate" / "mouse.fa").write_text("".join(f">m{n}\n{'N' * 1000}\n" for n in range(5)))
    with pytest.raises(ValueError, match=r"Mus musculus: no window of 50 bases with a share of N up to 0.05"):
        make_species_sets(genomes, tmp_path / "out", policies=[SpeciesPolicy(**SMALL)])
    policy = SpeciesPolicy(**SMALL, split_single=True, gap=200)
    made = make_species_sets(genomes, tmp_path / "out", policies=[policy], groups=["human", "vertebrate", "archaea"])
    assert list(made[0]["left_out"]) == ["Mus musculus"]


def test_all_sets_or_none(genomes: Path, tmp_path: Path) -> None:
    """The second window is longer than any contig: the first set must not be in the way of the corrected command."""
    policies = [SpeciesPolicy(**{**SMALL, "window": window}) for window in (50, 2000)]
    with pytest.raises(ValueError, match="species-2000: fewer than two classes can fill their splits"):
        make_species_sets(genomes, tmp_path / "out", policies=policies)
    assert not (tmp_path / "out").exists()
    make_species_sets(genomes, tmp_path / "out", policies=policies[:1])


def test_windows_that_cannot_be_compared_are_not_held_out(tmp_path: Path) -> None:
    """An N every 25 bases leaves no 31-mer, by which a copy of a training window could be told."""
    contigs = ["".join("N" if place % 25 == 0 else base for place, base in enumerate(letters(1000, 1)))] * 5
    genomes = {
        ("a", "A a", "human"): contigs,
        ("b", "B b", "human"): contigs_of(2),
        ("c", "C c", "human"): contigs_of(3),
    }
    folder = write_genomes(tmp_path / "genomes", genomes)
    manifest = make_species_sets(folder, tmp_path / "out", policies=[SpeciesPolicy(**SMALL)])[0]
    assert manifest["classes"] == ["B b", "C c"]
    assert manifest["left_out"]["A a"].startswith("0 windows of dev")


def test_a_genome_that_cannot_be_read_is_left_out_and_named(genomes: Path, tmp_path: Path) -> None:
    broken = genomes / "bacteria" / "coli.fa"
    broken.write_text(broken.read_text() + ">coli_0\nACGT\n")
    policy = SpeciesPolicy(by="group", **SMALL, split_single=True, gap=200)
    manifest = make_species_sets(genomes, tmp_path / "out", policies=[policy])[0]
    assert manifest["classes"] == ["archaea", "vertebrate"]
    assert list(manifest["unreadable"]) == ["coli.fa"]
    assert "two records are named 'coli_0'" in manifest["unreadable"]["coli.fa"]
