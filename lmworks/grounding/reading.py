"""Who reads: the trained head where it knows the language, else the sentence that is nearest to the question.

reader = reader_for(index)
readings = reader.read("when is rent due?", [one.text for one in passages])
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from lmworks.basics import progress
from lmworks.basics.errors import LmworksError
from lmworks.grounding.answer import BestSpan, Reader
from lmworks.grounding.evidence import units
from lmworks.grounding.heads import reader
from lmworks.grounding.terms import language_of_question
from lmworks.grounding.words import content, coverage
from lmworks.language_model import LanguageModel

FEWEST_NEW = 2
"""Words of content that a sentence must add to the question's to answer it."""


class Indexed(Protocol):
    """What reading needs of an index."""

    @property
    def languages(self) -> Mapping[str, int]:
        """How many chunks there are of each language, most first."""

    @property
    def embedder(self) -> LanguageModel:
        """The model of its vectors."""


def reader_for(index: Indexed, question: str) -> Reader:
    """The reader for a question; the nearest sentence in another language than English, and, with a word to the user,
    where the trained reader cannot be had."""
    language = language_of_question(question, index.languages)
    if in_english(question, language):
        try:
            return reader()
        except LmworksError as error:
            progress.note(f"{error}; until then whole sentences are taken for answers")
    return NearestSentence(index.embedder, language)


def in_english(question: str, language: str) -> bool:
    """Whether a question to chunks of this language is read as English: also one to a few words of no language."""
    return language == "english" or (language == "none" and question.isascii())


class NearestSentence:
    """Reads the sentence whose words and vector are nearest to the question's; trained on nothing, for any language."""

    def __init__(self, embedder: LanguageModel, language: str) -> None:
        self.embedder, self.language = embedder, language

    def read(self, question: str, texts: Sequence[str]) -> list[BestSpan]:
        """A whole sentence of each text; of an empty one, nothing."""
        spans = [units(text) for text in texts]
        sentences = [text[start:end] for text, own in zip(texts, spans, strict=True) for start, end in own]
        scores = iter(self._scores(question, sentences))
        best = [max(((next(scores), *one) for one in own), default=(-1.0, 0, 0)) for own in spans]
        return [BestSpan(start, end, score, 1 / (1 + math.exp(-6 * (score - 1)))) for score, start, end in best]

    def _scores(self, question: str, sentences: Sequence[str]) -> list[float]:
        """The cosine of each sentence with the question, and the share of the question's words that it holds; more
        where it begins with what is asked about, less where it adds nothing to the question (a heading, a link)."""
        if not sentences:
            return []
        with progress.hidden():
            asked_for = self.embedder.vectors([question], prompt="query", cut=True)
            vectors = self.embedder.vectors(sentences, prompt="passage", cut=True)
        asked, found = content(question, self.language), []
        for cosine, sentence in zip((vectors @ asked_for[0]).tolist(), sentences, strict=True):
            words = content(sentence, self.language)
            begins, adds = words[:1] and words[0] in asked, len({*words} - {*asked}) >= FEWEST_NEW
            found.append(cosine + coverage(asked, words) + 0.2 * bool(begins) - 0.6 * (not adds))
        return found
