"""A question that leans on the one before it, made whole: "And how much is it?" after "When is the rent due?".

    in_context("And how much is it?", "When is the rent due?")     # "And how much is it (rent due)?"
    question, answer = ask_in_context(index.ask, "And who may not drive it?", "When is the car's inspection due?")

By a simple rule, for English: a question with a pronoun, or without any word of its own, takes the words of the one
before it. Any other question stands for itself. Where nothing answers the whole, as the words before it may be of
another passage, a question with words of its own is asked alone: what is said of the same topic counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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


def in_context(question: str, before: str | None) -> str:
    """The question with the words of the one before it, in brackets, where it leans on that; else as it is."""
    words = WORD.findall(question.lower())
    leans = any(word in PRONOUNS for word in words) or all(word in LITTLE for word in words)
    topic = _topic(before) if before and leans else []
    return f"{question.rstrip(' ?.!')} ({' '.join(topic)})?" if topic else question


def ask_in_context(
    ask: Callable[[str], GroundedAnswer], question: str, before: str | None
) -> tuple[str, GroundedAnswer]:
    """The question that was asked in the end, and its answer.

    A question that leans on the one before it is asked with the words of that. If that is refused and it has words of
    its own, it is asked alone, and that answer counts only if it is about the same topic: `before` is answered too, and
    a cited passage has a word of it in its title, or anywhere if it is of a document that answers `before`. So a
    question may be asked three times."""
    whole = in_context(question, before)
    answer = ask(whole)
    own = any(word not in LITTLE | PRONOUNS for word in WORD.findall(question.lower()))
    if whole == question or not before or not answer.refused or not own:
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
