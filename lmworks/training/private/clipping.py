"""The sum of gradients of which each row's own is scaled down to a bound.

LoRA's layers give the gradients of all rows of a batch in the pass that would give their sum: they are small (9.8 MB a
row for SmolLM2 at rank 8). What else is trained is gone through row by row: on a CPU a row of a few hundred tokens
fills the processor, and one gradient beside the sum is all that is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.adapted import AdaptedLinear, RowGradients, adapted_layers
from lmworks.models.network import Network
from lmworks.objectives import Objective
from lmworks.tokens.batch import TILE, Batch
from lmworks.tokens.labels import IGNORE


class Clipped(NamedTuple):
    """What rows add up to."""

    sums: list[Tensor]
    """Of each trained parameter, in the network's order and in float32."""
    loss: float
    """Summed over what is counted."""
    tokens: int
    """How much was counted."""
    cut: int
    """Rows whose gradient was longer than the bound."""


@dataclass
class Clipping:
    """Clips the rows of a network's batches."""

    network: Network
    objective: Objective
    bound: float

    def __post_init__(self) -> None:
        self.trained = [one for one in self.network.parameters() if one.requires_grad]
        layers = [one for one in adapted_layers(self.network).values() if one.trained()]
        own = {id(one) for layer in layers for one in layer.trained()}
        at_once = own == {id(one) for one in self.trained} and all(one.finds_row_gradients for one in layers)
        self.layers: list[AdaptedLinear] | None = layers if at_once else None
        """Those that give each row's gradients; None where rows go one by one."""

    def of(self, batches: Sequence[Batch]) -> Clipped:
        """The sum over the rows of some batches, each row's loss being the mean over what it counts. ConfigError for an
        objective that counts anything but supervised tokens."""
        sums = [torch.zeros_like(one, dtype=torch.float32) for one in self.trained]
        loss, cut = 0.0, 0
        for batch in batches:
            if set(self.objective.counts(batch)) != {batch.supervised}:
                raise ConfigError(
                    f"private training needs a loss of each document by itself, and {type(self.objective).__name__} "
                    "adds something else to it; leave that out"
                )
            for one, gradients in self._gradients(batch):
                loss += one
                cut += self._add(sums, gradients)
        return Clipped(sums, loss, sum(batch.supervised for batch in batches), cut)

    def _gradients(self, batch: Batch) -> Iterator[tuple[float, list[Tensor]]]:
        """The loss of some rows, and each row's gradients [rows, *shape] of its mean."""
        if self.layers is None:
            for row in range(len(batch.tokens)):
                one = _row(batch, row)
                found = self.objective(self.network, one)
                gradients = torch.autograd.grad(found.mean, self.trained, allow_unused=True)
                yield (
                    float(found.total.detach()),
                    [
                        torch.zeros_like(to)[None] if gradient is None else gradient[None]
                        for to, gradient in zip(self.trained, gradients, strict=True)
                    ],
                )
            return
        rows = RowGradients(len(batch.tokens))
        with _taken_by(self.layers, rows):
            found = self.objective(self.network, batch)
            total = found.total + sum(other.total for other in found.others)
            total.backward()
        counts = (batch.labels != IGNORE).sum(1).clamp_min(1)
        yield (
            float(found.total.detach()),
            [_scaled(rows.found.pop(to, None), to, 1 / counts) for to in self.trained],
        )

    def _add(self, sums: list[Tensor], gradients: list[Tensor]) -> int:
        """Add each row's gradients, scaled down to the bound; how many were longer."""
        squares = sum(one.flatten(1).float().square().sum(1) for one in gradients)
        assert isinstance(squares, Tensor)
        factors = (self.bound / squares.sqrt()).clamp_max(1.0)
        for total, one in zip(sums, gradients, strict=True):
            total.view(-1).addmv_(one.flatten(1).float().T, factors)
        return int((factors < 1).sum())


def _scaled(found: Tensor | None, parameter: nn.Parameter, by: Float[Tensor, " rows"]) -> Tensor:
    if found is None:
        return parameter.new_zeros(len(by), *parameter.shape)
    return found.mul_(by.to(found.dtype).view(-1, *[1] * parameter.ndim))


def _row(batch: Batch, row: int) -> Batch:
    """A row by itself, without the padding that others need."""
    width = max(-(-int((batch.documents[row] >= 0).sum()) // TILE) * TILE, TILE)
    given: dict[str, Any] = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    wide = batch.tokens.shape[1]
    alone: dict[str, Any] = {
        name: value[row : row + 1, :width] if value.ndim > 1 and value.shape[1] == wide else value[row : row + 1]
        for name, value in given.items()
    }
    return replace(batch, **alone)


@contextmanager
def _taken_by(layers: Sequence[AdaptedLinear], rows: RowGradients) -> Iterator[None]:
    for layer in layers:
        layer.row_gradients = rows
    try:
        yield
    finally:
        for layer in layers:
            layer.row_gradients = None
