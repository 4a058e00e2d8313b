"""Units of feed-forwards that no text wakes.

states = inner_states(network, data.held_out, 200)       # of each block what the activation gets
share_asleep(states, "relu")
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmworks.inside.backward import SLOPES
from lmworks.lab.bench.small_network import windows
from lmworks.models.network import Network

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
