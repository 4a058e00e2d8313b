"""A ticket: what the asker of a request holds while an engine works on it, in a thread or in asyncio.

    for piece in ticket: ...                # in a thread
    async for piece in ticket: ...          # in asyncio
    answer = ticket.answer(timeout=60)      # the whole, in a thread
    answer = await ticket.whole()           # the whole, in asyncio
    ticket.cancel()

Each piece comes once, to whoever takes it first. Whoever stops iterating before the end cancels.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from lmworks.basics.errors import LmworksError
from lmworks.generation.answer import Answer
from lmworks.generation.limits import Finish
from lmworks.generation.request import Request, Token


@dataclass(frozen=True)
class Piece:
    """What one step brought."""

    text: str
    """What can be shown now and is never taken back; joined, the whole answer. Empty while a character or a possible stop
    string is not complete."""
    tokens: tuple[Token, ...]
    """The tokens that were written, the one that ends the answer included. Beams write all at the end."""
    finish: Finish | None = None
    """In the last piece, why it is the last."""


def _nothing() -> None:
    """Nobody is to be told."""


class Ticket:
    """A place in an engine's queue, then an answer that grows."""

    def __init__(self, request: Request, hurry: Callable[[], None] = _nothing) -> None:
        """`hurry` is called when somebody cancels it."""
        self.request, self._hurry = request, hurry
        self.created = time.monotonic()
        """When it was made; these three are seconds of time.monotonic()."""
        self.first: float | None = None
        """When its first piece came."""
        self.ended: float | None = None
        """When it was over."""
        self.cancelled = False
        """Somebody asked for it to stop; the engine sees that before its next step."""
        self.read = False
        """Its prompt was read to the end; the engine's mark that it is counted."""
        self._pieces: deque[Piece] = deque()
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._told = 0

    @property
    def prompt_tokens(self) -> list[Token]:
        """The prompt as the model saw it, where that was asked for; complete when the first piece has come."""
        return self.request.prompt_tokens

    @property
    def untold(self) -> int:
        """Tokens that are written and lie in no piece yet."""
        return len(self.request.tokens) - self._told

    def cancel(self) -> None:
        """The rest is not wanted: no work is done for it from the engine's next step on. Harmless when it is over."""
        self.cancelled = True
        self._hurry()

    def __iter__(self) -> Iterator[Piece]:
        """The pieces as they come; raises what made the request fail."""
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._pieces or self.ended is not None)
                    pieces, over = self._taken()
                yield from pieces
                if over:
                    return
        finally:
            self._left()

    async def __aiter__(self) -> AsyncIterator[Piece]:
        """The same in asyncio."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        with self._changed:
            self._listeners.append(tell)
        try:
            while True:
                event.clear()
                with self._changed:
                    pieces, over = self._taken()
                for piece in pieces:
                    yield piece
                if over:
                    return
                if not pieces:  # a fault may have come with the last of them, and nothing comes behind it
                    await event.wait()
        finally:
            with self._changed:
                self._listeners.remove(tell)
            self._left()

    def answer(self, timeout: float | None = None) -> Answer:
        """The whole answer, when it is there. TimeoutError after `timeout` seconds; what made the request fail is raised."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended is not None, timeout):
                raise TimeoutError(f"the answer was not there after {timeout} seconds")
            self._pieces.clear()
        self._raise()
        return Answer.of(self.request)

    async def whole(self) -> Answer:
        """The same in asyncio."""
        async for _ in self:
            pass
        return Answer.of(self.request)

    # For the engine

    def tell(self, text: str) -> None:
        """The request went on; called by the engine's thread."""
        request, written = self.request, self._told
        tokens = request.tokens[written:]
        logprobs: Sequence[float | None] = request.logprobs[written:] or [None] * len(tokens)
        tops = request.alternatives[written:] or [()] * len(tokens)
        piece = Piece(
            text,
            tuple(map(Token, tokens, logprobs, tops)),
            request.finish,
        )
        self._told += len(tokens)
        over = request.finish is not None or request.error is not None
        with self._changed:
            now = time.monotonic()
            if text or tokens or request.finish is not None:
                self._pieces.append(piece)
                self.first = self.first or now
            if over:
                self.ended, self._hurry = now, _nothing  # who keeps a ticket does not keep the engine
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def fail(self, error: Exception) -> None:
        """It is over without an answer."""
        self.request.error = error
        self.tell("")

    def _taken(self) -> tuple[list[Piece], bool]:
        """The pieces that wait and whether no more come; raises the request's error behind the last of them."""
        pieces = list(self._pieces)
        self._pieces.clear()
        if not pieces and self.ended is not None:
            self._raise()
        return pieces, self.ended is not None and self.request.error is None

    def _raise(self) -> None:
        error = self.request.error
        if isinstance(error, LmworksError):
            raise error
        if error is not None:
            raise RuntimeError("the engine failed while it wrote this answer") from error

    def _left(self) -> None:
        if self.ended is None:
            self.cancel()
