"""Charts: the same data in the terminal, in a file and in JSON."""

from __future__ import annotations

import json

import pytest

from lmworks.basics.errors import ConfigError
from lmworks.lab.chart import Chart, Series

LINE = Chart(
    kind="line",
    title="Cost",
    x_label="tokens",
    y_label="seconds",
    log_x=True,
    log_y=True,
    series=(
        Series(
            name="explicit", x=(1.0, 10.0, 100.0), y=(1.0, 100.0, 1e4), low=(0.5, 90.0, 9e3), high=(2.0, 110.0, 2e4)
        ),
        Series(name="fused", x=(1.0, 10.0, 100.0), y=(1.0, 10.0, 100.0)),
    ),
)
BARS = Chart(
    kind="bars",
    title="Score",
    x_label="",
    y_label="accuracy",
    categories=("first", "second"),
    series=(Series(name="before", x=(0.0, 1.0), y=(0.2, 0.4)), Series(name="after", x=(0.0, 1.0), y=(0.8, 0.4))),
)


def test_a_power_law_is_a_straight_line_on_logarithmic_axes():
    rows = [line.partition("┤")[2] or line.partition("│")[2] for line in LINE.in_text(73, 11).splitlines()]
    marks = [(row.index("o"), at) for at, row in enumerate(rows) if set(row) & set("o") and at < 13]
    (right, top), (middle, half) = marks  # on the first point the other series lies
    assert (right, middle) == (60, 30) and half - top == 5


def test_bars_are_as_long_as_their_values():
    bars = [line for line in BARS.in_text().splitlines() if "█" in line]
    lengths = {"".join(line.split()[:2]): line.count("█") for line in bars}
    assert lengths["firstafter"] == pytest.approx(4 * lengths["firstbefore"], abs=2)
    assert lengths["secondbefore"] == lengths["secondafter"]


def test_a_logarithmic_axis_says_so_in_the_terminal():
    first, *_, across, _ = LINE.in_text().splitlines()[2:]
    assert (first.strip(), across.strip()) == ("seconds (logarithmic)", "tokens (logarithmic)")
    assert BARS.but(log_y=True).in_text().endswith("  accuracy (logarithmic)")
    assert "logarithmic" not in BARS.in_text() + LINE.but(log_x=False, log_y=False).in_text()


def test_bars_stand_around_their_category_however_many_there_are(tmp_path):
    apart = BARS.but(
        series=(
            Series(name="keywords", x=(0.0,), y=(0.2,)),
            Series(name="vectors", x=(0.0, 1.0), y=(0.4, 0.4)),
            Series(name="reader", x=(1.0,), y=(0.6,)),
        )
    )
    boxes = [bar.get_bbox() for bar in apart._figure().axes[0].patches]
    assert [(box.x0 + box.x1) / 2 for box in boxes] == pytest.approx([-0.2, 0.2, 0.8, 1.2])
    assert [box.height for box in boxes] == pytest.approx([0.2, 0.4, 0.4, 0.6])


def test_a_logarithmic_axis_has_its_ticks_where_it_was_measured_unless_they_are_many():
    def ticks(*places: float) -> list[str]:
        axes = LINE.but(series=(Series(name="one", x=places, y=places),))._figure().axes[0]
        return [one.get_text() for one in axes.get_xticklabels()]

    assert ticks(1, 2, 4, 4096) == ["1", "2", "4", "4,096"]
    assert "1.01" not in "".join(ticks(1, 1.01, 4096))


def test_the_legend_of_bars_covers_none_of_them():
    figure = BARS._figure()
    figure.draw_without_rendering()
    [legend] = figure.legends
    assert legend.get_window_extent().y1 <= figure.axes[0].get_window_extent().y0


@pytest.mark.parametrize("chart", [LINE, BARS, LINE.but(kind="scatter")])
def test_pictures_are_written_and_the_same_chart_gives_the_same_file(chart, tmp_path):
    for ending, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        chart.save(tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").read_bytes().startswith(begins)
    chart.save(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert b"explicit" in (tmp_path / "a.svg").read_bytes() or chart is BARS


@pytest.mark.parametrize("chart", [LINE, BARS])
def test_json_and_back_is_the_same_chart(chart):
    assert Chart(**json.loads(chart.model_dump_json())) == chart


def test_one_point_and_equal_values_can_be_drawn():
    for kind in ("line", "scatter"):
        assert LINE.but(kind=kind, series=(Series(name="s", x=(2.0, 2.0), y=(3.0, 3.0)),)).in_text()
    assert BARS.but(series=(Series(name="s", x=(0.0,), y=(0.0,)),)).in_text()


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Series(name="s", x=(1.0,), y=(1.0, 2.0)),
        lambda: Series(name="s", x=(1.0,), y=(float("nan"),)),
        lambda: Series(name="s", x=(1.0,), y=(1.0,), low=(0.0,)),
        lambda: LINE.but(series=()),
        lambda: LINE.but(series=(Series(name="s", x=(0.0,), y=(1.0,)),)),
        lambda: BARS.but(categories=("first",)),
    ],
)
def test_what_cannot_be_drawn_is_refused(broken):
    with pytest.raises(ConfigError):
        broken()
