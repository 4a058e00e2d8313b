"""What attention computes, changed in one place while a network reads: scores without their root, keys taken away."""

from __future__ import annotations

import contextlib
import math

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.small_network import window_bits
from lmworks.models.hooks import hook_points, hooked
from lmworks.models.network import Network


def without_root(network: Network) -> contextlib.AbstractContextManager[None]:
    """The network with queries multiplied by sqrt(head_dim), which takes the division away again."""
    root = math.sqrt(network.config.head_dim)
    queries = [path for path in hook_points(network) if path.endswith("attention.query")]
    return hooked(network, {path: lambda query: query * root for path in queries})


def without_keys(
    network: Network, text: Int[Tensor, " bytes"], count: int, taken: int, seed: int | None = None
) -> list[float]:
    """Bits and bytes of each window when no query sees its `taken` highest-scored keys, or as many drawn by a seed."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)

    def edit(scores: Tensor) -> Tensor:
        order = scores if generator is None else torch.rand(scores.shape, generator=generator)
        ranked = order.masked_fill(scores == -torch.inf, -torch.inf)
        gone = ranked.topk(min(taken, scores.shape[-1]), dim=-1).indices
        # The first tokens see too few keys to lose any: they keep what they had.
        enough = (scores > -torch.inf).sum(dim=-1, keepdim=True) > 2 * taken
        return torch.where(enough, scores.scatter(-1, gone, -torch.inf), scores)

    paths = [path for path in hook_points(network) if path.endswith("attention.scores")]
    with hooked(network, dict.fromkeys(paths, edit)):
        return window_bits(network, text, count)
