"""The inner loops of a search: in numpy, and compiled (extra `fast`) in a process that goes on searching many chunks.

Both give the same numbers to the bit: whole numbers add up exactly in any order, and the rest is computed for each
chunk by itself, in the same order of operations.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmworks.basics.ahead import in_order, pool_of, usable_cores

WORTH = 3_000_000
"""Rows after which a process compiles: that takes about a second, and spares it a tenth of a microsecond a row."""
APART = 100_000
"""Rows of vectors for which a thread of its own is worth starting; it multiplies them in some 8 ms."""
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
        _in_threads(
            lambda part: compiled.products(_bytes(rows[part]), rows["scale"][part], asked, scale, found[part]),
            len(rows),
        )
        return found
    # float32 holds whole numbers exactly up to 2^24.
    exact = np.float32 if len(asked) * 127**2 < 2**24 else np.float64
    vector = asked.astype(exact)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        product = np.dot(block["entries"].astype(exact), vector).astype(np.float64)
        found[start : start + BLOCK] = product * block["scale"] * scale
    return found


def _in_threads(task: Callable[[slice], None], rows: int) -> None:
    """Do a task that lets go of Python's lock for all rows; where they are many, each core does a part of them."""
    threads = max(min(usable_cores(), rows // APART), 1)
    if threads == 1:
        task(slice(0, rows))
        return
    size = -(-rows // threads)
    with pool_of(threads, "search") as pool:
        parts = (partial(task, slice(start, start + size)) for start in range(0, rows, size))
        list(in_order(pool, parts, most=threads))


def _bytes(rows: NDArray[np.void]) -> NDArray[np.int8]:
    """Rows as bytes side by side: only of such does the compiler know that it can read many at once."""
    return rows.view(np.int8).reshape(len(rows), rows.itemsize)


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
    def products(rows, scales, query, scale, found):
        dim = np.uint64(len(query))  # a place that cannot be negative is not counted from the end
        before = np.uint64(rows.shape[1]) - dim
        for row in range(rows.shape[0]):
            total = np.int32(0)
            for at in range(dim):  # 32 bits each time, as numba adds two of them into 64
                total = np.int32(total + np.int32(np.int32(rows[row, before + at]) * np.int32(query[at])))
            found[row] = np.float64(total) * np.float64(scales[row]) * scale

    @numba.njit(nogil=True)
    def add_term(chunks, counts, norms, weight, scores):
        for at in range(len(chunks)):
            count = np.float64(counts[at])
            scores[chunks[at]] += weight * count / (count + norms[chunks[at]])

    return _Compiled(products, add_term)
