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
from lmworks.generation.limits import Limits

if TYPE_CHECKING:
    from lmworks.generation.distribution import Kept, Logits, Probabilities
    from lmworks.models.runner import TokenChoice

NO_LIMITS = Limits()
ADJUSTMENTS, FILTERS = adjustments(), filters()
COMPILED = {"top_k", "top_p", "min_p"}
"""The filters that a runner does itself; with any other, a step is done in Python."""


@with_settings(ADJUSTMENTS)
class Strategy(Config):
    """Chooses tokens one by one. `start` gives a request its own chooser, which owns its random numbers.

    Its settings are its own and those of every declared adjustment.
    """

    given_as: ClassVar[str] = "a strategy: lm.Greedy(), lm.Sample(temperature=0.8) or lm.Beam(width=5)"

    unbounded = True  # a number beyond all bounds is as good as never

    min_new_tokens: int = Field(default=0, ge=0)
    """The model's own end cannot come before this many tokens are written."""

    if TYPE_CHECKING:  # the settings of adjustments and filters

        def __getattr__(self, name: str) -> Any: ...

    @cached_property
    def adjustments(self) -> list[tuple[Adjustment, dict[str, Any]]]:
        """The adjustments that are on, each with its settings, in their order."""
        return [(one, values) for one in ADJUSTMENTS if (values := one.values(self))]

    def check_logit_bias(self, vocabulary: int) -> None:
        """ConfigError if `logit_bias` names a token outside a vocabulary of this size."""
        if (biased := max(self.logit_bias, default=-1)) >= vocabulary:
            raise ConfigError(
                f"logit_bias names the token {biased:,}, and the vocabulary has {vocabulary:,}; leave it out"
            )

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
        return limits.force(logits, written)

    def distribution(self, logits: Logits) -> Probabilities:
        """The probabilities that the next token is chosen from, given logits that are `adjusted`."""
        raise AssertionError("a strategy defines its distribution")

    def at_share(self, logits: Logits, at: float) -> int:
        """The token at the share `at` of these probabilities."""
        from lmworks.generation.distribution import at_share

        return at_share(self.distribution(logits), at)

    def token_choice(self, vocabulary: int) -> TokenChoice | None:
        """How a runner chooses from adjusted logits; None where none can."""
        return None

    @property
    def order(self) -> tuple[str, ...]:
        """The steps from logits to distribution, in the order in which they are done."""
        steps = [said for one, _ in self.adjustments for said in one.shown(self)]
        return (*steps, *([f"min_new_tokens {self.min_new_tokens}"] if self.min_new_tokens else []))

    def new_seed(self) -> int | None:
        """The seed of one answer's random numbers; None where nothing is drawn."""
        return None


class Greedy(Strategy):
    """Always the most probable token."""

    explain_as: ClassVar[str] = "greedy"

    def distribution(self, logits: Logits) -> Probabilities:
        """All on the most probable token."""
        from lmworks.generation.distribution import probabilities

        return probabilities(logits, 0.0)

    def token_choice(self, vocabulary: int) -> TokenChoice:
        """The likeliest."""
        from lmworks.models.runner import TokenChoice

        return TokenChoice()

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

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits: below 1 sharper, above 1 flatter; 0 for the most probable token."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)
    """Same seed, same text, whatever else runs; drawn anew each time unless given."""

    if TYPE_CHECKING:  # the filters' settings are known when they are declared

        def __init__(self, **settings: Any) -> None: ...

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
        whole = np.zeros_like(logits)
        whole[tokens] = p
        return whole

    def at_share(self, logits: Logits, at: float) -> int:
        """The token at the share `at` of these probabilities."""
        from lmworks.generation.distribution import at_share

        p, tokens = self._shortlist(logits)
        place = at_share(p, at)
        return place if tokens is None else int(tokens[place])

    def token_choice(self, vocabulary: int) -> TokenChoice | None:
        """Temperature and the filters of COMPILED."""
        from lmworks.generation.distribution import factor_of
        from lmworks.models.runner import TokenChoice

        if self.temperature == 0:
            return TokenChoice()
        settings: dict[str, Any] = {}
        for one, values in self.filters:
            if one.name not in COMPILED:
                return None
            settings |= values
        if settings.get("top_k", 0) >= vocabulary:
            del settings["top_k"]
        return TokenChoice(factor_of(self.temperature), **settings)

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

    def new_seed(self) -> int:
        """The seed that is given, else a fresh one."""
        return secrets.randbelow(2**31) if self.seed is None else self.seed


class Beam(Strategy):
    """The best of several whole answers that are written side by side (`beams.py`)."""

    explain_as: ClassVar[str] = "beam"

    width: int = Field(default=5, gt=0)
    """Answers that are written side by side; the best as a whole is given."""

    length_penalty: float = Field(default=1.0)
    """Answers are compared by the sum of their log-probabilities / length ** this: 0 for the sum alone, above 1 for
    longer answers."""

    early_stopping: Literal[True, False, "never"] = False
    """Once all beams are finished: yes (true) stops, no (false) stops unless one in progress is better at its present
    length, never goes on as long as one could become better."""

    groups: int = Field(default=1, gt=0)
    """The beams form this many groups, which `diversity_penalty` keeps apart."""

    diversity_penalty: float = Field(default=0.0, ge=0)
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
