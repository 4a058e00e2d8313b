"""CSV: a table whose cells are parted by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lmworks.text import records
from lmworks.text.formats.format import Format, Found
from lmworks.text.formats.rows import NUMBER
from lmworks.text.formats.table import documents, names_of
from lmworks.text.plain import LINE_LIMIT, UnreadableError, check_line, inspect

TURNS = ("messages", "conversations", "chosen", "rejected")
"""Columns whose cells may be conversations."""
TEXTS = ("prompt", "response", "completion")
"""Those whose cells are texts, and may be turns that say their roles."""


def read(path: Path, name: str, whole: bool = False) -> Found:
    """A document for each row: its text column, or all that it says."""
    found = inspect(path)
    check_line(found.longest_line)
    earlier = csv.field_size_limit(LINE_LIMIT)
    try:
        titles = next(_rows(path, found.encoding), None)
        if titles is not None:
            has_titles = _is_header(titles)
            names = [title.strip() if has_titles else f"column {at}" for at, title in enumerate(titles, 1)]

            def rows() -> Iterator[dict[str, Any]]:
                body = itertools.islice(_rows(path, found.encoding), int(has_titles), None)
                cells = (_named(names, row) for row in body)
                return map(_with_every_turn, cells) if records.fields(names_of(names, whole).values()) else cells

            yield from documents(names, rows, name, whole)
    except csv.Error as error:
        yield UnreadableError(f"not a CSV table {error}")
    finally:
        csv.field_size_limit(earlier)


def rows_with_titles(path: Path) -> Iterator[dict[str, str]]:
    """Each row with the first row's cells as names of its own, without columns that have neither a name nor a value;
    UnreadableError as `read`, and where a value would be lost: for two columns of one name, or one without."""
    found = inspect(path)
    check_line(found.longest_line)
    earlier = csv.field_size_limit(LINE_LIMIT)
    try:
        rows = _rows(path, found.encoding)
        titles = [title.strip() for title in next(rows, [])]
        if twice := [title for title, count in Counter(titles).items() if title and count > 1]:
            raise UnreadableError(f"two columns are called {twice[0]}; give each a title of its own")
        untitled = [at for at, title in enumerate(titles) if not title]
        for row in rows:
            if filled := [at for at in untitled if at < len(row) and row[at].strip()]:
                raise UnreadableError(f"column {filled[0] + 1} has values and no title; give it one in the first row")
            if named := {title: cell for title, cell in _named(titles, row).items() if title}:
                yield named
    except csv.Error as error:
        raise UnreadableError(f"not a CSV table {error}") from None
    finally:
        csv.field_size_limit(earlier)


def _rows(path: Path, encoding: str) -> Iterator[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
        line = 0
        try:
            for row in reader:
                line = reader.line_num
                if row:
                    yield row
        except csv.Error as error:
            ends = "unexpected end" in str(error)
            reason = "a cell begins with a quotation mark there and does not end with one" if ends else error
            raise csv.Error(f"from line {line + 1} on: {reason}") from None


def _named(titles: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    """Cells by the titles of their columns; those of a row that has more of them by their numbers."""
    more = (f"column {at}" for at in range(len(titles) + 1, len(row) + 1))
    return dict(zip((*titles, *more), row, strict=False))


def with_turns(row: Mapping[str, str]) -> dict[str, Any]:
    """A row whose conversations, which a cell can only hold as JSON, are lists of turns."""
    return dict(row) | {name: turns for name in TURNS if (turns := _turns(row.get(name) or "")) is not None}


def _with_every_turn(row: Mapping[str, str]) -> dict[str, Any]:
    """The same whatever letters the titles have, of prompts and their answers too."""
    read = dict[str, Any](row)
    for title, cell in row.items():
        name = title.strip().lower()
        turns = _turns(cell) if name in TURNS or name in TEXTS else None
        if turns is not None and (name in TURNS or all("role" in one for one in turns)):
            read[title] = turns
    return read


def _turns(cell: str) -> list[Any] | None:
    if not cell.lstrip().startswith("["):
        return None
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return found if found and all(isinstance(one, dict) for one in found) else None


def _is_header(cells: list[str]) -> bool:
    """Titles are short, distinct and no numbers; only the first may be empty (an index that pandas wrote)."""
    return bool(records.fields(cells)) or (
        len(set(cells)) == len(cells)
        and all(len(cell) <= 60 for cell in cells)
        and all(cells[1:])
        and not any(NUMBER.fullmatch(cell) for cell in cells)
    )


CSV = Format("csv", (".csv",), read, look_up=partial(read, whole=True))
