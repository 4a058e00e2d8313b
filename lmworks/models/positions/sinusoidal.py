"""Sinusoidal positions: sines and cosines of each place, added to the token's embedding.

Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5; halves as Marian lays them out. Its code,
tensor2tensor, spaces wavelengths a little wider than its text (`waves_include_end`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.positions.encoding import PositionalEncoding

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmworks.basics.arrays import Float
    from lmworks.models.positions.encoding import Positions


class SinusoidalPositions(PositionalEncoding):
    """Each pair of dimensions has its own wavelength."""

    name = "sinusoidal"
    acts_on = "embedding"
    fields = ("position_offset", "waves_include_end")

    def check(self, config: ModelConfig) -> None:
        """A sine and a cosine for each wavelength."""
        if config.embedding_width % 2:
            raise ConfigError(
                f"{{at}}dim ({config.embedding_width}) is odd, and sinusoidal positions come in pairs; make it even"
            )

    def added(
        self, config: ModelConfig, part: nn.Module | None, positions: Positions
    ) -> Float[Tensor, "batch seq dim"]:
        """The sines and cosines of each position."""
        return sinusoids(positions + config.position_offset, config.embedding_width, config.waves_include_end)


SINUSOIDAL = SinusoidalPositions()


def sinusoids(positions: Positions, dim: int, end: bool = False) -> Float[Tensor, "batch seq dim"]:
    """Sines of each position in the first half, cosines in the second, in float32: wavelengths from 2 pi to 20,000
    pi, with the `end` or without it."""
    import torch

    steps = max(dim // 2 - end, 1)
    per_position = 10_000 ** -(torch.arange(dim // 2, dtype=torch.float32, device=positions.device) / steps)
    angles = positions[..., None].float() * per_position
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
