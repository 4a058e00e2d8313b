"""A scaling law, fitted to measured losses, with bootstrap intervals for whatever follows from it.

    fitted = fit_scaling_law(sizes, data, losses)
    fitted.law.loss(1e9, 2e10)
    fitted.estimate(lambda law: law.loss(1e9, 2e10))       # value and 95 % interval

loss = floor + size_term * size ** -size_power + data_term * data ** -data_power, as in Hoffmann et al. 2022,
https://arxiv.org/abs/2203.15556, section 3.3; fitted by least squares of the relative error. For given powers the rest
is linear, so only the two powers are searched for, and no start has to be guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.evaluation.statistics import LEVEL, Array, Estimate

SMALLEST, LARGEST = 0.01, 4.0
"""Powers are searched for between these."""
GRID = 12
PARAMETERS = 5


@dataclass(frozen=True)
class ScalingLaw:
    """The five numbers of the law."""

    floor: float
    """The loss of an endless network with endless data, in the unit of the losses."""
    size_term: float
    size_power: float
    data_term: float
    data_power: float

    def loss(self, size: float, data: float) -> float:
        """The loss of a network of that size, trained on that much data."""
        return float(self.floor + self.size_term * size**-self.size_power + self.data_term * data**-self.data_power)


@dataclass(frozen=True)
class FittedLaw:
    """The law, and the laws of resampled residuals."""

    law: ScalingLaw
    resampled: tuple[ScalingLaw, ...]
    points: int
    """How many losses it was fitted to."""

    def estimate(self, quantity: Callable[[ScalingLaw], float]) -> Estimate:
        """A quantity of the law with its 95 % interval, which covers the scatter around the law and not that the law
        itself may be of the wrong form."""
        value = quantity(self.law)
        low, high = np.quantile([quantity(one) for one in self.resampled], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Estimate(value, (min(float(low), value), max(float(high), value)))


def fit_scaling_law(
    sizes: ArrayLike, data: ArrayLike, losses: ArrayLike, *, resamples: int = 300, seed: int = 0
) -> FittedLaw:
    """Fit the law to one loss per pair of size and data. Needs scipy (extra `lab`).

    ConfigError for fewer than six points, for numbers that are not above 0, and where all sizes or all amounts of
    data are equal.
    """
    columns = {"sizes": sizes, "data": data, "losses": losses}
    size, amount, loss = (_positive(name, column) for name, column in columns.items())
    if not len(size) == len(amount) == len(loss) > PARAMETERS:
        raise ConfigError(
            f"{len(size)} sizes, {len(amount)} amounts of data and {len(loss)} losses make no scaling law; give as "
            f"many of each, and more than its {PARAMETERS} numbers"
        )
    if len(set(size)) < 2 or len(set(amount)) < 2:
        raise ConfigError("all sizes or all amounts of data are equal; a scaling law needs at least two of each")
    law = _fit(size, amount, loss)
    fitted = _losses(law, size, amount)
    # Residuals of a fit are smaller than the errors: it has bent towards them.
    errors = (loss / fitted - 1) * (len(loss) / (len(loss) - PARAMETERS)) ** 0.5
    generator = np.random.default_rng(seed)
    resampled = tuple(
        _fit(size, amount, fitted * (1 + generator.choice(errors, len(errors))), near=law) for _ in range(resamples)
    )
    return FittedLaw(law, resampled, len(loss))


def _fit(size: Array, data: Array, loss: Array, near: ScalingLaw | None = None) -> ScalingLaw:
    """The law with the least squared relative error; the search starts `near` another law, or goes over a grid."""
    optimize = require("scipy.optimize", "lab")
    middle_size, middle_data = np.exp(np.log(size).mean()), np.exp(np.log(data).mean())
    weighted = np.ones_like(loss)

    def solved(powers: Array) -> tuple[Array, float]:
        """The linear part for these powers, and the error that is left."""
        columns = (np.ones_like(loss), (size / middle_size) ** -powers[0], (data / middle_data) ** -powers[1])
        terms, error = optimize.nnls(np.stack(columns, axis=1) / loss[:, None], weighted)
        return terms, float(error)

    def error_of(logs: Array) -> float:
        powers = np.exp(logs)
        outside = np.clip(powers, SMALLEST, LARGEST)
        return solved(outside)[1] + float(np.abs(powers - outside).sum())

    if near is None:
        grid = np.log(np.geomspace(0.05, 2.0, GRID))
        start = min(((a, b) for a in grid for b in grid), key=lambda pair: error_of(np.array(pair)))
    else:
        start = (np.log(near.size_power), np.log(near.data_power))
    found = optimize.minimize(error_of, start, method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-10})
    powers = np.clip(np.exp(found.x), SMALLEST, LARGEST)
    floor, at_size, at_data = solved(powers)[0]
    return ScalingLaw(
        floor=float(floor),
        size_term=float(at_size * middle_size ** powers[0]),
        size_power=float(powers[0]),
        data_term=float(at_data * middle_data ** powers[1]),
        data_power=float(powers[1]),
    )


def _losses(law: ScalingLaw, size: Array, data: Array) -> Array:
    return np.array([law.loss(one, amount) for one, amount in zip(size, data, strict=True)])


def _positive(name: str, values: ArrayLike) -> Array:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ConfigError(f"{name} must be a row of finite numbers above 0; a power law has no others")
    return numbers
