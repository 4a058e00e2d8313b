"""OpenAI's two penalties on what the answer has already: by how often it has it, and for having it at all.

Source: https://platform.openai.com/docs/api-reference/chat/create, frequency_penalty and presence_penalty.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.generation.filters.step import Adjustment, History

if TYPE_CHECKING:
    from lmworks.generation.filters.step import Logits


class CountPenalties(Config):
    """What the answer has already becomes less likely."""

    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off a token's logit for each time that the answer has it already (-2 to 2)."""

    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    """Taken off a token's logit once the answer has it (-2 to 2)."""


def change(logits: Logits, history: History, frequency_penalty: float, presence_penalty: float) -> Logits:
    """Take `frequency_penalty` off for each time that a token was written, and `presence_penalty` once."""
    if not history.written:
        return logits
    counts = Counter(history.answer)
    changed = logits.copy()
    changed[list(counts)] -= np.array(
        [frequency_penalty * count + presence_penalty for count in counts.values()], logits.dtype
    )
    return changed


COUNT_PENALTIES = Adjustment("count_penalties", place=20, settings=CountPenalties, change=change)
