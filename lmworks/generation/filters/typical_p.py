"""Locally typical sampling: keep tokens of usual surprise.

Source: Meister et al. 2022, https://arxiv.org/abs/2202.00666.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Filter

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Kept, Probabilities


class TypicalP(Config):
    """Locally typical sampling keeps tokens of usual surprise."""

    typical_p: float | None = Field(default=None, gt=0, le=1)
    """Keep the tokens whose surprise is nearest to the expected one, as many as reach this probability together."""


def keep(p: Probabilities, typical_p: float) -> Kept | None:
    """The tokens whose surprise -log p is nearest to the expected surprise, as many as reach `typical_p` together.

    The most probable one may go, and what is kept has another expected surprise: unlike the other filters it may keep
    less when it is applied again.
    """
    if typical_p >= 1:  # rounding must not cut the tail
        return None
    surprise = -p.log()
    away = (surprise - (p * surprise).nansum()).abs().nan_to_num(float("inf"))
    for count in (1024, len(p)):
        nearest = away.topk(min(count, len(p)), largest=False, sorted=True)
        total = p[nearest.indices].cumsum(0)
        if total[-1] >= typical_p:
            break
    last = min(int((total < typical_p).sum()), len(total) - 1)
    return np.flatnonzero(away.numpy() <= float(nearest.values[last]))


TYPICAL_P = Filter("typical_p", place=40, settings=TypicalP, keep=keep)
