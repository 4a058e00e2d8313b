"""The C library's heap, replayed: what it takes beyond what is alive, as blocks of many sizes come and go.

A run keeps freed blocks for its next step (`lmworks.basics.memory`): a block is put where it fits best among those that
are free, free neighbours are joined, and where none fits the heap grows (glibc's malloc/malloc.c, large requests).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ALIGNED = 64 + 32
"""Bytes that a request of PyTorch adds, as its blocks begin at multiples of 64: glibc asks itself for that many more,
and for the smallest block that it can give back."""
STEPS = 2
"""That are replayed. The first makes what the optimiser keeps; all later ones are alike."""
NUMBER = 4
"""Bytes of a number that an optimiser keeps."""

Event = tuple[int, int]
"""A block's number and its bytes; its negative number where it is freed."""


@dataclass(frozen=True)
class Stepping:
    """Bytes of an optimiser for each number that it trains."""

    kept: float = 8.0
    """From the first step on."""
    working: float = 0.0
    """While it steps."""


class Heap:
    """Blocks by address."""

    def __init__(self) -> None:
        self.top = self.most = self.alive = self.most_alive = 0
        self._blocks: dict[object, tuple[int, int]] = {}
        self._free: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._sizes: list[tuple[int, int]] = []

    def __contains__(self, name: object) -> bool:
        return name in self._blocks

    def take(self, name: object, size: int) -> None:
        """A block of `size` bytes."""
        size += ALIGNED
        place = bisect.bisect_left(self._sizes, (size, 0))
        if place < len(self._sizes):
            found, start = self._sizes[place]
            self._remove(start)
            if found > size:
                self._add(start + size, found - size)
        else:
            start = self.top
            self.top += size
            self.most = max(self.most, self.top)
        self._blocks[name] = start, size
        self.alive += size
        self.most_alive = max(self.most_alive, self.alive)

    def give(self, name: object) -> None:
        """A block back."""
        start, size = self._blocks.pop(name)
        self.alive -= size
        if (before := self._ends.get(start)) is not None:
            size += self._remove(before)
            start = before
        if start + size in self._free:
            size += self._remove(start + size)
        if start + size == self.top:
            self.top = start
        else:
            self._add(start, size)

    def _add(self, start: int, size: int) -> None:
        self._free[start], self._ends[start + size] = size, start
        bisect.insort(self._sizes, (size, start))

    def _remove(self, start: int) -> int:
        size = self._free.pop(start)
        del self._ends[start + size]
        del self._sizes[bisect.bisect_left(self._sizes, (size, start))]
        return size


def holes(events: Sequence[Event], trained: Iterable[int], stepping: Stepping) -> float:
    """Bytes that the heap takes at most beyond the most that is alive, in steps of these events and of an optimiser
    that trains parameters of so many numbers. What an event leaves alive is freed after the step, as gradients are."""
    heap, sizes = Heap(), list(trained)
    for step in range(STEPS):
        for number, size in events:
            if number > 0:
                heap.take(number, size)
            elif -number in heap:
                heap.give(-number)
        left = [number for number, _ in events if number in heap]
        for place, numbers in enumerate(sizes):
            if not step:
                _take_numbers(heap, ("kept", place), numbers, stepping.kept)
            left += _take_numbers(heap, ("working", place), numbers, stepping.working)
        for name in left:
            heap.give(name)
    return float(heap.most - heap.most_alive)


def _take_numbers(heap: Heap, name: tuple[str, int], numbers: int, bytes_each: float) -> list[object]:
    """A block for each four bytes of a number."""
    made: list[object] = []
    while bytes_each > 0:
        made.append((*name, len(made)))
        heap.take(made[-1], round(numbers * min(bytes_each, NUMBER)))
        bytes_each -= NUMBER
    return made
