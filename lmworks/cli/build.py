"""lmworks build: adapt a model to a folder of text, and measure what that did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.amounts import size
from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Changes, Json, Resume, as_json, reads_text, say, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.evaluation.measurement import Measurement
    from lmworks.jobs.build import BuildResult
    from lmworks.jobs.comparing import TextComparison


@verb("Make a model", place=1)
@reads_text
def build(
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER", help="A folder or file of text, python-reference, or a name of the data registry."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model to adapt: an alias, a directory, a .gguf file or hf:org/name.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/NAME unless given.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A shipped recipe (adapt, full, quick) or a TOML file.")] = None,
    set_: Changes = None,
    merge: Annotated[bool, typer.Option("--merge", help="Write the whole merged model instead of an adapter.")] = False,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Adapt a model to a folder of text, and measure what it learnt and forgot."""
    from lmworks.basics import progress
    from lmworks.jobs.recipe import Recipe

    chosen = Recipe.read(recipe or "adapt", set_ or [])  # mistakes are told before torch loads, which takes seconds

    from lmworks.jobs.build import answer
    from lmworks.jobs.build import build as run

    with progress.shown():
        result = run(
            text,
            model,
            out,
            recipe=chosen,
            merge=merge,
            resume=resume,
            say=say,
        )
    if json_:
        as_json(
            {
                **as_facts(result),
                "prompt": result.prompt,
                "cited": result.grounded.told_facts if result.grounded else None,
                "index": result.grounded.facts if result.grounded else None,
                "answer": "".join(answer(result)),
            }
        )
        return
    show(result)
    typer.echo(f"\n{result.prompt}")
    if result.grounded:
        typer.echo("\n".join(["\nfrom the documents:", *result.grounded.told, "\nfrom the model alone:"]))
    for piece in answer(result):
        typer.echo(piece, nl=False)
    typer.echo("")


def show_result(result: BuildResult, json_: bool) -> None:
    """What was made, without an answer."""
    if json_:
        as_json(as_facts(result))
    else:
        show(result)


def show_examples(examples: Sequence[str], json_: bool) -> None:
    """What a model would be trained on."""
    from lmworks.basics.terminal import printable

    if json_:
        as_json(examples)
    else:
        typer.echo("\n\n".join(printable(one) for one in examples))


def as_facts(result: BuildResult) -> dict[str, Any]:
    """What --json says of a result, but for its answer."""
    return {
        "folder": str(result.folder),
        "measurements": [figure.to_json() for figure in result.measurements],
        "changes": {one.text: one.change for one in result.comparisons},
        "verdicts": result.verdicts,
        "remarks": result.remarks,
        "whole": result.whole,
        "weight_bytes": result.weight_bytes,
        **({} if result.private is None else {"private": result.private.facts}),
    }


def show(result: BuildResult) -> None:
    """Print what was measured, where the result is, and what to do next."""
    typer.echo("")
    rows = [_row(one, result.verdicts[one.text]) for one in result.comparisons]
    table(["", "before", "after", "change", ""], rows)
    if result.grounded and result.grounded.outcome:
        typer.echo(f"documents      {result.grounded.outcome.counts}")
    typer.echo(f"moved          {result.moved} by {result.moved.name}")
    if result.private:
        typer.echo(f"private        {result.private}")
    if result.drift:
        typer.echo(f"drift from the base   {result.drift}")
    if result.further:
        typer.echo("")
        table(["held out", "", ""], [[one.name, one.figure, _certainty(one)] for one in result.further])
        typer.echo("")
    for remark in result.remarks:
        typer.echo(f"but     {remark}")
    what = f"{'whole model' if result.whole else 'adapter'} {size(result.weight_bytes)}"
    typer.echo(f"saved   {result.folder} ({what}; recipe, data hashes and figures in lmworks.json)")
    there = for_shell(result.folder)
    if result.recipe.retain == "router":
        typer.echo(
            "router  tells which texts are its own, where it is named beside its base; alone it reads every text"
        )
        named = for_shell(f"{result.folder.name}={result.folder}")
        talk = f"lmworks chat {for_shell(result.recipe.model.reference)} --adapter {named}"
    else:
        talk = f"lmworks chat {there}"
    typer.echo(f"next    {talk}     lmworks evaluate {there} TEXT     lmworks check {there}")
    if result.task:
        typer.echo(
            f"        lmworks evaluate {there} --task {for_shell(result.task)}     calls in conversations not learnt"
        )


def _certainty(one: Measurement) -> str:
    return f"{one.certainty}{', ' * bool(one.remark)}{one.remark}"


def _row(one: TextComparison, verdict: str) -> list[str]:
    change = str(one.difference).removesuffix(", tie")
    after = f"{one.before.alike(one.after.value)} {one.after.unit}"  # with as many digits as before
    return [one.text, one.before.figure, after, change, verdict]
