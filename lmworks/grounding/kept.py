"""Kept: what is read of an index once, and again when the index has changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from lmworks.grounding.storage import Snapshot

T = TypeVar("T")


class Kept(Generic[T]):
    """What is read again when the index has changed; an update gives it a new state."""

    def __init__(self, read: Callable[[Snapshot], T]) -> None:
        self._read = read
        self._held: tuple[str, T] | None = None

    def __call__(self, reading: Snapshot) -> T:
        """Of the state that is read."""
        state, held = reading.settings().get("state"), self._held
        if held is None or held[0] != state:
            held = str(state), self._read(reading)
            self._held = held if state is not None else None
        return held[1]
