"""What may run a network in PyTorch's place where nothing needs a gradient: the compiled path (`lmworks.kernels`)."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.models.cache import Cache


class Engine(Protocol):
    """Computes what the network computes, within the error of its number format."""

    @property
    def has_head(self) -> bool:
        """It makes logits too; else the network's own head does."""

    def ready(self, fresh: bool) -> bool:
        """Does it still stand for the network: no hooks, no other parts, and, looked at for a `fresh` text, no other weights?"""

    def head_ready(self) -> bool:
        """Do its logits stand for those of the network, too?"""

    def hidden(
        self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None, cache: Cache | None
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states behind the last norm, in float32; zeros for padding. The cache is one of its own."""

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, without the cap."""

    def next_logits(
        self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None, cache: Cache
    ) -> Float[Tensor, "batch vocab"]:
        """Logits behind the last real token of each row, without the cap; the cache holds those before."""

    def take_in(self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None, cache: Cache) -> None:
        """Keys and values of more tokens of each row into the cache."""

    def new_cache(self, batch: int) -> Cache:
        """An empty cache."""

    def owns(self, cache: Cache) -> bool:
        """Is it one of its own?"""
