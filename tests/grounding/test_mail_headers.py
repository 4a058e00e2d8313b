"""The header of a mail answers what is asked of the sending, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from grounding.small_index import indexed
from lmworks.grounding.answer import BestSpan
from lmworks.grounding.evidence import read_passages
from lmworks.grounding.index import Index
from lmworks.grounding.mail_headers import asks_of_sending, header_end
from lmworks.grounding.passage import Passage

MAILS = {
    "regatta.eml": """From: Ingrid Holm <ingrid@club.example>
To: Ruth Abel <ruth@club.example>
Date: Tue, 3 Feb 2026 08:15:00 +0000
Subject: Autumn regatta, and who steers the Kite

Dear Ruth,

The boats are in the water from the first of April. Please bring the sails down from the loft, dry them, and tell the
bosun of every tear that you find.

Peter is replaced in July by a certain Karl Vos, who sailed at Lund before.

We race on Saturday 12 September, from ten, off the old pier.

Ingrid
""",
    "short.txt": """From: Karl
To: all
Date: 2 March 2026
Subject: Harbour clean-up

We meet at the crane on Saturday morning, with gloves. Whoever has a boat hook brings it.
""",
    "other.md": "# The loft\n\nThe loft is locked at night. The bosun has the key.",
}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, minilm: str) -> Index:
    return indexed(tmp_path_factory.mktemp("mails"), MAILS, minilm)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("When is the harbour clean-up?", "Saturday morning"),
        # what is asked of the sending
        ("Who wrote about the autumn regatta?", "Ingrid Holm"),
        ("What is the subject of the mail from Ingrid Holm?", "Autumn regatta"),
    ],
)
def test_a_header_answers_only_what_is_asked_of_the_sending(index: Index, question: str, said: str):
    answer = index.ask(question)
    assert said in answer.text, answer.text
    cited = answer.citations[0]
    assert index.document(cited.file)[cited.start : cited.end] == cited.text


def test_who_wrote_a_mail_and_who_is_greeted_in_it_is_no_answer_to_another_question(index: Index):
    for question in ("Who steers the Kite?", "Who organises the harbour clean-up?"):
        answer = index.ask(question)
        nearest = answer.nearest if answer.refused else answer.citations[0]
        assert not any(name in nearest.text for name in ("From:", "Dear"))


def test_a_passage_that_is_nothing_but_a_header_is_read_where_there_is_no_other():
    header = "From: Karl\nTo: all\nSubject: Harbour"
    one, two = (Passage(text, 1.0, "d", "", "a.eml", 0, len(text), 0) for text in (header, "It rains."))

    class First:
        def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
            return [BestSpan(0, 5, 1.0, 0.9) for _ in texts]

    def read(*passages: Passage) -> list[str]:
        found = read_passages(First(), "Why?", passages, unread=lambda passage: header_end(passage.text))
        return [one.passage.text for one in found]

    assert read(one, two) == ["It rains."] and read(one) == [header]


def test_the_subject_is_the_title_and_is_found(index: Index):
    found = index.search("who steers the Kite", k=3)
    assert {one.document for one in found if one.file == "regatta.eml"} == {"Autumn regatta, and who steers the Kite"}


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("From: a\nTo: b\n  and c\n\nText", 21),
        ("From: a\nSubject: b", 18),
        ("From: a\nSubject: b\n\nDear all,\n\nText", 29),
        ("From: a\nSubject: b\n\nIn May, it is closed.", 18),
        ("Von: a\nBetreff: b\n\nText", 17),
        ("From: a\n\nText", 0),
        ("From: a\nTo: b\nText", 0),
        ("Name: a\nTo: b\n\nText", 0),
        ("Text\nFrom: a\nTo: b\n", 0),
    ],
)
def test_where_a_header_ends(text: str, end: int):
    assert header_end(text) == end


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("Who sent it?", True),
        ("To whom did Ann write?", True),
        ("Who is it from?", True),
        ("What was the subject?", True),
        ("Wer hat das geschrieben?", True),
        ("¿Quién envió la lista?", True),
        ("When is the summer party?", False),
        ("Who takes over from Ann?", False),
        ("Wann ist das Fest?", False),
        ("¿Cuándo es la fiesta?", False),
    ],
)
def test_what_is_asked_of_the_sending(question: str, asks: bool):
    assert asks_of_sending(question) is asks
