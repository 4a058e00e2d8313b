"""Scores of chunks: those by keywords and by vectors mixed, and the places of the highest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 256
"""Scores of which the highest is found first."""


def mixed(keywords: NDArray[np.float64], vectors: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Hybrid scores: each kind moved to 0 ... 1, and the vectors' share `weight`."""
    return weight * _spread(vectors) + (1 - weight) * _spread(keywords)


def _spread(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores moved to 0 ... 1."""
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / (high - low) if high > low else np.full(len(scores), float(high > 0))


def best(scores: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Places of the k highest scores and of all that equal the last of them."""
    if len(scores) <= k:
        return np.arange(len(scores))
    # The k-th highest of some blocks' highest scores is a bound that few others reach: one pass, and no sorting of all.
    whole = len(scores) // BLOCK * BLOCK
    highest = scores[:whole].reshape(-1, BLOCK).max(axis=1)
    places = np.flatnonzero(scores >= np.partition(highest, -k)[-k]) if len(highest) > k else np.arange(len(scores))
    least = np.partition(scores[places], -k)[-k]
    return places[scores[places] >= least]
