"""lmworks merge: models as one, or a model part of the way back to its base."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Json, as_json, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.merge import Merged


USES = {"density": ("ties", "dare"), "seed": ("dare",)}
"""The ways that such an option is for."""


@verb("Make a model", place=3)
def merge(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Models of one shape, or adapters.")],
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/NAME-merged unless given.")] = None,
    base: Annotated[str | None, typer.Option(help="What they were made from, where they do not say so.")] = None,
    way: Annotated[str, typer.Option(help="task (add what each learnt), linear (their mean), ties or dare.")] = "task",
    weights: Annotated[str | None, typer.Option(help="What each counts, as 1,0.5; 1 each unless given.")] = None,
    keep: Annotated[float, typer.Option(help="The share of what was learnt that stays: 0 is the base.")] = 1.0,
    density: Annotated[
        float | None, typer.Option(help="ties, dare: the share of each difference that counts; 0.2 unless given.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="dare: what is drawn; 0 unless given.")] = None,
    text: Annotated[
        str | None, typer.Option(help="Measure what was learnt of this text, and lost of another, at several shares.")
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1, help="At most about this many tokens of each text are read, at each share; 20,000 unless given."
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Merge models into one; with --keep, go part of the way back to the base."""
    from lmworks.adaptation.merge_settings import MergeSettings
    from lmworks.basics import progress
    from lmworks.basics.errors import ConfigError

    try:
        numbers = None if weights is None else tuple(float(one) for one in weights.split(","))
    except ValueError:
        raise ConfigError(f"--weights is {weights!r}; give numbers with commas between them, as 1,0.5") from None
    # mistakes are told before torch loads, which takes seconds
    named: tuple[tuple[str, Any], ...] = (("density", density), ("seed", seed))
    given = {name: value for name, value in named if value is not None}
    MergeSettings.given(len(models), numbers, way=way, keep=keep, **given)
    for name in given:
        if way not in USES[name]:
            raise ConfigError(
                f"--{name} is for --way {' and '.join(USES[name])}; leave it out, or take "
                f"{'that way' if len(USES[name]) == 1 else 'one of these'}"
            )

    from lmworks.adaptation.small_updates import dtype_name
    from lmworks.jobs.merge import merge as run

    with progress.shown():
        made = run(
            models,
            out,
            base=base,
            way=way,
            weights=numbers,
            keep=keep,
            text=text,
            tokens=tokens,
            **given,
        )
    if json_:
        measured = {
            share: {one.text: one.difference.to_json() for one in found} for share, found in made.measured.items()
        }
        for share, drift in made.drifts.items():
            measured[share][drift.name] = drift.to_json()
        dtype = dtype_name(made.model.network.dtype)
        facts = {"folder": str(made.folder), "keep": made.settings.keep, "dtype": dtype, "lost": made.lost}
        as_json(facts | {"measured": measured})
        return
    _show(made)


def _show(made: Merged) -> None:
    if made.measured:
        names = [one.text for one in next(iter(made.measured.values()))]
        rows = [[f"{share:.0%}", *(str(one.difference) for one in found)] for share, found in made.measured.items()]
        head = ["kept", *(f"{name}, change" for name in names)]
        if made.drifts:
            head.append(made.drifts[0.0].name)
            rows = [[*row, str(one)] for row, one in zip(rows, made.drifts.values(), strict=True)]
        table(head, rows)
    typer.echo(f"saved   {made.folder}")
    there = for_shell(made.folder)
    typer.echo(f"next    lmworks chat {there}     lmworks evaluate {there} TEXT")
