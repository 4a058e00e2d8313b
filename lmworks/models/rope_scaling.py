"""RopeScaling: how rotary positions read further than a network was trained for."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lmworks.basics.config import Config


class RopeScaling(Config):
    """How rotary frequencies are stretched to read further than the network was trained for."""

    explain_as: ClassVar[str] = "rope_scaling"

    kind: Literal["linear", "dynamic", "yarn", "llama3"]
    """linear: all frequencies divided by `factor` (Chen et al. 2023); dynamic: the base grows with the text
    (NTK); yarn: high frequencies kept, low ones divided (Peng et al. 2023); llama3: the same in Llama 3.1's form."""

    factor: float = Field(gt=0)
    """How many times longer the text may become."""

    original_context: int | None = None
    """The context before stretching; None for the network's own."""

    attention_factor: float | None = None
    """yarn: multiplies cosine and sine; None for 0.1 ln(factor) + 1."""

    fast_turns: float = 32.0
    """yarn: dimensions with more turns than this within the original context keep their frequency (beta_fast)."""

    slow_turns: float = 1.0
    """yarn: dimensions with fewer turns than this are divided by `factor` (beta_slow)."""

    low_frequency_factor: float = 1.0
    """llama3: wavelengths longer than original_context / this are divided by `factor`."""

    high_frequency_factor: float = 4.0
    """llama3: wavelengths shorter than original_context / this keep their frequency."""
