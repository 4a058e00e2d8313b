"""Tables as text: a line for each row, each value after its header, so that a row says by itself what it holds.

    lines([["Flat", "Deposit"], ["3", "1,480"]])       # ["- Flat: 3; Deposit: 1,480"]

A cell that spans several columns or rows stands in the grid as often as it spans places. A line begins as an item of a
list, which sentences and chunks keep whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

NUMBER = re.compile(r"\s*[-+]?[\d.,]+(?:[eE][-+]?\d+)?\s*")
LONGEST_TITLE = 60
"""The most characters of a header that is recognised by its look."""
MOST_PLACES = 200_000
"""Places of a grid; in a larger one, cells span nothing (two numbers in a page could make a billion places)."""

Spanning = tuple[str, int, int]
"""A cell: its text, and how many columns and rows it spans."""

_TITLE = rf"[^\n;]{{1,{2 * LONGEST_TITLE}}}?: "
_FIRST, _NEXT = re.compile(_TITLE), re.compile(rf"; (?={_TITLE})")
_MARKDOWN = re.compile(r"[ \t]*\|.*\|[ \t]*")


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


def cell_ends(text: str) -> list[int]:
    """Where rows begin and their cells end, in order, as `lines` and `record_line` write rows of two headers or more,
    and Markdown between bars; of a text without rows, nothing.

    A row is told by its look: an item of a list, or the whole text. What has one header is prose, and what has a
    capital at the first and a small letter at another: "Open: from nine; on Sundays: closed".
    """
    found: list[int] = []
    for line in re.finditer(r".+", text):
        row = line.group()
        if _MARKDOWN.fullmatch(row):
            ends = [one.start() for one in re.finditer(r"[ \t]*(?<!\\)\|", row)]
        else:
            ends = _ends(row) if row.startswith("- ") or row == text.strip() else []
        if ends:
            found += [line.start(), *(line.start() + at for at in ends), line.end()]
    return found


def _ends(row: str) -> list[int]:
    """Where the semicolons between the cells of a row stand; of prose, nothing."""
    ends = [one.start() for one in _NEXT.finditer(row)]
    first = _FIRST.match(row, 2 * row.startswith("- "), ends[0]) if ends else None
    is_prose = first is not None and first[0][0].isupper() and any(row[at + 2].islower() for at in ends)
    return [] if is_prose or len(ends) + bool(first) < 2 else ends


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
