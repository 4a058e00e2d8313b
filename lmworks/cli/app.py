"""The command line's verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from lmworks.cli.answering import GroupedCommand
from lmworks.cli.bench import bench
from lmworks.cli.build import build
from lmworks.cli.chat import chat
from lmworks.cli.check import check
from lmworks.cli.compress import compress
from lmworks.cli.corpus import corpus
from lmworks.cli.evaluate import evaluate
from lmworks.cli.explain import explain
from lmworks.cli.export import export
from lmworks.cli.generate import generate
from lmworks.cli.lab import lab
from lmworks.cli.models import models
from lmworks.cli.plan import plan
from lmworks.cli.serve import serve
from lmworks.cli.sweep import sweep
from lmworks.cli.tokens import tokens
from lmworks.cli.train import train

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="A workshop for language models that you own: train, adapt, measure, run.",
)
for verb in (
    build,
    corpus,
    train,
    sweep,
    plan,
    models,
    generate,
    chat,
    serve,
    evaluate,
    check,
    compress,
    export,
    lab,
    explain,
):
    app.command(cls=GroupedCommand)(verb)
app.add_typer(tokens, name="tokens")
app.add_typer(bench, name="bench")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from lmworks import __version__

        typer.echo(__version__)
        raise typer.Exit


__all__ = ["app"]
