"""/v1/chat/completions: answer conversations."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from lmworks.generation.handle import Delta
from lmworks.generation.request import LogprobOptions, Prompt
from lmworks.generation.sequence import Token
from lmworks.serving.api.answering import STREAMED, Facts, adapter_of, answer, reason
from lmworks.serving.api.cited import cited_answer, way_of
from lmworks.serving.api.requests import ChatRequest
from lmworks.serving.api.work import Job, Work
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service
from lmworks.tokens.chat.conversation import encode_continued


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router = APIRouter()

    @router.post("/v1/chat/completions", summary="Answer a conversation", responses=STREAMED)
    async def chat(asked: ChatRequest, http: Request) -> Response:
        service = await models.lend(http, asked.model)
        adapter, way = adapter_of(asked.model, service), way_of(service, asked)
        if way != "off":
            return await cited_answer(service, asked, http, way)
        service.model.must_converse()
        longest = asked.max_completion_tokens or asked.max_tokens or service.model.config.context
        wanted = LogprobOptions(asked.top_logprobs or 0, written=bool(asked.logprobs))
        prompt, constraint = await _prompt(service, asked), asked.constraint
        jobs = [
            Job(prompt, asked.strategy(number), longest, asked.stops, constraint, wanted, adapter)
            for number in range(asked.answers)
        ]
        work = await Work.begin(service, jobs, asked.answers)
        kind = "chat.completion.chunk" if asked.stream else "chat.completion"
        return await answer(http, asked, work, kind, "chatcmpl", lambda number: _ChatChoice(service, number, asked))

    return router


async def _prompt(service: Service, asked: ChatRequest) -> Prompt:
    """What the model reads: the conversation, or its tokens where the last answer is to go on."""
    turns = [message.turn for message in asked.messages]
    if not asked.continue_final_message:
        return turns
    service.engine.must_have_room(asked.answers)  # before anything is tokenized
    model = service.model
    return await asyncio.to_thread(encode_continued, model.tokenizer, turns, model.config.context)


class _ChatChoice:
    """One answer."""

    def __init__(self, service: Service, number: int, asked: ChatRequest) -> None:
        self._named, self._number = service.texts.named, number
        self._logprobs = bool(asked.logprobs)
        self._begun = False
        self._text = ""
        self._content: list[Facts] = []
        self._finish: str | None = None

    def chunk(self, delta: Delta) -> Facts | None:
        content = [self._log(token) for token in delta.tokens] if self._logprobs else []
        self._text, self._finish = self._text + delta.text, reason(delta)
        self._content += content
        message: Facts = {"content": delta.text} if delta.text else {}
        if not self._begun:
            self._begun, message = True, {"role": "assistant", "content": delta.text}
        if not message and not content and self._finish is None:
            return None
        return {
            "index": self._number,
            "delta": message,
            "logprobs": {"content": content, "refusal": None} if self._logprobs else None,
            "finish_reason": self._finish,
        }

    def whole(self) -> Facts:
        return {
            "index": self._number,
            "message": {"role": "assistant", "content": self._text, "refusal": None},
            "logprobs": {"content": self._content, "refusal": None} if self._logprobs else None,
            "finish_reason": self._finish,
        }

    def _log(self, token: Token) -> Facts:
        return self._told(token.id, token.logprob) | {
            "top_logprobs": [self._told(other, value) for other, value in token.top]
        }

    def _told(self, number: int, logprob: float | None) -> Facts:
        text, written = self._named(number)
        return {"token": text, "logprob": logprob, "bytes": list(written)}
