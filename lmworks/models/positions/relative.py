"""T5's relative positions: a learned bias on attention's scores for each head and range of distances.

Source: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1; ranges as in its code: half of the buckets
for short distances one by one, half for longer ones in ranges that grow with the logarithm.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import Distances, PositionalEncoding


class RelativePositions(PositionalEncoding):
    """One bias, shared by the layers of a stack."""

    name = "relative"
    acts_on = "scores"
    fields: tuple[str, ...] = ("relative_buckets", "relative_distance")
    part_name = "relative"
    weights: tuple[str, ...] = ("weight",)

    def check(self, config: ModelConfig) -> None:
        """There must be distances left for the ranges."""
        if config.relative_distance <= config.relative_buckets // 2:
            raise ConfigError(
                f"{{at}}relative_distance ({config.relative_distance}) must exceed half of {{at}}relative_buckets "
                f"({config.relative_buckets}): each short distance has a bucket of its own"
            )

    def part(self, config: ModelConfig) -> nn.Module:
        """A number for each bucket and head."""
        return RelativeBias(config)

    def bias(
        self, config: ModelConfig, part: nn.Module | None, distances: Distances
    ) -> Float[Tensor, "batch heads seq keys"]:
        """The number of each distance's bucket."""
        assert part is not None
        return part(distances)


RELATIVE = RelativePositions()


class RelativeBias(nn.Module):
    """A learned number for each head and range of distances, shared by the layers of a stack."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(config.relative_buckets, config.heads))
        self.config = config

    def forward(self, distances: Distances) -> Float[Tensor, "batch heads seq keys"]:
        """What is added to the scores."""
        buckets = relative_buckets(
            distances, self.config.relative_buckets, self.config.relative_distance, both_ways=not self.config.causal
        )
        return nn.functional.embedding(buckets, self.weight).permute(0, 3, 1, 2)


def relative_buckets(distances: Distances, buckets: int, longest: int, both_ways: bool) -> Distances:
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
