"""Loss and Objective: what an objective returns, and how objectives add up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lmworks.models.network import Network
from lmworks.tokens.batch import Batch


@dataclass(frozen=True)
class Loss:
    """A sum over tokens and how many there were: the mean is taken over a whole step, never over a micro-batch."""

    total: Float[Tensor, ""]
    """Natural-log loss summed over the supervised tokens, with its graph."""
    count: int
    """Supervised tokens."""

    @property
    def mean(self) -> Float[Tensor, ""]:
        """Loss per supervised token, in nats."""
        return self.total / self.count


class Objective(ABC):
    """Something to minimise. `a + b` minimises both: their totals add, tokens are counted by the first."""

    @abstractmethod
    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch."""

    def __add__(self, other: Objective) -> Objective:
        return Sum(self, other)


class Sum(Objective):
    """Two objectives as one."""

    def __init__(self, first: Objective, second: Objective) -> None:
        self.first, self.second = first, second

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """Both losses, scaled to the first's tokens."""
        first, second = self.first(network, batch), self.second(network, batch)
        return Loss(first.total + second.mean * first.count, first.count)
