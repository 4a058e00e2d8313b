"""What inspect and compare say, against counts by hand."""

from __future__ import annotations

import pytest

from lmworks.basics.errors import DataError
from lmworks.tokens.inspection import compare, inspect, visible
from tokens.small import byte_level
from tokens.test_trainer import ALL, WITHOUT_BYTES


def test_pieces_show_white_space_parts_of_characters_and_roles():
    pieces = inspect(ALL["byte"], "a é\n")
    assert [(piece.id, piece.text, piece.kind) for piece in pieces] == [
        (0x61, "a", "text"),
        (0x20, "·", "text"),
        (0xC3, "\\xC3", "bytes"),
        (0xA9, "\\xA9", "bytes"),
        (0x0A, "⏎", "text"),
    ]
    assert [piece.kind for piece in inspect(WITHOUT_BYTES["character"], "aΩ")] == ["text", "unknown"]
    kinds = [(piece.token, piece.kind) for piece in inspect(ALL["wordpiece"], "The Ω")]
    assert kinds[0] == ("[CLS]", "special") and kinds[-1] == ("[SEP]", "special") and ("[UNK]", "unknown") in kinds
    assert inspect(byte_level(adds_bos=True), "a")[0].kind == "special"


@pytest.mark.parametrize("kind", ["byte", "character", "bpe", "unigram"])
def test_the_pieces_together_are_the_text(kind):
    text = "The king's 12 naïve\n 日本 🙂"
    pieces = inspect(ALL[kind], text)
    assert [piece.id for piece in pieces] == ALL[kind].encode(text)
    whole = b"".join(
        bytes.fromhex(piece.text.replace("\\x", "")) if piece.kind == "bytes" else piece.text.encode()
        for piece in pieces
    )
    assert whole.decode().replace("·", " ").replace("⏎", "\n") == text


def test_a_terminal_is_not_told_what_to_do():
    assert visible("\x1b[31m\u202e a\x07") == "\\x1b[31m\\u202e·a\\x07"


def test_figures_are_the_counts():
    texts = ["the king walked", "the Ω"]
    (character,) = compare({"mine": WITHOUT_BYTES["character"]}, {"prose": texts})
    assert (character.documents, character.words, character.bytes) == (2, 5, 21)
    assert (character.tokens, character.unknown, character.vocab_size) == (20, 1, WITHOUT_BYTES["character"].vocab_size)
    assert character.tokens_per_word == 4 and character.bytes_per_token == 21 / 20 and character.unknown_rate == 0.05
    facts = character.to_json()
    assert facts["tokenizer"] == "mine" and facts["text"] == "prose" and facts["unknown_rate"] == 0.05


def test_every_tokenizer_sees_every_text():
    figures = list(compare(ALL, {"one": ["the king"], "two": iter(["a", "b"])}))
    assert [(one.text, one.tokenizer) for one in figures] == [(text, kind) for text in ("one", "two") for kind in ALL]
    by_kind = {one.tokenizer: one for one in figures[: len(ALL)]}
    assert by_kind["byte"].bytes_per_token == 1 and by_kind["bpe"].tokens == len(ALL["bpe"].encode("the king"))
    with pytest.raises(DataError, match="blank holds no word"):
        list(compare(ALL, {"blank": [" \n"]}))
