"""How like a reference a short answer is, by its words, after SQuAD (Rajpurkar et al. 2016,
https://arxiv.org/abs/1606.05250).

SQuAD's rule drops letter case, ASCII's punctuation and articles, and would call "3.5" and "35" the same. Here a number
keeps its decimal point, its sign, its slash and its exponent; every punctuation of Unicode and signs of currencies are
dropped, which SQuAD's rule does for the dollar's alone, and characters are compared by what they stand for (NFKC). An
answer of which nothing would be left ("A", "+") stays as it is.

Where a number is asked for, what stands around it does not count: `last_number("13 + 17 = 20 books.")` is 20.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from decimal import Decimal

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_RAISED = re.compile(r"(?<=\d)(?=[⁰¹²³⁴-⁹⁻])")
_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")
_THOUSANDS = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_NUMBER = re.compile(r"(?:(?<!\w)[-−])?(?:\d[\d,]*(?:\.\d+)?|(?<![\w.])\.\d+)")
_MARKS = re.compile(
    r"(?P<minus>(?<!\w)[-−–](?=[^\w\s]?\d)|(?<=\de)[-−](?=\d))"  # before a number, and no hyphen of a word
    r"|(?P<between>(?<=\d)[-−–:](?=\d))"  # 3-4 is not 34, and 10:30 not 1030
    r"|(?P<inner>(?<=\d)[.,/⁄^](?=[-−]?\d)|(?<![\w.,])\.(?=\d))"
    r"|[^\w\s]|_"
)


def words(answer: str) -> list[str]:
    """An answer as it is compared: in lower case, without punctuation and articles. None for an empty text alone."""
    apart = _FRACTION.sub(" ", _RAISED.sub("^", answer))  # 10² is not 102, and 3½ not 31/2
    plain = unicodedata.normalize("NFKC", apart).lower()
    text = _MARKS.sub(_kept, _THOUSANDS.sub(lambda found: found[0].replace(",", ""), plain))
    return _ARTICLES.sub(" ", text).split() or text.split() or plain.split()


def overlap(answer: str, reference: str) -> float:
    """F1 of the words of two answers."""
    given, wanted = words(answer), words(reference)
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted)) if shared else 0.0


def numbers(text: str) -> list[str]:
    """The numbers of a text, each plain and with all its digits: "1,200.50" is 1200.5."""
    return [_plain(one) for one in _NUMBER.findall(text)]


def last_number(text: str) -> str | None:
    """The last number of a text, as `numbers` gives it; None where there is none."""
    return found[-1] if (found := numbers(text)) else None


def _plain(number: str) -> str:
    plain = f"{Decimal(number.replace(',', '').replace('−', '-')) or Decimal(0):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _kept(found: re.Match[str]) -> str:
    """What is left of a mark: a number's own, and signs that are no punctuation and no currency (°)."""
    mark = found[0]
    if found.lastgroup == "minus":
        return "-"
    if found.lastgroup == "inner":
        return "/" if mark == "⁄" else mark
    if found.lastgroup == "between":
        return " "
    if unicodedata.category(mark) == "So":
        return f" {mark}"  # 20°C is 20 °C
    is_dropped = mark in string.punctuation or unicodedata.category(mark).startswith(("P", "Sc"))
    return "" if is_dropped else mark
