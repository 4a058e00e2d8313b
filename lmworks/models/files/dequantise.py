"""A GGUF tensor in the type that is asked for: the common kinds straight in PyTorch, all others by the gguf package.

The package makes whole matrices in float32 and takes 1.0 s where this takes 0.06 (28 million weights of Q4_1, one
thread); the values are the same to the bit. Source: the formats in ggml's reference code,
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.ahead import shared
from lmworks.basics.arrays import Float, UInt8
from lmworks.models.files.gguf_blocks import is_stored_in_groups, stored_groups
from lmworks.models.files.gguf_file import ALL, GGUFFile, Rows
from lmworks.models.files.gguf_kinds import BLOCKS, Kind
from lmworks.models.files.quantise import GROUP

FLOATS = {Kind.F32: torch.float32, Kind.F16: torch.float16, Kind.BF16: torch.bfloat16}
AT_ONCE = 1 << 12
"""Blocks dequantised at once: their float32 values, 0.5 MB, stay in the processor's cache."""
SHARED = 8
"""A thread is worth starting for this many times `AT_ONCE` blocks."""


def dequantised(file: GGUFFile, name: str, dtype: torch.dtype, rows: Rows = ALL, into: Tensor | None = None) -> Tensor:
    """The tensor `name`, or some of its rows, in `dtype` and its PyTorch shape: put `into` a contiguous tensor of both,
    where one is given. ModelError where its kind cannot be dequantised."""
    info = file.info(name)
    if info.kind not in FLOATS and not is_stored_in_groups(info.kind):
        return _as_gguf_does(file, name, dtype, rows, into)
    raw = file.rows(name, rows)
    shape = info.shape if rows is ALL else (len(raw), *info.shape[1:])
    if info.kind in FLOATS:
        floats = torch.from_numpy(raw.reshape(-1).copy()).view(FLOATS[info.kind]).reshape(shape)
        return floats.to(dtype) if into is None else into.copy_(floats)
    weights = torch.empty(shape, dtype=dtype) if into is None else into
    return weights if put_values(raw, info.kind, weights) else _as_gguf_does(file, name, dtype, rows, into)


def _as_gguf_does(file: GGUFFile, name: str, dtype: torch.dtype, rows: Rows, into: Tensor | None) -> Tensor:
    weights = torch.from_numpy(np.require(file.read(name, rows), requirements="W"))
    return weights.to(dtype) if into is None else into.copy_(weights)


def put_values(stored: UInt8[np.ndarray, "*rows bytes"], kind: Kind, weights: Float[Tensor, "*rows columns"]) -> bool:
    """Put the values of rows as a file stores them into a contiguous tensor, a few blocks at a time. False for a scale
    of MXFP4 that float16 does not hold: what is in the tensor then means nothing."""
    in_block, size = BLOCKS[kind]
    blocks, places, at_once = stored.reshape(-1, size), weights.view(-1, in_block), AT_ONCE * GROUP // in_block

    def put(first: int) -> bool:
        for start in range(first, min(first + SHARED * at_once, len(blocks)), at_once):
            groups = stored_groups(torch.from_numpy(blocks[start : start + at_once].copy()), kind)
            if groups is None:
                return False
            places[start : start + at_once] = groups.weights()
        return True

    return all(shared(put, range(0, len(blocks), SHARED * at_once)))
