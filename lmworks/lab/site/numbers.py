"""The numbers of a claim's figure, once: what is drawn, what stands in the table and what the .csv file holds.

rows = numbers(finding)
rows[0]        # Number(series="beams", at="4", x=4.0, y=27.6, low=25.9, high=29.3, chance=0.53, ideal=100)
csv(rows)
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from lmworks.evaluation.measurement import written
from lmworks.lab.chart import Chart
from lmworks.lab.finding import Finding

HEADS = ("series", "x", "y", "low", "high", "chance", "ideal")


@dataclass(frozen=True)
class Number:
    """One point or bar of a chart."""

    series: str
    at: str
    """Where it stands along the horizontal axis, as it is written there: a category's name, or the number."""
    x: float
    y: float
    low: float | None
    high: float | None
    chance: float | None = None
    ideal: float | None = None

    @property
    def figure(self) -> str:
        """Its height, as precise as the interval allows."""
        return self.written(self.y)

    @property
    def interval(self) -> str:
        """ "25.9 … 29.3"; nothing where there is none."""
        if self.low is None or self.high is None or self.low == self.high:
            return ""
        return f"{self.written(self.low)} … {self.written(self.high)}"

    def written(self, number: float) -> str:
        """A number of its axis with as many digits as its height has."""
        width = 0.0 if self.low is None or self.high is None else self.high - self.low
        return written(number, width / 10 or abs(self.y) / 100)


def numbers(finding: Finding) -> list[Number]:
    """Every point of the finding's chart, with the levels of the measurement that it shows; none without a chart."""
    chart = finding.chart
    if chart is None:
        return []
    levels = {(one.value, *(one.interval or (one.value, one.value))): one for one in finding.measurements}
    found = []
    for series in chart.series:
        for index, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            low = None if series.low is None else series.low[index]
            high = None if series.high is None else series.high[index]
            shown = levels.get((y, y if low is None else low, y if high is None else high))
            chance, ideal = (None, None) if shown is None else (shown.chance, shown.ideal)
            found.append(Number(series.name, place(chart, x), x, y, low, high, chance, ideal))
    return found


def place(chart: Chart, x: float) -> str:
    """What stands along the horizontal axis for a number of it."""
    return chart.categories[int(x)] if chart.categories else f"{x:,.6g}"


def as_csv(finding: Finding) -> str:
    """The .csv file of a finding's chart: a line of heads, and a line a number with all of its digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADS)
    for one in numbers(finding):
        x = one.at if finding.chart is not None and finding.chart.categories else one.x
        writer.writerow([one.series, x, one.y, one.low, one.high, one.chance, one.ideal])
    return out.getvalue()
