"""Held-out text that the training text holds too: its runs of 13 words, and shorter documents whole."""

from __future__ import annotations

import pytest

from lmworks.evaluation.leaks import SharedWords, leaks, shared_words
from lmworks.jobs.verdicts import leak_remark
from lmworks.text.document import Document

WORDS = [f"w{number}" for number in range(40)]


def documents(*texts: str) -> list[Document]:
    return [Document(text, str(number)) for number, text in enumerate(texts)]


def test_overlap_is_the_share_of_held_out_runs_that_the_training_text_has():
    train = documents(" ".join(WORDS[:26]))
    assert shared_words(train, documents(" ".join(WORDS[:20]).upper() + "!")).share == 1
    assert shared_words(train, documents(" ".join(WORDS[26:]))).share == 0
    shared = shared_words(train, documents(" ".join(WORDS[13:39]), "---"))
    assert shared.share == pytest.approx(1 / 14) and not shared.tolerated
    assert str(shared) == "7.1 % of the held-out runs of 13 words occur in the training text (1 of 14)"


def test_where_no_held_out_document_has_thirteen_words_there_is_no_share():
    train = documents(*(f"This film was bad number {number} -> neg" for number in range(51)))
    shared = shared_words(train, documents("This film was bad number 52 -> neg", "This film was good"))
    assert shared == SharedWords(0, 0, 2, 0) and shared.share is None and shared.tolerated
    assert str(shared) == (
        "no held-out document has 13 words; shorter ones that occur whole in the training text: 0 of 2"
    )
    assert str(shared_words(train, documents("..."))) == "no held-out document has 13 words"


def test_of_short_documents_the_repeated_ones_are_told():
    held_out = [Document("It rains in Linden today!", "a"), Document("No.", "b"), Document("Not this one", "c")]
    train = [Document("Look: it rains in  linden, today or never", "long.txt"), Document("no", "short.txt")]
    shared, found = shared_words(train, held_out), leaks(train, held_out)
    assert shared == SharedWords(0, 0, 3, 2) and shared.share is None and not shared.tolerated
    assert [(one.held_out, one.share, one.train) for one in found] == [("a", 1, "long.txt"), ("b", 1, "short.txt")]
    assert leak_remark(shared, found, "x").startswith(
        "66.7 % of the held-out documents of fewer than 13 words stand in the training text too: a (100%, most of it in"
    )


@pytest.mark.parametrize(
    ("held_out", "train", "repeats"),
    [
        ("It rains in Linden today", "we say it rains in Linden today", True),
        ("it rains in Linden", "we say it rains in Linden today", False),
        ("it rains in Linden", "It rains, in Linden", True),
        ("it rains in Linden and everywhere", "it rains in Linden and elsewhere", False),
        ("no", "no no no no no no", False),
    ],
)
def test_a_short_document_is_judged_whole(held_out: str, train: str, repeats: bool):
    assert shared_words(documents(train), documents(held_out)).short_found == repeats
