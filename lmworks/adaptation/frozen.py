"""A frozen linear layer whose weight is kept in few bits and made anew, matrix by matrix, for each product.

    freeze_in_few_bits(network, NF4.of)    # every matrix that adapters can sit on
    thaw(network)                          # plain matrices again, of the values in few bits

Nothing but the packed bits stays between two products, on the way back neither: that is what QLoRA saves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.linear import FrozenProducts, Linear


class PackedMatrix(Protocol):
    """A matrix in few bits."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def nbytes(self) -> int:
        """What it takes."""

    def weights(self, dtype: torch.dtype) -> Float[Tensor, "rows columns"]:
        """Its values, made anew."""


class FrozenLinear(nn.Module):
    """x W^T + bias, where W is kept in few bits."""

    by_hand = True
    in_eight_bits: FrozenProducts | None = None
    """As of Linear: what few bits save in memory is given back for the time that making W anew takes."""

    def __init__(self, packed: PackedMatrix, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.packed, self.dtype = packed, dtype
        self.out_features, self.in_features = packed.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def weight(self) -> Float[Tensor, "outputs inputs"]:
        """W, made anew: changing it changes nothing."""
        return self.packed.weights(self.dtype)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The product; where gradients are wanted, W is made again on the way back."""
        product: Tensor = _Product.apply(x, self) if torch.is_grad_enabled() else F.linear(x, self.weight)
        return product if self.bias is None else product + self.bias

    def thawed(self) -> Linear:
        """A plain layer of the same values."""
        with torch.device("meta"):
            plain = Linear(self.in_features, self.out_features, bias=self.bias is not None)
        plain.weight = nn.Parameter(self.weight, requires_grad=False)
        if self.bias is not None:
            plain.bias = self.bias
        return plain.train(self.training)

    def trained(self) -> list[nn.Parameter]:
        """Nothing."""
        return []

    def times(self, x: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """x W^T + bias, without a gradient."""
        if self.in_eight_bits is not None:
            return self.in_eight_bits.times(x, self.bias)
        return F.linear(x, self.weight, self.bias)

    def times_back(self, gradient: Float[Tensor, "rows outputs"]) -> Float[Tensor, "rows inputs"]:
        """gradient W, what the product makes of its result's gradient."""
        if self.in_eight_bits is not None:
            return self.in_eight_bits.times_back(gradient)
        return torch.mm(gradient, self.weight)

    def forward_by_hand(self, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows outputs"], None]:
        """The product, and what the backward needs beside x."""
        return self.times(x), None

    def backward_by_hand(
        self, gradient: Float[Tensor, "rows outputs"], x: Float[Tensor, "rows inputs"], kept: None, to_x: bool = True
    ) -> tuple[Any, list[Tensor]]:
        """The gradient of x, None unless wanted."""
        return self.times_back(gradient) if to_x else None, []


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, layer: FrozenLinear) -> Tensor:
        context.layer = layer
        return F.linear(x, layer.weight)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient @ context.layer.weight, None


def freeze_in_few_bits(network: nn.Module, paths: list[str], pack: Callable[[Tensor], PackedMatrix]) -> None:
    """Keep the matrices at these paths in few bits, in place, one after another."""
    for path in paths:
        layer = network.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        network.set_submodule(path, FrozenLinear(pack(layer.weight), layer.bias, layer.weight.dtype))


@torch.no_grad()
def thaw(network: nn.Module) -> None:
    """Make every frozen layer a plain one again, in place; its values are those of the few bits."""
    found = [(path, module) for path, module in network.named_modules() if isinstance(module, FrozenLinear)]
    for path, module in found:
        network.set_submodule(path, module.thawed())


def bytes_in_few_bits(network: nn.Module) -> int:
    """What the packed matrices take, which are no parameters."""
    return sum(module.packed.nbytes for module in network.modules() if isinstance(module, FrozenLinear))
