"""Matrices of directories that bitsandbytes compressed: 4 bits (NF4 or FP4), or 8 (LLM.int8). Read, not written.

A matrix `x.weight`, [out, in], is stored
    4 bits  x.weight uint8, two codes a byte, the first in the high half; x.weight.quant_map, what the codes stand for;
            x.weight.absmax, what each block is multiplied with: float32, or uint8 with x.weight.nested_quant_map,
            x.weight.nested_absmax for each 256 of them and an offset for all; x.weight.quant_state.bitsandbytes__nf4,
            JSON: shape, blocksize, dtype and the offset
    8 bits  x.weight int8; x.SCB, the largest weight of each row, which 127 stands for
Both are multiplied in float32 and rounded once, as bitsandbytes does on a CPU: the same values to the bit.
Source: bitsandbytes 0.50, `functional.QuantState.as_dict` and `nn/modules.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import ModelError
from lmworks.models.precision import DTYPES
from lmworks.models.unread import Unread

Tensors = Mapping[str, Tensor]
STATES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")
PARTS = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", *STATES)
BLOCKS = tuple(1 << bits for bits in range(5, 13))
"""Weights, or scales, that may share a scale."""
MOST_JSON = 10_000
"""Bytes of what is said of a matrix."""
ROW = ".SCB"


def without_bitsandbytes(tensors: Tensors, dtype: torch.dtype | None, later: bool = False) -> dict[str, Tensor]:
    """A file's tensors with every matrix as `x.weight`, in `dtype` or in the type that it had; `later` only where
    somebody asks for it. ModelError where one is damaged."""
    states = {name: name.removesuffix(end) for end in STATES for name in tensors if name.endswith(end)}
    rows = {name: name.removesuffix(ROW) + ".weight" for name in tensors if name.endswith(ROW)}
    parts = {base + part for base in states.values() for part in PARTS} | set(rows)
    plain: dict[str, Tensor | Unread] = {
        name: tensor for name, tensor in tensors.items() if name not in parts and not name.endswith(".weight_format")
    }
    for state, base in states.items():
        plain[base] = _in_four_bits(base, state, tensors, dtype)
    for row, base in rows.items():
        plain[base] = _of_rows(base, tensors.get(base), tensors[row], dtype)
    return {
        name: one if isinstance(one, Tensor) else one.placeholder() if later else one.whole()
        for name, one in plain.items()
    }


def _in_four_bits(base: str, state: str, tensors: Tensors, dtype: torch.dtype | None) -> Unread:
    """A matrix in 4 bits, checked now and made when it is asked for; its scales, which may be in 8 bits, are unpacked
    then, too."""
    matrix = _Matrix.of(base, state, tensors)
    return Unread(
        matrix.shape, dtype or matrix.dtype, lambda rows: _Matrix.of(base, state, tensors).weights(dtype)[rows]
    )


@dataclass(frozen=True)
class _Matrix:
    """A matrix in 4 bits."""

    shape: tuple[int, int]
    codes: UInt8[Tensor, " bytes"]
    levels: Float[Tensor, " 16"]
    block: int
    largest: Float[Tensor, " blocks"]
    """What each block is multiplied with."""
    dtype: torch.dtype

    def weights(self, dtype: torch.dtype | None) -> Float[Tensor, "rows columns"]:
        """The matrix, in `dtype` or in the type that it had."""
        pairs = torch.stack([self.levels.repeat_interleave(16), self.levels.repeat(16)], dim=1)
        values = pairs.index_select(0, self.codes.int()).view(-1)
        factors = self.largest.repeat_interleave(self.block)[: len(values)]
        # A wider type than the one that it had gains nothing: bitsandbytes rounds to that first.
        return values.mul_(factors).view(self.shape).to(self.dtype).to(dtype or self.dtype)

    @classmethod
    def of(cls, base: str, state: str, tensors: Tensors) -> Self:
        """The matrix `base`."""
        said = _said(base, tensors[state])
        shape, block, dtype = said.get("shape", []), said.get("blocksize", 0), DTYPES.get(str(said.get("dtype")))
        if not _is_shape(shape) or block not in BLOCKS or dtype is None:
            raise _damaged(base, "has no usable shape, blocksize or dtype")
        rows, columns = shape
        codes, levels = tensors.get(base), tensors.get(base + ".quant_map")
        if codes is None or 2 * codes.nbytes != prod(shape):
            raise _damaged(base, f"has other codes than those of a matrix {shape}")
        if levels is None or levels.shape != (16,) or not levels.is_floating_point():
            raise _damaged(base, "has no quant_map of 16 numbers")
        largest = _largest(base, said, tensors)
        if largest.shape != (-(-prod(shape) // block),) or not torch.isfinite(largest).all():
            raise _damaged(base, f"has {largest.numel():,} scales, or some that are not finite, for a matrix {shape}")
        return cls((rows, columns), codes.reshape(-1).view(torch.uint8), levels.float(), block, largest, dtype)


def _said(base: str, state: Tensor) -> dict[str, Any]:
    """What the file says of a matrix in JSON."""
    try:
        if state.dtype != torch.uint8 or state.numel() > MOST_JSON:
            raise ValueError
        said = json.loads(bytes(state.flatten().tolist()))
    except (ValueError, RecursionError):
        raise _damaged(base, "has a quant_state that is no JSON") from None
    if not isinstance(said, dict):
        raise _damaged(base, "has a quant_state that is no object")
    return said


def _largest(base: str, said: Mapping[str, Any], tensors: Tensors) -> Tensor:
    """What each block is multiplied with, in float32."""
    stored = tensors.get(base + ".absmax")
    if stored is None or stored.ndim != 1:
        raise _damaged(base, "has no absmax")
    if stored.is_floating_point():
        return stored.float()
    spread, levels = tensors.get(base + ".nested_absmax"), tensors.get(base + ".nested_quant_map")
    size, offset = said.get("nested_blocksize"), said.get("nested_offset")
    if (
        stored.dtype != torch.uint8
        or spread is None
        or levels is None
        or levels.shape != (256,)
        or not (spread.is_floating_point() and levels.is_floating_point())
        or size not in BLOCKS
        or not isinstance(offset, float | int)
        or spread.shape != (-(-len(stored) // size),)
    ):
        raise _damaged(base, "has scales in 8 bits without all that these need")
    factors = spread.float().repeat_interleave(size)[: len(stored)]
    return levels.float()[stored.int()] * factors + offset


def _is_shape(said: Any) -> bool:
    return isinstance(said, list) and len(said) == 2 and all(type(one) is int and one > 0 for one in said)


def _of_rows(base: str, codes: Tensor | None, largest: Tensor, dtype: torch.dtype | None) -> Unread:
    """A matrix in 8 bits, checked now and made when it is asked for."""
    if (
        codes is None
        or codes.dtype != torch.int8
        or codes.ndim != 2
        or largest.numel() != len(codes)
        or not torch.isfinite(largest.float()).all()
    ):
        raise _damaged(base, "has other rows than its SCB has numbers, or some of these are not finite")
    scale = largest.view(-1, 1)
    rows, columns = codes.shape
    return Unread(
        (rows, columns),
        dtype or torch.float16,
        lambda chosen: codes[chosen].float() * scale[chosen].float() * (1 / 127),
    )


def _damaged(base: str, how: str) -> ModelError:
    return ModelError(f"the packed matrix {base} {how}; the file is damaged, fetch or copy it again")
