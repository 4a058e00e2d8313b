"""What a question asks the meaning of is answered by the passage that defines it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from lmworks.grounding.answer import BestSpan
from lmworks.grounding.asking import Asked, extracted
from lmworks.grounding.definitions import Wanted
from lmworks.grounding.evidence import read_passages
from lmworks.grounding.gate import Features, Gate
from lmworks.grounding.passage import Passage
from lmworks.grounding.terms import terms

GLOSSARY = """- **BOS, EOS**: the tokens that mark a text's beginning and end.
- **tape**: the list of operations that one program
  runs for a step.
- **Tape drives: 1.5 not reached.**"""


def wanted(question: str, document: str = "") -> Wanted:
    """What it wants of an English index whose documents all say this."""
    return Wanted.of(question, "english", lambda file: document)


def passage(text: str, document: str = "notes", heading: str = "", start: int = 0) -> Passage:
    """A passage that was found."""
    return Passage(text, 1.0, document, heading, "notes.md", start, start + len(text), 0)


@pytest.mark.parametrize(
    ("question", "term"),
    [
        ("What is a tape?", "tape"),
        ("what are Tapes", "tape"),
        ("And what's the held-out text?", "held-out text"),
        ("What does BOS mean?", "BOS"),
        ("Define top-k.", "top-k"),
        ("What is the capital of France?", ""),
        ("What does the server do?", ""),
        ("What is he called?", ""),
        ("Who wrote Faust?", ""),
    ],
)
def test_which_questions_ask_for_a_meaning(question, term):
    assert wanted(question).term == frozenset(terms(term, "english"))


@pytest.mark.parametrize(
    ("question", "text", "says"),
    [
        ("What is a tape?", GLOSSARY, "- **tape**: the list of operations that one program\n  runs for a step."),
        ("What is EOS?", GLOSSARY, "- **BOS, EOS**: the tokens that mark a text's beginning and end."),
        ("What are tape drives?", GLOSSARY, None),
        ("What is a tape?", "We rewind. A tape is a list of operations. It runs.", "A tape is a list of operations."),
        ("What is a tape?", "The tape is made once. Each tape is new.", None),
        ("What is LoRA?", "LoRA (low-rank adaptation) is an adapter.", "LoRA (low-rank adaptation) is an adapter."),
        ("What is a tape?", "| Reel | round |\n| Tape | a long list |", "| Tape | a long list |"),
    ],
)
def test_a_glossary_a_table_and_a_sentence_define(question, text, says):
    found = wanted(question).definition(passage(text))
    assert (found and text[found.start : found.end]) == says


def test_the_first_paragraph_below_a_heading_defines_it_and_a_later_one_does_not():
    document = "# Machines\n\n## Tapes\n\nPacked weights. One list.\n\nThey are long.\n\nThey run."
    first = document.index("Packed")
    asked = wanted("What is a tape?", document)
    found = asked.definition(passage(document[first:], heading="Machines > Tapes", start=first))
    assert found is not None and not found.explicit
    assert document[first + found.start : first + found.end] == "Packed weights. One list."
    later = document.index("They run")
    assert asked.definition(passage(document[later:], heading="Machines > Tapes", start=later)) is None
    assert asked.definition(passage(document[first:], heading="Machines", start=first)) is None


class Fond:
    """Reads the first word, and is fondest of the passages that come first."""

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        """Falling scores."""
        return [BestSpan(0, len(text.split()[0]), float(-at), 0.1) for at, text in enumerate(texts)]


def test_the_passage_that_defines_it_comes_first_and_its_line_is_the_answer():
    asked, texts = wanted("What is a tape?"), ["Tapes run.", "No tape is there.", GLOSSARY]
    evidence = read_passages(Fond(), "What is a tape?", [passage(text) for text in texts], asked.definition)
    assert evidence[0].defines and evidence[0].reading.answerable > 0.5
    features = Features(1.0, 1.0, 2.0, 0.0, 1.0, 0.0)
    known = Asked("What is a tape?", "english", evidence, [one.passage for one in evidence], features, Gate.of({}, ""))
    answer = extracted(known)
    assert answer.text == "**tape**: the list of operations that one program runs for a step. [1]"
    assert answer.citations[0].text == "- **tape**: the list of operations that one program\n  runs for a step."
