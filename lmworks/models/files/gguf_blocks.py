"""Matrices of a GGUF file that are more than a scale and values: K-quants, 5 bits, tables of values, floats of 16 bits.
As they are stored.

    groups = stored_groups(rows, Kind.Q4_K)       # uint8 [rows, bytes] -> Groups, whose weights are gguf's to the bit

A K-quant has 256 weights in a block: 8 or 16 groups with whole numbers for scales (and minima), which are multiplied
with a float16 number of the block. Source: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c and
ggml-common.h; each reader's comment gives its block.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lmworks.basics.arrays import UInt8
from lmworks.models.files.code_tables import FP4, IQ4
from lmworks.models.files.gguf_kinds import BLOCKS, Kind
from lmworks.models.files.quantise import BLOCK_BYTES, Groups, from_blocks

Blocks = UInt8[Tensor, "blocks bytes"]


HALVES = {Kind.BF16: (torch.bfloat16, "bf16"), Kind.F16: (torch.float16, "f16")}
"""Floats of 16 bits, by their types and the forms that hold them unchanged."""


def stored_groups(rows: UInt8[Tensor, "rows bytes"], kind: Kind) -> Groups | None:
    """What a matrix of this kind holds, unchanged; None where the kind is none of groups, or where a scale of MXFP4 is
    so large or small that float16 does not hold it."""
    if kind in HALVES:
        dtype, form = HALVES[kind]
        return Groups(rows.contiguous().view(dtype), torch.ones(len(rows), 1), form=form)
    if kind in BLOCK_BYTES:
        return from_blocks(rows, kind)
    if kind not in READERS:
        return None
    blocks = rows.reshape(-1, BLOCKS[kind][1])
    found = READERS[kind](blocks)
    return None if found is None else found.map(lambda part: part.reshape(len(rows), -1))


def is_stored_in_groups(kind: Kind) -> bool:
    """Does `stored_groups` know the kind?"""
    return kind in BLOCK_BYTES or kind in READERS or kind in HALVES


def _halves(blocks: Blocks, place: int) -> Tensor:
    """The float16 number at a place of each block, [blocks, 1]."""
    return blocks[:, place : place + 2].contiguous().view(torch.float16)


def _fields(packed: UInt8[Tensor, "*some bytes"], bits: int) -> UInt8[Tensor, "*some fields bytes"]:
    """Each byte's fields of `bits` bits, the lowest first: all bytes' first fields, then all their second ones, ..."""
    return torch.stack([packed >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)], -2)


def _high_bits(blocks: Blocks, place: int) -> UInt8[Tensor, "blocks 32"]:
    """The fifth bit of 32 codes: bit j of four bytes is that of code j, moved to where it counts 16."""
    return _fields(blocks[:, place : place + 4], 1).mT.reshape(-1, 32) << 4


def _nibbles(packed: UInt8[Tensor, "blocks bytes"]) -> UInt8[Tensor, "blocks codes"]:
    """Low nibbles, then high ones."""
    return _fields(packed, 4).flatten(1)


def _q5_0(blocks: Blocks) -> Groups:
    """d, 4 bytes of high bits, 16 of low nibbles; value = code - 16."""
    codes = _nibbles(blocks[:, 6:]) | _high_bits(blocks, 2)
    return Groups(codes.view(torch.int8) - 16, _halves(blocks, 0), form="int5")


def _q5_1(blocks: Blocks) -> Groups:
    """d, m, 4 bytes of high bits, 16 of low nibbles."""
    codes = _nibbles(blocks[:, 8:]) | _high_bits(blocks, 4)
    return Groups(codes.view(torch.int8), _halves(blocks, 0), _halves(blocks, 2), form="int5")


def _q2_k(blocks: Blocks) -> Groups:
    """16 bytes of scale (low nibble) and minimum, 64 of codes, d, dmin."""
    codes = _fields(blocks[:, 16:80].reshape(-1, 2, 32), 2).flatten(1)
    scales, minima = blocks[:, :16] & 15, blocks[:, :16] >> 4
    return _of_blocks(codes, scales, minima, _halves(blocks, 80), -_halves(blocks, 82), form="q2_k")


def _q3_k(blocks: Blocks) -> Groups:
    """32 bytes of third bits, 64 of low bits, 12 of scales of 6 bits, d; value = code - 4, scale = code - 32."""
    low = _fields(blocks[:, 32:96].reshape(-1, 2, 32), 2).flatten(1)
    high = _fields(blocks[:, :32], 1).flatten(1) << 2
    packed = blocks[:, 96:108]
    scales = _fields(packed[:, :8], 4).flatten(1) | _fields(packed[:, 8:], 2).flatten(1) << 4
    values = (low | high).view(torch.int8) - 4
    return _of_blocks(values, scales.view(torch.int8) - 32, None, _halves(blocks, 108), form="q3_k")


def _six_bits(packed: UInt8[Tensor, "blocks 12"]) -> tuple[Tensor, Tensor]:
    """The 8 scales and 8 minima of Q4_K and Q5_K."""
    first, second, third = packed.unflatten(1, (3, 4)).unbind(1)
    scales = torch.cat([first & 63, third & 15 | first >> 6 << 4], 1)
    minima = torch.cat([second & 63, third >> 4 | second >> 6 << 4], 1)
    return scales, minima


def _q4_k(blocks: Blocks) -> Groups:
    """d, dmin, 12 bytes of scales and minima, 128 of codes: of each 32 bytes the low nibbles are a group, then the high
    ones."""
    codes = _fields(blocks[:, 16:].reshape(-1, 4, 32), 4).flatten(1)
    return _of_blocks(codes, *_six_bits(blocks[:, 4:16]), _halves(blocks, 0), -_halves(blocks, 2), form="q4_k")


def _q5_k(blocks: Blocks) -> Groups:
    """As Q4_K, with 32 bytes of fifth bits before the nibbles: bit g is that of group g."""
    codes = _fields(blocks[:, 48:].reshape(-1, 4, 32), 4).flatten(1) | _fields(blocks[:, 16:48], 1).flatten(1) << 4
    return _of_blocks(codes, *_six_bits(blocks[:, 4:16]), _halves(blocks, 0), -_halves(blocks, 2), form="q5_k")


def _q6_k(blocks: Blocks) -> Groups:
    """128 bytes of low nibbles, 64 of two high bits, 16 scales, d; value = code - 32. Half a block at a time: 64 bytes
    of nibbles, 32 of high bits."""
    low = _fields(blocks[:, :128].reshape(-1, 2, 64), 4).flatten(1)
    high = _fields(blocks[:, 128:192].reshape(-1, 2, 32), 2).flatten(1)
    values = (low | high << 4).view(torch.int8) - 32
    scales = blocks[:, 192:208].contiguous().view(torch.int8)
    return _of_blocks(values, scales, None, _halves(blocks, 208), form="q6_k")


def _iq4_nl(blocks: Blocks) -> Groups:
    """d, 16 bytes of codes."""
    return Groups(_nibbles(blocks[:, 2:]).view(torch.int8), _halves(blocks, 0), table=IQ4, form="iq4_nl")


def _iq4_xs(blocks: Blocks) -> Groups:
    """d, 8 scales of 6 bits (two high ones of each in 2 bytes, four low ones in 4), 128 bytes of codes."""
    high = _fields(blocks[:, 2:4].contiguous(), 2).mT.flatten(1)
    low = _fields(blocks[:, 4:8], 4).mT.flatten(1)
    codes = _fields(blocks[:, 8:].reshape(-1, 8, 16), 4).flatten(1)
    scales = (low | high << 4).view(torch.int8) - 32
    return _of_blocks(codes, scales, None, _halves(blocks, 0), form="iq4_xs", table=IQ4)


def _mxfp4(blocks: Blocks) -> Groups | None:
    """An exponent, 16 bytes of codes; scale = 2^(exponent - 128), in half units of the table."""
    return mx_groups(_nibbles(blocks[:, 1:]), blocks[:, :1])


def _mxfp4_in_pairs(blocks: Blocks) -> Groups | None:
    """The same, where each byte holds neighbours, as OpenAI's own files have it, and Ollama's of them."""
    return mx_groups(_fields(blocks[:, 1:], 4).mT.flatten(1).contiguous(), blocks[:, :1])


def mx_groups(codes: UInt8[Tensor, "blocks 32"], exponents: UInt8[Tensor, "blocks 1"]) -> Groups | None:
    """Groups of MXFP4; None where a scale is so large or small that float16 does not hold it."""
    scale = torch.ldexp(torch.ones(len(codes), 1), exponents.to(torch.int32) - 128)
    held = torch.where((codes & 7 == 0).all(1, keepdim=True), torch.zeros_like(scale), scale).half()
    exact = (held > 0) & (12 * held.float() < 65504) | (codes & 7 == 0).all(1, keepdim=True)
    return Groups(codes.view(torch.int8), held, table=FP4, form="mxfp4") if bool(exact.all()) else None


def _of_blocks(
    codes: Tensor,
    scales: Tensor,
    minima: Tensor | None,
    factor: Tensor,
    least_factor: Tensor | None = None,
    form: str = "",
    table: tuple[int, ...] = (),
) -> Groups:
    least = None if minima is None else minima.view(torch.int8)
    return Groups(codes.view(torch.int8), scales.view(torch.int8), least, factor, least_factor, table, form)


READERS: dict[Kind, Callable[[Blocks], Groups | None]] = {
    Kind.Q5_0: _q5_0,
    Kind.Q5_1: _q5_1,
    Kind.Q2_K: _q2_k,
    Kind.Q3_K: _q3_k,
    Kind.Q4_K: _q4_k,
    Kind.Q5_K: _q5_k,
    Kind.Q6_K: _q6_k,
    Kind.IQ4_NL: _iq4_nl,
    Kind.IQ4_XS: _iq4_xs,
    Kind.MXFP4: _mxfp4,
    Kind.MXFP4_IN_PAIRS: _mxfp4_in_pairs,
}
