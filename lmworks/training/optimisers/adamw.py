"""AdamW: each number's mean gradient over the root of its mean square, with decoupled decay.

Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from lmworks.training.declaration import SINGLE, CountedParameters, Group, OptimiserKind, Rule, Stepped
from lmworks.training.optimiser import Named, by_rule, groups
from lmworks.training.settings import TrainingConfig

if TYPE_CHECKING:
    import torch

EPS = 1e-8  # as torch's


class AdamWSettings(TrainingConfig):
    """Settings of a run with AdamW."""

    beta1: float = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the mean gradient."""

    beta2: float = Field(default=0.95, ge=0, lt=1)
    """AdamW's decay of the mean squared gradient."""


def adamw(parameters: Named, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW in float32, as torch has it."""
    from lmworks.training.torch_optimisers import AdamW

    assert isinstance(config, AdamWSettings)
    betas = (config.beta1, config.beta2)
    return AdamW(groups(parameters, config), lr=config.learning_rate, betas=betas, fused=True)


def _step(group: Group, given: Sequence[Stepped]) -> None:
    """Equal to torch's own."""
    import torch

    beta1, beta2 = group["settings"].beta1, group["settings"].beta2
    weights, gradients = [one.weight for one in given], [one.gradient for one in given]
    means, squares = [one.state["mean"] for one in given], [one.state["square"] for one in given]
    torch._foreach_lerp_(means, gradients, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
    counts = [int(one.state["step"]) for one in given]
    roots = torch._foreach_div(squares, [1 - beta2**count for count in counts])
    torch._foreach_sqrt_(roots)
    torch._foreach_add_(roots, EPS)
    torch._foreach_addcdiv_(weights, means, roots, [-group["lr"] / (1 - beta1**count) for count in counts])


RULE = Rule("adamw", ("mean", "square"), _step)


def _make(network: Any, parameters: Named, config: AdamWSettings) -> torch.optim.Optimizer:
    import torch

    if all(parameter.dtype == torch.float32 for parameter in parameters.values()):
        return adamw(parameters, config)
    return by_rule(RULE, parameters, config)


def _working(counted: CountedParameters) -> float:
    """torch's own makes nothing; by the rule, in float32, gradients and the roots of squares."""
    return 0.0 if counted.value == SINGLE else counted.every * 2.0 * SINGLE


ADAMW = OptimiserKind(
    "adamw", "AdamW for everything", AdamWSettings, _make, keeps=lambda counted: 2 * counted.every, working=_working
)
