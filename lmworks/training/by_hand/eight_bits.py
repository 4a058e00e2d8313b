"""Frozen matrices multiplied in 8 bits while something beside them is trained.

    with in_eight_bits(network): ...    # the hand-written blocks of a training run

A row of states, a row of gradients and a row of the matrix have one scale each, so that a row of the result is a
product of whole numbers times two scales, and no token's rounding depends on another's. What the trained weights'
gradients are made of stays as it is (SwitchBack: Wortsman et al. 2023, https://arxiv.org/abs/2304.13013). A processor
that multiplies bytes takes a third of float32's time for such a product. Where a loss compares with the base, which
predicts with exact products, it would see the rounding: such runs take exact ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.network import Network
from lmworks.models.precision import fast_dtype
from lmworks.training.by_hand.fused_block import covered
from lmworks.training.settings import TrainingConfig

LEVELS = 127
BYTES = 2.0
"""A weight in 8 bits, twice."""
SMALLEST = 1e-30
"""The largest number of a row of zeros, so that nothing is divided by 0."""


def choose_products(
    training: TrainingConfig,
    config: ModelConfig,
    dtype: torch.dtype,
    *,
    adapter: bool,
    compares: bool,
    few_bits: bool = False,
) -> TrainingConfig:
    """The settings with `frozen_products` chosen for a network of this config and type, with an adapter or without;
    `compares` says that the loss compares with the base, and `few_bits` that the matrices are kept in few bits: 8 bits
    twice would take the memory that these save. ConfigError where 8 bits are asked for and cannot be had."""
    cannot = {
        "the weights themselves are trained": not adapter,
        "the loss compares with the base, which predicts with exact products": compares,
        "training.compile joins the exact ones": training.compile,
        "its blocks have no hand-written backward": not covered(config, torch.device("cpu")),
        "this processor cannot add products of bytes to 32 bits (AVX-512 VNNI, AVX-VNNI)": not multiplies_bytes(),
    }
    reason = next((one for one, holds in cannot.items() if holds), None)
    if training.frozen_products == "int8" and reason is not None:
        raise ConfigError(f"{{at}}training.frozen_products = 'int8' cannot be had: {reason}; leave it out")
    quicker = reason is None and not few_bits and dtype == fast_dtype() == torch.float32
    return training.but(frozen_products=training.frozen_products or ("int8" if quicker else "exact"))


def multiplies_bytes() -> bool:
    """Does the processor add products of bytes to 32 bits? Without that, sums of two are cut off at 16."""
    there = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(there.get(one) for one in ("avx512_vnni", "avx_vnni"))


class EightBits:
    """W in 8 bits: by its rows for states, by its columns for gradients."""

    def __init__(self, weight: Float[Tensor, "outputs inputs"]) -> None:
        self._forward, self._back = _Rounded(weight), _Rounded(weight.T)

    def times(
        self, x: Float[Tensor, "rows inputs"], bias: Float[Tensor, " outputs"] | None = None
    ) -> Float[Tensor, "rows outputs"]:
        """x W^T + bias."""
        y = self._forward.times(x)
        return y if bias is None else y.add_(bias)

    def times_back(self, gradient: Float[Tensor, "rows outputs"]) -> Float[Tensor, "rows inputs"]:
        """gradient W."""
        return self._back.times(gradient)


class _Rounded:
    """A matrix whose rows have one scale each, in the layout of the processor's library."""

    def __init__(self, weight: Float[Tensor, "outputs inputs"]) -> None:
        weight = weight.detach().float().contiguous()  # the library takes others for what they are not
        self.scales = _largest(weight)[:, 0] / LEVELS
        rounded = (weight / self.scales[:, None]).round_().to(torch.int8)
        self.packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)

    def times(self, x: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """x W^T: whole numbers from -127 to 127, stored above 128 as the library takes them."""
        largest = _largest(x)
        whole = (x * (LEVELS / largest)).add_(128.5).to(torch.uint8)
        y: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(whole, 1.0, 128, self.packed, self.scales, self.zeros, None, 1.0, 0, torch.float32, "none", [], "")
        )
        return y.mul_(largest.div_(LEVELS)).to(x.dtype)


def _largest(x: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows one"]:
    """Of each row the largest absolute value, in float32; NaN where there is one."""
    return torch.maximum(x.amax(1, keepdim=True), -x.amin(1, keepdim=True)).float().clamp_min_(SMALLEST)


def frozen_matrices(network: Network) -> list[Any]:
    """The layers of its blocks whose weights are not trained, and which know of 8 bits: `Linear`, and those whose
    matrices are kept in few bits."""
    layers: Iterator[Any] = (one for block in network.blocks for one in cast(nn.Module, block).modules())
    return [one for one in layers if hasattr(type(one), "in_eight_bits") and not one.trained()]


@contextmanager
def in_eight_bits(network: Network) -> Iterator[None]:
    """Multiply the frozen matrices of a network's blocks in 8 bits in steps that run by hand; passes that need no
    gradient, and whatever else asks for the weights, have them as they are."""
    frozen = frozen_matrices(network)
    try:
        for layer in frozen:
            layer.in_eight_bits = EightBits(layer.weight)
        yield
    finally:
        for layer in frozen:
            layer.in_eight_bits = None
