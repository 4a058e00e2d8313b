"""Norms over the last axis: root mean square (Zhang and Sennrich 2019) and layer norm (Ba et al. 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float
from lmworks.models.config import ModelConfig


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight; with `unit_offset`, * (1 + weight); with `weighted` false, without weight."""

    def __init__(self, dim: int, eps: float, unit_offset: bool = False, weighted: bool = True) -> None:
        super().__init__()
        self.by_hand = True
        self.weight = nn.Parameter(torch.zeros(dim) if unit_offset else torch.ones(dim)) if weighted else None
        self.eps, self.unit_offset = eps, unit_offset

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The normed states."""
        weight: Tensor | None = self.weight
        if weight is not None and self.unit_offset:
            weight = 1 + weight
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)

    def trained(self) -> list[nn.Parameter]:
        """The weight, where it requires a gradient."""
        return [self.weight] if self.weight is not None and self.weight.requires_grad else []

    def backward_by_hand(
        self, gradient: Float[Tensor, "*batch dim"], x: Float[Tensor, "*batch dim"]
    ) -> tuple[Float[Tensor, "*batch dim"], list[Tensor]]:
        """The gradient of x, and those of what is trained. That of x is left in float32: the caller adds it to the
        residual stream's, and rounded once the error in bfloat16 is 1.6 and not 2.0 % (docs/log.md)."""
        exact = torch.promote_types(x.dtype, torch.float32)
        x, gradient, size = x.to(exact), gradient.to(exact), x.shape[-1]
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(size).add_(self.eps).rsqrt_()
        to_weight = []
        weighted = gradient
        if self.weight is not None:
            if self.weight.requires_grad:
                to_weight = [(gradient * x).mul_(inverse).flatten(0, -2).sum(0).to(self.weight.dtype)]
            weighted = gradient * (1 + self.weight if self.unit_offset else self.weight)
        along = torch.linalg.vecdot(weighted, x)[..., None].mul_(inverse.pow(3)).div_(size)
        return (weighted * inverse).addcmul_(x, along, value=-1), to_weight


class OffsetLayerNorm(nn.LayerNorm):
    """A layer norm that multiplies by 1 + weight (Nemotron)."""

    unit_offset = True

    def reset_parameters(self) -> None:
        """Weights and biases of 0."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """The normed states."""
        return F.layer_norm(x, self.normalized_shape, 1 + self.weight, self.bias, self.eps)


def make_norm(config: ModelConfig, width: int | None = None) -> nn.Module:
    """The norm that a config names, over `dim` unless another width is given."""
    width = width or config.dim
    if config.norm == "none":
        return nn.Identity()
    if config.norm == "layer":
        kind = OffsetLayerNorm if config.norm_unit_offset else nn.LayerNorm
        return kind(width, config.norm_eps, elementwise_affine=config.norm_weight, bias=config.norm_bias)
    return RMSNorm(width, config.norm_eps, config.norm_unit_offset, config.norm_weight)


def make_head_norm(config: ModelConfig, heads: int) -> RMSNorm | None:
    """The norm of queries or keys of this many heads; None if the network has none."""
    if not config.qk_norm:
        return None
    width = config.head_dim * (heads if config.qk_norm_over == "row" else 1)
    return RMSNorm(width, config.norm_eps, config.norm_unit_offset and config.norm == "rms", config.norm_weight)
