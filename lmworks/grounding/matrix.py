"""The vectors of an index: one file of rows of int8, each with its scale; row i is the vector of chunk i.

    matrix = Matrix(path, dim=384)
    matrix.write({7: vector})              # before the database's commit; a row that nobody refers to harms nobody
    scores = matrix.scores(query)          # dot products with every row

A row is the vector divided by its largest entry and rounded to -127 ... 127: 1 byte for each of 4. So is the query:
products of whole numbers add up exactly, so that a score does not depend on the row's place.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.files import says_why
from lmworks.grounding.loops import products


class Matrix:
    """Rows of a scale (float32) and `dim` entries (int8)."""

    def __init__(self, path: Path, dim: int) -> None:
        self.path, self.dim = path, dim
        self.row = _row(dim)
        self._mapped: tuple[tuple[int, int, int], NDArray[np.void]] | None = None
        """The file's rows, and which file of what size it was."""

    def __len__(self) -> int:
        """Rows that the file has room for."""
        return self.path.stat().st_size // self.row.itemsize if self.path.is_file() else 0

    def write(self, vectors: Mapping[int, NDArray[np.float32]]) -> dict[int, int]:
        """Write rows at their places, flushed to the disk; rows between, if any, are zeros. Their CRC-32 by place."""
        checks = {}
        with says_why(self.path), self.path.open("r+b" if self.path.is_file() else "w+b") as file:
            places, size = sorted(vectors), self.row.itemsize
            rows = _packed(np.array([vectors[place] for place in places])).tobytes() if places else b""
            for at, place in enumerate(places):
                row = rows[at * size : (at + 1) * size]
                file.seek(place * size)
                file.write(row)
                checks[place] = zlib.crc32(row)
            file.flush()
            os.fsync(file.fileno())
        return checks

    def checks(self, places: Sequence[int]) -> list[int]:
        """The CRC-32 of the rows at these places; -1 where the file ends before."""
        if not self.path.is_file():
            return [-1] * len(places)
        found = []
        with self.path.open("rb") as file:
            for place in places:
                file.seek(place * self.row.itemsize)
                row = file.read(self.row.itemsize)
                found.append(zlib.crc32(row) if len(row) == self.row.itemsize else -1)
        return found

    def scores(self, query: NDArray[np.float32]) -> NDArray[np.float64]:
        """The dot product of the query [dim] with every row [rows]."""
        rows = self._rows()
        return np.zeros(0) if rows is None else products(rows, packed(query))

    def _rows(self) -> NDArray[np.void] | None:
        """The file's rows, which follow what is written into it. Mapping it anew for each query would cost the system
        more than multiplying it: a fault for every page."""
        rows = len(self)
        if not rows:
            return None
        now = self.path.stat()
        key = now.st_dev, now.st_ino, rows
        held = self._mapped
        if held is None or held[0] != key:
            held = self._mapped = key, np.memmap(self.path, self.row, mode="r", shape=(rows,))
        return held[1]


def packed(vector: NDArray[np.float32]) -> NDArray[np.void]:
    """A vector as a row."""
    return _packed(vector[None]).reshape(())


def _packed(vectors: NDArray[np.float32]) -> NDArray[np.void]:
    """Vectors [rows, dim] as rows."""
    scale = np.abs(vectors).max(axis=1).astype(np.float64) / 127
    scale[scale == 0] = 1.0
    rows = np.zeros(len(vectors), _row(vectors.shape[1]))
    rows["scale"] = scale
    rows["entries"] = np.rint(vectors / scale.astype(np.float32)[:, None]).astype(np.int8)
    return rows


def _row(dim: int) -> np.dtype[np.void]:
    return np.dtype([("scale", "<f4"), ("entries", "i1", (dim,))])
