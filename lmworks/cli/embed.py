"""lmworks embed: vectors of images or texts, for lmworks search."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.basics.amounts import counted
from lmworks.basics.terminal import for_shell
from lmworks.cli.left_out import left_out
from lmworks.cli.options import Json
from lmworks.cli.verb import verb


@verb("Use it", place=40)
def embed(
    model: Annotated[str, typer.Argument(help="A model that embeds: a CLIP for images, minilm for texts, ...")],
    source: Annotated[
        str, typer.Argument(metavar="FOLDER", help="Images (a folder, .zip, .tar, .csv, emoji, ...), or texts.")
    ],
    out: Annotated[str, typer.Option(help="The folder that the vectors go into.")],
    json_: Json = False,
) -> None:
    """Turn images or texts into vectors, which lmworks search finds by words."""
    tell(source, out, model, json_)


def tell(source: str, out: str, model: str, json_: bool) -> None:
    """Make a folder of vectors and say what is in it."""
    from lmworks.basics import progress
    from lmworks.cli.options import as_json
    from lmworks.jobs.embedding import embed as run

    with progress.shown():
        made = run(model, source, out)
    if json_:
        facts = {"folder": str(made.folder), "vectors": made.count, "dimensions": made.dim}
        skipped = [f"{one.path}: {one.reason}" for one in made.skipped]
        as_json({**facts, "cut": made.cut, "read": made.summary, "skipped": skipped})
        return
    for line in left_out(made.skipped):
        typer.echo(f"skipped {line}", err=True)
    typer.echo(f"read    {made.summary}")
    typer.echo(f"saved   {made.folder} ({counted(made.count, 'vector')} of {made.dim} numbers)")
    asked = "'a few words'" if made.by_words else "photo.jpg"
    typer.echo(f"next    lmworks search {for_shell(made.folder)} {asked}")
