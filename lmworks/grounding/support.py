"""Support: whether a sentence that a model wrote says nothing but what a verbatim span says. By rule, no large model.

    supports("The rent is 740 euros a month.", "The rent is 740 euros.", "english")     # True
    supports("Dogs are not allowed.", "Dogs are allowed.", "english")                   # False

Every number, name and other word of content of the sentence stands in the span, and every qualifier ("may", "only"); it
denies exactly if the span does; and the words stand in nearly the same order, so that nobody's part is exchanged. What
is said in other words is refused: the check errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.grounding.terms import terms
from lmworks.grounding.words import content, negated, numbers, qualifiers

FEWEST = 2
"""Words of content that the span itself must share: a single word claims nothing that could be checked."""
ORDERED = 0.7
"""The share of a sentence's words that must stand in the same order in the span."""


def supports(span: str, sentence: str, language: str, above: str = "") -> bool:
    """Whether a verbatim span supports a sentence; the title and headings `above` it may lend it names and words."""
    if not numbers(sentence) <= numbers(f"{above}\n{span}") or negated(sentence) != negated(span):
        return False
    there, words = content(span, language), content(sentence, language)
    shared = [one for one in words if one in set(there)]
    if not set(words) <= {*there, *terms(above, language)} or not qualifiers(sentence) <= qualifiers(span):
        return False
    return len(set(shared)) >= FEWEST and _in_order(shared, there) >= ORDERED * len(shared)


def _in_order(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for one in first:
        before = 0
        for at, other in enumerate(second, 1):
            above = row[at]
            row[at] = before + 1 if one == other else max(row[at], row[at - 1])
            before = above
    return row[-1]
