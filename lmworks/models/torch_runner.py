"""A network run by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.models.adapted import rows_adapted
from lmworks.models.cache import Cache
from lmworks.models.config import ModelConfig
from lmworks.models.kv_cache import KVCache
from lmworks.models.linear import packed_products
from lmworks.models.memory import Memory
from lmworks.models.network import Network, evaluating
from lmworks.models.precision import fast_dtype
from lmworks.models.runner import (
    Adapters,
    Interrupt,
    RealTokens,
    Row,
    TokenChoice,
    TokenRows,
    must_end_with_tokens,
    of_each_row,
)
from lmworks.models.seen_vectors import SeenVectors

if TYPE_CHECKING:
    from lmworks.models.runner import Encoded, Mask, Tokens


class TorchRunner:
    """The runner that knows every network, and what the others are measured by."""

    name = "PyTorch"
    weights_version = 0
    """It keeps no beginnings, and reads the weights as they are."""

    def __init__(self, network: Network) -> None:
        self.network = network

    @property
    def config(self) -> ModelConfig:
        """The network's."""
        return self.network.config

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout and gradients; telling each part of a network that nobody trains would take 2 ms."""
        with torch.inference_mode(), evaluating(self.network) if self.network.training else nullcontext():
            yield

    @property
    def device(self) -> str:
        """The network's."""
        return self.network.device.type

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token, in the type of the weights."""
        return self.config.cached_numbers * self.network.dtype.itemsize

    @property
    def page_tokens(self) -> None:
        """None: each row holds all of its tokens."""

    def own_threads(self, cache: KVCache | None = None) -> bool:
        """It runs on PyTorch's own."""
        return False

    def hidden(
        self,
        tokens: Tokens,
        mask: Mask | None = None,
        cache: KVCache | None = None,
        segments: Tokens | None = None,
        adapter: str | None = None,
    ) -> Float[Tensor, "batch seq dim"]:
        """Hidden states after the last norm, in the type of the weights."""
        assert cache is None or isinstance(cache, Cache)
        adapters = [adapter] * len(tokens) if cache is None else cache.adapters
        with rows_adapted(self.network, adapters):
            return self.network.hidden(tokens, mask, cache=cache, segments=segments)

    def of_texts(
        self,
        then: Callable[[Any, Any], Any],
        tokens: TokenRows,
        mask: RealTokens,
        segments: TokenRows | None = None,
        adapter: str | None = None,
        exact: bool = False,
    ) -> np.ndarray:
        """What `then` makes of states and mask, both tensors on the network's device."""
        device = self.network.device
        dtype = torch.float32 if exact else fast_dtype(device)
        ids, real = self._tensors(tokens, mask)
        of = None if segments is None else torch.as_tensor(segments, device=device)
        with self.evaluating(), packed_products(dtype, device):
            made: np.ndarray = then(self.hidden(ids, real, segments=of, adapter=adapter), real).float().cpu().numpy()
            return made

    def classes(
        self,
        tokens: TokenRows,
        mask: RealTokens,
        segments: TokenRows | None = None,
        exact: bool = False,
    ) -> Float[np.ndarray, "batch labels"]:
        """Scores of the classes of texts."""

        def told(states: Tensor, real: Tensor) -> Tensor:
            return self.network.classify(states.to(self.network.dtype), real)

        return self.of_texts(told, tokens, mask, segments, exact=exact)

    def logits(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch vocab"]:
        """Logits of hidden states, in float32."""
        return self.network.logits(hidden)

    def next_logits(
        self, tokens: TokenRows, cache: KVCache, mask: RealTokens | None = None
    ) -> Float[np.ndarray, "batch vocab"]:
        """Logits after the last token of each row."""
        must_end_with_tokens(mask)
        states = self.hidden(*self._tensors(tokens, mask), cache)[:, -1]
        return self.network.logits(states).float().detach().cpu().numpy()

    def read(self, tokens: TokenRows, cache: KVCache, mask: RealTokens | None = None) -> None:
        """Put keys and values of more tokens into the cache."""
        self.hidden(*self._tensors(tokens, mask), cache)

    def _tensors(self, tokens: TokenRows, mask: RealTokens | None) -> tuple[Tensor, Tensor | None]:
        device = self.network.device
        return torch.as_tensor(tokens, device=device), None if mask is None else torch.as_tensor(mask, device=device)

    def encode(self, sources: TokenRows, mask: RealTokens | None = None) -> Memory:
        """The encoder's states."""
        return self.network.encode(*self._tensors(sources, mask))

    def can_write(self, cache: KVCache) -> bool:
        """Whoever calls it chooses each token."""
        return False

    def write(self, rows: Sequence[Row], cache: KVCache, rounds: int, interrupt: Interrupt) -> NoReturn:
        """Never: `can_write` says so."""
        raise AssertionError("PyTorch writes nothing ahead; ask can_write first")

    def new_cache(
        self, rows: int = 1, capacity: int = 256, memory: Encoded | None = None, adapters: Adapters = None
    ) -> Cache:
        """An empty cache."""
        assert memory is None or isinstance(memory, Memory)
        cache = self.network.new_cache(rows, capacity, memory)
        cache.adapters = of_each_row(adapters, rows)
        return cache

    def take_adapters(self, put: Callable[[], None]) -> None:
        """It runs whatever parts the network has."""
        put()

    def take_images(self, seen: SeenVectors) -> None:
        """Nothing: the network's own reader has them."""

    def new_prefixes(self, limit: int) -> None:
        """None: keys and values of several texts stand in one buffer, which they cannot share."""
        return

    def draw(self, logits: Float[np.ndarray, " vocab"], choice: TokenChoice, uniform: float) -> int | None:
        """None: the strategy does it."""
        return None

    def log_total(self, logits: Float[np.ndarray, " vocab"]) -> float | None:
        """None likewise."""
        return None
