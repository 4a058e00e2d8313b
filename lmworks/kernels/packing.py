"""Weights in the order in which the kernels read them (the layout: operations/matrix.py)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lmworks.basics.errors import ModelError
from lmworks.kernels.outliers import table_for_values, table_for_weights
from lmworks.kernels.quantisation import QUADS, Quantisation, quantisation_of, quantisations
from lmworks.models.files.quantise import GROUP, Groups
from lmworks.models.unread import unread_of

ROWS = 16
ALL = slice(None)
AT_ONCE = 1 << 19
"""Weights that are packed in one go: what lies between the file and the layout stays in the processor's cache."""


class Stored(Protocol):
    """What a file holds of a network, as it holds it; names are those of the network's parameters."""

    def groups(self, name: str, rows: slice = ALL) -> Groups | None:
        """A matrix, or some of its rows, in groups of 4 or 8 bits; None where it is stored in another way."""

    def bits(self, name: str) -> int:
        """The bits that hold whatever the file may hold there."""

    def floats(self, name: str) -> Tensor | None:
        """A vector in float32; None where the network's own is no worse."""

    def let_go(self) -> None:
        """Give back the memory that the file takes; it is read again when it is asked."""


class Unchanged:
    """What a file holds, as far as the network's weights still are those that were read of it."""

    def __init__(self, stored: Stored, weights: Mapping[str, Tensor]) -> None:
        self.stored, self.weights = stored, weights
        self._same: dict[str, bool] = {}

    def groups(self, name: str, rows: slice = ALL) -> Groups | None:
        """A matrix in groups, or some rows of one that is the file's as a whole."""
        groups, weight = self.stored.groups(name, rows), self.weights[name]
        if groups is None or unread_of(weight) is not None:
            return groups
        if name not in self._same:
            whole = groups if rows is ALL else self.stored.groups(name)
            self._same[name] = whole is not None and torch.equal(whole.weights(weight.dtype), weight)
        return groups if self._same[name] else None

    def bits(self, name: str) -> int:
        """As the file says."""
        return self.stored.bits(name)

    def let_go(self) -> None:
        """As the file does."""
        self.stored.let_go()

    def floats(self, name: str) -> Tensor | None:
        """A vector in float32."""
        weight, floats = self.weights.get(name), self.stored.floats(name)
        is_same = weight is not None and floats is not None and torch.equal(floats.to(weight.dtype), weight)
        return floats if is_same else None


@dataclass(frozen=True)
class Packed:
    """A packed matrix."""

    data: np.ndarray
    bits: int
    rows: int
    columns: int
    outliers: tuple[int, ...] = ()
    """Columns whose inputs are multiplied in float32, rising."""

    @property
    def quantisation(self) -> Quantisation:
        """How its weights are packed."""
        return quantisation_of(self.bits)

    @functools.cached_property
    def for_values(self) -> np.ndarray:
        """The table that the step reads which rounds the inputs (outliers.py)."""
        return table_for_values(self.outliers, self.groups)

    @functools.cached_property
    def for_weights(self) -> np.ndarray:
        """The table that the matrix reads."""
        return table_for_weights(self.outliers, self.quantisation)

    @property
    def address(self) -> int:
        """Where it lies, at a multiple of 64."""
        return int(self.data.ctypes.data)

    @property
    def blocks(self) -> int:
        """Of 16 rows; the last may be filled up with rows of zeros."""
        return -(-self.rows // ROWS)

    @property
    def groups(self) -> int:
        """Of 32 columns."""
        return self.columns // GROUP


def aligned(size: int) -> np.ndarray:
    """Zeroed bytes that begin at a multiple of 64. For more than 4 MB NumPy asks the system for pages of 2 MB."""
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


class Arena:
    """Memory for a network's matrices, one after another in the order of their use, and so in large pages: a processor
    reads ahead within a page, and has to look up where the next one lies."""

    def __init__(self, size: int) -> None:
        self._free = aligned(size)

    def take(self, size: int) -> np.ndarray:
        """Zeroed bytes that begin at a multiple of 64."""
        taken, self._free = self._free[:size], self._free[-(-size // 64) * 64 :]
        return taken


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
    return next(bits for bits, one in quantisations().items() if one.holds(groups))


def packed_bytes(shape: Sequence[int], bits: int) -> int:
    """What a matrix takes when it is packed."""
    return -(-shape[0] // ROWS) * (shape[1] // GROUP) * quantisation_of(bits).group_bytes


def pack(
    groups: Groups, bits: int, outliers: tuple[int, ...] = (), take: Callable[[int], np.ndarray] = aligned
) -> Packed:
    """The same weights in the kernels' layout, in memory that `take` gives: codes from 0 up, and as the minimum what
    code 0 stands for."""
    rows, columns = groups.values.shape
    middle = 0 if groups.least is not None else 1 << (bits - 1)
    codes = groups.values.view(torch.uint8) + middle  # a byte wraps round, as a negative value should
    scales = groups.scale.half()
    minima = -middle * scales if groups.least is None else groups.least.half()
    if missing := -rows % ROWS:
        codes, scales, minima = (
            torch.cat([one, one.new_zeros(missing, one.shape[1])]) for one in (codes, scales, minima)
        )
    blocks, count = len(codes) // ROWS, columns // GROUP
    # [block, row, group, quad] -> [block, group, quad, row], of four inputs each
    quads = codes.view(torch.int32).view(blocks, ROWS, count, QUADS).permute(0, 2, 3, 1).contiguous()
    vectors = quantisation_of(bits).pack(quads.view(torch.uint8))
    ends = torch.stack([scales.view(blocks, ROWS, count).mT, minima.view(blocks, ROWS, count).mT], 2).contiguous()
    packed = torch.cat([vectors.flatten(2), ends.view(torch.uint8).flatten(2)], 2)
    data = take(packed.numel())
    data[:] = packed.contiguous().numpy().reshape(-1)
    return Packed(data, bits, rows, columns, outliers)


def unpacked(packed: Packed) -> Float[Tensor, "rows columns"]:
    """The weights again, in float32: what the kernels multiply with."""
    blocks, count, size = packed.blocks, packed.groups, 64 * packed.bits
    data = torch.from_numpy(packed.data).view(blocks, count, packed.quantisation.group_bytes)
    quads = packed.quantisation.unpack(data[:, :, :size].reshape(blocks, count, -1, 64))
    ends = data[:, :, size:].contiguous().view(torch.float16).float().view(blocks, count, 2, ROWS)
    codes = quads.view(blocks, count, QUADS, ROWS, 4).permute(0, 3, 1, 2, 4).reshape(blocks, ROWS, count, GROUP)
    scales, minima = (ends[:, :, one].mT[..., None] for one in (0, 1))
    return (codes.float() * scales + minima).reshape(blocks * ROWS, -1)[: packed.rows]
