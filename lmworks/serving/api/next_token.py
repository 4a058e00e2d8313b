"""/v1/next_token: the distribution after a text, and what temperature, filters and penalties make of it.

Claims 6 (temperature) and 12 (top-k and top-p) of the lab, live: the steps are the engine's own.
"""

from __future__ import annotations

from typing import Annotated, Literal
from weakref import WeakKeyDictionary

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from lmworks.basics.errors import ConfigError
from lmworks.generation.distribution import Logits, Probabilities, largest, probabilities
from lmworks.serving.api.answering import adapter_of
from lmworks.serving.api.requests import SampledRequest, Text
from lmworks.serving.models import ServedModels
from lmworks.serving.pytorch_worker import twin
from lmworks.serving.service import Service

TOP = 20
"""Tokens that are told unless the request says how many."""


class NextTokenRequest(SampledRequest):
    """A request to /v1/next_token: a text and the settings of sampling."""

    prompt: Text
    top: Annotated[int, Field(ge=1, le=100)] | None = None
    """This many of the likeliest tokens are told; 20 unless given."""


class Candidate(BaseModel):
    """One token that may come next."""

    id: int
    token: str
    p: float
    """Its probability under the model."""
    p_chosen: float
    """Its probability after the settings: 0 where they leave it out."""


class NextTokenAnswer(BaseModel):
    """The answer of /v1/next_token."""

    object: Literal["next_token"] = "next_token"
    model: str
    order: list[str]
    """The steps from logits to distribution, in the order in which they are done."""
    kept: int
    """Tokens that can be chosen."""
    vocabulary: int
    entropy: float
    """Of the model's distribution, in bits."""
    entropy_chosen: float
    """Of the distribution after the settings, in bits."""
    top: list[Candidate]
    """Likeliest first."""


class Recent:
    """The logits after the last text that each model read: its settings are moved while the text stays."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[Service, tuple[object, list[int], Logits]] = WeakKeyDictionary()

    def read(self, service: Service, text: str, adapter: str | None) -> tuple[list[int], Logits]:
        """The tokens of a text and the logits after it, [vocab]; ConfigError for one that is too long."""
        import torch

        from lmworks.models.adapted import rows_adapted

        key = (text, adapter)
        if service not in self._last or self._last[service][0] != key:
            ids = _ids(service, text, adapter)
            network = twin(service.model).network
            of_rows, lead = service.model.read_by(adapter)
            with torch.inference_mode(), rows_adapted(network, [of_rows]):
                hidden = network.hidden(torch.tensor([lead + ids], device=network.device))
                logits = network.logits(hidden[0, -1]).float().cpu().numpy()
            self._last[service] = key, ids, logits
        return self._last[service][1:]


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router, recent = APIRouter(), Recent()

    @router.post("/v1/next_token", summary="What may come next, with and without the settings of sampling")
    async def next_token(asked: NextTokenRequest, http: Request) -> NextTokenAnswer:
        service = await models.lend(http, asked.model)
        adapter = adapter_of(asked.model, service)
        return await service.worker.run(lambda: _answer(service, recent, asked, adapter))

    return router


def _answer(service: Service, recent: Recent, asked: NextTokenRequest, adapter: str | None) -> NextTokenAnswer:
    strategy = asked.strategy()
    strategy.check_logit_bias(service.model.config.vocab_size)
    ids, logits = recent.read(service, asked.prompt, adapter)
    before = probabilities(logits, 1.0)
    after = strategy.distribution(strategy.adjusted(logits, ids))
    after = after / after.sum()
    best = largest(before, asked.top or TOP)[1].tolist()
    named = service.texts.named
    return NextTokenAnswer(
        model=adapter or service.name,
        order=list(strategy.order),
        kept=int((after > 0).sum()),
        vocabulary=len(after),
        entropy=_bits(before),
        entropy_chosen=_bits(after),
        top=[Candidate(id=n, token=named(n)[0], p=float(before[n]), p_chosen=float(after[n])) for n in best],
    )


def _ids(service: Service, text: str, adapter: str | None) -> list[int]:
    model, longest = service.model, service.model.longest_with(adapter)
    model.must_converse()
    most = min(service.limits.inspected_tokens, longest)
    ids = model.encode_prompt(text, longest)
    if len(ids) > most:
        raise ConfigError(f"the text has {len(ids):,} tokens, and at most {most:,} are read here; shorten it")
    return ids


def _bits(p: Probabilities) -> float:
    return abs(float((p * np.log2(p.clip(min=1e-30))).sum()))
