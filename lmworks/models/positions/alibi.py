"""ALiBi: each head's scores fall with the distance, by a slope of its own. Nothing is learned.

Source: Press et al. 2022, https://arxiv.org/abs/2108.12409.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import Distances, PositionalEncoding


class ALiBi(PositionalEncoding):
    """Attention with linear biases."""

    name = "alibi"
    acts_on = "scores"

    def bias(
        self, config: ModelConfig, part: nn.Module | None, distances: Distances
    ) -> Float[Tensor, "batch heads seq keys"]:
        """Minus a head's slope times the distance."""
        return alibi_bias(distances, config.heads)


ALIBI = ALiBi()


def alibi_bias(distances: Distances, heads: int) -> Float[Tensor, "batch heads seq keys"]:
    """Minus a head's slope times the distance, in float32."""
    return alibi_slopes(heads).to(distances.device)[None, :, None, None] * -distances.abs()[:, None].float()


def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    """2^(-8/n), 2^(-16/n), ... for n heads; where n is no power of two, those of the power below and every second of
    the power above (as in the paper's code)."""
    power = 2 ** math.floor(math.log2(heads))
    below = [2 ** (-8 * (at + 1) / power) for at in range(power)]
    above = [2 ** (-8 * (at + 1) / (2 * power)) for at in range(0, 2 * (heads - power), 2)]
    return torch.tensor(below + above)
