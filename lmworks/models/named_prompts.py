"""Trained prompts beside a network, of which each text has one by its name, or none.

Each vector has an id past the vocabulary, as those of images have, so that a text with a prompt is a text that begins
with these ids: whatever handles texts (batches, kept beginnings, the compiled path) need not know of it.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.models.seen_vectors import SeenVectors

ALL = 2**62
"""Bytes that are held: a prompt is never forgotten."""


class NamedPrompts:
    """Several trained prompts, as vectors that the blocks read."""

    def __init__(self, vocabulary: int) -> None:
        """`vocabulary` is the first id that no token has."""
        self.vocabulary, self.seen = vocabulary, SeenVectors(vocabulary, 1, ALL)
        self.ids: dict[str, list[int]] = {}
        """Of each prompt, what its texts begin with."""

    def __deepcopy__(self, memo: Any) -> Self:
        """A copy of a network has the same prompts."""
        return self

    def add(self, name: str, vectors: Float[Tensor, "length dim"]) -> None:
        """One more."""
        made = self.seen.remember(vectors.detach().float().cpu().numpy()[:, None])
        self.ids[name] = [one for [one] in made]

    def known(self, tokens: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
        """The tokens, with token 0 in place of prompts' ids, so that they can be looked up."""
        return torch.where(tokens < self.vocabulary, tokens, 0)

    def put(
        self, embedded: Float[Tensor, "batch seq dim"], tokens: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, "batch seq dim"]:
        """The embedded tokens, with prompts' vectors in their places. ConfigError for an id that none has."""
        past = tokens >= self.vocabulary
        if not bool(past.any()):
            return embedded
        vectors = torch.from_numpy(self.seen.rows(tokens[past].tolist()))
        return embedded.index_put((past,), vectors.to(embedded))
