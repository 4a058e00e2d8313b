"""An answer of a few words is a number where a number is asked for."""

from __future__ import annotations

import pytest

from grounding.small_index import indexed
from lmworks.grounding.kinds import is_of_asked_kind


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("How much does the parking card cost?", "week"),
        ("What does the boat to the seals cost?", "cheaper"),
        ("What is the Mbekis' telephone number?", "8"),
        ("What is Vera's phone number?", "Daniel"),
        ("What's the telephone number of the doctor?", "Dr Berg"),
        ("How many square kilometres of it are forest?", "Amazônia"),
        ("And in which year was the club founded?", "Mr Novak"),
    ],
)
def test_what_cannot_be_meant(question: str, span: str):
    assert not is_of_asked_kind(question, span)


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("How much does the parking card cost?", "12 euros"),
        ("How much does the parking card cost?", "nothing"),
        ("What does a rake cost?", "half the price of a spade"),
        ("What is the telephone number of the doctor?", "0151 20 44 87"),
        ("Do we take a bike without a phone number?", "we take none"),
        ("What is the phone number for?", "questions"),
        ("What do I do if my phone number changes?", "tell Ann"),
        ("How many people were on the test flight?", "a crew"),
        ("How many of them sing?", "hundreds"),
        ("In what century was it built?", "early nineteenth century"),
        ("In which year was it built?", "the same year"),
        ("What did the flood cost the town?", "its bridge"),
        ("What is the cost centre of the lab?", "Physics"),
        ("How much is it?", "too much"),
        ("When do we pay?", "on delivery"),
        ("Who pays it?", "week"),
        ("Wie viel kostet die Karte?", "Woche"),
    ],
)
def test_what_may_be_meant(question: str, span: str):
    assert is_of_asked_kind(question, span)


def test_an_answer_of_another_kind_is_refused_with_its_sentence(tmp_path, minilm):
    text = "# The office\n\nThe parking card comes from Mr Novak and takes a week. The badge is blue.\n"
    index = indexed(tmp_path, {"office.md": text}, minilm)
    refused = index.ask("How much does the parking card cost?")
    assert refused.refused and refused.why.kind == "not_answered"
    assert not index.ask("How long does the parking card take?").refused
