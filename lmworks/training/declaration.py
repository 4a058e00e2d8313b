"""What an optimiser declares of itself, so that recipes, the planner, `lmworks check` and `lmworks explain` know it.

Each file of lmworks/training/optimisers holds an optimiser's rule, its settings and an OptimiserKind. Recipes are read
without torch, which takes seconds to load: such a file imports it inside the functions that use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from lmworks.basics.config import Config

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from lmworks.models.network import Network

SINGLE = 4
"""Bytes of a float32."""

Group = dict[str, Any]
"""Parameters that are stepped alike: `params`, `names`, `lr`, `highest`, `weight_decay`, `rule` and the `settings`."""


class Stepped(NamedTuple):
    """A parameter in a step. In a process that holds only some rows of it, so it is with all but `parameter`."""

    parameter: nn.Parameter
    weight: Tensor
    """The float32 weight to change in place; it has decayed already."""
    gradient: Tensor
    """In float32; it may be changed in place."""
    state: dict[str, Tensor]
    """`step`, the number of this step from 1, and what the rule keeps."""


@dataclass(frozen=True)
class Rule:
    """How an optimiser changes the parameters of a group."""

    name: str
    keeps: tuple[str, ...]
    """What it keeps of each parameter between steps: tensors of its shape in float32, zero at first."""
    step: Callable[[Group, Sequence[Stepped]], None]
    """Change the weights and the state of the group's parameters."""


@dataclass(frozen=True)
class CountedParameters:
    """The parameters that are trained, as a planner counts them."""

    every: int
    """All of them."""
    matrices: int
    """Those in matrices of blocks; 0 where adapters are trained."""
    stacked: int
    """Those of all matrices that are as large as the largest one."""
    value: int
    """Bytes of a weight."""

    @property
    def copied(self) -> int:
        """Bytes of the float32 copy of each gradient."""
        return SINGLE if self.value != SINGLE else 0


def a_copy_and_a_change(counted: CountedParameters) -> float:
    """Gradients in float32, and a change of the same size for each."""
    return counted.every * float(counted.copied + SINGLE)


@dataclass(frozen=True)
class OptimiserKind:
    """An optimiser that a recipe can name."""

    name: str
    """`training.optimiser`."""
    summary: str
    """What it trains, and how, in a clause."""
    settings: type[Config]
    """What [training] may hold: a child of TrainingConfig."""
    make: Callable[[Network, dict[str, nn.Parameter], Any], torch.optim.Optimizer]
    """The optimiser of some of a network's parameters, with some settings."""
    keeps: Callable[[CountedParameters], int]
    """Float32 numbers that it keeps between steps, beside masters of coarser weights."""
    working: Callable[[CountedParameters], float] = a_copy_and_a_change
    """Bytes that a step makes and gives back."""
    leaves_holes: bool = False
    """What a step makes is of many sizes, so that the heap has holes after it."""
    usual_rate: Callable[[int], float] = lambda depth: 3e-3 * (4 / depth) ** 0.5
    """The highest learning rate at a depth, where a recipe says nothing."""
    for_blocks: bool = False
    """It is for the blocks of a transformer, and trains no recurrent network."""
