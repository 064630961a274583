# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""A number in a card's free text passes if the runs know it, and only then."""

import pytest
from run_folders import MLM_RESULTS, pretrained, record

from vqdna_hf.hub.prose import Numbers, check_prose

RESULTS = {"eval_matthews_correlation": 0.64689, "eval_f1": 0.97, "eval_runtime": 0.91, "epoch": 0.93}


@pytest.fixture(scope="module")
def numbers() -> Numbers:
    """What a run of stage 3 and the runs behind it know, and one standard deviation."""
    tuned = record("classification", 0, {**RESULTS, "eval_perplexity": 223.2035}, [])
    tuned["recipe"] |= {"decay": 0.95, "mask_probability": 0.25, "num_hidden_layers": 3, "lora_r": 8}
    mlm = pretrained()
    found = Numbers.of([tuned, mlm, mlm["parents"][0]], [0.0123])
    found.named.append(("seeds", 3.0))
    return found


@pytest.mark.parametrize(
    "text",
    [
        "Trained in 2026, after the paper of 2024 (ICML 2024, arXiv 2405.10812).",
        "Each code sees 17 nt.",
        "GRCh38, chr22, chromosome 16, H3K4me3, E. coli K-12, NC_000913.3, DNABERT-2, 16S rRNA, the 5' end, 6-mers.",
        "Test MCC 0.647 ± 0.012 over 3 seeds.",
        "Test MCC 0.65.",
        "An F1 of 97 %, or 97.0 percent.",
        "MCC and F1 stand in the table.",
        "A perplexity of 223.",
        "A perplexity of 3.8 is close to 4 letters drawn at random.".replace("4 letters", "four letters"),
        "35.4 % of the masked nucleotides.",
        "With 0.7 M parameters, of 40 Mb and 40,000,000 bases, or 40 million.",
        "A decay of 0.95; mask_probability 25 %; learning rate 1e-3, learning_rate 0.001.",
        "Stage 3 has 3 layers; level 2 is the fine one.",
        "From Homo_sapiens_chr21.fa.gz with torch 2.13.0+cpu on Python 3.11.7.",
        "https://example.org/v1.2/3",
        "",
    ],
)
def test_these_pass(text: str, numbers: Numbers) -> None:
    check_prose(text, numbers, "summary")


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("MCC 0.91", "0.91"),
        ("MCC .91", ".91"),
        ("MCC=0.91", "0.91"),
        ("MCC0.91", "0.91"),
        ("MCC-91", "91"),
        ("acc98", "98"),
        ("**0.91** MCC", "0.91"),
        ("MCC \uff10.\uff19\uff11", "0.91"),  # full-width digits
        ("An accuracy of 0,91", "0.91"),
        ("accuracy 95 %", "95 %"),
        ("95%", "95%"),
        ("95 percent", "95 percent"),
        ("ninety-five per cent", "ninety-five per cent"),
        ("zero point nine", "point nine"),
        ("9 out of 10 promoters", "9 out of 1"),
        ("9/10", "9/1"),
        ("\u00bd of them", "1\u20442"),
        ("an accuracy of 1", "1"),
        ("an accuracy of 1.0", "1.0"),  # the F1 of 0.97 is none
        ("usage is 100 %", "100 %"),
        ("It gets 0.95.", "0.95"),  # the decay, which this sentence is not about
        ("An F1 of 0.98", "0.98"),
        ("MCC 0.6468", "0.6468"),  # not how 0.64689 is rounded
        ("Evaluation gave 0.91.", "0.91"),  # the evaluation's seconds
        ("p < 0.05", "0.05"),
        ("1e-9", "1e-9"),
        ("five times as good: 5x", "5"),
        ("An AUROC of 2024", "2024"),
        ("a perplexity of 512", "512"),  # the number of windows
        ("16 M parameters", "16 M"),
        ("7 layers", "7"),
        ("MCC is high.\nIt is 0.91.", "0.91"),
        ("trained on 9,999 genomes", "9,999"),
    ],
)
def test_these_are_refused_by_name(text: str, token: str, numbers: Numbers) -> None:
    with pytest.raises(ValueError, match="was not measured by these runs") as error:
        check_prose(text, numbers, "limits")
    assert str(error.value).startswith(f"limits: {token!r} in ")


def test_means_over_seeds_count_as_measured() -> None:
    with pytest.raises(ValueError, match=r"'0\.33'"):
        check_prose("Accuracy 0.33.", Numbers.of([record("mlm", 0, MLM_RESULTS, [])]), "summary")
    check_prose("Accuracy 0.33.", Numbers.of([record("mlm", 0, MLM_RESULTS, [])], [0.3333]), "summary")
