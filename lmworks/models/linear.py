"""Linear layers that keep their weight in the processor library's own layout too, for inference in bfloat16 (and in
float32 inside `packed_products`), and have a backward that is written out, for training.

PyTorch hands oneDNN a plain matrix each time; packed once, the 120 matrices of SmolLM2 take 11 and not 17 ms for one
token (docs/log.md). The packed copy costs as much memory as the weight; training drops it. A weight that can be
trained is never packed: fused optimisers change it without counting that in `_version`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.precision import multiplied, quicker_in_float32

_float32_as: ContextVar[torch.dtype | None] = ContextVar("the format of packed copies of float32 weights", default=None)


@contextlib.contextmanager
def packed_products(dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Inference in the block multiplies float32 weights in `dtype` (float32 or bfloat16), on a CPU by packed copies
    that stay for the next time. What lies between the products follows autocast's rules; weights themselves are not
    changed."""
    token = _float32_as.set(dtype)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            yield
    finally:
        _float32_as.reset(token)


WIDENED = 3
"""Rows from which on a processor without products of 16 bits is quicker with copies in float32, made anew each time:
with AVX2 alone 4 rows take 0.7 of the time, 256 a seventh (1,536 x 576, bfloat16)."""


class Product:
    """x W^T + bias, by a packed copy of W where nothing needs a gradient and there is a packed product."""

    for_once = False
    """Is a weight multiplied with a single time, for which no copy is worth making?"""

    def __init__(self) -> None:
        self._packed: Tensor | None = None
        self._made_from: tuple[int, int, torch.dtype] | None = None

    def __call__(
        self,
        x: Float[Tensor, "*batch inputs"],
        weight: Float[Tensor, "outputs inputs"],
        bias: Float[Tensor, " outputs"] | None = None,
    ) -> Float[Tensor, "*batch outputs"]:
        """The product."""
        dtype = _float32_as.get() if weight.dtype == torch.float32 else weight.dtype
        if torch.is_grad_enabled() or weight.requires_grad or dtype is None:
            return F.linear(x, weight, bias)
        if self.for_once and dtype == weight.dtype and packable(weight):
            return F.linear(x, weight, bias)
        if not packable(weight, dtype):
            if quicker_in_float32(weight) and x[..., 0].numel() >= WIDENED:
                exact = F.linear(x.float(), weight.float(), None if bias is None else bias.float())
                return exact.to(x.dtype)
            return F.linear(x, weight, bias)
        made_from = (weight._version, weight.data_ptr(), dtype)
        if self._packed is None or self._made_from != made_from:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(dtype), 1)
            self._made_from = made_from
        bias = None if bias is None else bias.to(dtype)
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), self._packed, bias, "none", [], "")
        return result

    def drop(self) -> None:
        """Forget the packed copy, for the memory's sake."""
        self._packed = None

    def __deepcopy__(self, memo: Any) -> Product:
        return Product()


def packable(weight: Tensor, dtype: torch.dtype | None = None) -> bool:
    """Is there a packed product for this weight, in its own format or in `dtype`, on this machine?"""
    return (
        (dtype or weight.dtype) in (torch.bfloat16, torch.float32)
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and multiplied(dtype or weight.dtype)
    )


class FrozenProducts(Protocol):
    """How training multiplies with a frozen weight."""

    def times(
        self, x: Float[Tensor, "rows inputs"], bias: Float[Tensor, " outputs"] | None
    ) -> Float[Tensor, "rows outputs"]:
        """x W^T + bias."""

    def times_back(self, gradient: Float[Tensor, "rows outputs"]) -> Float[Tensor, "rows inputs"]:
        """gradient W."""


class Linear(nn.Linear):
    """A linear layer that runs packed where nothing needs a gradient."""

    in_eight_bits: FrozenProducts | None = None
    """In a training run that wants it, the weight in 8 bits, for what runs by hand."""

    def __init__(self, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__(inputs, outputs, bias=bias)
        self.product = Product()
        self.by_hand = True

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """x W^T + bias."""
        return self.product(x, self.weight, self.bias)

    def train(self, mode: bool = True) -> Linear:
        """Training and evaluation mode; training drops the packed copy."""
        if mode:
            self.product.drop()
        return super().train(mode)

    def trained(self) -> list[nn.Parameter]:
        """Weight and bias, as far as they require gradients."""
        return [one for one in self.parameters() if one.requires_grad]

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

    def forward_by_hand(self, x: Float[Tensor, "rows inputs"]) -> tuple[Float[Tensor, "rows outputs"], Tensor | None]:
        """The product, and what the backward needs beside x."""
        return self.times(x), None

    def backward_by_hand(
        self,
        gradient: Float[Tensor, "rows outputs"],
        x: Float[Tensor, "rows inputs"],
        kept: Tensor | None,
        to_x: bool = True,
    ) -> tuple[Any, list[Tensor]]:
        """The gradient of x, None unless wanted, and those of what is trained, in the order of `trained`."""
        gradients = [torch.mm(gradient.T, x)] if self.weight.requires_grad else []
        if self.bias is not None and self.bias.requires_grad:
            gradients.append(gradient.sum(0))
        return self.times_back(gradient) if to_x else None, gradients
