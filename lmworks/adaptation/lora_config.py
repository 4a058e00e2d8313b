"""LoRAConfig: the settings of an adapter, apart from it so that a recipe is read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmworks.basics.config import Config


class LoRAConfig(Config):
    """Settings of a LoRA adapter."""

    rank: int = Field(default=8, gt=0)
    """Rank of the update: more learns more, and forgets more."""

    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""

    targets: tuple[str, ...] | Literal["all"] = "all"
    """Projections that get an adapter, by the names that the model's files use (q_proj, v_proj, ...); "all" for every
    one."""
