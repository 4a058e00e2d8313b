"""A network run by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

from jaxtyping import Float
from torch import Tensor

from lmworks.models.adapted import Adapters, of_each_row, rows_adapted
from lmworks.models.cache import Cache
from lmworks.models.memory import Memory
from lmworks.models.network import Network
from lmworks.models.runner import Interrupt, Mask, Row, TokenChoice, Tokens, must_end_with_tokens


class TorchRunner:
    """The runner that knows every network, and what the others are measured by."""

    name = "PyTorch"
    weights_version = 0
    """It keeps no beginnings, and reads the weights as they are."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token, in the type of the weights."""
        config = self.network.config
        return config.cached_numbers * self.network.dtype.itemsize

    def own_threads(self, cache: Cache | None = None) -> bool:
        """It runs on PyTorch's own."""
        return False

    def hidden(
        self,
        tokens: Tokens,
        mask: Mask | None = None,
        cache: Cache | None = None,
        segments: Tokens | None = None,
        adapter: str | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states after the last norm, in the type of the weights."""
        adapters = [adapter] * len(tokens) if cache is None else cache.adapters
        with rows_adapted(self.network, adapters):
            return self.network.hidden(tokens, mask, cache=cache, segments=segments)

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, in float32."""
        return self.network.logits(hidden)

    def next_logits(self, tokens: Tokens, cache: Cache, mask: Mask | None = None) -> Float[Tensor, "batch vocab"]:
        """Logits after the last token of each row."""
        must_end_with_tokens(mask)
        return self.network.logits(self.hidden(tokens, mask, cache)[:, -1])

    def read(self, tokens: Tokens, cache: Cache, mask: Mask | None = None) -> None:
        """Put keys and values of more tokens into the cache."""
        self.hidden(tokens, mask, cache)

    def can_write(self, cache: Cache) -> bool:
        """Whoever calls it chooses each token."""
        return False

    def write(self, rows: Sequence[Row], cache: Cache, rounds: int, interrupt: Interrupt) -> NoReturn:
        """Never: `can_write` says so."""
        raise AssertionError("PyTorch writes nothing ahead; ask can_write first")

    def new_cache(
        self, rows: int = 1, capacity: int = 256, memory: Memory | None = None, adapters: Adapters = None
    ) -> Cache:
        """An empty cache."""
        cache = self.network.new_cache(rows, capacity, memory)
        cache.adapters = of_each_row(adapters, rows)
        return cache

    def take_adapters(self, put: Callable[[], None]) -> None:
        """It runs whatever parts the network has."""
        put()

    def new_prefixes(self, limit: int) -> None:
        """None: keys and values of several texts stand in one buffer, which they cannot share."""
        return

    def draw(self, logits: Float[Tensor, " vocab"], choice: TokenChoice, uniform: float) -> int | None:
        """None: the strategy does it."""
        return None

    def log_total(self, logits: Float[Tensor, " vocab"]) -> float | None:
        """None likewise."""
        return None
