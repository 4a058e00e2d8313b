"""An answer may stand in the heading right above a passage."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from grounding.small_index import indexed
from lmworks.grounding.answer import BestSpan
from lmworks.grounding.evidence import Above, read_passages
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Passage
from lmworks.grounding.telling import lines_of

CHANGES = """# Harbour Desk: what changed

3.1.0 (9 January 2026)
----------------------

* New: dark colours.
* Changed: the smallest version of Node is 18.

## 3.0.0 (2 June 2025)
* New: guests can sign with a finger.
* The smallest version of Node is 16.
"""
COURSES = """# Courses in autumn

## Pottery (Tuesday, 18:30, room 3)

We make bowls of red clay. The course costs 95 euros.

## Italian for beginners (Wednesday, 17:00, library)

No knowledge is needed. The course costs 80 euros.
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("headings"), {"changes.md": CHANGES, "courses.md": COURSES}, minilm)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("When was 3.1.0 released?", "9 January 2026 [1]"),
        ("When did version 3.0.0 come out?", "2 June 2025 [1]"),
        ("Which version introduced dark colours?", "3.1.0 [1]"),
        ("Since which version can guests sign with a finger?", "3.0.0 [1]"),
        ("In which room is pottery?", "room 3 [1]"),
        ("Where is Italian for beginners?", "library [1]"),
        ("How much is the pottery course?", "95 euros [1]"),
        ("Which version of Node does 3.0.0 need?", "16 [1]"),
    ],
)
def test_an_answer_stands_in_the_heading_or_below_it_and_is_verbatim(index: Index, question: str, said: str):
    answer = index.ask(question)
    assert answer.text == said
    for one in answer.citations:
        assert (index.document(one.file) or "")[one.start : one.end] == one.text


def test_a_citation_goes_on_from_the_heading_to_what_is_asked_about(index: Index):
    shown = lines_of(index.ask("Which version introduced dark colours?"), index)
    assert shown[2:4] == [
        "[1] changes.md, line 3  (Harbour Desk: what changed > 3.1.0 (9 January 2026))",
        "    »3.1.0« (9 January 2026) ---------------------- * New: dark colours.",
    ]
    assert index.ask("When was 3.1.0 released?").citations[0].text == "3.1.0 (9 January 2026)"


def test_what_no_heading_names_is_refused(index: Index):
    assert index.ask("When was 3.3.0 released?").refused


class Liking:
    """A reader that likes the number of a version best, where there is one."""

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        return [self._of(text) for text in texts]

    def _of(self, text: str) -> BestSpan:
        start = text.find("3.1.0")
        return BestSpan(start, start + 5, 5.0, 0.9) if start >= 0 else BestSpan(len(text) - 3, len(text), 1.0, 0.5)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Which version of Node does 3.1.0 need?", "18."),
        ("Which version of Node does 3.1 need?", "18."),
        ("What needs Node 18?", "3.1.0"),
        ("What is new since 3.1.2?", "3.1.0"),
        ("What is new since 3.10?", "3.1.0"),
    ],
)
def test_the_version_that_a_question_is_about_is_no_answer(question: str, answer: str):
    heading, text = "3.1.0 (9 January 2026)\n", "The smallest version of Node is 18."
    one = Passage(text, 1.0, "changes", "3.1.0 (9 January 2026)", "changes.md", 100, 100 + len(text), 1)
    (found,) = read_passages(Liking(), question, [one], above=lambda passage: Above(heading=heading))
    assert found.answer == answer
