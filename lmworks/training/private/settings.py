"""PrivateConfig: how private a run is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.training.settings import TrainingConfig

LEAST = 0.2
"""The least noise: a single step then has an epsilon of some 30."""


class PrivateConfig(Config):
    """Differential privacy, by DP-SGD; off unless `epsilon` or `noise` says otherwise."""

    epsilon: float | None = Field(default=None, gt=0)
    """The privacy budget: whether any one document was trained on changes the odds of no result by more than
    e^epsilon. The noise follows from it. None trains without a bound."""

    delta: float | None = Field(default=None, gt=0, lt=1)
    """The probability with which the bound may fail, below 1 / documents; a tenth of that unless given."""

    noise: float | None = Field(default=None, ge=LEAST)
    """In the place of `epsilon`: the noise as a multiple of `clip`, from 0.2 on, as less protects nobody. Epsilon
    follows from it."""

    clip: float = Field(default=1.0, gt=0)
    """The gradient of each document is scaled down to this norm where it is longer."""

    unit: Literal["document", "piece"] = "document"
    """What is protected. document: each is one row, of which what goes beyond training.context is left out. piece:
    each part of up to training.context tokens counts for itself, and a document of n parts is protected n times
    less."""

    seed: int | None = None
    """Makes the noise repeatable, and so protects from nobody who knows it: for tests. None for noise that nobody can
    make again."""

    @property
    def on(self) -> bool:
        """Is the run private?"""
        return self.epsilon is not None or self.noise is not None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.epsilon is not None and self.noise is not None:
            raise ConfigError("{at}epsilon and {at}noise contradict each other; give one of them")
        usual = type(self).model_fields
        idle = [name for name in ("delta", "clip", "unit", "seed") if getattr(self, name) != usual[name].default]
        if idle and not self.on:
            raise ConfigError(
                f"{{at}}{idle[0]} is of a private run, and without {{at}}epsilon or {{at}}noise the run is not "
                "private; give one of them, or leave it out"
            )
        return self


def refuse(training: TrainingConfig, against: Mapping[str, bool]) -> None:
    """ConfigError for the first sentence that is so, and where the training does not go with privacy."""
    every = {
        **against,
        "{at}private needs a number of steps, from which the noise follows; give {at}training.steps and not "
        "{at}training.max_seconds": training.max_seconds is not None,
        "{at}private reads a random number of rows in each step, and {at}training.compile is for batches of one "
        "shape; leave it out": training.compile,
    }
    for why, is_so in every.items():
        if is_so:
            raise ConfigError(why)
