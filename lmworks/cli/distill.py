"""lmworks distill: a smaller model that learns a text, and what a larger one predicts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.terminal import for_shell
from lmworks.cli.options import Changes, Json, Resume, as_json, reads_text, say, table
from lmworks.cli.verb import verb

if TYPE_CHECKING:
    from lmworks.jobs.distill import DistillResult


@verb("Make a model", place=3)
@reads_text
def distill(
    teacher: Annotated[
        str,
        typer.Argument(help="The model to learn from: an alias (smollm2), a directory, a .gguf file or hf:org/name."),
    ],
    data: Annotated[str, typer.Option(help="A folder or file of text, or a name of the data registry.")],
    layers: Annotated[
        int | None, typer.Option(help="The student begins with this many of the teacher's layers, from both ends.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="A student that is there, of any family, with the teacher's vocabulary.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Where the result goes; models/NAME-student unless given.")] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe (distill) or a TOML file.")] = "distill",
    set_: Changes = None,
    resume: Resume = False,
    json_: Json = False,
) -> None:
    """Make a smaller model that learns a text and what a larger one predicts of it, and measure both."""
    from lmworks.basics import progress
    from lmworks.jobs.distill_recipe import with_arguments

    # mistakes are told before torch loads, which takes seconds
    chosen = with_arguments(recipe, set_ or [], teacher, data, layers, student)

    from lmworks.jobs.distill import distill as run

    with progress.shown():
        result = run(out=out, recipe=chosen, resume=resume, say=say)
    if json_:
        as_json(
            {
                "folder": str(result.folder),
                "measurements": [figure.to_json() for figure in result.measurements],
                "asked": result.asked,
                "remarks": result.remarks,
            }
        )
    else:
        _show(result)


def _show(result: DistillResult) -> None:
    typer.echo("")
    rows = [
        [one.text, one.teacher.figure, one.student.figure, str(one.difference), one.divergence.figure]
        for one in result.texts
    ]
    table(["", "teacher", "student", "difference", "KL(teacher || student)"], rows)
    typer.echo("")
    table(["costs", ""], [[figure.name, figure.figure] for figure in result.costs])
    typer.echo("")
    for remark in result.remarks:
        typer.echo(f"but     {remark}")
    typer.echo(f"saved   {result.folder} (whole model; recipe, data hashes and figures in lmworks.json)")
    there = for_shell(result.folder)
    talk = f"chat {there}" if result.model.tokenizer.chat_template else f"generate {there} 'How it begins'"
    typer.echo(f"next    lmworks {talk}     lmworks compress {there}     lmworks check {there}")
