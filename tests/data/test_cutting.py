# Copyright 2026 The vqdna_hf authors. Licensed under the Apache License, Version 2.0.
"""Windows of a corpus against a slow and plain way to cut them."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqdna_hf.data.cutting import CutPolicy, Span, cut_windows, spans_of
from vqdna_hf.data.genome import Genome

COMPLEMENT = str.maketrans("ACGTNacgtn", "TGCANtgcan")
Row = tuple[str, int, int, bool, int, int, int]


def other_strand(text: str) -> str:
    return text[::-1].translate(COMPLEMENT)


def cut_slowly(text: str, policy: CutPolicy) -> tuple[list[Row], Counter[str]]:
    """Sequence, start, end, reverse, N, GC, soft-masked of each window; and how many were left out."""
    rows, dropped = [], Counter()
    for start in range(0, len(text), policy.step):
        stop = min(start + policy.window, len(text))
        window = text[start:stop]
        soft = sum(letter.islower() for letter in window)
        shown = (
            "".join("N" if letter.islower() else letter for letter in window) if policy.soft_mask == "mask" else window
        )
        upper = shown.upper()
        reason = None
        if len(window) < policy.shortest:
            reason = "short"
        elif upper.count("N") > policy.max_n_fraction * len(window):
            reason = "n"
        elif policy.soft_mask == "drop" and soft > policy.max_soft_fraction * len(window):
            reason = "soft_masked"
        if reason:
            dropped[reason] += 1
        else:
            reverse = policy.strand == "canonical" and other_strand(upper) < upper
            letters = shown if policy.soft_mask == "keep" else upper
            gc = upper.count("G") + upper.count("C")
            rows.append(
                (other_strand(letters) if reverse else letters, start, stop, reverse, upper.count("N"), gc, soft)
            )
        if stop == len(text):
            break
    return rows, dropped


def cut(text: str, policy: CutPolicy, span_bases: int) -> tuple[list[Row], dict[str, int], Any]:
    genome = Genome.from_sequences(["a"], [text])
    spans = [(span, False) for span in spans_of(genome, "a", policy, span_bases)]
    table, dropped = cut_windows(genome, spans, policy)
    names = ["sequence", "start", "end", "reverse", "n", "gc", "soft_masked"]
    return list(zip(*(table[name].to_pylist() for name in names), strict=True)), dropped, table


policies = st.builds(
    CutPolicy,
    window=st.integers(1, 12),
    stride=st.none() | st.integers(1, 20),
    min_bases=st.none() | st.just(1),
    max_n_fraction=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    soft_mask=st.sampled_from(["ignore", "keep", "drop", "mask"]),
    max_soft_fraction=st.sampled_from([0.0, 0.5]),
    strand=st.sampled_from(["forward", "canonical"]),
)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ACGTNacgtn", min_size=1, max_size=60), policies, st.integers(1, 40))
def test_windows_are_those_of_the_slow_way(text: str, policy: CutPolicy, span_bases: int) -> None:
    expected, dropped = cut_slowly(text, policy)
    rows, counts, _ = cut(text, policy, span_bases)
    assert rows == expected
    assert counts == dropped


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.text(alphabet="ACGT", max_size=9)), min_size=1, max_size=6),
    st.integers(1, 5),
    st.integers(1, 8),
)
def test_runs_of_n_split_records(parts: list[tuple[int, str]], least: int, window: int) -> None:
    text = "".join("N" * gap + letters for gap, letters in parts) + "A"
    policy = CutPolicy(window=window, min_bases=1, split_n=least, max_n_fraction=1)
    borders = [match.span() for match in re.finditer(f"N{{{least},}}", text)]
    edges = [0, *(place for border in borders for place in border), len(text)]
    pieces = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
    expected = [(start, min(start + window, end)) for begin, end in pieces for start in range(begin, end, window)]
    rows, _, _ = cut(text, policy, 7)
    assert [row[1:3] for row in rows] == expected
    assert all(text[start:end] == row[0] for row, (start, end) in zip(rows, expected, strict=True))


def test_long_runs_of_n_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqdna_hf.data.cutting.SPAN_BASES", 4)
    genome = Genome.from_sequences(["a"], ["NNNNNNNNNACGTNNACNNNNNNNNNNNNNGGN"])
    policy = CutPolicy(window=50, split_n=3)
    assert [span[1:] for span in spans_of(genome, "a", policy)] == [(9, 17), (30, 33)]


def test_digests_are_equal_for_equal_windows_on_either_strand() -> None:
    text = "ACGTTA" + "TAACGT" + "acgtta" + "ACGTTC"
    digests = cut(text, CutPolicy(window=6), 100)[2]["digest"].to_pylist()
    assert digests[0] == digests[1] == digests[2] != digests[3]
    assert all(len(digest) == 16 for digest in digests)


def test_several_spans_and_held_out_flags() -> None:
    genome = Genome.from_sequences(["a", "b"], ["ACGTAC", "GG"])
    spans = [(Span("b", 0, 2), True), (Span("a", 0, 6), False), (Span("a", 1, 2), True)]
    table, dropped = cut_windows(genome, spans, CutPolicy(window=4, min_bases=2))
    assert table["name"].to_pylist() == ["b", "a", "a"]
    assert table["sequence"].to_pylist() == ["GG", "ACGT", "AC"]
    assert table["held_out"].to_pylist() == [True, False, False]
    assert dropped == {"short": 1}
    empty, _ = cut_windows(genome, spans[2:], CutPolicy(window=4))
    assert empty.schema == table.schema
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"min_bases": 600}, "min_bases is 600: no window of 512 bases would be left"),
        ({"max_n_fraction": 1.5}, r"max_n_fraction is 1\.5"),
        ({"max_soft_fraction": float("nan")}, "max_soft_fraction is nan"),
        ({"soft_mask": "hide"}, "soft_mask is 'hide': choose one of ignore, keep, drop, mask"),
        ({"strand": "reverse"}, "strand is 'reverse': choose one of forward, both, canonical"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CutPolicy(**options)
