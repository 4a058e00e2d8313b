"""Rounding to GGUF's K-quants, by how much each input of a matrix counts; and their blocks, as a file stores them.

    groups = rounded(weight, Kind.Q4_K, importance)      # importance: of each column, the mean square of its inputs
    blocks = to_k_blocks(groups, Kind.Q4_K)              # uint8 [rows, bytes]; stored_groups reads them back

A group's scale and minimum are searched among some, as ggml does: each time codes are rounded, the best scale and
minimum for them follow by least squares, weighted, and the best of all is kept. Source:
https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c, make_qkx3_quants, make_qx_quants and their callers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmworks.basics.arrays import Float, UInt8
from lmworks.models.files.gguf_kinds import Kind
from lmworks.models.files.quantise import Groups, Weight

BLOCK = 256
"""Weights of a block."""
CODES = {Kind.Q4_K: 15, Kind.Q5_K: 31}
"""The largest code of the types that have minima."""
AT_ONCE = 1 << 12
"""Blocks in one go."""

Grouped = Float[Tensor, "blocks groups inputs"]
OfGroups = Float[Tensor, "blocks groups"]


def rounded(weight: Weight, kind: Kind, importance: Float[Tensor, " columns"] | None = None) -> Groups:
    """A matrix whose rows are whole blocks in Q4_K, Q5_K or Q6_K; every input counts alike where nothing is said."""
    rows, columns = weight.shape
    of_column = torch.ones(columns) if importance is None else importance.float().clamp_min(1e-12)
    blocks, counts = weight.float().reshape(-1, BLOCK), of_column.view(-1, BLOCK).repeat(rows, 1)
    made = [
        _with_minima(part, count, kind) if kind in CODES else _six_bits(part, count)
        for part, count in zip(blocks.split(AT_ONCE), counts.split(AT_ONCE), strict=True)
    ]
    parts = [torch.cat(one).reshape(rows, -1) if one[0] is not None else None for one in zip(*made, strict=True)]
    values, scale, least, factor, least_factor = parts
    assert values is not None
    assert scale is not None
    return Groups(values, scale, least, factor, least_factor, form=kind.name.lower())


def _counted(grouped: Grouped, count: Grouped) -> Grouped:
    """What the square of each error is multiplied with: inputs that count, and more where a weight is large."""
    usual = 2 * grouped.square().flatten(1).mean(1)[:, None, None]
    return count * (usual + grouped.square()).sqrt().clamp_min(1e-12)


def _with_minima(blocks: Tensor, counts: Tensor, kind: Kind) -> tuple[Tensor, ...]:
    x, most = blocks.view(len(blocks), -1, 32), CODES[kind]
    w = _counted(x, counts.view(x.shape))
    scale, least = _searched(x, w, most)
    sums = w.sum(-1)
    (scales, factor), (minima, least_factor) = (_whole(one, sums, 63) for one in (scale, -least))
    step, shift = scales * factor.float(), minima * least_factor.float()
    values = ((x + shift[..., None]) / _not_zero(step)[..., None]).round().clamp(0, most)
    whole = (values.flatten(1).to(torch.int8), scales.to(torch.int8), minima.to(torch.int8))
    return *whole, factor, -least_factor


def _searched(x: Grouped, w: Grouped, most: int) -> tuple[OfGroups, OfGroups]:
    """The scale and the minimum, at most 0, of each group with the least squared error among 38 roundings."""
    low, high = x.amin(-1).clamp_max(0), x.amax(-1)
    spread, scale, least = _not_zero(high - low), (high - low) / most, low
    best = (w * (_codes_of(x, low, most / spread, most) * scale[..., None] + low[..., None] - x).square()).sum(-1)
    sum_w, sum_x = w.sum(-1), (w * x).sum(-1)
    for number in range(37):
        inverse = (most - 0.9 + 0.05 * number) / spread
        code = _codes_of(x, low, inverse, most)
        sum_l, sum_l2, sum_xl = (w * code).sum(-1), (w * code * code).sum(-1), (w * x * code).sum(-1)
        determinant = sum_w * sum_l2 - sum_l.square()
        step = (sum_w * sum_xl - sum_x * sum_l) / _not_zero(determinant)
        shift = (sum_l2 * sum_x - sum_l * sum_xl) / _not_zero(determinant)
        above = shift > 0
        step = torch.where(above, sum_xl / _not_zero(sum_l2), step)
        shift = shift.clamp_max(0)
        error = (w * (step[..., None] * code + shift[..., None] - x).square()).sum(-1)
        better = (error < best) & (determinant > 0)
        best = torch.where(better, error, best)
        scale, least = torch.where(better, step, scale), torch.where(better, shift, least)
    return scale.clamp_min(0), least


def _codes_of(x: Grouped, low: OfGroups, inverse: OfGroups, most: int) -> Grouped:
    return ((x - low[..., None]) * inverse[..., None]).round().clamp(0, most)


def _whole(numbers: OfGroups, w: OfGroups, most: int) -> tuple[OfGroups, Float[Tensor, "blocks 1"]]:
    """Numbers from 0 up as whole ones up to `most` times a float16 factor of the block, by least squares."""
    largest, best = _not_zero(numbers.amax(1, keepdim=True)), torch.full((len(numbers), 1), float("inf"))
    kept = torch.zeros(len(numbers), 1, dtype=torch.float16)
    for number in range(-4, 5):
        code = (numbers * (most + 0.1 * number) / largest).round().clamp(0, most)
        factor = ((w * numbers * code).sum(1, keepdim=True) / _not_zero((w * code * code).sum(1, keepdim=True))).half()
        error = (w * (factor.float() * code - numbers).square()).sum(1, keepdim=True)
        better = error < best
        best, kept = torch.where(better, error, best), torch.where(better, factor, kept)
    return (numbers / _not_zero(kept.float())).round().clamp(0, most), kept


def _six_bits(blocks: Tensor, counts: Tensor) -> tuple[Tensor | None, ...]:
    """Q6_K: codes from -32 to 31 times a scale of 8 bits."""
    x, half = blocks.view(len(blocks), -1, 16), 32
    w = _counted(x, counts.view(x.shape))
    furthest = _not_zero(x.gather(-1, x.abs().argmax(-1, keepdim=True)))
    scale, best = torch.zeros(x.shape[:2]), torch.full(x.shape[:2], -1.0)
    for number in range(-9, 10):
        code = (x * (-(half + 0.1 * number) / furthest)).round().clamp(-half, half - 1)
        sum_xl, sum_l2 = (w * x * code).sum(-1), _not_zero((w * code * code).sum(-1))
        gain = sum_xl.square() / sum_l2
        scale, best = torch.where(gain > best, sum_xl / sum_l2, scale), torch.maximum(gain, best)
    largest = scale.gather(1, scale.abs().argmax(1, keepdim=True))
    factor = (largest / -128).half()
    scales = (scale / _not_zero(factor.float())).round().clamp(-128, 127)
    step = _not_zero(scales * factor.float())[..., None]
    values = (x / step).round().clamp(-half, half - 1).flatten(1)
    return values.to(torch.int8), scales.to(torch.int8), None, factor, None


def _not_zero(numbers: Tensor) -> Tensor:
    return torch.where(numbers == 0, 1.0, numbers)


def to_k_blocks(groups: Groups, kind: Kind) -> UInt8[Tensor, "rows bytes"]:
    """A matrix as a GGUF file stores it (gguf_blocks.py says where what is)."""
    rows, values = len(groups.values), groups.values.reshape(-1, BLOCK)
    factor = _bytes(groups.factor)
    if kind == Kind.Q6_K:
        codes = (values + 32).view(torch.uint8).view(-1, 2, 2, 64)  # half, nibble, place
        low = (codes[:, :, 0] & 15) | (codes[:, :, 1] & 15) << 4
        quarters = (codes >> 4).reshape(-1, 2, 4, 32)
        high = quarters[:, :, 0] | quarters[:, :, 1] << 2 | quarters[:, :, 2] << 4 | quarters[:, :, 3] << 6
        scales = groups.scale.reshape(-1, 16).view(torch.uint8)
        return torch.cat([low.flatten(1), high.flatten(1), scales, factor], 1).reshape(rows, -1)
    assert groups.least is not None and groups.least_factor is not None
    codes = values.view(torch.uint8).view(-1, 4, 2, 32)
    nibbles = ((codes[:, :, 0] & 15) | (codes[:, :, 1] & 15) << 4).flatten(1)
    fifth = (codes >> 4 & 1).reshape(-1, 8, 32)
    above = [torch.stack([fifth[:, bit] << bit for bit in range(8)]).sum(0, dtype=torch.uint8)] * (kind == Kind.Q5_K)
    first_scales, minima = (one.reshape(-1, 2, 4).view(torch.uint8).unbind(1) for one in (groups.scale, groups.least))
    first, second = (one[0] | one[1] >> 4 << 6 for one in (first_scales, minima))
    third = (first_scales[1] & 15) | (minima[1] & 15) << 4
    return torch.cat([factor, _bytes(-groups.least_factor), first, second, third, *above, nibbles], 1).reshape(rows, -1)


def _bytes(numbers: Tensor | None) -> UInt8[Tensor, "blocks 2"]:
    assert numbers is not None
    return numbers.reshape(-1, 1).contiguous().view(torch.uint8)
