"""Where a search ranks the passage that is right, for every weight at once.

for one in trials(index, questions): print(one.question.text, one.places[WEIGHTS.index(0.5)])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.grounding import postings
from lmworks.grounding.index import Index, mixed
from lmworks.grounding.indexing import languages_in
from lmworks.grounding.rerank import reranked
from lmworks.grounding.self_test.questions import SelfTestQuestion
from lmworks.grounding.terms import query_terms, terms
from lmworks.language_model import LanguageModel

Array = NDArray[np.float64]
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
"""The shares of the vectors that are tried: 0 is keywords alone, 1 vectors alone."""
COUNTED = 10
"""Passages that count in nDCG@10."""


@dataclass(frozen=True)
class Trial:
    """A question, and what each weight finds."""

    question: SelfTestQuestion
    places: Array
    """Of the first right passage, from 0, for each weight; among equals the middle one."""
    first: tuple[tuple[int, ...], ...]
    """The chunks that each weight finds first, best first."""
    told: Array | None
    """For each weight 1 where the right passage is above its spoilt copy, 0.5 where they are equal, else 0; None where
    there is no copy."""

    @property
    def gains(self) -> Array:
        """nDCG@10 for each weight: 1 / log2(2 + place), 0 from place 10 on."""
        return gain(self.places)


def gain(places: Array) -> Array:
    """nDCG@10 of the place, from 0, of the one passage that is right."""
    return np.where(places < COUNTED, 1 / np.log2(places + 2), 0.0)


def trials(index: Index, questions: Sequence[SelfTestQuestion]) -> Iterator[Trial]:
    """A trial for each question."""
    with progress.task("searching", len(questions), "questions") as advance:
        for one in questions:
            yield _trial(index, one)
            advance(1)


def _trial(index: Index, question: SelfTestQuestion) -> Trial:
    chunks, keywords, vectors = index.parts(question.query)
    others = [*question.replaced.values(), *filter(None, [question.spoilt])]
    extra = _scores_of(index, question.query, others)
    for chunk, (words, vector) in zip(question.replaced, extra, strict=False):
        at = np.searchsorted(chunks, chunk)
        keywords[at], vectors[at] = words, vector
    right = np.searchsorted(chunks, [one.chunk for one in question.passages])
    copy = _moved(keywords, vectors, *extra[-1]) if question.spoilt else (0.0, 0.0)
    places, first, told = [], [], []
    for weight in WEIGHTS:
        scores = mixed(keywords, vectors, weight)
        best = scores[right].max()
        places.append(float((scores > best).sum() + ((scores == best).sum() - 1) / 2))
        first.append(_first(chunks, scores))
        told.append(float(np.sign(best - (1 - weight) * copy[0] - weight * copy[1])) / 2 + 0.5)
    return Trial(question, np.array(places), tuple(first), np.array(told) if question.spoilt else None)


def _moved(keywords: Array, vectors: Array, *scores: float) -> tuple[float, ...]:
    """A text's two scores, moved as `mixed` moves those of the chunks."""
    found = []
    for score, each in zip(scores, (keywords, vectors), strict=True):
        low, high = float(each.min()), float(each.max())
        found.append((score - low) / (high - low) if high > low else float(high > 0))
    return tuple(found)


def _first(chunks: NDArray[np.int64], scores: Array) -> tuple[int, ...]:
    many = min(COUNTED, len(chunks))
    best = np.argpartition(-scores, many - 1)[:many]
    return tuple(int(chunks[at]) for at in sorted(best, key=lambda at: (-scores[at], chunks[at])))


def reranked_place(index: Index, trial: Trial, weight: int, model: LanguageModel) -> float:
    """The first right passage's place after a cross-encoder has read what a weight finds first."""
    question = trial.question
    right = {one.chunk for one in question.passages}
    with index.storage.reading() as reading:
        found = reading.passages(trial.first[weight])
    seen = [replace(one, text=question.bodies.get(one.chunk, one.text)) for one in found]
    ordered = [one.chunk for one in reranked(question.query, seen, model)]
    places = [at for at, chunk in enumerate(ordered) if chunk in right]
    return float(places[0]) if places else max(float(trial.places[weight]), float(COUNTED))


def _scores_of(index: Index, query: str, texts: Sequence[str]) -> list[tuple[float, float]]:
    """By keywords and by vectors, of texts that the index does not hold."""
    if not texts:
        return []
    with progress.hidden():
        vectors = index.embedder.vectors(texts, prompt="passage", cut=True) @ index.query_vector(query)
    with index.storage.reading() as reading:
        counts = postings.counts_of(reading)
        languages = languages_in(reading)
        asked, usual = query_terms(query, languages), next(iter(languages.most_common(1)), ("none", 0))[0]
        others = index.compounds(reading, query)
        words = [postings.score_of(reading, asked, terms(text, usual), counts, others) for text in texts]
    return [(word, float(vector)) for word, vector in zip(words, vectors, strict=True)]
