"""/v1/chat/completions where the answer comes from the server's documents: its text, and what it cites."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from starlette.responses import StreamingResponse

from lmworks.grounding.answer import GroundedAnswer, Way
from lmworks.grounding.follow_up import ask_in_context, in_context
from lmworks.grounding.index import Index
from lmworks.grounding.telling import facts_of, where
from lmworks.serving.api.answering import FINGERPRINT, Facts, answered_by, event
from lmworks.serving.api.attending import attended
from lmworks.serving.api.chat_requests import ChatRequest
from lmworks.serving.api.documents import index_of, question_of
from lmworks.serving.api.work import EVENT_HEADERS
from lmworks.serving.errors import Refused
from lmworks.serving.record import RECORD, Cited
from lmworks.serving.service import Service


def way_of(service: Service, asked: ChatRequest) -> str:
    """How a request is to be answered: as it says, else from the documents where there are some. Refused for
    `min_right` with another way than extract: only spans were measured."""
    if (said := asked.grounding) is not None:
        if said.min_right is not None and said.way != "extract":
            why = (
                "min_right is measured for answers that no model writes; leave it out, or give the way extract, not "
                f"{said.way}"
            )
            raise Refused(400, why, param="grounding")
        return said.way
    return "off" if service.index is None or asked.tools else "extract"


def left_to_model(service: Service, asked: ChatRequest) -> Facts | None:
    """What the answer's `grounding` says where the server has documents and the model answers without them although
    nothing was said of it: documents call no tools, and whoever sends some wants them called."""
    if service.index is None or asked.grounding is not None or not asked.tools:
        return None
    return {
        "way": "off",
        "reason": "the request has tools, which only the model can call; the documents were not asked",
    }


@dataclass(frozen=True)
class CitedText:
    """An answer from documents, as the API returns it."""

    text: str
    extra: Facts
    """What it cites, and how it came about: `citations` and `grounding`."""
    usage: Facts

    @property
    def choices(self) -> list[Facts]:
        """As a stream tells it: the text; then, with the end, what it cites."""
        deltas = (({"role": "assistant", "content": self.text}, None), (self.extra, "stop"))
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": end} for delta, end in deltas]


async def cited_text(service: Service, asked: ChatRequest, http: Request, way: Any) -> CitedText:
    """What the documents say to a conversation's last question. Refused for settings that this cannot keep to."""
    index = index_of(service)
    _fits(asked)
    if way == "write" and asked.model in service.adapters:
        said = f"answers from documents are written by the model itself; ask {service.name}, or give another way"
        raise Refused(400, said, param="grounding")
    min_right = asked.grounding.min_right if asked.grounding is not None else None
    last, before = _questions(asked)
    question_of(service, in_context(last, before), asked.named("messages"))
    question, answer = await attended(
        http, service, lambda: ask_in_context(lambda one: service.ask(one, way, min_right), last, before)
    )
    if (record := http.scope.get(RECORD)) is not None:
        record.cited, record.text = Cited(way, answer), asked.text if record.keeps_text else None
    told = facts_of(answer, index)
    extra = {"citations": told["citations"], "grounding": _grounding(answer, told, way, question, index)}
    return CitedText(answer.text, extra, _usage(service, question, answer))


async def cited_answer(service: Service, asked: ChatRequest, http: Request, way: Any) -> Response:
    """The response to a conversation whose last question goes to the documents."""
    cited = await cited_text(service, asked, http, way)
    facts: Facts = {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion.chunk" if asked.stream else "chat.completion",
        "created": int(time.time()),
        "model": answered_by(asked.model, service, [None]),  # no adapter answers from documents
        "system_fingerprint": FINGERPRINT,
    }
    if asked.stream:
        wanted = bool(asked.stream_options and asked.stream_options.include_usage)
        events = _events(facts, cited, wanted)
        return StreamingResponse(events, media_type="text/event-stream", headers=EVENT_HEADERS)
    message = {"role": "assistant", "content": cited.text, "refusal": None, **cited.extra}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return JSONResponse(facts | {"choices": [choice], "usage": cited.usage})


def _events(facts: Facts, cited: CitedText, usage: bool) -> Iterator[bytes]:
    last: Facts = {"usage": None} if usage else {}
    for choice in cited.choices:
        yield event(facts | {"choices": [choice]} | last)
    if usage:
        yield event(facts | {"choices": [], "usage": cited.usage})
    yield b"data: [DONE]\n\n"


def _fits(asked: ChatRequest) -> None:
    """Refused for settings that an answer from documents cannot keep to."""
    form = asked.structured_outputs or (asked.response_format and asked.response_format.type != "text")
    unfit = {
        "tools": asked.tools,
        "n": asked.answers > 1,
        "logprobs": asked.logprobs,
        "stop": asked.stop,
        "response_format": form,
        "continue_final_message": asked.continue_final_message,
    }
    for field, given in unfit.items():
        if given:
            name = asked.named(field)
            said = f'{name} does not go with an answer from documents; leave it out, or give grounding {{"way": "off"}}'
            raise Refused(400, said, param=name)


def _questions(asked: ChatRequest) -> tuple[str, str | None]:
    """What the conversation asks last, and the question before it."""
    turns = [one.turn for one in asked.messages]
    if turns[-1]["role"] != "user":
        said = "the last message is not the user's, so nothing is asked of the documents"
        raise Refused(400, said, param=asked.named("messages"))
    asks = [turn["content"] for turn in turns if turn["role"] == "user"]
    return asks[-1], asks[-2] if len(asks) > 1 else None


def _grounding(answer: GroundedAnswer, told: Facts, way: Way, question: str, index: Index) -> Facts:
    nearest, near = answer.nearest, told["nearest"]
    return {
        "way": way,
        "question": question,
        "refused": answer.refused,
        "confidence": answer.confidence,
        "probably_right": answer.probably_right,
        "reason": answer.reason or None,
        "why": told["why"],
        "nearest": None if nearest is None else where(nearest, index),
        "nearest_at": near and {name: near[name] for name in ("file", "document", "heading", "place", "at")},
    }


def _usage(service: Service, question: str, answer: GroundedAnswer) -> Facts:
    """The question's and the answer's tokens, as the served model counts them."""
    read, written = (len(service.model.tokenizer.encode(text, special=False)) for text in (question, answer.text))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
