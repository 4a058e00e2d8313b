"""Epsilon of a run of DP-SGD, and the noise that an epsilon needs; by dp-accounting's privacy loss distributions.

    noise = noise_for(target=8.0, rate=16 / 1000, steps=200, delta=1e-4)
    epsilon(noise, rate=16 / 1000, steps=200, delta=1e-4)          # at most 8

Each step reads each document with the probability `rate`, independently (Poisson sampling), and neighbours are two
texts of which one has one document more. `noise` is the standard deviation of what is added to a step's sum of
gradients, as a multiple of the length at which each document's gradient is clipped.

Source: Abadi et al. 2016, https://arxiv.org/abs/1607.00133; privacy loss distributions: Koskela et al. 2020,
https://arxiv.org/abs/1906.03049.
"""

from __future__ import annotations

import math

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.training.private.settings import LEAST

MOST = 1e4
"""The largest multiple of the clip that is tried as noise."""


def epsilon(noise: float, rate: float, steps: int, delta: float) -> float:
    """The least epsilon of that many steps at `delta`."""
    dp = require("dp_accounting", "private")
    pld = require("dp_accounting.pld", "private")
    step = dp.GaussianDpEvent(noise)
    # Losses are rounded up to points of a grid. A step's are about rate / noise, and as many add up as there are steps.
    interval = min(max(rate / noise / 20, 1e-5), 1e-3)
    accountant = pld.PLDAccountant(value_discretization_interval=interval)
    accountant.compose(dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(rate, step) if rate < 1 else step, steps))
    return float(accountant.get_epsilon(delta))


def noise_for(target: float, rate: float, steps: int, delta: float) -> float:
    """The least noise, as a multiple of the clip and within 0.5 %, for which epsilon is at most `target`. ConfigError
    where even 10,000 times the clip is too little."""

    def enough(noise: float) -> bool:
        return epsilon(noise, rate, steps, delta) <= target

    high = _guess(target, rate, steps, delta)
    while not enough(high):
        if high > MOST:
            raise ConfigError(
                f"no noise makes epsilon {target:g} in {steps:,} steps at delta {delta:g}; take fewer steps, or a "
                "larger {at}epsilon"
            )
        high *= 1.2
    low = high / 1.2
    while low > LEAST and enough(low):
        high, low = low, low / 1.2
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _guess(target: float, rate: float, steps: int, delta: float) -> float:
    """Where to begin: the noise of the central limit, mu = rate sqrt(steps (e^(1 / noise^2) - 1)), with which epsilon
    is about mu^2 / 2 + mu sqrt(2 ln(1 / delta)) (Bu et al. 2020, https://arxiv.org/abs/1911.11607)."""
    tail = math.sqrt(2 * math.log(1 / delta))
    mu = math.sqrt(tail**2 + 2 * target) - tail
    return min(max(1 / math.sqrt(math.log1p((mu / rate) ** 2 / steps)), LEAST), MOST)
