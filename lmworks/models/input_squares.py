"""How large what comes into each matrix of a network is: the sums of squares of each column's inputs.

with summed_squares(network) as sums:
    network.hidden(tokens)
sums["blocks.0.attention.qkv"]      # [inputs], over the tokens
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.linear import Linear
from lmworks.models.network import Network


@contextmanager
def summed_squares(network: Network) -> Iterator[dict[str, Float[Tensor, " inputs"]]]:
    """Within this context, by the matrix's path, the sums over all tokens that the network reads, in float32."""
    sums: dict[str, Tensor] = {}

    def look(path: str, matrix: Linear) -> torch.utils.hooks.RemovableHandle:
        def before(_: nn.Module, given: tuple[Tensor]) -> None:
            sums[path] = sums.get(path, torch.zeros(())) + given[0].flatten(0, -2).float().square().sum(0)

        return matrix.register_forward_pre_hook(before)

    handles = [look(path, one) for path, one in network.named_modules() if isinstance(one, Linear)]
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()
