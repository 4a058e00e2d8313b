"""Answer: what the documents say to a question, with verbatim citations; or that they do not say it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lmworks.grounding.graph.triple import Triple
from lmworks.grounding.passage import Passage

Way = Literal["extract", "write"]
"""Choose spans of the documents, or write free text of which every sentence must be supported by a cited span."""
REFUSAL = "not in these documents"
UNSURE = "not sure enough to answer"
"""What is said where something was found that is less likely to be right than is asked for."""
UNSUPPORTED = "the model wrote nothing that the documents support"
"""What is said where a model was to write; the documents may well answer."""
ELSEWHERE = " (elsewhere: {said} [{number}])"
"""What stands after an answer whose figures are others in another passage."""
FINEST = 0.9
"""The highest probability of being right that is shown; above it nothing finer was measured."""


@dataclass(frozen=True)
class Citation:
    """What an answer stands on: a verbatim span of a document, `document.text[start:end] == text`, or facts of a
    graph, which have a place in no document of the index: `file` is empty, and start, end and chunk are None."""

    number: int
    """As it stands in the answer: [1], [2], ..."""
    text: str
    """Verbatim."""
    document: str
    """What the document is called."""
    heading: str
    """The headings above it."""
    file: str
    """The document's source, as in `Passage`."""
    start: int | None
    """Where the span begins in the document's text, in characters."""
    end: int | None
    """Where it ends."""
    chunk: int | None
    """The number of the chunk that it stands in."""
    answer: tuple[int, int] | None = None
    """Where, in the document's text and within this span, the answer itself stands; None where all of it is."""
    differs: bool = False
    """Whether it says something else than the answer: other figures in nearly the same words."""
    kind: Literal["document", "graph"] = "document"
    triples: tuple[Triple, ...] = ()
    """Of a graph: the facts, each with the file that it is from."""

    @property
    def of_graph(self) -> bool:
        """Whether it is facts of a graph, and no span of a document."""
        return self.kind == "graph"

    @staticmethod
    def of(number: int, passage: Passage, start: int, end: int, answer: tuple[int, int] | None = None) -> Citation:
        """Of a span of a passage's text; of a graph's passage, which is one statement, all of it."""
        one = passage
        if one.of_graph:
            return Citation(number, one.text, one.document, "", "", None, None, None, kind="graph", triples=one.triples)
        place, told = (one.start + start, one.start + end), answer and (one.start + answer[0], one.start + answer[1])
        return Citation(number, one.text[start:end], one.document, one.heading, one.file, *place, one.chunk, told)


@dataclass(frozen=True)
class Reason:
    """Why an answer is refused; as text, a plain sentence in English."""

    kind: Literal[
        "nothing_found", "not_mentioned", "not_answered", "in_no_sentence", "unsupported", "unsure", "unmeasured"
    ]
    """What programs tell it by."""
    named: tuple[str, ...] = ()
    """What the sentence names: the words that are not mentioned, how many sentences were looked at, or how probably the
    answer is right."""

    def __str__(self) -> str:
        return _SENTENCES[self.kind].format(" or ".join(self.named))


_SENTENCES = {
    "nothing_found": "nothing was found: the index holds no text, or no document fits the filters",
    "not_mentioned": "the nearest passages do not mention {}",
    "not_answered": "the nearest passages are about this, but none seems to answer the question",
    "in_no_sentence": "the model found the answer in none of the {} nearest sentences",
    "unsupported": "what it wrote stands in no sentence of the passages that it read",
    "unsure": "of answers like the nearest {} are right, which is less than is asked for",
    "unmeasured": "how often answers in this language are right was not measured, and it was asked for",
}


@dataclass(frozen=True)
class GroundedAnswer:
    """An answer from documents, or a refusal."""

    text: str
    """The answer, with [1] after what a citation supports; `REFUSAL`, `UNSURE` or `UNSUPPORTED` where it is
    refused."""
    refused: bool
    confidence: float
    """The calibrated probability that the documents answer the question, 0 ... 1; 0 where nothing was found, and where
    what comes nearest is of another kind, version or day than what is asked for."""
    citations: Sequence[Citation] = field(default_factory=tuple)
    why: Reason | None = None
    """Why it is refused."""
    nearest: Citation | None = None
    """What comes nearest to an answer where it is refused; nothing vouches for it."""
    passages: Sequence[Passage] = field(default_factory=tuple)
    """What was found and read, best first."""
    prompt: str = ""
    """What the model was given, where one wrote or chose."""
    threshold: float = 0.0
    """The confidence below which it is refused."""
    false_refusals: float | None = None
    """The share of the questions that documents do answer which that refuses, as it was measured; None for a language
    in which it was not."""
    probably_right: float | None = None
    """The calibrated probability that the answer is right, 0 ... 1: that what is cited first answers the question. None
    for a refusal, where a model chose or wrote the answer or a graph gave it, and in languages of which no answers were
    counted: only spans of documents in English, German and Spanish were measured."""

    @property
    def reason(self) -> str:
        """Why it is refused: a plain sentence; empty where it is not."""
        return str(self.why or "")

    @property
    def alone(self) -> str:
        """The answer's text without the numbers of its citations and what is said elsewhere."""
        return alone(self.text)

    def __str__(self) -> str:
        """The answer's text."""
        return self.text


def percent_right(probability: float) -> str:
    """How probably an answer is right, for people: "71%", "over 90%"."""
    return f"over {FINEST:.0%}" if probability > FINEST else f"{probability:.0%}"


def alone(text: str) -> str:
    """An answer's text without the numbers of its citations and what is said elsewhere."""
    return re.sub(r"\s*\[\d+\]", "", re.sub(r"(?: \(elsewhere: .*? \[\d+\]\))+\Z", "", text))


@dataclass(frozen=True)
class BestSpan:
    """What a reader takes from one text: the span that answers best, and whether the text answers at all."""

    start: int
    """Where the span begins in the text, in characters."""
    end: int
    """Where it ends."""
    score: float
    """Higher is better; comparable between the texts of one question."""
    answerable: float
    """The probability that the text answers the question, 0 ... 1."""


class Reader(Protocol):
    """What reads an answer out of texts."""

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        """A reading for each text; `headings` are what stands above each, for readers that look at it."""
