"""A short convolution in place of attention: each channel of a token is a sum over the few tokens before it, with
learned weights for each distance, between two gates that the token itself sets.

What a token hands on is kept in the cache as keys are. So whatever a cache can do (forget, reorder, join rows, pad) it
does here too, and a token sees the same others as in a layer with a window of this width: not padding, not another
document.
Source: Liquid AI 2025 (LFM2), https://arxiv.org/abs/2511.23404, section 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.models.attention import Pass
from lmworks.models.config import ModelConfig
from lmworks.models.hooks import HookPoint
from lmworks.models.linear import Linear
from lmworks.models.masks import Visibility

Hidden = Float[Tensor, "batch seq dim"]
NOBODY = -1
"""Stands for a token that is not there."""


class ShortConvolution(nn.Module):
    """after * convolution(before * value), where all three come from the token."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        assert config.convolution is not None
        settings, self.layer, self.window = config.convolution, layer, config.convolution.width
        self.inward = Linear(config.dim, 3 * config.dim, bias=settings.bias)
        # Fresh, it hands each token on as it is: the last weight is that of the token itself.
        self.kernel = nn.Parameter(F.pad(torch.ones(config.dim, 1, 1), (settings.width - 1, 0)))
        self.kernel_bias = nn.Parameter(torch.zeros(config.dim)) if settings.bias else None
        self.outward = Linear(config.dim, config.dim, bias=settings.bias)
        self.handed_point, self.mixed_point = HookPoint(), HookPoint()

    def forward(self, x: Hidden, shared: Pass) -> Hidden:
        """What each token takes from those that it sees."""
        before, after, value = self.inward(x).chunk(3, dim=-1)
        handed = self.handed_point(before * value)
        if shared.cache is not None:
            kept = handed[:, None]
            handed = shared.cache.append(self.layer, kept, kept[..., :0])[0][:, 0]
        sees = shared.sees[self.window]
        mixed = self._in_a_row(handed, x.shape[1]) if sees.mask is None else self._of_those_seen(handed, sees, shared)
        if self.kernel_bias is not None:
            mixed = mixed + self.kernel_bias
        return self.outward(self.mixed_point(after * mixed))

    def _in_a_row(self, handed: Hidden, queries: int) -> Hidden:
        """The last `queries` tokens, each with its neighbours on the left."""
        missing = max(self.window - 1 + queries - handed.shape[1], 0)
        row = F.pad(handed[:, -(self.window - 1 + queries) :], (0, 0, missing, 0))
        return F.conv1d(row.mT, self.kernel, groups=row.shape[-1]).mT

    def _of_those_seen(self, handed: Hidden, sees: Visibility, shared: Pass) -> Hidden:
        """Each token with the last ones that it sees, wherever they stand."""
        if self.window not in shared.places:
            shared.places[self.window] = last_seen(sees, self.window)
        places = shared.places[self.window]
        rows = torch.arange(len(handed), device=handed.device)[:, None, None]
        taken = handed[rows, places.expand(len(handed), -1, -1).clamp(min=0)]
        taken = taken.masked_fill((places == NOBODY)[..., None], 0)
        return (taken * self.kernel[:, 0].flip(-1).T.to(taken.dtype)).sum(dim=-2)


def last_seen(sees: Visibility, width: int) -> Int[Tensor, "batch seq width"]:
    """The places of the last tokens that each token sees, the nearest first; NOBODY after the first of a text."""
    assert sees.mask is not None
    mask = sees.mask[:, 0]
    places = torch.where(mask, torch.arange(mask.shape[-1], device=mask.device), NOBODY)
    most = min(width, mask.shape[-1])
    return F.pad(places.topk(most, dim=-1).values, (0, width - most), value=NOBODY)
