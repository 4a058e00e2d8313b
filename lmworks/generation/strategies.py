"""How the next token is chosen: Greedy, Sample, Beam, Contrastive.

Sample(temperature=0.8, top_p=0.95, seed=7).order
('temperature 0.8', 'top_p 0.95')
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

import numpy as np
from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.generation.filters.step import Adjustment, Filter, History, adjustments, filters, forbid, with_settings
from lmworks.generation.limits import Habits, Limits

if TYPE_CHECKING:  # settings are listed by the command line, which should not wait for torch
    from lmworks.generation.constraints import Guide
    from lmworks.generation.distribution import Kept, Logits, Probabilities
    from lmworks.kernels.next_token import Choice

NO_LIMITS = Limits()
ADJUSTMENTS, FILTERS = adjustments(), filters()
COMPILED = {"top_k", "top_p", "min_p"}
"""The filters that the kernels do themselves; with any other a step is done in Python."""


@with_settings(ADJUSTMENTS)
class Strategy(Config):
    """Chooses tokens one by one. `start` gives a request its own chooser, which owns its random numbers.

    Its settings are its own and those of every declared adjustment.
    """

    min_new_tokens: int = Field(default=0, ge=0)
    """The model's own end cannot come before this many tokens are written."""

    if TYPE_CHECKING:  # the settings of adjustments and filters

        def __getattr__(self, name: str) -> Any: ...

    @cached_property
    def adjustments(self) -> list[tuple[Adjustment, dict[str, Any]]]:
        """The adjustments that are on, each with its settings, in their order."""
        return [(one, values) for one in ADJUSTMENTS if (values := one.values(self))]

    def adjusted(
        self, logits: Logits, read: Sequence[int] = (), written: int = 0, limits: Limits = NO_LIMITS
    ) -> Logits:
        """The logits [vocab] after all adjustments, forbidden and forced tokens.

        `read` is the prompt and the answer's `written` tokens.
        """
        history = History(read, written)
        for one, settings in self.adjustments:
            logits = one.change(logits, history, **settings)
        logits = forbid(logits, limits.forbidden(read, written, self.min_new_tokens))
        return limits.forced(logits, written)

    def distribution(self, logits: Logits) -> Probabilities:
        """The probabilities that the next token is chosen from, given logits that are `adjusted`."""
        raise AssertionError("a strategy defines its distribution")

    def at_share(self, logits: Logits, at: float) -> int:
        """The token at the share `at` of these probabilities."""
        from lmworks.generation.distribution import at_share

        return at_share(self.distribution(logits), at)

    def by_kernels(self, vocabulary: int) -> Choice | None:
        """How the kernels choose from adjusted logits; None where they do not."""
        return None

    @property
    def order(self) -> tuple[str, ...]:
        """The steps from logits to distribution, in the order in which they are done."""
        steps = [said for one, _ in self.adjustments for said in one.shown(self)]
        return (*steps, *([f"min_new_tokens {self.min_new_tokens}"] if self.min_new_tokens else []))

    def start(self, limits: Limits = NO_LIMITS) -> Chooser:
        """A chooser for one request."""
        return Chooser(self, None, limits)


class Greedy(Strategy):
    """Always the most probable token."""

    explain_as: ClassVar[str] = "greedy"

    def distribution(self, logits: Logits) -> Probabilities:
        """All on the most probable token."""
        from lmworks.generation.distribution import probabilities

        return probabilities(logits, 0.0)

    def by_kernels(self, vocabulary: int) -> Choice:
        """The likeliest."""
        from lmworks.kernels.next_token import Choice

        return Choice()

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        return (*super().order, "most probable")


@with_settings(FILTERS)
class Sample(Strategy):
    """A token by its probability, after temperature and filters in the order of `order`.

    Its settings are its own and those of every declared filter.
    """

    explain_as: ClassVar[str] = "sample"

    temperature: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Divides the logits: below 1 sharper, above 1 flatter; 0 for the most probable token."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same seed, same text, whatever else runs; None for a fresh one each time."""

    @cached_property
    def filters(self) -> list[tuple[Filter, dict[str, Any]]]:
        """The filters that are on, each with its settings, in their order."""
        return [(one, values) for one in FILTERS if (values := one.values(self))]

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        steps = [f"temperature {self.temperature:g}"]
        return (*super().order, *steps, *(said for one, _ in self.filters for said in one.shown(self)))

    def distribution(self, logits: Logits) -> Probabilities:
        """Temperature, then the filters; each of them sees probabilities that sum to one."""
        p, tokens = self._shortlist(logits)
        if tokens is None:
            return p
        whole = logits.new_zeros(len(logits))
        whole[tokens] = p
        return whole

    def at_share(self, logits: Logits, at: float) -> int:
        """The token at the share `at` of these probabilities; by the kernels where they can."""
        from lmworks.generation.distribution import at_share
        from lmworks.kernels.next_token import drawn

        choice = self.by_kernels(len(logits))
        if choice is not None and choice.factor:
            token = drawn(logits, choice.factor, choice.top_k, choice.top_p, choice.min_p, at)
            if token is not None:
                return token
        p, tokens = self._shortlist(logits)
        place = at_share(p, at)
        return place if tokens is None else int(tokens[place])

    def by_kernels(self, vocabulary: int) -> Choice | None:
        """Temperature and the filters of COMPILED."""
        from lmworks.generation.distribution import factor_of
        from lmworks.kernels.next_token import Choice

        if self.temperature == 0:
            return Choice()
        settings: dict[str, Any] = {}
        for one, values in self.filters:
            if one.name not in COMPILED:
                return None
            settings |= values
        if settings.get("top_k", 0) >= vocabulary:
            del settings["top_k"]
        return Choice(factor_of(self.temperature), **settings)

    def _shortlist(self, logits: Logits) -> tuple[Probabilities, Kept | None]:
        """The probabilities of the tokens that are left, and the ids of these, which rise; None for all."""
        from lmworks.generation.distribution import probabilities, renormalise

        tokens: Kept | None = None
        for one, settings in self.filters:
            if one.sees == "logits" and (places := one.keep(logits, **settings)) is not None:
                tokens = places if tokens is None else tokens[places]
                logits = logits[places]
        p = probabilities(logits, self.temperature)
        for one, settings in self.filters:
            if one.sees == "probabilities" and (places := one.keep(p, **settings)) is not None:
                tokens = places if tokens is None else tokens[places]
                p = renormalise(p[places])
        return p, tokens

    def start(self, limits: Limits = NO_LIMITS) -> Chooser:
        """A chooser with random numbers of its own, so that requests don't disturb each other."""
        return Chooser(self, secrets.randbelow(2**31) if self.seed is None else self.seed, limits)


class Beam(Strategy):
    """The best of several whole answers that are written side by side (`beams.py`)."""

    explain_as: ClassVar[str] = "beam"

    width: int = Field(default=5, gt=0)
    """Answers that are written side by side; the best as a whole is given."""

    length_penalty: float = Field(default=1.0, allow_inf_nan=False)
    """Answers are compared by the sum of their log-probabilities / length ** this: 0 for the sum alone, above 1 for
    longer answers."""

    early_stopping: Literal[True, False, "never"] = False
    """Once all beams are finished: True (yes) stops, False (no) stops unless one in progress is better at its present
    length, "never" goes on as long as one could become better."""

    groups: int = Field(default=1, gt=0)
    """The beams form this many groups, which `diversity_penalty` keeps apart."""

    diversity_penalty: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Taken off a token's log-probability for each beam of an earlier group that chooses it at the same step."""

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

    def start(self, limits: Limits = NO_LIMITS) -> NoReturn:
        """ConfigError: no token is chosen for good before the answers are finished."""
        raise ConfigError("beams compare whole answers and choose no next token; use Greedy or Sample")


class Contrastive(Strategy):
    """Of the likeliest tokens the one whose state is least like a state before it (`contrastive.py`)."""

    explain_as: ClassVar[str] = "contrastive"

    top_k: int = Field(default=4, gt=1)
    """Candidates of each step; the network reads each in a row of its own."""

    alpha: float = Field(default=0.6, ge=0, le=1)
    """Of the `top_k` likeliest tokens the one with the largest (1 - alpha) x probability - alpha x cosine with the most
    similar state before it: 0 is greedy, 0.6 is usual."""

    @property
    def order(self) -> tuple[str, ...]:
        """The steps, in order."""
        return (*super().order, f"top_k {self.top_k}", f"contrastive alpha {self.alpha:g}")

    def distribution(self, logits: Logits) -> NoReturn:
        """ConfigError: states are compared, too."""
        raise ConfigError("contrastive search compares states and has no distribution of the next token")


class Chooser:
    """A strategy at work on one request: its random numbers, the tokens seen so far, the form that is asked for."""

    def __init__(self, strategy: Strategy, seed: int | None, limits: Limits = NO_LIMITS) -> None:
        from lmworks.generation.distribution import Draws

        self.strategy, self.seed, self.limits = strategy, seed, limits
        # Another one may do what the kernels know nothing of.
        self._plain = type(strategy) in (Greedy, Sample) and not strategy.adjustments and limits.habits == Habits()
        self._ends = np.array(sorted(limits.ends), np.int64)
        self._choice: Choice | None = None
        """How the kernels choose, where nothing is forbidden; made once, as a vocabulary and what is judged stay."""
        self.draws = Draws(seed) if seed is not None else None
        """None where nothing is drawn."""
        self.guide: Guide | None = None
        self.read: list[int] = []
        """The prompt and the tokens chosen."""
        self.written = 0

    def saw(self, tokens: Sequence[int]) -> None:
        """Tokens of the prompt, for what looks back at them."""
        self.read += tokens

    def adjusted(self, logits: Logits) -> Logits:
        """The logits behind what the strategy takes off and adds, and minus infinity for what leads out of the form."""
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
        if self.draws is None:
            token = int(adjusted.numpy().argmax())  # PyTorch's takes five times as long
        elif guess is not None and drawn_from is not None:
            from lmworks.generation.distribution import keep_or_draw

            token = keep_or_draw(self.strategy.distribution(adjusted), guess, drawn_from, self.draws)
        else:
            token = self.strategy.at_share(adjusted, self.draws.next())
        self.took(token)
        return token

    def by_kernels(self, vocabulary: int, judged: bool) -> Choice | None:
        """How the kernels choose the next tokens, and judge them; None where their logits are changed first."""
        if not self._plain or self.guide is not None:
            return None
        if self._choice is None:
            choice = self.strategy.by_kernels(vocabulary)
            if choice is None:
                return None
            self._choice = choice._replace(judged=judged, ends=self._ends)
        forbidden = min(max(self.strategy.min_new_tokens - self.written, 0), self.limits.longest)
        return self._choice._replace(forbidden=forbidden) if forbidden else self._choice

    def drew(self, token: int) -> None:
        """The kernels chose it, at the share that was to be drawn next."""
        if self.draws is not None:
            self.draws.next()
        self.took(token)

    def took(self, token: int) -> None:
        """The answer goes on with this one."""
        if self.guide is not None:
            self.guide.accept(token)
        self.read.append(token)
        self.written += 1
