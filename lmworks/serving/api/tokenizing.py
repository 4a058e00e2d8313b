"""/tokenize, /detokenize and /tokenizer_info, as vLLM has them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.language_model import LanguageModel
from lmworks.serving.api.answering import adapter_of
from lmworks.serving.api.chat_requests import Message, ToolList, check_text, tools_of
from lmworks.serving.api.requests import StrictModel, Text, Token
from lmworks.serving.models import ServedModels
from lmworks.tokens.chat.conversation import encode_chat

Name = Annotated[str, Field(max_length=1000)] | None


class TokenizeRequest(StrictModel):
    """A request to /tokenize: a text, or a conversation as the chat template writes it."""

    model: Name = None
    prompt: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=4096, fail_fast=True)] | None = None
    tools: ToolList | None = None
    """Functions that the model is shown with the conversation."""

    add_special_tokens: bool | None = None
    """What the tokenizer puts around a text; true unless given."""

    add_generation_prompt: bool | None = None
    """The opening of the answer after a conversation; true unless given."""

    return_token_strs: bool | None = None
    """The text of each token, too."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_text(self.prompt, self.messages)
        if self.tools and self.messages is None:
            raise ValueError("tools go with messages")
        return self


class DetokenizeRequest(StrictModel):
    """A request to /detokenize."""

    model: Name = None
    tokens: Annotated[list[Token], Field(max_length=2**20, fail_fast=True)]


def routes(models: ServedModels) -> APIRouter:
    """The endpoints, for a server's models."""
    router = APIRouter()

    @router.post("/tokenize", summary="A text's tokens")
    async def tokenize(asked: TokenizeRequest, http: Request) -> JSONResponse:
        service = await models.lend(http, asked.model)
        longest = service.model.longest_with(adapter_of(asked.model, service))
        ids = await asyncio.to_thread(_encoded, service.model, asked)
        facts: dict[str, Any] = {"count": len(ids), "max_model_len": longest, "tokens": ids}
        if asked.return_token_strs:
            facts["token_strs"] = [service.texts.named(number)[0] for number in ids]
        return JSONResponse(facts)

    @router.post("/detokenize", summary="The text of tokens")
    async def detokenize(asked: DetokenizeRequest, http: Request) -> JSONResponse:
        service = await models.lend(http, asked.model)
        adapter_of(asked.model, service)
        tokenizer = service.model.tokenizer
        if (largest := max(asked.tokens, default=0)) >= tokenizer.vocab_size:
            raise ConfigError(f"there is no token {largest:,}; the vocabulary has {tokenizer.vocab_size:,}")
        return JSONResponse({"prompt": await asyncio.to_thread(tokenizer.decode, asked.tokens, False)})

    @router.get("/tokenizer_info", summary="What the tokenizer is")
    async def info(
        http: Request, model: Annotated[str | None, Query(max_length=1000, description="Whose it is.")] = None
    ) -> JSONResponse:
        service = await models.lend(http, model)
        longest = service.model.longest_with(adapter_of(model, service))
        # No special token's text: clients ask /tokenize for its id, and there the text of a special token is only text.
        special = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"))
        tokenizer = service.model.tokenizer
        facts = {
            "tokenizer_class": "lmworks",
            "model_max_length": longest,
            "vocab_size": tokenizer.vocab_size,
        }
        return JSONResponse(special | facts | {"chat_template": tokenizer.chat_template})

    return router


def _encoded(model: LanguageModel, asked: TokenizeRequest) -> list[int]:
    if asked.prompt is not None:
        return model.tokenizer.encode(asked.prompt, special=asked.add_special_tokens is not False)
    model.must_converse()
    turns = [message.turn for message in asked.messages or ()]
    return encode_chat(
        model.tokenizer,
        turns,
        add_generation_prompt=asked.add_generation_prompt is not False,
        tools=tools_of(asked.tools),
    )
