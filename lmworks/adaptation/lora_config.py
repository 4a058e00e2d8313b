"""LoRAConfig: the settings of an adapter, apart from it so that a recipe is read without torch."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from lmworks.basics.config import Config


class LoRAConfig(Config):
    """Settings of a LoRA adapter."""

    rank: int = Field(default=8, gt=0)
    """Rank of the update: more learns more, and forgets more."""

    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""

    rank_stabilised: bool = False
    """rsLoRA (Kalajdzievski 2023, arXiv:2312.03732): scaled by alpha / sqrt(rank), so that high ranks learn as fast as
    low ones."""

    targets: tuple[str, ...] | Literal["all"] = "all"
    """Projections that get an adapter, by the names that the model's files use (q_proj, v_proj, ...); "all" for every
    one."""

    @property
    def scale(self) -> float:
        """What the update is multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)
