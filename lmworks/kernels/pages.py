"""The KV cache of the compiled path: each row's keys and values in pages of 64 tokens, which rows may share.

A page has a part for each layer, one after another: of a layer with attention for keys and values (the layout:
operations/heads.py; of latent attention: operations/latent.py), of one with a short convolution for what tokens hand
on (operations/hand.py).

Rows hold their own text alone: padding takes no place. A page that several rows share (beams that have the same
beginning) is copied when one of them writes into it, up to its last token.

What the layers of a decoder attend to of a source is such a cache too, the decoder's `memory`, with a row for each of
its rows; nobody writes into it any more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, Self

import numpy as np

from lmworks.basics.arrays import Bool, Int
from lmworks.basics.errors import ConfigError
from lmworks.kernels.packed import aligned
from lmworks.models.config import ModelConfig
from lmworks.models.kv_cache import KVCache

PAGE = 64
BESIDE = 16
"""Positions whose keys lie side by side."""


class Attended(NamedTuple):
    """What queries attend to in a layer."""

    heads: int
    """Of keys."""
    key_dim: int
    value_dim: int


def attended(config: ModelConfig) -> Attended:
    """The keys and values that the kernels keep of a token. Of latent attention they are one key, the state with the
    rotated part after it, and as its value the state once more, as keys and values lie in different orders."""
    if config.latent is None:
        return Attended(config.kv_heads, config.head_dim, config.head_dim)
    assert config.rotary_dim is not None
    return Attended(1, config.latent.rank + config.rotary_dim, config.latent.rank)


def layer_bytes(config: ModelConfig, layer: int) -> int:
    """A layer's part of a page."""
    if config.convolves(layer):
        return 2 * PAGE * config.dim
    heads, key_dim, value_dim = attended(config)
    return 2 * PAGE * heads * (key_dim + value_dim)


def place_of(config: ModelConfig, layer: int) -> int:
    """Where it begins; of the layer after the last, the size of a page."""
    return sum(layer_bytes(config, one) for one in range(layer))


def head_bytes(config: ModelConfig) -> int:
    """What 64 keys or 64 values of a head take, where a page is a row of such parts: in each, positions lie one after
    another, 16 at a time. 0 where parts differ."""
    alike = config.latent is None and not any(config.convolves(layer) for layer in range(config.layers))
    return 2 * PAGE * config.head_dim if alike else 0


def token_bytes(config: ModelConfig) -> int:
    """What a cache keeps of one token."""
    return place_of(config, config.layers) // PAGE


class Page:
    """Keys and values of 64 tokens in every layer, and how many rows hold it."""

    __slots__ = ("address", "data", "users")

    def __init__(self, size: int) -> None:
        self.data = aligned(size)
        self.address, self.users = int(self.data.ctypes.data), 1


class PagedCache(KVCache):
    """What a row holds is `sizes[row]` tokens in `pages[row]`; `length` and `real` count padding too."""

    def __init__(self, batch: int, page_bytes: int, apart: bool = True, part_bytes: int = 0) -> None:
        self.length = 0
        self.memory: PagedCache | None = None
        """Keys and values of the rows' sources, of an encoder-decoder."""
        self.adapters: list[str | None] = [None] * batch
        self.real: Bool[np.ndarray, "batch seq"] | None = None
        self.page_bytes, self.apart = page_bytes, apart
        """Has each layer a part of a page, or do all share one, which the next overwrites?"""
        self.part_bytes = part_bytes or page_bytes
        """Parts of a page in which 16 positions come after the 16 before them; a page that has no such is one part."""
        self.sizes = [0] * batch
        self.aligned = True
        """Columns are shared by all rows; no longer when rows were joined."""
        self.pages: list[list[Page]] = [[] for _ in range(batch)]
        self._keep_addresses(np.zeros((batch, 8), np.int64))

    def _keep_addresses(self, addresses: np.ndarray) -> None:
        """Of the pages, for the kernels, int64 [batch, pages]."""
        self.addresses, self._first = addresses, int(addresses.ctypes.data)  # asked for at each token, and slow to ask

    def reserve(self, row: int, tokens: int) -> int:
        """Make room for more tokens of a row; returns the address of its list of pages."""
        pages, start = self.pages[row], self.sizes[row]
        needed = -(-(start + tokens) // PAGE)
        # The page that it writes into has room, as at most tokens.
        if start // PAGE == needed - 1 == len(pages) - 1 and pages[-1].users == 1:
            return self.list_address(row)
        if needed > self.addresses.shape[1]:
            more = np.zeros((len(self.pages), max(needed, 2 * self.addresses.shape[1])), np.int64)
            more[:, : self.addresses.shape[1]] = self.addresses
            self._keep_addresses(more)
        for number in range(start // PAGE, needed):
            if number == len(pages):
                pages.append(Page(self.page_bytes))
            elif pages[number].users > 1:
                pages[number] = self._copy(pages[number], max(start - number * PAGE, 0))
            self.addresses[row, number] = pages[number].address
        return self.list_address(row)

    def list_address(self, row: int) -> int:
        """Where the addresses of a row's pages stand; another place after `reserve`."""
        return self._first + row * self.addresses.shape[1] * 8

    def advance(self, tokens: Int[np.ndarray, "batch seq"], real: Bool[np.ndarray, "batch seq"] | None) -> None:
        """Count columns. Rows that were joined have none in common: each knows its own size."""
        if not self.aligned:
            return
        if real is not None or self.real is not None:
            before = np.ones((len(tokens), self.length), bool) if self.real is None else self.real
            self.real = np.concatenate([before, np.ones(tokens.shape, bool) if real is None else real], axis=1)
        self.length += tokens.shape[1]

    def join(self, other: KVCache) -> None:
        """Take another cache's rows after these; nothing is copied. From then on `cut` forgets, `truncate` cannot."""
        assert isinstance(other, PagedCache)
        self._unalign()
        self.sizes, self.pages = self.sizes + other.sizes, self.pages + other.pages
        self.adapters += other.adapters
        width = max(self.addresses.shape[1], other.addresses.shape[1])
        both = [np.pad(one.addresses, ((0, 0), (0, width - one.addresses.shape[1]))) for one in (self, other)]
        self._keep_addresses(np.concatenate(both))
        if self.memory is not None and other.memory is not None:
            self.memory.join(other.memory)

    def begin(self, row: int, pages: list[Page]) -> None:
        """Begin an empty row with pages that hold its first tokens already."""
        self._unalign()
        for page in pages:
            page.users += 1
        self.pages[row], self.sizes[row] = list(pages), PAGE * len(pages)
        self.reserve(row, 0)
        self.addresses[row, : len(pages)] = [page.address for page in pages]

    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last tokens of each row, as many as `counts` says."""
        if self.aligned and any(counts):
            self._unalign()
        for row, count in enumerate(counts):
            self._forget(row, count)

    def close_pages(self) -> None:
        """Give back what was reserved for tokens that did not come. Rows have no columns in common from then on."""
        if self.aligned:
            self._unalign()
        for row in range(len(self.pages)):
            self._forget(row, 0)

    def close_up(self) -> None:
        """Nothing: padding takes no place here."""

    def release(self) -> None:
        """All rows leave."""
        self.keep([])

    def _unalign(self) -> None:
        self.aligned, self.real, self.length = False, None, 1

    def _forget(self, row: int, count: int) -> None:
        self.sizes[row] -= count
        pages = self.pages[row]
        for page in pages[-(-self.sizes[row] // PAGE) :]:
            page.users -= 1
        del pages[-(-self.sizes[row] // PAGE) :]

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens, padding counted."""
        assert self.aligned, "rows that were joined have no columns in common; cut each"
        length = min(length, self.length)
        for row in range(len(self.pages)):
            self._forget(row, self.length - length if self.real is None else int(self.real[row, length:].sum()))
        self.length = length
        if self.real is not None:
            self.real = self.real[:, :length]

    def keep(self, rows: Sequence[int]) -> None:
        """These rows, in this order; one that is named twice shares its pages."""
        chosen = list(map(int, rows))
        pages = [list(self.pages[row]) for row in chosen]
        for row in self.pages:
            for page in row:
                page.users -= 1
        for row in pages:
            for page in row:
                page.users += 1
        self.pages, self.sizes = pages, [self.sizes[row] for row in chosen]
        self.adapters = [self.adapters[row] for row in chosen]
        self._keep_addresses(self.addresses[chosen])
        if self.real is not None:
            self.real = self.real[chosen]
        if self.memory is not None:
            self.memory.keep(chosen)

    def fork(self, rows: Sequence[int]) -> Self:
        """A cache with these rows, which shares their pages with this one."""
        forked = copy.copy(self)
        forked.memory = None if self.memory is None else self.memory.fork(range(len(self.pages)))
        forked.pages = [list(row) for row in self.pages]
        for row in forked.pages:
            for page in row:
                page.users += 1
        forked.keep(rows)
        return forked

    def append(self, layer: int, keys: Any, values: Any) -> NoReturn:
        """Not for PyTorch."""
        self.refuse()

    def refuse(self) -> NoReturn:
        """ConfigError: PyTorch's layers want keys and values side by side."""
        raise ConfigError(
            "this cache was made for the compiled path, and the network no longer runs on it (hooks, training, an "
            "adapter, a failure); make a new cache"
        )

    @property
    def bytes(self) -> int:
        """Memory held by the pages, shared ones counted once."""
        own = bytes_of(page for row in self.pages for page in row)
        return own if self.memory is None else own + self.memory.bytes

    def _copy(self, page: Page, tokens: int) -> Page:
        """A page of one's own with the first `tokens` of this one: texts that part early share little of it."""
        own = Page(self.page_bytes)
        if self.part_bytes == self.page_bytes:
            own.data[:] = page.data
        else:
            parts, filled = (-1, self.part_bytes), self.part_bytes * -(-tokens // BESIDE) * BESIDE // PAGE
            own.data.reshape(parts)[:, :filled] = page.data.reshape(parts)[:, :filled]
        page.users -= 1
        return own


def bytes_of(pages: Iterable[Page]) -> int:
    """Memory of pages, each counted once."""
    return sum(page.data.nbytes for page in {id(page): page for page in pages}.values())
