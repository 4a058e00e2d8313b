"""A figure measured once per seed, as one measurement with Student's t interval over the seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import over_seeds


def measured(name: str, by_seed: Mapping[int, float], unit: str = "", **facts: Any) -> Measurement:
    """The mean over seeds; n counts the runs. `facts` are chance, ideal and difference."""
    value, interval = over_seeds(list(by_seed.values()))
    return Measurement(
        name=name,
        value=value,
        unit=unit,
        interval=interval,
        n=len(by_seed),
        seeds=tuple(by_seed),
        **facts,
    )


def difference(name: str, by_seed: Mapping[int, float], minus: Mapping[int, float], unit: str = "") -> Measurement:
    """One condition minus the other, seed by seed."""
    return measured(
        name,
        {seed: value - minus[seed] for seed, value in by_seed.items()},
        unit,
        difference=True,
        chance=0.0,
    )
