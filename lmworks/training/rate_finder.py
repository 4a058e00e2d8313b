"""A learning rate by a range test: raise it step by step in one short run, and see where the loss falls fastest.

    curve = find_rate(network, CausalLM(), rows, TrainingConfig(rows=16))
    curve.suggestion

Source: Smith 2015, Cyclical Learning Rates, https://arxiv.org/abs/1506.01186, section 3.3; fastai suggests the steepest
place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Row
from lmworks.tokens.rows import Rows
from lmworks.training.loop import DivergedError, first_batches
from lmworks.training.optimiser import make_optimiser
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import take_step

SMOOTHING = 0.9
"""What each step's average keeps of the one before."""
TOO_HIGH = 1.5
"""The test ends where the smoothed loss is this many times its lowest, or is not finite."""


@dataclass(frozen=True)
class RateCurve:
    """A range test."""

    rates: tuple[float, ...]
    """Of `training.learning_rate`; with muon the embeddings' rate rises along with it."""
    losses: tuple[float, ...]
    """Nats per token of each step's batch, before the step."""
    smoothed: tuple[float, ...]
    suggestion: float | None
    """Where the smoothed loss falls fastest by the logarithm of the rate; None where it does not fall."""
    lowest: float
    """Where the smoothed loss is lowest: higher than a good rate."""

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def find_rate(
    network: Network,
    objective: Objective,
    rows: Rows | Sequence[Row],
    config: TrainingConfig,
    *,
    low: float = 1e-6,
    high: float = 1.0,
    steps: int = 100,
) -> RateCurve:
    """Train for up to `steps` steps with rates from `low` to `high`, evenly by their logarithm. The network is used up.

    ConfigError for a range or a number of steps in which nothing could be seen.
    """
    if not 0 < low < high or steps < 10:
        raise ConfigError(f"a range test needs 0 < low < high and 10 steps or more, not {low:g}, {high:g} and {steps}")
    torch.manual_seed(config.seed)
    network.train()
    optimiser = make_optimiser(network, config)
    source = first_batches(rows, config, objective)
    rates: list[float] = []
    losses: list[float] = []
    smoothed: list[float] = []
    with progress.task("raising the learning rate", steps, "steps") as advance:
        for step in range(steps):
            rate = low * (high / low) ** (step / (steps - 1))
            micro = [batch.to(network.device) for batch in islice(source, config.accumulate)]
            try:
                taken = take_step(network, objective, micro, optimiser, rate / config.learning_rate, config.clip)
            except DivergedError:
                break
            rates.append(rate)
            losses.append(taken.loss)
            smoothed.append(_smoothed(losses))
            advance(1, rate=rate, loss=taken.loss)
            if smoothed[-1] > TOO_HIGH * min(smoothed):
                break
    network.eval()
    return _curve(rates, losses, smoothed)


def _smoothed(losses: Sequence[float]) -> float:
    """The running average of the losses so far, without the pull of its start."""
    weights = [SMOOTHING ** (len(losses) - 1 - at) for at in range(len(losses))]
    return sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / sum(weights)


def _curve(rates: list[float], losses: list[float], smoothed: list[float]) -> RateCurve:
    slopes = [
        (after - before) / math.log(right / left)
        for before, after, left, right in zip(smoothed, smoothed[1:], rates, rates[1:], strict=False)
    ]
    steepest = min(range(len(slopes)), key=slopes.__getitem__) if slopes else None
    suggestion = None if steepest is None or slopes[steepest] >= 0 else rates[steepest]
    lowest = rates[min(range(len(smoothed)), key=smoothed.__getitem__)] if smoothed else math.nan
    return RateCurve(tuple(rates), tuple(losses), tuple(smoothed), suggestion, lowest)
