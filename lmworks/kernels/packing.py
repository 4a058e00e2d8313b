"""Weights in the order in which the kernels read them (the layout: operations/matrix.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, UInt8
from lmworks.basics.errors import ModelError
from lmworks.kernels.frame import GROUP
from lmworks.kernels.packed import ROWS, Packed, Stored, aligned
from lmworks.kernels.quantisation import QUADS, Quantisation, forms, quantisation_of, quantisations
from lmworks.models.files.quantise import Groups
from lmworks.models.unread import unread_of

AT_ONCE = 1 << 19
"""Weights that are packed in one go: what lies between the file and the layout stays in the processor's cache."""


class Unchanged:
    """What a file holds, as far as the network's weights still are those that were read of it."""

    def __init__(self, stored: Stored, weights: Mapping[str, Tensor]) -> None:
        self.stored, self.weights = stored, weights
        self._same: dict[str, bool] = {}

    def alike(self, name: str) -> list[slice] | None:
        """The rows that are stored alike, unless the weights have changed."""
        parts, weight = self.stored.alike(name), self.weights[name]
        if parts is None or unread_of(weight) is not None:
            return parts
        if name not in self._same:
            whole = [self.stored.groups(name, rows).weights(weight.dtype) for rows in parts]
            self._same[name] = torch.equal(torch.cat(whole), weight)
        return parts if self._same[name] else None

    def groups(self, name: str, rows: slice) -> Groups:
        """Some of these rows."""
        return self.stored.groups(name, rows)

    def bits(self, name: str) -> int:
        """As the file says."""
        return self.stored.bits(name)

    @property
    def bytes(self) -> int:
        """As the file says."""
        return self.stored.bytes

    def let_go(self) -> None:
        """As the file does."""
        self.stored.let_go()

    def floats(self, name: str) -> Tensor | None:
        """A vector in float32."""
        weight, floats = self.weights.get(name), self.stored.floats(name)
        is_same = weight is not None and floats is not None and torch.equal(floats.to(weight.dtype), weight)
        return floats if is_same else None


def quantised(name: str, weight: Float[Tensor, "rows columns"], bits: int) -> Groups:
    """A matrix in groups of 32, rounded to this many bits. ModelError where it is not finite."""
    weight = weight.detach().float()
    if not torch.isfinite(weight).all():
        raise ModelError(
            f"{name} holds values that are not finite (NaN or infinite) and cannot be compressed; go back to an "
            "earlier checkpoint, or fetch the model again"
        )
    return quantisation_of(bits).quantise(weight)


def bits_of(groups: Groups) -> int:
    """The fewest bits that a file's values fit in."""
    if groups.form:
        return forms()[groups.form].bits
    return next(bits for bits, one in quantisations().items() if one.holds(groups))


def pack(
    groups: Groups, bits: int, outliers: tuple[int, ...] = (), take: Callable[[int], np.ndarray] = aligned
) -> Packed:
    """The same weights in the kernels' layout, in memory that `take` gives: codes from 0 up, and as the minimum what
    code 0 stands for. In these bits, unless the groups have a form of their own."""
    kind = forms()[groups.form] if groups.form else quantisation_of(bits)
    middle = 0 if groups.table or groups.least is not None else 1 << (kind.bits - 1)
    missing = -len(groups.values) % ROWS
    whole = groups.map(lambda part: torch.cat([part, part.new_zeros(missing, part.shape[1])])) if missing else groups
    if kind.floats:
        return _pack_floats(groups, whole.values, kind, outliers, take)
    # A byte wraps round, as a negative value should.
    codes = whole.values.view(torch.uint8) + middle if middle else whole.values.view(torch.uint8)
    blocks, runs = len(codes) // ROWS, groups.values.shape[1] // (GROUP * kind.run)
    # [block, row, run, group, quad] -> [block, run, group, quad, row], of four inputs each
    quads = codes.contiguous().view(torch.int32).view(blocks, ROWS, -1).mT.contiguous()
    vectors = kind.pack(quads.view(torch.uint8).view(blocks, runs, kind.run, QUADS, 4 * ROWS))
    scale = whole.scale.half() if groups.factor is None else whole.scale
    least = -middle * scale if groups.least is None else whole.least
    ends = [scale, None if kind.centre else least]
    if groups.factor is not None:
        ends += [whole.factor, whole.least_factor]
    elif not kind.centre:
        assert least is not None
        ends[1] = least.half()
    data, at = take(blocks * runs * kind.run_bytes), 0
    of_runs = torch.from_numpy(data).view(blocks, runs, -1)
    for part in (vectors.flatten(2), *(_by_run(one, blocks, runs) for one in ends if one is not None)):
        of_runs[:, :, at : at + part.shape[2]] = part
        at += part.shape[2]
    return Packed(data, kind.name, groups.values.shape[0], groups.values.shape[1], outliers)


def _pack_floats(
    groups: Groups,
    whole: Tensor,
    kind: Quantisation,
    outliers: tuple[int, ...],
    take: Callable[[int], np.ndarray],
) -> Packed:
    """Weights that are floats of 16 bits, of whole blocks of rows: for each pair of inputs those of 16 rows."""
    rows, columns = whole.shape
    pairs = whole.view(torch.int32).view(rows // ROWS, ROWS, columns // 2).mT.contiguous()
    data = take(2 * rows * columns)
    data[:] = pairs.view(-1).view(torch.uint8).numpy()
    return Packed(data, kind.name, len(groups.values), columns, outliers)


def _by_run(numbers: Tensor, blocks: int, runs: int) -> UInt8[Tensor, "blocks runs bytes"]:
    """Some numbers of each run and row, with those of 16 rows side by side."""
    return numbers.view(blocks, ROWS, runs, -1).permute(0, 2, 3, 1).contiguous().view(torch.uint8).flatten(2)


def unpacked(packed: Packed) -> Float[Tensor, "rows columns"]:
    """The weights again, in float32: what the kernels multiply with."""
    if packed.more:
        return torch.cat([unpacked(part) for part in (replace(packed, more=()), *packed.more)])
    blocks, kind = packed.blocks, packed.quantisation
    if kind.floats:
        pairs = torch.from_numpy(packed.data).view(torch.int32).view(blocks, -1, ROWS).mT.contiguous()
        return pairs.view(getattr(torch, kind.floats)).view(blocks * ROWS, -1)[: packed.rows].float()
    data = torch.from_numpy(packed.data).view(blocks, -1, kind.run_bytes)
    runs = data.shape[1]

    def numbers(begin: int, size: int, dtype: torch.dtype) -> Float[Tensor, "rows runs numbers"]:
        part = data[:, :, begin : begin + size].contiguous().view(dtype).float()
        return part.view(blocks, runs, -1, ROWS).permute(0, 3, 1, 2).reshape(blocks * ROWS, runs, -1)

    vectors = data[:, :, : kind.scales_at].reshape(blocks, runs, kind.run, -1, 64)
    quads = kind.unpack(vectors).view(blocks, runs, kind.run, QUADS, ROWS, 4)
    codes = quads.permute(0, 4, 1, 2, 3, 5).reshape(blocks * ROWS, runs, kind.run * kind.parts, -1).float()
    if kind.table:
        codes = torch.tensor(kind.table, dtype=torch.float32)[codes.long()] + kind.centre
    scales, minima = (numbers(kind.factors_at + place, 32, torch.float16) for place in (0, 32))
    if kind.run > 1:
        size = kind.minima_at - kind.scales_at
        scales = scales * numbers(kind.scales_at, size, torch.int8)
        minima = minima * numbers(kind.minima_at, size, torch.int8)
    if kind.centre:
        minima = -kind.centre * scales
    weights = codes * scales[..., None] + minima[..., None]
    return weights.reshape(blocks * ROWS, -1)[: packed.rows]
