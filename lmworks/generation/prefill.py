"""Prompts that are read: which is next, and how much of it in one step."""

from __future__ import annotations

from collections.abc import Sequence as List
from dataclasses import dataclass, field

import numpy as np

from lmworks.generation.sequence import Sequence
from lmworks.models.kv_cache import KVCache
from lmworks.models.runner import Prefixes, RealTokens, TokenRows


@dataclass(eq=False)
class Group:
    """Sequences whose prompts are read side by side, in a cache of their own."""

    sequences: list[Sequence]
    due: int
    """It is read before those of larger numbers: tokens that had been read when it came, and its own."""
    cache: KVCache | None = None
    tokens: TokenRows = field(default_factory=lambda: np.empty((0, 0), np.int64))
    """What is still to be read, padded on the left; unless nothing was begun yet."""
    mask: RealTokens | None = None

    def size(self, chunk: int) -> int:
        """Tokens of its next part, where at most `chunk` are read at once."""
        rows = len(self.sequences)
        left = self.tokens.shape[1] if self.cache is not None else max(len(one.opening) for one in self.sequences)
        return rows * min(left, max(1, chunk // rows))

    def take(self, chunk: int) -> tuple[TokenRows, RealTokens | None]:
        """Its next part, which is no longer to be read."""
        columns = max(1, chunk // len(self.sequences))
        part, mask = self.tokens[:, :columns], None if self.mask is None else self.mask[:, :columns]
        self.tokens, self.mask = self.tokens[:, columns:], None if self.mask is None else self.mask[:, columns:]
        return part, mask

    def drop(self, sequence: Sequence) -> None:
        """One of them leaves."""
        kept = [at for at, one in enumerate(self.sequences) if one is not sequence]
        self.sequences = [self.sequences[at] for at in kept]
        if self.cache is not None:
            self.cache.keep(kept)
            self.tokens, self.mask = self.tokens[kept], None if self.mask is None else self.mask[kept]

    def restart(self) -> None:
        """Nothing of it was read."""
        self.cache = None
        for sequence in self.sequences:
            sequence.forget_prompt()


def next_group(groups: List[Group], prefixes: Prefixes | None) -> Group:
    """The group that is due first. A group whose beginning is being read by another waits for that one, and need not
    read it again."""
    ordered = sorted(groups, key=lambda group: group.due)
    return next((group for group in ordered if not _is_read_by_another(group, groups, prefixes)), ordered[0])


def _is_read_by_another(group: Group, groups: List[Group], prefixes: Prefixes | None) -> bool:
    if prefixes is None or group.cache is not None:
        return False
    own, adapter = group.sequences[0].opening, group.sequences[0].request.adapter
    start = prefixes.next_missing(own, adapter)
    return len(own) > len(start) and any(
        start == one.opening[: len(start)] and one.request.adapter == adapter
        for other in groups
        if other.cache is not None
        for one in other.sequences
    )


def padded(rows: List[List[int]], *, left: bool) -> tuple[TokenRows, RealTokens | None]:
    """Rows of ids side by side, and which of them are real; None where all are."""
    longest = max(map(len, rows))
    blank = [longest - len(row) for row in rows]
    tokens = [[0] * size + [*row] if left else [*row] + [0] * size for size, row in zip(blank, rows, strict=True)]
    mask = None
    if any(blank):
        at, sizes = np.arange(longest), np.array(blank)[:, None]
        mask = at >= sizes if left else at < longest - sizes
    return np.array(tokens, np.int64), mask
