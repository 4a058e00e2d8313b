"""KV cache: the keys and values of the tokens read so far, so that a new token attends without reading them again."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.models.config import ModelConfig
from lmworks.models.memory import Memory

KeysOrValues = Float[Tensor, "batch kv_heads seq head_dim"]


class Cache:
    """Keys and values of every layer, in buffers that double when they are full.

    `length` counts the tokens that every layer holds, `tokens` are these. `real` marks which of them are text and not padding
    (None as long as all are).
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        memory: Memory | None = None,
    ) -> None:
        self.length = 0
        self.memory = memory
        """What an encoder-decoder attends to, a source for each row."""
        self._read: list[Int[Tensor, "batch seq"]] = [torch.empty(batch, 0, dtype=torch.long, device=device)]
        self.real: Bool[Tensor, "batch seq"] | None = None
        self._shape = (batch, config.kv_heads, max(capacity, 1), config.head_dim)
        self._keys = [torch.empty(self._shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self._values = [torch.empty(self._shape, dtype=dtype, device=device) for _ in range(config.layers)]

    @property
    def tokens(self) -> Int[Tensor, "batch seq"]:
        """The tokens read so far; put together when somebody asks, not at each step."""
        if len(self._read) > 1:
            self._read = [torch.cat(self._read, dim=1)]
        return self._read[0]

    @tokens.setter
    def tokens(self, tokens: Int[Tensor, "batch seq"]) -> None:
        self._read = [tokens]

    def append(self, layer: int, keys: KeysOrValues, values: KeysOrValues) -> tuple[KeysOrValues, KeysOrValues]:
        """Store a layer's new keys and values behind the old; return all of them, as views."""
        end = self.length + keys.shape[2]
        for store, new in ((self._keys, keys), (self._values, values)):
            if end > store[layer].shape[2]:
                batch, heads, capacity, width = store[layer].shape
                grown = store[layer].new_empty(batch, heads, max(end, 2 * capacity), width)
                grown[:, :, : self.length] = store[layer][:, :, : self.length]
                store[layer] = grown
            store[layer][:, :, self.length : end] = new
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    def advance(self, tokens: Int[Tensor, "batch seq"], real: Bool[Tensor, "batch seq"] | None) -> None:
        """Count tokens that all layers have stored; `real` marks those that are no padding."""
        if real is not None or self.real is not None:
            before = self.real if self.real is not None else torch.ones_like(self.tokens, dtype=torch.bool)
            new = real if real is not None else torch.ones_like(tokens, dtype=torch.bool)
            self.real = torch.cat([before, new], dim=1)
        self._read.append(tokens)
        self.length += tokens.shape[1]

    def truncate(self, length: int) -> None:
        """Forget everything behind the first `length` tokens."""
        self.length = min(length, self.length)
        self.tokens = self.tokens[:, : self.length]
        if self.real is not None:
            self.real = self.real[:, : self.length]

    def keep(self, rows: Tensor) -> None:
        """These rows of the batch, in this order (finished requests leave, beams are reordered or become more)."""
        self._keys = [self._kept(store, rows) for store in self._keys]
        self._values = [self._kept(store, rows) for store in self._values]
        self._shape = (len(rows), *self._shape[1:])
        self.tokens = self.tokens.index_select(0, rows)
        if self.memory is not None:
            self.memory = self.memory.keep(rows)
        if self.real is not None:
            self.real = self.real.index_select(0, rows)

    def _kept(self, store: KeysOrValues, rows: Tensor) -> KeysOrValues:
        """The rows of a buffer; only what holds tokens is copied, and not the rows that stay where they are."""
        if len(rows) != len(store):
            kept = store.new_empty(len(rows), *store.shape[1:])
            kept[:, :, : self.length] = store[:, :, : self.length].index_select(0, rows)
            return kept
        moved = (rows != torch.arange(len(rows), device=rows.device)).nonzero()[:, 0]
        held = store[:, :, : self.length]
        held[moved] = held[rows[moved]]
        return store

    @property
    def bytes(self) -> int:
        """Memory held by the buffers."""
        return sum(store.numel() * store.element_size() for store in self._keys + self._values)
