"""The work that a request is to the engine: one handle for each answer, from the queue to the last delta.

    work = await Work.begin(service, [Job(prompt, strategy, 64), ...])    # 400, 429 or 503 before anything is sent
    async for number, delta in work.deltas(): ...                          # of all answers, as they come

Nobody works for a client that is gone: `stop` cancels every handle within one step of the engine, whoever calls it:
a client that disconnects, the time limit, or a server that is stopped.
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
from lmworks.generation.handle import Delta, RequestHandle, deltas_of
from lmworks.generation.request import LogprobOptions, Prompt, Request
from lmworks.generation.strategies import Strategy
from lmworks.generation.tool_calls import Tools
from lmworks.serving.errors import Refused, late, refusal, stopping
from lmworks.serving.service import Service

REASONS = {"stop": "stop", "length": "length", "window": "length"}
"""OpenAI's words for why an answer ended."""

EVENT_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Of streams: what is between server and client holds nothing back."""


@dataclass(frozen=True)
class AnswerJob:
    """One answer that is to be written."""

    prompt: Prompt
    strategy: Strategy
    longest: int
    stops: Sequence[str] = ()
    constraint: Constraint | None = None
    logprobs: LogprobOptions = field(default=LogprobOptions(written=False))
    adapter: str | None = None
    tools: Tools | None = None
    """What the answer may call; the prompt is then a conversation."""
    echo: bool = False
    """The prompt is given back before the answer, which may be empty then."""


class Work:
    """The answers of one request."""

    def __init__(self, service: Service, handles: Sequence[RequestHandle], answers: int = 1) -> None:
        self.service, self.handles, self._answers = service, handles, answers
        self._why: Refused | None = None
        seconds = service.limits.seconds
        why = late(seconds, "ask for fewer tokens")
        self._timer = asyncio.get_running_loop().call_later(seconds, self.stop, why)

    @classmethod
    async def begin(cls, service: Service, jobs: Sequence[AnswerJob], answers: int = 1) -> Work:
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
        handles: list[RequestHandle] = []
        try:
            for request in requests:
                handles.append(engine.run(request))
        except LmworksError:
            for handle in handles:
                handle.cancel()
            raise
        return cls(service, handles, answers)

    def stop(self, why: Refused) -> None:
        """Do no more for these answers."""
        self._why = self._why or why
        for handle in self.handles:
            handle.cancel()

    def end(self) -> None:
        """It is over, or its client has left."""
        self._timer.cancel()
        for handle in self.handles:
            handle.cancel()

    async def deltas(self) -> AsyncIterator[tuple[int, Delta]]:
        """The deltas of all answers as they come, each with the number of its answer. Refused where they come no
        further."""
        arriving = deltas_of(self.handles)
        try:
            while True:
                try:
                    number, delta = await anext(arriving)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    raise refusal(error) from error
                if delta.finish == "cancelled":
                    raise self._why or stopping()
                yield number, delta
        finally:
            await arriving.aclose()
            self.end()

    @property
    def usage(self) -> dict[str, Any]:
        """Tokens read and written; a prompt that several answers share is counted once."""
        sequences = [handle.sequence for handle in self.handles]
        first = sequences[:: self._answers]
        read = sum(one.request.counted for one in first)
        written = sum(len(one.tokens) for one in sequences)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": sum(max(one.reused - one.request.lead, 0) for one in first)},
        }


def _checked(service: Service, jobs: Sequence[AnswerJob]) -> list[Request]:
    """The engine's requests; tokenizes each prompt once, so not for the event loop."""
    model, read = service.model, dict[int, list[int]]()
    for job in jobs:
        if id(job.prompt) not in read:
            shown = () if job.tools is None else job.tools.shown
            read[id(job.prompt)] = model.encode_prompt(job.prompt, model.longest, shown)
    return [
        model.request(
            read[id(job.prompt)],
            job.strategy,
            job.longest,
            job.stops,
            logprobs=job.logprobs,
            constraint=job.constraint,
            tools=job.tools,
            guess=service.lookup,
            adapter=job.adapter,
            echo=job.echo,
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
        super().__init__(events, headers=EVENT_HEADERS)
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
