"""What an experiment's chart shows, declared: Lines over a number, or Bars of conditions.

    Lines(BLEU, of=(BEAM, SAMPLED), x="beams")          # conditions "beams 1", "beams 2", ... become points of one line
    Bars(ACCURACY, of=(MASKED, CAUSAL))                 # "masked", "causal"; or "masked, trec", "causal, trec", ...
    Bars((LABELS, TOLD), of=(LABELLER, WRITER))         # one metric a category

Points are found in what was logged, so that other parameters give another chart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmworks.lab.chart import Chart, Series
from lmworks.lab.contrast import Condition
from lmworks.lab.intervals import estimate
from lmworks.lab.metric import Metric
from lmworks.lab.table import Table

Point = tuple[float, float, float, float]
"""x, y, and the ends of the 95 % interval."""


@dataclass(frozen=True)
class Lines:
    """A line for each condition over the number that stands after it: "rotary 64"."""

    metric: Metric
    of: Sequence[Condition]
    x: str
    title: str = ""
    log_x: bool = False
    log_y: bool = False
    kind: Literal["line", "scatter"] = "line"

    def draw(self, table: Table, seeds: Sequence[int]) -> Chart | None:
        """The chart of what was logged; None where nothing of it was."""
        lines = {one.name: _along(table, self.metric, one, seeds) for one in self.of}
        ends = [point[0] for points in lines.values() for point in points]
        for one in self.of:  # a condition without a number is the same all along: human text, a table's share
            if not lines[one.name] and ends and (self.metric.name, one.name) in table.pairs():
                y, low, high = _height(table, self.metric, one, seeds)
                lines[one.name] = [(x, y, low, high) for x in (min(ends), max(ends))]
        return _chart(
            self.kind,
            self.title or f"{self.metric.name} by {self.x}",
            self.x,
            [self.metric],
            {name: points for name, points in lines.items() if points},
            log_x=self.log_x,
            log_y=self.log_y,
        )


@dataclass(frozen=True)
class Bars:
    """Bars side by side: of one metric by what stands after each condition, or of several metrics."""

    metric: Metric | Sequence[Metric]
    of: Sequence[Condition]
    title: str = ""
    x: str = ""
    log_y: bool = False
    whole: str = ""
    """What a condition by itself is called beside its categories; unless given, it is left out there."""

    def draw(self, table: Table, seeds: Sequence[int]) -> Chart | None:
        """The chart of what was logged; None where nothing of it was."""
        if isinstance(self.metric, Metric):
            return self._by_condition(self.metric, table, seeds)
        known, categories = table.pairs(), [one.name for one in self.metric]
        series = {
            one.name: [
                (float(at), *_height(table, metric, one, seeds))
                for at, metric in enumerate(self.metric)
                if (metric.name, one.name) in known
            ]
            for one in self.of
        }
        return self._drawn(list(self.metric), series, categories)

    def _by_condition(self, metric: Metric, table: Table, seeds: Sequence[int]) -> Chart | None:
        logged = [condition for name, condition in table.pairs() if name == metric.name]
        bars = {one.name for one in self.of}
        found: dict[str, list[str]] = {one.name: [] for one in self.of}
        for name in logged:  # "asked, calibrated, news" is of "asked, calibrated" alone where both have bars
            own = max((bar for bar in bars if name.startswith(f"{bar}, ")), key=len, default=None)
            if own is not None and name not in bars:
                found[own].append(name)
        endings = {one: [name.removeprefix(f"{one}, ") for name in names] for one, names in found.items()}
        categories = list(dict.fromkeys(ending for each in endings.values() for ending in each))
        alone = [bar for bar in found if bar in logged]
        if alone and len(categories) == sum(map(len, endings.values())):  # no two have a category in common:
            # one bar after the other, what stands after a condition next to it
            shown = [name for bar, more in found.items() for name in (bar, *more) if name in logged]
            points = [(float(at), *_height(table, metric, Condition(one), seeds)) for at, one in enumerate(shown)]
            return self._drawn([metric], {metric.name: points}, shown)
        if alone and self.whole:
            categories.insert(0, self.whole)
            for bar in alone:
                found[bar].insert(0, bar)
                endings[bar].insert(0, self.whole)
        series = {
            one: [
                (float(categories.index(ending)), *_height(table, metric, Condition(name), seeds))
                for ending, name in zip(endings[one], names, strict=True)
            ]
            for one, names in found.items()
        }
        return self._drawn([metric], series, categories)

    def _drawn(self, metrics: list[Metric], series: Mapping[str, list[Point]], categories: list[str]) -> Chart | None:
        shown = {name: points for name, points in series.items() if points}
        title = self.title or ", ".join(one.name for one in metrics)
        return _chart("bars", title, self.x, metrics, shown, categories=tuple(categories), log_y=self.log_y)


Picture = Lines | Bars


def _along(table: Table, metric: Metric, condition: Condition, seeds: Sequence[int]) -> list[Point]:
    """The points of a condition by the number after its name, in its order."""
    points = []
    for name, logged in table.pairs():
        number = (
            _number(logged.removeprefix(condition.name).lstrip(", ")) if logged.startswith(condition.name) else None
        )
        if name == metric.name and number is not None:
            points.append((number, *_height(table, metric, Condition(logged), seeds)))
    return sorted(points)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _height(table: Table, metric: Metric, condition: Condition, seeds: Sequence[int]) -> tuple[float, float, float]:
    found = estimate(table, metric, condition, seeds)
    low, high = found.interval or (found.value, found.value)
    return found.value, low, high


def _chart(
    kind: Literal["line", "scatter", "bars"],
    title: str,
    x: str,
    metrics: Sequence[Metric],
    lines: Mapping[str, Sequence[Point]],
    **more: Any,
) -> Chart | None:
    if not lines:
        return None
    shares = len({one.unit for one in metrics}) > 1  # beside other units a share is named, too
    units = list(dict.fromkeys(one.unit or ("share" if shares else "") for one in metrics))
    names = ", ".join(one.name for one in metrics) if len(metrics) == 1 else ""
    label = ", ".join(filter(None, [names, *units])) or "share"
    series = []
    for name, points in lines.items():
        xs, ys, low, high = (tuple(column) for column in zip(*points, strict=True))
        if more.get("log_y"):  # an interval that goes below 0 has no place on a logarithmic axis
            low = tuple(end if end > 0 else y for end, y in zip(low, ys, strict=True))
        series.append(Series(name=name, x=xs, y=ys, low=low, high=high))
    return Chart(kind=kind, title=title, x_label=x, y_label=label, series=tuple(series), **more)
