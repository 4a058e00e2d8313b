"""Norms over the last axis: root mean square (Zhang and Sennrich 2019) and layer norm (Ba et al. 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.models.config import ModelConfig


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight; with `unit_offset`, * (1 + weight)."""

    def __init__(self, dim: int, eps: float, unit_offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim) if unit_offset else torch.ones(dim))
        self.eps, self.unit_offset = eps, unit_offset

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The normed states."""
        weight = 1 + self.weight if self.unit_offset else self.weight
        return F.rms_norm(x, weight.shape, weight, self.eps)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that a config names."""
    if config.norm == "layer":
        return nn.LayerNorm(config.dim, eps=config.norm_eps)
    return RMSNorm(config.dim, config.norm_eps, config.norm_unit_offset)
