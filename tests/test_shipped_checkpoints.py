# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Published weights go on saying what they said: each folder of `checkpoints/` against stored codes and logits.

`python tests/test_shipped_checkpoints.py checkpoints/NAME` stores what a new checkpoint says, in
`tests/shipped/NAME.json`. The sequences are simulated, and of every kind: one base, N, lower case, RNA, long.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from vqdna_hf.data import decode_ids, simulate_genome
from vqdna_hf.data.files import write_json
from vqdna_hf.model.tokenization_vqdna import FIRST_NUCLEOTIDE_ID, NUM_NUCLEOTIDES

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = sorted(path.parent for path in (ROOT / "checkpoints").glob("*/config.json"))
STORED = Path(__file__).parent / "shipped"

# Another processor sums in another order: a code on the edge between two entries may tip over, and moves what its
# neighbours read. On the machine that stored them all are equal.
CODES_THAT_MAY_DIFFER = 0.002
LOGIT_TOLERANCE = 2e-3
LOGITS_THAT_MAY_DIFFER = 0.02

ODD = ["A", "acgtacgtnnacgu", "N" * 12, "ACGTRYKMACGTACGTACGT", "CGTGTTCCTGAAGGGGGGCTATAAAAGGGGGTGGGGGCGCGTTCGTCC"]


def sequences() -> list[str]:
    """Twenty."""
    simulated = [decode_ids(simulate_genome(24 * (seed + 1), seed=seed)) for seed in range(20 - len(ODD))]
    return [*ODD, *simulated]


@torch.no_grad()
def answers(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    """Codes (Q, L) and logits of A, C, G and T (L, 4) of each sequence, alone and unpadded."""
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True).eval()
    found = []
    for text in texts:
        output = model(**tokenizer(text, return_tensors="pt"))
        logits = output.logits[0, 1:-1, FIRST_NUCLEOTIDE_ID : FIRST_NUCLEOTIDE_ID + NUM_NUCLEOTIDES].float()
        codes = output.codes[0, :, 1:-1].tolist()
        found.append(
            {"sequence": text, "codes": codes, "logits": [[round(x, 4) for x in row] for row in logits.tolist()]}
        )
    return found


def compare(found: list[dict[str, Any]], stored: list[dict[str, Any]]) -> None:
    """Raises AssertionError where more differs than another processor's rounding explains."""
    codes, logits = (
        [torch.cat([torch.tensor(one[name]).flatten() for one in answers_]) for answers_ in (found, stored)]
        for name in ("codes", "logits")
    )
    assert codes[0].shape == codes[1].shape
    assert (codes[0] != codes[1]).float().mean() <= CODES_THAT_MAY_DIFFER
    assert ((logits[0] - logits[1]).abs() > LOGIT_TOLERANCE).float().mean() <= LOGITS_THAT_MAY_DIFFER


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_says_what_it_said(folder: Path) -> None:
    stored = json.loads((STORED / f"{folder.name}.json").read_text())
    assert len(stored) == 20
    compare(answers(folder, [one["sequence"] for one in stored]), stored)


def test_the_guard_sees_other_codes_and_other_logits() -> None:
    stored = [{"codes": [[1, 2, 3, 4]] * 2, "logits": [[0.1, 0.2, 0.3, 0.4]] * 4}]
    compare(stored, stored)
    compare([{**stored[0], "logits": [[0.1, 0.2, 0.3, 0.401]] * 4}], stored)
    for change in ({"codes": [[1, 2, 3, 5], [1, 2, 3, 4]]}, {"logits": [[0.1, 0.2, 0.3, 0.41]] * 4}):
        with pytest.raises(AssertionError):
            compare([{**stored[0], **change}], stored)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        STORED.mkdir(exist_ok=True)
        write_json(STORED / f"{Path(name).name}.json", answers(Path(name), sequences()))
