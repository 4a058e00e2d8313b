"""What the file of a format declares: the suffixes it reads, and how.

    JSONL = Format("jsonl", (".jsonl",), read)

A reader takes a path and the name to give as the source, and yields documents; in place of a record that cannot be
used it yields the reason. It raises UnreadableError or OSError for a file that is of no use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from lmworks.basics.declared import declared
from lmworks.basics.errors import LmworksError
from lmworks.basics.extras import require
from lmworks.text.document import Document
from lmworks.text.plain import UnreadableError

Found = Iterator[Document | UnreadableError]
Reader = Callable[[Path, str], Found]


@dataclass(frozen=True)
class Format:
    """A kind of files."""

    name: str
    suffixes: tuple[str, ...]
    """In lower case, with the dot; messages name the first one. An empty one stands for names without a suffix."""
    read: Reader
    look_up: Reader | None = None
    """How it is read where single facts are looked up and not learnt from, if in another way."""
    named: str = ""
    """What users are told that it reads, if not the first suffix."""
    place: int = 50
    """Where it comes among the formats that are named; lower places first."""


@cache
def _by_suffix() -> dict[str, Format]:
    found: dict[str, Format] = {}
    for one in declared(__package__, Format).values():
        for suffix in one.suffixes:
            if suffix in found:
                raise ValueError(f"the formats {found[suffix].name} and {one.name} both read {suffix} files")
            found[suffix] = one
    return found


def reader_for(path: Path, look_up: bool = False) -> Reader:
    """The reader for a file by its suffix; a name without one (README, LICENSE) is tried as text."""
    suffix = path.suffix.lower()
    if suffix not in _by_suffix():
        raise UnreadableError(f"{suffix} files are not read")
    found = _by_suffix()[suffix]
    return (found.look_up if look_up else None) or found.read


def formats_named() -> str:
    """What files may be, for messages to users."""
    formats = sorted(declared(__package__, Format).values(), key=lambda one: (one.place, one.name))
    *others, last = (one.named or one.suffixes[0] for one in formats)
    return f"{' '.join(others)}, and {last}"


def package(module: str) -> Any:
    """A package of the extra `docs`; UnreadableError where it is missing."""
    try:
        return require(module, "docs")
    except LmworksError as error:
        raise UnreadableError(str(error)) from None


def first_line(error: BaseException | str) -> str:
    """What an error or a warning of a package says, short."""
    return str(error).partition("\n")[0][:200]


def in_short(error: Exception) -> str:
    """What a JSON parser found, and where its sentence needs a place: "Invalid control character at character 17"."""
    said = str(error).partition(":")[0]
    return f"{said} character {error.colno}" if said.endswith(" at") and isinstance(error, JSONDecodeError) else said
