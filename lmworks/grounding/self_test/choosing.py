"""Settings, chosen by trials: on one half of the documents and judged on the other, then on all of them.

What is chosen and judged on the same questions looks better than it is. So every question is searched with the weight
that the questions of the other half choose; the weight that an index keeps is that of all questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmworks.grounding.self_test.trials import WEIGHTS, Trial

Array = NDArray[np.float64]
USUAL = 0.5
"""The weight where nothing speaks for another."""


class Weight(NamedTuple):
    """Where in `WEIGHTS` the choice is."""

    kept: int
    """Chosen on all questions."""
    judged: NDArray[np.int64]
    """For each question, chosen on the half that it is not of."""


def chosen_weight(tried: Sequence[Trial]) -> Weight:
    """The weight with the highest nDCG@10, each kind of question counting the same."""
    halves = np.array([half_of(one.question.passages[0].file) for one in tried])
    kept = _best(tried)
    of_other = [_best([one for one, half in zip(tried, halves, strict=True) if half != which]) for which in (0, 1)]
    return Weight(kept, np.array([of_other[half] for half in halves]))


def half_of(file: str) -> int:
    """0 or 1: all questions of a document are in the same half."""
    return hashlib.sha256(file.encode()).digest()[0] % 2


def _best(tried: Sequence[Trial]) -> int:
    """Neighbouring weights are averaged, so that one lucky question does not decide; of equal ones that near a half."""
    usual = WEIGHTS.index(USUAL)
    kinds = {one.question.kind for one in tried}
    if not kinds:
        return usual
    means = np.mean([np.mean([one.gains for one in tried if one.question.kind == kind], axis=0) for kind in kinds], 0)
    smooth = np.convolve(np.pad(means, 2, "edge"), np.ones(5) / 5, "valid")
    return min(range(len(WEIGHTS)), key=lambda at: (-round(float(smooth[at]), 6), abs(at - usual)))
