"""What an index answers to the test's questions: as it is, without the passages that hold the answer, and with a copy
of the right passage that lacks the sentence.

    for one in asked_of(index, questions): print(one.exact, one.there, one.gone, one.spoilt)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmworks.basics import progress
from lmworks.grounding.answer import GroundedAnswer
from lmworks.grounding.asking import ask
from lmworks.grounding.gate import Gate
from lmworks.grounding.index import Index
from lmworks.grounding.passage import Passage
from lmworks.grounding.reading import reader_for
from lmworks.grounding.self_test.questions import SelfTestQuestion
from lmworks.language_model import LanguageModel
from lmworks.text.words import WORD

SPARE = 30
"""Passages that are looked through for those that may be seen, beyond those that are wanted."""


@dataclass(frozen=True)
class Answered:
    """A question and what came back."""

    question: SelfTestQuestion
    answer: GroundedAnswer
    """As if nothing were refused."""
    exact: float
    """1 where the answer is the word that was taken out."""
    f1: float
    """Of the answer's words."""
    cited: float
    """1 where the first citation holds the word, in a passage that is right."""
    gone: float
    """The confidence where every passage that holds the answer is taken away."""
    spoilt: float | None
    """The confidence where the right passage has lost its sentence; None where nothing would be left of it."""
    threshold: float
    """The confidence below which `ask` refuses."""

    @property
    def there(self) -> float:
        """The confidence where nothing is missing."""
        return self.answer.confidence


@dataclass(frozen=True)
class View:
    """An index some of whose passages are changed or left out, in memory."""

    index: Index
    changed: Callable[[Passage], Passage | None]

    @property
    def languages(self) -> Mapping[str, int]:
        """Of the index."""
        return self.index.languages

    @property
    def tested(self) -> Mapping[str, Any]:
        """Nothing is refused, so that every confidence is seen."""
        return {**self.index.tested, "gate": {"threshold": 0.0}}

    @property
    def embedder(self) -> LanguageModel:
        """Of the index."""
        return self.index.embedder

    def document(self, file: str) -> str | None:
        """Of the index."""
        return self.index.document(file)

    def search(self, query: str, k: int = 10, by: Any = "hybrid", **given: Any) -> list[Passage]:
        """The k best passages that can be seen."""
        found = (self.changed(one) for one in self.index.search(query, k + SPARE, by, **given))
        return [one for one in found if one is not None][:k]


def asked_of(index: Index, questions: Sequence[SelfTestQuestion]) -> Iterator[Answered]:
    """Ask each question that has an answer."""
    with progress.task("asking", len(questions), "questions") as advance:
        for one in questions:
            yield _asked(index, one)
            advance(1)


def _asked(index: Index, question: SelfTestQuestion) -> Answered:
    def without(passage: Passage) -> Passage | None:
        return None if holds(passage.text, question.answer) else passage

    def spoilt(passage: Passage) -> Passage | None:
        if passage.chunk == question.passages[0].chunk:
            left = " " * len(question.sentence)  # every place stays where it is
            return replace(passage, text=passage.text.replace(question.sentence, left))
        return without(passage)

    reader = reader_for(index, question.text)
    answer = ask(View(index, lambda passage: passage), question.text, reader=reader)
    said = answer.alone
    first = answer.citations[0] if answer.citations else None
    right = {one.chunk for one in question.passages}
    return Answered(
        question,
        answer,
        float(_words(said) == _words(question.answer)),
        f1(said, question.answer),
        float(first is not None and first.chunk in right and holds(first.text, question.answer)),
        ask(View(index, without), question.text, reader=reader).confidence,
        ask(View(index, spoilt), question.text, reader=reader).confidence if question.spoilt else None,
        Gate.of(index.tested, type(reader).__name__).threshold,
    )


def holds(text: str, answer: str) -> bool:
    """Whether a text holds the words of an answer, articles left out."""
    return f" {' '.join(_words(answer))} " in f" {' '.join(_words(text))} "


def _words(text: str) -> list[str]:
    return [word for word in WORD.findall(text.casefold()) if word not in ("a", "an", "the")]


def f1(said: str, meant: str) -> float:
    """The harmonic mean of precision and recall of the words, articles left out (Rajpurkar et al. 2016)."""
    given, wanted = Counter(_words(said)), Counter(_words(meant))
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total()) if shared else 0.0
