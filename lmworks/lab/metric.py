"""Metric: what an experiment measures, with its unit, chance level, and how items make one figure.

    BITS = Metric("held-out text", "bits/byte", margin=0.02)
    BLEU = Metric("BLEU", of=bleu_of_counts, margin=0.5, ideal=100)

A value is a number, or two that are summed over the items before one is divided by the other (bits and bytes of each
document), or counts that `of` makes a figure of once they are summed (BLEU).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def divided(sums: Array) -> Array:
    """The first sum by the second: the mean of plain values, each of which counts one."""
    return sums[..., 0] / sums[..., 1]


@dataclass(frozen=True)
class Metric:
    """What is measured. Its name is the keyword under which it is logged, in words."""

    name: str
    """"BLEU", "held-out text"; unique within an experiment."""

    unit: str = ""
    """bits/byte, s, tokens/s; empty for a plain number or a share."""

    margin: float = 0.0
    """The smallest difference that is worth a word, in the unit; 0 where none is named."""

    chance: float | None = None
    """What guessing reaches."""

    ideal: float | None = None
    """The best value there is."""

    share: bool = False
    """Whether it lies between 0 and 1 whatever is measured; so does its interval then."""

    of: Callable[[Array], Array] = divided
    """From sums over items [..., counts] to figures [...]."""
