"""Train a network until it stops gaining, and keep what it had reached after how many seconds of one core.

    learnt = until_no_gain(network, CausalLM(), rows, config, chosen=..., judged=..., least=0.03)
    learnt.after(12.0), learnt.seconds_to(3.2), learnt.best
    rate = best_rate((1e-3, 3e-3, 1e-2), lambda rate: loss_of_a_short_run(rate))

Seconds are those of one core that the training took, validation left out: neighbours on the machine do not count.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lmworks.basics.threads import one_thread
from lmworks.lab.bench.training import fit
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import Row
from lmworks.tokens.rows import Rows
from lmworks.training.loop import DivergedError
from lmworks.training.settings import TrainingConfig

Judge = Callable[[Network], float]


@dataclass
class Learnt:
    """The curve of a training."""

    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """What `judged` gave after as many seconds: lower is better."""
    chosen: list[float] = field(default_factory=list)
    """What `chosen` gave then."""
    stopped: bool = False
    """It stopped gaining before its last step."""

    @property
    def best(self) -> float:
        """The loss where `chosen` was lowest."""
        return self.losses[min(range(len(self.chosen)), key=self.chosen.__getitem__)]

    def after(self, seconds: float) -> float:
        """The loss at the last validation within as many seconds; at the first one where none is."""
        within = [loss for at, loss in zip(self.seconds, self.losses, strict=True) if at <= seconds]
        return within[-1] if within else self.losses[0]

    def seconds_to(self, loss: float) -> float:
        """When the loss was first as low; the whole time where it never was."""
        return next((at for at, one in zip(self.seconds, self.losses, strict=True) if one <= loss), self.seconds[-1])


def until_no_gain(
    network: Network,
    objective: Objective,
    rows: Rows | Sequence[Row],
    config: TrainingConfig,
    chosen: Judge,
    judged: Judge,
    least: float,
) -> Learnt:
    """Train in place until `config.patience` validations together have not lowered `chosen` by `least`, or for
    `config.steps`. `judged` makes the curve, and decides nothing."""
    learnt, begun, paused, reached = Learnt(), time.process_time(), 0.0, math.inf

    def validate(network: Network) -> float:
        nonlocal paused, reached
        now = time.process_time()
        learnt.seconds.append(now - begun - paused)
        learnt.losses.append(judged(network))
        learnt.chosen.append(chosen(network))
        paused += time.process_time() - now
        if learnt.chosen[-1] <= reached - least:
            reached = learnt.chosen[-1]
        return reached

    with one_thread():
        result = fit(network, objective, rows, config, validate)
    learnt.stopped = result.steps < (config.steps or 0)
    return learnt


def best_rate(rates: Sequence[float], loss: Callable[[float], float]) -> float:
    """The learning rate of the lowest loss; one that diverges is not chosen unless all do."""

    def tried(rate: float) -> float:
        try:
            return loss(rate)
        except DivergedError:
            return math.inf

    return min(rates, key=tried)
