"""Options that say which documents of an index are meant, for every verb that searches one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmworks.basics.errors import ConfigError

if TYPE_CHECKING:
    from lmworks.grounding.filters import Filter

OPTIONS = {
    "path": Annotated[list[str] | None, typer.Option(help="Only files like this: 'contracts/*'; may be given again.")],
    "since": Annotated[str | None, typer.Option(help="Only files changed on this date or later: 2026-01-31.")],
    "until": Annotated[str | None, typer.Option(help="Only files changed on this date or earlier.")],
    "where": Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only documents that say so in their front matter or their record: author=Ann; may be given again.",
        ),
    ],
}


def filters(run: Callable[..., None]) -> Callable[..., None]:
    """A verb's function with these options in place of its parameter `where`, which gets a Filter or None."""
    own = [one for one in inspect.signature(run, eval_str=True).parameters.values() if one.name != "where"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in OPTIONS.items()
    ]

    @functools.wraps(run)
    def with_options(
        *,
        path: Sequence[str] | None = None,
        since: str | None = None,
        until: str | None = None,
        where: Sequence[str] | None = None,
        **given: Any,
    ) -> None:
        run(where=filter_of(path or (), since, until, where or ()), **given)

    parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own), *more]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {one.name: one.annotation for one in parameters} | {"return": None}
    return with_options


def filter_of(paths: Sequence[str], since: str | None, until: str | None, pairs: Sequence[str]) -> Filter | None:
    """The filter that options give; None for none of them. ConfigError for what is no KEY=VALUE, or no date."""
    from lmworks.grounding.filters import Filter

    said = {key: value for key, _, value in (one.partition("=") for one in pairs)}
    if not all(key and value for key, value in said.items()):
        raise ConfigError(f"--where is {' '.join(pairs)!r}; write it as KEY=VALUE: --where author=Ann")
    meant = Filter(paths=tuple(paths), since=since, until=until, metadata=said)
    return None if meant == Filter() else meant
