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
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = -np.log(p)
        away = np.nan_to_num(np.abs(surprise - np.nansum(p * surprise)), nan=np.inf, posinf=np.inf)
    for count in (min(1024, len(p)), len(p)):
        nearest = np.argpartition(away, count - 1)[:count]
        nearest = nearest[np.argsort(away[nearest], kind="stable")]
        total = p[nearest].cumsum()
        if total[-1] >= typical_p:
            break
    last = min(int((total < typical_p).sum()), len(total) - 1)
    return np.flatnonzero(away <= away[nearest[last]])


TYPICAL_P = Filter("typical_p", place=40, settings=TypicalP, keep=keep)
