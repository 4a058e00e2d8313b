"""Mapping: which fields of a table or of JSON records say what; a small TOML file.

    thing = "country"                 # what one record is
    name = "name.common"              # the field of its name; * is every element of a list or of a table
    key = "cca3"                      # by what other records refer to it
    aliases = ["altSpellings.*"]

    [properties.border]
    field = "borders.*"
    refers = true                     # the values are keys or names of other records
    words = ["neighbour"]             # what else people call it

Without one, `name` (or `title`, `label`, or the first field) is the name, and every other field a property.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import Field

from lmworks.basics.config import Config
from lmworks.basics.recipe_file import RecipeFile

NAMES = ("name", "title", "label")
"""Fields that hold a record's name where no mapping says which."""


class PropertyMapping(Config):
    """One property of a record."""

    field: str | None = None
    """The field that holds it; the one of the property's own name unless given."""

    thing: str | None = None
    """What its values are, if they are things with a name. Unless given, they are plain values."""

    refers: bool = False
    """Whether the values are keys or names of other records."""

    separator: str | None = None
    """What stands between several values in one cell."""

    words: tuple[str, ...] = ()
    """What else people call it."""


class RecordMapping(RecipeFile):
    """What the fields of a table or of JSON records say."""

    explain_as: ClassVar[str] = "graph"
    kind: ClassVar[str] = "graph"

    thing: str | None = None
    """What one record is; the file's name unless given."""

    records: str | None = None
    """Where the list of records stands in a JSON file; the file itself unless given."""

    name: str | None = None
    """The field that holds a record's name."""

    key: str | None = None
    """The field that tells records apart; their name unless given."""

    aliases: tuple[str, ...] = ()
    """Fields that hold other names."""

    words: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """What else people call such things: `city = ["town"]`."""

    properties: dict[str, PropertyMapping] = Field(default_factory=dict)
    """The properties by their names; without any, every other field is one."""


def values_at(record: Any, path: str) -> Iterator[str | bool | int | float]:
    """The plain values in a record at a path (`currencies.*.name`); a field whose own name holds dots comes first."""
    if isinstance(record, Mapping) and path in record:
        yield from _plain(record[path])
        return
    step, _, rest = path.partition(".")
    if step == "*":
        below = list(record.values()) if isinstance(record, Mapping) else record if isinstance(record, list) else []
    else:
        below = [record[step]] if isinstance(record, Mapping) and step in record else []
    for one in below:
        yield from values_at(one, rest) if rest else _plain(one)


def _plain(value: Any) -> Iterator[str | bool | int | float]:
    """A plain value, or those of a list; nothing of what is empty."""
    if isinstance(value, list):
        for one in value:
            yield from _plain(one)
    elif isinstance(value, str):
        if value.strip():
            yield " ".join(value.split())
    elif isinstance(value, bool | int | float):
        yield value
