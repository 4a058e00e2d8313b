"""The decoding loop for requests that are all there: read the prompts, then one token a step for each that is not finished.

Each request has a strategy and random numbers of its own, and as many rows as it has answers in the making: one, or one a
beam. What runs them side by side is `batch.py`; requests that come and go are for an `Engine` (`engine.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.generation.batch import PREFILL, Batch, padded
from lmworks.generation.beams import BeamRequest
from lmworks.generation.guessing import Guess, Guesser
from lmworks.generation.limits import Habits, Limits
from lmworks.generation.request import Asked, Read, Request, top_of
from lmworks.generation.strategies import Beam, Chooser, Strategy
from lmworks.models.network import Network, evaluating
from lmworks.tokens.stream import StreamDecoder
from lmworks.tokens.tokenizer import Tokenizer

__all__ = ["PREFILL", "OneRow", "decode", "new_request", "padded"]


@dataclass
class OneRow(Request):
    """An answer whose tokens are chosen for good, one after another."""

    chooser: Chooser
    stream: StreamDecoder
    guesser: Guesser | None = field(default=None, init=False)
    guessed: Guess = field(default=Guess(), init=False)
    """What its row read behind the last token."""

    def __post_init__(self) -> None:
        self.seed = self.chooser.seed
        self.chooser.saw(self.prompt)
        if self.limits.longest == 0:
            self.finish = self.limits.at_longest

    def take(self, logits: Float[Tensor, "read vocab"]) -> str:
        """Choose the next token; as long as it is the one that was guessed, the one behind it too."""
        shown, guess = "", self.guessed
        for place, row in enumerate(logits):
            guessed = guess.tokens[place] if place < len(guess.tokens) else None
            drawn_from = guess.drawn_from[place] if place < len(guess.drawn_from) else None
            token = self.chooser.choose(row, guessed, drawn_from)
            shown += self._write(token, row)
            if self.finish is not None or token != guessed:
                break
        self.rows = []
        if self.finish is None:
            self.guessed = self._guess()
            self.rows = [Read(0, (token, *self.guessed.tokens), cut=len(logits) - 1 - place)]
        return shown

    def _guess(self) -> Guess:
        if self.guesser is None:
            return Guess()
        most = self.limits.longest - len(self.tokens) - 1
        return self.guesser.guess(self.chooser.read, len(self.tokens), most)

    def _write(self, token: int, logits: Float[Tensor, " vocab"]) -> str:
        """One more token; the text that can be shown now."""
        if self.asked.written:
            logprobs = logits.log_softmax(0)
            self.logprobs.append(float(logprobs[token]))
            if self.asked.top:
                self.alternatives.append(top_of(logprobs, self.asked.top))
        self.tokens.append(token)
        if token in self.limits.ends:
            self.finish = "stop"
            shown = self.stream.finish()
        else:
            shown = self.stream.push(token)
            if self.stream.stopped is not None or (self.chooser.guide is not None and self.chooser.guide.complete):
                self.finish = "stop"
            elif len(self.tokens) >= self.limits.longest:
                self.finish = self.limits.at_longest
            if self.finish is not None:
                shown += self.stream.finish()
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
    asked: Asked = Asked(),
) -> Request:
    """A request that has been checked against the network's context. `source` is for an encoder-decoder, whose prompt is
    what opens a target; `habits` are what the model's own files force or forbid."""
    if max_new_tokens < (0 if asked.prompt else 1):
        raise ConfigError(f"max_new_tokens is {max_new_tokens}; give at least 1")
    if not prompt or source == []:
        raise ConfigError("the prompt is empty; give at least one token to continue")
    for what, size in (("prompt", len(prompt) + min(max_new_tokens, 1)), ("source", len(source or ()))):
        if size > context:
            read = size if what == "source" else len(prompt)
            raise ConfigError(f"the {what} has {read:,} tokens and the model reads {context:,}; shorten it")
    if asked.top and not asked.written:
        raise ConfigError(f"the {asked.top} likeliest tokens are asked for without log-probabilities; ask for both")
    room = context - len(prompt)
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
    return OneRow(prompt, limits, strategy.start(limits), StreamDecoder(tokenizer, stop), source=source, asked=asked)


@torch.inference_mode()
def decode(network: Network, requests: Sequence[Request]) -> Iterator[tuple[Request, str]]:
    """Run the requests to their end; yield each request with its new text, step by step. All prompts are read first."""
    batch = Batch(network, chunk=PREFILL * max(len(requests), 1))
    batch.add(requests)
    with evaluating(network):
        while batch.busy:
            for request, text in batch.read() if batch.reading else batch.go_on():
                if request.error is not None:
                    raise request.error
                yield request, text
