"""Rows of a table as documents: records where the columns are understood; else the column with the most words to learn
from, and the whole row to look something up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Any

from lmworks.text import records
from lmworks.text.document import Document
from lmworks.text.formats.format import Found
from lmworks.text.formats.rows import NUMBER, record_line
from lmworks.text.plain import UnreadableError, newlines


def names_of(titles: Collection[str], whole: bool = False) -> dict[str, str]:
    """What each column is read as, by its title: as its title in small letters, where text is learnt and that makes
    another kind of record of the rows."""
    folded = {title: title.strip().lower() for title in titles}
    if whole or records.fields(folded.values()) == records.fields(titles):
        return {title: title for title in titles}
    return folded


def documents(
    titles: Collection[str], rows: Callable[[], Iterator[dict[str, Any]]], name: str, whole: bool = False
) -> Found:
    """Rows that are understood as records, else whole rows ("Flat: 3; Deposit: 1,480") or the column with the most
    words, named in the source. Where text is learnt, `Prompt` and `Completion` are `prompt` and `completion`.

    `rows` starts over at each call, so that a table of numbers is never held in memory.
    """
    read_as = names_of(titles, whole)
    if any(title != name for title, name in read_as.items()):
        given = rows

        def rows() -> Iterator[dict[str, Any]]:
            return ({read_as[title]: cell for title, cell in row.items()} for row in given())

    if records.fields(read_as.values()):
        for number, row in enumerate(rows(), 1):
            try:
                yield records.document(row, f"{name}#{number}")
            except UnreadableError as reason:
                yield UnreadableError(f"row {number}: {reason}")
        return
    if whole:
        for number, row in enumerate(rows(), 1):
            yield Document(record_line(row), f"{name}#{number}")
        return
    words, characters = Counter[str](), Counter[str]()
    for row in rows():
        for title, cell in row.items():
            if cell and not NUMBER.fullmatch(cell):
                words[title] += len(cell.split())
                characters[title] += len(cell)
    if not words:
        raise UnreadableError("no column of text")
    column = max(words, key=lambda title: (words[title], characters[title]))
    for number, row in enumerate(rows(), 1):
        yield Document(newlines(row.get(column) or ""), f"{name}:{column}#{number}", column=column)
