"""Held-out text is held out: by each document's own hash, disjoint, stable, never empty."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmworks.basics.errors import ConfigError, DataError
from lmworks.text.document import Document
from lmworks.text.splits import data_hash, ngrams_found, parts, place, split, split_by_prompt


def documents(*texts: str) -> list[Document]:
    return [Document(text, f"{number}.txt") for number, text in enumerate(texts)]


MANY = documents(*(f"document {number}" for number in range(1000)))


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=2), st.floats(0.01, 0.99))
def test_a_split_is_disjoint_complete_and_has_two_sides(texts, share):
    if len(set(texts)) < 2:
        return
    result = split(documents(*texts), share)
    train, held_out = ({document.text for document in side} for side in (result.train, result.held_out))
    assert train and held_out and not train & held_out
    assert sorted(train | held_out) == sorted(set(texts))
    assert result.duplicates == len(texts) - len(set(texts))


def test_the_share_is_about_what_was_asked_for():
    assert 70 <= len(split(MANY, 0.1).held_out) <= 130
    assert 450 <= len(split(MANY, 0.5).held_out) <= 550


def test_a_document_keeps_its_side_whatever_the_order_and_what_is_added():
    moved = [Document(document.text, "elsewhere") for document in MANY]
    shuffled = random.Random(0).sample(moved, len(moved))
    half = {document.hash for document in split(MANY[:500]).held_out}
    all_of_them = {document.hash for document in split(shuffled).held_out}
    assert half and half == {document.hash for document in MANY[:500]} & all_of_them
    wider = {document.hash for document in split(MANY, 0.2).held_out}
    assert all_of_them < wider


def test_duplicates_never_stand_on_both_sides():
    doubled = [*MANY, *(Document(document.text, "copy of " + document.source) for document in MANY[:300])]
    result = split(doubled)
    assert result.duplicates == 300
    assert result == type(result)(*(getattr(split(MANY), side) for side in ("train", "held_out")), 300)


@pytest.mark.parametrize(
    "text",
    [
        "\n\n".join(f"Paragraph {number} of the book. It says little." for number in range(2000)),
        "\n".join(f"line {number}" for number in range(2000)),
        " ".join(f"word{number}" for number in range(2000)),
        "".join(chr(0x4E00 + number % 5000) for number in range(5000)),
    ],
)
def test_a_single_long_document_is_cut_between_paragraphs_lines_or_words(text):
    [book] = documents(text)
    pieces = parts(book)
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.source for piece in pieces[:2]] == ["0.txt#1", "0.txt#2"]
    assert all(200 <= len(piece.text) <= 6000 for piece in pieces)
    mark = next((mark for mark in ("\n\n", "\n", " ") if mark in text), "")
    assert all(piece.text.endswith(mark) for piece in pieces[:-1])
    result = split([book])
    assert result.held_out and len(result.train) > len(result.held_out)


def test_a_book_beside_a_note_is_cut_too():
    paragraphs = (f"Paragraph {number} of the book." for number in range(3000))
    note, book = documents("a note", "\n\n".join(paragraphs))
    result = split([note, book])
    assert 0.02 < sum(len(one.text) for one in result.held_out) / len(book.text) < 0.3
    assert note in result.train + result.held_out


def test_a_conversation_is_never_cut():
    chat = Document.conversation([{"role": "user", "content": "word " * 1000}], "chat")
    assert parts(chat) == [chat]


def test_too_little_text_says_how_much_there_is():
    with pytest.raises(DataError, match=r"too little text .*: 5 characters in 1 document; give at least 800"):
        split(documents("short", "short"))
    with pytest.raises(DataError, match="0 characters in 0 document"):
        split([])
    with pytest.raises(DataError, match="one conversation, which is never cut"):
        split([Document.conversation([{"role": "user", "content": "word " * 1000}], "chat")])
    with pytest.raises(DataError, match="too little"):
        split(documents("again and again\n\n"))
    with pytest.raises(DataError, match="the text repeats itself: in its 800 characters"):
        split(documents("word " * 160))
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="held_out is"):
            split(MANY, share)


def test_runs_that_are_found_are_told_by_document_and_place():
    train = documents("a b c d", "x y z")
    assert ngrams_found(train, documents("B C q", "x", "y z b c"), n=2) == [[True, False], [], [True, False, True]]


def test_the_place_of_a_document_says_its_side():
    held_out = split(MANY, 0.2).held_out
    assert {one.hash for one in held_out} == {one.hash for one in MANY if place(one) < 0.2}


def test_parts_of_a_given_size_are_no_longer_than_half_more():
    text = "\n\n".join(f"Paragraph {number} of the book." for number in range(2000))
    pieces = parts(Document(text, "book"), 10_000)
    assert "".join(piece.text for piece in pieces) == text
    assert len(pieces) > 3 and max(len(piece.text) for piece in pieces) <= 15_000


def test_the_hash_of_a_set_depends_on_its_texts_and_on_nothing_else():
    assert data_hash(MANY) == data_hash(reversed(MANY)) != data_hash(MANY[1:])
    assert Document("naïve", "a").hash == hashlib.sha256("naïve".encode()).hexdigest()


def test_half_a_surrogate_pair_is_refused_where_the_document_is_made():
    with pytest.raises(DataError, match=r"a\.jsonl#3: character 2 is half of a surrogate pair"):
        Document("ab\ud83d", "a.jsonl#3")


def preference(prompt: str, better: str, worse: str) -> Document:
    turns = [[{"role": "user", "content": prompt}, {"role": "assistant", "content": one}] for one in (better, worse)]
    return Document.preference(*turns, f"{prompt}/{better}/{worse}")


def test_all_answers_to_a_prompt_are_on_one_side():
    pairs = [preference(f"prompt {n % 100}", f"good {n}", f"bad {n}") for n in range(300)]
    result = split_by_prompt([*pairs, pairs[7]], 0.2)
    train, held_out = ({one.messages[0]["content"] for one in side} for side in (result.train, result.held_out))
    assert not train & held_out and len(train) + len(held_out) == 100 and 10 <= len(held_out) <= 30
    assert len(result.train) + len(result.held_out) == 300 and result.duplicates == 1
    more = split_by_prompt([*pairs, preference("another", "good", "bad")], 0.2)
    assert {one.hash for one in result.held_out} <= {one.hash for one in more.held_out}


def test_one_prompt_cannot_be_held_out():
    with pytest.raises(DataError, match=r"there are 1 prompts, too few"):
        split_by_prompt([preference("the same", "a", "b"), preference("the same", "c", "d")])
    with pytest.raises(ConfigError, match=r"held_out is 1; it is a share"):
        split_by_prompt([], 1)
    result = split_by_prompt([preference(f"{n}", "a", "b") for n in range(2)], 0.001)
    assert len(result.train) == len(result.held_out) == 1
