"""TrainingConfig: the settings of a training run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError


class TrainingConfig(Config):
    """Settings of a training run."""

    context: int = Field(default=512, ge=2)
    """Tokens of a row; whole documents are packed into rows, and longer ones are cut."""

    rows: int = Field(default=2, gt=0)
    """Rows that go through the network at once (the micro-batch): more needs more memory."""

    accumulate: int = Field(default=1, gt=0)
    """Micro-batches whose gradients make one step; any split of the same rows gives the same step."""

    steps: int | None = Field(default=None, gt=0)
    """Optimiser steps; None for as many as `epochs` asks for."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each row is read when `steps` is not given."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """The highest learning rate."""

    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from zero."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""

    final: float = Field(default=0.1, ge=0, le=1)
    """The last learning rate as a share of the highest."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices per step, times the learning rate; norms and biases never decay."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the mean gradient."""

    beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW's decay of the mean squared gradient."""

    clip: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this norm where it is longer."""

    recompute: bool = False
    """Keep less in memory and compute parts of each block again going back (activation checkpointing)."""

    checkpoint_every: int = Field(default=50, gt=0)
    """Steps between checkpoints."""

    seed: int = 0
    """Order of the rows, fresh weights, dropout."""

    @model_validator(mode="after")
    def _rises_before_it_falls(self) -> Self:
        if self.steps is not None and self.steps * self.warmup > self.steps - 1 > 0:
            raise ConfigError(
                f"{{at}}warmup ({self.warmup}) leaves no step of {{at}}steps ({self.steps}) to train at full rate"
            )
        return self

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of optimiser step `step` (from 0) of `steps`."""
        rising = round(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        done = (step - rising) / max(steps - 1 - rising, 1)
        return self.learning_rate * (self.final + (1 - self.final) * _left(self.schedule, done))


def _left(schedule: str, done: float) -> float:
    """Share of the way down that is left when a share `done` of the steps behind the warm-up is over."""
    import math

    if schedule == "constant":
        return 1.0
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
