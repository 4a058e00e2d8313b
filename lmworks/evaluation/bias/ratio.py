"""A figure of bias that is one sum over items by another, with its interval by clusters of them."""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.tasks.declaration import TaskFigure


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
) -> TaskFigure:
    """sum(above) / sum(below), which lies within `bounds`."""
    counting = {one for one, weight in zip(clusters, below, strict=True) if weight}
    value, interval = statistics.within(statistics.clustered_ratio(above, below, clusters), bounds, len(counting))
    measured = Measurement(name=name, value=value, unit=unit, interval=interval, n=n, chance=chance, ideal=ideal)
    return TaskFigure(measured, remark, tuple(above), tuple(below), tuple(clusters))
