"""Scaling laws: a known law is found again, with intervals that cover it as often as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lmworks.basics.errors import ConfigError
from lmworks.evaluation.scaling import FittedLaw, ScalingLaw, fit_scaling_law

# Hoffmann et al. 2022, equation 10.
PUBLISHED = ScalingLaw(floor=1.69, size_term=406.4, size_power=0.34, data_term=410.7, data_power=0.28)
SMALL = ScalingLaw(floor=1.9, size_term=40.0, size_power=0.45, data_term=300.0, data_power=0.5)


def grid(law, sizes, data):
    pairs = [(size, amount) for size in sizes for amount in data]
    size, amount = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    return size, amount, np.array([law.loss(*pair) for pair in pairs])


@pytest.mark.parametrize("law", [PUBLISHED, SMALL])
def test_a_law_without_noise_is_found_again(law):
    size, data, loss = grid(law, [1e4, 4e4, 2e5, 1e6], [5e4, 2e5, 8e5, 3e6])
    fitted = fit_scaling_law(size, data, loss, resamples=10)
    assert fitted.law.size_power == pytest.approx(law.size_power, rel=1e-2)
    assert fitted.law.data_power == pytest.approx(law.data_power, rel=1e-2)
    assert fitted.law.floor == pytest.approx(law.floor, rel=2e-2)
    assert fitted.law.loss(1e8, 1e9) == pytest.approx(law.loss(1e8, 1e9), rel=2e-2)
    assert fitted.points == 16


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    size, data, loss = grid(SMALL, [8e3, 3e4, 1.2e5, 5e5], [5e4, 1e5, 2e5, 4e5])
    generator = np.random.default_rng(1)
    truth, held = SMALL.loss(2e6, 8e5), 0
    for run in range(40):
        noisy = loss * (1 + 0.01 * generator.standard_normal(len(loss)))
        value, interval = fit_scaling_law(size, data, noisy, resamples=80, seed=run).estimate(
            lambda law: law.loss(2e6, 8e5)
        )
        assert value == pytest.approx(truth, rel=0.1)
        held += interval[0] <= truth <= interval[1]
    assert 33 <= held <= 40  # 95 % of 40 is 38; fewer than 33 has a chance of 1 in 500


def test_an_interval_holds_its_value_and_follows_from_the_seed():
    above = FittedLaw(SMALL, (replace(SMALL, floor=3.0),) * 5, 16)
    assert above.estimate(lambda law: law.floor) == (1.9, (1.9, 3.0))
    size, data, loss = grid(SMALL, [8e3, 3e4, 1.2e5], [5e4, 1e5, 2e5])
    noisy = loss * (1 + 0.01 * np.random.default_rng(0).standard_normal(len(loss)))
    one, same, other = (fit_scaling_law(size, data, noisy, resamples=3, seed=seed) for seed in (0, 0, 1))
    assert one == same and one.law == other.law and one.resampled != other.resampled


def test_loss_that_data_does_not_change_has_no_data_term():
    size, data, loss = grid(ScalingLaw(1.0, 50.0, 0.5, 0.0, 1.0), [1e3, 1e4, 1e5], [1e4, 1e5, 1e6])
    law = fit_scaling_law(size, data, loss, resamples=2).law
    assert law.data_term * 1e4**-law.data_power == pytest.approx(0.0, abs=1e-3)
    assert law.loss(1e6, 1e4) == pytest.approx(law.loss(1e6, 1e7), abs=1e-3)


@pytest.mark.parametrize(
    ("sizes", "data", "losses", "what"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1], "more than its 5"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3], [1, 2, 3], "as many"),
        ([1] * 6, [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], "two of each"),
        ([0, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], "sizes"),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [6, 5, 4, float("nan"), 2, 1], "losses"),
    ],
)
def test_what_makes_no_law_is_refused(sizes, data, losses, what):
    with pytest.raises(ConfigError, match=what):
        fit_scaling_law(sizes, data, losses)
