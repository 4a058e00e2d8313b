"""Norms over the last axis: root mean square (Zhang and Sennrich 2019) and layer norm (Ba et al. 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lmworks.models.config import ModelConfig


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight; with `unit_offset`, * (1 + weight); with `weighted` false, without weight."""

    def __init__(self, dim: int, eps: float, unit_offset: bool = False, weighted: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim) if unit_offset else torch.ones(dim)) if weighted else None
        self.eps, self.unit_offset = eps, unit_offset

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The normed states."""
        weight: Tensor | None = self.weight
        if weight is not None and self.unit_offset:
            weight = 1 + weight
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)


def make_norm(config: ModelConfig) -> nn.Module:
    """The norm that a config names."""
    if config.norm == "none":
        return nn.Identity()
    if config.norm == "layer":
        return nn.LayerNorm(config.dim, eps=config.norm_eps)
    return RMSNorm(config.dim, config.norm_eps, config.norm_unit_offset, config.norm_weight)
