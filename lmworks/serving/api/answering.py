"""What completions and chats do alike: check the model's name, make jobs, and send answers whole or in a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, Protocol

from fastapi import Request as HttpRequest
from fastapi.responses import JSONResponse, Response

from lmworks import __version__
from lmworks.generation.handle import Delta
from lmworks.generation.request import Prompt
from lmworks.serving.api.requests import GenerationRequest
from lmworks.serving.api.work import REASONS, Stream, Work, watched
from lmworks.serving.errors import Refused
from lmworks.serving.record import RECORD
from lmworks.serving.service import AUTO, Service

FINGERPRINT = f"lmworks-{__version__}"
Facts = dict[str, Any]
STREAMED: dict[int | str, Facts] = {
    200: {
        "content": {"text/event-stream": {}},  # OpenAPI 3.1 has no word for the form of an event
        "description": "Whole, or as events (stream)",
    }
}
"""What the server's description of itself says of an answer besides JSON."""


class ApiChoice(Protocol):
    """One answer in the making, in the form of its endpoint."""

    def chunk(self, delta: Delta) -> Facts | None:
        """What a stream tells of this delta; None for nothing."""

    def whole(self) -> Facts:
        """The answer, all deltas taken."""


def must_be(name: str | None, known: str) -> None:
    """Refused unless the name is that of the model which does such work."""
    if name not in (None, known):
        raise Refused(400, f"the model {name} does not do this; ask {known}", param="model")


def adapter_of(name: str | None, service: Service) -> str | None:
    """The adapter of this name, None for the model itself; refused for a name that is neither."""
    if name in service.adapters:
        return name
    must_be(name, service.name)
    return None


async def adapters_of(name: str | None, service: Service, prompts: Sequence[Prompt]) -> list[str | None]:
    """The adapter of each prompt: that of this name, None for the model itself, or what the router chooses; refused for
    a name that is none of these."""
    if must_answer(name, service):
        service.engine.must_have_room(len(prompts))  # before anything is read
        return await service.adapters_for(prompts)
    return [adapter_of(name, service)] * len(prompts)


def must_answer(name: str | None, service: Service) -> bool:
    """Whether the name leaves the choice to the text; refused for one that is no model's or adapter's either."""
    if name == AUTO and service.router is not None:
        return True
    adapter_of(name, service)
    return False


def answered_by(name: str | None, service: Service, adapters: Collection[str | None]) -> str:
    """The model that an answer names: what was asked, or what the router chose, where that is one for all."""
    if name != AUTO:
        return name or service.name
    return next(iter(adapters)) or service.name if len({*adapters}) == 1 else name


def recorded(http: HttpRequest, asked: GenerationRequest, work: Work) -> None:
    """Tell the request's record of its work, for the log and the counts."""
    if (record := http.scope.get(RECORD)) is not None:
        record.work, record.text = work, asked.text if record.keeps_text else None


async def answer(
    http: HttpRequest, asked: GenerationRequest, work: Work, kind: str, prefix: str, choice: Callable[[int], ApiChoice]
) -> Response:
    """The response to a request whose work has begun: whole, or a stream."""
    facts: Facts = {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": answered_by(asked.model, work.service, [one.sequence.request.adapter for one in work.handles]),
        "system_fingerprint": FINGERPRINT,
    }
    choices = [choice(number) for number in range(len(work.handles))]
    recorded(http, asked, work)
    if asked.stream:
        options = asked.stream_options
        return Stream(_events(facts, choices, work, bool(options and options.include_usage)), work)
    async with watched(http, work):
        async for number, delta in work.deltas():
            choices[number].chunk(delta)
    return JSONResponse(facts | {"choices": [one.whole() for one in choices], "usage": work.usage})


async def _events(facts: Facts, choices: list[ApiChoice], work: Work, usage: bool) -> AsyncIterator[bytes]:
    last: Facts = {"usage": None} if usage else {}
    try:
        async for number, delta in work.deltas():
            chunk = choices[number].chunk(delta)
            if chunk is not None:
                yield event(facts | {"choices": [chunk]} | last)
        if usage:
            yield event(facts | {"choices": [], "usage": work.usage})
    except Refused as refused:  # the status is sent already
        yield event(refused.facts)
    yield b"data: [DONE]\n\n"


def event(facts: Facts) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(facts, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def reason(delta: Delta) -> str | None:
    """OpenAI's word for why an answer ended; None where it goes on."""
    return None if delta.finish is None else REASONS[delta.finish]
