"""A question that leans on the one before it, made whole: "And how much is it?" after "When is the rent due?".

    in_context("And how much is it?", "When is the rent due?")     # "And how much is it (rent due)?"
    in_context("And a coach?", "What does a car cost?")            # "What does a coach cost?"
    question, answer = ask_in_context(index.ask, "And who may not drive it?", "When is the car's inspection due?")

By simple rules, for English: what is only named ("And on Sunday?") takes the place of what begins alike in the question
before; a question with a pronoun, or without any word of its own, takes the words of the one before it. Any other
question stands for itself. Where nothing answers the whole, as the words before it may be of another passage, a
question with words of its own is asked alone: what is said of the same topic counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from lmworks.grounding.answer import GroundedAnswer
from lmworks.grounding.passage import Passage
from lmworks.grounding.terms import terms

WORD = re.compile(r"[\w'’-]+")
PRONOUNS = frozenset(
    WORD.findall("it its they them their theirs he him his she her hers this that these those one ones")
)
LITTLE = frozenset(
    WORD.findall(
        """
    a about all also an and any are as at be been both but by can could did do does done else far few for from get give
    had has have how i if in instead into is just last least less long made make many may me mean more most much must my
    no not now of often ok okay on only or other otherwise our out over please quite really said same say shall should
    show since so some still such sure tell than the then there thing to too under until up us was we well were what
    when where whether which who whom whose why will with without would yes yet you your
    """
    )
)
"""Words that say nothing of what is asked about."""
JOINING = frozenset(WORD.findall("a an and at by for from in of on the to with"))
"""Those that make one name of the words around them."""


_NAMED = re.compile(
    r"\W*(?P<goes_on>(?:and\s+|but\s+|or\s+)?(?:what about\s+|how about\s+)?)(?P<what>[^?!]+?)[\s?!.]*", re.IGNORECASE
)
ARTICLES = frozenset(WORD.findall("a an the"))
BEGINNINGS = ARTICLES | frozenset(WORD.findall("after at before by during for from in of on to under with without"))
"""What a name begins with by which its counterpart in the question before is found."""
ASKS = frozenset(
    WORD.findall(
        "am are be been can could did do does had has have how is may might must shall should was were what when where "
        "whether which who whom whose why will would"
    )
)
"""Words of a whole question."""
LONGEST_NAME = 5
"""Words."""
_YEAR = re.compile(r"(?:19|20)\d\d")
_RELATIVE = frozenset(WORD.findall("after before else following next other others previous"))
"""Words that point at what was said before, which no rule here resolves."""
HELPING = frozenset(WORD.findall("can could did do does may might must shall should will would"))
"""Helping verbs: a question with one of them may end in a verb ("What does a car cost?")."""
_PARTICIPLE = re.compile(r".+(?:ed|en)|closed|due|held|kept|made|paid|sent|sold|told|built|bought", re.IGNORECASE)


def in_context(question: str, before: str | None) -> str:
    """The question with the words of the one before it where it leans on that, in its place or in brackets; else as it
    is."""
    words = WORD.findall(question.lower())
    if before and (whole := _in_place(question, before)):
        return whole
    leans = any(word in PRONOUNS for word in words) or all(word in LITTLE for word in words) or _only_names(question)
    topic = _topic(before) if before and leans else []
    return f"{question.rstrip(' ?.!')} ({' '.join(topic)})?" if topic else question


def _only_names(question: str) -> bool:
    """Whether a question goes on ("And ...", "What about ...") and asks nothing itself."""
    named = _NAMED.fullmatch(question)
    return bool(named and named["goes_on"] and not (ASKS | _RELATIVE) & {*_lower(named["what"])})


def _lower(text: str) -> list[str]:
    """The words of a text in small letters, but for the month of May."""
    return [one if one == "May" else one.lower() for one in WORD.findall(text)]


def _in_place(question: str, before: str) -> str | None:
    """The question before with what this one only names, in place of what begins alike there; None where this one is
    a question of its own, or nothing there begins so."""
    named = _NAMED.fullmatch(question)
    words = WORD.findall(named["what"]) if named else []
    low = [words[0].lower(), *_lower(" ".join(words[1:]))] if words else []
    if not 1 < len(words) <= LONGEST_NAME or not ASKS.union(PRONOUNS).isdisjoint(low):
        return None
    own, said = [one for one in low if one not in LITTLE], list(WORD.finditer(before))
    spoken = [one[0].lower() for one in said]
    if low[-2] in own and spoken.count(low[-2]) == 1 and low[-1] not in spoken:  # freezer F3, flat 4
        after = spoken.index(low[-2]) + 1
        if after < len(said) and spoken[after] not in LITTLE | BEGINNINGS:
            return before[: said[after].start()] + words[-1] + before[said[after].end() :]
    alike = ARTICLES if low[0] in ARTICLES else {low[0]} & BEGINNINGS
    places = [place for place, one in enumerate(spoken) if one in alike]
    if not places or not own or not set(own).isdisjoint(spoken):
        return None
    last = _end_of_name(spoken, places[-1])
    if last is None:
        return None
    dated = _YEAR.fullmatch(spoken[last - 1]) and spoken[last - 2] != low[0]
    if dated and not _YEAR.fullmatch(low[-1]):
        last -= 1  # of "in March 2026" the month alone is named anew
    return before[: said[places[-1]].start()] + " ".join([low[0], *words[1:]]) + before[said[last - 1].end() :]


def _end_of_name(spoken: Sequence[str], at: int) -> int | None:
    """Where a name ends that begins with an article or a preposition, in words; None where there is none. A verb at the
    end of the question is no part of it."""
    first = at + 1 + (at + 1 < len(spoken) and spoken[at + 1] in ARTICLES)
    last = first
    while last < len(spoken) and (spoken[last] not in LITTLE or (spoken[last] == "of" and last > first)):
        last += 1
    helped = not HELPING.isdisjoint(spoken[:at]) or _PARTICIPLE.fullmatch(spoken[-1]) is not None
    if last == len(spoken) and last - first > 1 and spoken[at] in ARTICLES and helped:
        last -= 1
    return last if last > first else None


def ask_in_context(
    ask: Callable[[str], GroundedAnswer], question: str, before: str | None
) -> tuple[str, GroundedAnswer]:
    """The question that was asked in the end, and its answer.

    A question that leans on the one before it is asked with the words of that. If that is refused and it has words of
    its own, it is asked alone, and that answer counts only if it is about the same topic: `before` is answered too, and
    a cited passage has a word of it in its title, or anywhere if it is of a document that answers `before`. So a
    question may be asked three times. What only names something is not asked alone."""
    whole = in_context(question, before)
    answer = ask(whole)
    own = any(word not in LITTLE | PRONOUNS for word in WORD.findall(question.lower()))
    if whole == question or not before or not answer.refused or not own or _only_names(question):
        return whole, answer
    topic, alone = _topic(before), ask(question)
    if not _names(topic, [f"{one.document} {one.heading} {one.text}" for one in _cited(alone)]):
        return whole, answer
    first = ask(before)  # what nothing is said of, a boat among documents of a car, is not what is answered
    files = {one.file for one in first.citations}
    told = [f"{one.document} {one.heading} {one.text if one.file in files else ''}" for one in _cited(alone)]
    return (question, alone) if not first.refused and _names(topic, told) else (whole, answer)


def _cited(answer: GroundedAnswer) -> list[Passage]:
    """The passages that an answer cites; none of a refusal."""
    chunks = {one.chunk for one in answer.citations}
    return [] if answer.refused else [one for one in answer.passages if one.chunk in chunks]


def _names(topic: list[str], texts: list[str]) -> bool:
    """Whether a word of the topic stands in any of the texts, in whatever form."""
    return not set(terms(" ".join(topic), "english")).isdisjoint(terms(" ".join(texts), "english"))


def _topic(question: str) -> list[str]:
    """The words of content of a question, and those between two of them that join these: "rent of the flat"."""
    found: list[str] = []
    between: list[str] = []
    for word in WORD.findall(question):
        if word.lower() not in LITTLE | PRONOUNS:
            found += [*(between if found and all(one.lower() in JOINING for one in between) else []), word]
            between = []
        else:
            between.append(word)
    return found
