"""What relative positions learn: a number for each head and range of distances (positions/relative.py).

Ranges as in T5's code: half of the buckets for short distances one by one, half for longer ones in ranges that grow
with the logarithm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.models.config import ModelConfig
from lmworks.models.positions.learned import LearnedPositions


class RelativeBias(nn.Module):
    """A learned number for each head and range of distances, shared by the layers of a stack."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.relative_buckets, config.heads))
        self.config = config

    def forward(self, distances: Int[Tensor, "batch seq keys"]) -> Float[Tensor, "batch heads seq keys"]:
        """What is added to the scores."""
        buckets = relative_buckets(
            distances, self.config.relative_buckets, self.config.relative_distance, both_ways=not self.config.causal
        )
        return nn.functional.embedding(buckets, self.weight).permute(0, 3, 1, 2)


def relative_buckets(
    distances: Int[Tensor, "batch seq keys"], buckets: int, longest: int, both_ways: bool
) -> Int[Tensor, "batch seq keys"]:
    """The bucket of each distance. In an encoder (`both_ways`) the upper half is for what comes after."""
    if both_ways:
        buckets //= 2
        offset, far = (distances > 0).long() * buckets, distances.abs()
    else:
        offset, far = torch.zeros_like(distances), (-distances).clamp(min=0)
    exact = buckets // 2
    # Short distances are clamped: their logarithm is not used, and that of zero would be infinite.
    ranges = torch.log(far.clamp(min=1).float() / exact) / math.log(longest / exact) * (buckets - exact)
    return offset + torch.where(far < exact, far, (exact + ranges.long()).clamp(max=buckets - 1))


class LearnedAndRelative(nn.Module):
    """A table of places and one of distances (positions/learned_relative.py)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.learned, self.relative = LearnedPositions().part(config), RelativeBias(config)
