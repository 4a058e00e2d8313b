"""Min-p: keep what is not too far below the best token.

Source: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Filter

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Kept, Probabilities


class MinP(Config):
    """Min-p keeps what is not too far below the most probable token."""

    min_p: float | None = Field(default=None, ge=0, le=1)
    """Keep tokens at least this many times as probable as the most probable one."""


def keep(p: Probabilities, min_p: float) -> Kept:
    """The tokens at least `min_p` times as probable as the most probable one."""
    return np.flatnonzero(p >= min_p * float(p.max()))


MIN_P = Filter("min_p", place=30, settings=MinP, keep=keep)
