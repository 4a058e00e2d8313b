"""One figure for models that do different things: the share of the way from a floor to a ceiling; for claim 34.

    run.log(fixed, FLOOR, {TOLD: chance}, items)
    run.log(fixed, CEILING, {TOLD: loaded}, items)
    between(run, seed, Condition("ResNet"), TOLD, hits, items)     # logs the hits, and where they lie between the two

What is near 0 knows no more than the floor, and what is near 1 as much as the ceiling. The interval is that of the
ratio: floor and ceiling vary with the items, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Array, Metric
from lmworks.lab.run import Run

FLOOR, HERE, CEILING = Condition.named("floor", "trained here", "ceiling")


def way(sums: Array) -> Array:
    """From sums of floor, figure and ceiling to the share of the way from the first to the last; 0 where these are the
    same, as there is none."""
    floor, reached, ceiling = np.moveaxis(sums, -1, 0)
    same = np.isclose(floor, ceiling)
    share: Array = np.where(same, 0.0, (reached - floor) / np.where(same, 1.0, ceiling - floor))
    return share


WAY = Metric("share of the way from floor to ceiling", of=way, ideal=1.0)


def between(
    run: Run, seed: int, kind: Condition, metric: Metric, values: Sequence[float], items: Sequence[str]
) -> None:
    """Log what was trained here and, of its kind of model, the way; floor and ceiling were logged, for this seed or for
    all."""
    run.log(seed, HERE, {metric: values}, items)
    ends = (run.table.entry(metric.name, one.name, seed).counts[:, 0] for one in (FLOOR, CEILING))
    floor, ceiling = ends
    run.log(seed, kind, {WAY: np.stack([floor, np.array(values), ceiling], axis=1)}, items)
