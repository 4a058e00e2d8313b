"""ImageSpans: what tokens of images an answer may hold: between `<image>` and `</image>` nothing but codes, and exactly
as many as an image has; outside of them none.

    spans = ImageSpans.of(tokenizer)
    [*spans.around(codes)]                      # <image> code ... code </image>
    model.generate(ids, constraint=spans)       # text alone; spans.drawing lets images be opened

A vocabulary with images names its tokens `<image>`, `</image>` and `<image_0>`, `<image_1>`, ... (early fusion:
Chameleon Team 2024, https://arxiv.org/abs/2405.09818).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from lmworks.basics.errors import ConfigError
from lmworks.generation.constraints import Constraint, Guide
from lmworks.generation.distribution import Logits
from lmworks.tokens.tokenizer import Tokenizer

OPENS, CLOSES = "<image>", "</image>"


def code_names(codes: int) -> list[str]:
    """The special tokens of images, in the order of their ids."""
    return [OPENS, CLOSES, *(f"<image_{number}>" for number in range(codes))]


@dataclass(frozen=True)
class ImageSpans(Constraint):
    """Where in a vocabulary the tokens of images are, and what an answer may hold of them."""

    opens: int
    closes: int
    first: int
    """The id of code 0; the others follow."""
    codes: int
    places: int
    """Codes of an image."""
    drawing: bool = False
    """Images may be opened; else an answer is text alone."""

    @property
    def name(self) -> str:
        """What it is."""
        return "form of an answer with images"

    @classmethod
    def of(cls, tokenizer: Tokenizer, codes: int, places: int) -> Self:
        """Those of a tokenizer. ConfigError where it lacks some, or they do not follow one another."""
        ids = {text: number for number, text in tokenizer.special.items()}
        found = [ids.get(name) for name in code_names(codes)]
        opens = found[0]
        if opens is None or found != list(range(opens, opens + codes + 2)):
            raise ConfigError(
                f"the tokenizer of {tokenizer.name} has no tokens {OPENS}, {CLOSES} and <image_0> to "
                f"<image_{codes - 1}> in a row; it does not belong to this tokenizer of images"
            )
        return cls(opens, opens + 1, opens + 2, codes, places)

    def but_drawing(self) -> ImageSpans:
        """The same, where images may be opened."""
        return replace(self, drawing=True)

    def around(self, codes: Iterable[int]) -> list[int]:
        """The tokens of an image, with its two marks."""
        return [self.opens, *(self.first + code for code in codes), self.closes]

    def start(self, tokenizer: Tokenizer, vocab_size: int) -> Guide:
        """A guide for one answer, outside of an image."""
        return SpanGuide(self, vocab_size)


class SpanGuide(Guide):
    """The spans at work on one answer."""

    def __init__(self, spans: ImageSpans, vocab_size: int, written: int | None = None) -> None:
        self.spans, self.vocab_size, self.name = spans, vocab_size, spans.name
        self.written = written
        """Codes of the image that is open; None outside of any."""

    def copy(self) -> SpanGuide:
        """A guide for a second answer, as far on as this one."""
        return SpanGuide(self.spans, self.vocab_size, self.written)

    @property
    def complete(self) -> bool:
        """Can nothing follow? Text always can."""
        return False

    def look(self) -> np.ndarray:
        """Which tokens can come next."""
        spans, mask = self.spans, np.zeros(self.vocab_size, bool)
        if self.written is None:
            mask[:] = True
            mask[spans.closes : spans.first + spans.codes] = False
            mask[spans.opens] = spans.drawing
        elif self.written < spans.places:
            mask[spans.first : spans.first + spans.codes] = True
        else:
            mask[spans.closes] = True
        return mask

    def allowed(self, logits: Logits) -> Logits:
        """Minus infinity for what cannot come next."""
        return np.where(self.look()[: len(logits)], logits, np.array(-np.inf, logits.dtype))

    def accept(self, token: int) -> None:
        """The next token of the answer."""
        if token == self.spans.opens:
            self.written = 0
        elif token == self.spans.closes:
            self.written = None
        elif self.written is not None:
            self.written += 1
