"""Which cell of a table a question asks for: that of the row and of the column whose names it says.

    weighed("What is the power of the PX-60?", text, rows_of(text))      # for each cell, how much of that it answers

A table says more than a sentence does: every row of a table of plans has a value for each plan. So a cell counts by
what stands for it alone: the label of its row (its first cell), the header of its column, and half as much the other
cells of the row, which name what it is about in a list of people or of orders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from lmworks.grounding.calendar_names import days_in
from lmworks.grounding.terms import terms
from lmworks.grounding.words import QUALIFIERS, content, coverage
from lmworks.text.formats.rows import Cell

APART = frozenset((*QUALIFIERS.split(), "with", "without", "not", "no"))
"""Function words that tell rows apart: with and without electricity, before and after departure."""
_ONLY_DAYS = re.compile(
    r"(?:(?:\w+day)s?|[Bb]ank|[Pp]ublic|[Hh]olidays?|to|till|until|through|and|or|[-–—,/&\s])+", re.ASCII
)
"""A label that says when, and nothing else."""
LABEL = 0.5
"""What the label and the header count for a cell; all of its row and the header count the rest."""

Row = Sequence[Cell]


class Weighed(NamedTuple):
    """What a cell is worth to a question."""

    end: int
    """Where its value ends in the text."""
    held: float
    """The share of the question's words that the best cell of its table is named by."""
    behind: float
    """How far the cell is behind that one, in the words that the table has: 0 ... 1."""


def weighed(question: str, text: str, rows: Sequence[Row]) -> list[Weighed]:
    """The cells of a text's tables, in order. A word that a table does not have says nothing of its cells."""
    asked, found = _words(question), list[Weighed]()
    for table in _tables(text, rows):
        own = asked & set().union(*(_words(f"{one.header} {_value(text, one)}") for row in table for one in row))
        shares = {one.end: share for row in table for one, share in _shares(own, text, row)}
        best = max(shares.values())
        held = best * len(own) / len(asked) if asked else 0.0
        if any(named_by_both(question, text, row, one) == 1 for row in table for one in row):
            held = 1.0  # the other words of the question only say what the table is about
        found += [Weighed(end, held, best - share) for end, share in shares.items()]
    return found


def named_by_both(question: str, text: str, row: Row, cell: Cell) -> float:
    """How much of both the row's label and the column's header a question says, 0 ... 1; nothing of a label itself."""
    if cell is row[0] or not cell.header.strip():
        return 0.0
    asked = _words(question)
    label, header = _label(_value(text, row[0]), asked), _words(cell.header)
    return coverage(label, asked) * coverage(header, asked) if label and header else 0.0


def has_nothing_for(question: str, text: str, row: Row, cell: Cell, rows: Iterable[tuple[str, Row]]) -> bool:
    """Whether the cell that a question asks for is empty, in another row than this cell or in another column; then this
    one is no answer. A row or column is asked for if the question says all of its label or header. `rows`: those that
    were found, each with the text that it stands in."""
    asked, own = _words(question), _value(text, row[0])
    if cell is row[0] or not cell.header.strip():
        return False
    beside = [(there, other) for there, other in rows if other and other[0].header == row[0].header]
    if coverage(_label(own, asked), asked) < 1:
        headers = {one.header for one in row}
        return any(
            _is_asked_for(_value(there, other[0]), asked)
            and _words(_value(there, other[0])) != _words(own)
            and {one.header for one in other} <= headers
            and not _said_below(cell.header, there, other)
            for there, other in beside
        )
    columns = {one.header for _, other in beside for one in other[1:]}
    empty = [one for one in columns if _is_asked_for(one, asked) and not _said_below(one, text, row)]
    return bool(empty) and not _is_asked_for(cell.header, asked)


def _is_asked_for(name: str, asked: set[str]) -> bool:
    words = _words(name)
    return bool(words) and coverage(words, asked) == 1


def _said_below(header: str, text: str, row: Row) -> bool:
    """Whether a row has a value in the column of this header."""
    return any(one.header == header and any(map(str.isalnum, _value(text, one))) for one in row)


def _label(value: str, asked: set[str]) -> set[str]:
    """The words of a row's label; of days of the week the asked ones alone: Tuesday of "Monday to Friday"."""
    days = set(terms(" ".join(days_in(value)), "english"))
    said = {*content(value, "english")}
    return days & asked if days & asked and said & asked <= days and _ONLY_DAYS.fullmatch(value) else _words(value)


def _tables(text: str, rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that follow each other line by line."""
    table: list[Row] = []
    for row in filter(None, rows):
        if table and text.count("\n", table[-1][-1].end, row[0].start) != 1:
            yield table
            table = []
        table.append(row)
    if table:
        yield table


def _shares(asked: set[str], text: str, row: Row) -> Iterator[tuple[Cell, float]]:
    """The share of the words that names each cell. What a cell says itself does not count: it is not asked for."""
    values = [_words(_value(text, one)) for one in row]
    for at, cell in enumerate(row):
        header = _words(cell.header)
        label = header | values[0] if at else header
        others = header.union(*(one for place, one in enumerate(values) if place != at))
        both = LABEL * coverage(asked, label) + (1 - LABEL) * coverage(asked, others)
        yield cell, both if asked else 0.0


def _value(text: str, cell: Cell) -> str:
    return text[cell.start : cell.end]


def _words(text: str) -> set[str]:
    """The content of an English text, with the function words that tell rows apart."""
    return {*content(text, "english"), *(APART & set(terms(text)))}
