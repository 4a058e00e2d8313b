"""Tables as text: a line for each row, each value after its header, so that a row says by itself what it holds.

    lines([["Flat", "Deposit"], ["3", "1,480"]])       # ["- Flat: 3; Deposit: 1,480"]

A cell that spans several columns or rows stands in the grid as often as it spans places. A line begins as an item of a
list, which sentences and chunks keep whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

NUMBER = re.compile(r"\s*[-+]?[\d.,]+(?:[eE][-+]?\d+)?\s*")
LONGEST_TITLE = 60
"""The most characters of a header that is recognised by its look."""
LONGEST_HEAD = 2_000
"""Characters of a Markdown table's headers that are read again with rows further down."""
MOST_PLACES = 200_000
"""Places of a grid; in a larger one, cells span nothing (two numbers in a page could make a billion places)."""

Spanning = tuple[str, int, int]
"""A cell: its text, and how many columns and rows it spans."""

_TITLE = rf"[^\n;]{{1,{2 * LONGEST_TITLE}}}?: "
_FIRST, _NEXT = re.compile(_TITLE), re.compile(rf"; (?={_TITLE})")
_LINE = re.compile(r"^.*$", re.MULTILINE)
_MARKDOWN = re.compile(r"[ \t]*\|.*\|[ \t]*")
_RULE = re.compile(r"[ \t]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*(?:\|[ \t]*)?$", re.MULTILINE)


def lines(rows: Sequence[Sequence[str]], headers: int | None = None) -> list[str]:
    """The rows of a grid as lines; the first `headers` rows are headers, told by their look unless given.

    Two columns without headers are read as a label and its value. What has one column is no table: its cells as they
    are.
    """
    grid = [[" ".join(cell.split()) for cell in row] for row in rows]
    grid = [row for row in grid if any(row)]
    if all(len(set(filter(None, row))) <= 1 for row in grid):
        return [next(filter(None, row)) for row in grid]
    first = (int(_are_titles(grid)) if headers is None else headers) if len(grid) > 1 else 0
    titles = [_title(column) for column in zip(*_even(grid[:first]), strict=True)]
    return [f"- {row_line(titles, row)}" for row in grid[first:]]


def row_line(titles: Sequence[str], row: Sequence[str]) -> str:
    """One row: "Flat: 3; Deposit: 1,480"; empty cells are left out."""
    if len(set(row)) == 1 and len(row) > 1 and not NUMBER.fullmatch(row[0]):
        return row[0]  # one cell over the whole width: it says what the next rows are about
    if not titles and len(row) == 2 and all(row):
        return f"{row[0].rstrip(': ')}: {row[1]}"
    named = [*titles, *[""] * (len(row) - len(titles))]
    return "; ".join(f"{title}: {cell}" if title else cell for title, cell in zip(named, row, strict=False) if cell)


def record_line(row: Mapping[str, object]) -> str:
    """A row whose values are known by their headers, on one line."""
    cells = {title: " ".join(str(value).split()) for title, value in row.items() if value is not None}
    return row_line(list(cells), list(cells.values())) if len(cells) > 1 else "".join(cells.values())


class Cell(NamedTuple):
    """A value in a row of a table, as the row's text says it."""

    start: int
    """Where the value begins in the text, in characters."""
    end: int
    header: str
    """What its column is called; empty where nothing says it."""


def rows_of(text: str) -> list[list[Cell]]:
    """The cells of each table row in a text, in order; empty for a text without rows. Rows are those that `lines` and
    `record_line` write for two headers or more, and those of Markdown tables.

    A row is recognised by its form: it is an item of a list, or the whole text. With one header it is taken for prose,
    and so is a line whose first header is capitalised and another is not: "Open: from nine; on Sundays: closed".
    """
    found: list[list[Cell]] = []
    titles: list[str] | None = None
    whole = text.strip()
    for line in _LINE.finditer(text):
        start, row = line.start(), line.group()
        if not _MARKDOWN.fullmatch(row):
            titles = None
            if cells := _between_semicolons(row, start) if row.startswith("- ") or row == whole else []:
                found.append(cells)
            continue
        spans = _between_bars(row, start)
        if titles is None:
            titles = [text[first:last] for first, last in spans] if _RULE.match(text, line.end() + 1) else []
        if not _RULE.match(text, start):
            named = [*titles, *[""] * len(spans)]
            if spans:  # a line whose last bar is escaped has no cell
                found.append([Cell(*span, title) for span, title in zip(spans, named, strict=False)])
    return found


def row_spelled_out(text: str, start: int, end: int) -> str:
    """A whole row of a Markdown table, each value after its header; empty where the span is none."""
    if not _MARKDOWN.fullmatch(text[start:end]):
        return ""
    row = next((one for one in rows_of(text) if one and start <= one[0].start <= end), [])
    return row_line([cell.header for cell in row], [text[cell.start : cell.end] for cell in row])


@dataclass(frozen=True)
class SpelledOut:
    """A text whose Markdown tables say the header of each value, row by row, as `lines` writes tables."""

    text: str
    pieces: Sequence[tuple[int, int, int]]
    """What it has of the text: where a piece begins in it and in the text, and how long it is."""
    told: Mapping[int, list[Cell]]
    """The rows of Markdown tables in it, each by where its line begins."""

    @property
    def rows(self) -> list[list[Cell]]:
        """The cells of each table row in it, in order: whatever headers and values of Markdown tables look like, and
        what `rows_of` finds else."""
        others = {self.text.rfind("\n", 0, one[0].start) + 1: one for one in rows_of(self.text) if one}
        return [row for _, row in sorted((others | dict(self.told)).items())]

    def back(self, start: int, end: int) -> tuple[int, int]:
        """The place in the text of a span of this one; of what stands in headers alone, the value after them."""
        own = [(first, at, size) for first, at, size in self.pieces if first < end and start < first + size]
        if not own:
            _, at, size = next((one for one in self.pieces if one[0] >= start), self.pieces[-1])
            return at, at + size
        (first, at, _), (last, to, size) = own[0], own[-1]
        return at + max(start - first, 0), to + min(end - last, size)


def spelled_out(text: str) -> SpelledOut:
    """A text for those who read one row at a time. Tables without a line of headers stay as they are."""
    parts, pieces, begin, length = list[str](), list[tuple[int, int, int]](), 0, 0

    def add(piece: str, at: int | None = None) -> None:
        nonlocal length
        if piece and at is not None:
            pieces.append((length, at, len(piece)))
        parts.append(piece)
        length += len(piece)

    titles: list[str] = []
    told: dict[int, list[Cell]] = {}
    for line in _LINE.finditer(text):
        start, row = line.start(), line.group()
        if not _MARKDOWN.fullmatch(row):
            titles = []
            continue
        is_head = not titles and _RULE.match(text, line.end() + 1) is not None
        if not (titles or is_head):
            continue
        add(text[begin:start], begin)
        spans = _between_bars(row, start)
        if is_head:
            titles = [text[first:last][:LONGEST_TITLE] for first, last in spans]
        elif not _RULE.match(text, start):
            cells = told.setdefault(length, [])
            add("- ")
            named = [pair for pair in zip(titles, spans, strict=False) if pair[1][0] < pair[1][1]]
            for number, (title, (first, last)) in enumerate(named):
                add(("; " if number else "") + (f"{title}: " if title else ""))
                add(text[first:last], first)
                cells.append(Cell(length - (last - first), length, title))
            add("\n")
        begin = min(line.end() + 1, len(text))
    add(text[begin:], begin)
    return SpelledOut("".join(parts), pieces or [(0, 0, 0)], {at: cells for at, cells in told.items() if cells})


def head_above(text: str, at: int) -> str:
    """The lines that say the headers of the Markdown table in which a place stands, if it is below these and they are
    not long; else nothing."""
    lines = list[str]()
    start = text.rfind("\n", 0, at) + 1
    here = _LINE.match(text, start)
    while here is not None and _MARKDOWN.fullmatch(here.group()):
        lines.append(here.group() + "\n")
        if start == 0:
            break
        start = text.rfind("\n", 0, start - 1) + 1
        here = _LINE.match(text, start)
    ruled = len(lines) > 2 and _RULE.match(lines[-2]) is not None
    head = "".join(reversed(lines[-2:])) if ruled else ""
    return head if len(head) <= LONGEST_HEAD else ""


def _between_bars(row: str, at: int) -> list[tuple[int, int]]:
    """Where the values of a Markdown row stand."""
    bars = [one.start() for one in re.finditer(r"(?<!\\)\|", row)]
    spans = []
    for first, last in pairwise(bars):
        value = row[first + 1 : last]
        begin = first + 1 + len(value) - len(value.lstrip()) if value.strip() else last
        spans.append((at + begin, at + max(begin, last - len(value) + len(value.rstrip()))))
    return spans


def _between_semicolons(row: str, at: int) -> list[Cell]:
    """Those of "header: value; header: value"; of prose, nothing."""
    cuts = [one.start() for one in _NEXT.finditer(row)]
    begin = 2 * row.startswith("- ")
    first = _FIRST.match(row, begin, cuts[0]) if cuts else None
    is_prose = first is not None and first[0][0].isupper() and any(row[one + 2].islower() for one in cuts)
    if is_prose or len(cuts) + bool(first) < 2:
        return []
    cells = []
    for cut, end in pairwise([begin - 2, *cuts, len(row)]):
        title = _FIRST.match(row, cut + 2, end)
        value = title.end() if title else cut + 2
        cells.append(Cell(at + value, at + end, title[0].removesuffix(": ") if title else ""))
    return cells


def grid(rows: Iterable[Sequence[Spanning]]) -> list[list[str]]:
    """Cells that span places, as rows that hold each one's text at all of its places."""
    held = [list(row) for row in rows]
    if sum(columns * down for row in held for _, columns, down in row) > MOST_PLACES:
        held = [[(text, 1, 1) for text, _, _ in row] for row in held]
    found: list[list[str]] = []
    below: dict[int, tuple[str, int]] = {}  # by column: what reaches down from above, and for how many rows more
    for row in held:
        line: list[str] = []
        waiting = list(reversed(row))
        while waiting or len(line) in below:
            at = len(line)
            if at in below:
                text, more = below.pop(at)
                line.append(text)
                if more > 1:
                    below[at] = (text, more - 1)
                continue
            text, columns, down = waiting.pop()
            for place in range(at, at + max(columns, 1)):
                line.append(text)
                if down > 1:
                    below[place] = (text, down - 1)
        found.append(line)
    return found


def _title(cells: Sequence[str]) -> str:
    """The header of a column out of its header cells, top down; what a merged cell repeats is said once."""
    return " ".join(dict.fromkeys(cell.rstrip(": ") for cell in cells if cell))


def _even(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    width = max(map(len, rows), default=0)
    return [[*row, *[""] * (width - len(row))] for row in rows]


def _are_titles(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row looks like headers: short, distinct, no numbers; of two columns, above figures only."""
    first = rows[0]
    looks = len(set(first)) == len(first) and all(first[1:])
    looks = looks and all(len(cell) <= LONGEST_TITLE and not NUMBER.fullmatch(cell) for cell in first)
    figures = [bool(re.search(r"\d", row[-1])) for row in rows]
    return looks and (len(first) > 2 or (len(rows) > 2 and not figures[0] and all(figures[1:])))
