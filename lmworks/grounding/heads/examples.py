"""From questions to training rows: windows of their paragraphs, with and without the answer.

A reader meets chunks of every length, so each window has a length of its own. A question is also given windows that
lack its answer: another part of its paragraph, or the most similar other paragraph of its article.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence

from lmworks.grounding.heads.questions import ParagraphQuestion
from lmworks.grounding.heads.rows import ReadingRow
from lmworks.tokens.tokenizer import Tokenizer

WIDTHS = (40, 64, 96, 144)
"""Tokens of a window, each as likely."""
Tokens = tuple[int, int]
"""The first and the last of some tokens."""


class Windows:
    """Makes the rows of questions."""

    def __init__(self, tokenizer: Tokenizer, asked: Sequence[ParagraphQuestion], seed: int) -> None:
        self.tokenizer, self.draw = tokenizer, random.Random(seed)
        self.read = {context: tokenizer.encode_spans(context) for context in {one.context for one in asked}}
        self.words = {context: set(re.findall(r"\w{4,}", context.lower())) for context in self.read}
        self.articles: dict[str, list[str]] = defaultdict(list)
        for one in asked:
            if one.context not in self.articles[one.title]:
                self.articles[one.title].append(one.context)

    def row(self, asked: ParagraphQuestion) -> ReadingRow:
        """A window around the answer, or around what looks like one."""
        ids, offsets = self.read[asked.context]
        span = asked.answers[0] if asked.answers else asked.plausible
        inside = None if span is None else tokens_of(offsets, *span)
        start, end = self._window(len(ids), inside)
        answer = (inside[0] - start, inside[1] - start) if asked.answers and inside else None
        return self._made(asked, ids[start:end], answer)

    def without_answer(self, asked: ParagraphQuestion, beside: float) -> ReadingRow | None:
        """A window without the answer, of its own paragraph with the probability `beside`; None where there is nothing
        to take."""
        stays = self.draw.random() < beside
        ids, offsets = self.read[asked.context]
        first, last = tokens_of(offsets, *asked.answers[0])
        texts = [asked.context[slice(*one)] for one in asked.answers]
        parts = [part for part in (ids[: max(first - 4, 0)], ids[last + 5 :]) if len(part) > 24]
        if parts and stays:
            part = self.draw.choice(parts)
        else:
            others = [one for one in self.articles[asked.title] if not any(text in one for text in texts)]
            if not others:
                return None
            words = set(re.findall(r"\w{4,}", asked.text.lower()))
            part = self.read[max(others, key=lambda one: len(self.words[one] & words))][0]
        start, end = self._window(len(part), None)
        return self._made(asked, part[start:end], None)

    def _window(self, size: int, inside: Tokens | None) -> Tokens:
        """The tokens of a window, from and to, with those `inside` it."""
        width = self.draw.choice(WIDTHS)
        if size <= width:
            return 0, size
        low, high = 0, size - width
        if inside is not None:
            width = max(width, inside[1] - inside[0] + 1)
            low, high = max(0, inside[1] + 1 - width), min(inside[0], size - width)
        start = self.draw.randint(low, max(low, high))
        return start, start + width

    def _made(self, asked: ParagraphQuestion, text: list[int], answer: Tokens | None) -> ReadingRow:
        return ReadingRow.of(self.tokenizer.encode(asked.text, special=False)[:64], text, answer, self.tokenizer)


def tokens_of(offsets: Sequence[tuple[int, int]], start: int, end: int) -> Tokens:
    """The first and the last token of a span of characters."""
    first = next(place for place, (_, stop) in enumerate(offsets) if stop > start)
    last = max((place for place, (begin, _) in enumerate(offsets) if begin < end), default=first)
    return first, max(first, last)
