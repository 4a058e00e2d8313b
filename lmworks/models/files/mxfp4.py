"""MXFP4 in model directories (gpt-oss): matrices of experts in 4 bits with a point, a power of two for 32 of them.

A tensor `x` of [experts, inputs, outputs] is stored turned: `x_blocks`, bytes of two values [experts, outputs, groups,
16], and `x_scales`, exponents [experts, outputs, groups]. `quantization_config` in config.json says mxfp4.
Source: Open Compute Project 2023, OCP Microscaling Formats (MX) 1.0, sections 5.2 and 5.3; transformers' layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.errors import ModelError

METHOD = "mxfp4"
BLOCKS, SCALES = "_blocks", "_scales"
VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""By the three lower bits; the fourth is the sign."""
BIAS = 127
"""An exponent is stored as one more by this; 255 stands for no number."""


def is_mxfp4(said: Any) -> bool:
    """Does a quantization_config say so?"""
    return isinstance(said, dict) and said.get("quant_method") == METHOD


def without_mxfp4(tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """A file's tensors with every packed one as the values that it stands for, in `dtype` or bfloat16, which hold each
    of them exactly. ModelError, one sentence, where a part is missing or of a wrong shape."""
    names = [name.removesuffix(BLOCKS) for name in tensors if name.endswith(BLOCKS)]
    parts = {name + part for name in names for part in (BLOCKS, SCALES)}
    plain = {name: tensor for name, tensor in tensors.items() if name not in parts}
    for name in names:
        if name in plain:
            raise ModelError(f"{name} is there twice, packed and plain; the file is damaged, fetch or copy it again")
        plain[name] = _unpacked(name, tensors, dtype or torch.bfloat16)
    return plain


def _unpacked(name: str, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
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
            f"the packed tensor {name} has blocks of shape {list(blocks.shape)} and scales of shape {shape}, which do "
            "not belong together; the file is damaged, fetch or copy it again"
        )
    if bool((scales == 255).any()):
        raise ModelError(f"the packed tensor {name} has a scale that is no number; fetch or copy it again")
    table = torch.tensor([*VALUES, *(-value for value in VALUES)], dtype=dtype)
    unpacked = torch.empty(*blocks.shape[:2], blocks.shape[2] * 32, dtype=dtype)
    for expert, (bytes_of, exponents) in enumerate(zip(blocks, scales, strict=True)):  # one at a time, for the memory
        pairs = torch.stack([bytes_of & 15, bytes_of >> 4], dim=-1).flatten(-2)
        values = torch.ldexp(table[pairs.int()].float(), exponents.int()[..., None] - BIAS)
        unpacked[expert] = values.flatten(-2).to(dtype)
    return unpacked.transpose(1, 2)
