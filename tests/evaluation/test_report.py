"""The report of a vocabulary: numbers known by hand, and a page that needs nothing but itself."""

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from example_scripts import TINY_MODEL
from toy_reports import SIZE, toy_codec, toy_genome

from vqdna_cli.report import register
from vqdna_hf import VQDNAForMaskedLM
from vqdna_hf.data.genome import Genome
from vqdna_hf.evaluation import report_features, report_page
from vqdna_hf.evaluation.report import ReportData, read_history, vocabulary_report

BASES = "ACGT"
OTHER = str.maketrans("ACGT", "TGCA")
GFF = """##gff-version 3
chrI\tx\tregion\t1\t6000\t.\t+\t.\tID=all
chrI\tx\tgene\t1001\t1060\t.\t-\t.\tID=g1;Name=TOY1;locus_tag=b1
chrI\tx\tCDS\t1001\t1030\t.\t-\t0\tID=c1;Parent=g1;Name=TOY1
chrI\tx\tgene\t3001\t3060\t.\t+\t.\tName=TWICE
chrI\tx\tgene\t4001\t4060\t.\t+\t.\tName=TWICE
chrX\tx\tgene\t1\t60\t.\t+\t.\tName=ELSEWHERE
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    toy_genome(place / "genome.fa")
    (place / "genes.gff3").write_text(GFF)
    toy_codec().save_pretrained(place / "codec")
    return place


@pytest.fixture(scope="module")
def sequence(folder: Path) -> str:
    return "".join((folder / "genome.fa").read_text().split()[1:])


def report_of(folder: Path, codec: Any, **options: Any) -> ReportData:
    return vocabulary_report(codec, folder / "genome.fa", progress=False, **options)


def as_codes(text: str) -> list[int]:
    return [BASES.index(letter) for letter in text]


def test_usage_and_perplexity(folder: Path, sequence: str) -> None:
    level = report_of(folder, toy_codec()).levels[0]
    counts = [sequence.count(base) for base in BASES]
    assert level.counts.tolist() == [*counts, 0, 0, 0, 0]
    assert level.usage == 0.5
    entropy = -sum(count / 6000 * math.log(count / 6000) for count in counts)
    assert level.perplexity == pytest.approx(math.exp(entropy), rel=1e-6)


@pytest.mark.parametrize("look", [-2, 0, 1])
def test_columns_of_a_logo(folder: Path, sequence: str, look: int) -> None:
    """The sample's windows end at 4,096: what is beside them counts, and the record's ends do not."""
    level = report_of(folder, toy_codec(look)).levels[0]
    assert (level.context, level.shown, level.logo.shape) == (3, 3, (SIZE, 7, 4))
    wanted = np.zeros((SIZE, 7, 4), np.int64)
    for at in range(3, len(sequence) - 3):
        for column, base in enumerate(sequence[at - 3 : at + 4]):
            wanted[BASES.index(sequence[at + look]), column, BASES.index(base)] += 1
    np.testing.assert_array_equal(level.logo, wanted)
    assert level.occurrences.sum() == 6000 - 6
    assert [text[3 + look] for text in level.consensus] == ["A", "C", "G", "T", "N", "N", "N", "N"]


def test_strands_are_mirrored(folder: Path, sequence: str) -> None:
    """A code that tells the base behind its own tells, on the other strand, the complement of the one before."""
    along = report_of(folder, toy_codec(1), region="chrI:1001-1100").region
    assert along.sequence == sequence[1000:1100]
    assert along.forward[0].tolist() == as_codes(sequence[1001:1101])
    assert along.reverse[0].tolist() == as_codes(sequence[999:1099].translate(OTHER))
    # The ends of the record: there is nothing behind them, and there are as many codes as bases.
    whole = report_of(folder, toy_codec(1), region="chrI").region
    assert whole.forward.shape == whole.reverse.shape == (1, 6000)


@pytest.mark.parametrize(("start", "end"), [(1001, 1100), (1002, 1100), (1, 7), (5994, 6000)])
def test_codes_of_several_bases(folder: Path, sequence: str, start: int, end: int) -> None:
    along = report_of(folder, toy_codec(stride=2), region=f"chrI:{start}-{end}").region
    number = -(-(end - start + 1) // 2)
    assert along.forward.shape == along.reverse.shape == (1, number)
    assert along.forward_start == start - 1
    assert along.forward[0].tolist() == as_codes(sequence[start - 1 : end : 2])
    assert along.reverse_start == end - 2 * number
    assert along.reverse[0].tolist() == as_codes(sequence[start - 1 : end][::-2][::-1].translate(OTHER))


def test_logos_of_several_bases(folder: Path, sequence: str) -> None:
    level = report_of(folder, toy_codec(stride=4)).levels[0]
    assert level.counts[:4].tolist() == [sequence[::4].count(base) for base in BASES]
    assert level.logo.shape == (SIZE, 2 * 6 + 4, 4)
    assert (level.logo[range(4), 6, range(4)] == level.occurrences[:4]).all()  # the first of the four


def test_four_levels_and_language_models(folder: Path) -> None:
    codec = toy_codec(levels=4)
    data = report_of(folder, codec)
    assert [(level.tap, level.context, level.logo.shape[1]) for level in data.levels] == [
        (1, 3, 7), (2, 4, 9), (3, 5, 11), (4, 6, 13)
    ]  # fmt: skip
    assert data.region.forward.shape[0] == 4
    other = report_of(folder, VQDNAForMaskedLM.from_codec(codec, **TINY_MODEL).eval())
    assert other.kind == "VQDNAForMaskedLM"
    for one, same in zip(data.levels, other.levels, strict=True):
        np.testing.assert_array_equal(one.logo, same.logo)
    np.testing.assert_array_equal(data.region.reverse, other.region.reverse)


def test_map_and_neighbours(folder: Path) -> None:
    codec = toy_codec()
    level = report_of(folder, codec).levels[0]
    vectors = codec.encoder.quantizer.codebooks[0].embed.numpy()
    far = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    for code in range(4):
        others = [one for one in range(4) if one != code]
        assert sorted(level.neighbours[code, :3].tolist()) == others  # entries that never occur are no neighbours
        np.testing.assert_allclose(sorted(level.distances[code, :3]), sorted(far[code, others]), rtol=1e-4)
    assert (level.neighbours[:, 4:] == -1).all()
    # Four vectors at equal distances span three dimensions alike: two components hold two thirds.
    np.testing.assert_allclose(level.variance, [1 / 3, 1 / 3], atol=1e-3)


def test_samples(folder: Path) -> None:
    drawn = [report_of(folder, toy_codec(), sample_bases=1000, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert {data.sampled for data in drawn} == {4096, 6000 - 4096}
    np.testing.assert_array_equal(drawn[0].levels[0].counts, drawn[1].levels[0].counts)
    assert all(data.levels[0].counts.sum() == data.sampled for data in drawn)


def test_bases_that_are_not_known() -> None:
    genome = Genome.from_sequences(["a", "b"], ["ACGTN" * 20, "N" * 30])
    data = vocabulary_report(toy_codec(), genome, region="b", progress=False)
    assert data.levels[0].counts.sum() == 80
    assert data.levels[0].occurrences.sum() == 0  # an N is never far
    assert set(data.region.forward[0]) == {-1}
    page = report_page.render_report(data)
    assert "NaN" not in page.split('id="data">')[1].split("</script>")[0]
    with pytest.raises(ValueError, match="<memory>: the sample holds no A, C, G or T"):
        vocabulary_report(toy_codec(), Genome.from_sequences(["b"], ["N" * 30]), progress=False)


def test_genes(folder: Path) -> None:
    data = report_of(folder, toy_codec(), annotation=folder / "genes.gff3", gene="b1", flank=5)
    assert data.region.region[1:] == (995, 1065, "b1", "-")
    assert [(one.kind, one.start, one.name) for one in data.region.features] == [
        ("gene", 1000, "TOY1"), ("CDS", 1000, "TOY1")
    ]  # fmt: skip


def test_gtf_exons_make_a_gene(tmp_path: Path) -> None:
    text = 'chrI\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    (tmp_path / "a.gtf").write_text(text.format(11, 20) + text.format(41, 50))
    genome = Genome.from_sequences(["I"], ["ACGT" * 20])
    found = report_features.find_gene("g", tmp_path / "a.gtf", genome, report_features.Renamer(genome, "auto"))
    assert (found.chrom, found.start, found.end) == ("I", 10, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "chr9:1-5"}, "region 'chr9:1-5': .*genome.fa has no record 'chr9', it has 'chrI'"),
        ({"region": "I:1-5"}, "'--rename auto' would read it as 'chrI'"),
        ({"region": "chrI:0-5"}, "'chrI' has bases 1 to 6000"),
        ({"region": "chrI:5-6001"}, "'chrI' has bases 1 to 6000"),
        ({"region": "chrI:9-5"}, "the start is no larger than the end"),
        ({"region": f"chrI:1-{'9' * 20}"}, "'chrI' has bases 1 to 6000"),
        ({"region": f"chrI:{'9' * 5_000}-7"}, "'chrI' has bases 1 to 6000"),
        ({"region": "chrI:1-2", "gene": "TOY1"}, "a region or a gene, not both"),
        ({"gene": "TOY1"}, "give the annotation that has it, --annotation"),
        ({"gene": "TOY2", "annotation": "genes.gff3"}, "genes.gff3, gene 'TOY2': .* near names: TOY1"),
        ({"gene": "TWICE", "annotation": "genes.gff3"}, "several places .chrI:3001-3060, chrI:4001-4060."),
        ({"gene": "ELSEWHERE", "annotation": "genes.gff3"}, "has no record 'chrX'"),
        ({"annotation": "none.gff3"}, "none.gff3"),
        ({"annotation": "genome.fa"}, "an annotation ends in one of"),
        ({"annotation": "short.gff3"}, "short.gff3, line 1: 3 columns"),
        ({"annotation": "place.bed"}, "place.bed, line 2: '9' to '5' is no place"),
        ({"annotation": "zero.gff3"}, "zero.gff3, line 1: '0' to '5' is no place .* counted from 1"),
        ({"annotation": "square.gff3"}, "square.gff3, line 1: '1' to '\u00b2' is no place"),
        ({"annotation": "stranger.bed"}, "stranger.bed: .*has no record 'scaffold_9'"),
        ({"sample_bases": 0}, "sample_bases 0 at least 1"),
        ({"seed": -1}, "seed -1: give a whole number from 0"),
        ({"flank": -1}, "flank -1"),
        ({"device": "abacus"}, "device abacus"),
    ],
)
def test_bad_input_is_found_before_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    (folder / "short.gff3").write_text("chrI\t1\t2\n")
    (folder / "place.bed").write_text("chrI\t1\t2\nchrI\t9\t5\n")
    (folder / "stranger.bed").write_text("scaffold_9\t1\t2\n")
    (folder / "zero.gff3").write_text("chrI\tx\tgene\t0\t5\t.\t+\t.\tID=a\n")
    (folder / "square.gff3").write_text("chrI\tx\tgene\t1\t\u00b2\t.\t+\t.\tID=a\n")
    monkeypatch.setattr("vqdna_hf.evaluation.report._count", lambda *_: pytest.fail("work began"))
    if "annotation" in options:
        options = {**options, "annotation": folder / options["annotation"]}
    with pytest.raises(ValueError, match=message) as error:
        report_of(folder, folder / "codec", **options)
    assert "\n" not in str(error.value)


def test_regions_and_checkpoints_that_are_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_features, "LONGEST_REGION", 50)
    with pytest.raises(ValueError, match="100 bases, a report shows 50 at most: give a part, --region chrI:11-60"):
        report_of(folder, toy_codec(), region="chrI:11-110")
    with pytest.raises(ValueError, match="no such model folder"):
        report_of(folder, folder / "no_codec")


def test_history(tmp_path: Path) -> None:
    log = [
        {"step": 10, "loss": 2.0, "codebook_usage_level1": 0.4},
        {"step": 10, "eval_codebook_usage_level1": 0.5, "eval_runtime": 1.0},
        {"step": 20, "eval_codebook_usage_level1": float("nan")},
    ]
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-20").mkdir()
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text("broken")
    state = {"log_history": log, "global_step": 30}
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "eval_results.json").write_text('{"eval_codebook_usage_level1": 0.75}')
    assert read_history(tmp_path) == [
        {"step": 10, "codebook_usage_level1": 0.4, "eval_codebook_usage_level1": 0.5},
        {"step": 30, "eval_codebook_usage_level1": 0.75},
    ]
    assert read_history(tmp_path / "none") == []


class _Reader(HTMLParser):
    """What a page holds: tags that are open, what they ask for, and the text of scripts and styles."""

    VOID = {"meta", "link", "input", "br", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.asked: list[str] = []
        self.policy = ""
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "title": []}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.asked += [found[name] or "" for name in ("src", "href", "action", "srcset", "data") if name in found]
        assert not [name for name in found if name.startswith("on") or name == "style"], "no code in attributes"
        self.ids += [found["id"] or ""] if "id" in found else []
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.texts:
            self.texts[self.open[-1]].append(data)


NASTY = "</script><script>alert(1)</script><!--<img/src=x&onerror=alert(2)>@DATA@"


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    genome = Genome.from_sequences([NASTY], [(folder / "genome.fa").read_text().split("\n", 1)[1].replace("\n", "")])
    (folder / "nasty.bed").write_text(f"{NASTY}\t100\t200\t<b>{NASTY}\u2028</b>\t0\t+\n")
    data = vocabulary_report(
        toy_codec(levels=2), genome, region=f"{NASTY}:101-300", annotation=folder / "nasty.bed", progress=False
    )
    return report_page.render_report(data)


def test_the_page_needs_nothing_else(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert all(asked.startswith("#") or asked == "data:," for asked in reader.asked), reader.asked
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", page)
    assert len(page) < 120_000
    # The page's policy: nothing is fetched, and of scripts and styles only these two run.
    assert "default-src 'none'" in reader.policy
    for name, text in (("script", reader.texts["script"][-1]), ("style", reader.texts["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in reader.policy


def test_names_of_files_cannot_become_tags(page: str) -> None:
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img" not in page
    reader = _Reader()
    reader.feed(page)
    content = json.loads(reader.texts["script"][0])
    assert content["region"]["chrom"] == NASTY
    assert content["region"]["features"] == [[100, 200, "+", "interval", f"<b>{NASTY}\u2028</b>"]]


def test_the_page_holds_the_numbers(page: str, sequence: str) -> None:
    reader = _Reader()
    reader.feed(page)
    content = json.loads(reader.texts["script"][0])

    def unpacked(packed: list[str]) -> Any:
        return np.frombuffer(base64.b64decode(packed[1]), "<" + packed[0])

    level = content["levels"][0]
    assert unpacked(level["counts"]).tolist() == [*(sequence.count(base) for base in BASES), 0, 0, 0, 0]
    shares = unpacked(level["shares"]).reshape(SIZE, 7, 4)
    np.testing.assert_array_equal(shares[range(4), 3], 255 * np.eye(4))
    assert unpacked(content["region"]["forward"][1]).tolist() == as_codes(sequence[100:300])
    assert content["region"]["sequence"] == sequence[100:300]


def test_a_page_of_a_large_vocabulary_stays_small() -> None:
    """The published codec's logos take 0.43 MB; of four large levels fewer columns are shown."""
    from vqdna_hf.evaluation.report import _LOGO_BYTES, _tallies
    from vqdna_hf.inference.checkpoints import load_checkpoint

    small = {"hidden_size": 4, "stem_size": 4, "codebook_dim": 4, "expansion": 1}
    for sizes, taps, stride in (([1024, 2048], [3, 6], 1), ([1024, 2048, 4096, 8192], [1, 3, 5, 6], 8)):
        config = report_config(codebook_sizes=sizes, tap_positions=taps, codec_stride=stride, **small)
        tallies = _tallies(load_checkpoint(config))
        held = sum(tally.logo.shape[0] * tally.size * 4 for tally in tallies)
        assert held <= _LOGO_BYTES
        assert all(tally.shown == tally.context for tally in tallies) == (stride == 1)


def report_config(**options: Any) -> Any:
    from vqdna_hf import VQDNACodecConfig, VQDNACodecModel

    return VQDNACodecModel(VQDNACodecConfig(**options))


def run_verb(*words: Any) -> None:
    app = typer.Typer()
    register(app)
    app(args=[str(word) for word in words], standalone_mode=False)


def test_the_verb(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "report.html"
    run_verb(
        folder / "codec", "--genome", folder / "genome.fa", "--annotation", folder / "genes.gff3", "--gene", "TOY1",
        "--flank", 10, "-o", output,
    )  # fmt: skip
    assert "6,000 bases sampled, 80 shown" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["report.html"]
    first = output.read_bytes()
    assert b"<title>Vocabulary of codec</title>" in first
    run_verb(
        folder / "codec", "--genome", folder / "genome.fa", "--annotation", folder / "genes.gff3", "--gene", "TOY1",
        "--flank", 10, "-o", output,
    )  # fmt: skip
    assert output.read_bytes() == first


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda place: place / "report.pdf", r"must end in one of .html .htm"),
        (lambda place: place / "none" / "report.html", "make it first"),
        (lambda _: Path("/proc/report.html"), "/proc/report.html: the folder /proc cannot be written to"),
    ],
)
def test_outputs_that_cannot_be_written(
    folder: Path, tmp_path: Path, place: Callable[[Path], Path], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqdna_hf.evaluation.report._count", lambda *_: pytest.fail("work began"))
    with pytest.raises(ValueError, match=message):
        run_verb(folder / "codec", "--genome", folder / "genome.fa", "-o", place(tmp_path))
    assert os.listdir(tmp_path) == []


def test_a_failed_report_leaves_the_old_page(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "report.html"
    output.write_text("old")

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("vqdna_hf.data.files.os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        report_page.write_vocabulary_report(toy_codec(), folder / "genome.fa", output, progress=False)
    assert (output.read_text(), os.listdir(tmp_path)) == ("old", ["report.html"])
