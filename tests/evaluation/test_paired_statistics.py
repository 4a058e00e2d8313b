"""Clustered and paired errors, McNemar, Holm, power: against scipy and formulas written another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.statistics import (
    clustered_mean,
    clustered_ratio,
    difference_of_clustered_ratios,
    holm,
    mcnemar,
    p_value,
    paired_difference,
    proportion,
    smallest_difference,
    student_quantile,
)

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize(("freedom", "error"), [(1, 1e-9), (2, 1e-9), (3, 2e-3), (5, 2e-4), (24, 1e-6), (500, 1e-9)])
def test_students_quantile_is_that_of_scipy(freedom, error):
    assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=error)


@pytest.mark.parametrize("units", [2, 3, 5, 6, 25, 200])
def test_the_probability_of_a_level_is_that_of_students_test(units):
    values = DRAW.normal(size=units)
    found = clustered_mean(values, [str(at) for at in range(units)])
    for level in (0, 0.3, 2):
        scipys = stats.ttest_1samp(values, level).pvalue
        assert p_value(*found, level, units) == pytest.approx(scipys, rel=0.02 if units == 3 else 0.01, abs=1e-12)
    assert found.interval is not None
    assert p_value(*found, found.interval[0], units) == pytest.approx(0.05, rel=0.01)
    assert p_value(*found, found.value, units) == 1


def test_the_probability_of_a_level_of_a_share_is_near_that_of_the_score_test():
    for right, n in ((25, 33), (289, 500), (180, 500), (14, 20)):
        scores = 2 * stats.norm.sf(abs(right / n - 0.5) / (0.25 / n) ** 0.5)
        assert scores / 2 < p_value(*proportion(right, n), 0.5, n) < max(6 * scores, 1e-9)


def test_without_an_interval_nothing_is_improbable():
    assert p_value(0.3, None, 0.5, 1) == 1
    assert p_value(0.3, (0.3, 0.3), 0.5, 9) == 0, "what is exact is off for certain"


def test_without_clusters_the_interval_is_students():
    values = DRAW.normal(size=30)
    low, high = stats.t.interval(0.95, 29, values.mean(), stats.sem(values))
    assert clustered_mean(values, [str(at) for at in range(30)]).interval == pytest.approx((low, high), rel=1e-6)


def test_clustered_errors_are_millers_sum_over_pairs():
    """SE^2 = n^-2 (sum of squares + the products of two values of one cluster), times G / (G - 1)."""
    sizes = [1, 4, 7, 2, 10]
    clusters = [name for name, size in zip("abcde", sizes, strict=True) for _ in range(size)]
    values = DRAW.normal(size=24) + np.repeat(DRAW.normal(size=5), sizes)
    off = values - values.mean()
    total = (off**2).sum() + sum(
        off[i] * off[j] for i, j in itertools.permutations(range(24), 2) if clusters[i] == clusters[j]
    )
    half = stats.t.ppf(0.975, 4) * (total * 5 / 4) ** 0.5 / 24
    value, (low, high) = clustered_mean(values, clusters)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-3) and value == pytest.approx(values.mean())
    assert clustered_mean(values, ["a"] * 24).interval is None


def test_a_ratio_by_clusters_is_linearised_and_its_difference_is_paired():
    """SE^2 = G / (G - 1) sum over clusters of (sum of above - ratio below)^2 / (sum of below)^2; of a difference each
    cluster's terms are subtracted first."""
    clusters = [name for name in "abcde" for _ in range(4)]
    below = DRAW.integers(0, 2, 20).astype(float)
    ones = np.ones(20)
    above, other = DRAW.normal(size=20) * below, DRAW.normal(size=20)

    def pulls(upper, lower):
        ratio = upper.sum() / lower.sum()
        return ratio, (upper - ratio * lower).reshape(5, 4).sum(axis=1) / lower.sum()

    (first, mine), (second, theirs) = pulls(above, below), pulls(other, ones)
    for found, value, terms in (
        (clustered_ratio(above, below, clusters), first, mine),
        (difference_of_clustered_ratios((above, below), (other, ones), clusters), second - first, theirs - mine),
    ):
        half = stats.t.ppf(0.975, 4) * (5 / 4 * (terms**2).sum()) ** 0.5
        assert found.value == pytest.approx(value)
        assert found.interval == pytest.approx((value - half, value + half), rel=1e-3)
    with pytest.raises(ConfigError, match="nothing counts: the weights of all items are 0; measure more items"):
        clustered_ratio(above, 0 * below, clusters)


def test_intervals_by_clusters_hold_the_mean_as_often_as_they_say():
    held, plain = 0, 0
    for seed in range(400):
        draw = np.random.default_rng(seed)
        values = np.repeat(draw.normal(size=25), 8) + 0.3 * draw.normal(size=200)
        low, high = clustered_mean(values, np.repeat(np.arange(25), 8).tolist()).interval
        held += low <= 0 <= high
        plain += abs(values.mean()) <= 1.96 * stats.sem(values)
    assert 0.92 < held / 400 < 0.98 and plain / 400 < 0.7


def test_a_paired_difference_is_scipys_paired_test():
    before = DRAW.normal(size=40)
    after = before + 0.2 * DRAW.normal(size=40)
    found = stats.ttest_rel(after, before).confidence_interval()
    assert paired_difference(before, after).interval == pytest.approx((found.low, found.high), rel=1e-6)
    assert paired_difference([1.0], [0.0]).interval is None
    with pytest.raises(ConfigError, match="2 values stand against 3"):
        paired_difference([1, 2], [1, 2, 3])


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (3, 3), (1, 9), (12, 4), (40, 61)])
def test_mcnemar_is_the_binomial_test(wins, losses):
    expected = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_the_power_is_what_is_said():
    """500 items: 6 points, and a McNemar test sees them in about 4 of 5 draws."""
    assert 100 * smallest_difference(500) == pytest.approx(6.26, abs=0.01)
    seen, n, disagree = 0, 500, 0.25
    more = smallest_difference(n)
    draw = np.random.default_rng(1)
    for _ in range(400):
        losses, wins, _ = draw.multinomial(n, [(disagree - more) / 2, (disagree + more) / 2, 1 - disagree])
        seen += mcnemar(int(wins), int(losses)) < 0.05
    assert 0.73 < seen / 400 < 0.87
    few = smallest_difference(20)
    assert few == pytest.approx(smallest_difference(20, disagree=few)), (
        "two models differ on no more than they disagree on"
    )
    assert smallest_difference(4) == 1.0
    with pytest.raises(ConfigError, match="0 items"):
        smallest_difference(0)
