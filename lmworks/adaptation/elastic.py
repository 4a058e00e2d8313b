"""Elastic weight consolidation: a spring on each weight, as stiff as old predictions depend on it.

    strength / 2 * sum over weights of F (w - w of the base)^2

Source: Kirkpatrick et al. 2017, https://arxiv.org/abs/1612.00796. Beside adapters, F and the distance are those of the
weight that they move: by s B A (LoRA, QLoRA), or to m (W + s B A) / |W + s B A| row by row (DoRA). At B = 0 the Fisher
information of A is zero, and says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmworks.adaptation.dora import DoRALinear
from lmworks.adaptation.lora import LoRALinear
from lmworks.models.network import Network
from lmworks.objectives.loss import Loss, Objective
from lmworks.tokens.batch import Batch


@dataclass(frozen=True)
class Spring:
    """What holds one matrix."""

    stiffness: Tensor
    """F of each weight."""
    weight: Tensor | None = None
    """The weight that is trained; None where adapters move it."""
    rest: Tensor | None = None
    """What it was."""
    layer: LoRALinear | None = None
    """The layer whose update moves it."""

    def pull(self) -> Tensor:
        """Half the sum of F times the squared distances."""
        if self.layer is None:
            assert self.weight is not None
            assert self.rest is not None
            return (self.stiffness * (self.weight.float() - self.rest).square()).sum() / 2
        layer = self.layer
        parts = zip(layer.parts, layer.down.split(layer.rank), layer.up, strict=True)
        if isinstance(layer, DoRALinear):
            weight = layer.base.weight
            pulls = [
                _TurnedPull.apply(down, up, length, weight[part.rows], self.stiffness[part.rows], layer.scale)
                for (part, down, up), length in zip(parts, layer.magnitude, strict=True)
            ]
        else:
            pulls = [_Pull.apply(down, up, self.stiffness[part.rows], layer.scale) for part, down, up in parts]
        return torch.stack(pulls).sum()


class _Pull(torch.autograd.Function):
    """Half the sum of F (s B A)^2; gradients are made in the forward, so that no matrix of the weight's size stays."""

    @staticmethod
    def forward(context: Any, down: Tensor, up: Tensor, stiffness: Tensor, scale: float) -> Tensor:
        update = (up @ down).mul_(scale)
        force = stiffness * update
        context.save_for_backward(scale * (up.T @ force), scale * (force @ down.T))
        return (force * update).sum() / 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        to_down, to_up = context.saved_tensors
        return gradient * to_down, gradient * to_up, None, None


class _TurnedPull(torch.autograd.Function):
    """Half the sum of F (m (W + s B A) / |W + s B A| - W)^2. Other than in a layer's own backward, the length is no
    constant in these gradients: they cost no pass through the network, and are those of the pull itself."""

    @staticmethod
    def forward(
        context: Any, down: Tensor, up: Tensor, magnitude: Tensor, weight: Tensor, stiffness: Tensor, scale: float
    ) -> Tensor:
        weight = weight.to(down.dtype)
        moved = torch.addmm(weight, up, down, alpha=scale)
        length = moved.square().sum(1, keepdim=True).clamp_min(1e-30).sqrt()
        direction = moved.div_(length)
        far = magnitude[:, None] * direction - weight
        force = stiffness * far
        along = (force * direction).sum(1)
        turning = (force - along[:, None] * direction).mul_(magnitude[:, None] / length)
        context.save_for_backward(scale * (up.T @ turning), scale * (turning @ down.T), along)
        return (force * far).sum() / 2

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return *(gradient * one for one in context.saved_tensors), None, None, None


@dataclass(eq=False)
class Elastic(Objective):
    """The pull of all springs. It counts 1 in each micro-batch: the mean over a step is the pull itself."""

    springs: list[Spring]
    strength: float

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The pull, whatever the batch."""
        pulls = [spring.pull() for spring in self.springs]
        return Loss(self.strength * torch.stack(pulls).sum(), 1)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """1, as often as it is added."""
        return (1,)
