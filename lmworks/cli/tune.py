"""lmworks tune: train a model on conversations, instructions or plain text."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.build import show_examples, show_result
from lmworks.cli.options import Changes, Json, Model, Resume, reads_text, say
from lmworks.cli.verb import verb


@verb("Make a model", place=2)
@reads_text
def tune(  # noqa: PLR0913, PLR0917 (each is an option that people know by name)
    model: Model,
    data: Annotated[str, typer.Option(help="Conversations, instructions (.jsonl, .json, .csv) or a folder of text.")],
    method: Annotated[str, typer.Option(help="How the model is changed; `lmworks explain build` lists them.")] = "lora",
    retain: Annotated[
        str, typer.Option(help="How what it could do is kept; `lmworks explain build` lists the ways.")
    ] = "nothing",
    private: Annotated[
        float | None,
        typer.Option(
            metavar="EPSILON",
            help="Train with differential privacy: what the result tells of any one document is bounded by EPSILON (8 "
            "is usual, 1 strict).",
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/NAME unless given.")] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe (adapt, full, quick) or a TOML file.")] = "adapt",
    set_: Changes = None,
    resume: Resume = False,
    preview: Annotated[
        int,
        typer.Option(
            min=0, help="Show this many examples, with what of them is learnt in brackets, and train nothing."
        ),
    ] = 0,
    json_: Json = False,
) -> None:
    """Train a model on data of your own by any method, and measure what it gained and what it lost."""
    from lmworks.basics import progress
    from lmworks.jobs.recipe import Recipe

    changes = [*(set_ or []), *([] if private is None else [f"private.epsilon={private}"])]
    fixed = [f"method={method}", f"retain={retain}", "grounding.index=false"]
    chosen = Recipe.read(recipe, [*fixed, *changes])  # mistakes are told before torch loads
    if preview:
        from lmworks.jobs.tune import preview as examples

        found = examples(model, data, preview, say, chosen.training.context)
        show_examples(found, json_)
        return

    from lmworks.jobs.tune import tune as run

    with progress.shown():
        result = run(
            model,
            data,
            method,
            retain,
            out,
            recipe=recipe,
            changes=changes,
            resume=resume,
            say=say,
        )
    show_result(result, json_)
