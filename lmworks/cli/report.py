"""lmworks report: one page about a model, with every figure that can be measured here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Json, Model, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.evaluation.measurement import Measurement


@verb("Measure it", place=4)
@reads_text
def report(
    model: Model,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The report's folder; reports/MODEL unless given.")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="quick: some minutes on two cores; full: all questions, an hour or more.")
    ] = "quick",
    trained_on: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="The text that the model was trained on, for what it leaks; what its lmworks.json names unless given.",
        ),
    ] = None,
    questions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Your own questions: a .csv or .jsonl file of questions with answers or choices, or of conversations "
            "that call tools; plain ones are asked of the model's documents where it has some. May be repeated.",
        ),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Another model of the same text, with or without differential privacy: what leaks from it beside.",
        ),
    ] = None,
    section: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this section: own, documents, quality, speed, tasks, bias, faithfulness, leakage, energy; "
            "several with commas."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Write one page about a model: how good, how fast, how biased, what it leaks. Your own questions, quality by the
    bits of its weights, speed and memory here, tasks, bias, whether explanations are true to it, leaks of its training
    text and energy, as report.html, report.json and a model card; started again, it goes on."""
    from lmworks.basics import progress
    from lmworks.basics.terminal import printable

    progress.at_once(f"loading {model}")
    from lmworks.lab.scale import require_scale
    from lmworks.models.files.references import resolve

    with progress.shown():
        for reference in [model] if beside is None else [model, beside]:
            resolve(reference)  # a mistake is reported before torch is imported
    from lmworks.reporting.report import NOT_CHOSEN
    from lmworks.reporting.run import report as run

    only = [name.strip() for one in section or [] for name in one.split(",") if name.strip()]
    with progress.shown():
        scale_, own = require_scale(scale), questions or ()
        found = run(model, out, scale=scale_, trained_on=trained_on, questions=own, beside=beside, only=only)
    if json_:
        as_json(found.to_json())
        return
    results = [(one.section.name, one.result.found) for one in found.parts if one.result is not None]
    measured = [_row(name, each, result.remark_on(each)) for name, result in results for each in result.headlines]
    if measured:
        table(["section", "what", "figure", "95 %", "n", "chance", "ideal", ""], measured)
    for one in found.parts:
        if one.summary:
            print(f"{one.section.name}: {one.summary}")
        if one.result is None and one.why_not != NOT_CHOSEN:
            print(f"{one.section.name}: {printable(one.why_not)}")
    print(f"\nsaved   {found.folder / 'report.html'} (beside it report.json and README.md, a model card)")


def _row(section: str, one: Measurement, remark: str) -> list[str]:
    low_high = "" if one.interval is None else f"{one.alike(one.interval[0])} ... {one.alike(one.interval[1])}"
    chance = "" if one.chance is None or one.difference else one.alike(one.chance)
    ideal = "" if one.ideal is None else f"{one.ideal:g}"
    return [section, one.name, one.figure, low_high, f"{one.n:,}", chance, ideal, remark]
