"""Matrices in few bits: groups of 32 weights along each row, each weight = value * scale (+ least).

    groups = nearest(weight, bits=4, scales=torch.bfloat16)    # round to nearest
    groups.weights()                                           # [rows, columns] in float32
    from_words(to_words(groups.values, 4), 4)                  # as compressed-tensors packs: 8 of 4 bits in an int32
    groups = ggml(weight, Kind.Q4_0)                           # ggml's own rounding, to the bit; Q4_1 and Q8_0 too
    from_blocks(to_blocks(groups, Kind.Q4_0), Kind.Q4_0)       # as a GGUF file stores them

Values are signed where there is no `least` (-8 ... 7, -128 ... 127) and 0 ... 15 where there is one (Q4_1). A scale may
be negative: -8 has no +8 beside it, so a group whose largest weight is positive is turned round and loses nothing of
it. Nothing here looks for NaN; whoever has a matrix's name does (`require_finite`). Sources:
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c; compressed-tensors, `compressors/pack_quantized`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Int, Shaped, UInt8
from lmworks.basics.errors import ModelError
from lmworks.models.files.gguf_kinds import Kind

Weight = Float[Tensor, "rows columns"]

GROUP = 32
"""Weights that share a scale: a group of ggml's, and the smallest that vLLM's kernels know."""
BLOCK_BYTES = {Kind.Q4_0: 18, Kind.Q4_1: 20, Kind.Q8_0: 34}
"""Bytes of a group in a GGUF file: scale and least as float16, then the values."""
LOW = 0x0F0F0F0F0F0F0F0F
"""The lower nibble of each byte of a word."""


PARTS = ("values", "scale", "least", "factor", "least_factor")
"""What groups have for each row."""


@dataclass(frozen=True)
class Groups:
    """A matrix in groups of 32 or 16 along each row: weight = value * scale + least."""

    values: Shaped[Tensor, "rows columns"]
    """int8; where there is a `table`, places in it; or floats of 16 bits, whose scale is 1."""
    scale: Float[Tensor, "rows groups"]
    """In the type that it is stored in: float16, or int8 where there is a `factor`."""
    least: Float[Tensor, "rows groups"] | None = None
    """What value 0 stands for; None for 0."""
    factor: Float[Tensor, "rows runs"] | None = None
    """float16: what the scales of a run of groups, 128 or 256 weights, are multiplied with."""
    least_factor: Float[Tensor, "rows runs"] | None = None
    """The same for `least`, where there is one."""
    table: tuple[int, ...] = ()
    """Values by their places; none where a value stands for itself."""
    form: str = ""
    """The quantisation that holds it unchanged in the kernels; "" where its bits say enough."""

    def weights(self, dtype: torch.dtype = torch.float32) -> Weight:
        """The matrix, multiplied in float32 and rounded once."""
        rows, columns = self.values.shape
        values = torch.tensor(self.table, dtype=torch.int8)[self.values.int()] if self.table else self.values
        result = values.reshape(rows, self.scale.shape[1], -1).float()
        result.mul_(_multiplied(self.scale, self.factor)[..., None])
        if self.least is not None:
            result.add_(_multiplied(self.least, self.least_factor)[..., None])
        return result.reshape(rows, columns).to(dtype)

    def map(self, change: Callable[[Tensor], Tensor]) -> Groups:
        """The same change of the rows of each part."""
        parts = {name: getattr(self, name) for name in PARTS}
        changed: dict[str, Any] = {name: change(part) for name, part in parts.items() if part is not None}
        return replace(self, **changed)


def below_one_another(parts: Sequence[Groups]) -> Groups:
    """Matrices in groups of the same kind as one, each after the one before."""
    [first, *others] = parts
    names = [name for name in PARTS if getattr(first, name) is not None] if others else []
    joined: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return replace(first, **joined)


def _multiplied(of_groups: Tensor, factor: Tensor | None) -> Float[Tensor, "rows groups"]:
    if factor is None:
        return of_groups.float()
    return of_groups.float() * factor.float().repeat_interleave(of_groups.shape[1] // factor.shape[1], dim=1)


def require_finite(name: str, weight: Tensor) -> None:
    """ModelError, naming the tensor, where a weight is NaN or infinite."""
    if not torch.isfinite(weight).all():
        raise ModelError(
            f"{name} holds values that are not finite (NaN or infinite); nothing was written: go back to an earlier "
            "checkpoint, or fetch the model again"
        )


def fits(weight: Tensor) -> bool:
    """Is it a matrix whose rows are whole groups?"""
    return weight.ndim == 2 and weight.shape[1] % GROUP == 0


def nearest(weight: Weight, bits: int, scales: torch.dtype = torch.float16) -> Groups:
    """Round to nearest in `bits` (4 or 8): the weight that is furthest from 0 is the lowest value of its group.

    A scale searched for the least squared error leaves a fifth less of it and no better model (docs/log.md).
    """
    grouped = _grouped(weight)
    scale = (_furthest(grouped) / -float(1 << (bits - 1))).to(scales)
    values = _rounded(grouped, scale.float(), bits).to(torch.int8)
    return Groups(values.reshape(weight.shape), scale.reshape(len(weight), -1))


def ggml(weight: Weight, kind: Kind) -> Groups:
    """The values and scales that ggml's reference makes of a matrix (Q4_0, Q4_1, Q8_0)."""
    grouped = _grouped(weight)
    rows = len(weight)
    if kind == Kind.Q4_1:
        least = grouped.amin(1, keepdim=True)
        scale = (grouped.amax(1, keepdim=True) - least) / 15
        values = ((grouped - least).mul_(_inverse(scale)).add_(0.5)).trunc_().clamp_(0, 15)
        least = least.half().reshape(rows, -1)
    elif kind == Kind.Q4_0:
        least, scale = None, _furthest(grouped) / -8
        values = (grouped * _inverse(scale)).add_(8.5).trunc_().clamp_(0, 15).sub_(8)
    else:
        least, scale = None, grouped.abs().amax(1, keepdim=True) / 127
        values = grouped * _inverse(scale)
        values = values.abs().add_(0.5).floor_().copysign_(values)  # halves away from 0, as C's roundf
    return Groups(values.to(torch.int8).reshape(weight.shape), scale.half().reshape(rows, -1), least)


def to_blocks(groups: Groups, kind: Kind) -> UInt8[Tensor, "rows bytes"]:
    """A matrix as a GGUF file stores it; scale and least are float16."""
    values = groups.values.reshape(-1, GROUP)
    parts = [part.reshape(-1, 1).view(torch.uint8) for part in (groups.scale, groups.least) if part is not None]
    if kind == Kind.Q8_0:
        parts.append(values.view(torch.uint8))
    else:
        nibbles = (values if groups.least is not None else values + 8).view(torch.uint8)
        parts.append(nibbles[:, :16] | nibbles[:, 16:] << 4)
    return torch.cat(parts, 1).reshape(len(groups.values), -1)


def from_blocks(blocks: UInt8[Tensor, "rows bytes"], kind: Kind) -> Groups:
    """The values, scales and leasts that a GGUF file stores, unchanged."""
    rows, codes = len(blocks), 32 if kind == Kind.Q8_0 else 16
    parts = [("scale", "<f2")] if kind != Kind.Q4_1 else [("scale", "<f2"), ("least", "<f2")]
    # NumPy copies the codes of a block at once, which takes a fifth of the time of a slice of its bytes.
    flat = blocks.contiguous().numpy().reshape(-1).view([*parts, ("codes", f"V{codes}")])
    scale, *least = (torch.from_numpy(np.ascontiguousarray(flat[name])).reshape(rows, -1) for name, _ in parts)
    if kind == Kind.Q8_0:
        values = np.ascontiguousarray(flat["codes"]).view(np.int8)
    else:
        nibbles = np.ascontiguousarray(flat["codes"]).view(np.int64)
        halves = np.empty((len(flat), 2), flat["codes"].dtype)
        for number, half in enumerate((nibbles & LOW, nibbles >> 4 & LOW)):
            halves[:, number] = half.view(halves.dtype)
        values = halves.reshape(-1).view(np.int8)
        if kind == Kind.Q4_0:
            values -= 8
    return Groups(torch.from_numpy(values).reshape(rows, -1), scale, least[0] if least else None)


def to_words(values: Int[Tensor, "rows columns"], bits: int) -> Int[Tensor, "rows words"]:
    """Signed values as compressed-tensors packs them: 32 / bits of them in each int32, the first lowest, 2^(bits - 1)
    added."""
    shifted = (values.to(torch.int16) + (1 << (bits - 1))).to(torch.uint8)
    if bits == 4:
        shifted = shifted[:, ::2] | shifted[:, 1::2] << 4
    return shifted.contiguous().view(torch.int32)


def from_words(words: Int[Tensor, "rows words"], bits: int) -> Int[Tensor, "rows columns"]:
    """The values again, int8."""
    shifted = words.contiguous().view(torch.uint8)
    if bits == 4:
        shifted = torch.stack([shifted & 15, shifted >> 4], -1).reshape(len(words), -1)
    return (shifted.to(torch.int16) - (1 << (bits - 1))).to(torch.int8)


def _grouped(weight: Weight) -> Float[Tensor, "groups 32"]:
    return weight.float().reshape(-1, GROUP)


def _furthest(grouped: Float[Tensor, "groups 32"]) -> Float[Tensor, "groups 1"]:
    """The weight of each group that is furthest from 0, with its sign."""
    return grouped.gather(1, grouped.abs().argmax(1, keepdim=True))


def _inverse(scale: Float[Tensor, "groups 1"]) -> Float[Tensor, "groups 1"]:
    return torch.where(scale == 0, 0.0, 1 / scale)


def _rounded(
    grouped: Float[Tensor, "groups 32"], scale: Float[Tensor, "groups 1"], bits: int
) -> Float[Tensor, "groups 32"]:
    half = 1 << (bits - 1)
    return (grouped * _inverse(scale)).round_().clamp_(-half, half - 1)
