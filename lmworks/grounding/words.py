"""Words that carry a question's or a sentence's content: stems without those that every text holds."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import cache

from lmworks.grounding.terms import (
    ASKING,
    ASKING_UNSPACED,
    COMPOUNDING,
    FREQUENT,
    SHORTEST_PART,
    SHORTEST_REST,
    terms,
)

FUNCTION_WORDS = (
    "a about after again all also am an and any are as at be because been before being below between both but by can "
    "could did do does doing done down during each either else ever every few for from further had has have having he "
    "her here hers him his how i if in into is it its itself just made make many may me might mine more most much must "
    "my no nor not of off on once only or other our out over own per please same shall she should since so some such "
    "tell than that the their them then there these they this those though through to too under until up upon us was "
    "we were what when where whether which while who whom whose why will with would you your s t ll ve re d don doesn "
    "didn isn aren wasn weren won explain describe give mean means many name called know say says "
    "happen happens happened"
)
QUALIFIERS = (
    "all any every each only more most less few many before after until under over below above between both same other "
    "may might must should can could will would if unless except"
)
"""Function words that change what a sentence claims."""
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|neither|nor|nobody|nothing|nowhere|without|cannot|hardly|"
    r"nicht|kein\w*|nie|niemals|ohne|ne|pas|jamais|sans|nunca|sin|non|senza|não|sem|niet|geen|nooit|inte|ingen|не|нет)\b|"
    r"n['’]t\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"(?<![\w.-])(?!Q[1-4]\b)[A-Z]{1,6}-?\d[A-Za-z\d]{0,12}(?![\w-])", re.ASCII)
_VERSION = re.compile(
    r"\b(?:version|release|firmware|section|chapter|v)\s?(\d{1,4}(?:[.]\d{1,4}){1,4})(?!\w)", re.IGNORECASE
)
# Figures that may be a version or the number of a section; no time (8.30), and none that something is measured in.
_BARE = re.compile(
    r"(?<![\w.,:;/$£€-])(?<!\bat )v?(\d{1,3}(?:[.]\d{1,2}){1,3})(?![\w%€$£]|[.,:/-]\w|[.]\s*\w)"
    r"(?!\s?(?:%|€|°|(?:[kcm]?m|k?g|mg|[mc]?l|[kmgt]i?b|k?wh?|k?v|m?a|hz|[kmg]hz|h|s|ms|min|bar|uhr|eur|usd|gbp|chf|"
    r"euros?|dollars?|pounds?|cents?|per\s?cent|percent|prozent|hours?|minutes?|seconds?|days?|weeks?|months?|years?|"
    r"stunden?|minuten?|sekunden?|tagen?|wochen?|monaten?|jahren?|tonnes?|tons?|tonnen|kilo\w*|metres?|meters?|miles?|"
    r"met(?:er|ern)|lit(?:er|re)s?|inch(?:es)?|feet|degrees?|grad|times|mal|million\w*|billion\w*|milliarden?|points?|"
    r"punkten?|[ap][.]?m)\b))",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?<![\w.-])(?:1[5-9]|20)\d\d(?![\w-])")
_HOW_MUCH = re.compile(
    r"\b(?:how|wie)\s+(?:high|low|large|big|small|long|short|old|far|often|tall|deep|fast|wide|thick|heavy|early|late|soon|"
    r"loud|strong|hot|cold|warm|bright|expensive|quickly|frequently|"
    r"hoch|niedrig|groß|gross|klein|lang|lange|kurz|alt|weit|oft|tief|schnell|breit|dick|schwer|früh|spät|bald|"
    r"laut|stark|heiß|kalt|warm|hell|teuer|häufig)\b|\b(?:an|in|zu)\s+welche[mnr]\s+(?:tag|monat|jahr|uhrzeit|datum)\b",
    re.IGNORECASE,
)
_PRICE = re.compile(
    r"\b(?P<asks>(?:how much|what (?:does|do|did|will|would|is|are|was|were)|wie ?viel|was)\b.{0,200}?)"
    r"\b(?:costs?|kosten|kostet|kostete)\b",
    re.IGNORECASE,
)
"""Which measure is asked for: an answer in figures need not say the word."""
HEAD, MODIFIER = 0.6, 0.4
"""What a compound's last part is of it, and its first."""
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


@cache
def _empty(language: str) -> frozenset[str]:
    """Stems that say nothing of what a sentence is about."""
    common = {word for text in FREQUENT.values() for word in text.split()} if language == "none" else set()
    own = FREQUENT.get(language, "").split()
    return frozenset(terms(" ".join((FUNCTION_WORDS, *common, *own)), language)) | frozenset(FUNCTION_WORDS.split())


def content(text: str, language: str) -> list[str]:
    """The stems of a text in order, without function words; all of them where nothing else is left."""
    found = terms(text, language)
    return [one for one in found if one not in _empty(language)] or found


@cache
def _asking(language: str) -> frozenset[str]:
    return frozenset(terms(ASKING.get(language, ""), language))


def about(question: str, language: str) -> list[str]:
    """The stems of what a question is about: its content without the words that ask; all where nothing is left."""
    asked = _PRICE.sub(r"\g<asks> ", _HOW_MUCH.sub(" ", ASKING_UNSPACED.sub(" ", question)))
    found = content(asked, language)
    return [one for one in found if one not in _asking(language)] or content(question, language)


def coverage(wanted: Collection[str], there: Collection[str], language: str = "none") -> float:
    """The share of the wanted stems that are there, 0 ... 1; 1 where none is wanted. In languages that write compounds
    in one word a part counts in part."""
    asked, held = set(wanted), set(there)
    whole = asked & held
    parts = sum(_in_parts(one, held) for one in asked - whole) if language in COMPOUNDING else 0.0
    return (len(whole) + parts) / len(asked) if asked else 1.0


def _in_parts(stem: str, there: Collection[str]) -> float:
    """How much of a stem is there as part of compounds, or in parts: Miete is all there in Grundmiete, and less of it
    in Mietvertrag; Kündigungsfrist is there in Kündigung and Frist."""
    long = [one for one in there if len(one) >= len(stem) + SHORTEST_REST] if len(stem) >= SHORTEST_PART else ()
    if any(one.endswith(stem) for one in long):
        return 1.0
    short = [one for one in there if SHORTEST_PART <= len(one) <= len(stem) - SHORTEST_REST]
    first = MODIFIER * any(map(stem.startswith, short))
    return max(first + HEAD * any(map(stem.endswith, short)), MODIFIER * any(one.startswith(stem) for one in long))


def qualifiers(text: str) -> set[str]:
    """The (English) function words of a text that change what it claims."""
    return set(QUALIFIERS.split()) & set(terms(text))


def numbers(text: str) -> set[str]:
    """Numbers in figures, marks of thousands left out: 1,200 is 1200."""
    return {re.sub(r"(?<=\d),(?=\d{3}(?:\D|$))", "", one) for one in _NUMBER.findall(text)}


def codes(question: str, headings: Iterable[str] = ()) -> list[str]:
    """What a question names by capitals and figures (PX-60, E3), and versions (2.1): what a text that answers names,
    too. Bare figures (2.1) are a version, or a section, where headings hold such; of two, either may be meant."""
    bare = set(_BARE.findall(question))
    bare = bare if len(bare) == 1 and any(map(_BARE.search, headings)) else set()
    return list(dict.fromkeys([*_CODE.findall(question), *_VERSION.findall(question), *bare]))


def years(question: str) -> list[str]:
    """The years that a question names."""
    return _YEAR.findall(question)


def names(text: str, code: str) -> bool:
    """Whether a text names a code or a year, with or without what parts it: PX-60 is PX60 and px 60, and not PX-600;
    2.1 is in 2.1.3, and not in 1.2.1."""
    parts = re.findall(r"[^\W\d_]+|\d+", code)
    begin = r"(?<!\d)(?<!\d[.])" if parts[0].isdecimal() else r"(?<![^\W\d_])"
    end = r"(?!\d)" if parts[-1].isdecimal() else r"(?![^\W\d_])"
    between = r"[.]" if all(map(str.isdecimal, parts)) else r"[\W_]?"
    return re.search(begin + between.join(parts) + end, text, re.IGNORECASE) is not None


def negated(text: str) -> bool:
    """Whether a text denies something, in English or one of the commonest other languages."""
    return bool(_NEGATION.search(text))
