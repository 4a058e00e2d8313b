"""A chart as SVG that fills any width: places across are percentages, heights are pixels, colours come from the style.

    svg(finding.chart, numbers(finding), words)

Each point carries its number (`data-y`) and a title that says it. Intervals are bands and whiskers; chance and ideal
are lines, or said in words where they lie too far from everything else (`beyond`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from lmworks.lab.chart import Chart
from lmworks.lab.site.axis import Axis, places, short
from lmworks.lab.site.numbers import Number
from lmworks.lab.site.words import Words

HEIGHT = 300
"""Pixels of the plot of a chart with a vertical axis."""
WIDE = 1000
"""Units across of what is stretched to the plot's width."""
BAR, GAP, HEAD = 14, 3, 22
"""Pixels of a bar, between two, and of the category's name above its bars."""
SHAPES = ("M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.5-3.5h7v7h-7z", "M0-5 5 0 0 5-5 0z", "M0-4.6 4.6 3.8h-9.2z")
"""Marks of the series, so that colour alone tells nothing: circle, square, diamond, triangle."""
SYMBOLS = "".join(
    f'<symbol id="m{number}" overflow="visible"><path d="{shape}"/></symbol>' for number, shape in enumerate(SHAPES)
)
"""The marks, which every page holds once."""
TITLES = re.compile(r' data-y="[^"]*"|<title>.*?</title>')
EDGE = 0.15
"""As near to an end of the axis, what is written at a level begins or ends there, so that it stays in the frame."""
FEW = 48
"""Up to this many points get whiskers; where there are more, the band shows it."""


def svg(chart: Chart, rows: Sequence[Number], words: Words, brief: bool = False) -> str:
    """The chart as one SVG element; its levels too far away are told by `beyond`. A `brief` one has no titles."""
    body, height = _bars(chart, rows, words) if chart.kind == "bars" else _points(chart, rows, words)
    if brief:
        body = [TITLES.sub("", one) for one in body]
    label = escape(words("reads", title=chart.title))
    return f'<svg class="plot" width="100%" height="{height}" role="img" aria-label="{label}">{"".join(body)}</svg>'


def beyond(chart: Chart, rows: Sequence[Number], words: Words) -> list[str]:
    """What is said of chance and the ideal where they do not lie on the axis."""
    axis, said = _axis(chart, rows), []
    for name in ("chance", "ideal"):
        level = _level(rows, name)
        if level is not None and not axis.holds(level):
            key = "above" if level > axis.high else "below"
            said.append(words(key, name=words(name).capitalize(), value=short(level)))
    if chart.kind == "bars" and len({one.chance for one in rows} - {None}) > 1:
        said.append(words("chance_each"))
    return said


def swatch(kind: str, number: int) -> str:
    """The mark of a series, for the legend."""
    if kind == "bars":
        drawn = '<rect x="4" width="14" height="12"/>'
    else:
        line = '<path class="line" d="M0 6h22"/>' if kind == "line" else ""
        drawn = f'{line}<use href="#m{number % 4}" x="11" y="6"/>'
    return f'<svg class="s{number % 8}" width="22" height="12" aria-hidden="true">{drawn}</svg>'


def _level(rows: Sequence[Number], name: str) -> float | None:
    """The level of chance or the ideal, if all numbers that have one have the same."""
    known = {getattr(one, name) for one in rows} - {None}
    return known.pop() if len(known) == 1 else None


def _named_levels(rows: Sequence[Number], axis: Axis, words: Words) -> list[tuple[str, float, str]]:
    """Chance and the ideal where they lie on the axis, with what is written there; once where they are the same."""
    found = {name: level for name in ("chance", "ideal") if (level := _level(rows, name)) is not None}
    if len(set(found.values())) < len(found):
        found, called = {"ideal": found["ideal"]}, f"{words('chance')}, {words('ideal')}"
    else:
        called = ""
    return [
        (name, level, f"{called or words(name)} {short(level)}") for name, level in found.items() if axis.holds(level)
    ]


def _axis(chart: Chart, rows: Sequence[Number]) -> Axis:
    ends = [end for one in rows for end in (one.y, one.low, one.high) if end is not None]
    levels = [level for name in ("chance", "ideal") if (level := _level(rows, name)) is not None]
    if chart.kind == "bars" and not chart.log_y:
        ends.append(0.0)
    return Axis.over(ends, chart.log_y, [0.0, *levels])


def _points(chart: Chart, rows: Sequence[Number], words: Words) -> tuple[list[str], int]:
    across, up = Axis.over([one.x for one in rows], chart.log_x, room=0.02), _axis(chart, rows)
    body = [*_grid(chart, rows, across, up), *_levels(rows, up, words)]
    each = [list(group) for _, group in groupby(rows, key=lambda one: one.series)]
    if chart.kind == "line":
        lines = "".join(_line(group, number, across, up) for number, group in enumerate(each))
        stretched = f'viewBox="0 0 {WIDE} {HEIGHT}" preserveAspectRatio="none" width="100%" height="{HEIGHT}"'
        body.append(f"<svg {stretched}>{lines}</svg>")
    whiskers = len(rows) <= FEW
    for number, group in enumerate(each):
        marks = "".join(_mark(one, number, across, up, whiskers) for one in group)
        body.append(f'<g class="s{number % 8}">{marks}</g>')
    return body, HEIGHT


def _grid(chart: Chart, rows: Sequence[Number], across: Axis, up: Axis) -> Iterator[str]:
    for tick in up.ticks():
        y = _high(up, tick)
        yield f'<line class="grid" x2="100%" y1="{y}" y2="{y}"/><text x="-8" y="{y}" dy=".32em">{short(tick)}</text>'
    for tick in places([one.x for one in rows], across):
        x = _far(across, tick)
        yield f'<line class="tick" x1="{x}" x2="{x}" y1="{HEIGHT}" y2="{HEIGHT + 5}"/>'
        yield f'<text class="x" x="{x}" y="{HEIGHT + 19}">{short(tick)}</text>'


def _levels(rows: Sequence[Number], up: Axis, words: Words) -> Iterator[str]:
    for name, level, said in _named_levels(rows, up, words):
        y = _high(up, level)
        above = y > 16
        yield f'<line class="{name}" x2="100%" y1="{y}" y2="{y}"/>'
        yield f'<text class="level" x="100%" y="{y}" dy="{"-5" if above else "14"}">{escape(said)}</text>'


def _line(group: Sequence[Number], number: int, across: Axis, up: Axis) -> str:
    """A series' band and line, in units that are stretched to the plot's width."""
    ordered = sorted(group, key=lambda one: one.x)
    if len(ordered) < 2:
        return ""

    def at(one: Number, y: float) -> str:
        return f"{across.share(one.x) * WIDE:.1f} {_high(up, y)}"

    band = ""
    if any(one.low is not None and one.low != one.high for one in ordered):
        edge = [at(one, one.y if one.high is None else one.high) for one in ordered]
        edge += [at(one, one.y if one.low is None else one.low) for one in reversed(ordered)]
        band = f'<path class="band" d="M{"L".join(edge)}z"/>'
    line = f'<path class="line" d="M{"L".join(at(one, one.y) for one in ordered)}"/>'
    return f'<g class="s{number % 8}">{band}{line}</g>'


def _mark(one: Number, number: int, across: Axis, up: Axis, whisker: bool) -> str:
    x, y, drawn = _far(across, one.x), _high(up, one.y), ""
    if whisker and one.interval and one.low is not None and one.high is not None:
        drawn = f'<line x1="{x}" x2="{x}" y1="{_high(up, one.low)}" y2="{_high(up, one.high)}"/>'
    return (
        f'{drawn}<use href="#m{number % 4}" x="{x}" y="{y}" class="at" data-y="{one.y!r}">'
        f"<title>{_said(one)}</title></use>"
    )


def _bars(chart: Chart, rows: Sequence[Number], words: Words) -> tuple[list[str], int]:
    axis, names = _axis(chart, rows), list(dict.fromkeys(one.series for one in rows))
    body, y = [], 0
    for index, category in enumerate(chart.categories):
        shown = [one for one in rows if int(one.x) == index]
        body.append(f'<text class="head" y="{y + 14}">{escape(category)}</text>')
        y += HEAD
        for one in shown:
            body.append(_bar(one, names.index(one.series), axis, y))
            y += BAR + GAP
        y += 8
    lines = "".join(_upright(*one, axis, y) for one in _named_levels(rows, axis, words))
    ticks = "".join(
        f'<line class="grid" x1="{_far(axis, tick)}" x2="{_far(axis, tick)}" y1="0" y2="{y}"/>'
        f'<text class="x" x="{_far(axis, tick)}" y="{y + 16}">{short(tick)}</text>'
        for tick in axis.ticks()
    )
    return [ticks, *body, lines], y


def _bar(one: Number, number: int, axis: Axis, y: int) -> str:
    zero = axis.share(0.0) if not axis.log else 0.0
    start, end = sorted((zero, axis.share(one.y)))
    middle = y + BAR / 2
    drawn = (
        f'<g class="s{number % 8}"><g class="at" data-y="{one.y!r}"><title>{_said(one)}</title>'
        f'<rect x="{start:.2%}" y="{y}" width="{end - start:.2%}" height="{BAR}"/></g>'
    )
    far = max(axis.share(one.y), zero)
    if one.interval and one.low is not None and one.high is not None:
        drawn += f'<line x1="{_far(axis, one.low)}" x2="{_far(axis, one.high)}" y1="{middle}" y2="{middle}"/>'
        far = max(far, axis.share(one.high))
    if one.chance is not None and axis.holds(one.chance):
        x = _far(axis, one.chance)
        drawn += f'<line class="chance" x1="{x}" x2="{x}" y1="{y - 1}" y2="{y + BAR + 1}"/>'
    return f'{drawn}</g><text class="value" x="{far:.2%}" dx="6" y="{middle}" dy=".34em">{one.figure}</text>'


def _upright(name: str, level: float, said: str, axis: Axis, height: int) -> str:
    x, share = _far(axis, level), axis.share(level)
    place = "start" if share < EDGE else "end" if share > 1 - EDGE else "x"
    return (
        f'<line class="{name}" x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
        f'<text class="level {place}" x="{x}" y="{height + 32}">{escape(said)}</text>'
    )


def _said(one: Number) -> str:
    interval = f" ({one.interval})" if one.interval else ""
    return escape(f"{one.series}, {one.at}: {one.figure}{interval}")


def _high(up: Axis, number: float) -> float:
    return round((1 - up.share(number)) * HEIGHT, 1)


def _far(across: Axis, number: float) -> str:
    return f"{across.share(number):.2%}"
