"""An axis: numbers to shares of its length, and the numbers that are written along it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """From `low` at share 0 to `high` at share 1."""

    low: float
    high: float
    log: bool = False

    @classmethod
    def over(
        cls, numbers: Iterable[float], log: bool = False, levels: Iterable[float] = (), room: float = 0.05
    ) -> Axis:
        """An axis that shows all numbers, with some room; zero and other `levels` too, where they lie near."""
        shown = [one for one in numbers if not log or one > 0]
        low, high = min(shown), max(shown)
        for level in levels:
            if log and level <= 0:
                continue
            least, most = min(low, level), max(high, level)
            if cls(least, most, log)._width <= 1.8 * (cls(low, high, log)._width or _size(low)):
                low, high = least, most
        if log:
            factor = max((high / low) ** room, 1.01)
            return cls(low / factor, high * factor, True)
        spare = room * (high - low) or _size(low) / 2
        return cls(0.0 if 0 <= low < spare else low - spare, 0.0 if -spare < high <= 0 else high + spare)

    @property
    def _width(self) -> float:
        return math.log(self.high / self.low) if self.log else self.high - self.low

    def share(self, number: float) -> float:
        """Where a number lies, 0 at the low end and 1 at the high one; beyond them for what lies outside."""
        if self.log:
            return math.log(number / self.low) / self._width if number > 0 else 0.0
        return (number - self.low) / self._width

    def holds(self, number: float) -> bool:
        """Whether a number lies on it."""
        return self.low <= number <= self.high

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers along it, at most that many."""
        if self.log:
            return self._decades(most)
        raw = self._width / max(most - 1, 1)
        size = 10.0 ** math.floor(math.log10(raw))
        step = next(size * one for one in STEPS if size * one >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(number * step, 12) for number in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _decades(self, most: int) -> list[float]:
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        if last - first >= 2:
            every = math.ceil((last - first + 1) / most)
            return [10.0**power for power in range(first, last + 1, every)]
        within = [one * 10.0**power for power in range(first - 1, last + 1) for one in (1.0, 2.0, 5.0)]
        return [one for one in within if self.holds(one)] or Axis(self.low, self.high).ticks(most)


def places(numbers: Sequence[float], axis: Axis, apart: float = 0.09) -> list[float]:
    """What to write along an axis of few places: the places themselves, where they do not crowd; else round numbers."""
    known = sorted(set(numbers))
    shares = [axis.share(one) for one in known]
    if 1 < len(known) <= 9 and all(there - here >= apart for here, there in itertools.pairwise(shares)):
        return known
    return axis.ticks()


def _size(number: float) -> float:
    return abs(number) or 1.0


def short(number: float) -> str:
    """A number for an axis: 0.25, 1,000, 2×10⁶, 10⁻⁵."""
    if number and not 1e-3 <= abs(number) < 1e5:
        mantissa, _, power = f"{number:.2e}".partition("e")
        digits = f"{float(mantissa):g}"
        raised = f"10{str(int(power)).translate(SUPERSCRIPT)}"
        return raised if digits == "1" else f"−{raised}" if digits == "-1" else f"{digits}×{raised}"
    return f"{number:,.4g}".replace("-", "−") if abs(number) < 1e4 else f"{number:,.0f}".replace("-", "−")
