"""A GGUF tensor in the type that is asked for: the common kinds straight in PyTorch, all others by the gguf package.

The package makes whole matrices in float32 and takes 1.0 s where this takes 0.06 (28 million weights of Q4_1, one
thread); the values are the same to the bit. Source: the formats in ggml's reference code,
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c.
"""

from __future__ import annotations

from collections.abc import Callable

import gguf
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from lmworks.basics.gguf_file import GGUFFile

Kind = gguf.GGMLQuantizationType
Blocks = UInt8[Tensor, "blocks bytes"]
Weights = Float[Tensor, "blocks 32"]

FLOATS = {Kind.F32: torch.float32, Kind.F16: torch.float16, Kind.BF16: torch.bfloat16}
AT_ONCE = 1 << 14
"""Blocks in one go: their float32 values, 2 MB, stay in the processor's cache."""


def dequantised(file: GGUFFile, name: str, dtype: torch.dtype) -> Tensor:
    """The tensor `name` in `dtype` and its PyTorch shape; ModelError where its kind cannot be dequantised."""
    info = file.tensors.get(name)
    if info is not None and info.kind in FLOATS:
        return torch.from_numpy(file.raw(name).copy()).view(FLOATS[info.kind]).reshape(info.shape).to(dtype)
    if info is None or info.kind not in BLOCKS:
        return torch.from_numpy(np.require(file.read(name), requirements="W")).to(dtype)
    size, write = BLOCKS[info.kind]
    blocks = file.raw(name).reshape(-1, size)
    weights = torch.empty(len(blocks), 32, dtype=dtype)
    for start in range(0, len(blocks), AT_ONCE):
        write(torch.from_numpy(blocks[start : start + AT_ONCE].copy()), weights[start : start + AT_ONCE])
    return weights.reshape(info.shape)


def _q4_0(blocks: Blocks, weights: Weights) -> None:
    scale, nibbles = _half(blocks, 0), blocks[:, 2:]
    weights[:, :16] = (nibbles & 15).float().sub_(8).mul_(scale)
    weights[:, 16:] = (nibbles >> 4).float().sub_(8).mul_(scale)


def _q4_1(blocks: Blocks, weights: Weights) -> None:
    scale, least, nibbles = _half(blocks, 0), _half(blocks, 2), blocks[:, 4:]
    weights[:, :16] = (nibbles & 15).float().mul_(scale).add_(least)
    weights[:, 16:] = (nibbles >> 4).float().mul_(scale).add_(least)


def _q8_0(blocks: Blocks, weights: Weights) -> None:
    weights[:] = blocks[:, 2:].view(torch.int8).float().mul_(_half(blocks, 0))


def _half(blocks: Blocks, at: int) -> Float[Tensor, "blocks 1"]:
    """The float16 number at byte `at` of each block, in float32."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


BLOCKS: dict[Kind, tuple[int, Callable[[Blocks, Weights], None]]] = {
    Kind.Q4_0: (18, _q4_0),
    Kind.Q4_1: (20, _q4_1),
    Kind.Q8_0: (34, _q8_0),
}
"""Bytes of a block of 32 weights, and what writes its weights."""
