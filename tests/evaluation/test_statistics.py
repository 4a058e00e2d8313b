"""Intervals: they equal formulas and scipy where there are any, and hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.statistics import (
    AT_LEAST_0,
    Estimate,
    Z,
    area_under_curve,
    clustered_mean,
    difference_of_ratios,
    jackknife,
    mean,
    over_seeds,
    paired_difference,
    proportion,
    ratio_of_sums,
    spearman,
    within,
)

SIMULATIONS = 400


def share_that_holds(truth, intervals):
    return np.mean([low <= truth <= high for low, high in intervals])


def documents(generator, n=60):
    """Lengths and bits of documents whose rate varies; the truth of the ratio is 1.2."""
    lengths = generator.integers(200, 3000, n)
    return lengths * generator.normal(1.2, 0.15, n), lengths


def test_the_interval_of_a_ratio_of_sums_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(1)
    intervals = [ratio_of_sums(*documents(generator), seed=at).interval for at in range(SIMULATIONS)]
    assert 0.92 <= share_that_holds(1.2, intervals) <= 0.98


def test_the_interval_of_a_paired_difference_holds_the_truth_and_is_narrower_than_an_unpaired_one():
    generator = np.random.default_rng(2)
    intervals, narrower = [], 0
    for at in range(SIMULATIONS):
        before, lengths = documents(generator)
        after = before - lengths * generator.normal(0.05, 0.03, len(lengths))
        low, high = difference_of_ratios(before, after, lengths, seed=at).interval
        intervals.append((low, high))
        alone = ratio_of_sums(before, lengths, seed=at).interval
        narrower += high - low < alone[1] - alone[0]
    assert 0.92 <= share_that_holds(-0.05, intervals) <= 0.98
    assert narrower > 0.99 * SIMULATIONS


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(3)
    intervals = [mean(generator.gamma(4, 0.5, 60), seed=at).interval for at in range(SIMULATIONS)]
    assert 0.92 <= share_that_holds(2.0, intervals) <= 0.98


@pytest.mark.parametrize("units", [2, 3, 4, 8, 16, 29])
def test_intervals_over_few_units_hold_the_truth_as_often_as_they_say(units):
    """A bootstrap over 2 holds it in 49 % of samples."""
    generator = np.random.default_rng(9)
    lengths = generator.integers(200, 3000, units)
    rates = generator.normal(1.2, 0.15, (SIMULATIONS, units))
    for intervals in (
        [mean(one).interval for one in rates],
        [ratio_of_sums(one * lengths, lengths).interval for one in rates],
        [difference_of_ratios(lengths, one * lengths + lengths, lengths).interval for one in rates],
    ):
        assert 0.91 <= share_that_holds(1.2, intervals) <= 0.99


def test_over_few_units_the_interval_is_students_and_over_more_a_bootstraps():
    values = np.random.default_rng(10).normal(size=30)
    for units in (2, 4, 29):
        few = values[:units]
        expected = scipy.stats.t.interval(0.95, units - 1, few.mean(), scipy.stats.sem(few))
        assert mean(few).interval == pytest.approx(expected, abs=2e-3 * (expected[1] - expected[0]))
    assert mean(values).interval == mean(values, resamples=2000).interval != mean(values, seed=1).interval


def test_a_few_units_that_are_all_the_same_have_no_interval_or_one_within_their_bounds():
    assert mean([0.185] * 4) == (pytest.approx(0.185), None)
    assert difference_of_ratios([1.0, 2.0], [1.1, 2.2], [1.0, 2.0]).interval is None
    assert paired_difference([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]).interval is None
    value, (low, high) = difference_of_ratios([0.1] * 4, [0.285] * 4, [1.0] * 4, bounds=(-1, 1))
    assert low < 0 < value < high < 1
    assert mean([0.9] * 4, bounds=(0, 1)).interval == within(Estimate(0.9, None), (0, 1), 4).interval
    assert mean([3.0, 3.0], bounds=AT_LEAST_0).interval is None
    assert mean([1.0, 5.0], bounds=AT_LEAST_0).interval == (0.0, pytest.approx(3 + 12.706 * 2, rel=1e-3))


def test_what_is_left_of_rounding_is_no_difference():
    before, after = [0.1 + 0.2, 1.0], [0.3, 1.0]
    assert difference_of_ratios(before, after, [1.0, 1.0]).value == 0.0
    odd = [0.63093, 0.5, 1 / 3, 0.43068]
    turned = difference_of_ratios(odd, [*odd[1:], odd[0]], [1.0] * 4)
    assert turned.value == 0.0 and turned.interval[0] < 0 < turned.interval[1]
    assert paired_difference(before, after) == (0.0, (0.0, 0.0))


def test_a_jackknife_of_a_mean_is_students_interval():
    values = np.random.default_rng(11).normal(size=9)
    without = [float(np.delete(values, at).mean()) for at in range(9)]
    found = jackknife(float(values.mean()), without)
    assert found.interval == pytest.approx(clustered_mean(values, list("abcdefghi")).interval)
    assert jackknife(2.0, [2.0]) == (2.0, None)


@pytest.mark.parametrize("size", [4, 8])
def test_an_area_under_the_curve_of_few_holds_the_truth(size: int):
    """The normal quantile holds it in 89 and 91 % of samples."""
    generator = np.random.default_rng(12)
    drawn = (area_under_curve(*generator.normal(size=(2, size))) for _ in range(SIMULATIONS))
    assert share_that_holds(0.5, [found.interval for found in drawn]) > 0.925


def test_the_interval_of_a_proportion_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(4)
    intervals = [proportion(int(generator.binomial(80, 0.3)), 80).interval for _ in range(SIMULATIONS)]
    assert 0.92 <= share_that_holds(0.3, intervals) <= 0.98


def test_the_interval_over_seeds_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(5)
    intervals = [over_seeds(generator.normal(0.78, 0.01, 3)).interval for _ in range(SIMULATIONS)]
    assert 0.92 <= share_that_holds(0.78, intervals) <= 0.98


def test_the_interval_of_a_rank_correlation_holds_the_truth_as_often_as_it_says():
    correlation = 0.6
    truth = 6 / np.pi * np.arcsin(correlation / 2)  # Spearman's of a bivariate normal
    generator = np.random.default_rng(6)
    intervals = []
    for _ in range(SIMULATIONS):
        x, noise = generator.normal(size=(2, 80))
        intervals.append(spearman(x, correlation * x + (1 - correlation**2) ** 0.5 * noise).interval)
    assert 0.92 <= share_that_holds(truth, intervals) <= 0.98


def test_the_bootstrap_equals_scipys():
    generator = np.random.default_rng(7)
    bits, lengths = documents(generator, 200)
    ours = ratio_of_sums(bits, lengths, resamples=20_000).interval
    theirs = scipy.stats.bootstrap(
        (bits, lengths),
        lambda above, below, axis: above.sum(axis) / below.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.002)


def test_wilsons_interval_equals_scipys():
    for successes, n in ((0, 10), (3, 10), (10, 10), (499, 1000), (1, 1)):
        theirs = scipy.stats.binomtest(successes, n).proportion_ci(method="wilson")
        assert proportion(successes, n).interval == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_interval_over_seeds_equals_scipys():
    values = [0.71, 0.74, 0.69, 0.75]
    theirs = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    assert over_seeds(values).interval == pytest.approx(theirs)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=40))
def test_the_rank_correlation_equals_scipys_ties_included(pairs):
    x, y = zip(*pairs, strict=True)
    if len(set(x)) == 1 or len(set(y)) == 1:
        with pytest.raises(ConfigError, match="constant"):
            spearman(x, y)
    else:
        assert spearman(x, y).value == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-9)


VALUES = st.floats(-1e3, 1e3).filter(lambda one: one == 0 or abs(one) > 1e-100)
"""Whose squares are not 0 as well."""


@settings(max_examples=40)
@given(st.lists(st.tuples(VALUES, st.floats(0.5, 1e3)), min_size=1, max_size=12), st.integers(0, 99))
def test_an_interval_always_holds_its_value_and_the_same_seed_gives_the_same_one(pairs, seed):
    above, below = zip(*pairs, strict=True)
    found = ratio_of_sums(above, below, seed=seed, resamples=50)
    assert found == ratio_of_sums(above, below, seed=seed, resamples=50)
    rates = [one / of for one, of in pairs]
    if found.interval is None:
        assert len(pairs) == 1 or max(rates) - min(rates) <= 1e-3 * max(map(abs, rates))
    if found.interval is not None:
        assert found.interval[0] <= found.value <= found.interval[1]


def test_blocks_of_resamples_leave_nothing_out(monkeypatch):
    bits, lengths = documents(np.random.default_rng(8), 50)
    whole = ratio_of_sums(bits, lengths)
    monkeypatch.setattr("lmworks.evaluation.statistics.BLOCK", 50 * 300)
    assert ratio_of_sums(bits, lengths).interval == pytest.approx(whole.interval, rel=1e-12)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: mean([]),
        lambda: mean([1.0, np.nan]),
        lambda: ratio_of_sums([1.0, 2.0], [1.0, 0.0]),
        lambda: proportion(3, 2),
        lambda: proportion(0, 0),
        lambda: spearman([1, 2], [1, 2, 3]),
        lambda: over_seeds([]),
        lambda: ratio_of_sums([1.0, 2.0], [1.0]),
        lambda: difference_of_ratios([1.0], [1.0, 2.0], [1.0, 1.0]),
    ],
)
def test_what_no_figure_can_be_made_of_is_an_error(broken):
    with pytest.raises(ConfigError):
        broken()


scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(scores, scores)
def test_the_area_under_the_curve_equals_the_mann_whitney_statistic(positive, negative):
    found = area_under_curve(positive, negative)
    expected = scipy.stats.mannwhitneyu(positive, negative).statistic / len(positive) / len(negative)
    assert found.value == pytest.approx(expected)
    assert found.value + area_under_curve(negative, positive).value == pytest.approx(1)


@pytest.mark.parametrize(
    ("above", "below", "spread", "least"), [(40, 70, 1, 0.91), (400, 20, 0.5, 0.87), (20, 400, 0.5, 0.91)]
)
def test_the_interval_of_an_area_under_the_curve_holds_the_truth(above: int, below: int, spread: float, least: float):
    """Also where one group is much larger and the other more spread: each variance is divided by its own group's
    size."""
    generator = np.random.default_rng(5)
    truth = scipy.stats.norm.cdf(1 / (1 + spread**2) ** 0.5)
    drawn = (
        area_under_curve(generator.normal(1, spread, above), generator.normal(0, 1, below)) for _ in range(SIMULATIONS)
    )
    assert least < share_that_holds(truth, [found.interval for found in drawn]) < 0.98


def test_an_area_under_the_curve_of_one_item_has_no_interval():
    assert area_under_curve([1], [0, 2]).interval is None


def test_where_all_are_alike_the_interval_says_what_so_many_could_hide():
    alike = clustered_mean([1, 0, 1, 0], ["a", "a", "b", "b"])
    assert alike == (0.5, None)
    value, (low, high) = within(alike, (0, 1), 2)
    assert value == 0.5 and low == pytest.approx(1 - high) and 0.1 < low < 0.2
    for found, n in ((0, 12), (12, 12)):
        none = Estimate(found / n, (found / n, found / n))
        assert within(none, (0, 1), n).interval == pytest.approx(proportion(found, n).interval)
    assert within(Estimate(0.9, (0.7, 1.1)), (0, 1), 5) == (0.9, (0.7, 1.0))
    assert within(Estimate(0.9, None), (0, 1), 1) == (0.9, None)


def test_attacks_that_part_all_of_a_few_texts_have_an_interval():
    value, (low, high) = area_under_curve([3, 4, 5], [0, 1, 2])
    assert (value, high) == (1.0, 1.0) and low == pytest.approx(1 - Z**2 / (3 + Z**2))
