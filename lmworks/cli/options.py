"""Options that several verbs share, and how they print facts."""

from __future__ import annotations

import functools
import inspect
import json
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")]
Model = Annotated[str, typer.Argument(help="An alias (smollm2), a directory, a .gguf file or hf:org/name.")]
Base = Annotated[str | None, typer.Option(help="The base model of an adapter, where the one it names is not here.")]
Adapter = Annotated[
    str | None, typer.Option(metavar="DIR", help="An adapter's directory, put on the model, which is its base.")
]
Compress = Annotated[
    str | None,
    typer.Option(
        help="How the network runs on a CPU: int4 or int8, compiled, with weights of at most 4 or 8 bits; none, in "
        "PyTorch, as it is. Unless given, as the file is stored."
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting of the recipe; may be repeated."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped.")]
MaxNewTokens = Annotated[int, typer.Option(help="The longest answer, in tokens.")]
Beams = Annotated[int | None, typer.Option(help="Write this many answers side by side and give the best as a whole.")]


def reads_text(run: Callable[..., None]) -> Callable[..., None]:
    """A verb's function with one option more: whether links in a folder of text may lead out of it."""
    signature = inspect.signature(run, eval_str=True)
    option = typer.Option("--follow-links", help="Read links in a folder of text that lead out of it.")
    more = inspect.Parameter(
        "follow_links", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, option]
    )

    @functools.wraps(run)
    def with_option(*, follow_links: bool = False, **given: Any) -> None:
        from lmworks.text.sources import FOLLOW_LINKS

        if follow_links:
            os.environ[FOLLOW_LINKS] = "1"
        run(**given)

    own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    parameters = [*own, more]
    with_option.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_option.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return with_option


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings, columns aligned; wide on a pipe, so that nothing is cut."""
    from rich.table import Table

    from lmworks.basics.terminal import console

    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    screen = console(highlight=False, markup=False)
    if not screen.is_terminal:
        screen.width = 200
    screen.print(grid)


def as_json(facts: Any) -> None:
    """Print facts as JSON."""
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
