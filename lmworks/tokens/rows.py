"""Rows to train on; those of a packed corpus are read from its files when they are asked for.

    rows = PackedRows(shards, seq=1024)      # whole documents that do not see each other
    rows = Windows(shards, context=256)      # the plain stream, cut anew each epoch
    rows = rows.at_epoch(epoch, seed)
    batch = rows.batch([0, 5, 7])

Both are a `Sequence[Row]`, as `pack` gives for documents in memory; `batch` gives the tensors straight from the files.
What is no packed text (sentence pairs, sources with targets, texts with classes) comes as `Rows` of its own.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self, overload

import numpy as np
import torch

from lmworks.basics.arrays import Int64
from lmworks.basics.errors import ConfigError, DataError
from lmworks.tokens.batch import Batch, Example, Row, fill, stack
from lmworks.tokens.shards import Shards


class Rows(ABC):
    """What a run learns from, by number: the loop asks for an epoch's micro-batches, and for each as tensors."""

    @abstractmethod
    def __len__(self) -> int:
        """How many rows an epoch has."""

    @abstractmethod
    def batch(self, places: Sequence[int]) -> Batch:
        """Some rows as tensors."""

    def at_epoch(self, epoch: int, seed: int) -> Self:
        """The rows of another epoch: as many of them, cut or paired elsewhere where that is of use."""
        return self

    def batches(self, size: int) -> int:
        """How many micro-batches of at most `size` rows an epoch has, always the same."""
        return math.ceil(len(self) / size)

    def width(self, context: int) -> float:
        """Tokens of a row in its batch, on average."""
        return context

    def order(self, size: int, epoch: int, seed: int) -> list[list[int]]:
        """The rows of each of an epoch's micro-batches, in an order that depends on seed and epoch alone."""
        places = list(range(len(self)))
        random.Random(f"{seed}/{epoch}").shuffle(places)
        return [places[number * size : (number + 1) * size] for number in range(self.batches(size))]


class ExampleRows(Rows):
    """Packed rows that lie in memory."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, places: Sequence[int]) -> Batch:
        """Some rows as tensors."""
        return stack([self.rows[place] for place in places])


class ShardRows(Rows, Sequence[Row]):
    """Rows of shards; they come in whole batches: an epoch leaves a few out, others each time."""

    @abstractmethod
    def row(self, place: int) -> Row:
        """One row, from 0 to `len(self) - 1`."""

    def batches(self, size: int) -> int:
        """See Rows."""
        return max(len(self) // size, 1)

    def batch(self, places: Sequence[int]) -> Batch:
        """Some rows as tensors."""
        return stack([self.row(place) for place in places])

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | Sequence[Row]:
        if isinstance(place, slice):
            return [self.row(one) for one in range(len(self))[place]]
        return self.row(range(len(self))[place])


class Windows(ShardRows):
    """The corpus as one stream, cut into windows that each predict `context` tokens from those before them.

    An epoch begins the cuts at a place drawn from its seed and number, and goes on from the corpus' end at its
    beginning: every token is predicted at most once, fewer than `context` are left out, and epochs have equally
    many windows. A window sees whatever documents fall into it.
    """

    def __init__(self, shards: Shards, context: int, *, epoch: int = 0, seed: int = 0) -> None:
        if context < 1:
            raise ConfigError(f"context is {context}; a window must predict at least 1 token")
        if shards.tokens <= context:
            raise DataError(
                f"{shards.name} has {shards.tokens:,} tokens, fewer than one window of {context:,} and the one before "
                "it; give more text or a smaller context"
            )
        self.shards, self.context = shards, context
        self._offset = random.Random(f"{seed}/{epoch}").randrange(shards.tokens)

    def __len__(self) -> int:
        return self.shards.tokens // self.context

    def at_epoch(self, epoch: int, seed: int) -> Windows:
        """The windows of another epoch."""
        return Windows(self.shards, self.context, epoch=epoch, seed=seed)

    def row(self, place: int) -> Row:
        """A window as one piece of `context` + 1 tokens, all but the first supervised."""
        ids, start = self._window(place)
        return (Example(ids.tolist(), [False] + [True] * self.context, f"{self.shards.folder} at token {start:,}"),)

    def batch(self, places: Sequence[int]) -> Batch:
        """Windows as tensors of exactly `context` tokens; every label carries loss."""
        ids = torch.from_numpy(np.stack([self._window(place)[0] for place in places]).astype(np.int64))
        tokens, labels = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        positions = torch.arange(self.context).expand(len(places), -1)
        return Batch(tokens, labels, positions, torch.zeros_like(tokens))

    def _window(self, place: int) -> tuple[np.ndarray, int]:
        total = self.shards.tokens
        start = (self._offset + place * self.context) % total
        stop = start + self.context + 1
        if stop <= total:
            return self.shards.read(start, stop), start
        return np.concatenate([self.shards.read(start, total), self.shards.read(0, stop - total)]), start


class PackedRows(ShardRows):
    """Whole documents in rows of at most `seq` tokens, as `pack` fills them, without the documents in memory.

    Documents of a row do not see each other and positions restart; a longer document is cut, and each next piece begins
    with the last token of the one before. Held in memory: two numbers a piece. With another `seed`, documents of equal
    length share other rows.
    """

    def __init__(self, shards: Shards, seq: int, *, seed: int = 0) -> None:
        if seq < 2:
            raise ConfigError(f"seq is {seq}; a row needs at least 2 tokens to predict one")
        self.shards, self.seq = shards, seq
        starts, sizes = _pieces(shards.ends.astype(np.int64), seq)
        order = np.random.default_rng(seed).permutation(len(sizes))
        order = order[np.argsort(-sizes[order], kind="stable")]
        rows = np.array(fill(sizes[order].tolist(), seq), np.int64)
        order = order[np.argsort(rows, kind="stable")]
        self._starts, self._sizes = starts[order], sizes[order].astype(np.int32)
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(rows))])

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def row(self, place: int) -> Row:
        """The documents of a row, the longest first."""
        here = slice(int(self._bounds[place]), int(self._bounds[place + 1]))
        return tuple(
            Example(
                self.shards.read(start, start + size).tolist(),
                [False] + [True] * (size - 1),
                f"{self.shards.folder} at token {start:,}",
            )
            for start, size in zip(self._starts[here].tolist(), self._sizes[here].tolist(), strict=True)
        )


def _pieces(ends: Int64[np.ndarray, " documents"], seq: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and size of each piece of each document, at most `seq` tokens, overlapping by one."""
    begins = np.concatenate([[0], ends[:-1]])
    counts = -(-(ends - begins - 1) // (seq - 1))
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(begins, counts) + within * (seq - 1)
    return starts, np.minimum(np.repeat(ends, counts) - starts, seq)
