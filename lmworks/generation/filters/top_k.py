"""Top-k: keep a fixed number of tokens. Source: Fan et al. 2018, https://arxiv.org/abs/1805.04833."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Filter

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Kept, Scores

CHUNK = 128
"""Tokens whose largest score stands for them while the k best are looked for."""


class TopK(Config):
    """Top-k keeps a fixed number of tokens."""

    top_k: int | None = Field(default=None, gt=0)
    """Keep the k most probable tokens."""


def keep(scores: Scores, top_k: int) -> Kept | None:
    """The k most probable tokens, and those as probable as the last of them."""
    if top_k >= len(scores):
        return None
    # The k-th largest of the chunks' maxima is at most the k-th largest of all: what is not below it holds the k.
    whole = len(scores) // CHUNK * CHUNK
    maxima = scores[:whole].reshape(-1, CHUNK).max(axis=1)
    lowest = np.partition(maxima, -top_k)[-top_k] if len(maxima) > top_k else -np.inf
    found = np.flatnonzero(scores >= lowest)
    best = scores[found]
    return found[best >= np.partition(best, -top_k)[-top_k]]


TOP_K = Filter("top_k", place=10, settings=TopK, keep=keep, sees="logits")
