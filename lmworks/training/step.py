"""One optimiser step: gradients over all its micro-batches, checked, clipped, applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from lmworks.basics.errors import ConfigError, LmworksError
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.objectives.routing import tokens_sent
from lmworks.tokens.batch import Batch
from lmworks.training.expert_load import ExpertLoad
from lmworks.training.ranks import ALONE, Ranks
from lmworks.training.sharding import whole

Gradients = Callable[[Network, Objective, Sequence[Batch]], tuple[float, int]]
"""Leaves gradients in the parameters; a step's loss and how much it counts."""


class DivergedError(LmworksError):
    """The loss or the gradient is no longer a finite number."""


@dataclass(frozen=True)
class Step:
    """What a step did."""

    loss: float
    """Mean over its micro-batches, in nats where it is a cross-entropy."""
    count: int
    """What the objective's first part counts: supervised tokens, or texts."""
    norm: float
    """The gradient's norm before clipping."""
    taken: bool
    """False where the gradient was a spike and the parameters stayed."""
    experts: dict[str, Any] = field(default_factory=dict)
    """The load of each expert and the share of rows that was dropped, where there are experts."""


def take_step(
    network: Network,
    objective: Objective,
    micro: Sequence[Batch],
    optimiser: torch.optim.Optimizer,
    share: float,
    clip: float,
    longest: float = math.inf,
    ranks: Ranks = ALONE,
    gradients: Gradients | None = None,
) -> Step:
    """One step at `share` of each group's highest learning rate; none where the gradient is longer than `longest`. Of
    several ranks each brings its own micro-batches. `gradients` makes them in place of `accumulate`.

    DivergedError, with the parameters untouched, where loss or gradient is not finite.
    """
    load = ExpertLoad(network)
    if gradients is None:
        loss, count = accumulate(network, objective, micro, ranks, load)
    else:
        loss, count = gradients(network, objective, micro)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for parameter in parameters:
        _lay_out_gradient(parameter)
    given = [parameter.grad for parameter in parameters if parameter.grad is not None]
    length = whole(torch.nn.utils.get_total_norm(given))
    torch.nn.utils.clip_grads_with_norm_(parameters, clip, length)
    norm = float(length)
    finite = math.isfinite(loss) and math.isfinite(norm)
    taken = finite and norm <= longest
    if taken:
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * share
        optimiser.step()
        load.move_biases()
    optimiser.zero_grad()
    if not finite:
        raise DivergedError(f"the loss is {loss:g} and the gradient's norm {norm:g}")
    return Step(loss, count, norm, taken, load.facts())


def _lay_out_gradient(parameter: torch.Tensor) -> None:
    """Give the gradient the parameter's strides: PyTorch's fused optimisers read both in the order of their memory, and
    would step each number by another's gradient. `backward` takes care of it, `autograd.grad` does not."""
    gradient = parameter.grad
    if gradient is not None and gradient.stride() != parameter.stride():
        parameter.grad = torch.empty_like(parameter).copy_(gradient)


def accumulate(
    network: Network,
    objective: Objective,
    micro: Sequence[Batch],
    ranks: Ranks = ALONE,
    load: ExpertLoad | None = None,
) -> tuple[float, int]:
    """Gradients of the mean loss over all micro-batches of all ranks, each part of it over what that part counts; that
    mean, and how much the first part counted (supervised tokens, or texts). `load` counts the tokens that
    experts were sent."""
    counts = ranks.total([sum(part) for part in zip(*(objective.counts(batch) for batch in micro), strict=True)])
    mean = 0.0
    for number, batch in enumerate(micro, 1):
        with load.counted() if load is not None and any(tokens_sent(batch)) else nullcontext():
            loss = ranks.loss(objective, network, batch, last=number == len(micro))
        if loss.counts != objective.counts(batch):  # the step's mean would be wrong, and nothing would show it
            raise ConfigError(
                f"{type(objective).__name__} counted {loss.counts} in a batch and its counts() says "
                f"{objective.counts(batch)}; make the two agree"
            )
        share = loss.over(counts)
        ranks.backward(share)
        mean += float(share.detach())
    if load is not None:
        load.over(ranks)
    mean, supervised = ranks.total([mean, sum(objective.counts(batch)[0] for batch in micro)])
    return mean, int(supervised)
