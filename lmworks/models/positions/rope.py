"""Rotary position embedding: rotate each query and key by an angle that grows with its position.

Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2. Scalings: linear (Chen et al. 2023,
https://arxiv.org/abs/2306.15595), YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071), Llama 3.1.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.positions.encoding import PositionalEncoding, Positions
from lmworks.models.positions.rotation import Rotation


class RotaryPositions(PositionalEncoding):
    """Each pair of dimensions turns at its own speed, so that a query's product with a key depends on their
    distance."""

    name = "rope"
    acts_on = "heads"
    fields = ("rotary_dim", "rope_theta", "rope_scaling")

    def check(self, config: ModelConfig) -> None:
        """Dimensions turn in pairs, and there must be enough of them."""
        turned = config.rotary_dim or config.head_dim
        if turned % 2:
            name = "head_dim" if config.rotary_dim is None else "rotary_dim"
            raise ConfigError(f"{{at}}{name} ({turned}) is odd, and rotary positions turn pairs; make it even")
        if turned > config.head_dim:
            raise ConfigError(f"{{at}}rotary_dim ({turned}) is more than {{at}}head_dim ({config.head_dim}) has")

    def rotation(self, config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation:
        """Of every position, stretched as `rope_scaling` says."""
        return rotation(config, positions, dtype)


ROPE = RotaryPositions()


def rotation(config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation:
    """Cosine and sine of every position's angles, computed in float32 and then cast to `dtype`."""
    per_position, amplitude = frequencies(config)
    if _depends_on_length(config):  # each row by its own length, not by the longest beside it
        rows = [frequencies(config, int(row.max()) + 1)[0] for row in positions]
        per_position = torch.stack(rows)[:, None, None, :]
    angles = positions[:, None, :, None].float() * per_position.to(positions.device)
    return (angles.cos() * amplitude).to(dtype), (angles.sin() * amplitude).to(dtype)


def _depends_on_length(config: ModelConfig) -> bool:
    return config.rope_scaling is not None and config.rope_scaling.kind == "dynamic"


@functools.lru_cache(maxsize=64)
def frequencies(config: ModelConfig, longest: int | None = None) -> tuple[Float[Tensor, " half_dim"], float]:
    """Radians per position of each pair, and the amplitude of cosine and sine.

    `longest` is the length of the text, which only dynamic scaling looks at.
    """
    dims, base, scaling = config.rotary_dim or config.head_dim, config.rope_theta, config.rope_scaling
    exponents = torch.arange(0, dims, 2, dtype=torch.float32) / dims
    plain = base**-exponents
    if scaling is None:
        return plain, 1.0
    original = scaling.original_context or config.context
    if scaling.kind == "linear":
        return plain / scaling.factor, 1.0
    if scaling.kind == "dynamic":
        stretch = scaling.factor * max(longest or 0, original) / original - (scaling.factor - 1)
        return (base * stretch ** (dims / (dims - 2))) ** -exponents, 1.0
    if scaling.kind == "llama3":
        return _llama3(plain, scaling, original), 1.0
    return _yarn(plain, scaling, original, dims, base)


def _llama3(plain: Tensor, scaling: RopeScaling, original: int) -> Tensor:
    """Keep short wavelengths, divide long ones, and blend in between."""
    turns = original * plain / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    keep = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (keep + (1 - keep) / scaling.factor)


def _yarn(plain: Tensor, scaling: RopeScaling, original: int, dims: int, base: float) -> tuple[Tensor, float]:
    """Keep dimensions that turn often within the original context, divide those that turn rarely."""

    def dimension_with(turns: float) -> float:
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(dimension_with(scaling.fast_turns)), 0)
    high = min(math.ceil(dimension_with(scaling.slow_turns)), dims - 1)
    divide = ((torch.arange(dims // 2, dtype=torch.float32) - low) / max(high - low, 1e-3)).clamp(0, 1)
    amplitude = scaling.attention_factor
    if amplitude is None:
        amplitude = 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0
    return plain * (1 - divide) + plain / scaling.factor * divide, amplitude
