"""A yes or no is never shown as the answer to another question than the document's."""

from __future__ import annotations

import json
import time

import pytest

from grounding.small_index import indexed
from lmworks.grounding.asking import look, supported
from lmworks.grounding.gate import Gate
from lmworks.grounding.reading import reader_for
from lmworks.grounding.yes_or_no import answered_by, says_yes_or_no

FAQ = """# Questions about Quayside

## Does Quayside work offline?

No. The harbour office needs an internet connection.

## Can I cancel a booking?

Yes. Open the booking and choose Cancel. You get half of the price back.

## Dogs on board

No, the deck is too hot for them.
"""


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (
            "Does the harbour office need an internet connection?",
            "Does Quayside work offline? No. The harbour office needs an internet connection. [1]",
        ),
        ("does Quayside work offline", "No. The harbour office needs an internet connection. [1]"),
        (
            "Can I get the price back if I cancel a booking?",
            "Can I cancel a booking? Yes. Open the booking and choose Cancel. You get half of the price back. [1]",
        ),
        ("Is the deck hot for dogs?", "Dogs on board: No, the deck is too hot for them. [1]"),
    ],
)
def test_a_yes_or_no_is_shown_with_the_question_that_it_answers(tmp_path, minilm, question, said):
    index = indexed(tmp_path, {"faq.md": FAQ}, minilm)
    answer = index.ask(question)
    assert answer.text == said
    (cited,) = answer.citations
    assert index.document(cited.file)[cited.start : cited.end] == cited.text
    assert " ".join(cited.text.split()) == answer.alone.replace("board:", "board")
    assert cited.answer == (cited.start, cited.end)


@pytest.mark.parametrize(
    ("notes", "question", "said"),
    [
        (
            {"fragen.md": "# Hafen\n\n## Geht es ohne Netz?\n\nNein, das Hafenbüro braucht eine Verbindung.\n"},
            "Braucht das Hafenbüro eine Verbindung?",
            "Geht es ohne Netz? Nein, das Hafenbüro",
        ),
        (
            {"dudas.md": "# El puerto\n\n¿Funciona sin red?\n\nNo, la oficina del puerto necesita una conexión.\n"},
            "¿La oficina del puerto necesita una conexión?",
            "¿Funciona sin red? No, la oficina del puerto",
        ),
        (
            {"faq.txt": "Q: Does it work offline?\n\nA: No. The harbour office needs an internet connection.\n"},
            "Does the harbour office need an internet connection?",
            "Q: Does it work offline? A: No. The harbour office",
        ),
        (
            {
                "faq.jsonl": json.dumps(
                    {"title": "Does it work offline?", "text": "No. The harbour office needs an internet connection."}
                )
            },
            "Does the harbour office need an internet connection?",
            "Does it work offline? No. The harbour office",
        ),
    ],
)
def test_whatever_the_language_and_the_form(tmp_path, minilm, notes, question, said):
    index = indexed(tmp_path, notes, minilm)
    answer = index.ask(question)
    assert answer.text.startswith(said)
    for one in answer.citations:
        assert index.document(one.file)[one.start : one.end] == one.text


def test_a_yes_or_no_that_a_model_writes_is_shown_with_the_question_that_it_answers(tmp_path, minilm):
    index = indexed(tmp_path, {"faq.md": FAQ}, minilm)
    question, written = "Does the harbour office need a connection?", "No, the harbour office needs a connection."
    asked = look(index, question, 6, reader_for(index, question), Gate.of({}, ""))
    said, cited = supported(asked, asked.passages, written) or ("", None)
    assert said == f"Does Quayside work offline? {written}" and cited is not None
    assert index.document(cited.file)[cited.start : cited.end] == cited.text
    assert cited.text.startswith("Does Quayside work offline?\n\nNo.")
    plain = "Open the booking and choose Cancel."
    assert (supported(asked, asked.passages, plain) or ("",))[0] == plain


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        "No. The office",
        "- **No.** The office",
        "No – never.",
        "A: No, we don't",
        "Answer 3: yes, you can",
        "No it is not",
        "Ja.",
        "Nein, das geht",
        "Leider nicht.",
        "Sí, con permiso",
        "No.",
        "Of course. Ask Ann.",
    ],
)
def test_what_is_a_yes_or_no(text: str):
    assert says_yes_or_no(text)


@pytest.mark.parametrize(
    "text",
    [
        "No dogs are allowed.",
        "No. 5 pier",
        "No se admiten perros.",
        "Not all of them.",
        "Yesterday.",
        "Noah, the cat",
        "Offline: no",
    ],
)
def test_what_only_begins_as_one_is_none(text: str):
    assert not says_yes_or_no(text)


@pytest.mark.parametrize(
    ("above", "heading", "found"),
    [
        ("Ask us.\n\n## Does it float? ##\n\n", "Does it float?", "Does it float?"),
        ("Ask us.\n\nDoes it float?\n--------------\n\n", "Does it float?", "Does it float?"),
        ("Ask us.\n\n## Floating\n\n", "Floating", "Floating"),
        ('Ask us.\n\n## Is it "fast"\n\n', 'Is it "fast"', 'Is it "fast'),
        ("This is our faq. It is in our faq\n\n", "faq", None),
        ("## Boats\nDoes it\nfloat?\n", "Boats", "Does it\nfloat?"),
        ("Ask us. Does it float? ", "Boats", "Does it float?"),
        ("**Does it float?**\n\n", "", "Does it float?"),
        ("3. Does it float?\n   - ", "", "Does it float?"),
        ("Q: Does it float?\nA: ", "", "Q: Does it float?"),
        ("| Does it float? | ", "", "Does it float?"),
        ("---\ntitle: Does it float?\n---\n\n", "", "title: Does it float?"),
        ("It floats.\n\n", "Boats", None),
        ("## Boats\n\nIt floats. ", "Boats", None),
        ("", "Boats", None),
    ],
)
def test_what_stands_right_above(above: str, heading: str, found: str | None):
    place = answered_by(above + "No. It sinks.", len(above), heading)
    assert (None if place is None else above[slice(*place)]) == found


def test_a_long_text_above_costs_no_time():
    for filler in (" ", "-", "* ", "a? ", "a:\n", "#\n", "No "):
        text = filler * 200_000
        began = time.perf_counter()
        answered_by(text + "No.", len(text))
        says_yes_or_no(text)
        assert time.perf_counter() - began < 1
