"""A question that leans on the one before it, made whole: "And how much is it?" after "When is the rent due?".

    in_context("And how much is it?", "When is the rent due?")     # "And how much is it (rent due)?"

By a simple rule, for English: a question with a pronoun, or without any word of its own, takes the words of the one
before it. Any other question stands for itself.
"""

from __future__ import annotations

import re

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


def in_context(question: str, before: str | None) -> str:
    """The question with the words of the one before it, in brackets, where it leans on that; else as it is."""
    words = WORD.findall(question.lower())
    leans = any(word in PRONOUNS for word in words) or all(word in LITTLE for word in words)
    if not before or not leans:
        return question
    topic = [word for word in WORD.findall(before) if word.lower() not in LITTLE | PRONOUNS]
    return f"{question.rstrip(' ?.!')} ({' '.join(topic)})?" if topic else question
