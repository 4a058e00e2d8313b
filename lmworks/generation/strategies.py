"""How the next token is chosen: Greedy, Sample, Beam, Contrastive.

Sample(temperature=0.8, top_p=0.95, seed=7).order
('temperature 0.8', 'top_p 0.95')
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.generation.filters import (
    Kept,
    Logits,
    Probabilities,
    RandomStream,
    above,
    add_bias,
    at_share,
    factor_of,
    forbid,
    keep_or_draw,
    likeliest,
    log_probability,
    nucleus,
    penalise_counts,
    penalise_repetition,
    probabilities,
    renormalise,
    repeated,
    typical,
)
from lmworks.generation.limits import ForcedTokens, Limits
from lmworks.models.runner import Sampler, TokenChoice

if TYPE_CHECKING:
    from lmworks.generation.constraints import Guide

NO_LIMITS = Limits()


class Strategy(Config):
    """Chooses tokens one by one. `start` gives a request its own chooser, which owns its random numbers."""

    repetition_penalty: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Above 1, tokens that occurred already (prompt included, a source not) become less likely; 1 for off."""

    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off a token's logit for each time that the answer has it already (OpenAI)."""

    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off a token's logit once the answer has it (OpenAI)."""

    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] = Field(
        default_factory=dict
    )
    """Added to the logits of these tokens; -100 forbids, 100 forces them in practice (OpenAI)."""

    no_repeat_ngram: int | None = Field(default=None, gt=0)
    """No run of this many tokens comes twice (prompt included, a source not)."""

    min_new_tokens: int = Field(default=0, ge=0)
    """The model's own end cannot come before this many tokens are written."""

    def adjusted(
        self, logits: Logits, read: Sequence[int] = (), written: int = 0, limits: Limits = NO_LIMITS
    ) -> Logits:
        """The logits after penalties, forbidden and forced tokens; `read` is the prompt and the `written` tokens."""
        if read and self.repetition_penalty != 1.0:
            seen = torch.tensor(sorted(set(read)), device=logits.device)
            logits = penalise_repetition(logits, seen, self.repetition_penalty)
        if written and (self.frequency_penalty or self.presence_penalty):
            logits = penalise_counts(logits, read[len(read) - written :], self.frequency_penalty, self.presence_penalty)
        if self.logit_bias:
            logits = add_bias(logits, self.logit_bias)
        banned = limits.forbidden(read, written, self.min_new_tokens)
        if self.no_repeat_ngram is not None:
            banned |= repeated(read, self.no_repeat_ngram)
        return limits.force(forbid(logits, banned) if banned else logits, written)

    def distribution(self, logits: Logits) -> Probabilities:
        """The probabilities that the next token is chosen from, given logits that are `adjusted`."""
        raise AssertionError("a strategy defines its distribution")

    def at_share(self, logits: Logits, at: float) -> int:
        """The token at the share `at` of these probabilities."""
        return at_share(self.distribution(logits), at)

    def token_choice(self, vocabulary: int) -> TokenChoice | None:
        """How a runner chooses from adjusted logits; None where none can."""
        return None

    @property
    def adjusts(self) -> bool:
        """Does it change logits, beyond forbidding an early end?"""
        names = (name for name in Strategy.model_fields if name != "min_new_tokens")
        return any(
            getattr(self, name) != Strategy.model_fields[name].get_default(call_default_factory=True) for name in names
        )

    @property
    def order(self) -> tuple[str, ...]:
        """The steps from logits to distribution, in the order in which they are done."""
        off = {"repetition_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "logit_bias": {}}
        off |= {"no_repeat_ngram": None, "min_new_tokens": 0}
        said = {name: getattr(self, name) for name in off if getattr(self, name) != off[name]}
        return tuple(
            f"{name} of {len(value)} tokens" if isinstance(value, dict) else f"{name} {value:g}"
            for name, value in said.items()
        )

    def new_seed(self) -> int | None:
        """The seed of one answer's random numbers; None where nothing is drawn."""
        return None

    def start(
        self,
        limits: Limits = NO_LIMITS,
        seed: int | None = None,
        guide: Guide | None = None,
        sampler: Sampler | None = None,
    ) -> Chooser:
        """A chooser for one answer, with random numbers of its own so that answers do not disturb each other."""
        return Chooser(self, self.new_seed() if seed is None else seed, limits, guide, sampler)


class Greedy(Strategy):
    """Always the most probable token."""

    def distribution(self, logits: Logits) -> Probabilities:
        """All on the most probable token."""
        return probabilities(logits, 0.0)

    def token_choice(self, vocabulary: int) -> TokenChoice:
        """The likeliest."""
        return TokenChoice()

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        return (*super().order, "most probable")


class Sample(Strategy):
    """A token by its probability, after temperature and filters in the order of `order`."""

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits: below 1 sharper, above 1 flatter; 0 for the most probable token."""

    top_k: int | None = Field(default=None, gt=0)
    """Keep the k most probable tokens."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the fewest most probable tokens that reach this probability together."""

    min_p: float | None = Field(default=None, ge=0, le=1)
    """Keep tokens at least this many times as probable as the most probable one."""

    typical_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the tokens whose surprise is nearest to the expected one, as many as reach this probability together."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same seed, same text, whatever else runs; None for a fresh one each time."""

    @field_validator("temperature", "top_p", "min_p", "typical_p")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        if value is not None and not value < float("inf"):
            raise ConfigError(f"a sampling setting is {value}; give a finite number")
        return value

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        steps = [f"temperature {self.temperature:g}"]
        filters = ("top_k", "top_p", "min_p", "typical_p")
        steps += [f"{name} {value:g}" for name in filters if (value := getattr(self, name)) is not None]
        return (*super().order, *steps)

    def distribution(self, logits: Logits) -> Probabilities:
        """Temperature, top-k, top-p, min-p, typical-p; each filter sees probabilities that sum to one."""
        p, tokens = self._shortlist(logits)
        return p if tokens is None else torch.zeros_like(logits).index_copy(0, torch.from_numpy(tokens), p)

    def at_share(self, logits: Logits, at: float) -> int:
        """The token at the share `at` of these probabilities."""
        p, tokens = self._shortlist(logits)
        place = at_share(p, at)
        return place if tokens is None else int(tokens[place])

    def token_choice(self, vocabulary: int) -> TokenChoice | None:
        """Temperature and all filters but typical-p."""
        if self.temperature == 0:
            return TokenChoice()
        if self.typical_p is not None:
            return None
        top_k = self.top_k if self.top_k is not None and self.top_k < vocabulary else 0
        return TokenChoice(
            factor_of(self.temperature), top_k, 1.0 if self.top_p is None else self.top_p, self.min_p or 0.0
        )

    def _shortlist(self, logits: Logits) -> tuple[Probabilities, Kept | None]:
        """The probabilities of the tokens that are left, and the numbers of these, which rise; None for all."""
        tokens: Kept | None = None
        if self.top_k is not None and self.top_k < len(logits):  # the same tokens before and after the temperature
            tokens = likeliest(logits, self.top_k)
            logits = logits[torch.from_numpy(tokens)]
        p = probabilities(logits, self.temperature)
        kept: list[Callable[[Probabilities], Kept]] = []
        if self.top_p is not None and self.top_p < 1:
            kept.append(partial(nucleus, mass=self.top_p))
        if self.min_p is not None:
            kept.append(partial(above, share=self.min_p))
        if self.typical_p is not None and self.typical_p < 1:
            kept.append(partial(typical, mass=self.typical_p))
        for keep in kept:
            places = keep(p)
            p = renormalise(p[torch.from_numpy(places)])
            tokens = places if tokens is None else tokens[places]
        return p, tokens

    def new_seed(self) -> int:
        """The seed that is given, else a fresh one."""
        return secrets.randbelow(2**31) if self.seed is None else self.seed


class Beam(Strategy):
    """The best of several whole answers that are written side by side (`beams.py`)."""

    width: int = Field(default=5, gt=0)
    """Answers that go on from each step to the next."""

    length_penalty: float = Field(default=1.0, allow_inf_nan=False)
    """Answers are compared by the sum of their log-probabilities / length ** this: 0 by the sum alone, above 1 for
    longer ones."""

    early_stopping: Literal[True, False, "never"] = False
    """With `width` answers finished: True stops, False stops where the best that goes on is no better at its present
    length, "never" only where it could become no better at any length."""

    groups: int = Field(default=1, gt=0)
    """Beams in this many groups, which are kept apart by `diversity_penalty`."""

    diversity_penalty: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Taken off a token's log-probability for each beam of an earlier group that takes it at the same step."""

    @model_validator(mode="after")
    def _groups_differ(self) -> Self:
        if self.width % self.groups:
            raise ConfigError(f"width ({self.width}) is not a multiple of groups ({self.groups})")
        if (self.groups > 1) != (self.diversity_penalty > 0):
            raise ConfigError(
                f"groups is {self.groups} and diversity_penalty {self.diversity_penalty:g}; groups without a penalty "
                "would all write the same, and a penalty is between groups: give both, or none"
            )
        return self

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        diverse = (f"diversity_penalty {self.diversity_penalty:g}",) if self.groups > 1 else ()
        return (*diverse, *super().order, f"the best of {self.width} beams")

    def distribution(self, logits: Logits) -> NoReturn:
        """ConfigError: whole answers are compared."""
        raise ConfigError(
            "beams compare whole answers and have no distribution of the next token; use Greedy or Sample"
        )

    def start(self, *_: object, **__: object) -> NoReturn:
        """ConfigError: no token is chosen for good before the answers are finished."""
        raise ConfigError("beams compare whole answers and choose no next token; use Greedy or Sample")


class Contrastive(Strategy):
    """Of the likeliest tokens the one whose state is least like a state before it (`contrastive.py`)."""

    top_k: int = Field(default=4, gt=1)
    """Candidates of each step; each is read by the network in a row of its own."""

    alpha: float = Field(default=0.6, ge=0, le=1)
    """(1 - alpha) x probability - alpha x the largest cosine with a state before: 0 is greedy."""

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        return (*super().order, f"top_k {self.top_k}", f"contrastive alpha {self.alpha:g}")

    def distribution(self, logits: Logits) -> NoReturn:
        """ConfigError: states are compared, too."""
        raise ConfigError("contrastive search compares states and has no distribution of the next token")


class Chooser:
    """A strategy at work on one answer: its random numbers, the tokens so far, the form that is asked for."""

    def __init__(
        self,
        strategy: Strategy,
        seed: int | None,
        limits: Limits = NO_LIMITS,
        guide: Guide | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        """A `sampler` does what it can faster than PyTorch."""
        self.strategy, self.seed, self.limits, self.guide, self._sampler = strategy, seed, limits, guide, sampler
        # Another one may do what a runner knows nothing of.
        plain = type(strategy) in (Greedy, Sample) and not strategy.adjusts and limits.forced == ForcedTokens()
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
        return formed if formed.max() > -torch.inf else self.guide.allowed(logits)

    def choose(self, logits: Logits, guess: int | None = None, drawn_from: Probabilities | None = None) -> int:
        """The next token. A `guess` that was drawn from a distribution of its own is kept as often as it may be, so
        that the token has the strategy's distribution all the same (`guessing.py`)."""
        adjusted = self.adjusted(logits)
        if self.random is None:
            token = int(adjusted.numpy().argmax())  # PyTorch's takes five times as long
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
