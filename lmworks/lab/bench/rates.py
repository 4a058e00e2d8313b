"""A learning rate for each side of a comparison, chosen before it: on other text, with a seed that never counts.

rate = best_rate((1e-3, 4e-3), lambda rate: bits_after(rate, seed=SWEEP))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmworks.lab.metric import Metric
from lmworks.training.loop import DivergedError

SWEEP = 0
"""The seed of every sweep."""
RATE = Metric("learning rate that was chosen")


def best_rate(rates: Sequence[float], bits: Callable[[float], float]) -> float:
    """The rate with the lowest loss; those at which a network diverges are out, unless all do."""

    def judged(rate: float) -> float:
        try:
            return bits(rate)
        except DivergedError:
            return float("inf")

    return min(rates, key=judged)
