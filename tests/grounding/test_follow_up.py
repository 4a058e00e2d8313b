"""A question that leans on the one before it takes that one's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from grounding.small_index import indexed
from lmworks.grounding.answer import GroundedAnswer
from lmworks.grounding.follow_up import ask_in_context, in_context

CAR = """# The car

The inspection is due in May 2027 at the garage in Mill Road.

## Drivers

Anna and Bob are insured. Guests and people under 25 may not drive it.

## Fuel

It takes diesel.
"""
BEFORE = "When is the rent of the flat due?"
INSPECTION = "When does the car have its next inspection in May 2027, and in which garage in Mill Road?"


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("And how much is it?", "And how much is it (rent of the flat due)?"),
        ("How much?", "How much (rent of the flat due)?"),
        ("why", "why (rent of the flat due)?"),
        ("Who pays them?", "Who pays them (rent of the flat due)?"),
        ("Where does the boat lie?", "Where does the boat lie?"),
        ("Katzen?", "Katzen?"),
    ],
)
def test_pronouns_and_questions_without_a_word_of_their_own_lean_on_the_one_before(question: str, whole: str):
    assert in_context(question, BEFORE) == whole
    assert in_context(question, None) == question


@pytest.mark.parametrize(
    ("question", "before", "whole"),
    [
        ("And a coach?", "What does a car cost?", "What does a coach cost?"),
        ("And on Sunday?", "When do you open on Saturday?", "When do you open on Sunday?"),
        ("What about the bicycle?", "How much is a return for a car?", "How much is a return for the bicycle?"),
        ("And in May?", "How much did we sell in March 2026?", "How much did we sell in May 2026?"),
        ("And the week after?", "Who is on call in the week of 13 April?", "And the week after?"),
        ("And in 2027?", "How much did we sell in March 2026?", "How much did we sell in 2027?"),
        ("And a car with trailer?", "What does a car cost?", "And a car with trailer (car cost)?"),
        ("And the floors?", "When is the bottle washer descaled?", "When is the floors descaled?"),
        ("And the fortifier?", "How much is a 50 ml bottle of donor milk?", "How much is the fortifier?"),
        (
            "And in Marsh End?",
            "On which day is it collected in Upper Tarn?",
            "On which day is it collected in Marsh End?",
        ),
        ("And freezer F3?", "When was freezer F1 last serviced?", "When was freezer F3 last serviced?"),
        ("And the rent of flat 4?", "What is the rent of flat 3?", "What is the rent of flat 4?"),
        ("What about colostrum?", "How long does milk keep?", "What about colostrum (milk keep)?"),
        ("And by whom is the rent paid?", "What is paid by tenants?", "And by whom is the rent paid?"),
        ("And on Sunday?", "What does a car cost?", "And on Sunday (car cost)?"),
    ],
)
def test_what_is_only_named_takes_the_place_of_what_begins_alike(question: str, before: str, whole: str):
    assert in_context(question, before) == whole


def test_what_only_names_something_is_not_asked_alone(tmp_path: Path, minilm: str):
    contacts = "Hospital,Contact,Phone\nHalden Cottage,Lorna Crewe,\nPort Sallow,Noreen Vale,0151 20 44 87\n"
    index = indexed(tmp_path, {"hospitals.csv": contacts}, minilm)
    before = "What is the telephone number of Port Sallow?"
    assert "0151 20 44 87" in index.ask(before).text
    asked: list[str] = []

    def ask(question: str) -> GroundedAnswer:
        asked.append(question)
        return index.ask(question)

    question, answer = ask_in_context(ask, "And of Halden Cottage?", before)
    assert question == "What is the telephone number of Halden Cottage?" and answer.refused
    assert asked == [question]


def test_a_question_that_says_nothing_gives_nothing():
    assert in_context("And how much is it?", "What is it?") == "And how much is it?"


def test_a_chain_keeps_its_topic():
    second = in_context("And how much is it?", BEFORE)
    assert in_context("Who pays it?", second) == "Who pays it (rent of the flat due)?"


def test_words_between_are_kept_where_they_join_what_is_named():
    before = "When does the car have its next inspection, and in which garage?"
    assert in_context("What fuel does it take?", before) == "What fuel does it take (car next inspection garage)?"


def test_a_question_with_words_of_its_own_is_asked_alone_where_the_whole_finds_nothing(tmp_path: Path, minilm: str):
    index = indexed(tmp_path, {"car.md": CAR, "flat.md": "# The flat\n\nThe rent is 900 euros.\n"}, minilm)
    before, drivers = INSPECTION, "And who may not drive it?"
    assert index.ask(in_context(drivers, before)).refused
    question, answer = ask_in_context(index.ask, drivers, before)
    assert question == drivers and "Guests and people under 25 may not drive it" in answer.text
    question, answer = ask_in_context(index.ask, "What fuel does it take?", before)
    assert question == in_context("What fuel does it take?", before) and "diesel" in answer.text  # which has gone well
    other = "When did the boat in the harbour of Kiel have its last engine inspection?"
    question, answer = ask_in_context(index.ask, drivers, other)
    assert question == in_context(drivers, other) and answer.refused  # "it" is a boat, of which nothing is said


def test_what_is_asked_alone_is_not_answered_from_another_topic(tmp_path: Path, minilm: str):
    flat = "# The flat\n\nThe rent is 900 euros and is due on the first of the month. The landlord is Mr Smith.\n"
    index = indexed(tmp_path, {"car.md": CAR, "flat.md": flat}, minilm)
    before = "When is the car's inspection due?"
    assert "900" in index.ask("And its rent?").text and not index.ask(before).refused
    _, answer = ask_in_context(index.ask, "And its rent?", before)  # the car's, though both topics know what is due
    assert answer.refused


def test_another_document_of_the_same_name_may_answer(tmp_path: Path, minilm: str):
    inspection, rest = CAR.split("## Drivers")
    index = indexed(tmp_path, {"car.md": inspection, "drivers.md": f"# Drivers of the car\n{rest}"}, minilm)
    before, drivers = INSPECTION, "And who may not drive it?"
    assert index.ask(in_context(drivers, before)).refused
    question, answer = ask_in_context(index.ask, drivers, before)
    assert question == drivers and "Guests and people under 25 may not drive it" in answer.text
