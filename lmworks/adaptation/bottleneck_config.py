"""BottleneckConfig: the settings of a bottleneck adapter, apart from it so that a recipe is read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmworks.basics.config import Config


class BottleneckConfig(Config):
    """Settings of bottleneck adapters."""

    size: int = Field(default=64, gt=0)
    """Width of the narrow layer, below that of the layer before it: more learns more."""

    style: Literal["houlsby", "pfeiffer"] = "houlsby"
    """Where they stand: after attention and after the feed-forward, or (pfeiffer) after the feed-forward alone, for
    half the parameters."""

    activation: Literal["gelu", "relu", "silu", "tanh"] = "gelu"
    """Between narrowing and widening."""
