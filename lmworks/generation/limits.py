"""What an answer must keep to, whoever chooses its tokens: where it ends, and what the model's own files force or
forbid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config

if TYPE_CHECKING:
    from lmworks.generation.distribution import Logits

Finish = Literal["stop", "length", "window", "cancelled"]
"""stop: the model ended its answer, or a stop string came; length: max_new_tokens; window: the model's context is full;
cancelled: nobody wanted the rest."""


class ForcedTokens(Config):
    """What the files of a model force and forbid in every answer (generation_config.json: forced_bos_token_id, ...)."""

    first: int | None = Field(default=None, ge=0)
    """The token that opens an answer (BART's <s>, mBART's language)."""

    last: int | None = Field(default=None, ge=0)
    """The token that closes an answer which reaches its greatest length."""

    bad_words: tuple[Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)], ...] = ()
    """Runs of tokens that are never written (Marian: padding)."""

    @property
    def largest(self) -> int:
        """The largest id among them; -1 where there is none."""
        ids = [token for word in self.bad_words for token in word]
        return max([*ids, *(token for token in (self.first, self.last) if token is not None)], default=-1)


@dataclass(frozen=True)
class Limits:
    """The bounds of one answer."""

    ends: frozenset[int] = frozenset()
    """Tokens that end it."""
    longest: int = 2**62
    """Tokens at most."""
    at_longest: Finish = "length"
    """Why it ends there."""
    forced: ForcedTokens = field(default_factory=ForcedTokens)

    def forbidden(self, read: Sequence[int], written: int, least: int) -> set[int]:
        """Tokens that may not come next: ends before `least` tokens are written, and those that complete a bad word."""
        banned = set(self.ends) if written < least else set()
        for word in self.forced.bad_words:
            begun = len(word) - 1
            # An end is not a word that could be bad (as in transformers).
            if tuple(read[len(read) - begun :]) == word[:-1] and not (begun == 0 and word[0] in self.ends):
                banned.add(word[-1])
        return banned

    def force(self, logits: Logits, written: int) -> Logits:
        """All on the first or last token where one is forced."""
        if written == 0 and self.forced.first is not None:
            return force(logits, self.forced.first)
        if written == self.longest - 1 and self.forced.last is not None:
            return force(logits, self.forced.last)
        return logits


def force(logits: Logits, token: int) -> Logits:
    """All on one token: 0, and minus infinity for the others."""
    forced = np.full_like(logits, -np.inf)
    forced[token] = 0.0
    return forced
