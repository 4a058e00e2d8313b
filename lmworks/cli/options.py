"""Options that several verbs share, and how they print facts."""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lmworks.cli.option_groups import parameter, taking

Json = Annotated[bool, typer.Option("--json", help="Print the same facts as JSON.")]
Model = Annotated[str, typer.Argument(help="An alias (smollm2), a directory, a .gguf file or hf:org/name.")]
Base = Annotated[str | None, typer.Option(help="The base model of an adapter, where the one it names is not here.")]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="[NAME=]DIR",
        help="An adapter's directory, put on the model, which is its base. With a name it stands beside the model, and "
        "may be repeated: each text is read by the one that learnt its kind, or by the model itself.",
    ),
]
Compress = Annotated[
    str | None,
    typer.Option(
        help="How the network runs on a CPU: int4, int8 or bf16, compiled, with weights of at most 4, 8 or 16 bits; "
        "none, in PyTorch, as it is. Unless given, as the file is stored."
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
    option = typer.Option("--follow-links", help="Read links in a folder of text that lead out of it.")

    def with_option(*, follow_links: bool = False, **given: Any) -> None:
        from lmworks.text.sources import FOLLOW_LINKS

        if follow_links:
            os.environ[FOLLOW_LINKS] = "1"
        run(**given)

    own = inspect.signature(run, eval_str=True).parameters.values()
    return taking([*own, parameter("follow_links", Annotated[bool, option], False)], with_option, run)


def adapters_of(given: Sequence[str]) -> tuple[str | None, dict[str, Path]]:
    """The directory of the adapter that is put on the model, and those beside it by name. ConfigError for two of a
    name, and for one without a name beside others."""
    from lmworks.basics.errors import ConfigError

    alone = [one for one in given if "=" not in one or Path(one).is_dir()]
    named: dict[str, Path] = {}
    for one in given:
        name, _, folder = one.partition("=")
        if one in alone:
            continue
        if not name or not folder or name in named:
            why = "gives a name that is already taken" if name in named else "is not NAME=DIR"
            raise ConfigError(f"--adapter {one} {why}; give each adapter a name of its own, such as notes=models/notes")
        named[name] = Path(folder)
    if len(alone) > 1 or (alone and named):
        raise ConfigError(f"--adapter {alone[0]} has no name, and there are others; give each one: notes={alone[0]}")
    return next(iter(alone), None), named


def on_model(reference: str, base: str | None, given: Sequence[str]) -> tuple[str, str | None, dict[str, Path]]:
    """What is loaded, on which base, and the adapters beside it by name: an adapter without a name is loaded on the
    model. ConfigError as by `adapters_of`, and for a second base; ModelError for an adapter of another model."""
    from lmworks.basics.errors import ConfigError

    adapter, named = adapters_of(given)
    if adapter is None:
        return reference, base, named
    from lmworks.loading import must_belong

    if base is not None:
        raise ConfigError(f"--adapter {adapter} has its base already, {reference}; leave --base out")
    must_belong(adapter, reference)
    return adapter, reference, named


def say(line: str) -> None:
    """Print a job's progress to standard error, where it does not mix with the result."""
    print(line, file=sys.stderr, flush=True)


WIDEST = 10_000
"""Characters of a line where no screen limits it."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under headings, columns aligned; on a pipe each row is one line, however long."""
    from rich.table import Table

    from lmworks.basics.terminal import console

    grid = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    screen = console(highlight=False, markup=False)
    if not screen.is_terminal:
        screen.width = WIDEST
    screen.print(grid)


def as_json(facts: Any) -> None:
    """Print facts as JSON."""
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
