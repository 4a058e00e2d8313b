"""Matrices whose groups of inputs have a scale and a zero point, weight = (code - zero) * scale, in the forms that the
kernels have for them, unchanged: GPTQ's and AWQ's, and compressed-tensors' asymmetric ones.

    groups = in_smallest_form([Coded(codes, zero, scale) for each matrix that is joined])    # None where none holds it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.models.files.held_forms import RUN
from lmworks.models.files.quantise import GROUP, Groups


@dataclass(frozen=True)
class Coded:
    """A matrix in 4 bits, in groups of some multiple of 32 inputs."""

    codes: Int[Tensor, "rows inputs"]
    """From 0 to 15, in int8."""
    zero: Int[Tensor, "rows groups"]
    """What code stands for 0, from 0 to 16, in int8."""
    scale: Float[Tensor, "rows groups"]
    """In float16."""

    @property
    def size(self) -> int:
        """Inputs of a group."""
        return self.codes.shape[1] // self.scale.shape[1]

    def values(self) -> Int[Tensor, "rows inputs"]:
        """Codes less their zero points, from -16 to 15, in int8."""
        return (self.codes.unflatten(1, (-1, self.size)) - self.zero[..., None]).flatten(1)

    def in_int4_128(self) -> Groups | None:
        """With whole numbers beside one scale for 128 inputs; None for smaller groups."""
        if self.size % RUN:
            return None
        factor = self.scale.repeat_interleave(self.size // RUN, dim=1).contiguous()
        least = self.zero.repeat_interleave(self.size // GROUP, dim=1)
        return Groups(self.codes, torch.ones_like(least), least, factor, -factor, form="int4_128")

    def in_int4(self) -> Groups | None:
        """With a scale and a minimum for 32 inputs; None where float16 does not hold a minimum."""
        least = -self.zero.float() * self.scale.float()
        held = least.half()
        if not torch.equal(held.float(), least):
            return None
        return Groups(self.codes, self._of_groups(self.scale), self._of_groups(held))

    def in_int5(self) -> Groups | None:
        """With a scale for 32 inputs and the values that it is multiplied with; None where that is too large."""
        scale = self._of_groups(self.scale)
        return Groups(self.values(), scale, form="int5") if torch.isfinite(-16 * scale).all() else None

    def _of_groups(self, numbers: Tensor) -> Tensor:
        """What several groups of 32 have in common, for each."""
        return numbers.repeat_interleave(self.size // GROUP, dim=1)


FORMS: Sequence[Callable[[Coded], Groups | None]] = (Coded.in_int4_128, Coded.in_int4, Coded.in_int5)
"""The kernels' forms, the smallest first (held_forms.py foresees which one it will be)."""


def in_smallest_form(matrices: Sequence[Coded]) -> list[Groups] | None:
    """Each of them in the smallest form that holds all; None where none does."""
    for form in FORMS:
        found = [part for part in map(form, matrices) if part is not None]
        if len(found) == len(matrices):
            return found
    return None
