"""Rotary position embedding: rotate each query and key by an angle that grows with its position.

Half-split layout (Llama, GPT-NeoX, Qwen): dimension i pairs with i + head_dim / 2.
Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2. Scalings: linear (Chen et al. 2023,
https://arxiv.org/abs/2306.15595), YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071), Llama 3.1.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.models.config import ModelConfig, RopeScaling

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine, each [batch, 1, seq, half_dim]: broadcast over the heads."""


def rotation(config: ModelConfig, positions: Int[Tensor, "batch seq"], dtype: torch.dtype) -> Rotation:
    """Cosine and sine of every position's angles, computed in float32 and then cast to `dtype`."""
    per_position, amplitude = frequencies(config)
    if _depends_on_length(config):  # each row by its own length, not by the longest beside it
        rows = [frequencies(config, int(row.max()) + 1)[0] for row in positions]
        per_position = torch.stack(rows)[:, None, None, :]
    angles = positions[:, None, :, None].float() * per_position.to(positions.device)
    return (angles.cos() * amplitude).to(dtype), (angles.sin() * amplitude).to(dtype)


def rotate(x: Float[Tensor, "*batch heads seq head_dim"], by: Rotation) -> Float[Tensor, "*batch heads seq head_dim"]:
    """Rotate the two halves of the last axis against each other."""
    cos, sin = by
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def sinusoids(positions: Int[Tensor, "batch seq"], dim: int) -> Float[Tensor, "batch seq dim"]:
    """Sines of each position in the first half, cosines in the second, in float32: wavelengths from 2 pi to 20,000 pi.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5; halves as Marian lays them out.
    """
    turns = 10_000 ** -(torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim)
    angles = positions[..., None].float() * turns
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def rotate_back(
    x: Float[Tensor, "*batch heads seq head_dim"], by: Rotation
) -> Float[Tensor, "*batch heads seq head_dim"]:
    """The rotation undone; also the way of its gradient."""
    return rotate(x, (by[0], -by[1]))


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
