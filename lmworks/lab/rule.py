"""Rule: the verdict of experiments that have no parts yet.

A rule is data: checks of measurements by name. Its text is written from the same checks that decide, so that
what is shown and what is done cannot drift apart.

    Rule(holds_if=(Check("Spearman, top-p", ">", 0.5), Check("Spearman, top-k", "<", 0.1)),
         only_if=((Check("gap at 0.8 minus the best", "<", 0.1), "0.8 is not called the best temperature"),))
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Literal, Self

from pydantic import model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.chart import Chart

HOLDS = "holds"
FAILS = "fails here"
UNDERPOWERED = "underpowered"
ONLY_IF = "holds only if "
"""Followed by the condition."""

SEEDS = 3
"""A random figure counts only when it was measured with at least this many seeds."""


class Check(Config):
    """One comparison: the whole 95 % interval of a measurement lies on the right side of a bound.

    Yes if it does, no if all of it lies on the other side, and undecided (None) where it holds the bound or
    where fewer than three seeds were run.
    """

    measurement: str
    """The measurement's name."""

    side: Literal[">", "<"]
    """The side of the bound on which it has to lie."""

    bound: float
    """The bound, in the measurement's unit."""

    def __init__(self, measurement: str, side: Literal[">", "<"], bound: float) -> None:
        super().__init__(measurement=measurement, side=side, bound=bound)

    def passed(self, found: Measurement) -> bool | None:
        """True, False, or None where the measurement cannot tell."""
        if found.seeds and (len(found.seeds) < SEEDS or found.interval is None):
            return None
        low, high = found.interval or (found.value, found.value)
        beyond = operator.gt if self.side == ">" else operator.lt
        answers = {beyond(low, self.bound), beyond(high, self.bound)}
        return answers.pop() if len(answers) == 1 else None

    def __str__(self) -> str:
        return f"{self.measurement} {self.side} {self.bound:g}"


class Rule(Config):
    """From measurements to a verdict: nothing else is looked at."""

    holds_if: tuple[Check, ...]
    """The core of the claim: one "no" and it fails, one "undecided" and the run was too small."""

    only_if: tuple[tuple[Check, str], ...] = ()
    """Parts that may be false while the rest holds, each with the condition that is then added."""

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if not self.holds_if:
            raise ConfigError("{at}holds_if has no check; a rule that nothing can fail is none")
        return self

    def apply(self, measurements: Sequence[Measurement]) -> tuple[str, tuple[str, ...]]:
        """The verdict, and a line for each check. ConfigError if a measurement is missing."""
        found = {one.name: one for one in measurements}
        core = [(check, _answer(check, found)) for check in self.holds_if]
        parts = [(check, condition, _answer(check, found)) for check, condition in self.only_if]
        answers = [answer for _, answer in core]
        lines = tuple(
            f"{_WORDS[answer]}: {check} ({found[check.measurement]})"
            for check, answer in [*core, *((check, answer) for check, _, answer in parts)]
        )
        if False in answers:
            return FAILS, lines
        if None in answers or any(answer is None for _, _, answer in parts):
            return UNDERPOWERED, lines
        conditions = [condition for _, condition, answer in parts if not answer]
        return (ONLY_IF + ", and ".join(conditions) if conditions else HOLDS), lines

    def __str__(self) -> str:
        core = "; ".join(map(str, self.holds_if))
        parts = "".join(f" Holds only if {condition}, unless {check}." for check, condition in self.only_if)
        return (
            f"Holds if {core}, each with its whole 95 % interval and over at least {SEEDS} seeds where it is "
            f"random; fails if an interval lies on the other side, underpowered if it holds the bound.{parts}"
        )


_WORDS = {True: "yes", False: "no", None: "undecided"}


def _answer(check: Check, found: dict[str, Measurement]) -> bool | None:
    if check.measurement not in found:
        raise ConfigError(f"the rule asks for {check.measurement!r}, and the run measured {', '.join(found)}")
    return check.passed(found[check.measurement])


class Observation(Config):
    """What an experiment's function returns; the rule makes a Finding of it."""

    measurements: tuple[Measurement, ...]
    """Every figure, with different names."""

    chart: Chart
    """The one picture that shows it."""

    note: str
    """What to know besides the figures: limits of the run, corrections of the claim with their source."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name for one in self.measurements]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"two measurements are called {twice[0]!r}; a rule could mean either")
        return self
