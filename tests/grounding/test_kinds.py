"""An answer of a few words is a number where a number is asked for, and of what is asked; a time where a time is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from grounding.small_index import indexed
from lmworks.grounding.answer import BestSpan
from lmworks.grounding.asking import Asked, look
from lmworks.grounding.evidence import read_passages
from lmworks.grounding.gate import Features, Gate, Logistic
from lmworks.grounding.kinds import is_of_asked_kind
from lmworks.grounding.passage import Passage
from lmworks.grounding.reading import reader_for


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
        ("When did warming begin?", "global warming"),
        ("When is the team back?", "touchdowns"),
        ("How long does the copy take?", "single"),
        ("How long is the waiting list?", "number of plots"),
        ("What is the e-mail address of the caretaker?", "Mr Novak, 0151 20 44 87"),
        ("Who collects the milk in Halden Moor?", "every second Friday"),
        ("Who collects in Marsh End?", "Wednesday"),
        ("How much is a data logger?", "2 days"),
        ("What does a data logger cost?", "about three weeks"),
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
        ("Who came first?", "June Smith"),
        ("Who came first?", "April"),
        ("How much is the delay?", "two hours"),
        ("How much is left of the film?", "about 20 minutes"),
        ("Who pays?", "the first of us"),
        ("How much is the fine?", "two days' wages"),
        ("How much is it?", "an hour's work"),
        ("How much is the rent?", "900"),
        ("What is the email address for lost property?", "lost@ferry.example"),
        ("What is the e-mail address for?", "questions"),
        ("How long is the probation for a senior deckhand?", "none"),
        ("What do I do if my phone number changes?", "tell Ann"),
        ("How many people were on the test flight?", "a crew"),
        ("How many of them sing?", "hundreds"),
        ("In what century was it built?", "early nineteenth century"),
        ("In which year was it built?", "the same year"),
        ("What did the flood cost the town?", "its bridge"),
        ("What is the cost centre of the lab?", "Physics"),
        ("How much is it?", "too much"),
        ("When do we pay?", "on delivery"),
        ("When will they be back?", "half past eleven"),
        ("When are the apples picked?", "October"),
        ("When did the ice retreat?", "Pleistocene"),
        ("When do we eat?", "after the walk"),
        ("When is the bed given back?", "as soon as nobody sleeps in it"),
        ("When many people are arrested, what is usual?", "solidarity"),
        ("How long may I keep a book?", "as long as nobody wants it"),
        ("How long is the path?", "some miles"),
        ("How long may I stay?", "until the end of term"),
        ("Where is it?", "week"),
        ("Wie viel kostet die Karte?", "Woche"),
    ],
)
def test_what_may_be_meant(question: str, span: str):
    assert is_of_asked_kind(question, span)


@pytest.mark.parametrize(
    ("question", "before", "span", "after"),
    [
        ("How many weeks of parental leave do I have?", "Holidays: ", "26", " days a year."),
        ("How many weeks of parental leave are paid?", "Everyone gets ", "26", " days of paid leave."),
        ("How many calories has the soup?", "A plate of soup is ", "400 g", "."),
        ("How many visitors came in spring?", "Revenue in spring was ", "£109,500", "."),
        ("How many visitors came in spring?", "Revenue in spring was £", "109,500", "."),
        ("How many people work here?", "It can be booked for ", "two", " hours at most."),
        ("How many kilograms may I take?", "The price falls by ", "12", " % in winter."),
        ("How many pages has it?", "It was read in ", "12", "-hour shifts."),
    ],
)
def test_a_figure_of_something_else_is_not_meant(question: str, before: str, span: str, after: str):
    assert not is_of_asked_kind(question, span, before, after)


@pytest.mark.parametrize(
    ("question", "before", "span", "after"),
    [
        ("How many people came?", "Only ", "26", " of them came."),
        ("How many people came?", "", "26", " % did."),  # a share of them
        ("How many people came?", "In ", "12", " hours 400 people came."),
        ("How many weeks of leave do I have?", "You have ", "26 days", " (five weeks) of leave."),
        ("How many minutes does the ferry take?", "The ferry takes ", "one hour", "."),
        ("How many nights do we stay?", "We stay for ", "three", " days."),
        ("How many square kilometers is the park?", "The park has ", "3,000", " km2 of forest."),
        ("How many pounds of steam does it use?", "It uses 4 kg (", "8.8", " lb) of steam."),
        ("How many times is it watered?", "It is watered every ", "two", " hours."),
        ("How many may come?", "At most ", "20", " minutes late."),
        ("How many cups of milk does it take?", "It takes ", "250", " ml of milk."),
    ],
)
def test_a_figure_in_another_unit_may_be_meant(question: str, before: str, span: str, after: str):
    assert is_of_asked_kind(question, span, before, after)


def test_what_stands_before_a_span_may_make_a_time_of_it():
    assert is_of_asked_kind("When do we pay?", "paper", before="We pay on ")
    assert not is_of_asked_kind("When do we pay?", "crates", before="We pay for ")


def test_a_span_of_the_questions_own_words_is_judged_by_the_sentence_that_is_shown_for_it():
    text = "The water is turned off in October. Ask Ann."

    class Echo:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(text.index("turned"), text.index(" in Oct"), 1.0, 0.9) for text in texts]

    found = [Passage(text, 1.0, "notes", "", "notes.txt", 0, len(text), 0)]
    question = "When is the water turned off?"
    evidence = read_passages(Echo(), question, found)
    assert Asked(question, "english", evidence, found, Features(0, 0, 0, 0, 0, 0), Gate.of({}, "")).is_of_asked_kind


def test_an_answer_of_another_kind_is_refused_with_its_sentence(tmp_path, minilm):
    text = "# The office\n\nThe parking card comes from Mr Novak and takes a week. The badge is blue.\n"
    index = indexed(tmp_path, {"office.md": text}, minilm)
    refused = index.ask("How much does the parking card cost?")
    assert refused.refused and refused.why.kind == "not_answered"
    assert not index.ask("How long does the parking card take?").refused


def test_a_figure_of_something_else_is_refused_with_its_sentence(tmp_path, minilm):
    index = indexed(tmp_path, {"soup.md": "# Bean soup\n\nA plate of the soup holds 400 g of beans.\n"}, minilm)
    lenient = Gate(Logistic([0.0] * 4, 2.0), Logistic([0.0] * 6, 1.0), 0.5, 0.05)

    def answers(question: str) -> bool:
        asked = look(index, question, 6, reader_for(index, question), lenient)
        assert "400" in asked.evidence[0].answer
        return asked.passes

    assert not answers("How many calories does a plate of the soup hold?")
    assert answers("How many grams of beans does a plate of the soup hold?")
