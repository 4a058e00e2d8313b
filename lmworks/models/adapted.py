"""Linear layers with adapters, as those who run a network see them; adaptation/lora.py makes and trains them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lmworks.models.unread import peeked


class AdaptedLinear(nn.Module, ABC):
    """A linear layer with updates of low rank, U D x, on ranges of its rows."""

    base: Any
    """A linear layer, or one that keeps its weight in few bits."""
    enabled: bool
    """Off, the layer is its base."""
    scale: float
    """Multiplied into U by `updates`."""
    low_rank: bool = True
    """Are `updates` all that the layer adds to its base?"""

    @property
    @abstractmethod
    def merged(self) -> bool:
        """Are the updates part of the base's weight now?"""

    @abstractmethod
    def updates(self) -> Iterator[tuple[slice, Float[Tensor, "rank inputs"], Float[Tensor, "rows rank"]]]:
        """Of each range of rows: the rows, D and U."""


def adapted_layers(network: nn.Module) -> dict[str, AdaptedLinear]:
    """The layers that have adapters, by path."""
    return {path: module for path, module in network.named_modules() if isinstance(module, AdaptedLinear)}


def own_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """A network's parameters by the names that they have without adapters, whose own are left out; some may be
    placeholders (unread.py)."""
    adapted = adapted_layers(network)
    found = {}
    for name, parameter in peeked(network).items():
        layer = next((path for path in adapted if name.startswith(f"{path}.")), None)
        if layer is None:
            found[name] = parameter
        elif name.startswith(f"{layer}.base."):
            found[layer + name.removeprefix(f"{layer}.base")] = parameter
    return found
