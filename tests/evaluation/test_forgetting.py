"""Transfer and forgetting of a sequence, by hand and by another way; intervals over seeds and items."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lmworks.evaluation.forgetting import (
    CountedText,
    Resampled,
    at_equal_gain,
    average,
    backward_transfer,
    estimate,
    forgotten_since_best,
    forgotten_since_learnt,
    forward_transfer,
)

BY_HAND = np.array([[0.1, 0.2, 0.1], [0.8, 0.3, 0.1], [0.9, 0.7, 0.2], [0.5, 0.4, 0.6]])
"""The base, and after each of three tasks: the first one is best after the second."""


def test_the_formulas_on_numbers_by_hand():
    assert average(BY_HAND) == pytest.approx(0.5)
    assert backward_transfer(BY_HAND) == pytest.approx(((0.5 - 0.8) + (0.4 - 0.7)) / 2)
    assert forgotten_since_learnt(BY_HAND) == pytest.approx(0.3)
    assert forgotten_since_best(BY_HAND) == pytest.approx(((0.9 - 0.5) + (0.7 - 0.4)) / 2)
    assert forward_transfer(BY_HAND) == pytest.approx(((0.3 - 0.2) + (0.2 - 0.1)) / 2)


def test_the_formulas_equal_the_papers_sums_on_any_matrix():
    scores = np.random.default_rng(0).random((4, 7, 6, 5))
    for matrix, *found in zip(
        scores.reshape(-1, 6, 5),
        *(
            of(scores).reshape(-1)
            for of in (backward_transfer, forward_transfer, forgotten_since_best, forgotten_since_learnt)
        ),
        strict=True,
    ):
        tasks = 5
        r = {(i, j): matrix[i, j - 1] for i in range(tasks + 1) for j in range(1, tasks + 1)}  # the papers' R_i,j
        backward = sum(r[tasks, i] - r[i, i] for i in range(1, tasks)) / (tasks - 1)
        forward = sum(r[i - 1, i] - r[0, i] for i in range(2, tasks + 1)) / (tasks - 1)
        best = sum(max(r[i, j] for i in range(1, tasks)) - r[tasks, j] for j in range(1, tasks)) / (tasks - 1)
        assert found == pytest.approx([backward, forward, best, -backward])


def test_a_score_is_a_ratio_of_sums_and_samples_are_the_same_for_every_model():
    one = CountedText(np.array([1.0, 2.0, 9.0]), np.array([1.0, 1.0, 4.0]), np.array([0.0, 0.0, 1.0]))
    two = CountedText(one.above * 2, one.below, one.document)
    resampled = Resampled({"text": 3}, resamples=50)
    first, second = resampled.scores("text", one), resampled.scores("text", two)
    assert first[0] == 2 and first.shape == (51,) and len(set(first)) > 3 and np.allclose(second, 2 * first)
    assert one.chosen(two, {1}).above.tolist() == [1, 2, 18] and one.chosen(two, set()).above.tolist() == [1, 2, 9]


def test_the_interval_adds_the_variance_of_the_seeds_mean_to_that_over_items():
    generator = np.random.default_rng(1)
    samples = np.concatenate([[[1.0], [1.4], [1.9]], 1.4 + 0.1 * generator.standard_normal((3, 500))], axis=1)
    found = estimate(samples, items=40)
    seeds, items = np.var([1.0, 1.4, 1.9], ddof=1) / 3, np.var(samples[:, 1:].mean(0), ddof=1)
    degrees = (seeds + items) ** 2 / (seeds**2 / 2 + items**2 / 39)
    half = stats.t.ppf(0.975, degrees) * (seeds + items) ** 0.5
    assert found.value == pytest.approx(4.3 / 3) and found.interval == pytest.approx((4.3 / 3 - half, 4.3 / 3 + half))
    alone = estimate(samples[:1], items=40)
    half = 1.96 * samples[0, 1:].std(ddof=1)
    assert alone.value == 1.0 and alone.interval == pytest.approx((1 - half, 1 + half), rel=1e-3)
    assert estimate(samples[:1], items=1).interval is None


@pytest.mark.parametrize("items", [2, 4, 8])
def test_the_interval_over_few_items_holds_the_truth_as_often_as_it_says(items: int):
    generator, held = np.random.default_rng(2), 0
    resampled = Resampled({"text": items}, resamples=400)
    for _ in range(400):
        counted = CountedText(generator.normal(0.5, 0.2, items), np.ones(items), np.arange(items))
        low, high = estimate(resampled.scores("text", counted)[None], items).interval
        held += low <= 0.5 <= high
    assert 0.92 <= held / 400 <= 0.98
    assert estimate(np.full((1, 401), 0.5), items).interval is None
    assert estimate(np.zeros((1, 401)), items).interval == (0.0, 0.0)


def test_a_curve_at_equal_gain_is_read_between_its_points_and_not_beyond_its_ends():
    curve_gained = np.array([[[0.0, 1.0, 0.5]]])  # no curve need rise
    curve_lost = np.array([[[0.0, 0.8, 0.2]]])
    for gain, lost in ((0.25, 0.1), (0.75, 0.5), (1.0, 0.8), (2.0, 0.8), (-1.0, 0.0)):
        assert at_equal_gain(np.array([[gain]]), curve_gained, curve_lost) == pytest.approx(lost)
