"""Top-p (nucleus): keep the fewest tokens that reach a probability together.

Source: Holtzman et al. 2019, https://arxiv.org/abs/1904.09751.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Filter

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Kept, Probabilities


class TopP(Config):
    """Top-p keeps the nucleus: the fewest tokens that reach a probability together."""

    top_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the fewest most probable tokens that reach this probability together."""


def keep(p: Probabilities, top_p: float) -> Kept | None:
    """The fewest most probable tokens whose probabilities reach `top_p` together."""
    if top_p >= 1:  # rounding must not cut the tail
        return None
    values = p
    # Where the tokens above some probability reach the mass, the nucleus is among them, and only they are sorted.
    # Those below the third edge add up to less than 1 - top_p.
    for edge in (1e-4, 1e-5, 0.999 * (1 - top_p) / len(values), 0.0):
        tokens = np.flatnonzero(values >= edge)
        found = values[tokens]
        falling = np.sort(found)[::-1]  # without places, which would take ten times as long
        total = np.cumsum(falling, dtype=np.float64)
        if len(total) and total[-1] >= top_p:
            break
    count = int(np.count_nonzero(total - falling < top_p))
    last = falling[count - 1]
    kept = found > last
    kept[np.flatnonzero(found == last)[: count - int(kept.sum())]] = True  # of equals those that come first
    return tokens[kept]


TOP_P = Filter("top_p", place=20, settings=TopP, keep=keep)
