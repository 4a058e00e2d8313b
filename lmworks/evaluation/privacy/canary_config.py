"""CanaryConfig: the settings of canaries, apart from them so that a recipe is read without torch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError


class CanaryConfig(Config):
    """Made-up secrets that are planted in the training text, so that it can be measured what the model gives away."""

    count: int = Field(default=0, ge=0, le=1000)
    """How many, for each number of repeats; 0 for none."""

    repeats: tuple[int, ...] = (1, 4, 16)
    """How often each is planted, each time in another document where there are as many."""

    seed: int = 0
    """Makes the secrets, and where they stand."""

    @model_validator(mode="after")
    def _are_planted(self) -> Self:
        if not self.repeats or min(self.repeats) < 1:
            raise ConfigError(f"{{at}}repeats are {list(self.repeats)}; give numbers from 1 on")
        return self
