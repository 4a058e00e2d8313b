"""The command line: every verb that a file of this folder declares."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.verb import Verbs

app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"color": True},  # nothing is taken out of a name: basics/terminal.py shows what is in it
    help="A workshop for language models that you own: train, adapt, measure, run.",
)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from lmworks import __version__

        typer.echo(__version__)
        raise typer.Exit
