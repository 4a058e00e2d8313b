"""TrainingConfig: the settings of a training run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from lmworks.basics.declared import declared
from lmworks.basics.errors import ConfigError
from lmworks.basics.part_settings import PartSettings
from lmworks.training.declaration import OptimiserKind


class TrainingConfig(PartSettings):
    """Settings of a training run: those of any, beside what the optimiser declares."""

    named_by = "optimiser"
    others_are_idle = True  # so that a recipe can be tried with another optimiser

    if TYPE_CHECKING:  # what the optimiser has of its own is known when it is declared

        def __init__(self, **settings: Any) -> None: ...

    context: int = Field(default=512, ge=2)
    """Tokens of a row; whole documents are packed into rows, and longer ones are cut."""

    rows: int = Field(default=2, gt=0)
    """Rows that go through the network at once (the micro-batch): more needs more memory."""

    accumulate: int = Field(default=1, gt=0)
    """Micro-batches whose gradients make one step; any split of the same rows gives the same step."""

    steps: int | None = Field(default=None, gt=0)
    """Optimiser steps; None for as many as `epochs` asks for."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each row is read when neither `steps` nor `max_seconds` is given."""

    max_seconds: float | None = Field(default=None, gt=0)
    """Train for this long and not for a number of steps; the schedule follows the clock. Validation and the compiler
    are not counted. None for no limit."""

    optimiser: str = "adamw"
    """What steps the parameters."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """The highest learning rate."""

    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the run in which the learning rate rises from zero."""

    schedule: Literal["cosine", "linear", "warmup-stable-decay", "constant"] = "cosine"
    """How the learning rate falls after the warm-up: along a half wave, evenly, evenly in the last `decay` of the run,
    or not."""

    decay: float = Field(default=0.2, gt=0, le=1)
    """warmup-stable-decay: share of the run after the warm-up in which the rate falls."""

    final: float = Field(default=0.1, ge=0, le=1)
    """The last learning rate as a share of the highest."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled decay of matrices per step, times the learning rate; norms and biases never decay."""

    clip: float = Field(default=1.0, gt=0)
    """The gradient is scaled down to this norm where it is longer."""

    recompute: bool = False
    """Keep less in memory and compute parts of each block again going back (activation checkpointing)."""

    frozen_products: Literal["exact", "int8"] | None = None
    """How matrices that are not trained are multiplied on a CPU: exactly, or in 8 bits, states and gradients row by
    row. None takes 8 bits for an adapter on a processor that multiplies bytes and no bfloat16, where a step takes three
    quarters of the time, unless the loss compares with the base, or the matrices are kept in few bits (QLoRA), whose
    memory two bytes a weight would take again."""

    compile: bool = False
    """Compile the blocks first (torch.compile): 10 to 20 s, then about a quarter faster on a CPU (docs/log.md)."""

    distribution: Literal["ddp", "fsdp"] = "ddp"
    """How processes that torchrun started share the work of `lmworks train`. ddp: each holds the whole network; fsdp:
    each holds a part of every matrix, its gradient and its moments. The steps are the same."""

    skip_spikes: float | None = Field(default=None, gt=1)
    """Leave out a step whose gradient is this many times longer than those of late; None to take every step."""

    evaluate_every: int | None = Field(default=None, gt=0)
    """Steps between validations; None for one at the end."""

    patience: int | None = Field(default=None, gt=0)
    """Stop after this many validations without a new best, and go back to the best; None to go on to the end."""

    tensorboard: bool = False
    """Write TensorBoard events (extra `track`), which a finished run leaves in `<out>.tensorboard`. An MLflow server
    is used where MLFLOW_TRACKING_URI is set."""

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
        if self.steps is not None and self.max_seconds is not None:
            raise ConfigError(
                "{at}steps and {at}max_seconds contradict each other; give one of them (none takes a setting away: "
                "--set training.max_seconds=none)"
            )
        if self.patience is not None and self.evaluate_every is None:
            raise ConfigError("{at}patience counts validations, and {at}evaluate_every does not ask for any")
        return self

    @classmethod
    def parts(cls) -> dict[str, OptimiserKind]:
        """Every optimiser that is declared, by `optimiser`."""
        return declared("lmworks.training.optimisers", OptimiserKind)

    @property
    def part(self) -> OptimiserKind:
        """The one that `optimiser` names."""
        return self.parts()[self.optimiser]

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`."""
        return self.learning_rate * self.share_at_step(step, steps)

    def share_at_step(self, step: int, steps: int) -> float:
        """What the learning rate of step `step` (from 0) of `steps` is multiplied by."""
        rising = round(self.warmup * steps)
        if step < rising:
            return (step + 1) / (rising + 1)
        return self._falling((step - rising) / max(steps - 1 - rising, 1))

    def share_at_time(self, done: float) -> float:
        """The same where a share `done` of the run's time is over."""
        if done < self.warmup:
            return max(done, 1e-3) / self.warmup
        return self._falling((done - self.warmup) / (1 - self.warmup))

    def _falling(self, done: float) -> float:
        """The same when a share `done` of the run after the warm-up is over."""
        left = {
            "cosine": 0.5 * (1 + math.cos(math.pi * done)),
            "linear": 1 - done,
            "warmup-stable-decay": min(1.0, (1 - done) / self.decay),
            "constant": 1.0,
        }[self.schedule]
        return self.final + (1 - self.final) * left
