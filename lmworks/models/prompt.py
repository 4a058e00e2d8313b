"""A trained prompt: vectors in place of tokens, which every text begins with and nobody sees.

Source: Lester et al. 2021, https://arxiv.org/abs/2104.08691. A network that has one reads it before each text: before
the first token of each row, of each of a row's packed documents, or of an empty cache. The states that it gives back
are those of the text's own tokens, so whoever trains, scores or generates need not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.models.cache import Cache

WIDTH = 32
"""Rows of packed documents are widened to a multiple of this, for attention in tiles."""


@dataclass(frozen=True)
class Led:
    """Rows with the prompt before each of their texts."""

    tokens: Int[Tensor, "batch wide"]
    """0 where the prompt stands."""
    real: Bool[Tensor, "batch wide"] | None
    documents: Int[Tensor, "batch wide"] | None
    seen: Bool[Tensor, "batch wide"] | None
    """What tokens before them see, too (a prefix language model)."""
    own: Int[Tensor, "batch seq"]
    """Where each of the text's own tokens stands."""
    led: Int[Tensor, "batch wide"]
    """The vector that stands in a place, -1 for none."""

    @property
    def length(self) -> int:
        """Vectors of the prompt."""
        return int(self.led.max()) + 1

    def put(
        self, embedded: Float[Tensor, "batch seq dim"], vectors: Float[Tensor, "length dim"]
    ) -> Float[Tensor, "batch wide dim"]:
        """The embedded tokens, and the prompt before each text."""
        wide = embedded.new_zeros(*self.led.shape, embedded.shape[-1])
        wide = wide.scatter(1, self.own[..., None].expand_as(embedded), embedded)
        prompt = F.embedding(self.led.clamp(min=0), vectors.to(embedded.dtype))
        return torch.where((self.led >= 0)[..., None], prompt, wide)

    def taken(self, states: Float[Tensor, "batch wide dim"]) -> Float[Tensor, "batch seq dim"]:
        """The states of the text's own tokens."""
        return states.gather(1, self.own[..., None].expand(-1, -1, states.shape[-1]))


class TrainedPrompt(nn.Module):
    """`length` vectors of a network's width, in float32 whatever it computes in."""

    def __init__(self, length: int, dim: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(length, dim))
        self.enabled = True
        """Off, texts are read without it."""

    def leads(self, cache: Cache | None) -> bool:
        """Is it read before the tokens that follow this cache?"""
        return self.enabled and (cache is None or not cache.length)

    def led(
        self,
        tokens: Int[Tensor, "batch seq"],
        real: Bool[Tensor, "batch seq"] | None,
        documents: Int[Tensor, "batch seq"] | None,
        seen: Bool[Tensor, "batch seq"] | None,
    ) -> Led:
        """The rows with room for it; padding gets none."""
        length, (batch, seq) = len(self.vectors), tokens.shape
        starts = torch.zeros_like(tokens)
        starts[:, 0] = 1
        if documents is not None:
            starts[:, 1:] = documents[:, 1:] != documents[:, :-1]
            starts = starts * (documents >= 0)
        own = torch.arange(seq, device=tokens.device) + length * starts.cumsum(1)
        wide = seq + length * int(starts.sum(1).max())
        wide = wide if documents is None else -(-wide // WIDTH) * WIDTH
        row, first = starts.nonzero(as_tuple=True)
        places = own[row, first][:, None] - length + torch.arange(length, device=tokens.device)
        led = torch.full((batch, wide), -1, device=tokens.device)
        led[row[:, None], places] = torch.arange(length, device=tokens.device).expand_as(places)

        def spread(values: Tensor | None, elsewhere: int) -> Tensor | None:
            if values is None:
                return None
            spread = values.new_full((batch, wide), elsewhere).scatter(1, own, values)
            spread[row[:, None], places] = values[row, first][:, None] if values is documents else True
            return spread

        found = tokens.new_zeros(batch, wide).scatter(1, own, tokens)
        return Led(found, spread(real, 0), spread(documents, -1), spread(seen, 0), own, led)
