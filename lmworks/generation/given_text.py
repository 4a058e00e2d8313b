"""GivenText: an answer that is known beforehand, token for token; the model says how likely each is.

model.generate("It shows", constraint=GivenText((260, 1_012), "known caption"))
"""

from __future__ import annotations

from dataclasses import dataclass

from lmworks.generation.constraints import Constraint, Guide
from lmworks.generation.distribution import Logits
from lmworks.generation.limits import force
from lmworks.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class GivenText(Constraint):
    """The tokens of an answer, at least one."""

    tokens: tuple[int, ...]
    name: str = "given text"

    def start(self, tokenizer: Tokenizer, vocab_size: int) -> Guide:
        """A guide for one answer."""
        return _Guide(self)


class _Guide(Guide):
    def __init__(self, given: GivenText, written: int = 0) -> None:
        self.name, self.given, self.written = given.name, given, written

    def copy(self) -> _Guide:
        return _Guide(self.given, self.written)

    @property
    def complete(self) -> bool:
        return self.written == len(self.given.tokens)

    def allowed(self, logits: Logits) -> Logits:
        return force(logits, self.given.tokens[self.written])

    def accept(self, token: int) -> None:
        self.written += 1
