"""The feed-forward part of a block: up, activation (gated or plain), down.

Source: gated units: Shazeer 2020, https://arxiv.org/abs/2002.05202.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.config import ModelConfig
from lmworks.models.hooks import HookPoint
from lmworks.models.linear import Linear


def _relu_squared(x: Tensor) -> Tensor:
    """So et al. 2021, https://arxiv.org/abs/2109.08668."""
    return F.relu(x).square()


class XIELU(nn.Module):
    """An activation that learns how steep it is on either side of 0 (Huang and Schlag 2024,
    https://arxiv.org/abs/2411.13010). Its numbers are softplus(`above`) and 1/2 + softplus(`below`)."""

    def __init__(self) -> None:
        super().__init__()
        self.above = nn.Parameter(torch.tensor([0.8]).expm1().log())
        self.below = nn.Parameter(torch.tensor([0.3]).expm1().log())

    def forward(self, x: Tensor) -> Tensor:
        """Of each number by itself."""
        above, below = F.softplus(self.above), 0.5 + F.softplus(self.below)
        return torch.where(x > 0, above * x * x, (torch.expm1(x.clamp(max=-1e-6)) - x) * below) + 0.5 * x


STEEP = 1.702
"""The steepness of quick_gelu's sigmoid."""


def _quick_gelu(x: Tensor) -> Tensor:
    """Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2."""
    return x * torch.sigmoid(STEEP * x)


def _quick_gelu_backward(gradient: Tensor, x: Tensor) -> Tensor:
    return torch.ops.aten.silu_backward(gradient, STEEP * x)  # x sigmoid(a x) = silu(a x) / a


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": functools.partial(F.gelu, approximate="tanh"),
    "quick_gelu": _quick_gelu,
    "relu": F.relu,
    "relu_squared": _relu_squared,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "silu": torch.ops.aten.silu_backward,
    "gelu": torch.ops.aten.gelu_backward,
    "gelu_tanh": functools.partial(torch.ops.aten.gelu_backward, approximate="tanh"),
    "quick_gelu": _quick_gelu_backward,
    "relu": lambda gradient, x: torch.where(x > 0, gradient, 0),
    "relu_squared": lambda gradient, x: 2 * F.relu(x) * gradient,
    "sigmoid": lambda gradient, x: torch.ops.aten.sigmoid_backward(gradient, torch.sigmoid(x)),
    "tanh": lambda gradient, x: torch.ops.aten.tanh_backward(gradient, torch.tanh(x)),
}
"""The gradient at x from that of the activation."""


def _by_autograd(gradient: Tensor, x: Tensor) -> Tensor:
    raise NotImplementedError("an activation that learns has no derivative here; blocks by hand do not take it")


BY_RESULT = ("relu", "sigmoid", "tanh")
"""Activations whose derivative autograd takes from their result, so that it keeps no input."""


def activation_of(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of a config's name; fresh where it learns."""
    return XIELU() if name == "xielu" else ACTIVATIONS[name]


class FeedForward(nn.Module):
    """down(activation(up x)), or down(activation(gate x) * up x) where gated."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = activation_of(config.activation)
        self.derivative = DERIVATIVES.get(config.activation, _by_autograd)
        self.silu = config.activation == "silu"
        self.gated, self.gate_limit, self.gate_shift = config.gated, config.gate_limit, config.gate_shift
        # One matrix for gate and up: gate's rows first.
        rows = config.hidden_dim * (2 if config.gated else 1)
        self.up = Linear(config.dim, rows, bias=config.feed_forward_bias)
        self.down = Linear(config.hidden_dim, config.dim, bias=config.feed_forward_bias)
        self.inner_point = HookPoint()

    def forward(self, x: Float[Tensor, "batch seq dim"]) -> Float[Tensor, "batch seq dim"]:
        """Each token by itself."""
        inner = self.up(x)
        if self.gated:
            gate, up = inner.chunk(2, dim=-1)
            if self.gate_limit is not None:
                gate, up = gate.clamp(max=self.gate_limit), up.clamp(-self.gate_limit, self.gate_limit)
            inner = self.activation(gate) * (up + 1 if self.gate_shift else up)
        else:
            inner = self.activation(inner)
        return self.down(self.inner_point(inner))
