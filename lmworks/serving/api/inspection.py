"""/v1/inspect: what a network does with a text: log-probabilities, the likeliest tokens after each layer, attention.

The likeliest tokens after a layer are what the network's own last norm and head make of the residual stream there (the
logit lens: nostalgebraist 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru); after the last layer they are its
answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, model_validator

from lmworks.basics.errors import ConfigError
from lmworks.language_model import LanguageModel
from lmworks.serving.api.answering import adapter_of
from lmworks.serving.api.chat_requests import Message, check_text
from lmworks.serving.api.requests import StrictModel, Text, Tokens
from lmworks.serving.models import ServedModels
from lmworks.serving.pytorch_worker import twin
from lmworks.serving.service import Service

if TYPE_CHECKING:  # a server that only writes waits for no PyTorch
    from torch import Tensor

    from lmworks.basics.arrays import Float
    from lmworks.models.network import Network

MOST_PLACES = 4096
"""Layers times tokens that are read out as tokens: a second or two on two cores for a vocabulary of 49,152."""
MOST_PATTERN = 2**20
"""Weights of attention in one answer: some 8 MB."""
AT_ONCE = 256
"""Places whose logits are held together."""

Facts = dict[str, Any]
Layers = Annotated[list[Annotated[int, Field(ge=0, lt=10_000)]], Field(max_length=1000, fail_fast=True)]


class InspectRequest(StrictModel):
    """A request to /v1/inspect."""

    model: Annotated[str, Field(max_length=1000)] | None = None
    prompt: Text | Tokens | None = None
    """A text, or its tokens' ids."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096, fail_fast=True)] | None = None
    """Or a conversation, up to where the answer begins."""

    top: Annotated[int, Field(ge=1, le=50)] | None = None
    """This many of the likeliest tokens at each place; 5 unless given."""

    layers: Layers | None = None
    """Layers whose residual stream is read out as tokens, from 0; all unless given, none for an empty list."""

    attention: Layers | None = None
    """Layers whose attention is returned; none unless given."""

    heads: Layers | None = None
    """Heads of these layers; all unless given."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        check_text(self.prompt, self.messages)
        return self


def routes(models: ServedModels) -> APIRouter:
    """The endpoint, for a server's models."""
    router = APIRouter()

    @router.post("/v1/inspect", summary="Look inside the network at a text")
    async def inspect(asked: InspectRequest, http: Request) -> Response:
        service = await models.lend(http, asked.model)
        adapter = adapter_of(asked.model, service)
        body = await service.worker.run(lambda: inspected(service, asked, adapter))
        return Response(body, media_type="application/json")

    return router


def inspected(service: Service, asked: InspectRequest, adapter: str | None = None) -> bytes:
    """The answer's body; the text is read by the adapter of this name."""
    import torch

    with torch.inference_mode():
        return _inspected(service, asked, adapter)


def _inspected(service: Service, asked: InspectRequest, adapter: str | None) -> bytes:
    from lmworks.models.adapted import rows_adapted

    model = service.model
    if model.translates:
        raise ConfigError("an encoder-decoder has two stacks and is not looked into here; use Python (docs/inside.md)")
    turns = None if asked.messages is None else [message.turn for message in asked.messages]
    ids = model.encode_prompt(asked.prompt if turns is None else turns, model.longest)  # type: ignore[arg-type]
    if max(ids) >= model.config.vocab_size:
        raise ConfigError(f"the prompt names the token {max(ids):,}; the vocabulary has {model.config.vocab_size:,}")
    chosen = _Chosen(model, asked, len(ids), service.limits.inspected_tokens)
    network = twin(model).network
    with rows_adapted(network, [adapter]):
        look = _Look(service, network, ids, chosen)
    facts: Facts = {"object": "inspection", "model": adapter or service.name, "tokens": look.tokens()}
    if service.writes:
        facts["next"] = look.tops(look.hidden[-1:])[0]
        facts["layers"] = look.layers()
    facts["attention"] = look.attention()
    return json.dumps(facts, separators=(",", ":")).encode()


class _Look:
    """A network at a text."""

    def __init__(self, service: Service, network: Network, ids: list[int], chosen: _Chosen) -> None:
        import torch

        from lmworks.models.hooks import hooked

        self._named, self._network, self._ids, self._chosen = service.texts.named, network, ids, chosen
        self._writes = service.writes
        self._seen: dict[str, Tensor] = {}
        paths = [f"blocks.{layer}.residual_out" for layer in chosen.layers]
        paths += [f"blocks.{layer}.attention.pattern" for layer in chosen.attention]
        with hooked(network, {path: self._keep(path) for path in paths}):
            hidden = network.hidden(torch.tensor([ids], device=network.device))
        self.hidden = hidden[0]
        """The states after the last norm, [seq, dim]."""

    def tokens(self) -> list[Facts]:
        """Each token, its log-probability given those before it, and what was likeliest in its place."""
        facts: list[Facts] = [self._token(number) for number in self._ids]
        if not self._writes:
            return facts
        expected, own = self.tops(self.hidden), self._own()
        facts[0] |= {"logprob": None, "top_logprobs": []}
        for place, logprob in enumerate(own, 1):
            facts[place] |= {"logprob": round(logprob, 5), "top_logprobs": expected[place - 1]}
        return facts

    def layers(self) -> list[Facts]:
        """The likeliest tokens at each place, after each layer that is looked at."""
        streams = [(layer, self._seen[f"blocks.{layer}.residual_out"]) for layer in self._chosen.layers]
        return [{"layer": layer, "top_logprobs": self.tops(self._network.norm(x))} for layer, x in streams]

    def attention(self) -> list[Facts]:
        """The weights by head, [queries][keys]."""
        patterns = [(layer, self._seen[f"blocks.{layer}.attention.pattern"]) for layer in self._chosen.attention]
        return [
            {"layer": layer, "heads": [{"head": head, "weights": _rounded(x[head])} for head in self._chosen.heads]}
            for layer, x in patterns
        ]

    def tops(self, states: Float[Tensor, "places dim"]) -> list[list[Facts]]:
        """The likeliest tokens of each place, the likeliest first."""
        found = []
        for part in states.split(AT_ONCE):
            best = self._logprobs(part).topk(min(self._chosen.top, self._network.config.vocab_size))
            for numbers, values in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                pairs = zip(numbers, values, strict=True)
                found.append([self._token(number) | {"logprob": round(value, 5)} for number, value in pairs])
        return found

    def _own(self) -> list[float]:
        """The log-probability of each token but the first."""
        import torch

        own: list[float] = []
        for part in self.hidden[:-1].split(AT_ONCE) if len(self._ids) > 1 else ():
            wanted = torch.tensor(self._ids[len(own) + 1 : len(own) + 1 + len(part)])
            own += self._logprobs(part)[torch.arange(len(part)), wanted].tolist()
        return own

    def _logprobs(self, states: Float[Tensor, "places dim"]) -> Float[Tensor, "places vocab"]:
        return self._network.logits(states).log_softmax(-1).cpu()

    def _token(self, number: int) -> Facts:
        return {"id": number, "token": self._named(number)[0]}

    def _keep(self, path: str) -> Callable[[Tensor], None]:
        def read(activation: Tensor) -> None:
            self._seen[path] = activation[0]

        return read


class _Chosen:
    """What is looked at, checked against the network and the bounds."""

    def __init__(self, model: LanguageModel, asked: InspectRequest, tokens: int, most: int) -> None:
        config = model.config
        longest = min(most, model.longest)
        if tokens > longest:
            raise ConfigError(f"the text has {tokens:,} tokens, and at most {longest:,} are looked into; shorten it")
        writes = config.arrangement != "encoder"
        self.top = asked.top or 5
        every = list(range(config.layers)) if writes else []
        self.layers = every if asked.layers is None else _known(asked.layers, config.layers, "layers")
        if self.layers and not writes:
            raise ConfigError("an encoder has no head that reads its layers out as tokens; leave layers out")
        self.attention = _known(asked.attention or (), config.layers, "attention")
        self.heads = list(range(config.heads)) if asked.heads is None else _known(asked.heads, config.heads, "heads")
        if len(self.layers) * tokens > MOST_PLACES:
            raise ConfigError(
                f"{len(self.layers)} layers of {tokens:,} tokens are more than {MOST_PLACES:,} places; "
                "name fewer layers"
            )
        if len(self.attention) * len(self.heads) * tokens**2 > MOST_PATTERN:
            raise ConfigError(
                f"attention of {len(self.attention)} layers with {len(self.heads)} heads over {tokens:,} tokens is "
                f"more than {MOST_PATTERN:,} weights; name fewer layers or heads"
            )


def _known(named: Sequence[int], count: int, what: str) -> list[int]:
    for one in named:
        if one >= count:
            raise ConfigError(f"{what} names {one} and the network has {count}, counted from 0")
    return list(dict.fromkeys(named))


def _rounded(weights: Float[Tensor, "queries keys"]) -> list[list[float]]:
    return [[round(weight, 5) for weight in row] for row in weights.float().tolist()]
