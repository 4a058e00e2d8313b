"""ALiBi: each head's scores fall with the distance, by a slope of its own. Nothing is learned.

Source: Press et al. 2022, https://arxiv.org/abs/2108.12409.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from lmworks.basics.config import Config
from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import PositionalEncoding

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float
    from lmworks.models.positions.encoding import Distances


class ALiBiSettings(Config):
    """How fast scores fall."""

    flattest: float = Field(default=8.0, gt=0, le=100)
    """The flattest slope is 1 / 2 to this power (MPT: alibi_bias_max), and the others lie between 1 and it."""

    scale: float = Field(default=1.0, gt=0)
    """What every slope is multiplied by (Falcon: 1 / root of head_dim)."""


class ALiBi(PositionalEncoding):
    """Attention with linear biases."""

    name = "alibi"
    acts_on = "scores"
    settings = ALiBiSettings

    def bias(
        self, config: ModelConfig, part: nn.Module | None, distances: Distances
    ) -> Float[Tensor, "batch heads seq keys"]:
        """Minus a head's slope times the distance."""
        return alibi_bias(distances, self.slopes(config))

    def slopes(self, config: ModelConfig) -> Float[np.ndarray, " heads"]:
        """What each head's scores fall by."""
        settings = config.position_settings
        assert isinstance(settings, ALiBiSettings)
        return alibi_slopes(config.heads, settings.flattest) * settings.scale


ALIBI = ALiBi()


def alibi_bias(distances: Distances, slopes: Float[np.ndarray, " heads"]) -> Float[Tensor, "batch heads seq keys"]:
    """Minus a head's slope times the distance, in float32."""
    import torch

    return torch.from_numpy(slopes).to(distances.device)[None, :, None, None] * -distances.abs()[:, None].float()


def alibi_slopes(heads: int, flattest: float = 8.0) -> Float[np.ndarray, " heads"]:
    """2^(-8/n), 2^(-16/n), ... for n heads; where n is no power of two, those of the power below and every second of
    the power above (as in the paper's code)."""
    power = 2 ** math.floor(math.log2(heads))
    below = [2 ** (-flattest * (at + 1) / power) for at in range(power)]
    above = [2 ** (-flattest * (at + 1) / (2 * power)) for at in range(0, 2 * (heads - power), 2)]
    return np.array(below + above, np.float32)
