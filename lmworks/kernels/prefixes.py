"""Pages of texts that were read, kept so that a text which begins alike need not be read again.

Full pages alone are kept: nobody writes into them any more. A page is found by its own tokens and by the page before
it, so what is found is the text from its first token on, as one adapter, or none, reads it. Where there is no more
room, the page that was not wanted for the longest time goes; a page is never wanted without those before it, so it is
the end of a text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from lmworks.kernels.pages import PAGE, Page, PagedCache, bytes_of
from lmworks.models.kv_cache import KVCache

Key = tuple[int | str, tuple[int, ...]]
"""Number of the page before it, and its tokens; of a text's first page 0, or the name of the adapter that read it."""


@dataclass
class _Kept:
    number: int
    page: Page


class Prefixes:
    """The beginnings of texts, in at most `limit` bytes."""

    def __init__(self, limit: int, page_bytes: int) -> None:
        self.limit, self.page_bytes = limit, page_bytes
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        """The least wanted first."""
        self._made = 0

    def begin(self, cache: KVCache, row: int, tokens: Sequence[int]) -> int:
        """Begin an empty row with the pages that hold the beginning of these tokens; returns how many of them it
        then holds."""
        assert isinstance(cache, PagedCache)
        keys = self._known(tokens, cache.adapters[row])
        cache.begin(row, [self._kept[key].page for key in keys])
        self._want(keys)
        return cache.sizes[row]

    def keep(self, cache: KVCache, row: int, tokens: Sequence[int]) -> None:
        """Keep the full pages of a row that holds these tokens, or more, or fewer."""
        assert isinstance(cache, PagedCache)
        tokens, pages = tokens[: cache.sizes[row]], cache.pages[row]
        adapter = cache.adapters[row]
        keys = self._known(tokens, adapter)
        before = self._kept[keys[-1]].number if keys else adapter or 0
        for place in range(len(keys), min(len(tokens) // PAGE, len(pages))):
            key = before, tuple(tokens[place * PAGE : (place + 1) * PAGE])
            self._made += 1
            before = self._made
            pages[place].users += 1
            self._kept[key] = _Kept(before, pages[place])
            keys.append(key)
        self._want(keys)
        while self.bytes > self.limit:
            self._kept.popitem(last=False)[1].page.users -= 1

    def next_missing(self, tokens: Sequence[int], adapter: str | None = None) -> Sequence[int]:
        """The tokens up to the end of the first page that is not kept, as this adapter reads them."""
        return tokens[: (len(self._known(tokens[:-1], adapter)) + 1) * PAGE]

    def bytes_with(self, caches: Sequence[KVCache]) -> int:
        """Memory of the pages that are kept and of those in these caches, each counted once."""
        paged = [cache for cache in caches if isinstance(cache, PagedCache)]
        others = sum(cache.bytes for cache in caches if not isinstance(cache, PagedCache))
        return others + bytes_of(
            page for row in (self.pages(), *(row for one in paged for row in one.pages)) for page in row
        )

    @property
    def bytes(self) -> int:
        """Memory of the pages; running rows may hold some of them too."""
        return len(self._kept) * self.page_bytes

    def pages(self) -> list[Page]:
        """All that are kept."""
        return [one.page for one in self._kept.values()]

    def _known(self, tokens: Sequence[int], adapter: str | None) -> list[Key]:
        keys: list[Key] = []
        before: int | str = adapter or 0
        for start in range(0, len(tokens) - PAGE + 1, PAGE):
            key = before, tuple(tokens[start : start + PAGE])
            if key not in self._kept:
                break
            keys.append(key)
            before = self._kept[key].number
        return keys

    def _want(self, keys: Sequence[Key]) -> None:
        """The end of a text first, so that it goes before its beginning."""
        for key in reversed(keys):
            self._kept.move_to_end(key)
