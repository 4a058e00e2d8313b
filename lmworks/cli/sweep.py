"""lmworks sweep: search over a recipe's settings; or find a learning rate in one short run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Changes, Json, as_json, reads_text, say, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.sweeping.run import SweepResult
    from lmworks.lab.chart import Chart
    from lmworks.training.rate_finder import RateCurve

SHOWN = 5
"""Trials in the table."""


@verb("Make a model", place=6)
@reads_text
def sweep(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe (python-reference, ...) or a TOML file, as for train.")
    ],
    space: Annotated[
        Path | None, typer.Option(help="A TOML file: setting -> low and high (log, step), or choices.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="In all, those of an earlier run and of other workers counted.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The study's folder; sweeps/RECIPE unless given.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="postgresql://user:password@host/database for workers on several machines; else a journal file."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The sampler's; every trial has the recipe's training.seed.")] = 0,
    prune: Annotated[
        bool, typer.Option(help="End trials that do worse than half of the others (needs training.evaluate_every).")
    ] = True,
    find_rate: Annotated[
        bool, typer.Option("--find-rate", help="No search: raise the learning rate step by step and show the loss.")
    ] = False,
    set_: Changes = None,
    json_: Json = False,
) -> None:
    """Search for better settings of a recipe. Start it several times to share the trials."""
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError
    from lmworks.basics.extras import require
    from lmworks.jobs.training_recipe import TrainRecipe

    TrainRecipe.read(recipe, set_ or [])  # what is wrong with it is said before torch is loaded, which takes seconds

    if find_rate:
        from lmworks.jobs.sweeping.rate import find_rate_of

        with progress.shown():
            curve = find_rate_of(recipe, set_ or [], say=say)
        as_json(curve.facts()) if json_ else _show_rates(curve, recipe)
        return
    if space is None or trials is None:
        raise ConfigError("sweep needs --space FILE and --trials N; or --find-rate for the learning rate alone")
    require("matplotlib.figure", "search")  # for the picture at the end: better missed now than then
    from lmworks.jobs.sweeping.run import sweep as run

    with progress.shown():
        result = run(recipe, space, trials, out, changes=set_ or [], storage=storage, seed=seed, prune=prune, say=say)
    pictures = _draw(result)
    if json_:
        as_json(result.facts() | {"pictures": [str(path) for path in pictures]})
    else:
        _show(result, pictures)


def _draw(result: SweepResult) -> list[Path]:
    """The pictures of the importance, where there is any."""
    if not result.importance:
        return []
    paths = [result.folder / f"importance{ending}" for ending in (".png", ".svg")]
    for path in paths:
        _importance_chart(result).save(path)
    return paths


def _importance_chart(result: SweepResult) -> Chart:
    from lmworks.lab.chart import Chart, Series

    places = tuple(float(at) for at in range(len(result.importance)))
    return Chart(
        kind="bars",
        title=f"What told the best quarter of {result.importance[0].trials} trials from the rest",
        x_label="setting",
        y_label="share of the importance",
        categories=tuple(one.setting for one in result.importance),
        series=(
            Series(name="measured", x=places, y=tuple(one.share for one in result.importance)),
            Series(
                name="95 % of shuffled results stay below", x=places, y=tuple(one.chance for one in result.importance)
            ),
        ),
    )


def _show(result: SweepResult, pictures: list[Path]) -> None:
    names = list(result.best.settings)
    shown = result.ranking[:SHOWN]
    recipe = result.of_the_recipe
    if recipe is not None and recipe not in shown:
        shown.append(recipe)
    typer.echo("")
    table(
        ["trial", "bits/byte", *names, ""],
        [
            [
                str(one.number),
                f"{one.value:.4f}" if one.value is not None else one.state,
                *(_written(one.settings[name]) for name in names),
                "the recipe as it stands" if one.is_recipe else "",
            ]
            for one in shown
        ],
    )
    states = ("complete", "pruned", "diverged", "failed", "running")
    counts = ", ".join(f"{result.count(state)} {state}" for state in states if result.count(state))
    typer.echo(
        f"\n{len(result.trials)} trials: {counts} "
        f"(sampler seed {result.seed}, training.seed {result.training_seed} in all)"
    )
    for one in result.trials:
        if one.why:
            typer.echo(f"  trial {one.number} {one.state}: {one.why}")
    _show_importance(result)
    typer.echo(
        "\nThe best is chosen by the text that it was measured on, so its figure flatters: train it with other seeds,\n"
        "and judge it by text that took no part.\n"
    )
    typer.echo(f"study   {result.folder} ({result.storage}; trials/ has their logs)")
    if pictures:
        typer.echo(f"chart   {'  '.join(map(str, pictures))}")
    typer.echo(f"best    {result.best_recipe}")
    best, out = for_shell(result.best_recipe), for_shell(f"models/{result.folder.name}")
    train = f"lmworks train {best} --out {out} --set training.seed=1"
    typer.echo(f"next    {train}     the same command with more --trials")


def _show_importance(result: SweepResult) -> None:
    from lmworks.jobs.sweeping.importance import LEAST

    typer.echo("")
    if not result.importance:
        typer.echo(f"importance: with fewer than {LEAST} trials nothing can be said")
        return
    table(
        ["setting", "importance", "chance", ""],
        [
            [one.setting, f"{one.share:.0%}", f"{one.chance:.0%}", "no more than chance" if one.is_chance else ""]
            for one in result.importance
        ],
    )
    typer.echo(
        f"(n {result.importance[0].trials} trials: how the best quarter's settings differ from all; 95 % of shuffled "
        "results stay below chance.\nIt holds for this space alone: a wider range makes a setting matter more.)"
    )


def _written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _show_rates(curve: RateCurve, recipe: str) -> None:
    from lmworks.lab.chart import Chart, Series

    chart = Chart(
        kind="line",
        title="Training loss while the learning rate rises",
        x_label="learning rate",
        y_label="nats/token, smoothed",
        log_x=True,
        series=(Series(name="loss", x=curve.rates, y=curve.smoothed),),
    )
    typer.echo("\n" + chart.in_text() + "\n")
    if curve.suggestion is None:
        typer.echo("The loss did not fall anywhere: there is no rate to suggest; look at the data, or give more steps.")
        return
    typer.echo(
        f"steepest at  {curve.suggestion:.3g}; lowest at {curve.lowest:.3g} ({len(curve.rates)} steps of one run)"
    )
    typer.echo(
        "It is a place to begin a search at, and no optimum: a whole run with warm-up and decay bears other rates."
    )
    typer.echo(f"next         lmworks train {for_shell(recipe)} --set training.learning_rate={curve.suggestion:.3g}")
