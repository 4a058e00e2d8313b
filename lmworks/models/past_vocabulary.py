"""Vectors that a text reads in the place of tokens: each has an id past the vocabulary, so that whatever handles texts
(batches, kept beginnings, the compiled path) handles them without knowing it."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.models.seen_vectors import SeenVectors


class PastVocabulary:
    """Puts vectors where a text has ids past the vocabulary."""

    def __init__(self, vocabulary: int, seen: SeenVectors) -> None:
        """`vocabulary` is the first id that no token has."""
        self.vocabulary, self.seen = vocabulary, seen
        """The vectors that were remembered."""

    def __deepcopy__(self, memo: Any) -> Self:
        """A copy of a network reads the same vectors."""
        return self

    def known(self, tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
        """The tokens, with token 0 in place of ids past the vocabulary, so that they can be looked up."""
        return torch.where(tokens < self.vocabulary, tokens, 0)

    def vectors(self, ids: Int[Tensor, " count"]) -> Float[Tensor, "count dim"]:
        """Those of some ids. ConfigError for an id that none has."""
        return torch.from_numpy(self.seen.rows(ids.tolist()))

    def put(
        self, embedded: Float[Tensor, "batch seq dim"], tokens: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """The embedded tokens, with vectors in their places. ConfigError for an id that none has."""
        past = tokens >= self.vocabulary
        if not bool(past.any()):
            return embedded
        return embedded.index_put((past,), self.vectors(tokens[past]).to(embedded))
