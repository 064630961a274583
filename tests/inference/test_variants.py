# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Scores of variants: what they are, the symmetries that they must have, and what becomes of each line of a VCF."""

import io
import itertools
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pysam
import pytest
import torch
from example_scripts import TINY_MODEL

from vqdna_cli.main import main
from vqdna_hf import VQDNACodecModel, VQDNAForMaskedLM, VQDNAForSequenceClassification, reverse_complement
from vqdna_hf.data.corpus import reverse_complement_array
from vqdna_hf.data.fasta import decode_ids
from vqdna_hf.data.genome import Genome
from vqdna_hf.data.vcf import COLUMNS, SKIP_REASONS, Allele, normal_form, open_vcf, to_ids
from vqdna_hf.inference import load_checkpoint, score_variants
from vqdna_hf.inference.variant_scores import VariantScorer, cut_window, position_distances
from vqdna_hf.model.pipeline_vqdna import read_nucleotides
from vqdna_hf.model.tokenization_vqdna import CLS_ID, MASK_ID, SEP_ID

TEXT = decode_ids(np.random.default_rng(7).integers(5, 9, 400).astype(np.uint8))
SCORES = ("llr", "cosine", "l2")
# Start, REF, ALT as TEXT has them: a base, neighbours, an insertion, a deletion, lengths that differ.
PLACES = [
    (150, 1, "?"), (200, 3, "???"), (170, 1, "_GATTC"), (230, 6, "_"), (99, 4, "???" * 3), (260, 1, "_AC"),
    (280, 4, "_"), (0, 1, "?"), (399, 1, "?"),
]  # fmt: skip


def variants(text: str = TEXT) -> list[tuple[int, str, str]]:
    """`?` stands for another base than REF's, `_` for the same."""
    found = []
    for start, length, pattern in PLACES:
        ref = text[start : start + length]
        other = [letter if letter not in "?_" else ref[at % length] for at, letter in enumerate(pattern)]
        alt = "".join(
            "CGTA"["ACGT".index(base)] if mark == "?" else base for base, mark in zip(other, pattern, strict=True)
        )
        found.append((start, ref, alt))
    return found


def alleles(text: str = TEXT) -> list[Allele]:
    genome = Genome.from_sequences(["c"], [text])
    return [normal_form("c", start, ref, alt, genome.fetch) for start, ref, alt in variants(text)]


@pytest.fixture(scope="module")
def strong_masked_lm(tiny_codec: VQDNACodecModel) -> Any:
    """With weights large enough that alleles differ."""
    torch.manual_seed(3)
    return VQDNAForMaskedLM.from_codec(tiny_codec, **{**TINY_MODEL, "initializer_range": 0.4}).eval()


@pytest.fixture(scope="module")
def scorer(strong_masked_lm: Any) -> VariantScorer:
    return VariantScorer(load_checkpoint(strong_masked_lm), window=60)


def score(scorer: VariantScorer, text: str, chosen: list[Allele]) -> pd.DataFrame:
    return pd.DataFrame(scorer.score(Genome.from_sequences(["c"], [text]), chosen))


def with_options(scorer: VariantScorer, **options: Any) -> VariantScorer:
    return VariantScorer(scorer.checkpoint, **{"window": 60, **options})


def log_probability(model: Any, window: str, at: int) -> torch.Tensor:
    """log p of A, C, G, T at a position that is masked: the plain way, one window alone."""
    ids = torch.cat([torch.tensor([CLS_ID]), read_nucleotides(window), torch.tensor([SEP_ID])])
    ids[at + 1] = MASK_ID
    with torch.inference_mode():
        return model(ids[None]).logits[0, at + 1, 5:9].log_softmax(-1)


def test_the_ratio_of_a_substitution_is_that_of_its_masked_base(scorer: VariantScorer) -> None:
    model = scorer.checkpoint.model
    start, ref, alt = variants()[0]
    left = TEXT[start - 29 : start]
    window = left + TEXT[start : start + 30]
    log_p = log_probability(model, window, 29)
    forward = float(log_p["ACGT".index(alt)] - log_p["ACGT".index(ref)])
    log_p = log_probability(model, reverse_complement(window), 29)
    reverse = float(log_p["TGCA".index(alt)] - log_p["TGCA".index(ref)])
    assert abs(forward) > 0.05
    assert abs(reverse - forward) > 1e-3
    one = alleles()[:1]
    for strand, expected in (("forward", forward), ("reverse", reverse), ("both", (forward + reverse) / 2)):
        found = score(with_options(scorer, strand=strand), TEXT, one)["llr"][0]
        assert found == pytest.approx(expected, abs=1e-5)


def test_the_ratio_of_an_insertion_is_that_of_all_bases_that_differ_and_one_on_each_side(
    scorer: VariantScorer,
) -> None:
    allele = Allele("c", 171, b"", to_ids("GATTC").tobytes())
    pair = cut_window(Genome.from_sequences(["c"], [TEXT]), allele, 60)
    assert (len(pair.left), len(pair.right)) == (27, 27)
    means = []
    for inserted in ("", "GATTC"):
        asked = TEXT[170] + inserted + TEXT[171]
        ids = [CLS_ID, *to_ids(TEXT[144:170]), *[MASK_ID] * len(asked), *to_ids(TEXT[172:198]), SEP_ID]
        with torch.inference_mode():
            log_p = scorer.checkpoint.model(torch.tensor([ids])).logits[0, :, 5:9].log_softmax(-1)
        rows = log_p[27 : 27 + len(asked)]
        means.append(np.mean([float(row["ACGT".index(base)]) for row, base in zip(rows, asked, strict=True)]))
    found = score(with_options(scorer, strand="forward"), TEXT, [allele])["llr"][0]
    assert found == pytest.approx(means[1] - means[0], abs=1e-5)


@pytest.mark.parametrize("layer", [-1, 0])
def test_distances_are_those_of_the_hidden_states(scorer: VariantScorer, layer: int) -> None:
    encoder = scorer.checkpoint.model.base_model
    found = score(with_options(scorer, strand="forward", layer=layer, scores=["distance"]), TEXT, alleles())
    for row, allele in enumerate(alleles()):
        pair = cut_window(Genome.from_sequences(["c"], [TEXT]), allele, 60)
        states = []
        for ids in (pair.with_ref(), pair.with_alt()):
            padded = torch.tensor([[CLS_ID, *ids, SEP_ID]])
            with torch.inference_mode():
                output = encoder(padded, output_hidden_states=True)
            states.append(output.hidden_states[layer][0, 1:-1] if layer == 0 else output.last_hidden_state[0, 1:-1])
        if len(allele.ref) != len(allele.alt):
            behind = -len(pair.right)
            states = [torch.cat([part[: len(pair.left)], part[behind:]]) for part in states]
        cosine = 1 - torch.cosine_similarity(states[0].double(), states[1].double(), dim=-1)
        assert found["cosine"][row] == pytest.approx(float(cosine.mean()), abs=1e-5)
        assert found["l2"][row] == pytest.approx(float((states[0] - states[1]).norm(dim=-1).mean()), rel=1e-4)
        assert found["l2"][row] > 1e-3


def test_distances_of_nearly_equal_rows_are_no_rounding() -> None:
    one = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    other = one + 1e-4 * torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    exact = 1 - torch.cosine_similarity(one.double(), other.double(), dim=-1)
    assert torch.allclose(position_distances(one, other)[0].double(), exact, rtol=1e-2, atol=0)


def test_swapping_ref_and_alt_flips_the_sign_and_nothing_else(scorer: VariantScorer) -> None:
    found = score(scorer, TEXT, alleles())
    for row, (start, ref, alt) in enumerate(variants()):
        swapped = TEXT[:start] + alt + TEXT[start + len(ref) :]
        genome = Genome.from_sequences(["c"], [swapped])
        back = score(scorer, swapped, [normal_form("c", start, alt, ref, genome.fetch)]).iloc[0]
        assert back["llr"] == pytest.approx(-found["llr"][row], abs=2e-5), (ref, alt)
        assert abs(back["llr"]) > 1e-4
        for name in ("cosine", "l2"):
            assert back[name] == pytest.approx(found[name][row], rel=1e-3, abs=1e-6)
        for level in (1, 2):
            assert back[f"changed_{level}"] == found[f"changed_{level}"][row]
            pairs = [one.partition(":")[2].split(">") for one in found[f"codes_{level}"][row].split("|") if one]
            assert [one.partition(":")[2].split(">")[::-1] for one in back[f"codes_{level}"].split("|") if one] == pairs


def on_the_other_strand(allele: Allele) -> Allele:
    ref, alt = (reverse_complement_array(np.frombuffer(part, np.uint8)).tobytes() for part in (allele.ref, allele.alt))
    return Allele("c", len(TEXT) - allele.end, ref, alt)


def test_both_strands_of_a_genome_give_the_same(scorer: VariantScorer) -> None:
    forward = score(scorer, TEXT, alleles())
    turned = [on_the_other_strand(one) for one in alleles()]
    reverse = score(scorer, reverse_complement(TEXT), turned)
    for name in SCORES:
        assert np.allclose(forward[name], reverse[name], rtol=1e-3, atol=1e-5), name
    # Read on the other strand, codes are those of the other strand's own reading.
    other = score(with_options(scorer, scores=["codes"], strand="reverse"), TEXT, alleles())
    assert other["changed_1"].tolist() == reverse["changed_1"].tolist()
    assert other["span_2"].tolist() == reverse["span_2"].tolist()


def test_scores_do_not_depend_on_the_batch(scorer: VariantScorer) -> None:
    mixed = [one for pair in itertools.combinations(alleles(), 2) for one in pair]
    together = score(scorer, TEXT, mixed)
    alone = pd.concat([score(scorer, TEXT, [one]) for one in mixed], ignore_index=True)
    small = score(with_options(scorer, batch_bases=1), TEXT, mixed)
    assert len({len(one.ref) - len(one.alt) for one in mixed}) > 3  # so that there is padding
    for other in (alone, small):
        for name in SCORES:
            assert np.allclose(together[name], other[name], rtol=0, atol=1e-5), name
        rest = [name for name in together if name not in SCORES]
        pd.testing.assert_frame_equal(together[rest], other[rest])


@pytest.mark.parametrize("window", [60, 126])
def test_code_changes_are_those_of_the_whole_record(scorer: VariantScorer, window: int) -> None:
    encoder = scorer.checkpoint.encoder
    found = score(with_options(scorer, scores=["codes"], window=window), TEXT, alleles())
    changed = 0
    for row, allele in enumerate(alleles()):
        alt = decode_ids(np.frombuffer(allele.alt, np.uint8)) if allele.alt else ""
        mutated = TEXT[: allele.start] + alt + TEXT[allele.end :]
        with torch.inference_mode():
            before, after = (
                encoder(read_nucleotides(text)[None], update_codebooks=False).codes[0].numpy()
                for text in (TEXT, mutated)
            )
        # The bases that both have, by their place in each.
        same = [*range(allele.start), *range(allele.end, len(TEXT))]
        if len(allele.ref) == len(allele.alt):
            same = [*range(len(TEXT))]
        shift = len(allele.alt) - len(allele.ref)
        for level in (1, 2):
            expected = [
                (at - allele.start, int(before[level - 1, at]), int(after[level - 1, there]))
                for at in same
                if before[level - 1, at] != after[level - 1, there := at + (shift if at >= allele.end else 0)]
            ]
            text = "|".join(f"{offset}:{old}>{new}" for offset, old, new in expected)
            assert found[f"codes_{level}"][row] == text
            assert found[f"changed_{level}"][row] == len(expected)
            assert found[f"span_{level}"][row] == (expected[-1][0] - expected[0][0] + 1 if expected else 0)
            changed += len(expected)
    assert changed > 20


def test_an_unknown_base_beside_an_indel_is_not_asked_for(scorer: VariantScorer) -> None:
    text = TEXT[:150] + "N" + TEXT[151:152] + "NN" + TEXT[154:]
    base = to_ids(text[151]).tobytes()
    other = to_ids("A" if text[151] != "A" else "C").tobytes()
    found = score(scorer, text, [Allele("c", 151, base, other), Allele("c", 151, base, b"")])
    assert np.isfinite(found["llr"][0])
    assert np.isnan(found["llr"][1])  # nothing that is known is left of the haplotype without the base
    assert np.isfinite(found[["cosine", "l2"]].to_numpy()).all()
    assert "-1" not in "".join(part.partition(":")[2] for part in "|".join(found["codes_1"]).split("|"))


def test_windows_are_moved_at_the_ends_of_a_record() -> None:
    genome = Genome.from_sequences(["c", "short"], [TEXT, "ACGTA"])
    for start, left, right in ((0, 0, 58), (3, 3, 55), (200, 29, 29), (398, 57, 1), (399, 58, 0)):
        pair = cut_window(genome, Allele("c", start, b"\x05", b"\x06"), 60)
        assert (len(pair.left), len(pair.right)) == (left, right)
        assert decode_ids(pair.left) == TEXT[start - left : start]
    pair = cut_window(genome, Allele("short", 2, b"\x07", b"\x06"), 60)
    assert (len(pair.left), len(pair.right)) == (2, 2)
    # Each haplotype fits, and the flanks do not depend on which of the alleles is REF.
    longer = cut_window(genome, Allele("c", 200, b"", b"\x05" * 20), 60)
    assert (len(longer.with_ref()), len(longer.with_alt())) == (40, 60)


def test_masked_codes_are_hidden_too(tiny_codec: VQDNACodecModel) -> None:
    """A model of `mask_level="code"` must not see the base through its own code, nor through its neighbours'."""
    torch.manual_seed(3)
    options = {**TINY_MODEL, "initializer_range": 0.4, "mask_level": "code"}
    model = VQDNAForMaskedLM.from_codec(tiny_codec, **options).eval()
    scorer = VariantScorer(load_checkpoint(model), ["llr"], window=60)
    found = [score(scorer, TEXT[:150] + base + TEXT[151:], [Allele("c", 150, to_ids(base).tobytes(), b"\x05")])
             for base in "CGT"]  # fmt: skip
    back = [score(scorer, TEXT[:150] + "A" + TEXT[151:], [Allele("c", 150, b"\x05", to_ids(base).tobytes())])
            for base in "CGT"]  # fmt: skip
    assert np.allclose([one["llr"][0] for one in found], [-one["llr"][0] for one in back], atol=1e-6)
    assert np.abs([one["llr"][0] for one in found]).min() > 1e-4


CALLS = [
    # chrom, pos, REF, ALT, what becomes of each ALT
    ("c", 151, "=", "A,C,G,T", [None, None, None, None]),
    ("c", 171, "=", "=GATTC", [None]),
    ("c", 231, "======", "=", [None]),
    ("c", 200, "=", "<DEL>,*", ["symbolic", "spanning_deletion"]),
    ("c", 201, "=", ".", ["no_alt"]),
    ("c", 202, "=", "G[c:5[,=NN", ["breakend", "ambiguous_base"]),
    ("c", 203, "N", "A", ["ambiguous_base"]),
    ("c", 210, "!", "A,<DEL>", ["ref_mismatch", "ref_mismatch"]),
    ("c", 0, "A", "C", ["outside_record"]),
    ("c", 399, "===A", "C", ["outside_record"]),
    ("c", 9999, "A", "C", ["outside_record"]),
    ("c", 212, "=", "=" + "ACGGT" * 12, ["too_long"]),
    ("decoy", 5, "A", "C", ["unknown_record"]),
    ("d", 3, "g", "tt", [None]),
    ("c", 1, "=", "=A", [None]),
]


def vcf_text(calls: list[Any] = CALLS, text: str = TEXT, contigs: str = "##contig=<ID=c,length=400>\n") -> str:
    lines = []
    for chrom, pos, ref, alt, _ in calls:
        here = text[pos - 1 : pos - 1 + len(ref)]
        if set(ref) & set("=!"):
            ref = "".join(
                base if mark == "=" else "CGTA"["ACGT".index(base)] if mark == "!" else mark
                for mark, base in itertools.zip_longest(ref, here, fillvalue="A")
            )
        alt = alt.replace("=", here[:1])
        lines.append(f"{chrom}\t{pos}\trs{len(lines)}\t{ref}\t{alt}\t.\tPASS\tDP=7\n")
    return f"##fileformat=VCFv4.3\n{contigs}" + "\t".join(COLUMNS) + "\n" + "".join(lines)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "g.fa").write_text(f">c\n{TEXT}\n>d\nACGTACGT\n")
    (tmp_path / "calls.vcf").write_text(vcf_text())
    return tmp_path


@pytest.fixture(scope="module")
def masked_lm_folder(strong_masked_lm: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mlm"
    strong_masked_lm.save_pretrained(folder)
    return folder


def test_what_becomes_of_each_allele(files: Path, strong_masked_lm: Any) -> None:
    output, table = files / "out.vcf.gz", files / "out.parquet"
    report = score_variants(strong_masked_lm, files / "g.fa", files / "calls.vcf", output, table, window=60)
    expected = [reason for call in CALLS for reason in call[-1]]
    # One of the four letters is REF itself.
    reasons = [reason for reason in expected if reason] + ["same_as_ref"]
    summary = report.summary
    assert (summary.records, summary.alleles, summary.scored) == (
        len(CALLS),
        len(expected),
        len(expected) - len(reasons),
    )
    assert dict(summary.skipped) == {reason: reasons.count(reason) for reason in set(reasons)}
    assert set(reasons) == set(SKIP_REASONS)
    here = TEXT[209]
    assert summary.examples == [f"line 11: REF of c:210 is {'CGTA'['ACGT'.index(here)]}, the genome has {here}"]
    assert any("is not sorted (line 7)" in note for note in summary.notes)
    text = str(summary)
    assert text.startswith(
        f"15 records with {len(expected)} alleles: {summary.scored} scored, {len(reasons)} left out\n"
    )
    assert f"\n    {summary.examples[0]}\n" in text

    rows = pd.read_parquet(table)
    assert rows[["chrom", "pos", "alt", "line", "allele"]].to_numpy().tolist()[-2:] == [
        ["d", 3, "tt", 17, 1], ["c", 1, TEXT[0] + "A", 18, 1]
    ]  # fmt: skip
    assert list(rows.columns) == [
        "chrom", "pos", "id", "ref", "alt", "line", "allele", "llr", "cosine", "l2", "changed_1", "span_1", "codes_1",
        "changed_2", "span_2", "codes_2",
    ]  # fmt: skip
    assert rows.notna().all().all()
    lines = iter(rows.to_dict("records"))
    with pysam.VariantFile(str(output)) as vcf:
        for record, call in zip(vcf, CALLS, strict=True):
            assert record.info["DP"] == "7"  # the header does not say that it is a number
            skipped = record.info.get("VQDNA_SKIPPED", (None,) * len(call[-1]))
            for number, alt in enumerate(record.alts or (".",)):
                wanted = call[-1][number] or ("same_as_ref" if alt == record.ref else None)
                assert (skipped[number] or None) in (wanted, "." if wanted is None else wanted)
                if wanted is None:
                    row = next(lines)
                    assert (row["pos"], row["alt"]) == (record.pos, alt)
                    for name in SCORES:
                        assert record.info[f"VQDNA_{name.upper()}"][number] == pytest.approx(row[name], rel=1e-5)
                    assert record.info["VQDNA_CHANGED_2"][number] == row["changed_2"]
                    assert (record.info["VQDNA_CODES_1"][number] or "") in (row["codes_1"], ".")
                elif "VQDNA_LLR" in record.info:
                    assert record.info["VQDNA_LLR"][number] is None
    assert next(lines, None) is None


def test_equal_spellings_have_equal_scores(files: Path, strong_masked_lm: Any) -> None:
    text = TEXT[:200] + "CACACACACA" + TEXT[210:]
    genome = Genome.from_sequences(["c"], [text])
    spellings = [
        (201, "CAC", "C"),
        (203, "CAC", "C"),
        (202, "ACA", "A"),
        (207, "CACA", "CA"),
        (201, text[200:210], text[200:208]),
    ]
    lines = "".join(f"c\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\n" for pos, ref, alt in spellings)
    (files / "x.vcf").write_text("##fileformat=VCFv4.3\n" + "\t".join(COLUMNS) + "\n" + lines)
    report = score_variants(strong_masked_lm, genome, files / "x.vcf", window=60)
    rows = report.table.to_pandas()
    assert len(rows) == len(spellings)
    assert rows["llr"].nunique() == rows["l2"].nunique() == rows["codes_2"].nunique() == 1
    assert report.summary.notes[0] == "the VCF's header declares no contigs: names were looked up in the genome"


def run(*words: Any) -> int:
    return main([str(word) for word in words])


def test_the_command_writes_what_the_function_gives(
    files: Path, masked_lm_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["variants", files / "g.fa", files / "calls.vcf", "-m", masked_lm_folder, "--window", 60]
    assert run(*words, "-o", files / "a.vcf.gz", "-t", files / "a.parquet") == 0
    assert "15 records with 21 alleles: 7 scored" in capfd.readouterr().err
    assert run(*words, "-o", files / "b.vcf", "-t", files / "b.tsv") == 0
    capfd.readouterr()
    assert run(*words, "-t", "-") == 0
    table = capfd.readouterr().out
    assert run(*words, "-o", "-") == 0
    annotated = capfd.readouterr().out
    assert (files / "b.tsv").read_text() == table
    assert (files / "b.vcf").read_text() == annotated
    with pysam.BGZFile(str(files / "a.vcf.gz")) as packed:
        assert packed.read().decode() == annotated
    again = [files / "c.vcf.gz", files / "c.parquet"]
    assert run(*words, "-o", again[0], "-t", again[1]) == 0
    assert [path.read_bytes() for path in again] == [(files / f"a.{end}").read_bytes() for end in ("vcf.gz", "parquet")]
    pd.testing.assert_frame_equal(
        pd.read_parquet(files / "a.parquet")[[*SCORES, "codes_1"]],
        pd.read_csv(io.StringIO(table), sep="\t", keep_default_na=False)[[*SCORES, "codes_1"]],
        check_dtype=False,
    )
    typed = io.TextIOWrapper(io.BytesIO((files / "calls.vcf").read_bytes().replace(b"\n", b"\r\n")))
    with mock.patch.object(sys, "stdin", typed):
        assert run("variants", files / "g.fa", "-", *words[3:], "-t", "-") == 0
    assert capfd.readouterr().out == table
    assert not [path for path in files.iterdir() if path.suffix in (".parts", ".unfinished")]


def test_a_vcf_of_headers_alone(files: Path, tiny_codec: VQDNACodecModel) -> None:
    (files / "calls.vcf").write_text(vcf_text([]))
    report = score_variants(
        tiny_codec, files / "g.fa", files / "calls.vcf", files / "o.vcf", files / "o.parquet", scores=["codes"]
    )
    assert (report.summary.records, report.summary.scored) == (0, 0)
    assert pd.read_parquet(files / "o.parquet").columns.tolist()[-1] == "codes_2"
    with open_vcf(files / "o.vcf") as vcf:
        assert list(vcf) == []
        assert b"##INFO=<ID=VQDNA_CODES_2,Number=A" in b"\n".join(vcf.meta)


def refusal(capfd: pytest.CaptureFixture[str], *words: Any) -> str:
    """The one line of an error."""
    assert run("variants", *words) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_head_that_is_missing(
    files: Path, tiny_codec: VQDNACodecModel, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tiny_codec.save_pretrained(files / "codec")
    VQDNAForSequenceClassification.from_codec(tiny_codec, **TINY_MODEL).save_pretrained(files / "tuned")
    capfd.readouterr()
    words = [files / "g.fa", files / "calls.vcf", "-t", files / "o.tsv", "--window", "60"]
    message = refusal(capfd, *words, "-m", files / "tuned")
    assert "tuned has no masked-LM head (it was saved as VQDNAForSequenceClassification)" in message
    assert message.endswith("or ask for less: --scores distance,codes")
    assert refusal(capfd, *words, "-m", files / "codec").endswith("or ask for less: --scores codes")
    assert "has no backbone" in refusal(capfd, *words, "-m", files / "codec", "--scores", "distance")
    assert not (files / "o.tsv").exists()
    assert run("variants", *words, "-m", files / "tuned", "--scores", "distance,codes") == 0
    columns = (files / "o.tsv").read_text().splitlines()[0].split("\t")
    assert columns[7:] == ["cosine", "l2", "changed_1", "span_1", "codes_1", "changed_2", "span_2", "codes_2"]
    assert run("variants", *words, "-m", files / "codec", "--scores", "codes") == 0
    assert (files / "o.tsv").read_text().splitlines()[0].split("\t")[7:] == columns[9:]


REFUSED = {
    "mismatch": ("c\t5\t.\t!\tA", ["--strict"], "line 4: REF of c:5 is !, the genome has =: is it the right genome? ("),
    "outside": ("c\t401\t.\tA\tC", ["--strict"], "line 4: c:401 lies outside the record's 400 bases"),
    "unknown": ("decoy\t5\t.\tA\tC\t.\t.\t.\nc\t1\t.\t.\tC", ["--strict"], "line 4: "),
    "all unknown": ("decoy\t5\t.\tA\tC", [], "has no record 'decoy'"),
    "other spelling": ("chrd\t1\t.\tA\tC", [], "'--rename auto' would read it as 'd'"),
    "late fault": ("c\t5\t.\t=\tA\t.\t.\t.\nc\t6\t.\tA-\tC", [], "line 5: REF 'A-' is no sequence of bases"),
    "score": ("c\t5\t.\t=\tA", ["--scores", "llr, llr,other"], "scores 'other': choose of llr,distance,codes"),
    "strand": ("c\t5\t.\t=\tA", ["--strand", "sense"], "strand 'sense': choose one of forward, reverse, both"),
    "window": ("c\t5\t.\t=\tA", ["--window", "500"], "window=500: this model reads 1 to 126 nucleotides at once"),
    "small window": ("c\t5\t.\t=\tA", ["--window", "51"], "window=51: alleles of up to 50 bases"),
    "zero window": ("c\t5\t.\t=\tA", ["--window", "0"], "window=0"),
    "unused layer": ("c\t5\t.\t=\tA", ["--scores", "llr", "--layer", "7"], "layer=7: this model has hidden states"),
    "layer": ("c\t5\t.\t=\tA", ["--layer", "7"], "layer=7: this model has hidden states 0..1, or -2..-1"),
    "length": ("c\t5\t.\t=\tA", ["--max-length", "0"], "max_length=0: "),
    "rename": ("c\t5\t.\t=\tA", ["--rename", "none.tsv"], "none.tsv: no such file"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name: str, files: Path, masked_lm_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    body, options, message = REFUSED[name]
    here = TEXT[4]
    body = body.replace("!", "CGTA"["ACGT".index(here)]).replace("\t=\t", f"\t{here}\t")
    (files / "calls.vcf").write_text(vcf_text([]) + f"{body}\t.\t.\t.\n")
    if name == "mismatch":
        message = message.replace("!", "CGTA"["ACGT".index(here)]).replace("=", here)
    words = [files / "g.fa", files / "calls.vcf", "-m", masked_lm_folder, "-o", files / "o.vcf.gz", *options]
    assert message in refusal(capfd, *words)
    assert sorted(path.name for path in files.iterdir()) == ["calls.vcf", "g.fa"]


def test_outputs_that_cannot_be(files: Path, masked_lm_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = [files / "g.fa", files / "calls.vcf", "-m", masked_lm_folder]
    assert "nothing to write: give --output" in refusal(capfd, *words)
    assert "must end in one of .vcf .vcf.gz .vcf.bgz" in refusal(capfd, *words, "-o", files / "o.parquet")
    assert "must end in one of .parquet .tsv .tsv.gz" in refusal(capfd, *words, "-t", files / "o.vcf")
    assert "is the input: write to another file" in refusal(capfd, *words, "-o", files / "calls.vcf")
    assert "there is no folder" in refusal(capfd, *words, "-o", files / "none" / "o.vcf")
    assert "give --table a file" in refusal(capfd, *words, "-o", "-", "-t", "-")
    assert "cannot both come from standard input" in refusal(capfd, "-", "-", *words[2:], "-o", files / "o.vcf")
    assert (files / "calls.vcf").read_text() == vcf_text()


def test_names_are_matched_on_request(files: Path, tiny_codec: VQDNACodecModel) -> None:
    (files / "calls.vcf").write_text(
        vcf_text().replace("\nc\t", "\nchrc\t").replace("ID=c,length=400", "ID=chrc,length=9")
    )
    with pytest.raises(ValueError, match=r"calls\.vcf, line 4: .*'--rename auto' would read it as 'c'"):
        score_variants(tiny_codec, files / "g.fa", files / "calls.vcf", scores=["codes"])
    report = score_variants(tiny_codec, files / "g.fa", files / "calls.vcf", scores=["codes"], rename="auto")
    assert report.summary.scored == 7
    assert report.table["chrom"].to_pylist()[0] == "chrc"
    assert report.summary.notes[0] == (
        "the VCF's header says that chrc has 9 bases, the genome has 400: is it the right genome?"
    )


@pytest.mark.parametrize("contigs", ["", "##contig=<ID=chrc,length=400,assembly=x>\n"])
def test_the_annotated_copy_can_be_made_into_bcf(contigs: str, files: Path, tiny_codec: VQDNACodecModel) -> None:
    calls = [("chrc", 9, "=", "A,C,G,T", None), ("decoy", 5, "A", "C", None), ("d", 3, "G", "TT", None)]
    (files / "calls.vcf").write_text(
        vcf_text(calls, contigs=contigs + '##INFO=<ID=DP,Number=1,Type=Integer,Description="x">\n')
    )
    words = [tiny_codec, files / "g.fa"]
    score_variants(*words, files / "calls.vcf", files / "o.vcf.gz", scores="codes, codes", rename="auto")
    with (
        pysam.VariantFile(str(files / "o.vcf.gz")) as vcf,
        pysam.VariantFile(str(files / "o.bcf"), "wb", header=vcf.header) as bcf,
    ):
        expected = [str(record) for record in vcf if bcf.write(record) == 0]
    with pysam.VariantFile(str(files / "o.bcf")) as bcf:
        assert [str(record) for record in bcf] == expected
        assert len(expected) == 3
        assert [(name, bcf.header.contigs[name].length) for name in bcf.header.contigs] == [
            ("chrc", 400), ("decoy", None), ("d", 8)
        ]  # fmt: skip
    with open_vcf(files / "o.vcf.gz") as vcf:
        declared = [line for line in vcf.meta if line.startswith(b"##contig")]
    assert declared[0] == (contigs.strip().encode() or b"##contig=<ID=chrc,length=400>")
    assert declared[1:] == [b"##contig=<ID=decoy>", b"##contig=<ID=d,length=8>"]
    # What is annotated again declares nothing twice.
    score_variants(*words, files / "o.vcf.gz", files / "again.vcf.gz", scores="codes", rename="auto")
    assert (files / "again.vcf.gz").read_bytes() == (files / "o.vcf.gz").read_bytes()


def test_many_mismatches_are_remarked(files: Path, tiny_codec: VQDNACodecModel) -> None:
    (files / "calls.vcf").write_text(vcf_text([("c", at, "!", "A", [None]) for at in range(10, 20)]))
    report = score_variants(tiny_codec, files / "g.fa", files / "calls.vcf", scores=["codes"])
    assert (report.summary.scored, len(report.summary.examples)) == (0, 3)
    assert "so many REFs differ that the VCF may be of another genome or assembly" in str(report.summary)


def test_indels_of_dbsnp(vqdna_data: Path, tiny_codec: VQDNACodecModel, tmp_path: Path) -> None:
    """3,502 variants in the format of hisat2 (0-based, without anchors), made into a VCF: all fit the genome."""
    fasta = vqdna_data / "genomes" / "human" / "Homo_sapiens_hg19_chr22_20-21M.fa.gz"
    lines = []
    with Genome.open(fasta) as genome:
        name = genome.names[0]
        for row in (vqdna_data / "variants" / "dbsnp_chr22_20-21M.snp").read_text().splitlines():
            identifier, kind, _, at, what = row.split("\t")
            start = int(at) - (kind != "single")
            ref = decode_ids(genome.fetch(name, start, start + 1 + (int(what) if kind == "deletion" else 0)))
            alt = {"single": what, "deletion": ref[0], "insertion": ref[0] + what}[kind]
            lines.append(f"{name}\t{start + 1}\t{identifier}\t{ref}\t{alt}\t.\t.\t.\n")
        (tmp_path / "x.vcf").write_text("##fileformat=VCFv4.3\n" + "\t".join(COLUMNS) + "\n" + "".join(lines[::7]))
        report = score_variants(tiny_codec, genome, tmp_path / "x.vcf", scores=["codes"], strict=True)
    summary = report.summary
    assert summary.alleles == len(lines[::7]) == 501
    assert summary.skipped["ref_mismatch"] == 0
    assert summary.scored + summary.skipped["too_long"] + summary.skipped["same_as_ref"] == 501
    assert summary.scored > 490
