"""The decoding loop: read the prompts, then one token a step for every answer that is not finished.

Requests of a batch share each step; each has a strategy and random numbers of its own, and as many rows as it has answers
in the making: one, or one a beam. Prompts are padded on the left, sources of an encoder-decoder on the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.generation.beams import BeamRequest
from lmworks.generation.limits import Habits, Limits
from lmworks.generation.request import Request
from lmworks.generation.strategies import Beam, Chooser, Strategy
from lmworks.models.cache import Cache
from lmworks.models.network import Network, evaluating
from lmworks.tokens.stream import StreamDecoder
from lmworks.tokens.tokenizer import Tokenizer

PREFILL = 512
"""Prompt tokens read at once: enough to fill the processor, few enough to bound memory."""


@dataclass
class OneRow(Request):
    """An answer whose tokens are chosen for good, one after another."""

    chooser: Chooser
    stream: StreamDecoder

    def __post_init__(self) -> None:
        self.seed = self.chooser.seed
        self.chooser.saw(self.prompt)

    def take(self, logits: Float[Tensor, "one vocab"]) -> str:
        """Choose the next token."""
        token = self.chooser.choose(logits[0])
        self.logprobs.append(float(logits[0].log_softmax(0)[token]))
        self.tokens.append(token)
        if token in self.limits.ends:
            self.finish = "stop"
            shown = self.stream.finish()
        else:
            shown = self.stream.push(token)
            if self.stream.stopped is not None:
                self.finish = "stop"
            elif len(self.tokens) >= self.limits.longest:
                self.finish = self.limits.at_longest
            if self.finish is not None:
                shown += self.stream.finish()
        self.rows = [(0, token)] if self.finish is None else []
        self.text += shown
        return shown


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
) -> Request:
    """A request that has been checked against the network's context. `source` is for an encoder-decoder, whose prompt is
    what opens a target; `habits` are what the model's own files force or forbid."""
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens is {max_new_tokens}; give at least 1")
    if not prompt or source == []:
        raise ConfigError("the prompt is empty; give at least one token to continue")
    for what, size in (("prompt", len(prompt) + 1), ("source", len(source or ()))):
        if size > context:
            read = size if what == "source" else size - 1
            raise ConfigError(f"the {what} has {read:,} tokens and the model reads {context:,}; shorten it")
    room = context - len(prompt)
    limits = Limits(
        tokenizer.stop_ids,
        min(max_new_tokens, room),
        "length" if max_new_tokens <= room else "window",
        habits or Habits(),
    )
    stream = StreamDecoder(tokenizer, stop)
    if isinstance(strategy, Beam):
        return BeamRequest(prompt, limits, strategy, lambda: StreamDecoder(tokenizer, stop), bool(stop), source=source)
    return OneRow(prompt, limits, strategy.start(limits), stream, source=source)


@torch.inference_mode()
def decode(network: Network, requests: Sequence[Request]) -> Iterator[tuple[Request, str]]:
    """Run the requests to their end; yield each request with its new text, step by step."""
    if requests:
        with evaluating(network):
            yield from _steps(network, requests)


def _steps(network: Network, requests: Sequence[Request]) -> Iterator[tuple[Request, str]]:
    logits, cache = _read_prompts(network, requests)
    running = [(request, 1) for request in requests]
    while running:
        new: list[tuple[Request, str]] = []
        rows: list[int] = []
        first = 0
        with _one_thread(network, cache):
            for request, size in running:
                new.append((request, request.take(logits[first : first + size])))
                rows += [first + row for row, _ in request.rows]
                first += size
        yield from new
        running = [(request, len(request.rows)) for request, _ in running if request.rows]
        if running:
            if rows != list(range(first)):
                cache.keep(torch.tensor(rows, device=network.device))
            with _one_thread(network, cache):
                tokens = torch.tensor([[token] for request, _ in running for _, token in request.rows])
                logits = network.next_logits(tokens.to(network.device), cache).cpu()


@contextmanager
def _one_thread(network: Network, cache: Cache) -> Iterator[None]:
    """One thread for PyTorch where an engine runs the network: what is left to do is small, and PyTorch's other threads wait
    busily on the cores that the engine's threads want (128 -> 180 tokens a second on two cores)."""
    threads = torch.get_num_threads()
    if network.engine is None or threads == 1 or not network.engine.owns(cache):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _read_prompts(network: Network, requests: Sequence[Request]) -> tuple[Float[Tensor, "batch vocab"], Cache]:
    """The logits behind each prompt's last token, and a cache that holds the prompts (and what is made of the sources)."""
    sources = [request.source for request in requests if request.source is not None]
    memory = network.encode(*padded(sources, network.device, left=False)) if sources else None
    tokens, mask = padded([request.prompt for request in requests], network.device, left=True)
    longest = tokens.shape[1]
    room = longest + min(256, max(request.limits.longest for request in requests))
    cache = network.new_cache(len(requests), room, memory)
    if longest == 1:
        return network(tokens, cache=cache)[:, -1].cpu(), cache
    for start in range(0, longest, PREFILL):
        part = slice(start, start + PREFILL)
        hidden = network.hidden(tokens[:, part], None if mask is None else mask[:, part], cache=cache)
    return network.logits(hidden[:, -1]).cpu(), cache


def padded(
    rows: Sequence[list[int]], device: torch.device, *, left: bool
) -> tuple[Int[Tensor, "batch seq"], Bool[Tensor, "batch seq"] | None]:
    """Rows of ids as a tensor, and which of them are real; None where all are."""
    longest = max(map(len, rows))
    blank = [longest - len(row) for row in rows]
    tokens = [[0] * size + row if left else row + [0] * size for size, row in zip(blank, rows, strict=True)]
    mask = None
    if any(blank):
        at = torch.arange(longest, device=device)
        sizes = torch.tensor(blank, device=device)[:, None]
        mask = at >= sizes if left else at < longest - sizes
    return torch.tensor(tokens, device=device), mask
