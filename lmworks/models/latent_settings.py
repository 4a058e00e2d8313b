"""LatentSettings: keys and values that are made of one small state for all heads, which is all that a cache keeps."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lmworks.basics.config import Config

INNER_EPS = 1e-6
"""Of the norms inside, whatever the network's others have."""


class LatentSettings(Config):
    """Multi-head latent attention: keys and values of all heads come from one narrow state (DeepSeek-AI 2024,
    https://arxiv.org/abs/2405.04434, section 2.1)."""

    explain_as: ClassVar[str] = "latent"

    rank: int = Field(gt=0, le=1_000_000)
    """Width of the state. A cache keeps it, and the rotated part of one key, for each token."""

    query_rank: int | None = Field(default=None, gt=0, le=1_000_000)
    """Width of the state that queries come from; None for a plain projection."""

    value_dim: int = Field(gt=0, le=1_000_000)
    """Width of one head's values; `head_dim` is that of its queries and keys, of which `rotary_dim` are rotated."""
