"""Adapters beside packed matrices: W x + U D x (LoRA, Hu et al. 2021, arXiv:2106.09685), W as it is. A matrix may have
several, and each token the one of its row, or none.

D is a packed matrix of its own, in 8 bits, that reads the same values as W. What it makes, the bottleneck, is kept in
float32 after each token's scales and outliers; W's kernel multiplies it with U, in bfloat16, as it does outliers.

An adapter has a number, from 1 on; 0 is none. Table of a matrix, int64, for each block of 16 rows an entry for each
number:
    how many numbers of the bottleneck the block reads
    the address of its part of U, [numbers, 16 rows]
    where these numbers begin, in bytes from the token's scales
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lmworks.basics.arrays import Int
from lmworks.basics.errors import ModelError
from lmworks.kernels.frame import WORDS
from lmworks.kernels.outliers import MOST
from lmworks.kernels.packed import ROWS, Packed, aligned

if TYPE_CHECKING:
    from lmworks.models.adapted import AdaptedLinear, Update

ADAPTER_FORM = "int8"
"""How D is packed."""


@dataclass(frozen=True)
class PackedAdapter:
    """The updates of a matrix by one adapter, packed."""

    down: Packed
    up: np.ndarray
    """bfloat16, one block of rows after another."""
    counts: tuple[int, ...]
    """Of each block, the numbers that it reads."""
    begins: tuple[int, ...]
    """The first of them."""

    @property
    def numbers(self) -> int:
        """Those that each token keeps after its scales."""
        return ROWS * self.down.blocks

    @property
    def offset(self) -> int:
        """Where they begin, in bytes from the token's scales."""
        return 4 * (self.down.groups + MOST)

    @property
    def bytes(self) -> int:
        """What it takes."""
        return self.down.data.nbytes + self.up.nbytes

    @functools.cached_property
    def entries(self) -> Int[np.ndarray, "blocks three"]:
        """Those of each block in the matrix's table."""
        starts = self.up.ctypes.data + 2 * ROWS * np.cumsum([0, *self.counts[:-1]])
        return np.stack([self.counts, starts, self.offset + 4 * np.array(self.begins)], axis=1).astype(np.int64)


class PackedAdapters:
    """The adapters of a matrix by their numbers from 1 on; None for one that has no update of it."""

    def __init__(self, blocks: int, every: Sequence[PackedAdapter | None]) -> None:
        """`blocks` of 16 rows has the matrix."""
        self.numbered = {number: one for number, one in enumerate(every, 1) if one is not None}
        self.table = np.zeros((blocks, 1 + len(every), 3), np.int64)
        for number, one in self.numbered.items():
            self.table[:, number] = one.entries
        self.steps = np.zeros((1 + len(every), WORDS), np.int64)
        """For the steps that multiply with each D (operations/bottleneck.py)."""

    @property
    def numbers(self) -> int:
        """Those that each token keeps after its scales."""
        return max(one.numbers for one in self.numbered.values())

    @property
    def bytes(self) -> int:
        """What they take."""
        return sum(one.bytes for one in self.numbered.values())

    @property
    def for_matrix(self) -> tuple[int, int]:
        """The address of the table, and the entries of a block in it."""
        return int(self.table.ctypes.data), self.table.shape[1]

    @property
    def offset(self) -> int:
        """Where the bottlenecks begin, in bytes from a token's scales: the same place for all."""
        return next(iter(self.numbered.values())).offset


def as_kept(every: Mapping[str, PackedAdapter]) -> tuple[dict[str, Packed], dict[str, np.ndarray]]:
    """The updates of each matrix by one adapter, by the matrices' names, as what a Keeper keeps: matrices, vectors."""
    vectors = {}
    for path, one in every.items():
        vectors[f"{path}.up"] = one.up.view(np.float32)
        vectors[f"{path}.blocks"] = np.array([one.counts, one.begins], np.float32).ravel()
    return {path: one.down for path, one in every.items()}, vectors


def of_kept(matrices: Mapping[str, Packed], vectors: Mapping[str, np.ndarray]) -> dict[str, PackedAdapter]:
    """The same back."""
    found = {}
    for path, down in matrices.items():
        counts, begins = vectors[f"{path}.blocks"].reshape(2, -1).astype(int).tolist()
        found[path] = PackedAdapter(down, vectors[f"{path}.up"].view(np.uint8), tuple(counts), tuple(begins))
    return found


def pack_adapters(
    path: str, layer: AdaptedLinear, names: Sequence[str | None], outliers: tuple[int, ...]
) -> dict[str | None, PackedAdapter]:
    """Some adapters of a layer by name, whose base has these outliers. ModelError where one is not finite."""
    blocks, every = -(-layer.base.out_features // ROWS), layer.adapters()
    shown = {name: f"{path}'s adapter" if name is None else f"{path}'s adapter {name}" for name in names}
    return {name: _packed(shown[name], every[name], blocks, outliers) for name in names}


def _packed(name: str, updates: Iterable[Update], of_matrix: int, outliers: tuple[int, ...]) -> PackedAdapter:
    """`of_matrix` is the number of its blocks."""
    import torch

    from lmworks.kernels.packing import pack, quantised

    downs, ups, done = [], [], 0
    counts, begins = ([0] * of_matrix for _ in range(2))
    for rows, down, up in updates:
        if not torch.isfinite(up).all():
            raise ModelError(
                f"{name} holds values that are not finite (NaN or infinite); go back to an earlier checkpoint"
            )
        size = down.abs().amax().clamp_min(1e-30)  # D's scales are float16, and U has room for any number
        downs.append(down / size)
        blocks = slice(rows.start // ROWS, rows.stop // ROWS)
        assert rows.start % ROWS == 0 and rows.stop % ROWS == 0, "ranges of rows are whole blocks (coverage.py)"
        counts[blocks] = [len(down)] * (blocks.stop - blocks.start)
        begins[blocks] = [done] * (blocks.stop - blocks.start)
        ups.append((rows.start, (up * size).view(-1, ROWS, len(down)).mT))
        done += len(down)
    packed = pack(quantised(name, torch.cat(downs), 8), 8, outliers)
    flat = torch.cat([up.flatten() for _, up in sorted(ups, key=lambda pair: pair[0])])
    data = aligned(2 * flat.numel())
    data[:] = flat.bfloat16().view(torch.uint8).numpy()
    return PackedAdapter(packed, data, tuple(counts), tuple(begins))
