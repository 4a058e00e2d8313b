"""Chooser: a strategy at work on one answer.

token = Chooser(Sample(seed=7)).choose(logits)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmworks.basics.errors import ConfigError
from lmworks.generation.constraints import Guide
from lmworks.generation.distribution import Logits, Probabilities, RandomStream, keep_or_draw, log_probability
from lmworks.generation.limits import ForcedTokens, Limits
from lmworks.generation.strategies import NO_LIMITS, Beam, Greedy, Sample, Strategy
from lmworks.models.runner import Sampler, TokenChoice


class Chooser:
    """A strategy at work on one answer: its random numbers, the tokens so far, the form that is asked for."""

    def __init__(
        self,
        strategy: Strategy,
        seed: int | None = None,
        limits: Limits = NO_LIMITS,
        guide: Guide | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """Without a `seed` the strategy's, or a fresh one. A `sampler` does what it can faster than NumPy.
        ConfigError for beams."""
        if isinstance(strategy, Beam):
            raise ConfigError("beams compare whole answers and choose no next token; use Greedy or Sample")
        seed = strategy.new_seed() if seed is None else seed
        self.strategy, self.seed, self.limits, self.guide, self._sampler = strategy, seed, limits, guide, sampler
        # A strategy of the user's own may do what a runner knows nothing of.
        plain = type(strategy) in (Greedy, Sample) and not strategy.adjustments and limits.forced == ForcedTokens()
        self._plain = plain and guide is None
        self._ends = np.array(sorted(limits.ends), np.int64)
        self._choice: TokenChoice | None = None
        """How a runner chooses, where nothing is forbidden; made once, as a vocabulary and what is asked for stay."""
        self.random = RandomStream(seed) if seed is not None else None
        """None where nothing is drawn."""
        self.read: list[int] = []
        """The prompt and the tokens chosen."""
        self.written = 0

    def observe(self, tokens: Sequence[int]) -> None:
        """Tokens of the prompt, for what looks back at them."""
        self.read += tokens

    def adjusted(self, logits: Logits) -> Logits:
        """The logits after what the strategy takes off and adds, and minus infinity for what leads out of the form."""
        adjusted = self.strategy.adjusted(logits, self.read, self.written, self.limits)
        if self.guide is None:
            return adjusted
        formed = self.guide.allowed(adjusted)
        # What the form asks for goes before what else is asked: an end before min_new_tokens, say.
        return formed if formed.max() > -float("inf") else self.guide.allowed(logits)

    def choose(self, logits: Logits, guess: int | None = None, drawn_from: Probabilities | None = None) -> int:
        """The next token. A `guess` that was drawn from a distribution of its own is kept as often as it may be, so
        that the token has the strategy's distribution all the same (`guessing.py`)."""
        adjusted = self.adjusted(logits)
        if self.random is None:
            token = int(adjusted.argmax())
        elif guess is not None and drawn_from is not None:
            token = keep_or_draw(self.strategy.distribution(adjusted), guess, drawn_from, self.random)
        else:
            token = self._draw(adjusted, self.random.next())
        self.append(token)
        return token

    def _draw(self, adjusted: Logits, uniform: float) -> int:
        choice = None if self._sampler is None else self.strategy.token_choice(len(adjusted))
        if self._sampler is not None and choice is not None and choice.factor:
            token = self._sampler.draw(adjusted, choice, uniform)
            if token is not None:
                return token
        return self.strategy.at_share(adjusted, uniform)

    def token_choice(self, vocabulary: int, logprobs: bool) -> TokenChoice | None:
        """How a runner chooses the next tokens, with their log-probabilities or without; None where logits are
        changed first."""
        if not self._plain:
            return None
        if self._choice is None:
            choice = self.strategy.token_choice(vocabulary)
            if choice is None:
                return None
            self._choice = choice._replace(logprobs=logprobs, ends=self._ends)
        forbidden = min(max(self.strategy.min_new_tokens - self.written, 0), self.limits.longest)
        return self._choice._replace(forbidden=forbidden) if forbidden else self._choice

    def uniforms(self, count: int) -> list[float]:
        """Random numbers by which the next tokens are drawn; they stay next until a token is appended."""
        return [0.0] * count if self.random is None else self.random.ahead(count)

    def log_probability(self, logits: Logits, token: int) -> float:
        """That of a token under the model, natural."""
        total = None if self._sampler is None else self._sampler.log_total(logits)
        return log_probability(logits, token) if total is None else float(logits[token]) - total

    def append_drawn(self, token: int) -> None:
        """The text goes on with this token, which a runner chose by the next random number."""
        if self.random is not None:
            self.random.next()
        self.append(token)

    def append(self, token: int) -> None:
        """The text goes on with this token."""
        if self.guide is not None:
            self.guide.accept(token)
        self.read.append(token)
        self.written += 1
