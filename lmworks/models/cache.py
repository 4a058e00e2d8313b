"""KV cache: the keys and values of the tokens read so far, so that a new token attends without reading them again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Bool, Float, Int
from lmworks.models.config import ModelConfig
from lmworks.models.kv_cache import KVCache
from lmworks.models.memory import Memory

KeysOrValues = Float[Tensor, "batch kv_heads seq head_dim"]

ROOM = 64
"""Room for tokens after rows that were joined, before their buffers grow."""
WASTE = 64
"""Columns of padding that are not worth moving the text for."""


class Cache(KVCache):
    """Keys and values of every layer, in buffers that double when they are full.

    `length` counts the tokens that every layer holds, `tokens` are these. `real` marks which of them are text and not
    padding (None as long as all are).
    """

    lead = 0
    """How many tokens, the first, are a trained prompt's and none of the text's."""

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
        self.adapters: list[str | None] = [None] * batch
        self.memory = memory
        """What an encoder-decoder attends to, a source for each row."""
        self._read: list[Int[Tensor, "batch seq"]] = [torch.empty(batch, 0, dtype=torch.long, device=device)]
        self.real: Bool[Tensor, "batch seq"] | None = None
        self._keys, self._values = (
            [torch.empty(batch, heads, max(capacity, 1), width, dtype=dtype, device=device) for heads, width in shapes]
            for shapes in zip(*map(config.cached, range(config.layers)), strict=True)
        )

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
        """Store a layer's new keys and values after the old; return all of them, as views."""
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
        """Forget everything after the first `length` tokens of the text."""
        self.length = min(self.lead + length, self.length)
        self.tokens = self.tokens[:, : self.length]
        if self.real is not None:
            self.real = self.real[:, : self.length]

    def keep(self, rows: Sequence[int]) -> None:
        """These rows of the batch, in this order (finished requests leave, beams are reordered or become more)."""
        chosen = self._rows(rows)
        self._keys = [self._kept(store, chosen) for store in self._keys]
        self._values = [self._kept(store, chosen) for store in self._values]
        self.tokens = self.tokens.index_select(0, chosen)
        self.adapters = [self.adapters[row] for row in chosen.tolist()]
        if self.memory is not None:
            self.memory = self.memory.keep(chosen)
        if self.real is not None:
            self.real = self.real.index_select(0, chosen)

    def _rows(self, rows: Sequence[int] | Tensor) -> Int[Tensor, " rows"]:
        return torch.as_tensor(rows, dtype=torch.long, device=self._read[0].device)

    def fork(self, rows: Sequence[int]) -> Self:
        """A cache with these rows, in this order, which goes on by itself; this one stays as it is."""
        chosen = self._rows(rows)
        forked = copy.copy(self)
        forked._keys, forked._values = (
            [store[:, :, : self.length].index_select(0, chosen) for store in stores]
            for stores in (self._keys, self._values)
        )
        forked.tokens = self.tokens.index_select(0, chosen)
        forked.memory = None if self.memory is None else self.memory.keep(chosen)
        forked.real = None if self.real is None else self.real.index_select(0, chosen)
        forked.adapters = [self.adapters[row] for row in chosen.tolist()]
        return forked

    def join(self, other: Cache) -> None:
        """Append another cache's rows to these; the shorter texts are padded on the left."""
        longest = max(self.length, other.length)
        real = torch.cat([one._real(longest) for one in (self, other)])
        self.real = None if bool(real.all()) else real
        self._keys, self._values = (
            [self._joined(mine, theirs, longest, other.length) for mine, theirs in zip(*pair, strict=True)]
            for pair in ((self._keys, other._keys), (self._values, other._values))
        )
        pads = [F.pad(one.tokens, (longest - one.length, 0)) for one in (self, other)]
        self.tokens, self.length, self.lead = torch.cat(pads), longest, max(self.lead, other.lead)
        self.adapters += other.adapters
        if self.memory is not None and other.memory is not None:
            self.memory = self.memory.join(other.memory)

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last tokens of each row, as many as `counts` says; padding after them goes too."""
        if not any(counts):
            return
        real = self._real(self.length)
        from_end = real.flip(1).cumsum(1).flip(1)
        real = real & (from_end > torch.tensor(counts, device=real.device)[:, None])
        self.real = real
        self.truncate(max(int(real.any(0).nonzero().max()) + 1 - self.lead, 0) if bool(real.any()) else 0)
        if bool(self.real.all()):
            self.real = None

    def close_up(self) -> None:
        """Give back the columns of padding where they are more than the text: rows that left, tokens that were cut."""
        if self.real is None:
            return
        longest = int(self.real.sum(1).max())
        if self.length <= 2 * longest + WASTE:
            return
        # Padding first, then each row's text as it stands; the last columns hold all texts.
        places = self.real.int().argsort(dim=1, stable=True)[:, self.length - longest :]
        rows = torch.arange(len(places), device=places.device)[:, None]
        self._keys, self._values = (
            [one[rows, :, places].transpose(1, 2).contiguous() for one in stores]
            for stores in (self._keys, self._values)
        )
        self.tokens, self.real, self.length = self.tokens[rows, places], self.real[rows, places], longest
        if bool(self.real.all()):
            self.real = None

    def _real(self, length: int) -> Bool[Tensor, "batch length"]:
        """Which columns are text, padded on the left to a length."""
        own = torch.ones_like(self.tokens, dtype=torch.bool) if self.real is None else self.real
        return F.pad(own, (length - self.length, 0), value=False)

    def _joined(self, mine: KeysOrValues, theirs: KeysOrValues, longest: int, their_length: int) -> KeysOrValues:
        """Two buffers one below the other. Padding is zero: what nobody sees still is multiplied by zero."""
        rows, (_, heads, _, width) = len(mine) + len(theirs), mine.shape
        joined = mine.new_zeros(rows, heads, longest + ROOM, width)
        joined[: len(mine), :, longest - self.length : longest] = mine[:, :, : self.length]
        joined[len(mine) :, :, longest - their_length : longest] = theirs[:, :, :their_length]
        return joined

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
