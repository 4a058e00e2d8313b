"""Filter: which documents a search is among: by path, by the date of their file, by what they say of themselves.

index.search("rent", where=Filter(paths=("contracts/*",), since="2026-01-01", metadata={"author": "Ann"}))
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import ClassVar, Self

from pydantic import Field, model_validator

from lmworks.basics.config import Config
from lmworks.basics.errors import ConfigError
from lmworks.text.metadata import Metadata

_NANOSECONDS = 10**9


@dataclass(frozen=True)
class Described:
    """What a filter looks at."""

    number: int
    """The document's number in its index."""
    source: str
    file: str
    """Its file in the indexed folder."""
    changed: int
    """When the file was changed last, in nanoseconds since 1970."""
    metadata: Metadata


class Filter(Config):
    """Documents that fulfil all that is given."""

    given_as: ClassVar[str] = 'a Filter(paths=["2026/*"]) of lmworks.grounding.filters'

    paths: tuple[str, ...] = ()
    """Files like one of these: `*` stands for any characters, slashes too; a name that ends with a slash, for all files
    below that folder."""

    since: str | None = None
    """Files that were changed on this date or later: 2026-01-31, or 2026-01-31T12:00, by the clock of this machine."""

    until: str | None = None
    """Files that were changed on this date or earlier."""

    metadata: dict[str, str] = Field(default_factory=dict)
    """Documents that have these values: of their front matter, or of the other fields of their record."""

    @model_validator(mode="after")
    def _dates_are_dates(self) -> Self:
        since, until = _moment(self.since, "since"), _moment(self.until, "until", whole=True)
        if since is not None and until is not None and since >= until:
            raise ConfigError(f"{{at}}since is {self.since}, later than until, {self.until}, so that no file is meant")
        return self

    def among(self, documents: Iterable[Described]) -> list[int]:
        """The numbers of the documents that are meant; ConfigError for a key that none of all has."""
        every = list(documents)
        known = {key for one in every for key in one.metadata}
        for key in self.metadata:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"they have {_named(sorted(known))}"
                raise ConfigError(f"no document of this index has the key {key!r}; {hint}")
        since, until = _moment(self.since, "since"), _moment(self.until, "until", whole=True)
        return [one.number for one in every if self._fits(one, since, until)]

    def _fits(self, one: Described, since: int | None, until: int | None) -> bool:
        if self.paths and not any(_like(name, path) for path in self.paths for name in (one.file, one.source)):
            return False
        if (since is not None and one.changed < since) or (until is not None and one.changed >= until):
            return False
        return all(value in one.metadata.get(key, ()) for key, value in self.metadata.items())


def _like(name: str, path: str) -> bool:
    if name == path or (path.endswith("/") and name.startswith(path)):
        return True  # whatever its own name means as a pattern: report [final].txt
    return fnmatchcase(name, f"{path}*" if path.endswith("/") else path)


def _moment(date: str | None, name: str, whole: bool = False) -> int | None:
    """A date in nanoseconds since 1970; of a `whole` day, where it ends."""
    if date is None:
        return None
    try:
        moment = datetime.fromisoformat(date)
        if whole:
            moment += timedelta(days=1) if len(date) <= len("2026-01-31") else timedelta(microseconds=1)
        return int(moment.timestamp() * _NANOSECONDS)
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{{at}}{name} is {date!r}; write a date as 2026-01-31 or 2026-01-31T12:00") from None


def _named(keys: Sequence[str]) -> str:
    return ", ".join(keys[:10]) + (", ..." if len(keys) > 10 else "") if keys else "none at all"
