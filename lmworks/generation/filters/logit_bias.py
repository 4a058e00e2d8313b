"""A bias on single tokens, as OpenAI's API has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Adjustment, History

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Logits

Token = Annotated[int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class LogitBias(Config):
    """Single tokens become more or less likely."""

    logit_bias: dict[Token, Bias] = Field(default_factory=dict, max_length=1024)
    """Added to the logits of these tokens, by their ids; -100 forbids, 100 forces them in practice."""


def change(logits: Logits, history: History, logit_bias: Mapping[int, float]) -> Logits:
    """Add to the logits of these tokens."""
    changed = logits.copy()
    changed[list(logit_bias)] += np.array(list(logit_bias.values()), logits.dtype)
    return changed


LOGIT_BIAS = Adjustment("logit_bias", place=30, settings=LogitBias, change=change)
