"""A figure of bias that is one sum over items by another, with its interval by clusters of them."""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.declaration import Told


def told(
    name: str,
    above: Sequence[float],
    below: Sequence[float],
    clusters: Sequence[str],
    *,
    n: int,
    bounds: tuple[float, float],
    chance: float,
    ideal: float,
    unit: str = "",
    remark: str = "",
) -> Told:
    """sum(above) / sum(below), which lies within `bounds`. Where no cluster differs from the others, the interval says
    what so many of them could hide: Wilson's for none of them."""
    value, interval = statistics.clustered_ratio(above, below, clusters)
    least, most = bounds
    if interval is not None and interval[1] - interval[0] < 1e-12:
        counting = {one for one, weight in zip(clusters, below, strict=True) if weight}
        hidden = statistics.Z**2 / (len(counting) + statistics.Z**2)
        interval = value - (value - least) * hidden, value + (most - value) * hidden
    if interval is not None:
        interval = min(max(interval[0], least), value), max(min(interval[1], most), value)
    measured = Measurement(name=name, value=value, unit=unit, interval=interval, n=n, chance=chance, ideal=ideal)
    return Told(measured, remark, tuple(above), tuple(below), tuple(clusters))
