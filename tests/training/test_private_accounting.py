"""Epsilon of private runs: against the exact formula of the Gaussian mechanism, and against dp-accounting's moments."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from lmworks.basics.errors import ConfigError
from lmworks.training.private.accounting import epsilon, noise_for

dp = pytest.importorskip("dp_accounting")


def exact(noise: float, steps: int, delta: float) -> float:
    """Without sampling the steps are one Gaussian mechanism of mu = sqrt(steps) / noise, whose delta at epsilon is
    known in closed form (Balle and Wang 2018, https://arxiv.org/abs/1805.06530, theorem 8)."""
    mu, cdf = math.sqrt(steps) / noise, NormalDist().cdf

    def delta_at(value: float) -> float:
        return cdf(mu / 2 - value / mu) - math.exp(value) * cdf(-mu / 2 - value / mu)

    low, high = 0.0, 100.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_at(middle) > delta else (low, middle)
    return high


@pytest.mark.parametrize(("noise", "steps", "delta"), [(8.0, 1, 1e-5), (2.0, 10, 1e-6), (10.0, 100, 1e-3)])
def test_epsilon_of_whole_texts_is_the_closed_form(noise, steps, delta):
    assert epsilon(noise, 1.0, steps, delta) == pytest.approx(exact(noise, steps, delta), rel=1e-2)


def test_epsilon_is_dp_accountings_own_and_below_the_moments_bound():
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(2.0)), 1000)
    own, moments = dp.pld.PLDAccountant(), dp.rdp.RdpAccountant()
    own.compose(event)
    moments.compose(event)
    found = epsilon(2.0, 0.01, 1000, 1e-5)
    assert found == pytest.approx(own.get_epsilon(1e-5), rel=1e-2)
    assert 0.7 * moments.get_epsilon(1e-5) < found < moments.get_epsilon(1e-5)


@pytest.mark.parametrize(("target", "rate"), [(8.0, 0.125), (0.5, 0.01)])
def test_the_noise_is_just_enough(target, rate):
    noise = noise_for(target, rate, 64, 1e-4)
    assert 0.98 * target < epsilon(noise, rate, 64, 1e-4) <= target


def test_an_epsilon_that_no_noise_reaches_is_told():
    with pytest.raises(ConfigError, match="take fewer steps, or a larger"):
        noise_for(1e-7, 1.0, 10**6, 1e-12)
