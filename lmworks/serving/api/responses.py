"""/v1/responses: OpenAI's Responses API, answered as the chat route answers; responses are kept to go on with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.responses import StreamingResponse

from lmworks.serving.api.answering import STREAMED, Facts, answered_by, must_answer, recorded
from lmworks.serving.api.chat import ChatChoice, begin
from lmworks.serving.api.cited import CitedText, cited_text, way_of
from lmworks.serving.api.kept_responses import KeptResponses
from lmworks.serving.api.response_events import ResponseWriter, encoded, written
from lmworks.serving.api.response_requests import ResponseRequest
from lmworks.serving.api.work import EVENT_HEADERS, Stream, Work, watched
from lmworks.serving.errors import Refused
from lmworks.serving.models import ServedModels
from lmworks.serving.record import RECORD

ResponseName = Annotated[str, Path(min_length=1, max_length=200)]


def routes(models: ServedModels) -> APIRouter:
    """The endpoints, for a server's models."""
    router = APIRouter()
    limits = models.limits
    kept = KeptResponses(limits.kept_responses, limits.kept_bytes, limits.body_bytes)

    @router.post("/v1/responses", summary="Answer a conversation, and keep it to go on with", responses=STREAMED)
    async def respond(asked: ResponseRequest, http: Request) -> Response:
        owner, earlier = _owner(http), asked.previous_response_id
        before = [] if earlier is None else kept.of(owner, earlier, "previous_response_id").conversation
        chat = asked.chat(before)
        service = await models.lend(http, asked.model)
        must_answer(asked.model, service)
        way = way_of(service, chat)

        def keep(response: Facts) -> None:
            if response["store"]:
                items = [*before, *(item.facts for item in asked.items)]
                response["store"] = kept.keep(owner, response, items)

        if way != "off":
            writer = ResponseWriter(asked.echo, answered_by(asked.model, service, [None]), keep)
            told = _cited(writer, await cited_text(service, chat, http, way))
            sent = [encoded(event) for event in told]
            if asked.stream:
                return StreamingResponse(iter(sent), media_type=Stream.media_type, headers=EVENT_HEADERS)
            return _told(writer.facts)
        work = await begin(service, chat)
        by = answered_by(asked.model, service, [one.sequence.request.adapter for one in work.handles])
        writer = ResponseWriter(asked.echo, by, keep)
        recorded(http, chat, work)
        events = _written(writer, ChatChoice(service, 0, chat), work)
        if asked.stream:
            return Stream(_streamed(writer, events), work)
        async with watched(http, work):
            async for _ in events:
                pass
        return _told(writer.facts)

    @router.get("/v1/responses/{response_id}", summary="A response that is kept")
    async def response(
        response_id: ResponseName,
        http: Request,
        stream: Annotated[bool | None, Query(description="Not supported: a stored response is sent whole.")] = None,
    ) -> Response:
        if stream:
            raise Refused(400, "stream: a stored response is sent whole; leave stream out", param="stream")
        return Response(kept.of(_owner(http), response_id).response, media_type="application/json")

    @router.delete("/v1/responses/{response_id}", summary="Delete it")
    async def delete(response_id: ResponseName, http: Request) -> JSONResponse:
        kept.drop(_owner(http), response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})

    @router.get("/v1/responses/{response_id}/input_items", summary="The conversation that it answered")
    async def input_items(
        response_id: ResponseName,
        http: Request,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: Annotated[str | None, Query(max_length=200, description="The id of the item before these.")] = None,
    ) -> Response:
        items = kept.of(_owner(http), response_id).items
        return _told(_page(items if order == "asc" else items[::-1], limit, after))

    return router


def _told(facts: Facts) -> Response:
    return Response(written(facts), media_type="application/json")


def _owner(http: Request) -> str:
    """Whose the request is; the guard lets nobody else come here."""
    owner = http.scope[RECORD].owner
    assert isinstance(owner, str)
    return owner


async def _written(writer: ResponseWriter, choice: ChatChoice, work: Work) -> AsyncIterator[Facts]:
    """The events of an answer of the model's own. Refused where it comes no further."""
    for event in writer.begin():
        yield event
    async for _, delta in work.deltas():
        if (chunk := choice.chunk(delta)) is not None:
            for event in writer.take(chunk):
                yield event
    for event in writer.end(work.usage):
        yield event


def _cited(writer: ResponseWriter, cited: CitedText) -> Iterator[Facts]:
    """Those of an answer from documents."""
    yield from writer.begin()
    for choice in cited.choices:
        yield from writer.take(choice)
    yield from writer.end(cited.usage)


async def _streamed(writer: ResponseWriter, events: AsyncIterator[Facts]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield encoded(event)
    except Refused as refused:  # the status is sent already
        for event in writer.fail(refused):
            yield encoded(event)


def _page(items: list[Facts], limit: int, after: str | None) -> Facts:
    ids = [one["id"] for one in items]
    if after is not None and after not in ids:
        raise Refused(404, f"after is {after[:80]!r}, which is no item of this response", param="after")
    start = 0 if after is None else ids.index(after) + 1
    data, shown = items[start : start + limit], ids[start : start + limit]
    return {
        "object": "list",
        "data": data,
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
        "has_more": start + limit < len(items),
    }
