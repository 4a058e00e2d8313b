"""Small readers that differ in their positions alone, and what they make of windows longer than those they learnt."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.lab.bench.small_network import small_network, windows
from lmworks.models.network import Network


def reader(seed: int, kind: str, dim: int, context: int) -> Network:
    """A small decoder over bytes with one kind of positions."""
    plain = small_network(seed, dim=dim, heads=4, context=context).config
    config = plain.but(family="lmworks", positions=kind, scale_embedding=True)
    if kind == "relative":
        config = config.but(relative_distance=max(context, plain.relative_buckets))
    return Network(config).initialise(seed, "width")


def lengthened(network: Network, context: int, seed: int) -> Network:
    """The same weights for longer texts; learned positions beyond the old length are fresh."""
    longer = Network(network.config.but(context=context)).initialise(seed, "width")
    weights = network.state_dict()
    if network.config.positions == "learned":
        rows = longer.state_dict()["position.weight"].clone()
        rows[: network.config.context] = weights["position.weight"]
        weights["position.weight"] = rows
    longer.load_state_dict(weights)
    return longer.eval()


@torch.no_grad()
def bits_by_place(network: Network, text: Int[Tensor, " bytes"], count: int) -> Float[Tensor, " seq"]:
    """Bits of the byte at each place of a window, mean over windows spread over a text."""

    def costs() -> Iterator[Tensor]:
        for rows in windows(text, network.config.context, count):
            logits = network(rows[:, :-1]).flatten(0, 1)
            yield F.cross_entropy(logits, rows[:, 1:].flatten(), reduction="none").view(len(rows), -1)

    return torch.cat(list(costs())).mean(dim=0) / 0.6931471805599453
