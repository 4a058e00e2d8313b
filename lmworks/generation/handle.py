"""RequestHandle: what the asker of a request holds while an engine works on it, in a thread or in asyncio.

    for delta in handle: ...                # in a thread
    async for delta in handle: ...          # in asyncio
    answer = handle.answer(timeout=60)      # the whole, in a thread
    answer = await handle.whole()           # the whole, in asyncio
    handle.cancel()

Each delta comes once, to whoever takes it first. Whoever stops iterating before the end cancels.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass

from lmworks.basics.errors import LmworksError
from lmworks.generation.answer import Answer
from lmworks.generation.limits import Finish
from lmworks.generation.sequence import Sequence, Token


@dataclass(frozen=True)
class Delta:
    """What one step brought."""

    text: str
    """What can be shown now and is never taken back; joined, the whole answer. Empty while a character or a possible
    stop string is not complete."""
    tokens: tuple[Token, ...]
    """The tokens that were written, the one that ends the answer included. Beams write all at the end."""
    finish: Finish | None = None
    """In the last delta, why it is the last."""


def _nothing() -> None:
    """Nobody is to be told."""


class RequestHandle:
    """A place in an engine's queue, then an answer that grows."""

    def __init__(self, sequence: Sequence, interrupt: Callable[[], None] = _nothing) -> None:
        """`interrupt` is called when somebody cancels it."""
        self.sequence, self._interrupt = sequence, interrupt
        self.created = time.monotonic()
        """When it was made; these three are seconds of time.monotonic()."""
        self.first: float | None = None
        """When its first delta came."""
        self.ended: float | None = None
        """When it was over."""
        self.cancelled = False
        """Somebody asked for it to stop; the engine sees that before its next step."""
        self.prompt_counted = False
        """Its prompt was read to the end, and the engine counted it."""
        self._deltas: deque[Delta] = deque()
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._published = 0

    @property
    def prompt_tokens(self) -> list[Token]:
        """The prompt as the model saw it, where that was asked for; complete when the first delta has come."""
        return self.sequence.prompt_tokens

    @property
    def unpublished(self) -> int:
        """Tokens that are written and lie in no delta yet."""
        return len(self.sequence.tokens) - self._published

    def cancel(self) -> None:
        """The rest is not wanted: no work is done for it from the engine's next step on. Harmless when it is over."""
        self.cancelled = True
        self._interrupt()

    def __iter__(self) -> Iterator[Delta]:
        """The deltas as they come; raises what made the request fail."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._deltas or self.ended is not None)
                deltas, over = self._taken()
                yield from deltas
                if over:
                    return
        finally:
            self._left()

    async def __aiter__(self) -> AsyncIterator[Delta]:
        """The same in asyncio."""
        async for _, delta in deltas_of([self]):
            yield delta

    def answer(self, timeout: float | None = None) -> Answer:
        """The whole answer, when it is there. TimeoutError after `timeout` seconds; what made the request fail is
        raised."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended is not None, timeout):
                raise TimeoutError(f"the answer was not there after {timeout} seconds")
            self._deltas.clear()
        self._raise()
        return Answer.of(self.sequence)

    async def whole(self) -> Answer:
        """The same in asyncio."""
        async for _ in self:
            pass
        return Answer.of(self.sequence)

    # For the engine

    def publish(self, text: str) -> None:
        """The sequence went on; called by the engine's thread."""
        sequence, start = self.sequence, self._published
        tokens = sequence.tokens[start:]
        logprobs: List[float | None] = sequence.logprobs[start:] or [None] * len(tokens)
        tops = sequence.alternatives[start:] or [()] * len(tokens)
        delta = Delta(text, tuple(map(Token, tokens, logprobs, tops)), sequence.finish)
        self._published += len(tokens)
        over = sequence.finish is not None or sequence.error is not None
        with self._changed:
            now = time.monotonic()
            if text or tokens or sequence.finish is not None:
                self._deltas.append(delta)
                self.first = self.first or now
            if over:
                self.ended, self._interrupt = now, _nothing  # who keeps a handle does not keep the engine
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def fail(self, error: Exception) -> None:
        """It is over without an answer."""
        self.sequence.error = error
        self.publish("")

    # For whoever takes deltas

    def _listen(self, listener: Callable[[], None], on: bool) -> None:
        with self._changed:
            (self._listeners.append if on else self._listeners.remove)(listener)

    def _taken(self) -> tuple[list[Delta], bool]:
        """The deltas that wait and whether no more come; raises the request's error after the last of them."""
        with self._changed:
            deltas = list(self._deltas)
            self._deltas.clear()
            if not deltas and self.ended is not None:
                self._raise()
            return deltas, self.ended is not None and self.sequence.error is None

    def _raise(self) -> None:
        error = self.sequence.error
        if isinstance(error, LmworksError):
            raise error
        if error is not None:
            raise RuntimeError("the engine failed while it wrote this answer") from error

    def _left(self) -> None:
        if self.ended is None:
            self.cancel()


async def deltas_of(handles: List[RequestHandle]) -> AsyncGenerator[tuple[int, Delta]]:
    """The deltas of several handles as they come, each with the number of its handle; raises what made one of them
    fail. Whoever stops before the end cancels all."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(event.set)

    for handle in handles:
        handle._listen(wake, on=True)
    try:
        left = dict(enumerate(handles))
        while left:
            event.clear()
            nothing = True
            for number, handle in list(left.items()):
                deltas, over = handle._taken()
                nothing = nothing and not deltas and not over
                for delta in deltas:
                    yield number, delta
                if over:
                    del left[number]
            if nothing:  # a fault may have come with the last of them, and nothing comes after it
                await event.wait()
    finally:
        for handle in handles:
            handle._listen(wake, on=False)
            handle._left()
