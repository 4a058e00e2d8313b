"""How models are merged, checked without torch, so that a mistake is reported at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lmworks.basics.errors import ConfigError

WAYS = ("task", "linear", "ties", "dare")
"""What users call the ways; merging.py has a function for each."""
SEVERAL = ("ties", "dare")
"""Those that drop some of what each model learnt: of a single one that is a loss and nothing else."""


@dataclass(frozen=True)
class MergeSettings:
    """How matrices are merged. ConfigError for what is out of range."""

    weights: tuple[float, ...]
    """What each model's difference from the base is multiplied by."""
    keep: float = 1.0
    """What the sum is multiplied by: 0 is the base, 1 all of what was learnt."""
    density: float = 0.2
    """TIES keeps this share of each difference, the largest; DARE this share, drawn at random."""
    seed: int = 0
    """Of what DARE draws."""
    way: str = "task"
    """One of `WAYS`."""

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise ConfigError(f"{self.way!r} is not a way to merge; it can be {', '.join(WAYS)}")
        if wrong := [one for one in self.weights if not math.isfinite(one)]:
            raise ConfigError(f"a weight is {wrong[0]:g}; give finite numbers")
        if self.way == "linear" and sum(self.weights) <= 0:
            raise ConfigError(f"the weights add up to {sum(self.weights):g}, and a mean needs more than 0")
        if not 0 <= self.keep <= 1:
            raise ConfigError(
                f"keep is {self.keep:g}; it is the share of what was learnt, from 0 (the base) to 1 (all of it)"
            )
        if not 0 < self.density <= 1:
            raise ConfigError(f"density is {self.density:g}; it is the share of numbers that stay, from above 0 to 1")

    @classmethod
    def given(cls, models: int, weights: tuple[float, ...] | None = None, **settings: object) -> MergeSettings:
        """Settings for this many models, each of weight 1 unless weights are given. ConfigError where the numbers of
        models and weights differ, and for a way that is for several models where there is one."""
        chosen = (1.0,) * models if weights is None else weights
        if not models:
            raise ConfigError("there is no model to merge; name one or more")
        if len(chosen) != models:
            raise ConfigError(
                f"{len(chosen)} weights were given, and the number of models is {models}; give one for each"
            )
        if models == 1 and settings.get("way") in SEVERAL:
            raise ConfigError(
                f"way is {settings['way']}, which drops a part of each model so that several go together, and there is "
                "one; take task or linear, or name more models"
            )
        return cls(chosen, **settings)  # type: ignore[arg-type]
