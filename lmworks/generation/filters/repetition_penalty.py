"""Repetition penalty: what occurred becomes less likely.

Source: Keskar et al. 2019, https://arxiv.org/abs/1909.05858, section 4.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Adjustment, History

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Logits


class RepetitionPenalty(Config):
    """What occurred becomes less likely."""

    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1, tokens that occurred already (prompt included, a source not) become less likely; 1 for off."""


def change(logits: Logits, history: History, repetition_penalty: float) -> Logits:
    """Divide positive logits of tokens that occurred by the penalty, multiply negative ones."""
    if not history.tokens:
        return logits
    seen = sorted(set(history.tokens))
    values = logits[seen]
    # Of a tiny or a huge penalty come infinities, and of these (less the largest, times 0) what is no number.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        penalised = np.where(values > 0, values / repetition_penalty, values * repetition_penalty)
    changed = logits.copy()
    changed[seen] = np.nan_to_num(penalised.astype(logits.dtype), nan=0.0)
    return changed


REPETITION_PENALTY = Adjustment("repetition_penalty", place=10, settings=RepetitionPenalty, change=change)
