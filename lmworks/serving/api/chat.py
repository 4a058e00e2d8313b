"""/v1/chat/completions: answer conversations."""

from __future__ import annotations

import asyncio
import secrets

from fastapi import APIRouter, Request
from fastapi.responses import Response

from lmworks.generation.handle import Delta
from lmworks.generation.request import LogprobOptions, Prompt, WithImages
from lmworks.generation.sequence import Token
from lmworks.generation.tool_calls import CallReader
from lmworks.language_model import LanguageModel
from lmworks.serving.api.answering import STREAMED, Facts, adapters_of, answer, must_answer, reason
from lmworks.serving.api.chat_requests import ChatRequest
from lmworks.serving.api.cited import cited_answer, left_to_model, way_of
from lmworks.serving.api.image_urls import pixels_at
from lmworks.serving.api.work import AnswerJob, Work
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service
from lmworks.tokens.chat.conversation import encode_continued


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router = APIRouter()

    @router.post("/v1/chat/completions", summary="Answer a conversation", responses=STREAMED)
    async def chat(asked: ChatRequest, http: Request) -> Response:
        service = await models.lend(http, asked.model)
        must_answer(asked.model, service)
        way = way_of(service, asked)
        if way != "off":
            return await cited_answer(service, asked, http, way)
        work = await begin(service, asked)
        kind = "chat.completion.chunk" if asked.stream else "chat.completion"
        return await answer(http, asked, work, kind, "chatcmpl", lambda number: ChatChoice(service, number, asked))

    return router


async def begin(service: Service, asked: ChatRequest) -> Work:
    """Queue what the model itself is to answer. Refused, or an LmworksError, with what is wrong."""
    service.model.must_converse()
    longest = asked.max_completion_tokens or asked.max_tokens or service.model.longest
    wanted = LogprobOptions(asked.top_logprobs or 0, written=bool(asked.logprobs))
    prompt, tools, constraint = await _prompt(service, asked), asked.called(), asked.constraint
    [adapter] = await adapters_of(asked.model, service, [prompt])
    if isinstance(prompt, WithImages) and constraint is None and tools is None:
        constraint = prompt.known_caption
    jobs = [
        AnswerJob(prompt, asked.strategy(number), longest, asked.stops, constraint, wanted, adapter, tools)
        for number in range(asked.answers)
    ]
    return await Work.begin(service, jobs, asked.answers)


async def _prompt(service: Service, asked: ChatRequest) -> Prompt:
    """What the model reads: the conversation, or its tokens where the last answer is to go on; of a conversation with
    images, these and the text of the last message."""
    if asked.images:
        service.engine.must_have_room(asked.answers)  # before anything is decoded
        return await asyncio.to_thread(_with_images, service.model, asked)
    turns = [message.turn for message in asked.messages]
    if not asked.continue_final_message:
        return turns
    service.engine.must_have_room(asked.answers)  # before anything is tokenized
    model = service.model
    return await asyncio.to_thread(encode_continued, model.tokenizer, turns, model.longest)


def _with_images(model: LanguageModel, asked: ChatRequest) -> Prompt:
    return model.with_images(asked.messages[-1].text, [pixels_at(url, param) for param, url in asked.images])


class ChatChoice:
    """One answer."""

    def __init__(self, service: Service, number: int, asked: ChatRequest) -> None:
        self._named, self._number = service.texts.named, number
        self._logprobs = bool(asked.logprobs)
        self._grounding = left_to_model(service, asked)
        self._begun = False
        self._text = ""
        self._content: list[Facts] = []
        self._finish: str | None = None
        self._reader = CallReader() if asked.tools and asked.tool_choice != "none" else None
        self._calls: list[Facts] = []

    def chunk(self, delta: Delta) -> Facts | None:
        """A piece of the answer as an event of the stream; None if it has nothing to show."""
        content = [self._log(token) for token in delta.tokens] if self._logprobs else []
        self._finish, text, calls = reason(delta), delta.text, list[Facts]()
        if self._reader is not None:
            text, calls = self._read(self._reader, delta)
        self._text += text
        self._content += content
        message: Facts = ({"content": text} if text else {}) | ({"tool_calls": calls} if calls else {})
        if not self._begun and (message or self._reader is None or self._finish is not None):
            opening = {"role": "assistant", "content": None if calls and not text else text}
            self._begun, message = True, opening | message
        if not message and not content and self._finish is None:
            return None
        if self._finish is not None and self._grounding is not None:
            message["grounding"] = self._grounding
        return {
            "index": self._number,
            "delta": message,
            "logprobs": {"content": content, "refusal": None} if self._logprobs else None,
            "finish_reason": self._finish,
        }

    def whole(self) -> Facts:
        """The answer at its end, without a stream."""
        return {
            "index": self._number,
            "message": self._message,
            "logprobs": {"content": self._content, "refusal": None} if self._logprobs else None,
            "finish_reason": self._finish,
        }

    @property
    def _message(self) -> Facts:
        more = {} if self._grounding is None else {"grounding": self._grounding}
        if not self._calls:
            return {"role": "assistant", "content": self._text, "refusal": None} | more
        return {"role": "assistant", "content": self._text or None, "refusal": None, "tool_calls": self._calls} | more

    def _read(self, reader: CallReader, delta: Delta) -> tuple[str, list[Facts]]:
        """The words of a delta, and what it tells of calls."""
        pieces = reader.read(delta.text)
        if self._finish is not None:
            pieces += reader.end()
            self._finish = "tool_calls" if self._finish == "stop" and reader.calls and not reader.cut else self._finish
        told: list[Facts] = []
        for piece in pieces:
            if piece.name is not None:
                call = {"id": f"call_{secrets.token_hex(12)}", "type": "function"}
                self._calls.append(call | {"function": {"name": piece.name, "arguments": ""}})
                told.append({"index": piece.call} | call | {"function": {"name": piece.name, "arguments": ""}})
            if piece.arguments:
                self._calls[piece.call]["function"]["arguments"] += piece.arguments
                told.append({"index": piece.call, "function": {"arguments": piece.arguments}})
        return "".join(piece.content for piece in pieces), told

    def _log(self, token: Token) -> Facts:
        return self._told(token.id, token.logprob) | {
            "top_logprobs": [self._told(other, value) for other, value in token.top]
        }

    def _told(self, number: int, logprob: float | None) -> Facts:
        text, written = self._named(number)
        return {"token": text, "logprob": logprob, "bytes": list(written)}
