"""Options that say which documents of an index are meant, for every verb that searches one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lmworks.basics.errors import ConfigError
from lmworks.cli.option_groups import Options

if TYPE_CHECKING:
    from lmworks.grounding.filters import Filter


@dataclass(frozen=True, kw_only=True)
class FilterOptions(Options):
    """Which documents are searched."""

    path: Annotated[list[str] | None, typer.Option(help="Only files like this: 'contracts/*'; may be given again.")] = (
        None
    )
    since: Annotated[str | None, typer.Option(help="Only files changed on this date or later: 2026-01-31.")] = None
    until: Annotated[str | None, typer.Option(help="Only files changed on this date or earlier.")] = None
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Only documents that say so in their front matter or their record: author=Ann; may be given again, "
            "for another key.",
        ),
    ] = None

    def filter(self) -> Filter | None:
        """The filter that they give; None for none of them. ConfigError for what is no KEY=VALUE or no date, and
        for a key that is given twice."""
        from lmworks.grounding.filters import Filter

        pairs = self.where or ()
        said = {key: value for key, _, value in (one.partition("=") for one in pairs)}
        if not all(key and value for key, value in said.items()):
            raise ConfigError(f"--where is {' '.join(pairs)!r}; write it as KEY=VALUE: --where author=Ann")
        keys = [one.partition("=")[0] for one in pairs]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ConfigError(f"--where gives {twice} twice; give each key once")
        meant = Filter(paths=tuple(self.path or ()), since=self.since, until=self.until, metadata=said)
        return None if meant == Filter() else meant
