"""Whether a figure counts something else than a question asks: 26 days are no answer to "How many weeks ...?".

counts_something_else("How many calories has the soup?", "400", after=" g of beans")         # True
counts_something_else("How many people came?", "26", after=" of them")                       # False

English only, and only where a word of a closed list of units stands right behind the figure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from lmworks.grounding.terms import terms
from lmworks.grounding.words import about, content, coverage

SAME = 0.6
"""The share of a question's other words that a sentence says, from which on its figure in another unit of the same (an
hour for minutes) may be meant; those after "of" must all be said."""
BESIDE = 20
"""Characters before a figure and behind its unit in which what is counted may be said."""
_UNITS = {
    "time": "sec seconds secs; minute minutes min mins; hour hours hr hrs h; day days; week weeks; month months; "
    "year years; decade decades; century centuries",
    "amount": "gram grams g; kg kilo kilos kilogram kilograms; mg milligram milligrams; ton tons tonne tonnes; "
    "lb lbs; oz ounce ounces; ml millilitre millilitres milliliter milliliters; cl; litre litres liter liters l; "
    "gallon gallons; pint pints",
    "length": "mm millimetre millimetres millimeter millimeters; cm centimetre centimetres centimeter centimeters; "
    "metre metres meter meters; km kilometre kilometres kilometer kilometers; mile miles; feet; inch inches; "
    "yard yards",
    "money": "€ euro euros eur; $ dollar dollars usd; £ pound pounds gbp; cent cents; franc francs chf",
    "share": "% percent",
}
"""Words of units by what they measure. "Second" may be an ordinal, "m" a million."""
_UNIT = {word: unit.split()[0] for units in _UNITS.values() for unit in units.split(";") for word in unit.split()}
_MEASURED = {word: measured for measured, units in _UNITS.items() for word in units.replace(";", " ").split()}
_ALSO_MEASURED = {
    "time": "holiday vacation leave night shift break",
    "amount": "pound cup spoon tablespoon teaspoon glass bottle bag pack packet sack can tin portion",
    "length": "step lap",
}
"""Things that are counted, and said in such a unit instead."""
_ALSO = {form: kind for kind, words in _ALSO_MEASURED.items() for one in words.split() for form in (one, one + "s")}
_POUNDS = {"pound", "pounds"}
"""Of money, or of weight."""
_COUNTED = re.compile(
    r"(?P<money>[€$£]\s?)?"
    r"(?:\d[\d.,]*(?:\s?(?:hundred|thousand|million|billion)\b)?|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|"
    r"eleven|twelve|\w+teen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million)\b)"
    r"(?:[\s-]*(?:working|calendar|business|full|whole|consecutive)\b)?"
    rf"(?:[\s-]{{0,3}}(?P<unit>[€$£%]|(?:{'|'.join(one for one in _UNIT if one.isalpha())})\b))?",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(r"\A\W*(?:(?:and|so|but|for|in|at|to|of|by|from|up to|about)\s+)*how many\s+(.*)", re.I | re.S)
_WORD = re.compile(r"[^\W_]+")
_ENDING = (
    "of is are was were be do does did will would can could may must should shall might has have had in on at to from "
    "for per by with a an the there i you we they he she it s times"
)
"""What ends the words of what is counted. How many times: "every two hours" answers it."""


def counts_something_else(question: str, span: str, before: str = "", after: str = "", above: str = "") -> bool:
    """Whether each figure of a span counts units of something else than the question asks the number of: `before` and
    `after` it is the rest of its sentence, `above` it are title and headings."""
    asked = _HOW_MANY.match(question)
    words = _WORD.findall(asked[1].casefold()) if asked else []
    what = _to_the_end(words)
    first, text = before[-2:], before[-2:] + span + after
    found = [one for one in _COUNTED.finditer(text) if one.start() < len(first + span) and one.end() > len(first)]
    units = [(one["unit"] or one["money"] or "").strip().casefold() for one in found]
    if not what or not units or not all(units):
        return False
    wanted = {_UNIT[one] for one in what if one in _UNIT} | ({"lb"} if _POUNDS & set(what) else set())
    measured = {_MEASURED.get(one) or _ALSO.get(one) for one in what} - {None}
    around = before + span + after
    at = len(before) - len(first)
    near = (around[max(0, at + one.start() - BESIDE) : at + one.end() + BESIDE] for one in found)
    said = set(terms(" ".join(near), "english"))
    if wanted & {_UNIT[one] for one in units} or said & set(terms(" ".join(what), "english")):
        return False
    counted = {_MEASURED[one] for one in units}
    if not measured and counted == {"share"}:  # of people, say
        return False
    if not measured & counted:
        return True
    others = [one for one in about(question, "english") if one not in terms(" ".join(what), "english")]
    there = content(f"{above} {around}", "english")
    rest = words[len(what) :]
    of = terms(" ".join(_to_the_end(rest[1:])), "english") if rest[:1] == ["of"] else []
    return coverage(others, there) < SAME or not set(of) <= set(there)


def _to_the_end(words: Sequence[str]) -> list[str]:
    """The first words, up to one that is of no noun."""
    return [*takewhile(lambda one: one not in _ENDING.split(), words)]
