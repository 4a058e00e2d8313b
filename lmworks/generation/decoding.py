"""The decoding loop: read the prompts, then one token a step for every request that is not finished.

Requests of a batch are padded on the left and share each step; each has a strategy, random numbers and a
stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.generation.strategies import Chooser, Strategy
from lmworks.models.cache import Cache
from lmworks.models.network import Network, evaluating
from lmworks.tokens.stream import StreamDecoder
from lmworks.tokens.tokenizer import Tokenizer

PREFILL = 512
"""Prompt tokens read at once: enough to fill the processor, few enough to bound memory."""

Finish = Literal["stop", "length", "window"]
"""stop: the model ended its answer, or a stop string came; length: max_new_tokens; window: the model's context is full."""


@dataclass
class Request:
    """One answer in the making."""

    prompt: list[int]
    chooser: Chooser
    stream: StreamDecoder
    max_new_tokens: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Log-probability of each token under the model itself, before the strategy's filters."""
    text: str = ""
    finish: Finish | None = None

    def take(self, logits: Float[Tensor, " vocab"], stop_ids: frozenset[int], context: int) -> str:
        """Choose the next token; return the text that can be shown now."""
        token = self.chooser.choose(logits)
        self.logprobs.append(float(logits[token] - logits.logsumexp(0)))
        self.tokens.append(token)
        if token in stop_ids:
            self.finish = "stop"
            shown = self.stream.finish()
        else:
            shown = self.stream.push(token)
            if self.stream.stopped is not None:
                self.finish = "stop"
            elif len(self.tokens) >= self.max_new_tokens:
                self.finish = "length"
            elif len(self.prompt) + len(self.tokens) >= context:
                self.finish = "window"
            if self.finish is not None:
                shown += self.stream.finish()
        self.text += shown
        return shown


def new_request(
    tokenizer: Tokenizer, prompt: list[int], strategy: Strategy, max_new_tokens: int, stop: Sequence[str], context: int
) -> Request:
    """A request that has been checked against the network's context."""
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens is {max_new_tokens}; give at least 1")
    if not prompt:
        raise ConfigError("the prompt is empty; give at least one token to continue")
    if len(prompt) >= context:
        raise ConfigError(f"the prompt has {len(prompt):,} tokens and the model reads {context:,}; shorten it")
    chooser = strategy.start()
    chooser.saw(prompt)
    return Request(prompt, chooser, StreamDecoder(tokenizer, stop), max_new_tokens)


@torch.inference_mode()
def decode(network: Network, requests: Sequence[Request], stop_ids: frozenset[int]) -> Iterator[tuple[Request, str]]:
    """Run the requests to their end; yield each request with its new text, token by token."""
    if requests:
        with evaluating(network):
            yield from _steps(network, requests, stop_ids)


def _steps(network: Network, requests: Sequence[Request], stop_ids: frozenset[int]) -> Iterator[tuple[Request, str]]:
    context = network.config.context
    longest = max(len(request.prompt) for request in requests)
    cache = network.new_cache(len(requests), longest + min(256, max(request.max_new_tokens for request in requests)))
    logits = _read_prompts(network, [request.prompt for request in requests], cache)
    running = list(requests)
    while True:
        for request, row in zip(running, logits, strict=True):
            yield request, request.take(row, stop_ids, context)
        rows = [row for row, request in enumerate(running) if request.finish is None]
        if not rows:
            return
        if len(rows) < len(running):
            cache.keep(torch.tensor(rows, device=network.device))
            running = [running[row] for row in rows]
        tokens = torch.tensor([[request.tokens[-1]] for request in running], device=network.device)
        logits = network(tokens, cache=cache)[:, -1].cpu()


def _read_prompts(network: Network, prompts: list[list[int]], cache: Cache) -> Float[Tensor, "batch vocab"]:
    """Fill the cache with the prompts, padded on the left; return the logits behind each prompt's last token."""
    longest = max(map(len, prompts))
    tokens = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts], device=network.device)
    mask = None
    if any(len(prompt) < longest for prompt in prompts):
        mask = torch.tensor(
            [[False] * (longest - len(prompt)) + [True] * len(prompt) for prompt in prompts], device=network.device
        )
    for start in range(0, longest, PREFILL):
        part = slice(start, start + PREFILL)
        hidden = network.hidden(tokens[:, part], None if mask is None else mask[:, part], cache=cache)
    return network.logits(hidden[:, -1]).cpu()
