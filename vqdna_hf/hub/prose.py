"""Numbers in a card's free text: the table says what was measured, and sentences say it in words."""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator

# Of a text without case, digits and punctuation. Stems stand anywhere, short words alone.
_METRIC = re.compile(
    r"mcc|matthews|accura|auroc|auprc|perplex|precision|recall|sensitivit|specificit|correlat|pearson|spearman|"
    r"per ?cent|permille|outperform|surpass|superior|benchmark|leaderboard|state of the art|\b(?:"
    r"acc|aucs?|fscores?|scor(?:e[sd]?|ing)|usage|loss(?:es)?|errors?|mse|rmse|pct|pc|sota|all but|"
    r"better|best|worse|worst|good|higher|highest|lower|lowest|than|beats?|exceeds?|improve\w*|"
    r"perform\w*|rank(?:s|ed|ing)?|top|first|twice|thrice|times|fold|right|wrong|(?:in)?correct(?:ly)?)\b|[%\u2030\u066a]"
)
_NUMBER_WORD = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty\w*|hundreds?|thousands?|[mb]illions?|dozens?|hal(?:f|ves)|thirds?|"
    r"quarters?|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand|million)ths?|once|twice|thrice)\b"
)
_PLAIN_WORDS = {"one", "once"}  # English cannot do without them; beside a metric they are numbers
_F1 = re.compile(r"(?<![^\W_])f[-_ ]?1(?![^\W_])", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][^<>\d]*>|[*`~\\]", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_])")
_BEFORE, _BEHIND = '([{|"\u201c\u2018', '.,;:!?)]}|"\u201d'  # a point before a digit is no punctuation
_DECIMAL = re.compile(r"\d*[.,]?\d*\.\d+|\d+,\d{1,2}|\d+,\d{4,}")
_HARMLESS = re.compile(
    r"(?:arXiv:|https://arxiv\.org/abs/)?2405\.10812|"  # the paper
    r"\d{1,2}-mers?|[53]['\u2019\u2032](?:-\w+)?|(?:5|5\.8|12|16|18|23|28)S|"
    # Names that begin with letters: GRCh38, chr22, hg19, H3K4me3, DNABERT-2, K-12; never a word: about99
    r"(?![a-z]{4})[A-Za-z]+\d+(?:[A-Za-z]+\d+)*[A-Za-z]?|[A-Z][A-Za-z]*-\d{1,2}"
)


def check_prose(text: str, allowed: Iterable[str], where: str) -> None:
    """Refuse a text that says a number of its own.

    A sentence that names a metric or compares (MCC, score, percent, better, first, right, ...) may hold no number
    at all, neither in digits nor in words, not even a true one: that is what the card's table is for. In other
    sentences a number may only stand inside a token that the card itself says, letter for letter ("40,000,000", a
    file's name), and in a few forms that measure nothing (GRCh38, 6-mers, the 5' end). Years are numbers too.

    This is strict on purpose, and cannot tell an odd true sentence from a boast ("the first 512 bases"): write it
    in other words.

    Args:
        text: of a person.
        allowed: tokens, from `number_tokens`.
        where: what to call the text in the message.

    Raises:
        ValueError: with the number, its sentence, and `where`.

    Example:

    >>> allowed = number_tokens("| chr21.fa.gz | 40,000,000 |")
    >>> check_prose("It read 40,000,000 bases of chr21.fa.gz (GRCh38). Its MCC is in the table.", allowed, "summary")
    >>> check_prose("A test MCC of 0.91.", allowed, "summary")
    Traceback (most recent call last):
    ...
    ValueError: summary: '0.91' in 'A test MCC of 0.91.': the card's table says what was measured: leave the number out
    """
    known = set(allowed)
    for sentence in _SENTENCE_END.split(_normal(text)):
        numbers = list(_numbers(sentence))
        shown = " ".join(sentence.split())
        if numbers and names_a_metric(sentence):
            raise ValueError(
                f"{where}: {numbers[0]!r} in {shown!r}: the card's table says what was measured: leave the number out"
            )
        for number in numbers:
            if number not in known and number not in _PLAIN_WORDS and not _is_harmless(number):
                raise ValueError(
                    f"{where}: {number!r} in {shown!r} is no whole number or name from the records of these runs: "
                    "leave it out, or write it as the card does"
                )


def check_name(name: str, where: str) -> None:
    """Refuse the name of a repository, a data set or a file that boasts: one with a metric and a number.

    >>> check_name("lab/vqdna-16m-v2", "name")
    >>> check_name("lab/vqdna-mcc99", "name")
    Traceback (most recent call last):
    ...
    ValueError: name: 'lab/vqdna-mcc99' holds a number beside a metric or a comparison: give it another name
    """
    if boasts(name):
        raise ValueError(f"{where}: {name!r} holds a number beside a metric or a comparison: give it another name")


def boasts(text: str) -> bool:
    """Whether a text has both a metric (or a comparison) and a number.

    >>> boasts("labels MCC 0.99"), boasts("prom_300"), boasts("splice-f1")
    (True, False, False)
    """
    plain = _normal(text)
    return names_a_metric(plain) and any(_numbers(plain))


def names_a_metric(text: str) -> bool:
    """Whether a text has a word such as MCC, accuracy or better.

    >>> names_a_metric("vqdna mcc"), names_a_metric("vqdna hrq")
    (True, False)
    """
    return _METRIC.search(_words(_normal(text))) is not None


def number_tokens(*texts: str) -> set[str]:
    """The tokens with digits of what a card says; decimals are left out, since as a sentence they may mean anything.

    >>> sorted(number_tokens("| chr21.fa.gz | 40,000,000 | 0.95 |", "One seed (3)"))
    ['3', '40,000,000', 'chr21.fa.gz']
    """
    found = {token for text in texts for token in _digit_tokens(_normal(text))}
    return {token for token in found if not _DECIMAL.fullmatch(token)}


def _normal(text: str) -> str:
    """Without disguises: HTML, emphasis, invisible and combining characters, digits of other scripts, a metric's 1."""
    plain = []
    for character in html.unescape(text):
        value = unicodedata.numeric(character, None)
        plain.append(character if value is None or character.isascii() else f"{value:g}")
    marked = unicodedata.normalize("NFKD", "".join(plain))
    visible = "".join(c for c in marked if unicodedata.category(c) not in ("Mn", "Me", "Cf"))
    return _F1.sub("fscore", _TAG.sub("", visible))


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+|[%\u2030\u066a]", text.casefold()))


def _digit_tokens(text: str) -> Iterator[str]:
    return (token.lstrip(_BEFORE).rstrip(_BEHIND) for token in text.split() if any(c.isnumeric() for c in token))


def _numbers(text: str) -> Iterator[str]:
    yield from _digit_tokens(text)
    yield from _NUMBER_WORD.findall(_words(text))


def _is_harmless(token: str) -> bool:
    return any(_HARMLESS.fullmatch(form) for form in (token, token.strip("'\u2019")))
