"""A text in sentences, by rule: they end with a paragraph, and after `.`, `!` or `?` if the next word begins one.

    sentences("It rained. We (all) left early, e.g. by six.\\n\\nThen")     # 3 of them

An initial (J. Smith) and a few usual abbreviations end none. Enough to cut a text at sensible places; in a language
that is written without these marks only paragraphs are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PARAGRAPH = re.compile(r"\n\s*\n")
_END = re.compile(r"[.!?…]+[\"'”’)\]]*\s+(?=[\"'“‘(\[*`]*[A-Z0-9À-ÞА-Я])|[。！？]+")
_NO_END = re.compile(r"(?:^|[\s(\"'])(?:[A-Z]|Mrs?|Ms|Dr|Prof|St|Sen|Rep|Gov|Gen|Col|vs|etc|cf|e\.g|i\.e|No|Inc|Co)\.$")


def sentences(text: str) -> list[str]:
    """The sentences of a text in their order, stripped; none is empty."""
    return [text[start:end] for start, end in sentence_spans(text)]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Where each sentence begins and ends in the text, white space around it left out."""
    found: list[tuple[int, int]] = []
    for begin, paragraph in _paragraphs(text):
        start = 0
        for match in _END.finditer(paragraph):
            if not _NO_END.search(paragraph[start : match.end()].rstrip()):
                found.append((begin + start, begin + match.end()))
                start = match.end()
        found.append((begin + start, begin + len(paragraph)))
    stripped = [_stripped(text, start, end) for start, end in found]
    return [(start, end) for start, end in stripped if start < end]


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Each paragraph with the place where it begins."""
    start = 0
    for match in _PARAGRAPH.finditer(text):
        yield start, text[start : match.start()]
        start = match.end()
    yield start, text[start:]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
