"""The decoding loop for requests that are all there: read the prompts, then one token a step for each that is not finished.

Each request has a strategy and random numbers of its own, and as many rows as it has answers in the making: one, or one a
beam. What runs them side by side is `batch.py`; requests that come and go are for an `Engine` (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from lmworks.basics.errors import ConfigError
from lmworks.generation.batch import PREFILL, Batch, padded
from lmworks.generation.beams import BeamRequest
from lmworks.generation.contrastive import ContrastiveRow
from lmworks.generation.limits import Habits, Limits
from lmworks.generation.one_row import OneRow
from lmworks.generation.request import Asked, Request
from lmworks.generation.strategies import Beam, Contrastive, Strategy
from lmworks.models.network import Network, evaluating
from lmworks.tokens.stream import StreamDecoder
from lmworks.tokens.tokenizer import Tokenizer

Window = Literal["stop", "slide"]
"""What happens at the end of the context: the answer ends (finish "window"), or the window slides."""
SHORTEST = 16
"""Tokens of a context that a window can slide over."""

__all__ = ["PREFILL", "OneRow", "decode", "new_request", "padded"]


def new_request(
    tokenizer: Tokenizer,
    prompt: list[int],
    strategy: Strategy,
    max_new_tokens: int,
    stop: Sequence[str],
    context: int,
    *,
    source: list[int] | None = None,
    habits: Habits | None = None,
    asked: Asked = Asked(),
    window: Window = "stop",
) -> Request:
    """A request that has been checked against the network's context. `source` is for an encoder-decoder, whose prompt is
    what opens a target; `habits` are what the model's own files force or forbid. At the end of the context the text ends
    ("window"), or the window slides: the first 4 tokens and the last half of it go on (`OneRow`)."""
    if max_new_tokens < (0 if asked.prompt else 1):
        raise ConfigError(f"max_new_tokens is {max_new_tokens}; give at least 1")
    if not prompt or source == []:
        raise ConfigError("the prompt is empty; give at least one token to continue")
    slides = window == "slide"
    if slides and (
        source is not None or isinstance(strategy, Beam | Contrastive) or asked.prompt or context < SHORTEST
    ):
        raise ConfigError(
            f"a window slides over one text that is written token by token, of {SHORTEST} tokens or more, whose prompt is not "
            "judged; take Greedy or Sample with a decoder, or let the answer end there"
        )
    for what, size in (("prompt", len(prompt) + min(max_new_tokens, 1)), ("source", len(source or ()))):
        if size > context and not slides:
            read = size if what == "source" else len(prompt)
            hint = "" if source is not None else ', or let the window slide (window="slide", --window slide)'
            raise ConfigError(f"the {what} has {read:,} tokens and the model reads {context:,}; shorten it{hint}")
    if asked.top and not asked.written:
        raise ConfigError(f"the {asked.top} likeliest tokens are asked for without log-probabilities; ask for both")
    room = max_new_tokens if slides else context - len(prompt)
    limits = Limits(
        tokenizer.stop_ids,
        min(max_new_tokens, room),
        "length" if max_new_tokens <= room else "window",
        habits or Habits(),
    )
    if isinstance(strategy, Beam):
        if asked.top or asked.prompt:
            raise ConfigError("beams tell the log-probabilities of their own tokens alone; ask for no others")
        return BeamRequest(
            prompt, limits, strategy, lambda: StreamDecoder(tokenizer, stop), bool(stop), source=source, asked=asked
        )
    kind = ContrastiveRow if isinstance(strategy, Contrastive) else OneRow
    row = kind(prompt, limits, strategy.start(limits), StreamDecoder(tokenizer, stop), source=source, asked=asked)
    if slides:
        row.slide_over(context)
    return row


def decode(network: Network, requests: Sequence[Request]) -> Iterator[tuple[Request, str]]:
    """Run the requests to their end; yield each request with its new text, step by step. All prompts are read first."""
    batch = Batch(network, chunk=PREFILL * max(len(requests), 1))
    batch.add(requests)
    with evaluating(network):
        while batch.busy:
            with torch.inference_mode():
                shown = batch.read() if batch.reading else batch.go_on()
            for request, text in shown:
                if request.error is not None:
                    raise request.error
                yield request, text
