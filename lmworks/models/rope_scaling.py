"""RopeScaling: how rotary positions read further than a network was trained for; positions/rope.py computes with it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError

MOST_FACTORS = 10_000
"""Of a file from outside: far more than a head has pairs of dimensions."""


class RopeScaling(Config):
    """How rotary frequencies are stretched to read further than the network was trained for."""

    explain_as: ClassVar[str] = "rope_scaling"

    kind: Literal["linear", "dynamic", "yarn", "llama3", "longrope"]
    """linear: all frequencies divided by `factor` (Chen et al. 2023); dynamic: the base grows with the text
    (NTK); yarn: high frequencies kept, low ones divided (Peng et al. 2023); llama3: the same in Llama 3.1's form;
    longrope: each frequency divided by a factor of its own (Ding et al. 2024, Phi-3)."""

    factor: float = Field(gt=0)
    """How many times longer the text may become."""

    original_context: int | None = Field(default=None, ge=0)
    """The context before stretching; None for the network's own."""

    attention_factor: float | None = None
    """yarn, longrope: multiplies cosine and sine; None for 0.1 ln(factor) + 1 in yarn, and in longrope for the root of
    1 + ln(factor) / ln(original_context)."""

    short_factors: tuple[float, ...] = Field(default=(), max_length=MOST_FACTORS)
    """longrope: what the frequency of each pair is divided by in texts up to original_context."""

    long_factors: tuple[float, ...] = Field(default=(), max_length=MOST_FACTORS)
    """longrope: the same in longer texts."""

    fast_turns: float = 32.0
    """yarn: dimensions with more turns than this within the original context keep their frequency (beta_fast)."""

    slow_turns: float = 1.0
    """yarn: dimensions with fewer turns than this are divided by `factor` (beta_slow)."""

    truncate: bool = True
    """yarn: the blend begins and ends at whole dimensions; False leaves them as they come out (gpt-oss)."""

    low_frequency_factor: float = 1.0
    """llama3: wavelengths longer than original_context / this are divided by `factor`."""

    high_frequency_factor: float = 4.0
    """llama3: wavelengths shorter than original_context / this keep their frequency."""

    @property
    def turns_with_length(self) -> bool:
        """Do frequencies depend on how long a text is, so that a longer one turns its first tokens in another way?"""
        return self.kind in ("dynamic", "longrope")

    def check(self, pairs: int, base: float, context: int) -> None:
        """ConfigError where there is not a factor for each of the pairs of dimensions that turn, or the base of their
        frequencies or the original context (`context` unless it is said) have no logarithm to divide by."""
        if self.kind == "yarn" and base <= 1:
            raise ConfigError(f"{{at}}rope_scaling of the kind yarn needs a rope_theta above 1, and it is {base:g}")
        if self.kind == "dynamic" and pairs < 2:
            raise ConfigError("{at}rope_scaling of the kind dynamic needs more than 2 dimensions that turn")
        if self.kind == "longrope" and (self.original_context or context) < 2:
            raise ConfigError("{at}rope_scaling of the kind longrope needs an original_context above 1")
        if self.kind != "longrope":
            if self.short_factors or self.long_factors:
                raise ConfigError(
                    f"{{at}}rope_scaling.short_factors and long_factors are for longrope, and the kind is {self.kind}; "
                    "leave them out"
                )
            return
        for name, factors in (("short_factors", self.short_factors), ("long_factors", self.long_factors)):
            if len(factors) != pairs or min(factors) <= 0:
                raise ConfigError(
                    f"{{at}}rope_scaling.{name} has {len(factors)} numbers; longrope needs one above 0 for each of the "
                    f"{pairs} pairs of dimensions"
                )
