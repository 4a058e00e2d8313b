"""Adapters beside packed matrices: W x + U D x (LoRA, Hu et al. 2021, arXiv:2106.09685), W as it is.

D is a packed matrix of its own, in 8 bits, that reads the same values as W. What it makes, the bottleneck, is kept in
float32 after each token's scales and outliers; W's kernel multiplies it with U, in bfloat16, as it does outliers.

Table of a matrix, int64, an entry for each block of 16 rows:
    how many numbers of the bottleneck the block reads
    the address of its part of U, [numbers, 16 rows]
    where these numbers begin, in bytes from the token's scales
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from lmworks.basics.errors import ModelError
from lmworks.kernels.outliers import MOST
from lmworks.kernels.packing import ROWS, Packed, aligned, pack, quantised
from lmworks.models.adapted import AdaptedLinear


@dataclass(frozen=True)
class PackedAdapter:
    """The updates of a matrix, packed."""

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
    def table(self) -> np.ndarray:
        """The table that the matrix reads."""
        starts = self.up.ctypes.data + 2 * ROWS * np.cumsum([0, *self.counts[:-1]])
        return np.stack([self.counts, starts, self.offset + 4 * np.array(self.begins)], axis=1).astype(np.int64)


def pack_adapter(name: str, layer: AdaptedLinear, outliers: tuple[int, ...]) -> PackedAdapter:
    """The updates of a layer whose base has these outliers. ModelError where one is not finite."""
    downs, ups, done = [], [], 0
    counts, begins = ([0] * -(-layer.base.out_features // ROWS) for _ in range(2))
    for rows, down, up in layer.updates():
        if not torch.isfinite(up).all():
            raise ModelError(
                f"{name}'s adapter holds values that are not finite (NaN or infinite); go back to an earlier checkpoint"
            )
        size = down.abs().amax().clamp_min(1e-30)  # D's scales are float16, and U has room for any number
        downs.append(down / size)
        blocks = slice(rows.start // ROWS, rows.stop // ROWS)
        assert rows.start % ROWS == 0 and rows.stop % ROWS == 0, "ranges of rows are whole blocks (coverage.py)"
        counts[blocks] = [len(down)] * (blocks.stop - blocks.start)
        begins[blocks] = [done] * (blocks.stop - blocks.start)
        ups.append((rows.start, (up * size).view(-1, ROWS, len(down)).mT))
        done += len(down)
    packed = pack(quantised(f"{name}'s adapter", torch.cat(downs), 8), 8, outliers)
    flat = torch.cat([up.flatten() for _, up in sorted(ups, key=lambda pair: pair[0])])
    data = aligned(2 * flat.numel())
    data[:] = flat.bfloat16().view(torch.uint8).numpy()
    return PackedAdapter(packed, data, tuple(counts), tuple(begins))
