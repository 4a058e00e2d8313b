"""Rows as text: where their cells end can be found again, and prose has none."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lmworks.text.formats.rows import cell_ends, lines, record_line


def cells(text: str) -> list[str]:
    """A text, cut where rows begin and their cells end."""
    cuts = [0, *cell_ends(text), len(text)]
    return [text[start:end] for start, end in pairwise(cuts) if start < end]


def test_the_cells_of_rows_are_found_again():
    grid = [["Part", "Size", "Note"], ["bolt", "8 mm; 10 mm", "see: the shelf"], ["nut", "", "none"]]
    assert cells("The stock.\n\n" + "\n".join(lines(grid))) == [
        "The stock.\n\n",
        *("- Part: bolt", "; Size: 8 mm; 10 mm", "; Note: see: the shelf", "\n"),
        *("- Part: nut", "; Note: none"),
    ]
    assert cells("\n".join(lines([["", "2020", "2024"], ["Bonn", "1", "2"]], 1))) == [
        "- Bonn",
        "; 2020: 1",
        "; 2024: 2",
    ]
    record = record_line({"size": "8 mm", "count": 1150, "note": None})
    assert cells(record) == ["size: 8 mm", "; count: 1150"]
    assert cells("  | a\\|b | 1 |  ") == ["  | a\\|b", " | 1", " |  "]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The size is 8 mm; the count is 1150.",
        "- a key; a boat; a ring",
        "Rent: 740 euros; dogs are not allowed.",
        "- Bring a key; note: it is lost easily",
        "- Open: from nine; on Sundays: closed",
        "It is said so.\nsize: 8 mm; count: 1150",
        "f x | x > 0 = 1\n    | otherwise = 2",
    ],
)
def test_prose_has_no_cells(text):
    assert cell_ends(text) == []
