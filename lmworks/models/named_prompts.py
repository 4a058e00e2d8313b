"""Trained prompts beside a network, of which each text has one by its name, or none: a text with a prompt begins with
the ids of the prompt's vectors."""

from __future__ import annotations

from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.models.past_vocabulary import PastVocabulary
from lmworks.models.seen_vectors import SeenVectors

UNBOUNDED = 2**62
"""Bytes that are held: a prompt is never forgotten."""


class NamedPrompts(PastVocabulary):
    """Several trained prompts, as vectors that the blocks read."""

    def __init__(self, vocabulary: int) -> None:
        """`vocabulary` is the first id that no token has."""
        super().__init__(vocabulary, SeenVectors(vocabulary, 1, UNBOUNDED))
        self.ids: dict[str, list[int]] = {}
        """Of each prompt, what its texts begin with."""

    def add(self, name: str, vectors: Float[Tensor, "length dim"]) -> None:
        """Keep one more, under a name."""
        made = self.seen.remember(vectors.detach().float().cpu().numpy()[:, None])
        self.ids[name] = [one for [one] in made]
