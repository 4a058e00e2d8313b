"""A sentence as a question that a person could ask: its words in their order, the answer's place taken by how many, who
or what.

    asked_in("The boiler near Lindau was repaired by 34 people in 1995.", language="english")
    # MadeQuestion("The boiler near Lindau was repaired by how many people in 1995?", answer="34"), ... in which year?

By rule and for English alone. A sentence that asks or orders, that points to one before it ("It was built ..."), that
is code, a list or a table, or that is longer than people ask, makes none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lmworks.grounding.words import FUNCTION_WORDS

LEAST, MOST = 6, 20
"""Words of a question."""
GAP = "\ufffc"
"""Stands where the answer was."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FUNCTION = _set(FUNCTION_WORDS)
SUBORDINATE = _set(
    """if when while although though because since after before unless until as where whereas which who whom whose that
    so"""
)
"""Words that begin a clause which a question can do without, and in front one that would have to be asked otherwise."""
OPENING = _set("despite during under according like unlike among without by")
"""Other words that begin a sentence and no name."""
DETERMINERS = _set("the a an this that these those its their his her our my your")
POINTING = _set(
    """it its they them their theirs he him his she her hers this that these those such here there one ones both
    otherwise instead thus hence so then former latter"""
)
"""First words that point to a sentence before."""
LINKING = re.compile(
    r"^(?:but|and|also|however|moreover|furthermore|finally|therefore|for example|for instance|in addition|in fact),? ",
    re.IGNORECASE,
)
ORDERS = _set(
    """use run see set add make install click note let give take put keep check open write read try choose call start
    stop create remove delete copy remember do don't please look go get find send ask tell show say avoid consider
    compare ensure press select pass type enter download clone edit change replace move follow wait think imagine
    suppose visit turn build test import export load save name define return print apply include leave start repeat
    specify provide allow enable disable configure update upgrade fix report submit commit push pull"""
)
"""First words of orders."""
VERBS = _set(
    """is are was were be has have had does do did can could will would may might must shall should cannot isn't aren't
    wasn't weren't hasn't haven't doesn't don't didn't can't won't became become becomes began begins gave gives got
    gets goes went made makes took takes told tells said says saw sees came comes knew knows found finds thought thinks
    kept keeps held holds wrote writes ran runs stood stands lost loses paid pays met meets led leads left leaves
    brought brings sold sells lay lies rose rises fell falls grew grows built builds sent sends won wins spoke speaks
    spent cost costs means contains needs uses shows returns reads turns lives works starts ends stays allows creates
    provides supports includes follows happens begins belongs consists opens closes carries covers serves asks answers
    adds"""
)
AROUND = _set("beside besides against among per times onto upon within across along near around throughout via")
SPEAKING = _set("said says wrote writes thinks thought believes argued argues told asked replied married died lived")
TITLES = _set("mr mrs ms miss dr prof professor sir lady lord king queen president captain uncle aunt saint")
MONTHS = _set("january february march april may june july august september october november december")
DAYS = _set("monday tuesday wednesday thursday friday saturday sunday")
UNITS = _set("version section chapter page figure table step line part volume number level room row column port issue")
"""What a number after them tells apart: page 4."""
YEAR = re.compile(r"(?:1[0-9]|20)\d\d")
NUMBER = re.compile(r"(?<![\w.,:/£$€#=+–—-])\d{1,3}(?:,\d{3})+(?![\w:/–—-])(?!\.\d)|"
                    r"(?<![\w.,:/£$€#=+–—-])\d+(?:\.\d+)?(?![\w:/–—-])(?![.,]\d)")  # fmt: skip
NAME = re.compile(r"(?<![\w.'’/-])[A-Z][\w’'-]*[a-z](?: (?:of |de |von |van )?[A-Z][\w’'-]*[a-z])*(?![\w/(-])")
CODE = re.compile(r"[{}\\|<>=_~^@*#$]|\w/\w|::|--|\w\(|\.\.\.|…|https?:|\.(?:py|md|txt|json|toml|com|org)\b")
LAST = re.compile(r"\b(?:the|an?)\s+([a-z]+(?:\s+[a-z]+)?)(?=[.;,]|\s)")
IDIOMS = _set(
    """end way same time times case beginning whole past future moment fact lot few little bit kind sort one ones other
    others rest latter former hand part place course use thing things result example first second last number set only
    total order front back middle top bottom"""
)
"""What stands for nothing that one could ask for."""
END = re.compile(r"[.](?:\[\d+\])*$")


@dataclass(frozen=True)
class MadeQuestion:
    """A question, and where in its sentence the answer stands."""

    text: str
    start: int
    end: int


def asked_in(sentence: str, language: str) -> Iterator[MadeQuestion]:
    """Every question that a sentence makes, in the order of their answers; none of most sentences."""
    if language != "english" or not _states(sentence):
        return
    for start, end, opening, asks in _gaps(sentence):
        text = _finished(sentence[:opening] + GAP + sentence[end:], asks)
        if text and not _given_away(sentence[start:end], text):
            yield MadeQuestion(text, start, end)


def _states(sentence: str) -> bool:
    """Whether a sentence states something on its own, in words."""
    plain = _plain(sentence)
    bare = LINKING.sub("", plain, count=1)
    words = re.findall(r"[^\W\d_][\w’'-]*", bare)
    if not END.search(bare) or not LEAST <= len(bare.split()) <= 2 * MOST or len(words) < 0.8 * len(bare.split()):
        return False
    first, lower = words[0].casefold(), {one.casefold().replace("’", "'") for one in words}
    whole = plain[0].isupper() and not CODE.search(bare) and not re.search(r"[.!?][\"”)]* \w|→", bare)
    return whole and first not in POINTING | ORDERS | SUBORDINATE and _has_verb(lower, words)


def _has_verb(lower: set[str], words: list[str]) -> bool:
    return not lower.isdisjoint(VERBS) or any(len(one) > 4 and one.endswith("ed") for one in words[1:])


def _plain(text: str) -> str:
    """Without the marks of Markdown."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(text.split()))
    return re.sub(r"\*\*|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|`", "", text).strip()


def _gaps(sentence: str) -> Iterator[tuple[int, int, int, str]]:
    """Where an answer begins and ends, where what is replaced begins, and by what."""
    found = False
    for match in NUMBER.finditer(sentence):
        if asks := _asks_number(sentence, match):
            found = True
            yield match.start(), match.end(), *asks
    for match in NAME.finditer(sentence):
        if asks := _asks_name(sentence, match):
            found = True
            yield match.start(), match.end(), *asks
    for match in () if found else LAST.finditer(sentence):
        before, _ = _before(sentence, match.start())
        words = set(match[1].split())
        known = before in (FUNCTION - DETERMINERS - {"and", "or", "than", "as"}) | VERBS
        if known and words.isdisjoint(FUNCTION | IDIOMS) and _ends_clause(sentence[match.end() :]):
            yield match.start(1), match.end(), match.start(), "what"


def _before(sentence: str, at: int) -> tuple[str, int]:
    """The word right before a place, and where it begins; nothing where a mark stands between."""
    found = re.search(r"([^\W\d_][\w’'-]*)\s+$", sentence[:at])
    return (found[1], found.start()) if found else ("", at)


def _after(sentence: str, at: int) -> str:
    found = re.match(r"\s+([^\W\d_][\w’'-]*)", sentence[at:])
    return found[1] if found else ""


def _asks_number(sentence: str, match: re.Match[str]) -> tuple[int, str] | None:
    (word, opening), after = _before(sentence, match.start()), _after(sentence, match.end())
    before = word.casefold()
    if before in UNITS:
        return opening, f"which {before}"
    if sentence[match.end() :].startswith(("%", " %", " percent")):
        return None if sentence[match.end() :].startswith(("%", " %")) else (match.start(), "how many")
    if YEAR.fullmatch(match.group()) and before in ("in", "since", "until", "after", "before", "of", "from", "by"):
        return match.start(), "which year"
    if after.casefold() in MONTHS or before in MONTHS or word[:1].isupper():
        return None  # a day of a month, or a part of a name
    of_range = before in ("to", "than", "the", "a", "an", "these", "those") or re.match(
        r"\s+(?:to|and|or)\s+\d", sentence[match.end() :]
    )
    if (
        after.islower()
        and len(after) > 1
        and after not in FUNCTION | AROUND
        and not of_range
        and not after.endswith("ed")
    ):
        return match.start(), "how many"
    return None


def _asks_name(sentence: str, match: re.Match[str]) -> tuple[int, str] | None:
    lower, (word, _), rest = match.group().casefold(), _before(sentence, match.start()), sentence[match.end() :]
    if lower in DAYS:
        return (match.start(), "which day") if word == "on" else None
    if lower in MONTHS:
        return (match.start(), "which month") if word == "in" and not re.match(r"\s+\d", rest) else None
    if _is_part(sentence, match):
        return None
    return _begins_with(sentence, match) if match.start() == 0 else _asks_within(sentence, match)


def _is_part(sentence: str, match: re.Match[str]) -> bool:
    """Whether a name is one of several, a part of a longer one, or no name."""
    rest, after = sentence[match.end() :], _after(sentence, match.end())
    joined = re.match(r"['’\"”)\]*`-]|\s+(?:and|or)\b|\s*[(]", rest) or after[:1].isupper()
    quoted = sentence[: match.start()].endswith(('"', "'", "“", "‘", "(", "*", "`", "["))
    owns = match.group().endswith(("'s", "’s", "'", "’"))
    return bool(joined) or quoted or owns or match.group().casefold() in FUNCTION | TITLES | SUBORDINATE


def _is_noun(word: str) -> bool:
    """Whether a word that follows a name may be the noun that the name tells more of: the Yuan dynasty."""
    return word.islower() and word not in FUNCTION | VERBS and not word.endswith(("ed", "ly", "ing"))


def _who(name: str, after: str) -> bool:
    return after in SPEAKING or name.split(maxsplit=1)[0].casefold() in TITLES


def _begins_with(sentence: str, match: re.Match[str]) -> tuple[int, str] | None:
    """Of a name at the beginning, where any word has a capital letter: of several words alone."""
    first, _, others = match.group().partition(" ")
    after = _after(sentence, match.end())
    if not others or (first not in ("The", "A", "An") and first.casefold() in FUNCTION | OPENING):
        return None
    if first in ("The", "A", "An") and _is_noun(after):
        return 0, "which"
    return 0, "who" if _who(match.group(), after) else "who or what"


def _asks_within(sentence: str, match: re.Match[str]) -> tuple[int, str] | None:
    name, (before, opening), after = match.group(), _before(sentence, match.start()), _after(sentence, match.end())
    ends = _ends_clause(sentence[match.end() :])
    if before in ("the", "a", "an"):
        if _is_noun(after):
            return opening, "which"
        return (opening, "what") if ends or sentence[:opening].rstrip().endswith(",") else None
    known = before in (FUNCTION - DETERMINERS - {"and", "or", "than", "as"}) | VERBS or before.endswith("ed")
    return (match.start(), "who" if _who(name, after) else "what") if known and ends else None


def _ends_clause(rest: str) -> bool:
    """Whether a clause ends before some text, so that a question can end there."""
    found = re.match(r"[.;]|(,?)\s+([^\W\d_]+)", rest)
    return found is not None and (not found[2] or found[2] in SUBORDINATE)


def _finished(gapped: str, asks: str) -> str:
    """The clause with the gap as a question; empty where it would not read like one."""
    text = LINKING.sub("", _plain(gapped), count=1)
    text = re.sub(r" \((?![^)]*\ufffc)[^()]*\)", "", text)
    text = next((one for one in re.split(r"; | [–—-] ", text) if GAP in one), text)
    before, _, rest = text.partition(GAP)
    cut = re.search(rf",\s|,?\s+(?:{'|'.join(SUBORDINATE - {'that', 'as', 'so', 'who'})})\s", rest)
    if cut and cut.group().startswith(",") and re.search(r", (?:which|who|whose|where)\b[^,]*$", before):
        return ""  # the sentence goes on after the clause
    text = before + GAP + (rest[: cut.start()] if cut and before.strip() else rest)
    words = text.split()
    if text.count('"') % 2 or text.count("(") != text.count(")") or ":" in text or not LEAST <= len(words) <= MOST:
        return ""
    if asks.startswith("which ") and before.strip() and not _has_verb({*before.casefold().split()}, before.split()):
        return ""  # in which year it was: asked so, the words would stand in another order
    if not _has_verb({one.casefold().strip(".,;") for one in words}, words):
        return ""
    if words[0].casefold() in POINTING | ORDERS | SUBORDINATE:
        return ""
    said = text.replace(GAP, asks).rstrip(" .,;") + "?"
    return said[0].upper() + said[1:]


def _given_away(answer: str, text: str) -> bool:
    """Whether a question still says a word of its answer."""
    asked = {one.casefold() for one in re.findall(r"\w+", text)}
    return any(one.casefold() in asked for one in re.findall(r"\w+", answer) if one.casefold() not in FUNCTION)
