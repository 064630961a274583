# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""`examples/sars_cov_2.py` on a simulated virus, and the rules by which its verdict is written."""

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from example_scripts import TINY_CODEC, run_example
from simulated_virus import write_virus

from vqdna_hf import VQDNACodecConfig, VQDNACodecModel
from vqdna_hf.evaluation.lineage_summary import compare_draws, lineage_summary, lineage_verdict

SIZES = {"clades": 2, "per_clade": 8, "draws": 2, "per_clade_all": 10, "draws_all": 1, "neighbours": 3, "tile": 100}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec, a virus, and one run."""
    root = tmp_path_factory.mktemp("sars")
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    with torch.no_grad():
        codec.encode(torch.randint(5, 9, (8, 64)), update_codebooks=True)
    codec.save_pretrained(root / "codec")
    write_virus(root / "data")
    assert run_example("sars_cov_2", **arguments(root)) == 0
    return root


def arguments(root: Path, **values: Any) -> dict[str, Any]:
    given = {
        "checkpoint": root / "codec",
        "data": root / "data",
        "mutations": root / "data" / "pango" / "lineage_mutations.tsv",
        "output_dir": root / "out",
        "layout": "none",
        **SIZES,
    }
    return {**given, **values}


def results_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "out" / "sars_cov_2.json").read_text())


def test_the_record_holds_every_measure(run: Path) -> None:
    record = results_of(run)
    assert (record["kind"], record["name"], record["seeds"]) == ("sars_cov_2", "codec", [0])
    results = record["results"]
    assert results["data"]["lineages"] == results["data"]["distinct_genomes"] == 30
    assert results["data"]["clades"] == {"one": 10, "two": 10, "three": 10}
    two, every = results["separation"]["2 clades x 8"], results["separation"]["all clades x 10"]
    assert (two["groups"], two["draws"], every["groups"], every["draws"]) == (2, 2, 3, 1)
    names = {f"{kind} {level}" for kind in ("position", "bag", "vectors") for level in ("1", "2", "all")}
    assert set(two["features"]) == names | {f"untrained {name}" for name in names} | {"mutations", "4-mers", "6-mers"}
    for own in two["features"].values():
        assert {len(values) for values in own.values()} == {2}
    # Six mutations of a clade against two of its own: a list of mutations, and its codes, separate clades wholly.
    for name in ("mutations", "position 1", "position 2"):
        assert every["features"][name]["purity"] == [1.0], name
        assert every["features"][name]["nmi"] == [1.0], name
    # Two lineages of a clade differ in four mutations, of the nearest other clade in sixteen and one deletion.
    assert every["features"]["mutations"]["silhouette"] == [pytest.approx(1 - 2 / 17**0.5, abs=1e-4)]
    assert every["features"]["mutations"]["purity_chance"][0] == pytest.approx(9 / 29, abs=0.1)


def test_the_tables_fit_the_record(run: Path) -> None:
    results = results_of(run)["results"]
    table = pd.read_csv(run / "out" / "mutations.tsv", sep="\t")
    assert len(table) == results["data"]["substitutions"] + results["data"]["deletions"] == 18 + 60 + 2
    substitutions = table[table["class"] != "deletion"]
    assert results["footprints"]["substitutions"][0]["changed_mean"] == pytest.approx(substitutions["changed_1"].mean())
    gene = pd.read_csv(run / "out" / "gene.tsv", sep="\t")
    assert len(gene) == results["gene"]["substitutions"] == 900
    assert (gene["lineages"] > 0).sum() == results["gene"]["known"]
    assert results["told_apart"][0]["seen"] == pytest.approx((gene["changed_1"] > 0).mean())
    best = results["gene"]["top"][0]
    assert best["changed_1"] == gene[gene["lineages"] > 0]["changed_1"].max()


def test_a_second_run_encodes_nothing_and_says_the_same(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, summary = results_of(run)["results"], (run / "out" / "summary.md").read_text()
    monkeypatch.setattr(
        "vqdna_hf.evaluation.lineage_codes.ReferenceCodes._encode", lambda *_: pytest.fail("encoded again")
    )
    monkeypatch.setattr("vqdna_hf.evaluation.lineage_analysis._measure", lambda *_: pytest.fail("measured again"))
    capsys.readouterr()
    can_draw = importlib.util.find_spec("matplotlib") is not None
    assert run_example("sars_cov_2", **arguments(run, layout="pca" if can_draw else "none")) == 0
    assert (run / "out" / "lineages.png").is_file() == can_draw
    after = results_of(run)["results"]
    assert {**after, "seconds": None} == {**before, "seconds": None}
    assert summary in capsys.readouterr().out
    assert summary == (run / "out" / "summary.md").read_text()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mutations": "nowhere.tsv"}, "nowhere.tsv: no such file"),
        ({"label": "who"}, "no column who"),
        ({"gene": "N"}, "gene 'N': the annotation has S"),
        (
            {"per_clade": 11},
            "column nextstrain_clade, 2 clades x 11, 2 draws (--per_clade, --draws, --clades): only 0 clades have 11 "
            "lineages: lower these numbers, or take another column (--label); the largest clades: one 10, two 10",
        ),
        ({"per_clade_all": 11}, "all clades x 11, 1 draws (--per_clade_all, --draws_all): only 0 clades"),
        ({"clades": 1}, "give at least 2 clades"),
        ({"draws": 0}, "give at least 2 clades"),
        ({"neighbours": 16}, "16 neighbours (--neighbours): give from 1 to 15"),
        ({"seed": -1}, "seed -1: give a whole number from 0"),
        ({"tile": 0}, "tile 0: a language model reads 1 base"),
        ({"output_dir": Path(__file__)}, f"--output_dir {__file__} cannot be made: {__file__} is not a folder"),
        ({"genes": "square.gff3"}, "square.gff3: line 1: GFF3 has nine columns"),
        ({"mutations": "none.tsv"}, "no lineage has a mutation"),
        ({"checkpoint": "nowhere"}, "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    run: Path,
    tmp_path: Path,
    values: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vqdna_hf.evaluation.lineage_codes.ReferenceCodes._encode", lambda *_: pytest.fail("encoded"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "square.gff3").write_text(".\t.\tgene\t101\t\u00b2\t.\t+\t.\tgene_name=S\n")
    (tmp_path / "none.tsv").write_text("lineage\tsubstitutions\tdeletions\none.0\t\t\none.1\t\t\n")
    values = {"output_dir": tmp_path / "out", **values}
    assert run_example("sars_cov_2", **arguments(run, **values)) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error:"))
    assert message in line
    assert not (tmp_path / "out" / "sars_cov_2.json").exists()


# The verdict


def verdict(results: dict[str, Any], start: str) -> tuple[str, str]:
    (found,) = (sentence for sentence in lineage_verdict(results) if sentence[1].startswith(start))
    return found


def changed(results: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    """The same with other numbers: of features whose name starts so, in every measure and draw."""
    found = copy.deepcopy(results)
    for setting in found["separation"].values():
        for name, own in setting["features"].items():
            for start, value in values.items():
                if name.startswith(start):
                    for measure, old in own.items():
                        own[measure] = [0.1 if measure.endswith("chance") else value] * len(old)
    return found


def test_draws_are_compared_in_pairs() -> None:
    assert compare_draws([0.50] * 10, [0.495] * 10) == "equal"  # too small
    assert compare_draws([0.9] * 9 + [0.5], [0.6] * 10) == "better"
    assert compare_draws([0.9] * 8 + [0.5] * 2, [0.6] * 10) == "equal"  # two draws disagree
    assert compare_draws([0.6] * 10, [0.9] * 9 + [0.5]) == "worse"


def test_the_verdict_follows_the_numbers(run: Path) -> None:
    results = results_of(run)["results"]
    good = {"position 1": 0.9, "bag 1": 0.9, "vectors 1": 0.9}
    bad = {"position 2": 0.5, "bag 2": 0.5, "vectors 2": 0.5}
    word, text = verdict(changed(results, good | bad), "Coarse codes separate clades better than fine codes")
    assert word == "holds"
    assert "18 of 18 comparisons are better, 0 worse" in text
    assert "codes by position 0.900 against 0.500 (2 clades x 8)" in text
    swapped = changed(results, dict.fromkeys(good, 0.5) | dict.fromkeys(bad, 0.9))
    assert verdict(swapped, "Coarse codes separate clades better than fine codes")[0] == "does not hold"
    part = changed(results, good | {**bad, "bag 2": 0.9})
    assert verdict(part, "Coarse codes separate clades better than fine codes")[0] == "holds in part"
    alone = changed(results, good | {"mutations": 0.9, "4-mers": 0.2})
    assert verdict(alone, "Coarse codes separate clades better than a list")[0] == "does not hold"
    assert verdict(alone, "Coarse codes separate clades better than counts of 4-mers")[0] == "holds"
    assert verdict(changed(results, good), "Coarse codes separate clades better than chance")[0] == "holds"
    assert verdict(changed(results, dict.fromkeys(good, 0.1)), "Coarse codes separate clades better than chance")[
        0
    ] == ("does not hold")


@pytest.mark.parametrize(
    ("coarse", "fine", "word"), [(0.5, 0.99, "holds"), (0.97, 0.99, "holds in part"), (0.99, 0.5, "does not hold")]
)
def test_telling_mutations_apart(run: Path, coarse: float, fine: float, word: str) -> None:
    results = results_of(run)["results"]
    results["told_apart"] = [{"seen": 1.0, "told_apart": coarse}, {"seen": 1.0, "told_apart": fine}]
    found, text = verdict(results, "Fine codes tell mutations apart")
    assert found == word
    assert f"level 1: 1.000 seen, {coarse:.3f} told apart" in text


def test_footprints_of_synonymous_and_of_known_substitutions(run: Path) -> None:
    results = results_of(run)["results"]
    for delta, p, word in ((0.1, 0.01, "holds"), (-0.3, 0.01, "does not hold"), (-0.3, 0.2, "open")):
        for level in results["synonymous"]:
            for name in ("changed", "moved"):
                level[name] = {"plain": {**level[name]["plain"], "delta": delta, "p": p}}
        assert verdict(results, "Synonymous")[0] == word
    for delta, p, word in ((0.3, 0.01, "holds"), (0.3, 0.2, "open"), (0.1, 0.01, "does not hold")):
        for level in results["gene"]["levels"]:
            level["same_type"] = {**level["plain"], "delta": delta, "p": p}
        assert verdict(results, "Substitutions of S that lineages have")[0] == word


def test_the_summary_has_a_row_a_feature(run: Path) -> None:
    results = results_of(run)["results"]
    summary = lineage_summary(results)
    assert summary.count("| mean code vectors, all levels |") == 2
    assert summary.count("| mean code vectors, level 1, untrained |") == 2
    assert "### Separation of clades: all clades x 10 (3 a draw, 1 draws)" in summary
    assert f"(of {results['gene']['known']} that lineages have)" in summary
    assert summary.count("- **") == len(lineage_verdict(results))
