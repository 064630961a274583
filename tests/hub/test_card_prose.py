# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A card's free text holds the numbers of the card's own records, and none beside a metric."""

import pytest

from vqdna_hf.hub.prose import boasts, check_prose, number_tokens

CARD = """
| file | accession | bases | weight |
| Homo_sapiens_chr21.fa.gz | NC_000021.9 | 40,000,000 | 3 |
One seed (7). A code depends on 17 nucleotides. torch 2.13.0+cpu, 716,034 parameters.
python examples/run_mlm.py --learning_rate 0.001 --mask_probability 0.25 --max_steps 300
"""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It tells promoters from other sequences.",
        "MCC and F1 stand in the table; so does the f1-score.",
        "It is better than chance. It read 40,000,000 bases.",
        "Each code sees 17 nt, that is 17 nucleotides.",
        "From Homo_sapiens_chr21.fa.gz (NC_000021.9), with torch 2.13.0+cpu, 300 steps and seed 7.",
        "GRCh38, chr22, hg19, H3K4me3, E. coli K-12, DNABERT-2, 16S rRNA, the 5' end, 6-mers, VQDNA-HRQ.",
        "After arXiv 2405.10812 (https://arxiv.org/abs/2405.10812).",
        "One of its uses: it was trained once.",
    ],
)
def test_these_pass(text: str) -> None:
    check_prose(text, number_tokens(CARD), "summary")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("MCC 0.91", "0.91"),
        ("MCC .91", ".91"),
        ("MCC=0.91", "MCC=0.91"),
        ("MCC-91", "MCC-91"),
        ("acc98", "acc98"),
        ("A perfect MCC 1.0", "1.0"),
        ("version 99 MCC", "99"),
        ("MCC chr99", "chr99"),
        ("accuracy 97D", "97D"),
        ("An accuracy of 0,91", "0,91"),
        ("accuracy 95 %", "95"),
        ("95%", "95%"),
        ("95 percent", "95"),
        ("95 per cent", "95"),
        ("950 \u2030", "950"),
        ("F1 of 7", "7"),
        ("F1: 0.97", "0.97"),
        ("MCC after 300 steps", "300"),  # true, but beside a metric
        ("rank 1 of GUE", "1"),
        ("State-of-the-art on 7 tasks", "7"),
        ("twice as good as DNABERT-2", "DNABERT-2"),
        ("Five times as fast", "five"),
        ("Ninety-nine per cent", "ninety"),
        ("an accuracy of zero point nine", "zero"),
        ("nine tenths of test sequences are right", "nine"),
        ("all but one in a hundred", "one"),
        # In disguise.
        ("MCC \u2168", "9"),
        ("MCC \uff17", "7"),
        ("MCC \u4e5d", "9"),
        ("\uff2d\uff23\uff23 7", "7"),
        ("M\u200bCC 7", "7"),
        ("MC**C** 7", "7"),
        ("MC<b>C</b> 7", "7"),
        ("MC&#67; 7", "7"),
        ("MCC\n\n7", "7"),
        ("| MCC |\n|---|\n| 7 |", "7"),
        ("The MCC is high. 7 it is.", "7"),
    ],
)  # fmt: skip
def test_no_number_stands_beside_a_metric(text: str, number: str) -> None:
    with pytest.raises(ValueError, match="the card's table says what was measured: leave the number out") as error:
        check_prose(text, number_tokens(CARD), "limits")
    assert str(error.value).startswith(f"limits: {number!r} in ")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Evaluation gave 0.91.", "0.91"),
        ("It gets .7.", ".7"),
        ("It gets 0.25.", "0.25"),  # the recipe's, which in a sentence may mean anything
        ("p < 0.05", "0.05"),
        ("1e-9", "1e-9"),
        ("9/10", "9/10"),
        ("3/7 of them", "3/7"),
        ("\u00bd of them", "0.5"),
        ("ninety-nine hundredths", "ninety"),
        ("half of the promoters", "half"),
        ("nine of ten promoters", "nine"),
        ("two codebooks", "two"),
        ("trained on 2024 species", "2024"),
        ("trained in 2026", "2026"),
        ("trained on 9,999 genomes", "9,999"),
        ("40 Mb, 40 million bases", "40"),
        ("716,034.5 parameters", "716,034.5"),
        ("Homo_sapiens_chr22.fa.gz", "Homo_sapiens_chr22.fa.gz"),
        ("about99", "about99"),
        ("https://example.org/0.99", "https://example.org/0.99"),
        ("MCC is high.\nIt is 0.91.", "0.91"),
    ],
)
def test_elsewhere_a_number_is_one_that_the_card_says(text: str, number: str) -> None:
    with pytest.raises(ValueError, match="is no whole number or name from the records") as error:
        check_prose(text, number_tokens(CARD), "limits")
    assert str(error.value).startswith(f"limits: {number!r} in ")


@pytest.mark.parametrize("name", ["labels MCC 0.99", "lab/vqdna-mcc99", "lab/sota-0.99", "lab/99-percent", "f1_99"])
def test_names_that_boast(name: str) -> None:
    assert boasts(name)


@pytest.mark.parametrize("name", ["lab/vqdna-16m-v2", "prom_300_notata", "H3K14ac", "mouse_0", "splice-f1", "chr1.fa"])
def test_names_that_do_not(name: str) -> None:
    assert not boasts(name)
