"""Who reads: the trained head where it knows the language, else the sentence that is nearest to the question.

reader = reader_for(index)
readings = reader.read("when is rent due?", [one.text for one in passages])
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from lmworks.basics import progress
from lmworks.basics.errors import LmworksError
from lmworks.grounding.answer import BestSpan, Reader
from lmworks.grounding.evidence import units
from lmworks.grounding.figures import kind_asked_for
from lmworks.grounding.heads import reader
from lmworks.grounding.terms import language_of_question
from lmworks.grounding.words import about, content, coverage
from lmworks.language_model import LanguageModel

AROUND, BEFORE, MEANT = 0.3, 0.3, 0.7
"""What a word of the question counts that a sentence lacks, if the text or the heading above it has it; if the sentence
before has it; and if that does and the sentence begins with a pronoun."""
FITS = 0.4
"""What a figure or a time in a sentence counts where one is asked for."""
SCORE = 2.0
"""What a sentence's score counts beside that of the search, which knows less of other languages than English."""
_LEANS = re.compile(r"(?:It|They|This|These|He|She|Er|Sie|Es|Diese\w*|Dies|Beides?|Dazu|Davon|Dafür|Danach)\b")
"""What begins so speaks of the sentence before it."""
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

    def read(self, question: str, texts: Sequence[str], headings: Sequence[str] = ()) -> list[BestSpan]:
        """A whole sentence of each text; of an empty one, nothing."""
        spans = [units(text) for text in texts]
        found = [[text[start:end] for start, end in own] for text, own in zip(texts, spans, strict=True)]
        scores = iter(self._scores(question, found, headings or [""] * len(texts)))
        best = [max(((next(scores), *one) for one in own), default=(-1.0, 0, 0)) for own in spans]
        return [BestSpan(start, end, SCORE * one, 1 / (1 + math.exp(-6 * (one - 1)))) for one, start, end in best]

    def _scores(self, question: str, texts: Sequence[Sequence[str]], headings: Sequence[str]) -> Iterator[float]:
        """Of each sentence of the texts: its cosine with the question, and the share of the question's words that it
        holds, less for those around it; more where it says how much, or when, as the question asks, or begins with what
        is asked about, less where it adds nothing to the question (a link, a title)."""
        every = [one for sentences in texts for one in sentences]
        if not every:
            return
        with progress.hidden():
            asked_for = self.embedder.vectors([question], prompt="query", cut=True)
            cosines = iter((self.embedder.vectors(every, prompt="passage", cut=True) @ asked_for[0]).tolist())
        asked, fits = about(question, self.language), kind_asked_for(question, self.language)
        for sentences, heading in zip(texts, headings, strict=True):
            held, before = [content(one, self.language) for one in sentences], content(heading, self.language)
            everywhere = {*before, *(word for words in held for word in words)}
            for sentence, words in zip(sentences, held, strict=True):
                own, two, all_ = (coverage(asked, one, self.language) for one in (words, [*before, *words], everywhere))
                begins, adds = words[:1] and words[0] in asked, len({*words} - {*asked}) >= FEWEST_NEW
                leans = MEANT if _LEANS.match(sentence) else BEFORE
                score = next(cosines) + own + leans * (two - own) + AROUND * (all_ - two)
                yield score + 0.2 * bool(begins) - 0.6 * (not adds) + FITS * bool(fits and fits(sentence))
                before = words
