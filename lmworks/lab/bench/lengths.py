"""Pairs by their lengths in words between spaces, and whether the length that is written follows the one wanted.

groups(pairs)                       # {"short sources": [0, 7, ...], ..., "lengths equal": [...], ...}
run.log(seed, kind, {FOLLOWS: [lengths(answer, *pair) for answer, pair in zip(answers, pairs)]}, items=names)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmworks.lab.metric import Array, Metric

SHORT, MIDDLE, LONG = THIRDS = "short sources", "middle sources", "long sources"
EQUAL, UNEQUAL = "lengths equal", "lengths two words or more apart"
APART = 2
"""Words that a target is longer or shorter by, at least, in UNEQUAL."""


def lengths(written: str, source: str, wanted: str) -> list[float]:
    """What `correlation` sums, of the lengths of one answer and of its reference over that of the source."""
    x, y = (len(text.split()) / len(source.split()) for text in (written, wanted))
    return [1.0, x, y, x * x, y * y, x * y]


def groups(asked: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    """Places of pairs by the length of the source, and by whether the target's differs."""
    sizes = [(len(source.split()), len(target.split())) for source, target in asked]
    order = sorted(range(len(asked)), key=lambda at: sizes[at][0])
    cuts = [round(len(order) * third / len(THIRDS)) for third in range(len(THIRDS) + 1)]
    apart = [abs(source - target) for source, target in sizes]
    return {
        **{name: sorted(order[cuts[at] : cuts[at + 1]]) for at, name in enumerate(THIRDS)},
        EQUAL: [at for at, one in enumerate(apart) if not one],
        UNEQUAL: [at for at, one in enumerate(apart) if one >= APART],
    }


def correlation(sums: Array) -> Array:
    """Pearson's, of the sums over items of 1, x, y, x * x, y * y and x * y; 0 where x or y never changes."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    both = np.clip(n * xx - x * x, 0, None) * np.clip(n * yy - y * y, 0, None)
    return np.where(both > 1e-12, (n * xy - x * y) / np.sqrt(np.maximum(both, 1e-12)), 0.0)


FOLLOWS = Metric(
    "correlation of written and wanted length, both over the source's", chance=0.0, ideal=1.0, of=correlation
)
