"""Penalties on the size of the weights, which add up with any objective: `CausalLM() + L2(0.01)`.

They act through the loss (coupled): an optimiser that scales gradients, as AdamW does, scales theirs too. Decoupled
decay (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101) is `training.weight_decay`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmworks.objectives.loss import Loss, Objective, check_strength

if TYPE_CHECKING:  # recipes are read without torch
    from torch import Tensor

    from lmworks.basics.arrays import Float
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class Penalty(Objective):
    """A function of the trained matrices alone; norms, biases and frozen parameters are never penalised.

    It counts 1 in each micro-batch: the mean over a step is the penalty itself, however the step is split. It is
    computed once in each, which is a pass over the weights.
    """

    strength: float
    """What the function is multiplied by."""

    def __post_init__(self) -> None:
        check_strength(f"the strength of {type(self).__name__}", self.strength)

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The penalty, whatever the batch."""
        import torch

        matrices = [matrix for matrix in network.parameters() if matrix.requires_grad and matrix.ndim > 1]
        sizes = [_whole(self.size(matrix.float())) for matrix in matrices]
        total = torch.stack(sizes).sum() if sizes else torch.zeros((), device=network.device)
        return Loss(self.strength * total, 1)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """1, as often as it is added."""
        return (1,)

    @abstractmethod
    def size(self, matrix: Float[Tensor, ...]) -> Float[Tensor, ""]:
        """How large one matrix is."""


class L2(Penalty):
    """strength / 2 times the sum of squares; its gradient is strength times the weight, as weight decay's is."""

    def size(self, matrix: Float[Tensor, ...]) -> Float[Tensor, ""]:
        """Half the sum of squares."""
        return matrix.square().sum() / 2


class L1(Penalty):
    """strength times the sum of magnitudes; it pulls small weights to zero (Tibshirani 1996)."""

    def size(self, matrix: Float[Tensor, ...]) -> Float[Tensor, ""]:
        """The sum of magnitudes."""
        return matrix.abs().sum()


def _whole(size: Tensor) -> Tensor:
    """A sum over a matrix of which this process holds a part (DTensor), over all of it."""
    return size.full_tensor() if hasattr(size, "full_tensor") else size
