"""Settings, chosen by trials: on one half of the documents and judged on the other, then on all of them.

What is chosen and judged on the same questions looks better than it is. So every question is searched with the weight
that the questions of the other half choose; the weight that an index keeps is that of all questions.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmworks.evaluation.statistics import difference_of_ratios
from lmworks.grounding.self_test.questions import SelfTestQuestion
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
    """The weight with the highest nDCG@10, each kind of question counting the same, where enough speaks for it."""
    halves = np.array([half_of(one.question.passages[0].file) for one in tried])
    kept = _best(tried)
    of_other = [_best([one for one, half in zip(tried, halves, strict=True) if half != which]) for which in (0, 1)]
    return Weight(kept, np.array([of_other[half] for half in halves]))


def half_of(file: str) -> int:
    """0 or 1: all questions of a document are in the same half."""
    return hashlib.sha256(file.encode()).digest()[0] % 2


def _best(tried: Sequence[Trial]) -> int:
    """The best weight, if it is better than the usual one beyond the interval and worse for no kind; else the usual.

    Neighbouring weights are averaged, so that one lucky question does not decide.
    """
    usual = WEIGHTS.index(USUAL)
    kinds = sorted({one.question.kind for one in tried})
    if not kinds:
        return usual
    means = np.stack([np.mean([one.gains for one in tried if one.question.kind == kind], axis=0) for kind in kinds])
    smooth = np.convolve(np.pad(means.mean(axis=0), 2, "edge"), np.ones(5) / 5, "valid")
    best = min(range(len(WEIGHTS)), key=lambda at: (-round(float(smooth[at]), 6), abs(at - usual)))
    if (means[:, best] < means[:, usual]).any():
        return usual
    questions = [one.question for one in tried]
    before, counts = by_document([float(one.gains[usual]) for one in tried], questions)
    after, _ = by_document([float(one.gains[best]) for one in tried], questions)
    interval = difference_of_ratios(before, after, counts).interval
    return best if interval is not None and interval[0] > 0 else usual


def by_document(values: Sequence[float], questions: Sequence[SelfTestQuestion]) -> tuple[Array, Array]:
    """Sums and counts by document: what is resampled."""
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, float] = defaultdict(float)
    for value, one in zip(values, questions, strict=True):
        sums[one.passages[0].file] += value
        counts[one.passages[0].file] += 1
    return np.array(list(sums.values())), np.array(list(counts.values()))
