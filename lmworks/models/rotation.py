"""A rotation of queries and keys: the two halves of each head's width turned against each other.

Half-split layout (Llama, GPT-NeoX, Qwen): dimension i pairs with i + head_dim / 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.arrays import Float

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine, each [batch, 1, seq, half_dim]: broadcast over the heads."""


def rotate(x: Float[Tensor, "*batch heads seq head_dim"], by: Rotation) -> Float[Tensor, "*batch heads seq head_dim"]:
    """Rotate the two halves of the last axis against each other."""
    cos, sin = by
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotate_back(
    x: Float[Tensor, "*batch heads seq head_dim"], by: Rotation
) -> Float[Tensor, "*batch heads seq head_dim"]:
    """The rotation undone; its gradient goes the same way."""
    return rotate(x, (by[0], -by[1]))
