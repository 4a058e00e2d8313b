"""Of a table's cells that one is taken, and comes before prose, whose row and column a question names both."""

from __future__ import annotations

import pytest

from grounding.small_index import indexed
from lmworks.grounding.cells import has_nothing_for, named_by_both, weighed
from lmworks.grounding.index import Index
from lmworks.grounding.telling import facts_of, lines_of
from lmworks.text.formats.rows import rows_of, spelled_out

FARES = """# Tariff rules

## Passengers and luggage

Passengers travel in Economy, Comfort or Business. Hold luggage that is too heavy costs 12 EUR for each kilogram.

## The fares

| | Economy | Comfort | Business |
| --- | --- | --- | --- |
| Hold luggage | none | 23 kg | 64 kg |
| Rebooking, before departure | 60 EUR | 25 EUR | free |
| Rebooking, after departure | not possible | 90 EUR | 30 EUR |
| Check-in opens | 24 hours before | 48 hours before | 72 hours before |

## Check-in

Check-in opens online first and closes 45 minutes before departure. Economy passengers queue at counters 1 to 6.
"""
TABLE = FARES[FARES.index("| |") : FARES.index("\n\n## Check-in")]


def best(question: str, text: str = TABLE) -> list[str]:
    """The cells that are asked for most."""
    told = spelled_out(text)
    cells = {one.end: told.text[one.start : one.end] for row in told.rows for one in row}
    return [cells[one.end] for one in weighed(question, told.text, told.rows) if one.behind == 0]


@pytest.mark.parametrize(
    ("question", "cells"),
    [
        ("How much hold luggage may a Comfort passenger take along on a flight to Rome?", ["23 kg"]),
        ("What does it cost in Business after departure?", ["30 EUR"]),
        ("What does it cost in Business before departure?", ["free"]),
    ],
)
def test_a_cell_is_named_by_its_row_and_its_column_and_by_words_that_the_table_has(question: str, cells: list[str]):
    assert best(question) == cells


def test_what_a_cell_says_itself_is_not_asked_for():
    assert best("Which plan has 2 TB?", "| Plan | Storage |\n|---|---|\n| Team | 1 TB |\n| Firm | 2 TB |") == ["Firm"]


def test_tables_of_one_text_are_weighed_apart():
    text = "- Flat: A; Rent: 700\n- Flat: B; Rent: 800\n\nPumps:\n- Pump: A; Power: 7 W\n- Pump: B; Power: 9 W"
    question = "What is the power of pump B?"
    found = {text[one.end - 3 : one.end]: one for one in weighed(question, text, rows_of(text))}
    assert found["800"].behind == found["9 W"].behind == 0
    assert found["800"].held < found["9 W"].held and found["7 W"].behind > 0


def test_words_of_no_cell_leave_all_cells_alike():
    rows = rows_of(TABLE)
    assert {(one.held, one.behind) for one in weighed("Who won?", TABLE, rows)} == {(0, 0)}
    assert weighed("Who won?", "No table.", []) == []


def test_a_cell_is_named_by_both_or_not_at_all():
    row = rows_of(TABLE)[1]
    label, economy, comfort, _ = row
    question = "How much hold luggage is there in Comfort?"
    assert named_by_both(question, TABLE, row, comfort) == 1
    assert named_by_both(question, TABLE, row, economy) == named_by_both(question, TABLE, row, label) == 0
    assert named_by_both("How much luggage is there in Comfort?", TABLE, row, comfort) == 0.5


TIMES = """| | First from Kettle | Last from Kettle | Last from Penmorrow |
| --- | --- | --- | --- |
| Monday to Friday | 05:40 | 22:10 | 22:30 |
| Saturday | 06:20 | 22:20 | 22:40 |
| Sunday and bank holidays | 07:40 | 20:40 | 20:50 |
"""


@pytest.mark.parametrize(
    ("question", "cell"),
    [
        ("When does the last boat leave Kettle on Saturday?", "22:20"),
        ("When does the last boat leave Kettle on Tuesday?", "22:10"),
        ("When is the last boat from Kettle on weekdays?", "22:10"),
        ("When is the last boat from Kettle on Sundays?", "20:40"),
    ],
)
def test_a_row_of_days_is_named_by_each_of_them(question: str, cell: str):
    named = {
        TIMES[one.start : one.end]
        for row in rows_of(TIMES)
        for one in row
        if named_by_both(question, TIMES, row, one) == 1
    }
    assert named == {cell}


def test_a_cell_that_is_named_by_both_comes_before_prose_with_more_words(tmp_path, minilm: str):
    page = f"# Timetable\n\n{TIMES}\nOn New Year's Eve the last boat leaves Kettle at 18:00.\n"
    index = indexed(tmp_path, {"times.md": page}, minilm)
    assert index.ask("When does the last boat leave Kettle on Saturday?").text == "22:20 [1]"
    assert index.ask("When does the last boat leave Kettle on New Year's Eve?").text == "18:00 [1]"
    assert index.ask("When does the last boat leave Kettle on Christmas Eve?").refused


def test_a_row_with_nothing_in_the_column_that_is_asked_for():
    rows = rows_of(
        "- Vehicle: Car; Single: 6; Book: 52\n- Vehicle: Coach; Single: 28\n- Vehicle: Bus; Single: 8; Book: 70"
    )
    text = "- Vehicle: Car; Single: 6; Book: 52\n- Vehicle: Coach; Single: 28\n- Vehicle: Bus; Single: 8; Book: 70"
    car, _, bus = rows
    given = [(text, row) for row in rows]
    assert has_nothing_for("How much is a book for a coach?", text, car, car[2], given)
    assert not has_nothing_for("How much is a book for a bus?", text, bus, bus[2], given)
    assert not has_nothing_for("How much is a single for a coach?", text, car, car[1], given)


def test_an_empty_cell_is_not_answered_by_its_neighbour():
    text = "- Ticket: Day; Adult: 6; Child: 3\n- Ticket: Month; Adult: 48"
    day, month = rows_of(text)
    given = [(text, row) for row in (day, month)]
    assert has_nothing_for("What does a month ticket cost for a child?", text, month, month[1], given)
    assert not has_nothing_for("What does a month ticket cost for an adult?", text, month, month[1], given)
    assert not has_nothing_for("What does a day ticket cost for a child?", text, day, day[2], given)
    assert not has_nothing_for("What does a month ticket cost?", text, month, month[1], given)


@pytest.fixture(scope="module")
def fares(tmp_path_factory, minilm) -> Index:
    """A page with prose beside its table."""
    return indexed(tmp_path_factory.mktemp("fares"), {"fares.md": FARES}, minilm)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("How much hold luggage may a Comfort passenger take along?", "23 kg [1]"),
        ("When does check-in open for Economy?", "24 hours before [1]"),
        ("How much does a heavy kilogram cost?", "12 EUR [1]"),
        ("When does check-in close?", "45 minutes before departure [1]"),
    ],
)
def test_a_cell_that_is_asked_for_comes_before_prose_and_no_other_does(fares: Index, question: str, said: str):
    assert fares.ask(question).text == said


def test_a_row_is_shown_below_the_headers_of_its_table(fares: Index):
    question = "How much hold luggage may a Comfort passenger take along?"
    shown = lines_of(fares.ask(question), fares)
    assert shown[3:5] == ["    | | Economy | Comfort | Business |", "    | Hold luggage | none | »23 kg« | 64 kg |"]
    (one,) = facts_of(fares.ask(question), fares)["citations"]
    assert one["header"] == "| | Economy | Comfort | Business |"
    assert one["text"] == "| Hold luggage | none | 23 kg | 64 kg |"
    assert (fares.document("fares.md") or "")[one["start"] : one["end"]] == one["text"]
    (prose,) = facts_of(fares.ask("When does check-in close?"), fares)["citations"]
    assert prose["header"] == ""


def test_what_one_cell_denies_the_others_do_not(fares: Index):
    assert fares.ask("What is the rebooking after departure in Comfort?").text == "90 EUR [1]"
    assert fares.ask("What is the hold luggage of Business?").text == "64 kg [1]"
