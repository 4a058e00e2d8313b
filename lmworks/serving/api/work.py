"""The work that a request is to the engine: one ticket for each answer, from the queue to the last piece.

    work = await Work.begin(service, [Job(prompt, strategy, 64), ...])    # 400, 429 or 503 before anything is sent
    async for number, piece in work.pieces(): ...                          # of all answers, as they come

Nobody works for a client that is gone: `stop` cancels every ticket within one step of the engine, whoever calls it: a
client that disconnects, the time limit, or a server that is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request as HttpRequest
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from lmworks.basics.errors import LmworksError
from lmworks.generation.constraints import Constraint
from lmworks.generation.engine import Piece, Ticket
from lmworks.generation.request import Asked, Request
from lmworks.generation.strategies import Strategy
from lmworks.language_model import Prompt
from lmworks.serving.errors import Refused, late, refusal, stopping
from lmworks.serving.service import Service

REASONS = {"stop": "stop", "length": "length", "window": "length"}
"""OpenAI's words for why an answer ended."""


@dataclass(frozen=True)
class Job:
    """One answer that is to be written."""

    prompt: Prompt
    strategy: Strategy
    longest: int
    stops: Sequence[str] = ()
    constraint: Constraint | None = None
    asked: Asked = field(default=Asked(written=False))


class Work:
    """The answers of one request."""

    def __init__(self, service: Service, tickets: Sequence[Ticket], answers: int = 1) -> None:
        self.service, self.tickets, self._answers = service, tickets, answers
        self._why: Refused | None = None
        seconds = service.limits.seconds
        why = late(seconds, "ask for fewer tokens")
        self._timer = asyncio.get_running_loop().call_later(seconds, self.stop, why)

    @classmethod
    async def begin(cls, service: Service, jobs: Sequence[Job], answers: int = 1) -> Work:
        """Queue the jobs, all or none; `answers` in a row have the same prompt. Refused, or an LmworksError, with what
        is wrong with them or with the queue."""
        engine = service.engine
        if service.stopping:
            raise stopping()
        if len(jobs) > service.limits.answers:
            raise Refused(400, f"the request asks for {len(jobs):,} answers; at most {service.limits.answers} at once")
        if len(jobs) > engine.queue:
            raise Refused(400, f"the request asks for {len(jobs):,} answers and the queue holds {engine.queue}")
        engine.must_have_room(len(jobs))  # before anything is tokenized
        requests = await asyncio.to_thread(_checked, service, jobs)
        tickets: list[Ticket] = []
        try:
            for request in requests:
                tickets.append(engine.run(request))
        except LmworksError:
            for ticket in tickets:
                ticket.cancel()
            raise
        return cls(service, tickets, answers)

    def stop(self, why: Refused) -> None:
        """Do no more for these answers."""
        self._why = self._why or why
        for ticket in self.tickets:
            ticket.cancel()

    def end(self) -> None:
        """It is over, or its client has left."""
        self._timer.cancel()
        for ticket in self.tickets:
            ticket.cancel()

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """The pieces of all answers as they come, each with its answer's number. Refused where they break off."""
        queue: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue()
        readers = [asyncio.create_task(self._read(number, queue)) for number in range(len(self.tickets))]
        try:
            left = len(readers)
            while left:
                number, piece = await queue.get()
                if isinstance(piece, Exception):
                    raise refusal(piece) from piece
                if piece is None:
                    left -= 1
                elif piece.finish == "cancelled":
                    raise self._why or stopping()
                else:
                    yield number, piece
        finally:
            for reader in readers:
                reader.cancel()
            self.end()

    async def _read(self, number: int, queue: asyncio.Queue[tuple[int, Piece | Exception | None]]) -> None:
        try:
            async for piece in self.tickets[number]:
                queue.put_nowait((number, piece))
        except Exception as error:
            queue.put_nowait((number, error))
        else:
            queue.put_nowait((number, None))

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens read and written; a prompt that several answers share is counted once."""
        requests = [ticket.request for ticket in self.tickets]
        prompts = requests[:: self._answers]
        read = sum(len(one.prompt if one.source is None else one.source) for one in prompts)
        written = sum(len(one.tokens) for one in requests)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": sum(one.reused for one in prompts)},
        }


def _checked(service: Service, jobs: Sequence[Job]) -> list[Request]:
    """The engine's requests; tokenizes, so not for the event loop."""
    return [
        service.model.request(
            job.prompt,
            job.strategy,
            job.longest,
            job.stops,
            asked=job.asked,
            constraint=job.constraint,
            guess=service.lookup,
        )
        for job in jobs
    ]


@contextlib.asynccontextmanager
async def watched(http: HttpRequest, work: Work) -> AsyncIterator[None]:
    """Stop the work when the client goes away."""

    async def watch() -> None:
        while (await http.receive())["type"] != "http.disconnect":
            pass
        work.stop(Refused(499, "the client went away"))

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        work.end()


class Stream(StreamingResponse):
    """Server-sent events that end the work with them, however they end."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], work: Work) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        patience = self._work.service.limits.seconds + 30  # for a client that does not read
        try:
            async with asyncio.timeout(patience):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            pass
        finally:
            self._work.end()
