"""No run of tokens comes twice. Source: Paulus et al. 2017, https://arxiv.org/abs/1705.04304, section 2.5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Adjustment, History, forbid

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Logits


class NoRepeatNgram(Config):
    """No run of tokens comes twice."""

    no_repeat_ngram: int | None = Field(default=None, gt=0, le=1024)
    """No run of this many tokens comes twice (prompt included, a source not)."""


def change(logits: Logits, history: History, no_repeat_ngram: int) -> Logits:
    """Minus infinity for the tokens that would complete a run of tokens which occurred already."""
    return forbid(logits, repeated(history.tokens, no_repeat_ngram))


def repeated(tokens: Sequence[int], size: int) -> set[int]:
    """The tokens that would complete a run of `size` tokens which occurred already."""
    start = list(tokens[len(tokens) - size + 1 :])
    last = start[-1] if start else None
    return {
        tokens[end]
        for end in range(size - 1, len(tokens))
        if last is None or (tokens[end - 1] == last and list(tokens[end - size + 1 : end]) == start)
    }


NO_REPEAT_NGRAM = Adjustment("no_repeat_ngram", place=40, settings=NoRepeatNgram, change=change)
