"""Estimates with 95 % intervals: seeded bootstraps over documents, proportions, seeds, rank correlation.

    ratio_of_sums(bits, bytes)      # bits per byte of a corpus, resampled by document

A document is resampled whole: its tokens depend on each other, and pretending they do not makes intervals
several times too narrow.
Sources: percentile bootstrap: Efron and Tibshirani 1993, chapter 13; Wilson 1927; Spearman's interval: Bonett
and Wright 2000, https://doi.org/10.1007/BF02294183.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require

Array = NDArray[np.float64]

LEVEL = 0.95
"""The intervals' coverage, everywhere in lmworks."""
Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
RESAMPLES = 2000
BLOCK = 4_000_000
"""Resampling weights held at once: 32 MB."""


class Estimate(NamedTuple):
    """A value and its 95 % interval; no interval where one item is all there is."""

    value: float
    interval: tuple[float, float] | None


def mean(values: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of a value per document. ConfigError for no values, or one that is not finite."""
    numbers = _finite("values", values)
    return _bootstrap(lambda sums: sums[..., 0] / len(numbers), [numbers], resamples, seed)


def ratio_of_sums(
    numerators: ArrayLike, denominators: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """sum(numerators) / sum(denominators) over documents: bits by bytes, say. Denominators are above 0."""
    above, below = _finite("numerators", numerators), _positive("denominators", denominators)
    _pairs(above, below)
    return _bootstrap(lambda sums: sums[..., 0] / sums[..., 1], [above, below], resamples, seed)


def difference_of_ratios(
    before: ArrayLike,
    after: ArrayLike,
    denominators: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """(sum(after) - sum(before)) / sum(denominators), each document paired with itself.

    Pairing takes out what the documents differ in among themselves, so that small changes can be seen.
    """
    earlier, later = _finite("before", before), _finite("after", after)
    _pairs(earlier, later)
    return ratio_of_sums(later - earlier, denominators, resamples=resamples, seed=seed)


def proportion(successes: int, n: int) -> Estimate:
    """successes / n with Wilson's interval, which keeps within 0 and 1 and works for small n."""
    if not 0 <= successes <= n or n < 1:
        raise ConfigError(f"{successes} successes of {n} make no proportion; give 0 <= successes <= n and n >= 1")
    share = successes / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    # Rounding must not push the share itself out: at 0 and n the bound equals it.
    return Estimate(share, (min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)))


def over_seeds(values: ArrayLike) -> Estimate:
    """The mean over runs that differ in their seed, with Student's t interval. Needs scipy (extra `lab`)."""
    numbers = _finite("values", values)
    value = float(numbers.mean())
    if len(numbers) < 2:
        return Estimate(value, None)
    quantile = require("scipy.stats", "lab").t.ppf(0.5 + LEVEL / 2, len(numbers) - 1)
    half = float(quantile * numbers.std(ddof=1) / len(numbers) ** 0.5)
    return Estimate(value, (value - half, value + half))


def spearman(x: ArrayLike, y: ArrayLike) -> Estimate:
    """Spearman's rank correlation of pairs, ties by mean rank. ConfigError where one side is constant."""
    first, second = _ranks(_finite("x", x)), _ranks(_finite("y", y))
    _pairs(first, second)
    if not first.std() or not second.std():
        raise ConfigError("all values of one side are equal; there is no rank correlation with a constant")
    value = float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))
    if len(first) < 4:
        return Estimate(value, None)
    half = Z * ((1 + value**2 / 2) / (len(first) - 3)) ** 0.5
    # The transform to where the error is normal has no value at -1 and 1 themselves.
    middle = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    return Estimate(value, (min(float(np.tanh(middle - half)), value), max(float(np.tanh(middle + half)), value)))


def area_under_curve(positive: ArrayLike, negative: ArrayLike) -> Estimate:
    """How often a positive's score is above a negative's, ties counted half: the area under the ROC curve.

    Chance is 0.5. The interval, kept within 0 and 1, is that of DeLong, DeLong and Clarke-Pearson 1988,
    https://doi.org/10.2307/2531595.
    """
    above, below = _finite("positives", positive), _finite("negatives", negative)
    ranks = _ranks(np.concatenate([above, below]))
    beaten = (ranks[: len(above)] - _ranks(above)) / len(below)
    beating = 1 - (ranks[len(above) :] - _ranks(below)) / len(above)
    value = float(beaten.mean())
    if len(above) < 2 or len(below) < 2:
        return Estimate(value, None)
    half = Z * float(beaten.var(ddof=1) / len(above) + beating.var(ddof=1) / len(below)) ** 0.5
    return Estimate(value, (max(value - half, 0.0), min(value + half, 1.0)))


def _bootstrap(statistic: Callable[[Array], Array], columns: Sequence[Array], resamples: int, seed: int) -> Estimate:
    """The statistic of the columns' sums, and its percentile interval over resampled rows."""
    table = np.stack(columns, axis=1)
    value = float(statistic(table.sum(axis=0)))
    rows = len(table)
    if rows < 2:
        return Estimate(value, None)
    generator, even = np.random.default_rng(seed), np.full(rows, 1 / rows)
    block = max(1, BLOCK // rows)
    sums = np.concatenate(
        [
            generator.multinomial(rows, even, size=min(block, resamples - start)) @ table
            for start in range(0, resamples, block)
        ]
    )
    low, high = np.quantile(statistic(sums), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, (min(float(low), value), max(float(high), value)))


def _finite(name: str, values: ArrayLike) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ConfigError(f"{name} have the shape {list(numbers.shape)}; give one number per document, at least one")
    if not np.isfinite(numbers).all():
        at = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ConfigError(f"{name}[{at}] is {numbers[at]}; a figure cannot be made of it, find out where it comes from")
    return numbers


def _pairs(first: Array, second: Array) -> None:
    """Refuse columns of different length: numpy would stretch one value over all documents."""
    if len(first) != len(second):
        raise ConfigError(f"{len(first)} values stand against {len(second)}; give one of each per document")


def _positive(name: str, values: ArrayLike) -> Array:
    numbers = _finite(name, values)
    if (numbers <= 0).any():
        at = int(np.flatnonzero(numbers <= 0)[0])
        raise ConfigError(f"{name}[{at}] is {numbers[at]:g}; each must be above 0 (is that document empty?)")
    return numbers


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[group]
