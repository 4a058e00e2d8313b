"""The inner loops of a search: in numpy, and compiled (extra `fast`) in a process that goes on searching many chunks.

Both give the same numbers to the bit: whole numbers add up exactly in any order, and the rest is computed for each
chunk by itself, in the same order of operations.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

WORTH = 3_000_000
"""Rows after which a process compiles: that takes about a second, and spares it a tenth of a microsecond a row."""
BLOCK = 512
"""Rows of vectors that are multiplied at once: as float32 they stay in a core's cache."""
_done = np.zeros(1, np.int64)
"""Rows so far."""


class _Compiled(NamedTuple):
    products: Any
    add_term: Any


def products(rows: NDArray[np.void], query: NDArray[np.void]) -> NDArray[np.float64]:
    """The dot products [rows] of vectors with a query: rows of a scale and int8 entries, as `matrix` packs them."""
    found, asked, scale = np.empty(len(rows)), query["entries"], float(query["scale"])
    if compiled := _compiled_after(len(rows)):
        compiled.products(rows["entries"], rows["scale"], asked, scale, found)
        return found
    # float32 holds whole numbers exactly up to 2^24.
    exact = np.float32 if len(asked) * 127**2 < 2**24 else np.float64
    vector = asked.astype(exact)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        product = np.dot(block["entries"].astype(exact), vector).astype(np.float64)
        found[start : start + BLOCK] = product * block["scale"] * scale
    return found


def add_term(
    chunks: NDArray[np.uint16],
    counts: NDArray[np.uint16],
    norms: NDArray[np.float64],
    weight: float,
    scores: NDArray[np.float64],
) -> None:
    """Add weight * count / (count + norm) to the scores of a segment's chunks."""
    if compiled := _compiled_after(len(chunks)):
        compiled.add_term(chunks, counts, norms, weight, scores)
        return
    places, count = chunks.astype(np.intp), counts.astype(np.float64)
    scores[places] += weight * count / (count + norms[places])


def _compiled_after(rows: int) -> _Compiled | None:
    """The compiled loops, once they are worth it and where numba is installed."""
    _done[0] += rows
    return _compiled() if _done[0] > WORTH else None


@cache
def _compiled() -> _Compiled | None:
    if importlib.util.find_spec("numba") is None:
        return None
    import numba

    @numba.njit(nogil=True)
    def products(entries, scales, query, scale, found):
        for row in range(entries.shape[0]):
            total = np.int32(0)
            for at in range(entries.shape[1]):
                total += np.int32(entries[row, at]) * np.int32(query[at])
            found[row] = np.float64(total) * np.float64(scales[row]) * scale

    @numba.njit(nogil=True)
    def add_term(chunks, counts, norms, weight, scores):
        for at in range(len(chunks)):
            count = np.float64(counts[at])
            scores[chunks[at]] += weight * count / (count + norms[chunks[at]])

    return _Compiled(products, add_term)
