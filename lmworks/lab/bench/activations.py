"""Activations of feed-forwards: their kinds, their time, and units that no text wakes.

times()                                                  # {"GELU": 3e-4, "sigmoid": 2e-4, "ReLU": 1e-4}
states = inner_states(network, data.held_out, 200)       # of each block what the activation gets
share_asleep(states, "relu")
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.inside.backward import SLOPES
from lmworks.lab.bench.costs import alternately
from lmworks.lab.bench.small_network import windows
from lmworks.models.feed_forward import ACTIVATIONS
from lmworks.models.network import Network

KINDS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid"},
    "tanh": {"activation": "tanh"},
    "ReLU": {"activation": "relu"},
    "squared ReLU": {"activation": "relu_squared"},
    "GELU": {"activation": "gelu"},
    "SiLU": {"activation": "silu"},
    "SiLU, gated": {"activation": "silu", "gated": True},
    "ReLU, gated": {"activation": "relu", "gated": True},
}
ASLEEP = 1e-3
"""A unit whose derivative is below this at every byte learns next to nothing."""
Inner = Float[Tensor, "bytes hidden_dim"]


@torch.no_grad()
def inner_states(network: Network, text: Int[Tensor, " bytes"], count: int) -> list[Inner]:
    """By block, what the activation gets at every byte of `count` windows of the text; of gated ones the gate."""
    seen: list[list[Tensor]] = [[] for _ in network.blocks]

    def reader(layer: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def read(module: nn.Module, inputs: Any, inner: Tensor) -> None:
            gate = inner.chunk(2, dim=-1)[0] if network.config.gated else inner
            seen[layer].append(gate.flatten(0, 1).clone())

        return read

    ups = [block.get_submodule("feed_forward.up") for block in network.blocks]
    handles = [up.register_forward_hook(reader(layer)) for layer, up in enumerate(ups)]
    for rows in windows(text, network.config.context, count):
        network.hidden(rows[:, :-1])
    for handle in handles:
        handle.remove()
    return [torch.cat(parts) for parts in seen]


def share_asleep(inner: list[Inner], activation: str) -> float:
    """The share of units whose derivative is next to nothing at every byte."""
    return fmean(float((SLOPES[activation](states).abs().amax(dim=0) < ASLEEP).double().mean()) for states in inner)


def wrong_derivatives() -> int:
    """Points of a grid where autograd's derivative of the network's ReLU is not the claim's; at 0 it takes 0."""
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(ACTIVATIONS["relu"](x).sum(), x)
    return int((slope != torch.where(x > 0, 1.0, 0.0)).sum())


def times() -> dict[str, float]:
    """The shortest time of each activation, forward and backward, on the states of a small feed-forward."""
    x = torch.randn(512, 1024, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def both(kind: str) -> None:
        torch.autograd.grad(ACTIVATIONS[KINDS[kind]["activation"]](x), x, x.detach())

    found = alternately({kind: partial(both, kind) for kind in ("GELU", "sigmoid", "ReLU")}, rounds=1, repeats=20)
    return {kind: shortest for kind, [shortest] in found.items()}
