# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Corpora built of genomes: what is in the shards, what was left out, the same bytes whatever happens on the way."""

import json
import random
import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from forked_commands import ForkedCommands

from vqdna_hf.data import read_fasta, simulate_fasta
from vqdna_hf.data.built import BuiltCorpus, show_corpus
from vqdna_hf.data.cutting import CutPolicy
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.shards import build_corpus

COMPLEMENT = str.maketrans("ACGTNacgtn", "TGCANtgcan")
KILLS = 21


def other_strand(text: str) -> str:
    return text[::-1].translate(COMPLEMENT)


def random_text(bases: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), bases))


def write_fasta(path: Path, records: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    return path


def rows_of(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "data").glob(f"{split}-*")) for row in pq.read_table(path).to_pylist()]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def drop_reasons(folder: Path) -> dict[str, int]:
    return {reason: count for reason, count in show_corpus(folder)["dropped"].items() if count}


@pytest.fixture
def genomes(tmp_path: Path) -> Path:
    """Two species in two groups; an index names one of them."""
    folder = tmp_path / "genomes"
    write_fasta(folder / "fungi" / "yeast.fa", {"chrI": random_text(500, 0), "chrII": random_text(333, 1)})
    write_fasta(folder / "human" / "man.fa", {"chr21": random_text(420, 2), "chrM": random_text(90, 3)})
    (folder / "index.tsv").write_text(
        "file\taccession\tspecies\tgroup\nfungi/yeast.fa\tGCA_1\tSaccharomyces cerevisiae\tfungi\n"
    )
    return folder


def build(paths: Any, folder: Path, window: int = 100, policy: dict[str, Any] | None = None, **options: Any) -> Path:
    build_corpus(paths, folder, policy=CutPolicy(window=window, **(policy or {})), **options)
    assert not folder.with_name(folder.name + ".parts").exists()
    return folder


def test_each_row_is_the_window_that_it_names(genomes: Path, tmp_path: Path) -> None:
    folder = build(genomes, tmp_path / "corpus", group="mammals")
    records = {record.name: decode_ids(record.ids) for path in genomes.rglob("*.fa") for record in read_fasta(path)}
    rows = rows_of(folder)
    for row in rows:
        assert row["sequence"] == records[row["name"]][row["start"] : row["end"]]
        assert (row["n"], row["soft_masked"], row["strand"], row["weight"]) == (0, 0, "+", 1.0)
        is_yeast = row["file"] == "fungi/yeast.fa"
        assert row["group"] == ("fungi" if is_yeast else "mammals")
        assert row["species"] == ("Saccharomyces cerevisiae" if is_yeast else "")
    places = sorted((row["name"], row["start"], row["end"]) for row in rows)
    expected = [
        (name, start, min(start + 100, len(text)))
        for name, text in records.items()
        for start in range(0, len(text), 100)
    ]
    assert places == sorted(place for place in expected if place[2] - place[1] >= 50)
    assert [row["name"] for row in rows] != sorted(row["name"] for row in rows), "in an order drawn by lot"
    assert drop_reasons(folder) == {"short": 2}
    assert not list(folder.rglob("validation*"))


def test_the_hub_s_library_reads_the_folder(genomes: Path, tmp_path: Path) -> None:
    folder = build(genomes, tmp_path / "corpus", held_out=["chr21"], shard_bases=400)
    for split in ("train", "validation"):
        streamed = list(load_dataset(str(folder), split=split, streaming=True))
        assert streamed == rows_of(folder, split)
    assert {row["name"] for row in streamed} == {"chr21"}
    splits = load_dataset(str(folder), streaming=True)
    assert set(splits) == {"train", "validation"}


def test_equal_windows_are_kept_once_on_either_strand(tmp_path: Path) -> None:
    one, two, three = (random_text(100, seed) for seed in range(3))
    texts = {"a": one + two + one, "b": other_strand(one) + three, "c": two.lower(), "d": three[:60]}
    fasta = write_fasta(tmp_path / "x.fa", texts)
    folder = build(fasta, tmp_path / "corpus")
    assert drop_reasons(folder) == {"duplicate": 3}
    places = {(row["name"], row["start"]) for row in rows_of(folder)}
    assert places == {("a", 0), ("a", 100), ("b", 100), ("d", 0)}, "the first one stays"
    assert len(rows_of(build(fasta, tmp_path / "all", deduplicate=False))) == 7
    assert not drop_reasons(tmp_path / "all")


@pytest.mark.parametrize("deduplicate", [True, False])
def test_nothing_like_a_held_out_window_is_learned_from(deduplicate: bool, tmp_path: Path) -> None:
    one, two, three = (random_text(100, seed) for seed in range(3))
    train = {"a": one + two, "b": other_strand(two) + three, "c": two + one}
    fasta = [write_fasta(tmp_path / "t.fa", train), write_fasta(tmp_path / "v.fa", {"d": two, "e": two})]
    folder = build(fasta, tmp_path / "corpus", held_out=["v.fa"], deduplicate=deduplicate)
    assert {row["sequence"] for row in rows_of(folder)} == {one, three}
    assert len(rows_of(folder, "validation")) == 2 - deduplicate
    duplicates = {"duplicate": 2} if deduplicate else {}
    assert drop_reasons(folder) == {"like_held_out": 3, **duplicates}


def test_held_out_by_record_species_and_manifest(genomes: Path, tmp_path: Path) -> None:
    def names(folder: Path, split: str) -> set[str]:
        return {row["name"] for row in rows_of(folder, split)}

    folder = build(genomes, tmp_path / "c", held_out=["Saccharomyces *", "chrM"])
    assert (names(folder, "train"), names(folder, "validation")) == ({"chr21"}, {"chrI", "chrII", "chrM"})
    shown = show_corpus(folder)
    assert shown["held_out"] == {"patterns": ["Saccharomyces *", "chrM"], "names": ["chrI", "chrII", "chrM"]}
    (genomes / "m.yaml").write_text("- {files: fungi, held_out: chrII}\n- {files: human}\n")
    folder = build(genomes / "m.yaml", tmp_path / "c")
    assert (names(folder, "train"), names(folder, "validation")) == ({"chrI", "chr21", "chrM"}, {"chrII"})
    inputs = {entry["file"]: entry for entry in show_corpus(folder)["inputs"]}
    yeast = inputs["fungi/yeast.fa"]
    assert (yeast["records"], yeast["held_out_records"], yeast["bases"]) == (2, 1, 833)
    assert (yeast["train"]["bases"], yeast["validation"]["bases"]) == (500, 300)
    assert (yeast["accession"], yeast["species"]) == ("GCA_1", "Saccharomyces cerevisiae")


def test_both_strands_and_the_first_in_the_alphabet(genomes: Path, tmp_path: Path) -> None:
    forward = {(row["name"], row["start"]): row["sequence"] for row in rows_of(build(genomes, tmp_path / "f"))}
    both = rows_of(build(genomes, tmp_path / "b", policy={"strand": "both"}, shard_bases=500))
    assert len(both) == 2 * len(forward)
    for row in both:
        text = forward[row["name"], row["start"]]
        assert row["sequence"] == (text if row["strand"] == "+" else other_strand(text))
    assert sum(row["strand"] == "-" for row in both) == len(forward)
    shown = show_corpus(tmp_path / "b", verify=True)
    assert shown["composition"][-1]["windows"] == len(both)
    canonical = rows_of(build(genomes, tmp_path / "c", policy={"strand": "canonical"}))
    for row in canonical:
        text = forward[row["name"], row["start"]]
        assert row["sequence"] == min(text, other_strand(text))
        assert row["strand"] == ("+" if row["sequence"] == text else "-")


@pytest.mark.parametrize(
    ("policy", "sequences", "dropped"),
    [
        ({}, ["ACGT", "ACGG", "NNAC"], {}),
        ({"soft_mask": "keep"}, ["ACgt", "acgg", "NNAC"], {}),
        ({"soft_mask": "mask"}, ["ACNN", "NNAC"], {"n": 1}),
        ({"soft_mask": "drop"}, ["ACGT", "NNAC"], {"soft_masked": 1}),
        ({"max_n_fraction": 0.2}, ["ACGT", "ACGG"], {"n": 1}),
        ({"split_n": 2}, ["ACGT", "ACGG", "AC"], {}),
    ],
)
def test_soft_masked_bases_and_n(
    policy: dict[str, Any], sequences: list[str], dropped: dict[str, int], tmp_path: Path
) -> None:
    fasta = write_fasta(tmp_path / "x.fa", {"a": "ACgtacggNNAC"})
    folder = build(fasta, tmp_path / "c", window=4, policy={"max_n_fraction": 0.5, **policy})
    assert sorted(row["sequence"] for row in rows_of(folder)) == sorted(sequences)
    assert drop_reasons(folder) == dropped
    if not policy:
        shown = show_corpus(folder)["composition"][0]
        assert (shown["windows"], shown["bases"], shown["n"], shown["soft_masked"]) == (3, 12, 2 / 12, 0.5)
        assert shown["gc"] == pytest.approx(6 / 10)


def test_weights_and_shares(genomes: Path, tmp_path: Path) -> None:
    rows = "inputs: [{files: fungi, group: fungi, weight: 3}, {files: human, group: human, weight: 0.5}]"
    (genomes / "m.yaml").write_text(rows)
    folder = build(genomes / "m.yaml", tmp_path / "c")
    assert {(row["group"], row["weight"]) for row in rows_of(folder)} == {("fungi", 3.0), ("human", 0.5)}
    drawn = {row["group"]: row["drawn"] for row in show_corpus(folder)["composition"]}
    fungi, human = 800, 490  # bases of windows that are long enough
    assert drawn["fungi"] == pytest.approx(3 * fungi / (3 * fungi + 0.5 * human))
    (genomes / "m.yaml").write_text(rows + "\nshares: {fungi: 1, human: 4}")
    folder = build(genomes / "m.yaml", tmp_path / "c")
    drawn = {row["group"]: row["drawn"] for row in show_corpus(folder)["composition"]}
    assert (drawn["fungi"], drawn["human"]) == pytest.approx((0.2, 0.8))
    mass = {"fungi": 0.0, "human": 0.0}
    for row in rows_of(folder):
        mass[row["group"]] += row["weight"] * len(row["sequence"])
    assert mass["human"] / mass["fungi"] == pytest.approx(4)
    assert BuiltCorpus.open(folder).max_weight() == max(row["weight"] for row in rows_of(folder))
    with pytest.raises(ValueError, match="nothing of group 'human' is left to learn from"):
        build_corpus(genomes / "m.yaml", tmp_path / "d", policy=CutPolicy(window=100), held_out=["human/*"])
    assert not list(tmp_path.glob("d*"))


def test_shards_are_even_and_depend_on_the_seed_alone(
    genomes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(genomes, tmp_path / "c", window=10, shard_bases=300, held_out=["chrM"])
    shards = json.loads((folder / "corpus.json").read_text())["shards"]
    sizes = [shard["windows"] for shard in shards if shard["split"] == "train"]
    assert len(sizes) == 5
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 30
    assert [shard["file"] for shard in shards][-1] == "data/validation-00000-of-00001.parquet"
    firsts = {(row["name"], row["start"]) for row in rows_of(folder)[: sizes[0]]}
    assert len({name for name, _ in firsts}) == 3, "a shard holds windows of all records"

    whole = files_of(folder)
    assert files_of(build(genomes, tmp_path / "other", window=10, shard_bases=300, held_out=["chrM"])) == whole
    monkeypatch.setattr("vqdna_hf.data.dealing._SORTED_AT_ONCE", 7)
    monkeypatch.setenv("VQDNA_UNIT_BASES", "40")
    assert files_of(build(genomes, tmp_path / "small", window=10, shard_bases=300, held_out=["chrM"])) == whole
    other = build(genomes, tmp_path / "seed", window=10, shard_bases=300, held_out=["chrM"], seed=1)
    assert rows_of(other) != rows_of(folder)
    assert sorted(map(str, rows_of(other))) == sorted(map(str, rows_of(folder)))


def test_a_record_says_where_all_comes_from(genomes: Path, tmp_path: Path) -> None:
    folder = build(genomes, tmp_path / "c", held_out=["chrI"])
    text = (folder / "corpus.json").read_text()
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert str(tmp_path) not in (folder / "README.md").read_text()
    assert record["options"] | {"window": 100, "stride": 100, "min_bases": 50, "seed": 0} == record["options"]
    assert set(record["versions"]) == {"vqdna_hf", "numpy", "pyarrow"}
    assert [entry["file"] for entry in record["inputs"]] == ["fungi/yeast.fa", "human/man.fa"]
    rows = BuiltCorpus.open(folder).source_rows()
    assert [(row["train_bases"], row["held_out_bases"], row["accession"]) for row in rows] == [
        (300, 500, "GCA_1"),
        (490, 0, ""),
    ]
    card = (folder / "README.md").read_text()
    assert "GCA_1" in card
    assert "| fungi | validation | 5 | 500 |" in card
    assert "simulated-data" not in card
    simulate_fasta(tmp_path / "s.fa", num_bases=3_000, num_contigs=2, seed=0)
    assert "- simulated-data" in (build(tmp_path / "s.fa", tmp_path / "s") / "README.md").read_text()


def test_checksums(genomes: Path, tmp_path: Path) -> None:
    folder = build(genomes, tmp_path / "c", held_out=["chrI"], shard_bases=300)
    assert show_corpus(folder, verify=True)["verified"] == show_corpus(folder)["shards"] == 5
    shard = next((folder / "data").glob("train-00001*"))
    good = shard.read_bytes()
    shard.write_bytes(good[:-9] + b"x" + good[-8:])
    assert show_corpus(folder)["verified"] == 0
    with pytest.raises(ValueError, match=r"train-00001.*was changed or damaged"):
        show_corpus(folder, verify=True)
    shard.unlink()
    with pytest.raises(ValueError, match=r"train-00001.*cannot be read"):
        show_corpus(folder, verify=True)
    shard.write_bytes(good)
    shutil.copy(shard, folder / "data" / "train-00009.parquet")
    with pytest.raises(ValueError, match=r"train-00009\.parquet: is no part of this corpus"):
        show_corpus(folder, verify=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as the record"),
        ("[]", "is no record of a corpus"),
        ('{"format": 1}', "is no whole record of a corpus: dropped, groups"),
        ('{"format": 99}', "has format 99, and this vqdna_hf reads up to 1: update"),
    ],
)
def test_records_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no corpus: it has no corpus\.json"):
        show_corpus(tmp_path)
    (tmp_path / "corpus.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        show_corpus(tmp_path)


def test_bad_input_leaves_nothing_behind(genomes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "corpus"
    (genomes / "bad.fa").write_text(">x\nAC-GT\n")
    (genomes / "cut.fa.gz").write_bytes(b"\x1f\x8b\x08\x00damaged")
    for paths, options, message in [
        ([genomes / "fungi", genomes / "bad.fa"], {}, "bad.fa, record 'x': '-' at position 2"),
        (genomes, {}, "bad.fa, record 'x': .*; cannot be read either: cut.fa.gz: correct them, or leave"),
        ([genomes / "fungi", genomes / "cut.fa.gz"], {}, "cut.fa.gz: the gzip data is cut short or damaged"),
        (genomes / "fungi", {"held_out": ["chrX"]}, "matches no record, species or file: the names are chrI, chrII"),
        (genomes / "fungi", {"held_out": ["chrI*"]}, "no window to learn from is left of 833 bases"),
        (genomes / "fungi", {"window": 5000}, "no window to learn from is left of 833 bases .left out: .* 2 short"),
        (genomes / "fungi", {"shard_bases": 0}, "a shard has at least 1 base"),
        (genomes / "fungi", {"seed": -1}, "a seed is not negative"),
        (genomes / "none", {}, "none: no such FASTA file"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            build(paths, folder, **{"window": 100, **options})
        assert not list(tmp_path.glob("out/*"))
    (genomes / "m.tsv").write_text("files\theld_out\nfungi\tchrI,chrM\nhuman\t\n")
    with pytest.raises(
        ValueError, match=r"yeast\.fa: held-out pattern 'chrM' matches no record: the names are chrI, chrII"
    ):
        build(genomes / "m.tsv", folder)


def test_an_earlier_corpus_is_replaced_and_nothing_else(genomes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    build(genomes, folder)
    build(genomes / "fungi", folder)
    assert [entry["file"] for entry in show_corpus(folder, verify=True)["inputs"]] == ["yeast.fa"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    for other in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.txt"):
        with pytest.raises(ValueError, match="is no earlier corpus"):
            build(genomes, other)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["NOTES.txt", "LICENSE", ".git/config", "data/own.parquet", "more/data/x", "empty/"])
def test_a_corpus_with_other_files_beside_it_is_not_replaced(name: str, genomes: Path, tmp_path: Path) -> None:
    folder = build(genomes, tmp_path / "corpus")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name.endswith("/") else path.write_text("mine")
    before = files_of(folder)
    first = path if name.startswith("data") else folder / Path(name).parts[0]
    with pytest.raises(ValueError, match=f"{first}: is no part of the earlier corpus here, .*: move the file away, or"):
        build(genomes / "fungi", folder)
    assert files_of(folder) == before
    assert path.exists()


def test_a_card_edited_by_hand_is_not_replaced(genomes: Path, tmp_path: Path) -> None:
    folder = build(genomes, tmp_path / "corpus", held_out=["chr21"])
    card = folder / "README.md"
    card.write_text(card.read_text() + "License: ours\n")
    with pytest.raises(ValueError, match=r"README\.md: is not the card that was written with the earlier corpus"):
        build(genomes, folder)
    assert card.read_text().endswith("License: ours\n")
    card.unlink()
    build(genomes, folder)
    assert card.is_file()


@pytest.mark.parametrize("held_out", [[], ["chrI"]])
def test_who_holds_nothing_out_is_not_told_to_hold_out_less(held_out: list[str], genomes: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="raise max_n_fraction") as raised:
        build(genomes / "fungi", tmp_path / "corpus", window=5000, held_out=held_out)
    assert ("hold out less" in str(raised.value)) == bool(held_out)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedCommands]:
    with ForkedCommands(tmp_path_factory.mktemp("commands")) as running:
        yield running


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for number in range(3):
        records = {f"c{number}{place}": random_text(3_000 + 57 * place, 10 * number + place) for place in range(3)}
        write_fasta(folder / f"g{number}.fa", records)
    return folder


def words(inputs: Path, folder: Path) -> Sequence[str]:
    line = f"corpus build {inputs} -o {folder}/corpus --window 64 --strand both --held-out c1* --shard-bases 9000"
    return line.split()


UNITS = {"VQDNA_UNIT_BASES": "400"}


def test_killed_at_any_moment_it_gives_the_same_bytes(commands: ForkedCommands, inputs: Path, tmp_path: Path) -> None:
    whole = commands.run(*words(inputs, tmp_path / "whole"), environments=[UNITS], kill_before_change=10**9)
    assert whole.code == 0, whole.err
    expected = files_of(tmp_path / "whole" / "corpus")
    assert len(expected) == 10
    rng, here = random.Random(0), tmp_path / "here"
    kills = resumed = 0

    def check(moment: dict[str, Any], last: bool) -> None:
        """Kill it then; unless it shall be killed again on top of what it left, finish it and look at the bytes."""
        nonlocal kills, resumed
        result = commands.run(*words(inputs, here), environments=[UNITS], **moment)
        assert result.killed or result.code == 0, result.err
        kills += result.killed
        resumed += result.resumed > 0
        if (here / "corpus").exists():
            assert files_of(here / "corpus") == expected, "a corpus is whole or not there"
        if result.killed and last:
            again = commands.run(*words(inputs, here), environments=[UNITS])
            assert again.code == 0, again.err
            resumed += again.resumed > 0
        if last or not result.killed:
            assert files_of(here / "corpus") == expected
            assert [path.name for path in here.iterdir()] == ["corpus"]
            shutil.rmtree(here)

    for number in range(6):  # while the folder takes its place
        check({"kill_before_change": whole.changes - number}, last=True)
    for attempt in range(4 * KILLS):
        if kills >= KILLS:
            break
        by_time = {"kill_after": rng.uniform(0.3, 0.8) * whole.seconds}
        check(rng.choice([by_time, {"kill_before_change": rng.randrange(1, whole.changes // 2)}]), attempt % 3 == 2)
    assert kills >= KILLS
    assert resumed > 0


def test_several_processes_share_the_work(commands: ForkedCommands, inputs: Path, tmp_path: Path) -> None:
    assert commands.run(*words(inputs, tmp_path / "one"), environments=[UNITS]).code == 0
    places = [{**UNITS, "RANK": str(rank), "WORLD_SIZE": "3"} for rank in range(3)]
    results = commands.run_together([words(inputs, tmp_path / "three")] * 3, places)
    assert [result.code for result in results] == [0, 0, 0], [result.err for result in results]
    assert files_of(tmp_path / "three" / "corpus") == files_of(tmp_path / "one" / "corpus")
    bases = [int(result.err.split(": ")[-1].split(" ")[0].replace(",", "")) for result in results]
    assert sum(bases) == 3 * (3 * 3_000 + 57 * 3)
    assert min(bases) > 0


def test_a_full_disk_is_an_error_and_the_same_command_goes_on(
    commands: ForkedCommands, inputs: Path, tmp_path: Path
) -> None:
    result = commands.run(*words(inputs, tmp_path), environments=[{"VQDNA_UNIT_BASES": "1200"}], file_size=4_000)
    assert result.code == 2, result.err
    assert result.err.startswith(f"error: {tmp_path}: no space left"), result.err
    assert not (tmp_path / "corpus").exists()
    assert commands.run(*words(inputs, tmp_path), environments=[{"VQDNA_UNIT_BASES": "1200"}]).code == 0
    assert show_corpus(tmp_path / "corpus", verify=True)["verified"]


def test_yeast_a_bacterium_and_a_virus(vqdna_data: Path, tmp_path: Path) -> None:
    """Real files: bases and accessions as the table above them says, and no window twice."""
    names = [
        "fungi/Saccharomyces_cerevisiae_R64-1-1.fa.gz",
        "bacteria/Escherichia_coli_K12_MG1655.fa.gz",
        "virus",
    ]
    paths = [vqdna_data / "genomes" / name for name in names[:2]]
    paths.append(sorted((vqdna_data / "genomes" / "virus").glob("*.fa.gz"))[0])
    build_corpus(paths, tmp_path / "corpus", held_out=["XII"])
    shown = show_corpus(tmp_path / "corpus", verify=True)
    inputs = {entry["group"]: entry for entry in shown["inputs"]}
    assert inputs["fungi"]["bases"] == 12_157_105
    assert inputs["fungi"]["accession"] == "R64-1-1 / GCA_000146045.2"
    assert inputs["bacteria"]["bases"] == 4_641_652
    assert inputs["bacteria"]["accession"] == "GCF_000005845.2"
    rows = {(row["group"], row["split"]): row for row in shown["composition"]}
    assert rows["fungi", "validation"]["windows"] == 2_106
    assert rows["bacteria", "train"]["gc"] == pytest.approx(0.508, abs=0.001)
    assert rows["fungi", "train"]["gc"] == pytest.approx(0.381, abs=0.001)
    texts = [row["sequence"] for split in ("train", "validation") for row in rows_of(tmp_path / "corpus", split)]
    assert len(texts) == sum(rows[key]["windows"] for key in rows if key[0] != "total")
    assert len({min(text, other_strand(text)) for text in texts}) == len(texts)
    sizes = [len(text) for text in texts]
    assert sum(size == 512 for size in sizes) > 0.99 * len(sizes)
    assert all(256 <= size <= 512 for size in sizes)


def test_rows_come_in_groups_that_workers_can_share(tmp_path: Path) -> None:
    fasta = write_fasta(tmp_path / "x.fa", {"a": random_text(30_000, 5)})
    folder = build(fasta, tmp_path / "c", window=10)
    shards = BuiltCorpus.open(folder).shards("train")
    metadata = pq.ParquetFile(folder / shards[0]["file"]).metadata
    assert metadata.num_row_groups == shards[0]["row_groups"] == 3
    assert all(metadata.row_group(number).num_rows <= 1024 for number in range(3))
    starts = [row["start"] for row in rows_of(folder)]
    assert sum(second == first + 10 for first, second in pairwise(starts)) < 10
