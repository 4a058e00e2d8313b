"""Which tokens run together: rows without their padding, cut and put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmworks.basics.arrays import Bool, Int


@dataclass
class Span:
    """Tokens of one row that are computed in one run: `count` from the row's real token number `start` on."""

    row: int
    start: int
    count: int


def real_places(tokens: Int[np.ndarray, "batch seq"], real: Bool[np.ndarray, "batch seq"] | None) -> list[np.ndarray]:
    """Where each row's real tokens stand."""
    if real is None:
        every = np.arange(tokens.shape[1])
        return [every] * len(tokens)
    return [row.nonzero()[0] for row in real]


def runs(sizes: list[int], causal: bool, at_once: int) -> Iterator[list[Span]]:
    """Rows cut and put together so that a run has about `at_once` tokens; an encoder's rows stay whole."""
    spans: list[Span] = []
    room = at_once
    for row, size in enumerate(sizes):
        start = 0
        while start < size:
            count = min(size - start, room) if causal else size - start
            if spans and count > room:
                yield spans
                spans, room = [], at_once
                continue
            spans.append(Span(row, start, count))
            start, room = start + count, room - count
            if room <= 0:
                yield spans
                spans, room = [], at_once
    if spans:
        yield spans
