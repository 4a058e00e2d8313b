"""A text in sentences, by rule: they end with a paragraph, and after `.`, `!` or `?` if the next word begins one.

    sentences("It rained. We (all) left early, e.g. by six.\\n\\nThen")     # 3 of them

An initial (J. Smith) and a few usual abbreviations end none. Enough to cut a text at sensible places; in a language
that is written without these marks only paragraphs are found.
"""

from __future__ import annotations

import re

_PARAGRAPH = re.compile(r"\n\s*\n")
_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[*`]*[A-Z0-9À-ÞА-Я])|[。！？]+")
_NO_END = re.compile(r"(?:^|[\s(\"'])(?:[A-Z]|Mrs?|Ms|Dr|Prof|St|Sen|Rep|Gov|Gen|Col|vs|etc|cf|e\.g|i\.e|No|Inc|Co)\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text in their order, stripped; none is empty."""
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(text):
        start = 0
        for match in _END.finditer(paragraph):
            if not _NO_END.search(paragraph[start : match.end()].rstrip()):
                found.append(paragraph[start : match.end()])
                start = match.end()
        found.append(paragraph[start:])
    return [sentence.strip() for sentence in found if sentence.strip()]
