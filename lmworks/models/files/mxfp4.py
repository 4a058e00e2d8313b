"""MXFP4 in model directories (gpt-oss): matrices of experts in 4 bits with a point, a power of two for 32 of them.

A tensor `x` of [experts, inputs, outputs] is stored turned: `x_blocks`, bytes of two values [experts, outputs, groups,
16], and `x_scales`, exponents [experts, outputs, groups]. `quantization_config` in config.json says mxfp4.
Source: Open Compute Project 2023, OCP Microscaling Formats (MX) 1.0, sections 5.2 and 5.3; transformers' layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_blocks import mx_groups
from lmworks.models.files.quantise import Groups
from lmworks.models.unread import Unread

BLOCKS, SCALES = "_blocks", "_scales"
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""By the three lower bits; the fourth is the sign."""
BIAS = 127
"""An exponent is stored as one more by this; 255 stands for no number."""


def without_mxfp4(
    tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None, later: bool = False
) -> dict[str, Tensor]:
    """A file's tensors with every packed one as the values that it stands for, in `dtype` or bfloat16, which hold each
    of them exactly; `later` only where somebody asks for them. ModelError, one sentence, where a part is missing or of
    a wrong shape."""
    names = [name.removesuffix(BLOCKS) for name in tensors if name.endswith(BLOCKS)]
    parts = {name + part for name in names for part in (BLOCKS, SCALES)}
    plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for name in names:
        if name in plain:
            raise ModelError(f"{name} is there twice, packed and plain; the file is damaged, fetch or copy it again")
        unread = OfAllExperts.of(name, tensors).unread(dtype or torch.bfloat16)
        plain[name] = unread.placeholder() if later else unread.whole()
    return plain


@dataclass(frozen=True)
class OfAllExperts:
    """A packed tensor."""

    blocks: UInt8[Tensor, "experts outputs groups 16"]
    scales: UInt8[Tensor, "experts outputs groups"]

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, Tensor]) -> Self:
        """The tensor of this name. ModelError where it is damaged."""
        blocks, scales = tensors[name + BLOCKS], tensors.get(name + SCALES)
        if (
            scales is None
            or blocks.dtype != torch.uint8
            or scales.dtype != torch.uint8
            or blocks.ndim != 4
            or blocks.shape[:-1] != scales.shape
            or blocks.shape[-1] != 16
        ):
            shape = None if scales is None else list(scales.shape)
            raise ModelError(
                f"the packed tensor {name} has blocks of shape {list(blocks.shape)} and scales of shape {shape}, which "
                "do not belong together; the file is damaged, fetch or copy it again"
            )
        if bool((scales == 255).any()):
            raise ModelError(f"the packed tensor {name} has a scale that is no number; fetch or copy it again")
        return cls(blocks, scales)

    def codes(self, expert: int) -> UInt8[Tensor, "outputs inputs"]:
        """The 4 bits of each value of one expert."""
        packed = self.blocks[expert]
        return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(1)

    def groups(self, expert: int) -> Groups | None:
        """One expert's matrix unchanged, [outputs, inputs]; None where the kernels do not hold a scale of it."""
        codes, exponents = self.codes(expert), self.scales[expert]
        found = mx_groups(codes.reshape(-1, 32), exponents.reshape(-1, 1))
        return None if found is None else found.map(lambda part: part.reshape(len(codes), -1))

    def values(self, expert: int, dtype: torch.dtype) -> Float[Tensor, "outputs inputs"]:
        """The same as numbers."""
        table = torch.tensor([*VALUES, *(-value for value in VALUES)])
        grouped = table[self.codes(expert).int()].unflatten(1, (-1, 32))
        return torch.ldexp(grouped, self.scales[expert].int()[..., None] - BIAS).flatten(1).to(dtype)

    def unread(self, dtype: torch.dtype) -> Unread:
        """All experts' numbers, [experts, inputs, outputs], for whoever asks for them."""
        experts, outputs, groups, _ = self.blocks.shape

        def take(chosen: slice) -> Tensor:
            places = range(*chosen.indices(experts))
            every = torch.empty(len(places), outputs, groups * 32, dtype=dtype)
            for values, expert in zip(every, places, strict=True):  # one at a time, for the memory
                values.copy_(self.values(expert, dtype))
            return every.transpose(1, 2)

        return Unread((experts, groups * 32, outputs), dtype, take)
