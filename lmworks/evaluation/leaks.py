"""Leaks: held-out text that the training text holds too, so that its figures show memory and not only learning.

for one in leaks(parts.train, parts.held_out):
    print(one.held_out, one.share, one.train)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.text.document import Document
from lmworks.text.splits import ngrams, ngrams_found

WORDS = 13
"""Words of a run: Brown et al. 2020, appendix C."""
TOLERATED = 0.05
"""Share of the held-out runs of 13 words that may stand in the training text: above it, the held-out loss is to a good
part memory. Of the registry's texts and python-reference the highest is 0.05 % (`lmworks check TEXT`)."""


@dataclass(frozen=True)
class Leak:
    """A held-out document that a training document repeats."""

    held_out: str
    """Its source."""
    share: float
    """Share of its runs of words that stand in any training document."""
    train: str
    """The source of the training document that repeats most of them."""


def leaks(train: Sequence[Document], held_out: Sequence[Document], tolerated: float = TOLERATED) -> list[Leak]:
    """The held-out documents of which more than a share `tolerated` stands in the training text, the worst first."""
    found = zip(held_out, ngrams_found(train, held_out, WORDS), strict=True)
    shares = [(sum(runs) / len(runs), document) for document, runs in found if runs]
    leaking = sorted((one for one in shares if one[0] > tolerated), key=lambda one: -one[0])
    wanted: dict[int, list[int]] = {}
    for number, (_, document) in enumerate(leaking):
        for gram in set(ngrams(document.text, WORDS)):
            wanted.setdefault(gram, []).append(number)
    repeats = [Counter[str]() for _ in leaking]
    for document in train if leaking else ():
        for gram in ngrams(document.text, WORDS):
            for number in wanted.get(gram, ()):
                repeats[number][document.source] += 1
    return [
        Leak(document.source, share, repeated.most_common(1)[0][0])
        for (share, document), repeated in zip(leaking, repeats, strict=True)
    ]
