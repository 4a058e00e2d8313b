"""lmworks prefer: train a model on pairs of answers, of which one is liked more."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from lmworks.cli.build import show_examples, show_result
from lmworks.cli.option_groups import Options
from lmworks.cli.options import Changes, Json, Model, Resume, reads_text, say
from lmworks.cli.verb import verb


@dataclass(frozen=True, kw_only=True)
class PreferOptions(Options):
    """What is minimised, and how the model is changed."""

    loss: Annotated[
        str | None, typer.Option(help="What is made of two answers: dpo, ipo or simpo; dpo unless given.")
    ] = None
    beta: Annotated[
        float | None, typer.Option(help="How strongly the model is held to where it was; a larger one holds it more.")
    ] = None
    method: Annotated[
        str | None,
        typer.Option(help="How the model is changed; `lmworks explain build` lists the ways."),
    ] = None
    retain: Annotated[
        str | None, typer.Option(help="How what it could do is kept; `lmworks explain build` lists the ways.")
    ] = None


@verb("Make a model", place=3)
@reads_text
def prefer(
    model: Model,
    data: Annotated[
        str, typer.Option(help="Pairs (.jsonl, .json, .csv): `prompt`, `chosen` and `rejected`, or conversations.")
    ],
    *,
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/NAME unless given.")] = None,
    how: PreferOptions,
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
    from lmworks.jobs.prefer_recipe import recipe_of

    changed = asdict(how)
    recipe_of(recipe, **changed, changes=set_ or [])  # mistakes are told before torch loads

    from lmworks.jobs.prefer import prefer as run
    from lmworks.jobs.prefer import preview as examples

    if preview:
        found = examples(model, data, preview, say=say)
        show_examples(found, json_)
        return
    with progress.shown():
        result = run(
            model,
            data,
            **changed,
            out=out,
            recipe=recipe,
            changes=set_ or [],
            resume=resume,
            say=say,
        )
    show_result(result, json_)
