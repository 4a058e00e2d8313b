"""Conditions of an experiment, and what is compared between them.

GREEDY, BEAMS = Condition("greedy"), Condition("4 beams")
BEAMS - GREEDY                      # a difference, in the metric's unit
BEAMS / GREEDY                      # a ratio
BPE["german"]                       # a condition of two factors: "BPE, german"
average(BPE[one] for one in LANGUAGES) - average(WORDS[one] for one in LANGUAGES)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from lmworks.basics.errors import ConfigError


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of conditions' figures, or the product of their powers where it is a ratio."""

    terms: tuple[tuple[float, str], ...]
    """Weight and name of each condition."""

    ratio: bool = False
    """Weights are exponents: 1 and -1 divide."""

    def __sub__(self, other: Contrast) -> Contrast:
        self._no_ratio(other)
        return Contrast((*self.terms, *((-weight, name) for weight, name in other.terms)))

    def __truediv__(self, other: Contrast) -> Contrast:
        for one in (self, other):
            if not one.ratio and len(one.terms) > 1:
                raise ConfigError(f"{one}: a ratio of differences has no interval here; divide single conditions")
        return Contrast((*self.terms, *((-weight, name) for weight, name in other.terms)), ratio=True)

    def _no_ratio(self, other: Contrast) -> None:
        if self.ratio or other.ratio:
            raise ConfigError(f"({self}) minus ({other}): ratios cannot be subtracted; divide them, or log the figure")

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of the conditions, each once."""
        return tuple(dict.fromkeys(name for _, name in self.terms))

    @property
    def single(self) -> bool:
        """One condition as it is: no comparison."""
        return len(self.terms) == 1 and self.terms[0][0] == 1

    def __str__(self) -> str:
        """ "4 beams minus greedy", "MoE over dense"."""
        above = [(weight, name) for weight, name in self.terms if weight > 0]
        below = [(-weight, name) for weight, name in self.terms if weight < 0]
        word = " over " if self.ratio else " minus "
        return word.join(_side(side) for side in (above, below) if side)


def _side(terms: list[tuple[float, str]]) -> str:
    names = [name for _, name in terms]
    if len(names) == 1:
        return names[0]
    if all(abs(weight - 1 / len(terms)) < 1e-9 for weight, _ in terms):
        return f"the mean of {', '.join(names)}"
    return " and ".join(names if len({weight for weight, _ in terms}) == 1 else [f"{w:g} {name}" for w, name in terms])


class Condition(Contrast):
    """One condition under which something was measured, by its name."""

    def __init__(self, name: str) -> None:
        super().__init__(((1.0, name),))

    @property
    def name(self) -> str:
        """What it is called in tables and charts."""
        return self.terms[0][1]

    def __getitem__(self, other: object) -> Condition:
        """The condition of two factors: `BPE["german"]` is "BPE, german", `BEAM[4]` is "beams 4"."""
        return Condition(f"{self.name}{' ' if isinstance(other, (int, float)) else ', '}{other}")

    @classmethod
    def named(cls, *names: str) -> tuple[Self, ...]:
        """Several at once."""
        return tuple(cls(name) for name in names)


def average(conditions: Iterable[Condition]) -> Contrast:
    """The mean of several conditions' figures, each counting the same."""
    chosen = list(conditions)
    if not chosen:
        raise ConfigError("the average of no condition; give at least one")
    return Contrast(tuple((1 / len(chosen), one.name) for one in chosen))
