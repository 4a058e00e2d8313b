"""The report as one HTML file that asks for nothing from elsewhere, in the style of the claims' pages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.chart import Chart
from lmworks.lab.site.pages import style, templates
from lmworks.lab.site.words import Words
from lmworks.reporting.report import Part, Report

HERE = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawn:
    """A chart with the measurements whose numbers it shows, as the claims' pages draw a finding."""

    chart: Chart
    measurements: tuple[Measurement, ...]


def html(report: Report) -> str:
    """The whole page."""
    facts = report.facts
    return (
        templates(HERE)
        .get_template("report.html")
        .render(
            t=Words.of("en"),
            path="report.html",
            title=f"{facts['called']}: report",
            facts=facts,
            command=report.command,
            parts=report.parts,
            drawn=drawn,
            style=style("site.css"),
        )
    )


def drawn(part: Part) -> list[Drawn]:
    """A section's charts."""
    found = part.result.found if part.result else None
    return [] if found is None else [Drawn(one, found.measurements) for one in found.charts]
