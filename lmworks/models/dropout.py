"""Dropout (Srivastava et al. 2014) with cheap random numbers on a CPU.

PyTorch draws a number for each element there, 8 ns each in bfloat16; four elements share the 64 bits of one draw here:
2.3 ns, of which the draw is 1 (128 x 24 x 128, one thread of a busy machine).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmworks.basics.arrays import Float

STEPS = 2**16
"""Shares are multiples of 1 / this: 0.3 becomes 0.300003."""


def dropped(x: Float[Tensor, "*shape"], share: float) -> Float[Tensor, "*shape"]:
    """Each element zero with probability `share`, the others divided by what is kept."""
    if not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    least = min(round(share * STEPS), STEPS - 1)  # something is kept
    keep = draws.view(torch.int16)[: x.numel()].view(x.shape) >= least - STEPS // 2
    return x * (keep * torch.tensor(STEPS / (STEPS - least), dtype=x.dtype))


class Dropout(nn.Module):
    """`dropped` in training, nothing else in evaluation."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Elements dropped while training."""
        return dropped(x, self.share) if self.training else x
