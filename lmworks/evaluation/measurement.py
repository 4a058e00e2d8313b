"""Measurement: a figure with its unit, interval, n, seeds, chance level and ideal value.

    Measurement(name="held-out text", value=0.781, unit="bits/byte", interval=(0.772, 0.790), n=41)

A score without its chance level is a trap (pitfall 34), and so is "higher is better" for a measure whose
ideal is a half (pitfall 36): both are fields here, and the text form says when the interval holds them.
"""

from __future__ import annotations

import math
import re
from typing import Any, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

TELLING = 30
"""Of fewer items, a preference for three of four would go unseen more often than in 1 of 5 cases."""
TOO_FEW = "too few to tell"
OFF_IDEAL = ("above the ideal", "below the ideal")


class Measurement(Config):
    """One figure. Raises ConfigError for NaN, infinity, n below 1, or an interval that misses the value."""

    name: str = Field(min_length=1)
    """What was measured, in words; unique within a report."""

    value: float
    """The figure itself."""

    unit: str = ""
    """bits/byte, %, tokens, ...; empty for a plain number."""

    interval: tuple[float, float] | None = None
    """The 95 % interval, lower end first; None for what is exact or was measured once."""

    n: int = Field(default=1, ge=1)
    """How many independent items (documents, questions, runs) the figure comes from."""

    seeds: tuple[int, ...] = ()
    """The seeds that were run; empty where nothing is random."""

    chance: float | None = None
    """What a guess without any knowledge would reach; None where there is no such level."""

    ideal: float | None = None
    """The best value there is: 0 for an error, 1 for an accuracy, a half for a balance; None for none."""

    difference: bool = False
    """Whether this is one condition minus another: an interval that holds 0 is then a tie."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        figures = [self.value, *(self.interval or ()), self.chance, self.ideal]
        if not all(math.isfinite(figure) for figure in figures if figure is not None):
            raise ConfigError(
                f"{self.name}: a figure is NaN or infinite ({self.value!r}, interval {self.interval}); "
                "leave it out and say why, or count how often it happened"
            )
        if self.interval is not None and not self.interval[0] <= self.value <= self.interval[1]:
            low, high = self.interval
            raise ConfigError(
                f"{self.name}: the interval {low:g} ... {high:g} does not hold the value {self.value:g}; "
                "take both from the same estimate"
            )
        return self

    @property
    def tie(self) -> bool:
        """A difference that may be none: its interval holds 0."""
        return self.difference and self._may_be(0.0)

    @property
    def at_chance(self) -> bool:
        """A score that guessing could reach as well."""
        return not self.difference and self.chance is not None and self._may_be(self.chance)

    @property
    def below_chance(self) -> bool:
        """A score, the higher the better, that is worse than guessing."""
        if self.difference or self.chance is None or self.ideal is None or self.interval is None:
            return False
        return self.interval[1] < self.chance < self.ideal

    @property
    def balanced(self) -> bool:
        """Whether its ideal is what chance gives, as of most figures of bias."""
        return self.chance is not None and self.chance == self.ideal

    @property
    def balance(self) -> str:
        """Of a `balanced` figure, whether it is off: "above the ideal" or "below the ideal" where its interval, as it
        is printed, excludes that; "none seen" where it holds it, or, of few items or without an interval, "too few to
        tell"."""
        if self.difference or self.chance is None or not self.balanced:
            return ""
        if self.interval is None:
            return TOO_FEW
        low, high = (float(self.alike(end).replace(",", "")) for end in self.interval)
        if not low <= self.chance <= high:
            return OFF_IDEAL[self.value < self.chance]
        return TOO_FEW if self.n < TELLING else "none seen"

    def _may_be(self, level: float) -> bool:
        low, high = self.interval or (self.value, self.value)
        return low <= level <= high

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and None."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """The measurement that `to_json` wrote; ConfigError for anything else."""
        return cls(**fields)

    @property
    def figure(self) -> str:
        """The value with its unit, as precise as its interval allows: "0.781 bits/byte"."""
        text = written(self.value, self._precision, signed=self.difference)
        return f"{text} {self.unit}".rstrip()

    @property
    def of(self) -> str:
        """What the figure is of, printed after it: the name, without the unit where it begins with that."""
        rest = self.name.removeprefix(self.unit) if self.unit else self.name
        return rest.lstrip(" ,") if re.match(r"[ ,]", rest) else self.name

    @property
    def certainty(self) -> str:
        """How sure the figure is: "95 % 0.772 ... 0.790, n 41"."""
        parts = []
        if self.interval is not None:
            parts.append(f"95 % {self.alike(self.interval[0])} ... {self.alike(self.interval[1])}")
        parts.append(f"n {self.n:,}")
        if self.chance is not None:
            parts.append(f"chance {written(self.chance, self._precision)}")
        return ", ".join(parts)

    def alike(self, number: float) -> str:
        """Another number of its scale (an end of its interval, a bound), with as many digits as the figure."""
        return written(number, self._precision, signed=self.difference)

    @property
    def remark(self) -> str:
        """ "tie", "at chance", "below chance", or nothing."""
        if self.tie:
            return "tie"
        return "at chance" if self.at_chance else "below chance" if self.below_chance else ""

    def __str__(self) -> str:
        return f"{self.figure} ({self.certainty})" + (f", {self.remark}" if self.remark else "")

    @property
    def _precision(self) -> float:
        """The smallest step worth showing: a tenth of the interval, or a hundredth of the value."""
        low, high = self.interval or (0.0, 0.0)
        return (high - low) / 10 or abs(self.value) / 100


def written(value: float, precision: float, signed: bool = False) -> str:
    """A number with as many digits as `precision` (an absolute step, 0 for as few as possible) calls for."""
    sign = "+" if signed else ""
    decimals = max(0, -math.floor(math.log10(precision) + 1e-9)) if precision > 0 else None
    if decimals is not None and abs(value) < 0.5 * 10**-decimals:
        value = 0.0  # rounding alone: -1.5e-16
    if value and not 1e-4 <= abs(value) < 1e9:
        return f"{value:{sign}.2e}"
    return f"{value:{sign},g}" if decimals is None else f"{value:{sign},.{min(decimals, 6)}f}"
