"""Linear layers with adapters, as those who run a network see them; files of adaptation/ make and train them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from lmworks.models.unread import peeked


class AdaptedLinear(nn.Module, ABC):
    """A frozen linear layer and what is trained beside it."""

    base: Any
    """A linear layer, or one that keeps its weight in few bits."""
    enabled: bool = True
    """Off, the layer is its base."""
    scale: float = 1.0
    """Multiplied into U by `updates`."""
    beyond: str | None = None
    """What the layer does that `updates` do not say, as the compiled path names it; None for nothing."""

    @property
    def merged(self) -> bool:
        """Is the adapter part of the base's weight now?"""
        return False

    @abstractmethod
    def own(self) -> list[nn.Parameter]:
        """The adapter's parameters."""

    def trained(self) -> list[nn.Parameter]:
        """Those of its own that require gradients, in the order of the gradients of `backward_by_hand`."""
        return [one for one in self.own() if one.requires_grad]

    @property
    def by_hand(self) -> bool:
        """Do `forward_by_hand` and `backward_by_hand` compute what the layer does? Not while adapters are off or
        merged."""
        return self.enabled and not self.merged and not any(one.requires_grad for one in self.base.parameters())

    def updates(self) -> Iterator[tuple[slice, Float[Tensor, "rank inputs"], Float[Tensor, "rows rank"]]]:
        """Of each range of rows to which U D x is added: the rows, D and U."""
        return iter(())

    @abstractmethod
    def merge(self) -> None:
        """Make the adapter part of the weight; a second call changes nothing. ConfigError where it cannot be."""

    def unmerge(self) -> None:
        """Put the weight back as it was, to the bit."""


def adapted_layers(network: nn.Module) -> dict[str, AdaptedLinear]:
    """The layers that have adapters, by path."""
    return {path: module for path, module in network.named_modules() if isinstance(module, AdaptedLinear)}


def has_adapters(network: nn.Module) -> bool:
    """Is anything trained beside the network's own weights: adapters on layers, or a prompt?"""
    return getattr(network, "prompt", None) is not None or bool(adapted_layers(network))


def own_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """A network's parameters by the names that they have without adapters, whose own are left out; some may be
    placeholders (unread.py)."""
    adapted = adapted_layers(network)
    found = {}
    for name, parameter in peeked(network).items():
        if name.startswith("prompt."):
            continue
        layer = next((path for path in adapted if name.startswith(f"{path}.")), None)
        if layer is None:
            found[name] = parameter
        elif name.startswith(f"{layer}.base."):
            found[layer + name.removeprefix(f"{layer}.base")] = parameter
    return found
