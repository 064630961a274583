# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Saturation mutagenesis: what each row says, the symmetries it must have, and the pictures."""

import gzip
import html
import json
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from example_scripts import TINY_CODEC, TINY_MODEL
from numpy.typing import NDArray

import vqdna_cli.main as cli
from vqdna_hf import (
    VQDNACodecConfig,
    VQDNACodecModel,
    VQDNAForMaskedLM,
    VQDNAForSequenceClassification,
    VQDNAForTokenClassification,
    VQDNAModel,
    reverse_complement,
)
from vqdna_hf.data.fasta import encode_sequence
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.intervals import Region
from vqdna_hf.data.vcf import Allele
from vqdna_hf.inference import MutateReport, heatmap, load_checkpoint, mutate
from vqdna_hf.inference.heatmap import ScanMap, check_drawing, draw_html, draw_png
from vqdna_hf.inference.label_scores import LabelScorer
from vqdna_hf.inference.mutate import parse_region
from vqdna_hf.inference.variant_scores import VariantScorer
from vqdna_hf.inference.variants import score_variants

KINDS: dict[str, type[Any]] = {
    "backbone": VQDNAModel,
    "masked_lm": VQDNAForMaskedLM,
    "classifier": VQDNAForSequenceClassification,
    "token": VQDNAForTokenClassification,
}
TEXT = "".join(np.random.default_rng(0).choice(list("ACGT"), 90))
TEXT = TEXT[:40] + "N" + TEXT[41:]
GENOME = Genome.from_sequences(["chr1", "chr2"], [TEXT, "ACGTTGCA"])


def make_model(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    codec = VQDNACodecModel(VQDNACodecConfig(**TINY_CODEC)).train()
    codec(torch.randint(5, 9, (8, 60)))
    codec.eval()
    if kind == "codec":
        return codec
    return KINDS[kind].from_codec(codec, **{**TINY_MODEL, "initializer_range": 0.5, **options}).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A genome and a masked LM as files."""
    place = tmp_path_factory.mktemp("mutate")
    (place / "g.fa").write_text(f">chr1\n{TEXT}\n>chr2\nACGTTGCA\n")
    make_model("masked_lm").save_pretrained(place / "mlm")
    return place


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str]:
    code = cli.main(["mutate", *map(str, words)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ("codec", ["changed_1", "changed_2"]),
        ("backbone", ["cosine", "l2"]),
        ("token", ["cosine", "l2"]),
        ("masked_lm", ["llr"]),
        ("classifier", ["delta_logit", "delta_probability", "probability"]),
    ],
)
def test_three_rows_a_base_and_what_each_model_can_say(kind: str, columns: list[str]) -> None:
    table = mutate(make_model(kind), GENOME, "chr1:39-43", progress=False)
    assert table.column_names == ["name", "chrom", "start", "end", "strand", "ref", "alt", *columns]
    rows = table.to_pylist()
    assert [row["start"] for row in rows] == [at for at in (38, 39, 41, 42) for _ in range(3)]  # N has no rows
    for row in rows:
        assert (row["name"], row["chrom"], row["end"]) == ("chr1:39-43", "chr1", row["start"] + 1)
        assert row["ref"] == TEXT[row["start"]]
    for at in range(0, 12, 3):
        assert "".join(row["alt"] for row in rows[at : at + 3]) == "ACGT".replace(rows[at]["ref"], "")
    for name in columns:
        values = np.array(table[name])
        assert values.dtype == (np.int32 if name.startswith("changed") else np.float32)
        assert np.isfinite(values).all()
        assert np.unique(values).size > 1


def test_the_ratio_is_that_of_a_masked_pass() -> None:
    """In a window around the base, with `[MASK]` in its place; and of the reference with itself it is 0."""
    model = make_model("masked_lm")
    table = mutate(model, GENOME, "chr1:20-24", window=21, strand="forward")
    found = np.array(table["llr"]).reshape(5, 3)
    for row, at in enumerate(range(19, 24)):
        ids = torch.tensor([[2, *encode_sequence(TEXT[at - 10 : at + 11], where="here").tolist(), 3]])
        ids[0, 11] = 4
        with torch.no_grad():
            expected = model(ids).logits[0, 11, 5:9].log_softmax(-1).numpy()
        own = "ACGT".index(TEXT[at])
        others = [number for number in range(4) if number != own]
        np.testing.assert_allclose(found[row], (expected - expected[own])[others], atol=1e-5)
        assert np.exp(found[row]).sum() + 1 == pytest.approx(np.exp(-expected[own]), rel=1e-4)


@pytest.mark.parametrize("scores", ["llr,distance,codes", ["distance"], "codes"])
def test_a_row_is_the_same_substitution_as_a_variant(scores: Any) -> None:
    model = make_model("masked_lm")
    table = mutate(model, GENOME, "chr1", scores=scores, window=31)
    names = scores.split(",") if isinstance(scores, str) else scores
    rows = table.to_pylist()[::7]
    alleles = [
        Allele(
            "chr1",
            row["start"],
            bytes(encode_sequence(row["ref"], where="")),
            bytes(encode_sequence(row["alt"], where="")),
        )
        for row in rows
    ]
    expected = VariantScorer(load_checkpoint(model), names, window=31).score(GENOME, alleles)
    for name in table.column_names[7:]:
        np.testing.assert_allclose([row[name] for row in rows], expected[name], atol=1e-5)


def test_a_row_is_what_the_verb_variants_says(folder: Path, tmp_path: Path) -> None:
    table = mutate(folder / "mlm", folder / "g.fa", "chr1:31-50", scores=["llr", "distance", "codes"])
    lines = [f"chr1\t{row['end']}\t.\t{row['ref']}\t{row['alt']}\t.\t.\t.\n" for row in table.to_pylist()]
    header = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (tmp_path / "calls.vcf").write_text(header + "".join(lines))
    score_variants(folder / "mlm", folder / "g.fa", tmp_path / "calls.vcf", table=tmp_path / "scored.parquet")
    scored = pq.read_table(tmp_path / "scored.parquet")
    assert len(scored) == len(table) == 57
    for name in table.column_names[7:]:
        np.testing.assert_allclose(table[name], scored[name], atol=1e-5)


@pytest.mark.parametrize("kind", ["masked_lm", "backbone", "classifier"])
def test_the_other_strand_is_the_mirror_image(kind: str) -> None:
    model = make_model(kind)
    other = Genome.from_sequences(["chr1"], [reverse_complement(TEXT)])
    one = mutate(model, GENOME, Region("chr1", 10, 60, "here", "."), strand="both")
    two = mutate(model, other, Region("chr1", 30, 80, "there", "."), strand="both")
    swap = str.maketrans("ACGT", "TGCA")
    mirrored = {(89 - row["start"], row["alt"].translate(swap)): row for row in two.to_pylist()}
    for row in one.to_pylist():
        twin = mirrored[row["start"], row["alt"]]
        assert twin["ref"] == row["ref"].translate(swap)
        for name in one.column_names[7:]:
            assert twin[name] == pytest.approx(row[name], abs=1e-5)


def test_forward_is_the_strand_of_the_region() -> None:
    model = make_model("classifier")
    minus = mutate(model, GENOME, Region("chr1", 0, 30, "r", "-"), strand="forward")
    reverse = mutate(model, GENOME, Region("chr1", 0, 30, "r", "."), strand="reverse")
    assert minus.equals(reverse)
    assert not minus.equals(mutate(model, GENOME, Region("chr1", 0, 30, "r", "+"), strand="forward"))


def test_strands_are_named(tmp_path: Path) -> None:
    """In the table, and in pictures wherever not all is read on the forward strand."""
    bed = tmp_path / "r.bed"
    bed.write_text("chr1\t2\t5\tfirst\t0\t-\nchr2\t0\t2\tsecond\t0\t+\nchr2\t3\t4\n")
    picture = tmp_path / "s.html"

    def scan(place: Any, strand: str) -> tuple[str, str]:
        region = None if place == bed else place
        table = mutate(
            make_model("masked_lm"), GENOME, region, bed=bed if place == bed else None, strand=strand, html=picture,
            window=21, png=tmp_path / "s.png",
        )  # fmt: skip
        return "".join(table["strand"].to_pylist()[::3]), picture.read_text()

    strands, page = scan(bed, "forward")
    assert strands == "---+++"
    for title in ("chr1:3-5 (first), strand -", "chr2:1-2 (second), strand +", "chr2:4-4, strand +"):
        assert f'"title": "{title}"' in page
    assert ", one strand of each region, see its title (letters are the genome's); " in html.unescape(page)
    assert "forward strand" not in page
    strands, page = scan(bed, "reverse")
    assert strands == "+++---"
    assert '"title": "chr1:3-5 (first), strand +"' in page
    strands, page = scan(bed, "both")
    assert (strands, ", strand" in page, ", both strands; " in page) == ("......", False, True)
    strands, page = scan(Region("chr1", 2, 5, "r", "-"), "forward")
    assert (strands, "forward strand" in page) == ("---", False)
    assert ", reverse strand (letters are the genome" in page
    assert "<h1>chr1:3-5 (r), strand -</h1>" in page
    strands, page = scan(Region("chr1", 2, 5, "r", "."), "forward")
    assert (strands, ", strand" in page, ", forward strand; " in page) == ("+++", False, True)


def test_a_layer_is_checked_where_no_score_reads_it() -> None:
    with pytest.raises(ValueError, match="layer=7: this model has hidden states"):
        mutate(make_model("classifier"), GENOME, "chr2", layer=7)
    assert mutate(make_model("classifier"), GENOME, "chr2", layer=1).num_rows == 24


def logits_of(model: Any, text: str) -> NDArray[np.float64]:
    with torch.no_grad():
        return model(torch.tensor([[2, *encode_sequence(text, where="here").tolist(), 3]])).logits[0].double().numpy()


def test_a_classifier_reads_each_mutant_of_the_region_once() -> None:
    model = make_model("classifier", num_labels=3, id2label={0: "no", 1: "weak", 2: "strong"})
    read: list[int] = []
    hook = model.register_forward_pre_hook(lambda *given: read.append(len(given[2]["input_ids"])), with_kwargs=True)
    table = mutate(model, GENOME, "chr1:3-22", label="strong", strand="forward")
    hook.remove()
    assert sum(read) == 3 * 20 + 1
    region = TEXT[2:22]

    def odds(text: str) -> float:
        z = logits_of(model, text)
        return float(z[2] - np.log(np.exp(z[:2]).sum()))

    for row in table.to_pylist()[::5]:
        at = row["start"] - 2
        mutant = odds(region[:at] + row["alt"] + region[at + 1 :])
        assert row["delta_logit"] == pytest.approx(mutant - odds(region), abs=1e-4)
        assert row["probability"] == pytest.approx(1 / (1 + np.exp(-mutant)), abs=1e-5)
        before = 1 / (1 + np.exp(-odds(region)))
        assert row["delta_probability"] == pytest.approx(row["probability"] - before, abs=1e-5)
    assert table.equals(mutate(model, GENOME, "chr1:3-22", label=2, strand="forward"))


def test_labels_of_other_kinds_of_classifiers() -> None:
    several = make_model("classifier", num_labels=2, problem_type="multi_label_classification")
    row = mutate(several, GENOME, "chr2", label="1", strand="forward").to_pylist()[0]
    one, other = logits_of(several, "ACGTTGCA"), logits_of(several, "CCGTTGCA")
    assert row["delta_logit"] == pytest.approx(other[1] - one[1], abs=1e-4)
    number = make_model("classifier", num_labels=1, problem_type="regression")
    row = mutate(number, GENOME, "chr2", strand="forward").to_pylist()[0]
    one, other = logits_of(number, "ACGTTGCA"), logits_of(number, "CCGTTGCA")
    assert row["value"] == pytest.approx(other[0], abs=1e-4)
    assert row["delta_value"] == pytest.approx(other[0] - one[0], abs=1e-4)
    both = make_model("classifier", average_strands=True)
    assert LabelScorer(load_checkpoint(both), strand="both")._strands == [False]
    np.testing.assert_allclose(
        mutate(both, GENOME, "chr2")["delta_logit"],
        mutate(make_model("classifier"), GENOME, "chr2")["delta_logit"],
        atol=1e-5,
    )


def test_a_window_lets_a_classifier_scan_more_than_it_reads() -> None:
    model = make_model("classifier", max_position_embeddings=34)
    with pytest.raises(ValueError, match=r"region chr1 has 90 bases, .* at most 32 at once.*--window"):
        mutate(model, GENOME, "chr1")
    table = mutate(model, GENOME, "chr1", window=32, strand="forward")
    assert len(table) == 3 * 89
    row = table.to_pylist()[3 * 60]
    around = TEXT[row["start"] - 15 : row["start"] + 16]
    mutant = around[:15] + row["alt"] + around[16:]
    change = np.subtract(logits_of(model, mutant), logits_of(model, around))
    assert row["delta_logit"] == pytest.approx(change[1] - change[0], abs=1e-4)


def test_regions_are_read_as_genome_browsers_write_them() -> None:
    genome = Genome.from_sequences(["chr1", "HLA:01", "a:1-3", "a"], ["ACGT" * 300, "ACGT", "ACGT", "ACGT"])
    assert parse_region("chr1:1,000-1,200", genome)[:3] == ("chr1", 999, 1200)
    assert parse_region("1:1-1", genome, "auto")[:3] == ("chr1", 0, 1)
    assert parse_region("HLA:01", genome)[:3] == ("HLA:01", 0, 4)
    assert parse_region("HLA:01:2-3", genome)[:3] == ("HLA:01", 1, 3)
    assert parse_region("a:2-3", genome)[:3] == ("a", 1, 3)
    for text, message in (
        ("a:1-3", "can be read as a record and as part of one"),
        ("chr1:0-5", "'chr1' has 1200 bases: positions count from 1"),
        ("chr1:7-5", "the start, 7, is behind the end, 5"),
        ("chr1:2,000-1,500", "the start, 2000, is behind the end, 1500"),
        ("chr1:1-1201", "'chr1' has 1200 bases"),
        ("chr1:5", "write NAME:START-END"),
        ("chr1:5-", "write NAME:START-END"),
        ("chr9", "has no record 'chr9'"),
        ("1:5-6", "'--rename auto' would read it as 'chr1'"),
    ):
        with pytest.raises(ValueError, match=f"region {text}: .*{re.escape(message)}"):
            parse_region(text, genome)


def test_table_and_pictures_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        folder / "g.fa",
        "chr1:31-60",
        "-m",
        folder / "mlm",
        "-o",
        folder / "scan.parquet",
        "--scores",
        "llr,codes",
    ]
    pictures = ["--png", folder / "scan.png", "--html", folder / "scan.html"]
    code, shown = run(capsys, *words, *pictures)
    assert code == 0, shown
    assert shown.splitlines()[-4:] == [
        f"{folder}/scan.parquet: 30 bases",
        "1 positions are N and have no rows",
        f"{folder}/scan.png",
        f"{folder}/scan.html",
    ]
    table = pq.read_table(folder / "scan.parquet")
    assert table.equals(mutate(folder / "mlm", folder / "g.fa", "chr1:31-60", scores=["codes", "llr"]))
    png = (folder / "scan.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24])[0] > 500
    page = (folder / "scan.html").read_text()
    assert not re.search(r"https?:|src=|@import|url\(", page), "nothing may be fetched"
    assert len(page) < 20_000
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])  # type: ignore[index]
    (region,) = data["regions"]
    assert (region["chrom"], region["start"], region["reference"]) == ("chr1", 30, TEXT[30:60])
    assert list(region["scores"]) == list(data["scales"]) == ["llr", "changed_1", "changed_2"]
    values = np.array(region["scores"]["llr"], dtype=float).reshape(30, 4)
    assert np.isnan(values[10]).all()
    for row in table.to_pylist():
        shown_value = values[row["start"] - 30, "ACGT".index(row["alt"])]
        assert shown_value == pytest.approx(row["llr"], rel=1e-3, abs=1e-6)
        assert values[row["start"] - 30, "ACGT".index(row["ref"])] == 0
    assert data["scales"]["llr"][0] == -data["scales"]["llr"][1]
    assert data["scales"]["changed_1"][0] == 0
    before = {path.name: path.read_bytes() for path in folder.glob("scan.*")}
    assert run(capsys, *words, *pictures)[0] == 0
    assert {path.name: path.read_bytes() for path in folder.glob("scan.*")} == before


def test_bed_and_tsv_and_standard_output(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bed = folder / "r.bed"
    bed.write_text("chr1\t2\t5\tfirst\t0\t-\nchr2\t0\t2\n")
    assert cli.main(["mutate", str(folder / "g.fa"), "--bed", str(bed), "-m", str(folder / "mlm"), "-o", "-"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["name", "chrom", "start", "end", "strand", "ref", "alt", "llr"]
    assert [line.split("\t")[:4] for line in lines[1::3]] == [
        *([["first", "chr1", str(at), str(at + 1)] for at in range(2, 5)]),
        *([["chr2:0-2", "chr2", str(at), str(at + 1)] for at in range(2)]),
    ]
    report = mutate(folder / "mlm", folder / "g.fa", None, folder / "scan.tsv", bed=bed, html=folder / "two.html")
    assert isinstance(report, MutateReport)
    assert (report.bases, report.unknown, report.pictures) == (5, 0, (folder / "two.html",))
    assert (folder / "scan.tsv").read_text().splitlines() == lines
    assert "chr1:3-5 (first) and 1 more" in (folder / "two.html").read_text()


def test_units_make_no_difference(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQDNA_UNIT_BASES", "1000")
    report = mutate(folder / "mlm", folder / "g.fa", "chr1", folder / "cut.parquet", window=21)
    assert report.units > 20
    monkeypatch.delenv("VQDNA_UNIT_BASES")
    whole = mutate(folder / "mlm", folder / "g.fa", "chr1", window=21)
    cut = pq.read_table(folder / "cut.parquet")
    assert cut.drop(["llr"]).equals(whole.drop(["llr"]))
    np.testing.assert_allclose(cut["llr"], whole["llr"], atol=1e-5)


def test_a_crash_between_table_and_pictures_costs_no_scores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = folder / "crash.parquet"

    def crash(*_: Any) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        # By its name alone the function of the package would be found, not the module.
        patched.setattr(sys.modules["vqdna_hf.inference.mutate"], "draw_png", crash)
        with pytest.raises(KeyboardInterrupt):
            mutate(folder / "mlm", folder / "g.fa", "chr2", output, png=folder / "crash.png")
    assert not output.exists()
    assert not (folder / "crash.png").exists()
    report = mutate(folder / "mlm", folder / "g.fa", "chr2", output, png=folder / "crash.png")
    assert (report.resumed, report.bases) == (report.units, 0)
    assert output.exists()
    assert (folder / "crash.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chr1:1-91"], "region chr1:1-91: 'chr1' has 90 bases"),
        (["chr3"], "has no record 'chr3', it has 'chr1', 'chr2'"),
        (["chr1", "--bed", "{0}/none.bed"], "a region and a BED file: give one of them"),
        (["--bed", "{0}/none.bed"], "none.bed: no such file"),
        (["chr1", "--scores", "llr,best"], "scores 'best': choose of auto, probability, llr, distance, codes"),
        (["chr1", "--scores", "probability"], "mlm has no classifier (it was saved as VQDNAForMaskedLM)"),
        (["chr1", "--label", "1"], "label '1': of the scores probability alone has labels, and llr is asked for"),
        (["chr1", "--strand", "sense"], "strand 'sense': choose one of forward, reverse, both"),
        (["chr1", "--window", "500"], "window=500: this model reads"),
        (["chr1", "--scores", "distance", "--layer", "7"], "layer=7: this model has hidden states 0..1"),
        (["chr1", "--layer", "7"], "layer=7: this model has hidden states 0..1"),
        (["chr1", "--scores", "codes", "--layer", "-3"], "layer=-3: this model has hidden states 0..1"),
        (["chr1", "--scores", "auto,codes"], "scores 'auto,codes': auto stands alone: give it, or some of probability"),
        (["chr1", "--scores", "llr, llr, best"], "scores 'best': choose of"),
        (["chr1:60-50"], "region chr1:60-50: the start, 60, is behind the end, 50"),
        (["chr1", "--png", "{0}/scan.jpg"], "scan.jpg: the output's name must end in one of .png"),
        (["chr1", "--html", "{0}/none/scan.html"], "there is no folder"),
        (["chr1", "-o", "{0}/bad.npz"], "bad.npz: the output's name must end in one of .parquet .tsv .tsv.gz"),
        (["chr1", "--batch-bases", "0"], "--batch-bases 0: give a number"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    output = [] if "-o" in words else ["-o", folder / "bad.parquet"]
    code, shown = run(capsys, folder / "g.fa", *(word.format(folder) for word in words), "-m", folder / "mlm", *output)
    assert code == 2
    assert message in shown
    assert shown.startswith("error: ")
    assert shown.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_what_cannot_be_drawn_is_said_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(heatmap, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'a PNG needs matplotlib: pip install "vqdna_hf\[plot\]"'):
        mutate(make_model("codec"), GENOME, "chr2", png=folder / "no.png")
    check_drawing(png=False, positions=5)
    with pytest.raises(ValueError, match="at most 20,000 positions, and these are 20,001"):
        check_drawing(png=False, positions=20_001)
    with pytest.raises(ValueError, match=r"<memory> has 10,001 bases, too many .* name a region"):
        mutate(make_model("codec"), Genome.from_sequences(["long"], ["A" * 10_001]))
    with pytest.raises(ValueError, match="region r: holds no base"):
        mutate(make_model("codec"), GENOME, Region("chr1", 5, 5, "r", "."))


def test_a_region_without_any_base_known_has_no_rows(tmp_path: Path) -> None:
    genome = Genome.from_sequences(["n"], ["NNN"])
    output = tmp_path / "scan.parquet"
    report = mutate(make_model("masked_lm"), genome, None, output, png=tmp_path / "n.png", html=tmp_path / "n.html")
    assert report.unknown == 3
    table = pq.read_table(output)
    assert (len(table), table.schema.field("llr").type) == (0, pa.float32())
    assert (tmp_path / "n.png").exists()


def test_pictures_of_long_regions_and_odd_names() -> None:
    rng = np.random.default_rng(0)
    scores = {"llr": -rng.random((4, 6000), dtype=np.float32)}
    scan = ScanMap("</script><b>&", "chr1", 12_345, "ACGT" * 1500, scores)
    assert draw_png([scan], "llr").startswith(b"\x89PNG")
    short = ScanMap("r", "chr1", 0, "ACGT", {"llr": scores["llr"][:, :4]})
    assert draw_png([short], "llr") == draw_png([short], "llr")
    page = draw_html([scan], "about <this>")
    assert "&lt;/script&gt;&lt;b&gt;&amp;" in page
    assert page.count("</script>") == 2
    assert "about &lt;this&gt;" in page
    assert len(page) < 6000 * 4 * 12
    (low, high), width = heatmap._limits([scan], "llr"), heatmap._width([scan])
    assert (low, width) == (-high, 150)
    assert [end - first for first, end in scan.rows(width)] == [150] * 40


def test_a_promoter_of_the_human_genome(vqdna_data: Path, tmp_path: Path) -> None:
    genome = vqdna_data / "genomes" / "human" / "Homo_sapiens_1000G_1Mb_z.fa.gz"
    report = mutate(
        make_model("masked_lm"), genome, "z:200,001-200,060", tmp_path / "scan.tsv.gz", png=tmp_path / "z.png"
    )
    assert (report.bases, report.unknown) == (60, 0)
    with Genome.open(genome) as opened:
        again = mutate(make_model("masked_lm"), opened, Region("z", 200_000, 200_060, "z", "."))
    with gzip.open(tmp_path / "scan.tsv.gz", "rt") as file:
        rows = [line.split("\t") for line in file.read().splitlines()[1:]]
    assert [(row[5], row[6]) for row in rows] == list(
        zip(again["ref"].to_pylist(), again["alt"].to_pylist(), strict=True)
    )
    np.testing.assert_array_equal(np.array([float(row[7]) for row in rows], np.float32), again["llr"])
