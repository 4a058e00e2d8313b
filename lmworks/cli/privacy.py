"""lmworks privacy: what a tuned model gives away of the text that it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.cli.options import Json, as_json, reads_text, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.evaluation.measurement import Measurement
    from lmworks.jobs.privacy import Leakage


@verb("Measure it", place=3)
@reads_text
def privacy(
    model: Annotated[str, typer.Argument(help="A model's or an adapter's folder, made by lmworks build or tune.")],
    members: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it was trained on; unless given, as its lmworks.json says.")
    ] = None,
    non_members: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Text of the same kind that it was not trained on.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="The model that it was tuned from, where the folder does not say.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Look at this many texts of each side at most.")] = 2000,
    tokens: Annotated[
        int | None, typer.Option(min=8, help="Look at this many tokens of each text; as many as in a row of training.")
    ] = None,
    shadows: Annotated[
        int, typer.Option(min=0, help="Tune this many models more on halves of the texts, for the strongest attack.")
    ] = 0,
    json_: Json = False,
) -> None:
    """Measure what a tuned model gives away of its text: planted canaries, and whether members can be told."""
    from lmworks.basics import progress
    from lmworks.jobs.privacy import privacy as run

    with progress.shown():
        found = run(model, members=members, others=non_members, base=base, limit=limit, tokens=tokens, shadows=shadows)
    if json_:
        as_json(
            {
                "model": model,
                "members": found.members,
                "non_members": found.others,
                "measurements": [one.to_json() for one in found.measurements],
                "by_chance": {one.name: p for one, p in (*found.canaries, *found.base_canaries)},
                "private": found.private,
            }
        )
    else:
        show(found)


def show(found: Leakage) -> None:
    """Print what was measured, and what makes it mean less than it seems."""
    from lmworks.evaluation.privacy.membership import ENOUGH

    rows = [[one.name, *_cells(one), f"by chance {_share(p)}"] for one, p in (*found.canaries, *found.base_canaries)]
    rows += [[one.name, *_cells(one), one.remark] for one in found.of_members]
    table(["what", "figure", "95 % interval, n, chance", ""], rows)
    typer.echo("")
    if found.not_told:
        typer.echo(f"n       membership was not measured: {found.not_told}")
    if found.blind and not found.blind.at_chance and found.blind.value > 0.5:
        typer.echo(
            "but     members and non-members can be told apart by their words alone, so the figures of membership say "
            "little; draw both at random from one pool"
        )
    if found.blind and found.others < ENOUGH:
        typer.echo(
            f"n       {found.members:,} members, {found.others:,} non-members; how many members are told at 1 % false "
            "alarms needs 1,000 non-members"
        )
    if found.private:
        typer.echo(
            f"private epsilon {found.private['epsilon']:.2f} at delta {found.private['delta']:.1e} for each "
            f"{found.private['unit']}"
        )
    if not found.canaries:
        typer.echo(
            "next    lmworks tune ... --set canaries.count=8 plants canaries, so that this can tell what is learnt"
        )


def _cells(one: Measurement) -> list[str]:
    return [one.figure, one.certainty]


def _share(p: float) -> str:
    return "less than 1 in 10,000" if p < 1e-4 else f"{p:.2g}"
