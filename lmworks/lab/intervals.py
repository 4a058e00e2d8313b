"""Intervals of comparisons, by how seeds and items lie to each other.

    estimate(table, BLEU, BEAMS - GREEDY, seeds=(0, 1, 2, 3))      # value, interval, n, design

Each seed s gives a figure of its items; leaving out item i in turn gives the jackknife's pseudo-values D[s, i], which
for a difference of means are the paired differences themselves. Then:

- **crossed** (the same items under every seed): variance (MS_S + MS_I - MS_R) / (S I), the part of the seeds at least
  0, degrees of freedom by Satterthwaite. It speaks of other seeds and of other items.
- **nested** (each seed has items of its own, or one value): Student's t over the seeds.
- **items** (nothing is random but the choice of items): Student's t over the items, which are to be independent: log
  documents, not tokens.
- **exact**: one value with nothing random in it.

There is no bootstrap over seeds: with 3 to 10 of them it covers 73 to 90 %.
Sources: Efron and Tibshirani 1993, chapter 11 (jackknife); Satterthwaite 1946; Miller 2024, arXiv:2411.00640.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.contrast import Contrast
from lmworks.lab.metric import Array, Metric
from lmworks.lab.table import Logged, Table

CROSSED, NESTED, ITEMS, EXACT = "crossed", "nested", "items", "exact"
LEVEL = 0.95


class Compared(NamedTuple):
    """A figure with its interval."""

    value: float
    interval: tuple[float, float] | None
    """None for what is exact, and for one seed alone, which tells nothing of others."""
    n: int
    """Items that seeds share, or all items where each seed has its own."""
    seeds: tuple[int, ...]
    design: str

    def measurement(self, name: str, metric: Metric, contrast: Contrast) -> Measurement:
        """The same for tables, charts and pages."""
        alone = contrast.single
        return Measurement(
            name=name,
            value=self.value,
            unit="times" if contrast.ratio else metric.unit,
            interval=self.interval,
            n=self.n,
            seeds=self.seeds,
            chance=metric.chance if alone else None,
            ideal=metric.ideal if alone else None,
            difference=not alone and not contrast.ratio,
        )


def estimate(table: Table, metric: Metric, contrast: Contrast, seeds: Sequence[int], level: float = LEVEL) -> Compared:
    """The contrast's figure over these seeds, with an interval of that level, which does not leave what a share can be.

    ConfigError where a condition was not logged, or where a ratio meets a figure that is not above 0.
    """
    found = _estimated(table, metric, contrast, seeds, level)
    if not (metric.share and contrast.single and found.interval):
        return found
    low, high = found.interval
    return found._replace(interval=(max(low, 0.0), min(high, 1.0)))


def _estimated(table: Table, metric: Metric, contrast: Contrast, seeds: Sequence[int], level: float) -> Compared:
    fixed = table.is_fixed(metric.name, contrast.conditions)
    runs = [_of_seed(table, metric, contrast, seed) for seed in ([None] if fixed else seeds)]
    if not runs:
        raise ConfigError(f"{metric.name}: no seed was run; give at least one")
    values = np.array([value for value, _, _ in runs])
    counted = () if fixed else tuple(seeds)
    same = len({items for _, _, items in runs}) == 1 and runs[0][2] is not None
    n = len(runs[0][1])
    if fixed and n == 1:
        return _back(contrast, Compared(float(values[0]), None, 1, (), EXACT))
    if fixed:
        half = _items(runs[0][1], level)
        whole = _all_or_none(table, metric, contrast, level)
        if whole is not None:
            return Compared(float(values[0]), whole, n, (), ITEMS)
        return _back(contrast, _around(values, half, n, counted, ITEMS))
    if len(runs) == 1:
        return _back(contrast, Compared(float(values[0]), None, n, counted, NESTED))
    if same and n > 1:
        half = _crossed(np.stack([pseudo for _, pseudo, _ in runs]), level)
        return _back(contrast, _around(values, half, n, counted, CROSSED))
    every = sum(len(pseudo) for _, pseudo, _ in runs)  # each seed has items of its own, or is one
    return _back(contrast, _around(values, _items(values, level), every, counted, NESTED))


def _of_seed(
    table: Table, metric: Metric, contrast: Contrast, seed: int | None
) -> tuple[float, Array, tuple[str, ...] | None]:
    """The figure of a seed, its pseudo-values [items], and the items' names where every seed has the same."""
    entries = {name: table.entry(metric.name, name, seed) for name in contrast.conditions}
    names, rows = _aligned(entries)
    value = sum(
        weight * _figure(metric, contrast, entries[name].counts.sum(0), name) for weight, name in contrast.terms
    )
    if len(names) < 2:
        return float(value), np.array([value]), None
    left_out: Array = np.zeros(len(names))
    for weight, name in contrast.terms:
        sums = entries[name].counts.sum(0)
        if len(entries[name].counts) < 2:  # one value, a chance level say: the same whatever is left out
            left_out += weight * _figure(metric, contrast, sums, name)
        else:
            left_out += weight * _figure(metric, contrast, sums - rows[name], name)
    pseudo = len(names) * value - (len(names) - 1) * left_out
    named = all(entry.items is not None or len(entry.counts) < 2 for entry in entries.values())
    return float(value), pseudo, tuple(names) if named else None


def _aligned(entries: dict[str, Logged]) -> tuple[list[str], dict[str, Array]]:
    """The names of all items, and each condition's counts in their order, 0 for items that it lacks."""
    several = {name: entry for name, entry in entries.items() if len(entry.counts) > 1}
    shared = {entry.items for entry in several.values()}
    if len(shared) == 1 and (items := shared.pop()):  # the usual case, and quick
        return list(items), {name: entry.counts for name, entry in several.items()}
    lengths = {len(entry.counts) for entry in several.values()}
    labels = {
        name: entry.items or tuple(f"{'' if len(lengths) == 1 else name}{at}" for at in range(len(entry.counts)))
        for name, entry in several.items()
    }
    names = list(dict.fromkeys(item for items in labels.values() for item in items))
    places = {item: at for at, item in enumerate(names)}
    rows = {}
    for name, entry in several.items():
        rows[name] = np.zeros((len(names), entry.counts.shape[1]))
        rows[name][[places[item] for item in labels[name]]] = entry.counts
    return names or [""], rows


def _figure(metric: Metric, contrast: Contrast, sums: Array, name: str) -> Array:
    """The figure of sums over items, its logarithm where a ratio is asked for."""
    with np.errstate(divide="ignore", invalid="ignore"):
        figures = np.asarray(metric.of(sums), dtype=np.float64)
    if not np.isfinite(figures).all():
        raise ConfigError(f"{metric.name}, {name}: the items' values make no figure (do they sum to 0?)")
    if not contrast.ratio:
        return figures
    if (figures <= 0).any():
        raise ConfigError(f"{metric.name}, {name}: a ratio needs figures above 0; compare by a difference")
    return np.log(figures)


def _items(values: Array, level: float) -> float:
    """Half the width of Student's t interval of a mean of independent values."""
    return _quantile(level, len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))


def _crossed(values: Array, level: float) -> float:
    """Half the width for [seeds, items] in which the rows are of the same items."""
    seeds, items = values.shape
    whole, by_seed, by_item = values.mean(), values.mean(1), values.mean(0)
    seed_square = items * float(((by_seed - whole) ** 2).sum()) / (seeds - 1)
    item_square = seeds * float(((by_item - whole) ** 2).sum()) / (items - 1)
    rest = values - by_seed[:, None] - by_item[None] + whole
    freedom = (seeds - 1) * (items - 1)
    rest_square = float((rest**2).sum()) / freedom
    if seed_square <= rest_square:  # no more between seeds than within them
        variance, degrees = item_square, float(items - 1)
    else:
        variance = seed_square + item_square - rest_square
        parts = seed_square**2 / (seeds - 1) + item_square**2 / (items - 1) + rest_square**2 / freedom
        degrees = variance**2 / parts
    return _quantile(level, max(degrees, 1.0)) * math.sqrt(variance / values.size)


def _quantile(level: float, degrees: float) -> float:
    return float(require("scipy.stats", "lab").t.ppf(0.5 + level / 2, degrees))


def _around(values: Array, half: float, n: int, seeds: tuple[int, ...], design: str) -> Compared:
    middle = float(values.mean())
    return Compared(middle, (middle - half, middle + half), n, seeds, design)


def _back(contrast: Contrast, found: Compared) -> Compared:
    """From logarithms to a ratio."""
    if not contrast.ratio:
        return found
    ends = found.interval
    return found._replace(value=math.exp(found.value), interval=ends and (math.exp(ends[0]), math.exp(ends[1])))


def _all_or_none(table: Table, metric: Metric, contrast: Contrast, level: float) -> tuple[float, float] | None:
    """The interval of a share that is 0 or 1 in all items, whose spread tells nothing: Clopper-Pearson's."""
    if not contrast.single:
        return None
    counts = table.entry(metric.name, contrast.conditions[0], None).counts
    if counts.shape[1] != 2 or not (counts[:, 1] == 1).all() or len(set(counts[:, 0])) > 1:
        return None
    share = float(counts[0, 0])
    if share not in (0.0, 1.0):
        return None
    reach = 1 - ((1 - level) / 2) ** (1 / len(counts))
    return (0.0, reach) if share == 0 else (1 - reach, 1.0)
