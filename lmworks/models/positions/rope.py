"""Rotary position embedding: rotate each query and key by an angle that grows with its position.

Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2. Scalings: linear (Chen et al. 2023,
https://arxiv.org/abs/2306.15595), YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071), Llama 3.1, LongRoPE (Ding
et al. 2024, https://arxiv.org/abs/2402.13753).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig, RopeScaling
from lmworks.models.positions.encoding import PositionalEncoding

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lmworks.basics.arrays import Float
    from lmworks.models.positions.encoding import Positions
    from lmworks.models.rotation import Rotation

Numbers = TypeVar("Numbers", "np.ndarray", "Tensor")


class RotaryPositions(PositionalEncoding):
    """Each pair of dimensions turns at its own speed, so that a query's product with a key depends on their
    distance."""

    name = "rope"
    acts_on = "heads"
    fields = ("rotary_dim", "rope_theta", "rope_scaling", "rope_layers", "window_theta")

    def check(self, config: ModelConfig) -> None:
        """Dimensions turn in pairs, and there must be enough of them."""
        turned = config.rotary_dim or config.head_dim
        if turned % 2:
            name = "head_dim" if config.rotary_dim is None else "rotary_dim"
            raise ConfigError(f"{{at}}{name} ({turned}) is odd, and rotary positions turn pairs; make it even")
        if turned > config.head_dim:
            raise ConfigError(f"{{at}}rotary_dim ({turned}) is more than {{at}}head_dim ({config.head_dim}) has")
        if config.rope_scaling is not None:
            config.rope_scaling.check(turned // 2, config.rope_theta, config.context)
        if config.window_theta is not None and config.window is None:
            raise ConfigError("{at}window_theta is for layers with a {at}window, and there is none; leave it out")

    def rotation(self, config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation:
        """Of every position, stretched as `rope_scaling` says."""
        return rotation(config, positions, dtype)

    def window_rotation(self, config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation | None:
        """By `window_theta`, not stretched."""
        return None if config.window_theta is None else rotation(_in_windows(config), positions, dtype)

    def rotates_in(self, config: ModelConfig, layer: int) -> bool:
        """Those that `rope_layers` names."""
        return config.rope_layers is None or layer in config.rope_layers


ROPE = RotaryPositions()


@functools.lru_cache(maxsize=64)
def _in_windows(config: ModelConfig) -> ModelConfig:
    """The config whose frequencies layers with a window have."""
    return config.but(rope_theta=config.window_theta, rope_scaling=None, window_theta=None)


def rotation(config: ModelConfig, positions: Positions, dtype: torch.dtype) -> Rotation:
    """Cosine and sine of every position's angles, computed in float32 and then cast to `dtype`."""
    import torch

    per_position, amplitude = frequencies(config)
    if _depends_on_length(config):  # each row by its own length, not by the longest beside it
        rows = [frequencies(config, int(row.max()) + 1)[0] for row in positions]
        per_position = torch.stack(rows)[:, None, None, :]
    angles = positions[:, None, :, None].float() * per_position.to(positions.device)
    return (angles.cos() * amplitude).to(dtype), (angles.sin() * amplitude).to(dtype)


def _depends_on_length(config: ModelConfig) -> bool:
    return config.rope_scaling is not None and config.rope_scaling.turns_with_length


@functools.lru_cache(maxsize=64)
def frequencies(config: ModelConfig, longest: int | None = None) -> tuple[Float[Tensor, " half_dim"], float]:
    """Radians per position of each pair, and the amplitude of cosine and sine.

    `longest` is the length of the text, which only dynamic scaling and longrope look at.
    """
    import torch

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
        return llama3(plain, scaling, original), 1.0
    if scaling.kind == "longrope":
        chosen = scaling.long_factors if (longest or 0) > original else scaling.short_factors
        return plain / torch.tensor(chosen), _amplitude(scaling, math.sqrt(1 + _growth(scaling) / math.log(original)))
    return _yarn(plain, scaling, original, dims, base)


def llama3(plain: Numbers, scaling: RopeScaling, original: int) -> Numbers:
    """Keep short wavelengths, divide long ones, and blend in between."""
    turns = original * plain / (2 * math.pi)
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    keep = ((turns - low) / (high - low)).clip(0, 1)
    return plain * (keep + (1 - keep) / scaling.factor)


def _yarn(plain: Tensor, scaling: RopeScaling, original: int, dims: int, base: float) -> tuple[Tensor, float]:
    """Keep dimensions that turn often within the original context, divide those that turn rarely."""
    import torch

    def dimension_with(turns: float) -> float:
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension_with(scaling.fast_turns), dimension_with(scaling.slow_turns)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    divide = ((torch.arange(dims // 2, dtype=torch.float32) - low) / max(high - low, 1e-3)).clamp(0, 1)
    amplitude = _amplitude(scaling, 0.1 * _growth(scaling) + 1.0)
    return plain * (1 - divide) + plain / scaling.factor * divide, amplitude


def _growth(scaling: RopeScaling) -> float:
    return math.log(max(scaling.factor, 1.0))


def _amplitude(scaling: RopeScaling, usual: float) -> float:
    return usual if scaling.attention_factor is None else scaling.attention_factor
