"""Numbers in a card's free text: one that the runs do not know is refused."""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_METRIC_WORDS = (
    r"mcc|matthews|accurac\w*|acc|f1|f-score|auc\w*|auroc|auprc|precision|recall|sensitivity|specificity|usage|"
    r"perplexit\w*|loss|error|pearson|spearman|correlation\w*|scores?"
)
_METRIC = re.compile(rf"\b(?:{_METRIC_WORDS})\b", re.IGNORECASE)
_UNBOUNDED = re.compile(r"\b(?:perplexit\w*|loss|error)\b", re.IGNORECASE)
_COUNTED = re.compile(
    r"\s*-?\s*(?:seeds?|runs?|layers?|levels?|heads?|class(?:es)?|labels?|epochs?|files?|genomes?|species|codebooks?|"
    r"windows?|sequences?|records?|bases?|steps?|nt|bp|entries|parameters?|codes?|tokens?|process(?:es)?|GPUs?|"
    r"(?:CPU )?cores?|threads?|nucleotides?|positions?)\b"
)
_PLACES = "stage|level|chapter|section|figure|table|version|chromosome|chr|exon|intron|type|step|seed|python"
# Names that hold digits and are no measurement. What begins with a metric's word is never a name: "MCC-91".
_NAMES = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"https?://\S+",
        r"\barxiv[:\s]\s*\d{4}\.\d{4,5}(?:v\d+)?\b",
        r"\bdoi[:\s]\s*10\.\d{4,}/\S+",
        r"\b[a-z]{1,6}_?\d{5,}\.\d{1,2}\b",  # accessions with their version: NC_000913.3, MN908947.3
        r"\b1000\s?G(?:enomes)?\b",
        rf"\b(?:{_PLACES})s?\s\d+(?![\d.]*\d|\s?%)",
        r"(?<![\w.])[53]['\u2032](?!\w)",  # ends of a strand
        r"(?<![\w.])\d{1,2}(?:-mers?|S|mC|mA|-?D)\b",
        rf"(?<![\w.])(?!(?:{_METRIC_WORDS}(?<!f1))[-_]?\d)[a-z][a-z_]*(?:-?\d+[a-z_]*)+(?![\d%]|\.\d|\s?%)",
    )
]
_YEAR = range(1950, 2051)
_RATIO = re.compile(r"\d\s*(?:/|\u2044)\s*\d|\d\s+(?:out\s+of|in\s+every|of\s+every|in)\s+\d", re.IGNORECASE)
_WORDS = (
    r"(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|"
    r"seventy|eighty|ninety|hundred)"
)
_SPELT = re.compile(rf"(?<!\d)(?<!\d\s)\b[a-z-]+\s+per\s?cent\b|\bpoint\s+{_WORDS}\b", re.IGNORECASE)
_SCALES = {"k": 3, "thousand": 3, "m": 6, "million": 6, "g": 9, "billion": 9}
_TOKEN = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+|\d+)(?P<exponent>e[-+]?\d+)?"
    r"(?:\s?(?P<percent>%|\u2030|per\s?cent|pct)|\s?(?P<scale>[kMG])(?:b|bp|nt)?\b|\s?(?P<word>thousand|[mb]illion)\b)?",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_SKIPPED = ("runtime", "per_second", "epoch")


@dataclass
class Numbers:
    """What a card's text may say.

    Args:
        metrics: everything that was measured, and means and standard deviations of it.
        named: arguments, sizes and counts, each with its key.
        texts: names that hold digits: of files, species, accessions, devices, versions.

    Example:

    >>> numbers = Numbers(metrics=[0.64689], named=[("window", 128)], texts={"chr22.fa"})
    >>> check_prose("MCC 0.647 on windows of 128 nt of chr22.fa (GRCh38).", numbers, "summary")
    >>> check_prose("MCC 0.91.", numbers, "summary")
    Traceback (most recent call last):
    ...
    ValueError: summary: '0.91' in 'MCC 0.91.' was not measured by these runs: leave it out, or say what they measured
    """

    metrics: list[float] = field(default_factory=list)
    named: list[tuple[str, float]] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]], more: Sequence[float] = ()) -> "Numbers":
        """Collect them from the records of runs; `more` are means and standard deviations."""
        numbers = cls(metrics=[value for value in more if math.isfinite(value)])
        for record in records:
            for metrics in record.get("results", {}).values():
                numbers.metrics += [
                    float(value)
                    for key, value in metrics.items()
                    if _is_number(value) and not key.endswith(_SKIPPED)
                ]  # fmt: skip
            for key, value in _leaves({name: part for name, part in record.items() if name != "results"}):
                if _is_number(value):
                    numbers.named.append((key, float(value)))
                elif isinstance(value, str) and re.search(r"\d", value):
                    numbers.texts.add(value)
            rows = record.get("data", [])
            numbers.named.append(("files", len(rows)))
            for name in ("train_bases", "held_out_bases", "train_records", "held_out_records"):
                numbers.named.append((name, sum(row.get(name, 0) for row in rows)))
            numbers.named.append(
                ("bases", sum(row.get("train_bases", 0) + row.get("held_out_bases", 0) for row in rows))
            )
        return numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """(the nearest key, value) of everything in nested dictionaries and lists; keys count as texts."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name in ("parents", "weights", "sha256", "progress"):
                continue
            yield "", str(name)
            yield from _leaves(item, str(name))
    elif isinstance(value, list):
        yield key, len(value)
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def check_prose(text: str, numbers: Numbers, where: str) -> None:
    """Refuse a text with a number that the runs do not know.

    Decimals and percentages must be measured values, rounded; or an argument whose key stands in the same sentence
    ("mask_probability 0.25"). Whole numbers must be sizes, counts or arguments; in a sentence about a metric, small
    ones only in front of what they count ("3 seeds"). Names that hold digits pass (GRCh38, chr22, arXiv 2405.10812),
    and so do years, but not beside a metric. Ratios ("9 of every 10") and percentages in words are refused.

    Args:
        text: of a person.
        numbers: of the runs.
        where: what to call the text in the message.

    Raises:
        ValueError: with the number, its sentence, and `where`.

    Example:

    >>> check_prose("It sees 41 nt; trained in 2026.", Numbers(named=[("receptive_field", 41)]), "limits")
    """
    plain = unicodedata.normalize("NFKC", text).replace("\u2212", "-")
    for name in sorted(numbers.texts, key=len, reverse=True):
        if re.search(r"[A-Za-z]", name) or name.count(".") > 1:
            plain = re.sub(rf"(?<!\w){re.escape(unicodedata.normalize('NFKC', name))}(?!\w)", "_", plain)
    plain = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d)|\d{4,})", ".", plain)  # a decimal comma
    for sentence in _SENTENCE.split(plain):
        about = names_a_metric(sentence)
        left = sentence
        for pattern in _NAMES:
            left = pattern.sub("_", left)
        for pattern in (_RATIO, _SPELT):
            if found := pattern.search(left):
                raise ValueError(_message(where, found.group(), sentence))
        for match in _TOKEN.finditer(left):
            if not _is_known(match, left, about, numbers):
                raise ValueError(_message(where, match.group().strip(), sentence))


def names_a_metric(text: str) -> bool:
    """Whether a text has a word such as MCC or accuracy.

    >>> names_a_metric("vqdna mcc 0.9"), names_a_metric("vqdna hrq")
    (True, False)
    """
    return _METRIC.search(text) is not None


def _message(where: str, token: str, sentence: str) -> str:
    return (
        f"{where}: {token!r} in {sentence.strip()!r} was not measured by these runs: leave it out, or say what they "
        "measured"
    )


def _is_known(match: re.Match[str], sentence: str, about_metric: bool, numbers: Numbers) -> bool:
    digits = match["number"].replace(",", "")
    decimals = len(digits.partition(".")[2])
    value = float(digits + (match["exponent"] or ""))
    named = [number for key, number in numbers.named if _is_in(key, sentence)]
    if match["percent"]:
        factor = 1000.0 if match["percent"] == "\u2030" else 100.0
        return any(_rounds_to(factor * m, value, decimals, factor) for m in numbers.metrics if abs(m) <= 1) or any(
            math.isclose(factor * number, value) for number in named
        )
    if scale := (match["scale"] or match["word"] or "").lower():
        unit = 10.0 ** _SCALES[scale]
        return any(abs(number / unit - value) <= 0.5 * 10**-decimals for _, number in numbers.named if number >= 100)
    if any(math.isclose(number, value) for number in named):
        return True
    if match["exponent"]:
        return False
    if decimals:
        return any(_rounds_to(abs(m), value, decimals, 1.0) for m in numbers.metrics)
    if any(abs(m) == value or (abs(m) >= 10 and round(abs(m)) == value) for m in numbers.metrics):
        return True
    is_size = any(number == value for _, number in numbers.named)
    if not about_metric:
        return is_size or (value in _YEAR and "," not in match["number"])
    return is_size and (
        _COUNTED.match(sentence, match.end()) is not None or (value >= 100 and not _UNBOUNDED.search(sentence))
    )


def _is_in(key: str, sentence: str) -> bool:
    """Whether a sentence names a key, as written or in words: `learning_rate`, "learning rate"."""
    words = re.escape(key).replace("_", r"[_\s-]")
    return len(key) > 2 and re.search(rf"(?<!\w){words}(?!\w)", sentence, re.IGNORECASE) is not None


def _rounds_to(measured: float, shown: float, decimals: int, most: float) -> bool:
    """A perfect or a zero score must all but be one: 0.97 is not "1.0"."""
    if shown in (0.0, most) and measured <= most:
        return abs(measured - shown) <= 0.0005 * most
    return abs(measured - shown) <= 0.5 * 10.0**-decimals + 1e-12
