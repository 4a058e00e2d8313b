"""Positions as a bias on the attention's scores: T5's learned buckets of distances, and ALiBi's even slope.

Sources: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1 (buckets as in its code: half of them for short
distances one by one, half for longer ones in logarithmic ranges); Press et al. 2022, https://arxiv.org/abs/2108.12409.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmworks.models.config import ModelConfig

Distances = Int[Tensor, "batch seq keys"]
"""The key's place minus the query's: negative for what comes before."""


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
    """The bucket of each distance. In an encoder (`both_ways`) the upper half is for what comes behind."""
    if both_ways:
        buckets //= 2
        offset, far = (distances > 0).long() * buckets, distances.abs()
    else:
        offset, far = torch.zeros_like(distances), (-distances).clamp(min=0)
    exact = buckets // 2
    # Short distances are clamped: their logarithm is not used, and that of zero would be infinite.
    ranges = torch.log(far.clamp(min=1).float() / exact) / math.log(longest / exact) * (buckets - exact)
    return offset + torch.where(far < exact, far, (exact + ranges.long()).clamp(max=buckets - 1))


def alibi_bias(distances: Distances, heads: int) -> Float[Tensor, "batch heads seq keys"]:
    """Minus a head's slope times the distance, in float32."""
    return alibi_slopes(heads).to(distances.device)[None, :, None, None] * -distances.abs()[:, None].float()


def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    """2^(-8/n), 2^(-16/n), ... for n heads; where n is no power of two, those of the power below and every second of the
    power above (as in the paper's code)."""
    power = 2 ** math.floor(math.log2(heads))
    below = [2 ** (-8 * (at + 1) / power) for at in range(power)]
    above = [2 ** (-8 * (at + 1) / (2 * power)) for at in range(0, 2 * (heads - power), 2)]
    return torch.tensor(below + above)
