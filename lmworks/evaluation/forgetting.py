"""What a sequence of tasks taught and what it cost: from scores after each task, of the texts of every task.

    scores = np.array([[0.1, 0.1], [0.8, 0.1], [0.5, 0.9]])     # the base, then after each task; higher is better
    backward_transfer(scores)                                    # -0.3: what the first task lost to the second

Sources: backward and forward transfer, Lopez-Paz and Ranzato 2017 (arXiv:1706.08840); forgetting from the best,
Chaudhry et al. 2018 (arXiv:1801.10112).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lmworks.basics.arrays import Float
from lmworks.basics.extras import require
from lmworks.evaluation.statistics import FEW, LEVEL, RESAMPLES, Estimate, Z, student_quantile

Scores = Float[np.ndarray, "*samples stages tasks"]
"""Row 0 is the base, row k the model after k tasks; column k - 1 is the kth task. Higher is better."""
Values = Float[np.ndarray, "*samples"]


def average(scores: Scores) -> Values:
    """The mean over all tasks after the last one."""
    return scores[..., -1, :].mean(-1)


def backward_transfer(scores: Scores) -> Values:
    """What later tasks did to earlier ones: after the last task, minus when each was learnt. Below 0 is forgetting."""
    return (_earlier(scores[..., -1, :]) - _earlier(_learnt(scores))).mean(-1)


def forward_transfer(scores: Scores) -> Values:
    """What earlier tasks did for later ones: just before each was learnt, minus the base; the first does not count."""
    before = np.stack([scores[..., at, at] for at in range(1, scores.shape[-1])], axis=-1)
    return (before - scores[..., 0, 1:]).mean(-1)


def forgotten_since_learnt(scores: Scores) -> Values:
    """When each earlier task was learnt, minus after the last: backward transfer with the other sign."""
    return -backward_transfer(scores)


def forgotten_since_best(scores: Scores) -> Values:
    """The best of each earlier task after any task but the last, minus after the last."""
    best = _earlier(scores[..., 1:-1, :]).max(-2)
    return (best - _earlier(scores[..., -1, :])).mean(-1)


def _learnt(scores: Scores) -> Scores:
    """Each task's score right after it was trained."""
    return np.stack([scores[..., at + 1, at] for at in range(scores.shape[-1])], axis=-1)


def _earlier(tasks: Scores) -> Scores:
    return tasks[..., :-1]


@dataclass(frozen=True)
class CountedText:
    """A text under a model: its score is the sum of `above` over the sum of `below`, the items' order always the
    same."""

    above: Float[np.ndarray, " items"]
    below: Float[np.ndarray, " items"]
    document: Float[np.ndarray, " items"]
    """The number of the document that each item is from."""

    def chosen(self, other: CountedText, documents: set[int]) -> CountedText:
        """This one, with the other's figures for some documents."""
        theirs = np.isin(self.document, sorted(documents))
        return CountedText(np.where(theirs, other.above, self.above), self.below, self.document)


class Resampled:
    """Scores of texts, as they are and over resampled items: the same items in every model, so that they compare."""

    def __init__(self, sizes: Mapping[str, int], resamples: int = RESAMPLES, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        self.weights = {
            name: np.concatenate([np.ones((1, items)), generator.multinomial(items, [1 / items] * items, resamples)])
            for name, items in sizes.items()
        }
        """By text, how often each item counts in each sample; in sample 0 once."""

    def scores(self, name: str, counted: CountedText) -> Float[np.ndarray, " samples"]:
        """One score a sample."""
        weights = self.weights[name]
        return np.asarray((weights @ counted.above) / (weights @ counted.below))


def estimate(values: Float[np.ndarray, "seeds samples"], items: int) -> Estimate:
    """The mean over seeds, with a 95 % interval for other seeds and other items.

    Sample 0 is the figure; the other samples are over resampled items, in every seed the same. The variance is that of
    the seeds' mean plus that over the items, so the noise between both counts twice and the interval errs on the wide
    side; degrees of freedom by Satterthwaite. Of one seed the interval speaks of other items alone. Several seeds need
    scipy (extra `lab`).
    """
    figure = float(values[:, 0].mean())
    by_items = float(values[:, 1:].mean(0).var(ddof=1)) if items > 1 else 0.0
    reach, unknown = Z, items < 2
    if 1 < items < FEW:  # resampled items vary less than other ones would
        by_items, reach = by_items * items / (items - 1), student_quantile(items - 1)
        unknown = figure != 0 and not by_items
    seeds = len(values)
    if seeds == 1:
        return Estimate(figure, None if unknown else (figure - reach * by_items**0.5, figure + reach * by_items**0.5))
    by_seeds = float(values[:, 0].var(ddof=1)) / seeds
    freedom = by_seeds**2 / (seeds - 1) + by_items**2 / max(items - 1, 1)
    degrees = (by_seeds + by_items) ** 2 / freedom if freedom else 1.0
    half = float(require("scipy.stats", "lab").t.ppf(0.5 + LEVEL / 2, degrees)) * (by_seeds + by_items) ** 0.5
    return Estimate(figure, (figure - half, figure + half))


def at_equal_gain(
    gained: Values, curve_gained: Float[np.ndarray, "*samples points"], curve_lost: Float[np.ndarray, "*samples points"]
) -> Values:
    """What a curve loses where it gains as much: between its points by straight lines, beyond its ends as at them."""
    flat = zip(gained.ravel(), _rows(curve_gained), _rows(curve_lost), strict=True)
    found = []
    for gain, gains, lost in flat:
        order = np.argsort(gains, kind="stable")
        found.append(np.interp(gain, gains[order], lost[order]))
    return np.array(found).reshape(gained.shape)


def _rows(points: Float[np.ndarray, "*samples points"]) -> Sequence[Float[np.ndarray, " points"]]:
    return list(points.reshape(-1, points.shape[-1]))
