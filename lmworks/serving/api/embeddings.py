"""/v1/embeddings: texts as vectors."""

from __future__ import annotations

import base64
import time
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from lmworks.basics.errors import ConfigError
from lmworks.serving.api.answering import adapter_of, must_be
from lmworks.serving.api.requests import StrictModel, Text, Tokens
from lmworks.serving.errors import TOO_LONG, Refused, late
from lmworks.serving.models import ServedModels
from lmworks.serving.pytorch_worker import twin

AT_ONCE = 32
"""Texts between two looks whether the client is still there."""


class EmbeddingRequest(StrictModel):
    """A request to /v1/embeddings."""

    input: (
        Text
        | Tokens
        | Annotated[list[Text], Field(min_length=1, max_length=2**16, fail_fast=True)]
        | Annotated[list[Tokens], Field(min_length=1, max_length=2**16, fail_fast=True)]
    )
    """A text, several, or their tokens' ids, which are read as they are."""

    model: Annotated[str, Field(max_length=1000)] | None = None
    """One of /v1/models; the one that makes vectors unless it is given."""

    encoding_format: Literal["float", "base64"] | None = None
    """Numbers, or their bytes: float32, little-endian."""

    dimensions: Annotated[int, Field(ge=1)] | None = None
    """None but the model's own number."""

    truncate_prompt_tokens: Literal[-1] | None = None
    """-1: a text that is longer than the model reads loses its end; else it is an error."""

    user: Annotated[str, Field(max_length=4096)] | None = None
    """Accepted, not used."""

    @property
    def texts(self) -> list[str | list[int]]:
        """One or several."""
        one = isinstance(self.input, str) or isinstance(self.input[0], int)
        return [self.input] if one else list(self.input)  # type: ignore[list-item,arg-type]


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router = APIRouter()

    @router.post("/v1/embeddings", summary="Texts as vectors")
    async def embed(asked: EmbeddingRequest, http: Request) -> JSONResponse:
        service = await models.lend(http, asked.model, embeds=True)
        model = service.embedder
        if model is None:
            raise ConfigError("an encoder-decoder has no pooled states; serve an encoder beside it (--embedder)")
        name = asked.model or service.embedder_name
        adapter = adapter_of(asked.model, service) if model is service.model else None
        if adapter is None:
            must_be(asked.model, service.embedder_name)
        texts = asked.texts
        if len(texts) > service.limits.texts:
            raise ConfigError(f"the request has {len(texts):,} texts; send at most {service.limits.texts} at once")
        if asked.dimensions not in (None, model.vector_dim):
            raise Refused(
                400,
                f"dimensions is {asked.dimensions}; {service.embedder_name} makes {model.vector_dim}",
                param="dimensions",
            )
        cut = asked.truncate_prompt_tokens is not None
        writes = model is service.model and service.writes
        longest = model.pooling.within(model.longest)
        end = time.monotonic() + service.limits.seconds

        def some(start: int) -> tuple[np.ndarray, int]:
            part = model.pooling.prompted(texts[start : start + AT_ONCE], None)
            ids = model.tokenizer.encode_batch(part) if isinstance(part[0], str) else part  # type: ignore[arg-type]
            for number, one in enumerate(ids, start):
                if not one or (len(one) > longest and not cut):
                    raise _unread(f"input.{number}" if len(texts) > 1 else "input", len(one), longest)
            vectors = (twin(model) if writes else model).embed(ids, cut=cut, adapter=adapter).numpy()
            return vectors, sum(min(len(one), longest) for one in ids)

        data: list[dict[str, Any]] = []
        read = 0
        for start in range(0, len(texts), AT_ONCE):
            vectors, tokens = await service.worker.run(lambda start=start: some(start))  # type: ignore[misc]
            data += [_facts(number, vector, asked) for number, vector in enumerate(vectors, start)]
            read += tokens
            if await http.is_disconnected():
                raise Refused(499, "the client went away")
            if time.monotonic() > end and len(data) < len(texts):
                raise late(service.limits.seconds, "send fewer texts")
        usage = {"prompt_tokens": read, "total_tokens": read}
        return JSONResponse({"object": "list", "data": data, "model": name, "usage": usage})

    return router


def _unread(name: str, tokens: int, longest: int) -> Refused:
    """What is said of a text that has no vector."""
    if not tokens:
        return Refused(400, f"{name} has no token and so no vector; leave it out", param="input")
    said = f"{name} has {tokens:,} tokens and the model reads {longest:,}"
    return Refused(400, f"{said}; split it, or give truncate_prompt_tokens -1", param="input", code=TOO_LONG)


def _facts(number: int, vector: np.ndarray, asked: EmbeddingRequest) -> dict[str, Any]:
    if asked.encoding_format == "base64":
        sent: Any = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    else:
        sent = vector.tolist()
    return {"object": "embedding", "index": number, "embedding": sent}
