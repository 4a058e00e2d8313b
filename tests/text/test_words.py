"""Words in any script."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest

from lmworks.text.words import MARKS, WORD, in_letters


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Houses, snake_case v2.0", ["Houses", "snake", "case", "v2", "0"]),
        ("पुस्तकालय हर दिन खुलता है।", ["पुस्तकालय", "हर", "दिन", "खुलता", "है"]),
        ("நூலகம், புத்தகம்", ["நூலகம்", "புத்தகம்"]),
        ("cafe\u0301s are", ["cafe\u0301s", "are"]),
        ("می\u200cشود", ["می\u200cشود"]),
        ("\u0301 _", []),  # a mark on nothing
    ],
)
def test_words_have_their_marks(text: str, words: list[str]):
    assert WORD.findall(text) == words


def test_the_marks_are_all_that_combine():
    mark = re.compile(f"[{MARKS}]")
    every = map(chr, range(sys.maxunicode + 1))
    assert [one for one in every if (unicodedata.category(one) in ("Mn", "Mc")) != bool(mark.fullmatch(one))] == []


def test_letters_alone():
    assert all(map(in_letters, ("Haus", "दिन", "می\u200cشود", "cafe\u0301")))
    assert not any(map(in_letters, ("v2", "२०", "well-known", "")))
