"""A span's page or line."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lmworks.grounding.answer import Citation
from lmworks.grounding.passage import Passage
from lmworks.grounding.places import place_of
from lmworks.grounding.telling import ReadOnce, placed, spot


def test_a_place_is_a_page_where_there_are_pages_and_else_a_line():
    text = "one\ntwo\n\nfour"
    assert [str(place_of(text, text.index(word))) for word in text.split()] == ["line 1", "line 2", "line 4"]
    paged = "one\n\f\n\n\f\nthree\nthree too"
    assert [str(place_of(paged, paged.index(word))) for word in ("one", "three", "too")] == [
        "page 1",
        "page 3",
        "page 3",
    ]


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("a.txt", "First line\nSecond line\nThe tank holds 9,500 litres.", "line 3"),
        ("a.pdf", "The tank holds\f9,500 litres.", "page 2"),
        ("a.pdf", "The tank holds 9,500 litres.", "page 1"),  # one page has no form feed
        ("a.docx", "The tank holds 9,500 litres.", "characters 0 to 28"),
    ],
)
def test_a_citation_stands_where_its_answer_begins(file: str, text: str, place: str):
    at = text.index("9,500")
    cited = Citation(1, text, "", "", file, 0, len(text), 0, answer=(at, at + 5))
    assert str(spot(cited, SimpleNamespace(document=lambda name: text))) == place


def test_a_text_that_is_shown_in_many_places_is_read_once():
    read = []
    texts = ReadOnce(SimpleNamespace(document=lambda name: read.append(name) or "one\ntwo"))
    found = [Passage("two", 1.0, "", "", "a.txt", 4, 7, number) for number in range(3)]
    assert [placed(one, texts)["place"] for one in found] == ["line 2"] * 3 and read == ["a.txt"]
