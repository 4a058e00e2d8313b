"""Rows as text: where their cells end can be found again, and prose has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.text.formats.rows import head_above, lines, record_line, rows_of, spelled_out


def cells(text: str) -> list[list[tuple[str, str]]]:
    """The headers and values of each row."""
    return [[(cell.header, text[cell.start : cell.end]) for cell in row] for row in rows_of(text)]


def test_the_cells_of_rows_are_found_again():
    grid = [["Part", "Size", "Note"], ["bolt", "8 mm; 10 mm", "see: the shelf"], ["nut", "", "none"]]
    assert cells("The stock.\n\n" + "\n".join(lines(grid))) == [
        [("Part", "bolt"), ("Size", "8 mm; 10 mm"), ("Note", "see: the shelf")],
        [("Part", "nut"), ("Note", "none")],
    ]
    assert cells("\n".join(lines([["", "2020", "2024"], ["Bonn", "1", "2"]], 1))) == [
        [("", "Bonn"), ("2020", "1"), ("2024", "2")]
    ]
    record = record_line({"size": "8 mm", "count": 1150, "note": None})
    assert cells(record) == [[("size", "8 mm"), ("count", "1150")]]
    assert cells("  | a\\|b | 1 |  ") == [[("", "a\\|b"), ("", "1")]]


TABLE = """Data:

| Property | PX-40 | PX \\| 60 |
| --- | ---: | :-: |
| Power | 750 W | 1100 W |
| Weight |  | 16 kg |

More.
| no | header |
"""


def test_a_markdown_table_says_its_headers():
    assert cells(TABLE)[1:] == [
        [("Property", "Power"), ("PX-40", "750 W"), ("PX \\| 60", "1100 W")],
        [("Property", "Weight"), ("PX-40", ""), ("PX \\| 60", "16 kg")],
        [("", "no"), ("", "header")],
    ]
    told = spelled_out(TABLE)
    assert told.text == (
        "Data:\n\n- Property: Power; PX-40: 750 W; PX \\| 60: 1100 W\n- Property: Weight; PX \\| 60: 16 kg\n"
        "\nMore.\n| no | header |\n"
    )
    for part in ("1100 W", "16 kg", "Data:", "More.\n| no | header |", "750 W; PX \\| 60: 1100 W"):
        start = told.text.index(part)
        first, last = told.back(start, start + len(part))
        assert TABLE[first:last] == part.replace("; PX \\| 60: ", " | ")
    title = told.text.index("PX-40: ")
    assert TABLE[slice(*told.back(title, title + 5))] == "750 W"  # a header alone is its value
    assert [[told.text[one.start : one.end] for one in row] for row in told.rows[:2]] == [
        ["Power", "750 W", "1100 W"],
        ["Weight", "16 kg"],
    ]
    assert spelled_out("No table.").text == "No table." and spelled_out("").back(0, 0) == (0, 0)


@given(st.text(alphabet="|-: \n\\ab1", max_size=200), st.data())
def test_every_place_of_a_told_table_is_one_of_the_text(text: str, data: st.DataObject):
    told = spelled_out(text)
    for first, at, size in told.pieces:
        assert told.text[first : first + size] == text[at : at + size]
    start = data.draw(st.integers(0, len(told.text)))
    end = data.draw(st.integers(start, len(told.text)))
    first, last = told.back(start, end)
    assert 0 <= first <= last <= len(text)


def test_the_rows_of_a_told_table_are_known_whatever_they_look_like():
    told = spelled_out(
        "| Plan | price; net: | users |\n|---|---|---|\n| All: one | 4; No: 5 | |\n\n- Size: 3; Count: 5"
    )
    assert [[(told.text[one.start : one.end], one.header) for one in row] for row in told.rows] == [
        [("All: one", "Plan"), ("4; No: 5", "price; net:")],
        [("3", "Size"), ("5", "Count")],
    ]


def test_the_headers_above_a_place():
    head = "| Property | PX-40 | PX \\| 60 |\n| --- | ---: | :-: |\n"
    assert head_above(TABLE, TABLE.index("| Weight")) == head == head_above(TABLE, TABLE.index("| Power"))
    for other in ("Data", "| Property", "| ---", "More", "| no"):
        assert head_above(TABLE, TABLE.index(other)) == ""


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
    assert rows_of(text) == []
