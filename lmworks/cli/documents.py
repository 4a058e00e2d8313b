"""The index that a verb answers from: the one that is named, or the one in the model's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmworks.grounding.answer import Way
    from lmworks.grounding.index import Index

FromIndex = Annotated[
    str | None,
    typer.Option("--index", help="Answer from the documents of this index; from the model's own unless given."),
]
NoIndex = Annotated[bool, typer.Option("--no-index", help="Let the model answer by itself, though it has an index.")]

How = Annotated[
    str, typer.Option("--way", help="extract quotes the documents; write lets the model write what they support.")
]


def way_of(said: str) -> Way:
    """A way to answer from documents. ConfigError for one that does not exist."""
    from lmworks.basics.errors import ConfigError

    if said not in ("extract", "write"):
        raise ConfigError(f"--way is {said}; say extract or write")
    return "write" if said == "write" else "extract"


def check_index(named: str | None, without: bool) -> None:
    """ConfigError for both options, DataError for a folder without an index: told before a model is loaded."""
    from lmworks.basics.errors import ConfigError

    if named is None:
        return
    if without:
        raise ConfigError("--index and --no-index say opposite things; leave out one of them")
    from lmworks.grounding.index import open_index

    open_index(named)


def index_for(model: Path | None, named: str | None, without: bool) -> Index | None:
    """The index to answer from; None for none. Says on standard error where a model has lost the one it was built with.

    DataError for a folder without an index.
    """
    from lmworks.grounding.beside import index_beside
    from lmworks.grounding.index import open_index

    if without or named is not None:
        return None if named is None else open_index(named)
    index, remark = index_beside(model)
    if remark:
        typer.echo(f"lmworks: {remark}", err=True)
    return index
