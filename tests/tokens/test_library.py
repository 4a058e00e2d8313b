"""A tokenizer.json of somebody else's: patterns that cost too much, normalisers that write pages for a letter."""

from __future__ import annotations

import base64
import json

import pytest

from lmworks.basics.errors import DataError, ModelError
from lmworks.tokens.tokenizer import Tokenizer
from tokens.small import byte_level

COSTLY = "a" * 28 + "!"


def replace(pattern, content):
    return {"type": "Replace", "pattern": pattern, "content": content}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def normaliser(*steps):
    return {"normalizer": {"type": "Sequence", "normalizers": list(steps)}}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    byte_level().save(folder)
    return json.loads((folder / "tokenizer.json").read_text())


@pytest.fixture
def loaded(own, tmp_path):
    """A tokenizer with some parts of its tokenizer.json changed."""

    def load(parts):
        (tmp_path / "tokenizer.json").write_text(json.dumps(own | parts))
        return Tokenizer.load(tmp_path)

    return load


@pytest.mark.parametrize(
    "parts",
    [
        {"pre_tokenizer": split("(a+)+$")},
        {"pre_tokenizer": split("^(([a-z])+.)+[A-Z]([a-z])+$")},
        {"normalizer": replace({"Regex": "(a+)+b"}, "b")},
    ],
)
def test_a_pattern_that_costs_too_much_is_one_sentence_at_every_entrance(loaded, parts):
    tokenizer = loaded(parts)
    plain = tokenizer.encode("b")
    text = "a" * 34 if "[A-Z]" in str(parts) else COSTLY
    for entrance in (
        tokenizer.encode,
        tokenizer.library_ids,
        tokenizer.encode_spans,
        lambda text: tokenizer.encode_batch([text, text]),
        lambda text: tokenizer.encode_words([text, text]),
    ):
        with pytest.raises(DataError, match=r"fails on this text .*retry-limit.*; change the text, or use another"):
            entrance(text)
    assert tokenizer.encode("b") == plain  # it goes on


def test_a_panic_of_the_library_while_a_file_is_read_names_the_file(loaded):
    with pytest.raises(ModelError, match=r"tokenizer\.json is not a tokenizer \(Precompiled"):
        loaded({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AA=="}})


PAGES = replace({"String": "a"}, "a" * 10_000)


@pytest.mark.parametrize(
    ("parts", "step"),
    [
        (normaliser(PAGES, PAGES, PAGES), "Replace"),
        (normaliser(*[replace({"Regex": ""}, "x")] * 40), "Replace"),
        ({"normalizer": {"type": "Prepend", "prepend": "a" * 10_000_000}}, "Prepend"),
    ],
)
def test_a_normaliser_that_writes_pages_for_a_letter_is_refused(loaded, parts, step):
    with pytest.raises(ModelError, match=rf"makes more than 4,096 characters of a text of .* normalizer's {step}"):
        loaded(parts).encode("aaa" * 10)


def test_a_decoder_that_writes_pages_for_a_token_is_refused(loaded):
    with pytest.raises(ModelError, match="its decoder makes up to 100,000,000 characters of one; no tokenizer"):
        loaded({"decoder": {"type": "Sequence", "decoders": [PAGES, PAGES]}})


def test_what_a_table_of_sentencepieces_writes_is_bounded(own):
    from lmworks.tokens.library import _longest_entry

    table = (8).to_bytes(4, "little") + bytes(8) + b"fi\0" + "é".encode() * 5 + b"\0"
    assert _longest_entry(base64.b64encode(table).decode()) == 5


def test_many_small_replacements_are_no_growth(loaded):
    letters = {"ß": "ss", "æ": "ae", "œ": "oe", "½": "1/2", "…": "...", "™": "(tm)", "№": "No."}
    steps = [replace({"String": letter}, content) for letter, content in letters.items()]
    tokenizer = loaded(normaliser({"type": "NFC"}, *steps, *[replace({"Regex": r"\s+"}, " ")] * 3))
    text = "".join(letters) * 100 + " " * 300
    expected = text
    for letter, content in letters.items():
        expected = expected.replace(letter, content)
    assert tokenizer.decode(tokenizer.encode(text)) == expected.rstrip() + " "
