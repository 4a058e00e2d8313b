"""Documents that say different things: versions are told apart, and other figures for the same are shown beside an
answer."""

from __future__ import annotations

import pytest

from grounding.small_index import indexed
from lmworks.grounding.answer import Citation, GroundedAnswer, alone
from lmworks.grounding.asking import supporting
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Passage
from lmworks.grounding.telling import lines_of
from lmworks.grounding.words import about, codes, names, years

FILES = {
    "travel-2023.md": "# Travel policy\n\nThe daily allowance for domestic trips is 28 euros.\n",
    "travel-2025.md": "# Travel policy\n\nThe daily allowance for domestic trips is 32 euros. It holds from March.\n",
    "releases.md": "# Releases\n\n## Version 2.1\n\nThe pump restarts by itself after a power failure. The default "
    "pressure is 3.5 bar.\n\n## Version 2.0\n\nThe default pressure is 3.0 bar. Code E4 was removed.\n",
    "pumps.md": "# Pumps\n\n| Property | PX-40 | PX-60 |\n|---|---|---|\n| Power | 750 W | 1100 W |\n"
    "| Weight | 12.5 kg | 16 kg |\n\n## Codes\n\n"
    "| Code | Meaning | What to do |\n|---|---|---|\n| E1 | Too hot | Let it cool |\n"
    "| E2 | No water | Check the inlet |\n",
    "lease.md": "# Lease\n\nThe rent is due on the third day. Pets are allowed.\n",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("contradicting"), FILES, minilm)


def test_other_figures_for_the_same_are_shown_beside_an_answer(index: Index):
    answer = index.ask("What is the daily allowance for domestic trips?")
    (first, other) = answer.citations
    assert {first.file, other.file} == {"travel-2023.md", "travel-2025.md"}
    assert not first.differs and other.differs
    said = {"travel-2023.md": "28 euros", "travel-2025.md": "32 euros"}
    assert answer.text == f"{said[first.file]} [1] (elsewhere: {said[other.file]} [2])"
    assert answer.alone == said[first.file]
    assert FILES[other.file][other.start : other.end] == other.text
    assert any(line.startswith(f"[2] differs: {other.file}, line 3") for line in lines_of(answer, index))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the default pressure in version 2.1?", "3.5 bar"),
        ("What is the default pressure in version 2.0?", "3.0 bar"),
        ("What is the power of the PX-60?", "1100 W"),
        ("What is the weight of the PX 40?", "12.5 kg"),
        ("What does E2 mean?", "Code: E2; Meaning: No water; What to do: Check the inlet"),
        ("When is the rent due?", "third day"),
    ],
)
def test_what_is_named_is_told_apart_and_nothing_else_differs(index: Index, question: str, said: str):
    answer = index.ask(question)
    assert said in answer.alone and "elsewhere" not in answer.text and not any(one.differs for one in answer.citations)


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("What is the default pressure in version 1.0?", "1.0"),
        ("What is the weight of the PX-80?", "PX-80"),
        ("What does error code E7 mean?", "E7"),
    ],
)
def test_what_the_documents_do_not_name_is_refused(index: Index, question: str, named: str):
    answer = index.ask(question)
    assert answer.refused and answer.reason == f"the nearest passages do not mention {named}"


COSTS = {
    "costs.md": "# Costs\n\n## May\n\nThe heating cost 90 euros.\n\n## June\n\nThe heating cost 70 euros.\n\n"
    "## Flat A\n\nThe deposit is 900 euros.\n\n## Flat B\n\nThe deposit is 700 euros.\n\n"
    "## Hours\n\nThe desk opens at 9:30.\n",
    "other.md": "# Desk\n\nThe desk opens at 09:30.\n",
}


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("costs"), COSTS, minilm)


@pytest.mark.parametrize(
    "question",
    [
        "How much did the heating cost in June?",
        "What is the deposit of flat A?",
        "What is the deposit of flat B?",
        "When does the desk open?",
    ],
)
def test_what_a_heading_tells_apart_is_no_contradiction(costs: Index, question: str):
    assert "elsewhere" not in costs.ask(question).text


def test_a_line_of_escaped_bars_breaks_nothing(tmp_path, minilm: str):
    text = "# Lid\n\nAnna Berg sells lids.\n| lid \\|\n\n|a|\n" + " " * 9_000 + "x\n"
    answer = indexed(tmp_path, {"a.md": text}, minilm).ask("Who sells lids?")
    assert "Anna Berg" in answer.text


def test_without_a_version_both_are_shown(index: Index):
    answer = index.ask("What is the default pressure?")
    assert "3.5 bar" in answer.text and "3.0 bar" in answer.text and len(answer.citations) == 2


@pytest.mark.parametrize(
    ("question", "found", "of_years"),
    [
        ("What is the power of the PX-60?", ["PX-60"], []),
        ("the pressure in v2.1, please", ["2.1"], []),
        ("COVID-19 in 2015 and MP3 of release 4.2.1", ["COVID-19", "MP3", "4.2.1"], ["2015"]),
        ("at 10.30 on 1.1.2024 for 3.50 or 3.000, Q3", [], []),
        ("over-65s, A4-sized, mid-1990s, B12-Mangel, Win11, sha256 and 公寓3的押金是多少", [], []),
        ("the 4-digit code of the 19th century, at 5pm, 24-10, in the 1950s", [], []),
        ("What is 2 plus 17?", [], []),
    ],
)
def test_what_a_question_names_by_figures(question: str, found: list[str], of_years: list[str]):
    assert codes(question) == found and years(question) == of_years


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Which Node does 3.2 need?", ["3.2"]),
        ("What is new in v3.2.1, and why?", ["3.2.1"]),
        ("Was ist neu in 3.2?", ["3.2"]),
        ("Does 3.2 take 2.5 GB of memory?", ["3.2"]),
        ("May it weigh 12.5 kg, cost €3.50 or 3.5 %, and stay 1.5 hours?", []),
        ("Is it open at 8.30 on 10.03.2026, and for 3.000 people, or am 24.12. abends?", []),
        ("What changed from 3.1 to 3.2?", []),  # either may be meant
    ],
)
def test_bare_figures_are_a_version_where_headings_hold_such(question: str, found: list[str]):
    assert codes(question, ["Notes", "3.2.0 (4 May 2026)"]) == found
    assert codes(question, ["Notes", "The 2.5 GB card"]) == [one for one in found if "v" + one in question]


CHANGES = """# Harbour Desk: what changed

## 3.2.0 (4 May 2026)

* New: the calendar shows tides.
* The smallest version of Node that works is 20.

## 3.1.0 (9 January 2026)

* New: dark colours.
* Changed: the smallest version of Node is 18.
* Fixed: prices above 999 euros were cut off.

## 3.0.0 (2 June 2025)

* The smallest version of Node is 16. Windows 8 is not supported any more.
"""


@pytest.fixture(scope="module")
def changes(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("changes"), {"changes.md": CHANGES}, minilm)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("What is the smallest version of Node for 3.2?", "20"),
        ("Which version of Node does 3.1 need?", "18"),
        ("Which version of Node is the smallest for 3.0.0?", "16"),
    ],
)
def test_a_bare_version_is_that_of_the_heading(changes: Index, question: str, said: str):
    answer = changes.ask(question)
    assert said in answer.text and not answer.refused
    assert answer.citations[0].heading.startswith("3." + {"20": "2", "18": "1", "16": "0"}[said])


def test_nothing_is_said_of_a_bare_version_that_no_heading_and_no_passage_has(changes: Index):
    refused = changes.ask("What is the smallest version of Node for 3.4?")
    assert refused.refused and "do not mention 3.4" in refused.reason


def test_a_code_is_named_with_or_without_what_parts_it():
    for text in ("the PX-60.", "PX60", "(px 60)", "px_60"):
        assert names(text, "PX-60"), text
    for text in ("PX-600", "APX-60", "PX-6", "60"):
        assert not names(text, "PX-60"), text
    assert names("v2.1, released", "2.1") and names("Version 2.1.", "2.1")
    assert names("2.1.3", "2.1") and not any(names(text, "2.1") for text in ("12.1", "2.10", "2,1", "1.2.1"))
    codes("What is a1" + "b" * 4000 + "_ ?" + "A1b" * 500 + "_")  # and not in exponential time


def test_the_measure_that_is_asked_for_need_not_be_said():
    for question, language in (("How high is the deposit?", "english"), ("Wie hoch ist die Kaution?", "german")):
        assert len(about(question, language)) == 1
    assert about("How much does a kayak cost?", "english") == about("Was kostet ein kayak?", "german") == ["kayak"]
    assert "cost" in about("What reduces costs?", "english")
    assert len(about("How high towers are built", "english")) > 1


def test_two_rows_of_a_table_support_nothing_together():
    rows = "- Part: Shaft seal; Price: 18.90 EUR\n- Part: Filter; Price: 6.40 EUR"
    one = Passage(rows, 1.0, "faq", "", "faq.html", 0, len(rows), 1)
    assert supporting([one], "The price of the filter part is 18.90 EUR.", "english") is None
    assert supporting([one], "Filter price: 6.40 EUR.", "english") is not None
    prose = "The shaft seal is a part. Its price is 18.90 EUR."
    two = Passage(prose, 1.0, "faq", "", "faq.html", 0, len(prose), 1)
    assert supporting([two], "The shaft seal is a part, its price is 18.90 EUR.", "english") is not None


def test_of_a_table_only_the_row_that_is_asked_for_is_cited(tmp_path, minilm: str):
    staff = "Name,Role,Office\nAnna Keller,Finance,Hamburg\nDavid Osei,Sales,Hamburg\n"
    index = indexed(tmp_path, {"staff.csv": staff}, minilm)
    answer = index.ask("In which office is Anna Keller?")
    assert answer.text == "Hamburg [1]" and "Anna Keller" in answer.citations[0].text


FARES = (
    "vehicle,single,return,resident\nCar,6.40,11.50,3.90\nCar with trailer,9.90,18.00,6.50\nCoach,28.00,52.00,\n"
    "Minibus,12.00,22.00,9.00\n"
)


@pytest.fixture(scope="module")
def fares(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("fares"), {"fares.csv": FARES}, minilm)


def test_another_row_of_a_table_is_no_contradiction(fares: Index):
    assert fares.ask("How much is a return for a car?").text == "11.50 [1]"


def test_an_empty_cell_is_not_answered_from_another_row(fares: Index):
    answer = fares.ask("What is the resident fare for a coach?")
    assert answer.refused and answer.confidence == 0
    assert fares.ask("What is the resident fare for a minibus?").text == "9.00 [1]"


def test_what_is_said_of_another_year_does_not_agree(tmp_path, minilm: str):
    files = {
        "runbook.md": "# Chains\n\nIn 2019 a chain failed and broke two windscreens; nobody was hurt.\n",
        "incident.md": "# Incident of January 2026\n\nThe chain failed at the ramp. Nobody was hurt.\n",
    }
    answer = indexed(tmp_path, files, minilm).ask("Who was hurt when the chain failed in 2019?")
    assert answer.alone.lower() == "nobody" and [one.file for one in answer.citations] == ["runbook.md"]


def test_an_answer_alone():
    assert alone("28 euros [1] [2] (elsewhere: 32 euros [3]) (elsewhere: 30 [4])") == "28 euros"
    assert alone("it is (elsewhere: unknown) there [1]") == "it is (elsewhere: unknown) there"
    assert GroundedAnswer("a [1]", False, 1.0, [Citation(1, "a", "", "", "", 0, 1, 1)]).alone == "a"
