"""Chart: what to draw, as data, so that the stored result, the terminal, the picture and the web page show the same."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.basics.extras import require
from lmworks.basics.files import written_whole

MARKS = "ox+*#@%&"
CLOSEST = 0.04
"""Shares of a logarithmic axis: where all places lie as far apart or farther, each has a tick of its own."""
Numbers = tuple[float, ...]


class Series(Config):
    """One line, cloud of points or set of bars, with its name in the legend."""

    name: str
    """The legend's text."""

    x: Numbers
    """Places on the horizontal axis; for bars, numbers of `Chart.categories`."""

    y: Numbers
    """Heights."""

    low: Numbers | None = None
    """Lower ends of the 95 % intervals, where there are any."""

    high: Numbers | None = None
    """Upper ends."""

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        lengths = {len(column) for column in (self.x, self.y, self.low, self.high) if column is not None}
        if len(lengths) != 1 or (self.low is None) != (self.high is None):
            raise ConfigError(
                f"series {self.name}: x, y, low and high have different lengths; give one of each a point"
            )
        if not all(
            math.isfinite(number) for column in (self.x, self.y, self.low or (), self.high or ()) for number in column
        ):
            raise ConfigError(f"series {self.name}: a point is NaN or infinite; leave it out")
        return self


class Chart(Config):
    """A chart of one or more series."""

    kind: Literal["line", "scatter", "bars"]
    """Points joined by lines, points, or bars side by side."""

    title: str
    """One line above it."""

    x_label: str
    """What the horizontal axis shows, with its unit."""

    y_label: str
    """What the vertical axis shows, with its unit."""

    series: tuple[Series, ...]
    """What is drawn, in the order of the legend."""

    categories: tuple[str, ...] = ()
    """Bars: the names along the horizontal axis."""

    log_x: bool = False
    """Logarithmic horizontal axis."""

    log_y: bool = False
    """Logarithmic vertical axis."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if not self.series or not all(one.x for one in self.series):
            raise ConfigError(f"chart {self.title!r} has nothing to draw; give at least one series with a point")
        for log, axis, column in ((self.log_x, "x", "x"), (self.log_y, "y", "y")):
            if log and any(number <= 0 for one in self.series for number in getattr(one, column)):
                raise ConfigError(f"chart {self.title!r}: a logarithmic {axis} axis shows only numbers above 0")
        if self.kind == "bars" and any(not 0 <= x < len(self.categories) for one in self.series for x in one.x):
            raise ConfigError(f"chart {self.title!r}: a bar stands outside of its {len(self.categories)} categories")
        return self

    def in_text(self, width: int = 78, height: int = 16) -> str:
        """The chart in plain characters, `width` columns wide; for bars, as high as there are bars."""
        body = self._bars_in_text(width) if self.kind == "bars" else self._points_in_text(width, height)
        return "\n".join([self.title, "", *body])

    def save(self, path: Path, dpi: int = 150) -> None:
        """Write the kind of picture that the path ends in: .png or .svg. Needs Matplotlib (extra `lab`)."""
        figure = self._figure()
        with written_whole(path) as temporary:
            # No dates inside: the same chart gives the same file.
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(temporary, format=path.suffix[1:], dpi=dpi, metadata=metadata)

    def _bars_in_text(self, width: int) -> list[str]:
        names = [
            f"{self.categories[int(x)]}  {one.name}" if len(self.series) > 1 else self.categories[int(x)]
            for one in self.series
            for x in one.x
        ]
        values = [y for one in self.series for y in one.y]
        floor = min(values) / 2 if self.log_y else min(0.0, *values)
        longest, room = max(map(len, names)), 24
        room = max(width - longest - 14, 10)
        top = self._height(max(values), floor) or 1.0
        rows = sorted(zip((x for one in self.series for x in one.x), range(len(names)), strict=False))
        lines = []
        for _, row in rows:
            filled = round(room * self._height(values[row], floor) / top)
            lines.append(f"{names[row]:<{longest}}  {'█' * filled:<{room}} {values[row]:.4g}")
        return [*lines, f"{'':<{longest}}  {_said(self.y_label, self.log_y)}"]

    def _height(self, value: float, floor: float) -> float:
        return math.log(value / floor) if self.log_y else value - floor

    def _points_in_text(self, width: int, height: int) -> list[str]:
        xs = _Axis([x for one in self.series for x in one.x], width - 12, self.log_x)
        ys = _Axis([y for one in self.series for y in one.y], height, self.log_y)
        grid = [[" "] * xs.cells for _ in range(height)]
        for mark, one in zip(_endless(MARKS), self.series, strict=False):
            cells = [(xs.cell(x), ys.cell(y)) for x, y in zip(one.x, one.y, strict=True)]
            if self.kind == "line":
                for here, there in itertools.pairwise(cells):
                    for column, row in _between(here, there):
                        if grid[height - 1 - row][column] == " ":
                            grid[height - 1 - row][column] = "·"
            for column, row in cells:
                grid[height - 1 - row][column] = mark
        labels = {0: ys.high, height // 2: ys.value(height - 1 - height // 2), height - 1: ys.low}
        lines = [
            f"{labels[row]:>10.4g} ┤{''.join(cells)}" if row in labels else f"{'':>10} │{''.join(cells)}"
            for row, cells in enumerate(grid)
        ]
        ends = f"{xs.low:<.4g}".ljust(xs.cells // 2) + f"{xs.high:>.4g}".rjust(xs.cells - xs.cells // 2)
        legend = "   ".join(f"{mark} {one.name}" for mark, one in zip(_endless(MARKS), self.series, strict=False))
        return [
            f"{'':>11}{_said(self.y_label, self.log_y)}",
            *lines,
            f"{'':>10} └{'─' * xs.cells}",
            f"{'':>12}{ends}",
            f"{'':>12}{_said(self.x_label, self.log_x)}",
            f"{'':>12}{legend}",
        ]

    def _figure(self) -> Any:
        figure_of = require("matplotlib.figure", "lab").Figure  # no global state, no display needed
        figure = figure_of(figsize=(7.5, 4.5), layout="constrained")
        axes = figure.add_subplot()
        if self.kind == "bars":
            self._draw_bars(axes)
        else:
            for one in self.series:
                self._draw_points(axes, one)
        axes.set(title=self.title, xlabel=self.x_label, ylabel=self.y_label)
        if self.log_x:
            axes.set_xscale("log")
            if (places := self._places()) and _apart(places):  # what was measured, and not powers of ten beside it
                axes.set_xticks(places, [f"{place:,.6g}" for place in places])
                axes.set_xticks([], minor=True)
        if self.log_y:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if len(self.series) > 1 and self.kind == "bars":  # which leave no room for it between them
            figure.legend(fontsize="small", loc="outside lower center", ncols=3)
        elif len(self.series) > 1:
            axes.legend(fontsize="small")
        return figure

    def _draw_points(self, axes: Any, one: Series) -> None:
        style = {"marker": "o", "markersize": 4}
        if self.kind == "scatter":
            style |= {"linestyle": "none", "markersize": 2.5, "alpha": 0.5}
        [line] = axes.plot(one.x, one.y, label=one.name, **style)
        if one.low is not None and one.high is not None:
            axes.fill_between(one.x, one.low, one.high, alpha=0.2, color=line.get_color(), linewidth=0)

    def _draw_bars(self, axes: Any) -> None:
        beside = {x: [number for number, one in enumerate(self.series) if x in one.x] for x in self._places()}
        thickness = 0.8 / max(map(len, beside.values()))
        for number, one in enumerate(self.series):  # those of a category stand around its name
            places = [x + (beside[x].index(number) - (len(beside[x]) - 1) / 2) * thickness for x in one.x]
            errors = None
            if one.low is not None and one.high is not None:
                errors = [
                    [y - low for y, low in zip(one.y, one.low, strict=True)],
                    [high - y for y, high in zip(one.y, one.high, strict=True)],
                ]
            axes.bar(places, one.y, thickness, label=one.name, yerr=errors, capsize=3)
        turn = 30 if max(map(len, self.categories)) > 10 else 0
        axes.set_xticks(range(len(self.categories)), self.categories, rotation=turn, ha="right" if turn else "center")

    def _places(self) -> list[float]:
        return sorted({x for one in self.series for x in one.x})


class _Axis:
    """Numbers to cells of a text grid and back."""

    def __init__(self, numbers: Sequence[float], cells: int, log: bool) -> None:
        self.cells, self.log = cells, log
        self.low, self.high = min(numbers), max(numbers)

    def _along(self, number: float) -> float:
        return math.log(number) if self.log else number

    def cell(self, number: float) -> int:
        start, end = self._along(self.low), self._along(self.high)
        return (
            round((self._along(number) - start) / (end - start) * (self.cells - 1)) if end > start else self.cells // 2
        )

    def value(self, cell: int) -> float:
        start, end = self._along(self.low), self._along(self.high)
        at = start + (end - start) * cell / (self.cells - 1)
        return math.exp(at) if self.log else at


def _apart(places: Sequence[float]) -> bool:
    """Whether their numbers can be written below a logarithmic axis."""
    along = [math.log(one) for one in places]
    return all(right - left >= CLOSEST * (along[-1] - along[0]) for left, right in itertools.pairwise(along))


def _said(label: str, log: bool) -> str:
    """An axis' label; plain characters show no ticks from which a logarithmic axis could be told."""
    return f"{label} (logarithmic)" if log else label


def _endless(marks: str) -> Any:
    import itertools

    return itertools.cycle(marks)


def _between(here: tuple[int, int], there: tuple[int, int]) -> list[tuple[int, int]]:
    """The cells of a straight line between two cells, both ends left out."""
    steps = max(abs(there[0] - here[0]), abs(there[1] - here[1]))
    return [
        (
            round(here[0] + (there[0] - here[0]) * step / steps),
            round(here[1] + (there[1] - here[1]) * step / steps),
        )
        for step in range(1, steps)
    ]
