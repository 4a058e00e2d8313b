"""/v1/completions: continue texts, with the log-probabilities of prompt and answer where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from lmworks.generation.handle import Delta, RequestHandle
from lmworks.generation.request import LogprobOptions
from lmworks.generation.sequence import Token
from lmworks.serving.api.answering import STREAMED, Facts, adapters_of, answer, reason
from lmworks.serving.api.requests import CompletionRequest
from lmworks.serving.api.token_texts import Offsets
from lmworks.serving.api.work import AnswerJob, Work
from lmworks.serving.errors import Refused
from lmworks.serving.models import ServedModels
from lmworks.serving.service import AUTO, Service

LONGEST = 16
"""Tokens of an answer unless the request says how many, as OpenAI's API has it."""


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router = APIRouter()

    @router.post("/v1/completions", summary="Continue texts", responses=STREAMED)
    async def complete(asked: CompletionRequest, http: Request) -> Response:
        service = await models.lend(http, asked.model)
        if asked.echo and service.model.translates:
            raise Refused(
                400, "an encoder-decoder does not continue its prompt, so there is nothing to echo", param="echo"
            )
        longest = LONGEST if asked.max_tokens is None else asked.max_tokens
        wanted = LogprobOptions(
            asked.logprobs or 0,
            prompt=bool(asked.echo) and asked.logprobs is not None,
            written=asked.logprobs is not None,
        )
        constraint, echo = asked.constraint, bool(asked.echo)
        adapters = await adapters_of(asked.model, service, asked.prompts)
        jobs = [
            AnswerJob(prompt, asked.strategy(number), longest, asked.stops, constraint, wanted, adapter, echo=echo)
            for prompt, adapter in zip(asked.prompts, adapters, strict=True)
            for number in range(asked.answers)
        ]
        work = await Work.begin(service, jobs, asked.answers)
        prompts = asked.prompts

        def choice(number: int) -> _CompletionChoice:
            prompt = prompts[number // asked.answers] if asked.echo else None
            return _CompletionChoice(service, work.handles[number], number, asked, prompt)

        return await answer(http, asked, work, "text_completion", "cmpl", choice)

    return router


class _CompletionChoice:
    """One continuation."""

    def __init__(
        self,
        service: Service,
        handle: RequestHandle,
        number: int,
        asked: CompletionRequest,
        echoed: str | list[int] | None,
    ) -> None:
        self._service, self._handle, self._number = service, handle, number
        self._logprobs, self._echoed = asked.logprobs, echoed
        self._extra: Facts = {"adapter": handle.sequence.request.adapter} if asked.model == AUTO else {}
        self._offsets = Offsets(service.model.tokenizer)
        self._begun = False
        self._text, self._tokens = "", LogprobColumns()
        self._finish: str | None = None

    def chunk(self, delta: Delta) -> Facts | None:
        """A piece of the answer as an event of the stream; None if it has nothing to show."""
        text, tokens = delta.text, list(delta.tokens)
        if not self._begun:
            self._begun = True
            text, tokens = self._opening() + text, [*self._handle.prompt_tokens, *tokens]
        logged = LogprobColumns() if self._logprobs is None else self._log(tokens)
        self._text, self._finish = self._text + text, reason(delta)
        self._tokens.extend(logged)
        if not text and not logged.tokens and self._finish is None:
            return None
        return self._facts(text, logged, self._finish)

    def whole(self) -> Facts:
        """The answer at its end, without a stream."""
        return self._facts(self._text, self._tokens, self._finish)

    def _opening(self) -> str:
        if isinstance(self._echoed, str) or self._echoed is None:
            return self._echoed or ""
        return self._service.model.tokenizer.decode(self._echoed)

    def _log(self, tokens: Sequence[Token]) -> LogprobColumns:
        named = self._service.texts.named
        wanted = self._logprobs or 0
        logged = LogprobColumns()
        for token in tokens:
            name = named(token.id)[0]
            top = {named(other)[0]: value for other, value in token.top[:wanted]}
            if token.logprob is not None and wanted:
                top.setdefault(name, token.logprob)
            logged.tokens.append(name)
            logged.logprobs.append(token.logprob)
            logged.tops.append(top if token.logprob is not None and wanted else None)
            logged.offsets.append(self._offsets.next(token.id))
        return logged

    def _facts(self, text: str, logged: LogprobColumns, finish: str | None) -> Facts:
        logprobs: Any = None if self._logprobs is None else logged.facts
        return {"index": self._number, "text": text, "logprobs": logprobs, "finish_reason": finish, **self._extra}


class LogprobColumns:
    """Tokens with their log-probabilities, in the columns of the older API."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.logprobs: list[float | None] = []
        self.tops: list[dict[str, float] | None] = []
        self.offsets: list[int] = []

    def extend(self, other: LogprobColumns) -> None:
        """Append the columns of another."""
        self.tokens += other.tokens
        self.logprobs += other.logprobs
        self.tops += other.tops
        self.offsets += other.offsets

    @property
    def facts(self) -> Facts:
        """As they are sent."""
        return {
            "tokens": self.tokens,
            "token_logprobs": self.logprobs,
            "top_logprobs": self.tops,
            "text_offset": self.offsets,
        }
