"""Finite scalar quantisation: a few numbers, each rounded to one of a few levels, are a code. There is no codebook that
could collapse, and no loss of its own.

    quantiser = FSQ((8, 5, 5, 5))
    values = quantiser(states)              # [..., 4] -> [..., 4], between -1 and 1; gradients pass the rounding
    codes = quantiser.codes_of(values)      # [...], from 0 to 999
    assert torch.equal(quantiser.values_of(codes), values)

Source: Mentzer et al. 2023, https://arxiv.org/abs/2309.15505, appendix A.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from torch import Tensor, nn

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import DataError

SLACK = 1e-3
"""The outermost levels lie this much inside what the bound reaches, as a share, so that they are reached at all."""


class FSQ(nn.Module):
    """Rounds each of the last axis' numbers to one of its levels. It has no weights."""

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.steps = tuple(accumulate(self.levels[:-1], mul, initial=1))
        """What a step of each number adds to the code."""
        self.codes = self.steps[-1] * self.levels[-1]

    def forward(self, states: Float[Tensor, "*rest numbers"]) -> Float[Tensor, "*rest numbers"]:
        """The nearest levels, from -1 to 1; backwards, as if nothing had been rounded."""
        levels = states.new_tensor(self.levels)
        reach = (levels - 1) * (1 + SLACK) / 2
        aside = (levels % 2 == 0) * 0.5  # an even number of levels has none in the middle
        bounded = (states + (aside / reach).atanh()).tanh() * reach - aside
        return (bounded + (bounded.round() - bounded).detach()) / self._half(states)

    def codes_of(self, values: Float[Tensor, "*rest numbers"]) -> Int[Tensor, "*rest"]:
        """The number of each code, from values that `forward` gave."""
        half = self._half(values)
        digits = (values.float() * half + half).round().long()
        return (digits * digits.new_tensor(self.steps)).sum(-1)

    def values_of(self, codes: Int[Tensor, "*rest"]) -> Float[Tensor, "*rest numbers"]:
        """The values of each code. DataError for a number that is none."""
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self.codes:
            raise DataError(
                f"an image's tokens lie between {int(codes.min())} and {int(codes.max())}, and there are the numbers 0 "
                f"to {self.codes - 1}"
            )
        steps, levels = codes.new_tensor(self.steps), codes.new_tensor(self.levels)
        half = (levels // 2).float()
        return ((codes[..., None] // steps % levels).float() - half) / half

    def _half(self, like: Tensor) -> Tensor:
        return like.new_tensor([level // 2 for level in self.levels])
