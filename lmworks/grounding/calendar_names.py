"""The months, weekdays and feasts that a question names, where what would answer it is said of others.

    unnamed_days("What was the revenue in March?", "February revenue: 109,500")                  # ["March"]
    unnamed_days("What does it cost in March?", "It has cost 12 euros since January.")           # []: it still does

English only. Nothing is missing where the passage says the asked one anywhere, and where what is said may hold for it,
too ("since January", "Monday to Friday", "every day but Sunday").
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lmworks.grounding.terms import terms
from lmworks.grounding.words import FUNCTION_WORDS

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FEASTS = (
    "Christmas Eve",
    "Christmas Day",
    "Boxing Day",
    "New Year's Eve",
    "New Year's Day",
    "Good Friday",
    "Easter Sunday",
    "Easter Monday",
    "Thanksgiving",
)
_SHORTER = {"Tuesday": "Tues?", "Thursday": "Thu(?:rs?)?", "September": "Sept?", **{one: one for one in _FEASTS}}
"""Short forms of other lengths than three letters."""
_OF_PEOPLE = ("April", "May", "June", "August")
"""Also names of people, or other words: months behind a word that dates, or before a year."""
_DATES = re.compile(
    r"(?:\b(?:in|on|for|during|of|early|late|mid|this|the)|\d(?:st|nd|rd|th)?[.]?)[\s-]+\Z", re.IGNORECASE
)
_NOT_THEN = re.compile(
    r"(?:\b(?:after|before|since|until|till|by|next|last|from|to|through|than|not|except|but|as of|"
    r"starting|beginning|effective)|[–—/])\s*"
    r"(?:(?:the|on|in|of|early|late|mid|end|start|first|last|\d{1,2}(?:st|nd|rd|th)?[.]?)[\s-]+)*\Z",
    re.IGNORECASE,
)
"""What before a name says another time, or several."""
_GOES_ON = re.compile(r"s?[.]?\s*(?:[-–—/]|(?:to|through|till|until|onwards?)\b)")
"""What behind a name says that it is the first of several."""
_HOLDS_MORE_OFTEN = re.compile(
    r"\b(?:every|each|always|any|all|daily|weekly|monthly|yearly|annual\w*|weekdays?|weekends?|except|until|since|from|"
    r"between|as of|so far|now|currently|usual\w*|not?|never|only)\b",
    re.IGNORECASE,
)
_CHANGED = re.compile(
    r"\b(?:new\w*|rais\w+|rose|risen|rises?|increas\w+|decreas\w+|lower\w*|reduc\w+|cut|fell|grew|chang\w+|mov\w+|"
    r"introduc\w+|start\w*|beg[aiu]n\w*|open\w*|adopt\w*|sets?|fixed|bec[oa]me|join\w*|found\w*|appoint\w*|elect\w*|"
    r"buil[dt]\w*|bought|agreed?|decid\w+|sign\w+|held)\b",
    re.IGNORECASE,
)
"""What happened in a month and may hold in later ones."""
_FROM_TO = re.compile(rf"\b({'|'.join(_WEEKDAYS)})s?\s*(?:to|till|until|through|[-–—])\s*({'|'.join(_WEEKDAYS)})s?\b")
_ASKS = re.compile(r"\b(?:who|whose|whom|what|which|when|where|how)\b", re.IGNORECASE)
_ASKS_FOR_A_DAY = re.compile(
    r"\b(?:what|which)\s+(?:\w+\s+)?(?:months?|days?|weekdays?|dates?|years?)\b", re.IGNORECASE
)
_IN_FIGURES = re.compile(r"\d\s?[./]\s?\d{1,2}\s?[./]|\d{4}-\d\d\b")
"""A date, which may be of any month."""
SHORT_HEADING = 3
"""Words of a heading that says of when the text below it is: "February 2026"."""


def unnamed_days(question: str, sentence: str, heading: str = "", passage: str = "", titles: str = "") -> list[str]:
    """The months, weekdays and feasts at which a question asks for something, and which neither the sentence that
    answers nor its passage says, though the sentence, or a short `heading`, says another one. What `titles` above them
    say counts, too, but where the sentence says of the other one what is asked: "February revenue" in minutes of
    March."""
    if not _ASKS.search(question) or _ASKS_FOR_A_DAY.search(question):
        return []
    question, sentence, heading, passage, titles = (
        one.replace("’", "'") for one in (question, sentence, heading, passage, titles)
    )
    missing = []
    for known in (_MONTHS, _WEEKDAYS, _FEASTS):
        asked, months = _said(question, known), known is _MONTHS
        there = _said(sentence, known)
        if any(_stands_in(one, f"{sentence}\n{passage}") for one in asked) or (months and _IN_FIGURES.search(passage)):
            continue
        same = _beside(question, asked) & _beside(sentence, there)
        if not same and (any(_stands_in(one, titles) for one in asked) or (months and _IN_FIGURES.search(titles))):
            continue
        elsewhere = there or (_said(heading, known) if len(heading.split()) <= SHORT_HEADING else [])
        lasting = _HOLDS_MORE_OFTEN.search(sentence) or (months and _CHANGED.search(sentence))
        missing += asked if elsewhere and not lasting else []
    return missing


def days_in(text: str) -> list[str]:
    """The weekdays that a text names, those between two of them too (Monday to Friday), with "weekday" for these five.

    days_in("Monday to Wednesday, Sunday")              # ["Monday", "Tuesday", "Wednesday", "Sunday"]
    """
    found: list[str] = [one for one in _WEEKDAYS if re.search(rf"\b{one}s?\b", text)]
    for first, last in _FROM_TO.findall(text):
        start, end = _WEEKDAYS.index(first), _WEEKDAYS.index(last)
        found += [_WEEKDAYS[at % 7] for at in range(start, end + 1 if end >= start else end + 8)]
    every = [one for one in _WEEKDAYS if one in found]
    return [*every, *(["weekday"] if every[:5] == [*_WEEKDAYS[:5]] else [])]


def _said(text: str, known: Sequence[str]) -> list[str]:
    """The names at which a text says or asks that something is."""
    found = []
    for one in re.finditer(rf"\b({'|'.join(known)})(?=s?\b)", text):
        before, after = text[: one.start()], text[one.end() :]
        dated = one[1] not in _OF_PEOPLE or _DATES.search(before) or re.match(r"\s+\d{4}\b", after)
        if dated and not _NOT_THEN.search(before) and not _GOES_ON.match(after):
            found.append(one[1])
    return list(dict.fromkeys(found))


def _beside(text: str, known: Sequence[str]) -> set[str]:
    """The stems of what stands beside a name: "March revenue", "revenue in March"."""
    joined = r"\s+(?:(?:in|for|of|on|during)\s+)?(?:the\s+)?"
    found: list[str] = []
    for one in known:
        found += re.findall(rf"([\w'’]+){joined}{one}\b", text) + re.findall(rf"\b{one}\s+([\w'’]+)", text)
    return set(terms(" ".join(found), "english")) - set(terms(FUNCTION_WORDS, "english"))


def _stands_in(name: str, text: str) -> bool:
    """Whether a text says a month or a weekday, in short, too."""
    return re.search(rf"\b(?:{name}|{_SHORTER.get(name, name[:3])})s?\b", text, re.IGNORECASE) is not None
