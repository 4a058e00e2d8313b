"""lmworks forget: tasks learnt one after another, and what each way to keep the earlier ones gains and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Changes, Json, as_json, reads_text, say, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.evaluation.measurement import Measurement
    from lmworks.jobs.forget_report import Forgetting, Point
    from lmworks.lab.chart import Chart, Series


@verb("Make a model", place=4)
@reads_text
def forget(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (captions, german) or a TOML file.")],
    out: Annotated[str | None, typer.Option(help="The sequence's folder; forgetting/RECIPE unless given.")] = None,
    set_: Changes = None,
    json_: Json = False,
) -> None:
    """Train tasks one after another, and compare ways to keep the earlier ones. Started again, it goes on."""
    from lmworks.basics import progress
    from lmworks.basics.extras import require
    from lmworks.jobs.forget_recipe import ForgetRecipe

    ForgetRecipe.read(recipe, set_ or [])  # mistakes are told before torch loads, which takes seconds
    require("matplotlib.figure", "lab")  # for the picture at the end: better missed now than then
    from lmworks.jobs.forget import forget as run

    with progress.shown():
        result = run(recipe, out, changes=set_ or [], say=say)
    pictures = [result.folder / f"frontier{ending}" for ending in (".png", ".svg")]
    chart = frontier(result)
    for path in pictures:
        chart.save(path)
    if json_:
        as_json(result.facts() | {"pictures": [str(path) for path in pictures]})
    else:
        _show(result, pictures)


def frontier(result: Forgetting) -> Chart:
    """What each way gained and forgot; the slider as a line."""
    from lmworks.jobs.forget_recipe import SLIDER
    from lmworks.lab.chart import Chart

    ways = dict.fromkeys(one.way for one in reversed(result.points))  # the slider's line first
    unit = result.points[0].forgotten.unit or "share of answers"
    return Chart(
        kind="line",
        title=f"{', then '.join(result.recipe.order)}: {len(result.recipe.seeds)} seeds",
        x_label=f"gained on the last task, {unit}",
        y_label=f"forgotten of earlier tasks, {unit}",
        series=tuple(_series(way, [one for one in result.points if one.way == way], way == SLIDER) for way in ways),
    )


def _series(way: str, points: list[Point], with_band: bool) -> Series:
    from lmworks.lab.chart import Series

    bands = [one.forgotten.interval or (one.forgotten.value,) * 2 for one in points]
    return Series(
        name=way,
        x=tuple(one.gained.value for one in points),
        y=tuple(one.forgotten.value for one in points),
        low=tuple(low for low, _ in bands) if with_band else None,
        high=tuple(high for _, high in bands) if with_band else None,
    )


def _show(result: Forgetting, pictures: list[Path]) -> None:
    typer.echo("")
    _show_matrix(result)
    typer.echo("")
    table(
        ["way", "gained, last task", "forgotten, earlier tasks", "lost, general text", "of the gain", "kept", ""],
        [
            [
                one.way if one.share is None else f"{one.way} {one.share:.0%}",
                _short(one.gained),
                _short(one.forgotten),
                _short(one.general),
                _percent(one.gain_share),
                _percent(one.kept_share),
                _beside(one.beside_slider),
            ]
            for one in result.points
        ],
    )
    first = result.points[0]
    seeds = len(first.forgotten.seeds)
    typer.echo(f"({seeds} seed{'s' * (seeds != 1)}, n {first.forgotten.n:,} parts of text; 95 % intervals)\n")
    names = [one.name for one in next(iter(result.summaries.values()))]
    table(["way", *names], [[way, *map(_short, found)] for way, found in result.summaries.items()])
    typer.echo(f"\nfinding {result.finding}")
    typer.echo(f"saved   {result.folder / 'forget.json'}  {'  '.join(map(str, pictures))}")
    typer.echo("next    the same command with --set seeds=[0,1,2,3]: runs that are kept are not run again")


def _show_matrix(result: Forgetting) -> None:
    naive = result.matrices["naive"]
    unit = "share of answers" if result.recipe.measure == "answers" else "bits/byte"
    after = ["the base", *(f"after {name}" for name in result.recipe.order)]
    rows = [[name, *(f"{value:.3f}" for value in row)] for name, row in zip(after, naive, strict=True)]
    rows.append(["all at once (joint)", *(f"{value:.3f}" for value in result.matrices["joint"][-1])])
    table([f"naive, {unit}", *result.columns], rows)


def _short(one: Measurement) -> str:
    from lmworks.evaluation.measurement import written

    if one.interval is None:
        return one.figure
    low, high = one.interval
    step = (high - low) / 10
    value, *ends = (written(number, step, signed=one.difference) for number in (one.value, low, high))
    return f"{value} ({ends[0]} ... {ends[1]})"


def _percent(one: Measurement | None) -> str:
    return "" if one is None else f"{one.value:.0%}"


def _beside(one: Measurement | None) -> str:
    if one is None or one.interval is None:
        return ""
    verdict = "a tie" if one.tie else "better" if one.value > 0 else "worse"
    return f"{verdict} {'with' if one.tie else 'than'} the slider ({_short(one)})"
