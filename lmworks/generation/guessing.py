"""Speculative decoding: guess several tokens, let the network read them all at once, keep those that it would have written.

    model.generate(prompt, guess=Lookup())                     # what followed the last tokens where they stood before
    model.generate(prompt, Sample(seed=1), guess=Draft(small)) # what a smaller model with the same vocabulary writes

What comes out is what comes out without guesses. Greedy: the same tokens. Sampling: the same distribution; with Lookup, whose
guesses are certain, even the same tokens for the same seed: each token is drawn as always, and a guess that differs ends
the step. A Draft's guess x, drawn from q, is kept with probability min(1, p(x) / q(x)), else a token is drawn from what p has
more than q: together that is p (Leviathan et al. 2023, https://arxiv.org/abs/2211.17192, appendix A.1). Where PyTorch runs the
network, the last bits of logits depend on how many tokens are read at once, so that a tie within them may fall otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.generation.distribution import Draws, Probabilities, draw
from lmworks.generation.strategies import Strategy
from lmworks.kernels.lookup import LookingUp

if TYPE_CHECKING:
    from lmworks.language_model import LanguageModel
    from lmworks.models.cache import Cache


class Guess(NamedTuple):
    """Tokens that may follow."""

    tokens: tuple[int, ...] = ()
    drawn_from: tuple[Probabilities, ...] = ()
    """The distribution that each was drawn from; none where they are certain."""


class Guesser(ABC):
    """Guesses at work on one answer."""

    @abstractmethod
    def guess(self, read: Sequence[int], written: int, most: int, beside: int = 1) -> Guess:
        """At most `most` tokens that may follow; `read` is the prompt and the `written` tokens, `beside` the rows of a step."""


class Lookup(Config):
    """Guess that the tokens go on as they did where they stood before, in the prompt or the answer (prompt lookup:
    Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding).

    How many is what pays most: of k guessed tokens so many come out right as those before them did in this answer, and a
    step takes longer the more tokens it reads (`COSTS` in kernels/lookup.py). Copies are followed whether they are read or not, so that
    an answer which begins to quote is noticed."""

    most: int = Field(default=15, gt=0, le=511)
    """Tokens of one guess at most."""

    match: int = Field(default=3, gt=0, le=32)
    """So many last tokens are looked for, then fewer, down to one."""

    def start(self, strategy: Strategy, seed: int | None, target: LanguageModel) -> Guesser:
        """A guesser for one answer."""
        return ByLookup(self)


class ByLookup(Guesser):
    """Guesses of one answer, which the compiled path can go on with by itself (`CompiledNetwork.follow`)."""

    def __init__(self, settings: Lookup) -> None:
        self.lookup = LookingUp(settings.match, settings.most)

    def guess(self, read: Sequence[int], written: int, most: int, beside: int = 1) -> Guess:
        """What follows the place that is believed in, as far as it pays."""
        self.lookup.saw(read, written)
        return Guess(self.lookup.guess(most, beside))


class Draft:
    """Guess what a smaller model with the same vocabulary writes."""

    def __init__(self, model: LanguageModel, most: int = 4) -> None:
        if most < 1:
            raise ConfigError(f"most is {most}; guess at least 1 token")
        model.must_write()
        if model.translates:
            raise ConfigError("a draft continues a text, and an encoder-decoder translates one; take a decoder")
        self.model, self.most = model, most

    def start(self, strategy: Strategy, seed: int | None, target: LanguageModel) -> Guesser:
        """A guesser for one answer, whose `seed` it follows. ConfigError for another vocabulary."""
        ours, theirs = self.model.tokenizer, target.tokenizer
        if ours is not theirs and _words(self.model) != _words(target):
            raise ConfigError(
                f"the draft ({self.model.reference or 'a network'}) has another vocabulary than the model "
                f"({target.reference or 'a network'}); take one with the same tokenizer"
            )
        return _Drafting(self, strategy, seed)


def _words(model: LanguageModel) -> list[bytes | str]:
    tokenizer = model.tokenizer
    return [
        tokenizer.special.get(number, "") or tokenizer.token_bytes(number) for number in range(tokenizer.vocab_size)
    ]


class _Drafting(Guesser):
    def __init__(self, settings: Draft, strategy: Strategy, seed: int | None) -> None:
        self.settings, self.strategy = settings, strategy
        # Numbers of its own: with those of the answer, what is guessed and whether it is kept would hang together.
        self._draws = None if seed is None else Draws((seed * 0x9E3779B97F4A7C15 + 1) % 2**63)
        self._cache: Cache | None = None
        self._held: list[int] = []
        """What the cache holds."""

    def guess(self, read: Sequence[int], written: int, most: int, beside: int = 1) -> Guess:
        """Written token by token, behind what the draft has read already."""
        network = self.settings.model.network
        count = min(self.settings.most, most, network.config.context - len(read))
        if count < 1:
            return Guess()
        text, drawn_from = list(read), []
        for place in range(count):
            logits = self._read(text)
            adjusted = self.strategy.adjusted(logits, text, written + place)
            if self._draws is None:
                text.append(int(adjusted.numpy().argmax()))
            else:
                drawn_from.append(self.strategy.distribution(adjusted))
                text.append(draw(drawn_from[-1], self._draws))
        return Guess(tuple(text[len(read) :]), tuple(drawn_from))

    def _read(self, text: list[int]) -> torch.Tensor:
        """Logits behind a text; only what is new is read."""
        network = self.settings.model.network
        if self._cache is None:
            self._cache = network.new_cache(1, len(text) + 64)
        shared = next(
            (at for at, (one, other) in enumerate(zip(self._held, text, strict=False)) if one != other),
            min(len(self._held), len(text) - 1),
        )
        self._cache.cut([len(self._held) - shared])
        for part in torch.tensor([text[shared:]], device=network.device).split(512, dim=1):
            logits = network.next_logits(part, self._cache)
        self._held = text.copy()
        return logits[0].cpu()
