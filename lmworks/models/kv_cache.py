"""KVCache: what every place for keys and values can do, whoever runs the network. Imports no PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self


class KVCache(ABC):
    """Keys and values of the tokens that rows of texts hold."""

    length: int
    """Tokens that every layer holds, padding counted."""
    adapters: list[str | None]
    """The adapter that reads each row, by its name; a runner's `new_cache` says it."""

    @abstractmethod
    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens of the text."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """These rows, in this order (finished requests leave, beams are reordered or become more)."""

    @abstractmethod
    def fork(self, rows: Sequence[int]) -> Self:
        """A cache with these rows, in this order, which goes on by itself; this one stays as it is."""

    @abstractmethod
    def join(self, other: Any) -> None:
        """Take the rows of another cache of this kind after these."""

    @abstractmethod
    def cut(self, counts: Sequence[int]) -> None:
        """Forget the last tokens of each row, as many as `counts` says."""

    @abstractmethod
    def close_up(self) -> None:
        """Give back room that padding takes."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Memory that it holds."""
