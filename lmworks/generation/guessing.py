"""Speculative decoding: guess several tokens, let the network read them all at once, keep those that it would have
written.

    model.generate(prompt, guess=Lookup())                     # what followed the last tokens where they stood before
    model.generate(prompt, Sample(seed=1), guess=Draft(small)) # what a smaller model with the same vocabulary writes

What comes out is what comes out without guesses. Greedy: the same tokens. Sampling: the same distribution; with
Lookup, whose guesses are certain, even the same tokens for the same seed: each token is drawn as always, and a guess
that differs ends the step. A Draft's guess x, drawn from q, is kept with probability min(1, p(x) / q(x)), else a
token is drawn from what p has more than q: together that is p (Leviathan et al. 2023,
https://arxiv.org/abs/2211.17192, appendix A.1). Where PyTorch runs the network, the last bits of logits depend on
how many tokens are read at once, so that a tie within them may fall otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import Field

from lmworks.basics.arrays import Float
from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.generation.distribution import Probabilities, RandomStream, draw
from lmworks.generation.strategies import Strategy
from lmworks.models.config import ModelConfig
from lmworks.models.kv_cache import KVCache
from lmworks.models.lookup import PromptLookup
from lmworks.models.runner import Runner
from lmworks.tokens.tokenizer import Tokenizer


class Guessed(NamedTuple):
    """Tokens that may follow."""

    tokens: tuple[int, ...] = ()
    drawn_from: tuple[Probabilities, ...] = ()
    """The distribution that each was drawn from; none where they are certain."""


class Guesser(ABC):
    """Guesses at work on one answer."""

    @abstractmethod
    def guess(self, read: Sequence[int], written: int, most: int, beside: int = 1) -> Guessed:
        """At most `most` tokens that may follow; `read` is the prompt and the `written` tokens, `beside` the rows of
        a step."""


class Lookup(Config):
    """Guess that the tokens go on as they did where they stood before, in the prompt or the answer (prompt lookup:
    Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).

    How many is what pays most: of k guessed tokens as many come out right as those before them did in this answer,
    and a step takes longer the more tokens it reads (`COSTS` in models/lookup.py). Copies are followed whether they
    are read or not, so that an answer which begins to quote is noticed."""

    most: int = Field(default=15, gt=0, le=511)
    """Tokens of one guess at most."""

    match: int = Field(default=3, gt=0, le=32)
    """The last tokens, as many as this, are looked for; then fewer, down to one."""

    def start(self, strategy: Strategy, seed: int | None, tokenizer: Tokenizer) -> Guesser:
        """A guesser for one answer."""
        return ByLookup(self)


class ByLookup(Guesser):
    """Guesses of one answer, which a runner can go on with by itself."""

    def __init__(self, settings: Lookup) -> None:
        self.lookup = PromptLookup(settings.match, settings.most)

    def guess(self, read: Sequence[int], written: int, most: int, beside: int = 1) -> Guessed:
        """What follows the place that is believed in, as far as it pays."""
        self.lookup.observe(read, written)
        return Guessed(self.lookup.guess(most, beside))


class DraftModel(Protocol):
    """What a draft is written with: a `LanguageModel`."""

    runner: Runner
    tokenizer: Tokenizer
    reference: str | None

    @property
    def config(self) -> ModelConfig:
        """What shapes the network."""

    @property
    def longest(self) -> int:
        """Tokens that it reads at most."""

    @property
    def translates(self) -> bool:
        """Whether it is an encoder-decoder."""

    def must_write(self) -> None:
        """ConfigError unless the network writes text."""


class Draft:
    """Guess what a smaller model with the same vocabulary writes."""

    def __init__(self, model: DraftModel, most: int = 4) -> None:
        if most < 1:
            raise ConfigError(f"most is {most}; guess at least 1 token")
        model.must_write()
        if model.translates:
            raise ConfigError("a draft continues a text, and an encoder-decoder translates one; take a decoder")
        self.model, self.most = model, most

    def start(self, strategy: Strategy, seed: int | None, tokenizer: Tokenizer) -> Guesser:
        """A guesser for one answer, whose `seed` it follows. ConfigError for another vocabulary."""
        own = self.model.tokenizer
        if own is not tokenizer and own.words != tokenizer.words:
            raise ConfigError(
                f"the draft ({self.model.reference or 'a network'}) has another vocabulary than the model; take one "
                "with the same tokenizer"
            )
        return _Drafting(self, strategy, seed)


class _Drafting(Guesser):
    def __init__(self, settings: Draft, strategy: Strategy, seed: int | None) -> None:
        self.settings, self.strategy = settings, strategy
        # Numbers of its own: with those of the answer, what is guessed and whether it is kept would hang together.
        self._random = None if seed is None else RandomStream((seed * 0x9E3779B97F4A7C15 + 1) % 2**63)
        self._cache: KVCache | None = None
        self._version: tuple[Runner, int] | None = None
        self._held: list[int] = []
        """What the cache holds."""

    def guess(self, read: Sequence[int], written: int, most: int, beside: int = 1) -> Guessed:
        """Written token by token, after what the draft has read already."""
        count = min(self.settings.most, most, self.settings.model.longest - len(read))
        if count < 1:
            return Guessed()
        text, drawn_from = list(read), []
        for place in range(count):
            logits = self._read(text)
            adjusted = self.strategy.adjusted(logits, text, written + place)
            if self._random is None:
                text.append(int(adjusted.argmax()))
            else:
                drawn_from.append(self.strategy.distribution(adjusted))
                text.append(draw(drawn_from[-1], self._random))
        return Guessed(tuple(text[len(read) :]), tuple(drawn_from))

    def _read(self, text: list[int]) -> Float[np.ndarray, " vocab"]:
        """Logits after a text; only what is new is read."""
        runner = self.settings.model.runner
        if self._cache is None or self._version != (runner, runner.weights_version):
            self._cache, self._held = runner.new_cache(1, len(text) + 64), []
            self._version = runner, runner.weights_version
        shared = next(
            (at for at, (one, other) in enumerate(zip(self._held, text, strict=False)) if one != other),
            min(len(self._held), len(text) - 1),
        )
        self._cache.cut([len(self._held) - shared])
        new = np.array([text[shared:]])
        with runner.evaluating():
            for start in range(0, new.shape[1], 512):
                logits = runner.next_logits(new[:, start : start + 512], self._cache)
        self._held = text.copy()
        return logits[0]
