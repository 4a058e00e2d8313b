"""lmworks prefer: train a model on pairs of answers, of which one is liked more."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lmworks.cli.build import as_facts, show
from lmworks.cli.options import Changes, Json, Model, Resume, as_json, reads_text
from lmworks.cli.verb import verb


@verb("Make a model", place=3)
@reads_text
def prefer(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    model: Model,
    data: Annotated[
        str, typer.Option(help="Pairs (.jsonl, .json, .csv): `prompt`, `chosen` and `rejected`, or conversations.")
    ],
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/NAME unless given.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="What is made of two answers: dpo, ipo or simpo; dpo unless given.")
    ] = None,
    beta: Annotated[
        float | None, typer.Option(help="How strongly the model is held to where it was; a larger one holds it more.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="How the model is changed; `lmworks explain build` lists the ways."),
    ] = None,
    retain: Annotated[
        str | None, typer.Option(help="How what it could do is kept; `lmworks explain build` lists the ways.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe (pairs) or a TOML file.")] = "pairs",
    set_: Changes = None,
    resume: Resume = False,
    preview: Annotated[
        int,
        typer.Option(min=0, help="Show this many pairs, with what of them is learnt in brackets, and train nothing."),
    ] = 0,
    json_: Json = False,
) -> None:
    """Train a model on pairs of answers by which is better, and measure what it prefers, gained and lost."""
    from lmworks.basics import progress
    from lmworks.basics.terminal import printable
    from lmworks.jobs.prefer_recipe import recipe_of

    recipe_of(  # mistakes are told before torch loads
        recipe, method=method, retain=retain, beta=beta, loss=loss, changes=set_ or []
    )

    from lmworks.jobs.prefer import prefer as run
    from lmworks.jobs.prefer import preview as examples

    if preview:
        found = examples(model, data, preview)
        if json_:
            as_json(found)
        else:
            typer.echo("\n\n".join(printable(one) for one in found))
        return
    with progress.shown():
        result = run(
            model,
            data,
            method,
            retain,
            beta,
            loss,
            out,
            recipe=recipe,
            changes=set_ or [],
            resume=resume,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    if json_:
        as_json(as_facts(result))
    else:
        show(result)
