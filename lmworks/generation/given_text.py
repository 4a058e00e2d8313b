"""GivenText: an answer that is known beforehand, token for token; the model says how likely each is.

model.generate("It shows", constraint=GivenText((260, 1_012), "known caption"))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmworks.generation.constraints import Constraint, Guide
from lmworks.generation.distribution import Logits
from lmworks.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class GivenText(Constraint):
    """The tokens of an answer, at least one."""

    tokens: tuple[int, ...]
    name: str = "given text"

    def grammar(self) -> str:
        """None in llguidance's form: its own guide counts."""
        raise AssertionError("it brings its own guide")

    def start(self, tokenizer: Tokenizer, vocab_size: int) -> Guide:
        """A guide for one answer."""
        return _Guide(self, vocab_size)


class _Guide(Guide):
    def __init__(self, given: GivenText, vocab_size: int, written: int = 0) -> None:
        self.given, self.vocab_size, self.written, self.name = given, vocab_size, written, given.name

    def copy(self) -> _Guide:
        return _Guide(self.given, self.vocab_size, self.written)

    @property
    def complete(self) -> bool:
        return self.written == len(self.given.tokens)

    def look(self) -> np.ndarray:
        mask = np.zeros(self.vocab_size, bool)
        mask[self.given.tokens[self.written]] = True
        return mask

    def allowed(self, logits: Logits) -> Logits:
        token = self.given.tokens[self.written]
        allowed = np.full_like(logits, -np.inf)
        allowed[token] = logits[token]
        return allowed

    def accept(self, token: int) -> None:
        self.written += 1
