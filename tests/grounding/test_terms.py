"""Terms: stems by language, pairs of characters where no spaces are written."""

from __future__ import annotations

import pytest

from lmworks.grounding import terms as module
from lmworks.grounding.terms import language_of, terms


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Houses, HOUSE and house-keeping!", "english", ["hous", "hous", "and", "hous", "keep"]),
        ("Die Häuser wurden gebaut", "german", ["die", "haus", "wurd", "gebaut"]),
        ("snake_case v2.0", "none", ["snake", "case", "v2", "0"]),
        ("東京タワー", "none", ["東京", "京タ", "タワ", "ワー"]),
        ("高さ333メートル", "none", ["高さ", "333", "メー", "ート", "トル"]),
        ("字", "none", ["字"]),
        ("ﬁne ＡＢＣ", "none", ["fine", "abc"]),
        ("...", "english", []),
        ("x" * 500, "none", ["x" * 64]),
    ],
)
def test_the_terms_of_a_text(text: str, language: str, expected: list[str]):
    assert terms(text, language) == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The rent of the flat is due on the third day and it is paid to the landlord.", "english"),
        ("Die Miete ist am dritten Tag fällig und wird von der Bank an den Vermieter überwiesen.", "german"),
        ("Le loyer est payable le trois du mois et les chats sont admis dans la maison.", "french"),
        ("東京タワーは高さ333メートルの電波塔である。", "none"),
        ("def f(x): return x + 1", "none"),
        ("", "none"),
    ],
)
def test_a_text_tells_its_language(text: str, language: str):
    assert language_of(text) == language


def test_stems_are_kept_up_to_a_bound_and_are_the_same_when_they_were_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_KNOWN", 2)
    stems = module._Stems("english")
    words = ["houses", "building", "houses", "running", "building"]
    assert [stems[word] for word in words] == ["hous", "build", "hous", "run", "build"]
    assert len(stems) <= 2
