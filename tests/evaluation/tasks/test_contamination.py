"""Items that the training text holds are found, with the longest run of words that they share with it."""

from __future__ import annotations

import itertools
import random

from lmworks.evaluation.tasks.contamination import SEED, overlaps
from lmworks.evaluation.tasks.declaration import Choices, Question
from lmworks.text.document import Document


def choices(name, question, answer):
    return Choices(name, ((f"Question: {question}\nAnswer:", f" {answer}"), ("", " no")), 0, (answer, "no"))


LONG = "Which part of a plant takes in water and minerals from the soil around it"


def test_an_item_with_its_answer_is_found_whatever_its_case_and_punctuation():
    text = Document(f"A quiz. {LONG.upper()}? -- the roots; and so on.", "quiz.txt")
    held, not_held, short = overlaps(
        [
            choices("a", f"{LONG}?", "the roots"),
            choices("b", "Which gas do plants need?", "none"),
            Question("c", "Who?", ("Ann",)),
        ],
        [Document("Something else.", "other.txt"), text],
    )
    assert held.held and held.longest == held.words == 17 and held.source == "quiz.txt"
    assert not not_held.held and not_held.longest == 0 and not_held.source is None and not short.held


def test_thirteen_words_in_a_row_are_enough_and_twelve_are_not():
    words = LONG.split()
    for size, held in ((12, False), (13, True)):
        [found] = overlaps([choices("a", f"{LONG}?", "the roots")], [Document(" ".join(words[:size]), "x")])
        assert found.longest == size and found.held == held


def test_a_short_item_is_held_where_all_of_it_is():
    item = Choices("a", (("", "The cat sat on the mat."), ("", "x")), 0, ("The cat sat on the mat.", "x"))
    whole, part = (Document(text, "x") for text in ("So the cat sat on the mat!", "the cat sat on the rug"))
    assert overlaps([item], [whole])[0].held and not overlaps([item], [part])[0].held


def test_the_longest_run_is_that_of_a_search_through_everything():
    draw = random.Random(0)
    for _ in range(60):
        own, text = (draw.choices("abc", k=size) for size in (25, 60))
        joined = " ".join(text)
        longest = max(
            (end - start for start, end in itertools.combinations(range(26), 2) if " ".join(own[start:end]) in joined),
            default=0,
        )
        item = Choices("a", (("", " ".join(own)), ("", "x")), 0, ("y", "x"))
        [found] = overlaps([item], [Document(joined, "x")])
        assert found.longest == (longest if longest >= SEED else 0)
