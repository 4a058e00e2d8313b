"""Contamination: items whose words stand in the text that a model was trained on, so that it may know them by heart.

    for one in overlaps(task.items(), read("notes/").documents): print(one.item, one.longest, one.source)

An item counts as held where 13 words in a row are (Brown et al. 2020, appendix C), or all of a shorter one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lmworks.evaluation.leaks import WORDS
from lmworks.evaluation.tasks.declaration import Item
from lmworks.text.document import Document

SEED = 5
"""Words in a row that are looked for; a shorter overlap is not told."""


@dataclass(frozen=True)
class Overlap:
    """How much of an item stands in a text."""

    item: str
    words: int
    """Of the question and its right answer."""
    longest: int
    """Words in a row that the text holds, letter case and punctuation aside; 0 below 5."""
    source: str | None
    """The document that holds them."""

    @property
    def held(self) -> bool:
        """Whether the text holds the item, or enough of it."""
        return self.longest >= min(WORDS, max(self.words, SEED))


def overlaps(items: Sequence[Item], documents: Iterable[Document]) -> list[Overlap]:
    """The longest run of words that each item shares with a document. The text is gone through once."""
    words = [_words(one.text) for one in items]
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for number, own in enumerate(words):
        for at in range(len(own) - SEED + 1):
            places[tuple(own[at : at + SEED])].append((number, at))
    best: list[tuple[int, str | None]] = [(0, None)] * len(items)
    for document in documents:
        text = _words(document.text)
        runs: dict[tuple[int, int], int] = {}
        for at in range(len(text) - SEED + 1):
            # A run of words goes on where the run before it, in the item and in the text, has come to.
            found = places.get(tuple(text[at : at + SEED]), ())
            runs = {(item, place): runs.get((item, place - 1), SEED - 1) + 1 for item, place in found}
            for (item, _), length in runs.items():
                if length > best[item][0]:
                    best[item] = length, document.source
    return [
        Overlap(item.name, len(own), longest, source)
        for item, own, (longest, source) in zip(items, words, best, strict=True)
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
