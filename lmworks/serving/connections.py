"""Connections: how many there may be, in all and of one address, and how long each may keep the server waiting.

Uvicorn accepts whatever comes, until the system has no more file descriptors and resets everybody, and it waits for a
request's head without end. Here a connection is accepted only when there is room for it. Where there is none, the one
that has kept the server waiting longest is closed; a request that is being answered never is. So whoever opens
connections and says nothing closes their own, and a new request is answered.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from lmworks.serving.errors import Refused, as_response
from lmworks.serving.settings import ServerLimits

HEAD_BYTES = 2**16
"""Of a request's line and headers, as uvicorn's other parser has it."""
SPARE_FILES = 32
"""File descriptors besides the connections' and those that are open at the start: pages, templates' worker."""
SOON = 0.01
"""Seconds until the next look where no connection can be closed."""


class Connection(HttpToolsProtocol):
    """A connection over HTTP, with bounds of time for everything that the server waits for."""

    limits = ServerLimits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it has yet to say what it wants."""
        super().connection_made(transport)
        self.waits_since: float | None = self.loop.time()
        """Since when the server waits for the client: for a request, or for the rest of one. None while it works."""
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head, self.is_whole = True, False
        self._wait(self.limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of the client's bytes."""
        if self._head_bytes > HEAD_BYTES:  # told already; what still comes is thrown away until the time is over
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431, f"the head of the request is longer than {HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head, self.is_whole, self._head_bytes = True, False, 0
        self._wait(self.limits.head_seconds)

    def on_headers_complete(self) -> None:
        """The application reads the body, and has its own bound for it (`guard.py`)."""
        self._in_head = False
        self._stop()
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.transport = _Ending(self)  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """A whole request."""
        super().on_message_complete()
        self.is_whole = True
        if self.cycle is None or not self.cycle.response_complete:
            self.waits_since = None
        elif not self.cycle.keep_alive:
            self.transport.close()
        else:  # it was refused before its end, which nobody reads
            self._wait(self.limits.idle_seconds)

    def on_response_complete(self) -> None:
        """The answer is sent; what is left of a body that was refused is thrown away, so that the client, which may
        read nothing before all is sent, gets the answer instead of a reset."""
        super().on_response_complete()
        if self.cycle.response_complete:  # no further request was sent with the one that is answered
            self.waits_since = self.waits_since or self.loop.time()
            self._wait(self.limits.idle_seconds if self.is_whole else self.limits.body_seconds)

    def _wait(self, seconds: float) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, self._late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return
        if self._in_head and 0 < self._head_bytes <= HEAD_BYTES:
            self._refuse(408, "the head of the request did not come in time")
        self.transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Say why, where there is no request that the application could answer."""
        response = as_response(Refused(status, why, headers={"Connection": "close"}))
        head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
        self.transport.write(b"HTTP/1.1 %d \r\n%s\r\n%s" % (status, head, response.body))


class _Ending:
    """A connection as an answer sees it: closed after the answer, but not while the client still sends. It would be
    reset then, and might never read the answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.write, self.is_closing = connection.transport.write, connection.transport.is_closing

    def close(self) -> None:
        """Now, or when the request is whole, or when its time is over."""
        if self._connection.is_whole or not self._connection.cycle.response_complete:
            self._connection.transport.close()


class ConnectionGate:
    """Accepts connections, one at a time, as far as there is room."""

    def __init__(self, state: ServerState, protocol: Callable[[], Connection], most: int) -> None:
        self._state, self._protocol, self.most = state, protocol, most
        self.most_of_one = -(-most // 2)
        """Connections of one address: half of them, so that no one address, or proxy, has them all."""

    async def accept(self, listener: socket.socket) -> None:
        """Accept for good."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        while True:
            await self._room()
            try:
                connection, address = await loop.sock_accept(listener)
                await loop.connect_accepted_socket(self._admitted(address[0]), connection)
            except OSError:  # the client is gone again, or others took the last descriptor
                await asyncio.sleep(SOON)

    def _admitted(self, address: str) -> Callable[[], Connection]:
        of_one = [one for one in self._state.connections if (getattr(one, "client", None) or ("",))[0] == address]
        made = self._protocol()
        if len(of_one) >= self.most_of_one and not _close_one(of_one):
            made.app = _too_many
        return lambda: made

    async def _room(self) -> None:
        while len(self._state.connections) >= self.most:
            # A closed one gives its descriptor back in one of the loop's next rounds.
            await asyncio.sleep(0 if _close_one(self._state.connections) else SOON)


def _close_one(connections: Iterable[Any]) -> bool:
    """Close the connection that has kept the server waiting longest; whether there is one."""
    waiting = [one for one in connections if getattr(one, "waits_since", None) is not None]
    if not waiting:
        return False
    longest = min(waiting, key=lambda one: one.waits_since)
    longest.waits_since = None  # once is enough
    longest.transport.abort()
    return True


async def _too_many(scope: Any, receive: Any, send: Any) -> None:
    """The application of a connection beyond its address's share."""
    refused = Refused(
        429,
        "this address has as many connections as it may have; close some, or ask again later",
        code="too_many_connections",
        headers={"Retry-After": "1", "Connection": "close"},
    )
    await as_response(refused)(scope, receive, send)


def room(wanted: int) -> int:
    """As many connections as are wanted, or as many as this process can have beside the files it has open."""
    may, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if may == resource.RLIM_INFINITY else max(2, min(wanted, may - _open_files() - SPARE_FILES))


def _open_files() -> int:
    try:
        return len(list(Path("/dev/fd").iterdir()))
    except OSError:
        return SPARE_FILES
