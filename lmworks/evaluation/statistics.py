"""Estimates with 95 % intervals: seeded bootstraps over documents, Student's t over few, proportions, correlations.

    ratio_of_sums(bits, bytes)      # bits per byte of a corpus, resampled by document

A document is resampled whole: its tokens depend on each other, and pretending they do not makes intervals
several times too narrow.
Sources: percentile bootstrap: Efron and Tibshirani 1993, chapter 13; Wilson 1927; Spearman's interval: Bonett
and Wright 2000, https://doi.org/10.1007/BF02294183.
"""

from __future__ import annotations

import math
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
FEW = 30
"""Fewer units than this have Student's t: a bootstrap over them knows of no spread but theirs, and its "95 %" hold the
truth in 49 % of samples of 2, 80 % of 4 and 89 % of 8 normal units, where t holds it in 95 % (of skewed units, an
exponential distribution's: 46, 74 and 84 %, and t 90, 87 and 89 %). From 30 units on both are as wide to 7 %."""
ALIKE = 1e-9
"""A spread of less than this share of the value is none: the units are all the same."""
ROUNDING = 1e-12
"""A difference of less than this share of what is subtracted is none."""
UNBOUNDED = (-math.inf, math.inf)
AT_LEAST_0 = (0.0, math.inf)
"""The bounds of what is never negative: bits, seconds, a divergence."""
BLOCK = 4_000_000
"""Resampling weights held at once: 32 MB."""


class Estimate(NamedTuple):
    """A value and its 95 % interval; no interval where one item is all there is, or a few that are all the same,
    and not 0."""

    value: float
    interval: tuple[float, float] | None


def mean(
    values: ArrayLike, *, bounds: tuple[float, float] = UNBOUNDED, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean of a value per document, which lies `within` the bounds. ConfigError for no values, or one that is not
    finite."""
    numbers = _finite("values", values)
    if len(numbers) < FEW:
        found = _by_units(numbers, np.ones_like(numbers))
    else:
        found = _bootstrap(lambda sums: sums[..., 0] / len(numbers), [numbers], resamples, seed)
    return within(found, bounds, len(numbers))


def ratio_of_sums(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    bounds: tuple[float, float] = UNBOUNDED,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """sum(numerators) / sum(denominators) over documents: bits by bytes, say; it lies `within` the bounds. Denominators
    are above 0."""
    above, below = _finite("numerators", numerators), _positive("denominators", denominators)
    _pairs(above, below)
    if len(above) < FEW:
        found = _by_units(above, below)
    else:
        found = _bootstrap(lambda sums: sums[..., 0] / sums[..., 1], [above, below], resamples, seed)
    return within(found, bounds, len(above))


def difference_of_ratios(
    before: ArrayLike,
    after: ArrayLike,
    denominators: ArrayLike,
    *,
    bounds: tuple[float, float] = UNBOUNDED,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """(sum(after) - sum(before)) / sum(denominators), each document paired with itself.

    Pairing takes out what the documents differ in among themselves, so that small changes can be seen.
    """
    earlier, later = _finite("before", before), _finite("after", after)
    _pairs(earlier, later)
    found = ratio_of_sums(_changes(earlier, later), denominators, bounds=bounds, resamples=resamples, seed=seed)
    size = float((np.abs(earlier) + np.abs(later)).sum() / np.sum(denominators))
    if abs(found.value) > ROUNDING * size:
        return found
    return Estimate(0.0, found.interval and (min(found.interval[0], 0.0), max(found.interval[1], 0.0)))


def proportion(successes: float, n: int) -> Estimate:
    """successes / n with Wilson's interval, which keeps within 0 and 1 and works for small n; what counts in part (a
    tie of two, as a half) may be among them."""
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
    """Spearman's rank correlation of pairs, ties by mean rank; no interval for fewer than 8, of which it holds
    a high correlation too seldom. ConfigError where one side is constant."""
    first, second = _ranks(_finite("x", x)), _ranks(_finite("y", y))
    _pairs(first, second)
    if not first.std() or not second.std():
        raise ConfigError("all values of one side are equal; there is no rank correlation with a constant")
    value = float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))
    if len(first) < 8:
        return Estimate(value, None)
    half = Z * ((1 + value**2 / 2) / (len(first) - 3)) ** 0.5
    # The transform to where the error is normal has no value at -1 and 1 themselves.
    middle = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    return Estimate(value, (min(float(np.tanh(middle - half)), value), max(float(np.tanh(middle + half)), value)))


def area_under_curve(positive: ArrayLike, negative: ArrayLike) -> Estimate:
    """How often a positive's score is above a negative's, ties counted half: the area under the ROC curve.

    Chance is 0.5. The interval is that of DeLong, DeLong and Clarke-Pearson 1988, https://doi.org/10.2307/2531595,
    with Student's t where one side has few; `within` 0 and 1.
    """
    above, below = _finite("positives", positive), _finite("negatives", negative)
    ranks = _ranks(np.concatenate([above, below]))
    beaten = (ranks[: len(above)] - _ranks(above)) / len(below)
    beating = 1 - (ranks[len(above) :] - _ranks(below)) / len(above)
    value = float(beaten.mean())
    if len(above) < 2 or len(below) < 2:
        return Estimate(value, None)
    fewest = min(len(above), len(below))
    reach = student_quantile(fewest - 1) if fewest < FEW else Z
    half = reach * float(beaten.var(ddof=1) / len(above) + beating.var(ddof=1) / len(below)) ** 0.5
    return within(Estimate(value, (value - half, value + half)), (0.0, 1.0), fewest)


def clustered_mean(values: ArrayLike, clusters: Sequence[str]) -> Estimate:
    """The mean of values of which those of one cluster depend on each other, with an interval by clusters: the ratio
    to 1 each (`clustered_ratio`)."""
    numbers = _finite("values", values)
    return clustered_ratio(numbers, np.ones_like(numbers), clusters)


def clustered_ratio(above: ArrayLike, below: ArrayLike, clusters: Sequence[str]) -> Estimate:
    """sum(above) / sum(below) over items of which those of one cluster depend on each other.

    SE^2 = (sum below)^-2 sum over clusters of (sum of above - ratio below in it)^2, times G / (G - 1), and Student's t
    with G - 1 degrees of freedom, G being the number of clusters that count (Miller 2024,
    https://arxiv.org/abs/2411.00640, section 2.2, with the usual correction for few clusters). No interval for a
    single cluster. ConfigError where nothing is below.
    """
    value, pulls = _pulls(above, below, clusters)
    return _by_clusters(value, list(pulls.values()))


def difference_of_clustered_ratios(
    before: tuple[ArrayLike, ArrayLike], after: tuple[ArrayLike, ArrayLike], clusters: Sequence[str]
) -> Estimate:
    """The second ratio minus the first, of the same items: each cluster is paired with itself."""
    (first, pulls), (second, others) = (_pulls(*one, clusters) for one in (before, after))
    every = dict.fromkeys((*pulls, *others))
    return _by_clusters(second - first, [others.get(one, 0.0) - pulls.get(one, 0.0) for one in every])


def _pulls(above: ArrayLike, below: ArrayLike, clusters: Sequence[str]) -> tuple[float, dict[str, float]]:
    """A ratio, and how far each cluster that counts pulls it."""
    upper, lower = _finite("values", above), _finite("weights", below)
    if not len(upper) == len(lower) == len(clusters):
        raise ConfigError(f"{len(upper)} values stand against {len(clusters)} clusters; give one of each per item")
    if lower.sum() <= 0:
        raise ConfigError("nothing counts: the weights of all items are 0; measure more items")
    value = float(upper.sum() / lower.sum())
    names, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(place, weights=upper - value * lower) / lower.sum()
    counts = np.bincount(place, weights=np.abs(upper) + lower)
    return value, {str(name): float(pull) for name, pull, count in zip(names, sums, counts, strict=True) if count}


def _by_units(above: Array, below: Array) -> Estimate:
    """A ratio of sums with Student's t over its units."""
    value = float(above.sum() / below.sum())
    return _by_clusters(value, ((above - value * below) / below.sum()).tolist())


def jackknife(value: float, without: Sequence[float]) -> Estimate:
    """A figure of items with Student's t, by what it is `without` each of them (Efron and Tibshirani 1993, chapter 11).
    No interval for a single item."""
    middle, share = sum(without) / len(without), (len(without) - 1) / len(without)
    return _by_clusters(value, [share * (middle - one) for one in without])


def _by_clusters(value: float, pulls: Sequence[float]) -> Estimate:
    """Student's t. A few units that are all the same, and not 0, show no spread, which does not mean that there is
    none."""
    if len(pulls) < 2:
        return Estimate(value, None)
    error = (sum(one * one for one in pulls) * len(pulls) / (len(pulls) - 1)) ** 0.5
    if value and len(pulls) < FEW and error <= ALIKE * abs(value):
        return Estimate(value, None)
    half = student_quantile(len(pulls) - 1) * error
    return Estimate(value, (value - half, value + half))


def within(estimate: Estimate, bounds: tuple[float, float], count: int) -> Estimate:
    """A mean of values that lie within `bounds`, its interval cut there.

    If `count` independent values were all the same, no spread was seen, which does not mean that there is none: the
    interval then covers what that many values could hide if a share of the others lay at a bound. The share is the
    upper end of Wilson's interval for none of `count`, Z^2 / (count + Z^2). A bound may be infinite; such values have
    no interval then.
    """
    value, interval = estimate
    least, most = bounds
    if interval is None or interval[1] - interval[0] < 1e-12:
        if count < 2 or not math.isfinite(most - least):
            return estimate
        hidden = Z**2 / (count + Z**2)
        interval = value - (value - least) * hidden, value + (most - value) * hidden
    return Estimate(value, (min(max(interval[0], least), value), max(min(interval[1], most), value)))


def paired_difference(before: ArrayLike, after: ArrayLike, clusters: Sequence[str] | None = None) -> Estimate:
    """The mean of after - before, each item paired with itself: SE^2 = Var(after - before) / n (Miller 2024, section
    3.2), or by `clusters` of items, and Student's t. No interval for a single item."""
    earlier, later = _finite("before", before), _finite("after", after)
    _pairs(earlier, later)
    names = [str(number) for number in range(len(earlier))] if clusters is None else clusters
    return clustered_mean(_changes(earlier, later), names)


def independent_difference(before: Estimate, after: Estimate) -> Estimate:
    """after - before of two estimates from different items, its interval from theirs: each end lies as far away as the
    two ends beside it together, as the root of the sum of squares (Zou and Donner 2008,
    https://doi.org/10.1002/sim.3095). No interval where one of them has none."""
    value = after.value - before.value
    if before.interval is None or after.interval is None:
        return Estimate(value, None)
    below = math.hypot(after.value - after.interval[0], before.interval[1] - before.value)
    above = math.hypot(after.interval[1] - after.value, before.value - before.interval[0])
    return Estimate(value, (value - below, value + above))


def mcnemar(wins: int, losses: int) -> float:
    """The probability of so uneven a split of the items on which two models disagree, were they equally good.

    The exact two-sided test (McNemar 1947, https://doi.org/10.1007/BF02295996): a binomial one at a half.
    """
    if min(wins, losses) < 0:
        raise ConfigError(f"{wins} wins and {losses} losses cannot be counts; give what each model alone got right")
    n = wins + losses
    tail = sum(math.comb(n, at) for at in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**n)


def p_value(value: float, interval: tuple[float, float] | None, level: float, units: int) -> float:
    """How probable a value at least as far from `level` is, were that the truth: Student's two-sided test over `units`
    independent ones, whose error is that of the 95 % interval's end on the side of the level; 0.05 where the interval
    ends at it. 1 without an interval; 0 for less than 1e-15."""
    if interval is None or value == level:
        return 1.0
    half = value - interval[0] if level < value else interval[1] - value
    if half <= 0 or units < 2:
        return 0.0 if half <= 0 else 1.0
    return _both_tails(abs(value - level) / half * student_quantile(units - 1), units - 1)


def _both_tails(t: float, freedom: int) -> float:
    """How probable a t at least as far from 0 is (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan(t / freedom**0.5)
    squared, term, total = math.cos(angle) ** 2, 1.0, 0.0
    odd = freedom % 2
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= squared * k / (k + 1)
    inside = math.sin(angle) * total * (math.cos(angle) if odd else 1.0)
    return max(1 - (2 / math.pi * (angle + inside) if odd else inside), 0.0)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of several tests, adjusted so that all of them together err in 1 of 20 cases at 0.05 (Holm 1979,
    https://www.jstor.org/stable/4615733); in the order in which they were given."""
    order = sorted(range(len(probabilities)), key=lambda at: probabilities[at])
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * probabilities[at]))
        adjusted[at] = highest
    return adjusted


POWER = 0.8
DISAGREE = 0.25
"""The share of items on which two models of one size disagree, until it is measured."""


def smallest_difference(n: int, disagree: float = DISAGREE) -> float:
    """The difference of two models' accuracies that a paired test at 5 % sees with a probability of 80 %, on n items of
    which one model alone gets a share `disagree` right, or as many as the difference (Miller 2024, section 5: the
    variance of the paired difference is about that share). 1 where none can be seen."""
    if n < 1 or not 0 < disagree <= 1:
        raise ConfigError(f"{n} items with a share of {disagree:g} make no test; give at least one item, a share to 1")
    both = (Z + NormalDist().inv_cdf(POWER)) ** 2
    found = (both * disagree / n) ** 0.5
    return min(found if found <= disagree else both / n, 1.0)


def student_quantile(freedom: int) -> float:
    """Student's t at the 97.5 % point, by the expansion in 1 / freedom about the normal one (Abramowitz and Stegun
    1964, 26.7.5), exact for 1 and 2, where it fails; within 0.2 % from 3 on."""
    if freedom < 3:
        q = 0.5 + LEVEL / 2
        return math.tan(math.pi * (q - 0.5)) if freedom == 1 else (2 * q - 1) / (2 * q * (1 - q)) ** 0.5
    terms = (
        Z,
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


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


def _changes(before: Array, after: Array) -> Array:
    """after - before, where it is more than their rounding."""
    changes = after - before
    return np.where(np.abs(changes) <= ROUNDING * (np.abs(before) + np.abs(after)), 0.0, changes)


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
