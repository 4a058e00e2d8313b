"""A span's page or line."""

from __future__ import annotations

from lmworks.grounding.places import place_of


def test_a_place_is_a_page_where_there_are_pages_and_else_a_line():
    text = "one\ntwo\n\nfour"
    assert [str(place_of(text, text.index(word))) for word in text.split()] == ["line 1", "line 2", "line 4"]
    paged = "one\n\f\n\n\f\nthree\nthree too"
    assert [str(place_of(paged, paged.index(word))) for word in ("one", "three", "too")] == [
        "page 1",
        "page 3",
        "page 3",
    ]
