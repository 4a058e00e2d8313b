"""The figures of a reader: whole answers and their words, and how well it tells that a text has no answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lmworks.evaluation.answer_words import overlap, words
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import area_under_curve, mean, proportion
from lmworks.grounding.heads.calibration import Calibration, calibration_error, probabilities
from lmworks.grounding.heads.questions import ParagraphQuestion
from lmworks.grounding.heads.reading import SpanReader, WindowAnswer

NEAREST = 3
"""Paragraphs that are read in place of the one with the answer."""
FALSE_REFUSALS = 0.05


def likeliest(reader: SpanReader, asked: Sequence[ParagraphQuestion]) -> list[WindowAnswer]:
    """What the reader finds in each question's own paragraph."""
    best: dict[int, WindowAnswer] = {}
    for place, found in reader.found([(one.text, one.context) for one in asked]):
        if place not in best or _score(reader, found) > _score(reader, best[place]):
            best[place] = found
    return [best[place] for place in range(len(asked))]


def answers_measured(asked: Sequence[ParagraphQuestion], found: Sequence[WindowAnswer]) -> list[Measurement]:
    """Exact match and F1 in per cent, of questions that have answers."""
    exact, alike = [], []
    for one, span in zip(asked, found, strict=True):
        given = one.context[span.start : span.end]
        wanted = [one.context[start:end] for start, end in one.answers]
        exact.append(100.0 * any(words(given) == words(text) for text in wanted))
        alike.append(100 * max(overlap(given, text) for text in wanted))
    return [
        Measurement(name=name, value=value, unit="%", interval=interval, n=len(asked), ideal=100)
        for name, (value, interval) in (("exact match", mean(exact)), ("F1", mean(alike)))
    ]


def refusals_measured(asked: Sequence[ParagraphQuestion], found: Sequence[WindowAnswer]) -> list[Measurement]:
    """How well questions with and without an answer are told apart, and how far the probability is from how often it
    comes true: each article's by a calibration on the others."""
    right = np.array([bool(one.answers) for one in asked])
    titles = np.array([one.title for one in asked])
    scores = np.array([(one.span, one.answers) for one in found])
    probability = np.zeros(len(asked))
    for title in sorted(set(titles)):
        here = titles == title
        fitted = Calibration.fitted(scores[~here, 0], scores[~here, 1], right[~here])
        probability[here] = probabilities([fitted.score(*pair) for pair in scores[here]])
    value, interval = area_under_curve(probability[right], probability[~right])
    error = calibration_error(probability, right)
    return [
        Measurement(name="answerable, AUROC", value=value, interval=interval, n=len(asked), chance=0.5, ideal=1),
        Measurement(name="calibration error", value=error, n=len(asked), ideal=0),
    ]


def removals_measured(
    reader: SpanReader, asked: Sequence[ParagraphQuestion], found: Sequence[WindowAnswer]
) -> list[Measurement]:
    """How many questions are refused whose paragraph is taken away and the `NEAREST` other ones are read, where
    `FALSE_REFUSALS` of those that have their paragraph are refused."""
    pairs = [(number, other) for number, others in enumerate(_nearest(asked)) for other in others]
    best = np.full(len(asked), -np.inf)
    for place, one in reader.found([(asked[number].text, other) for number, other in pairs]):
        number = pairs[place][0]
        best[number] = max(best[number], _score(reader, one))
    own = np.array([_score(reader, one) for one in found])
    value, interval = proportion(int((best < np.quantile(own, FALSE_REFUSALS)).sum()), len(asked))
    area, around = area_under_curve(own, best)
    return [
        Measurement(name="refused without its paragraph", value=value, interval=interval, n=len(asked), ideal=1),
        Measurement(
            name="paragraph there or not, AUROC", value=area, interval=around, n=len(asked), chance=0.5, ideal=1
        ),
    ]


def _nearest(asked: Sequence[ParagraphQuestion]) -> list[list[str]]:
    """For each question the paragraphs but its own that share most words with it, rare words counting more."""
    contexts = list(dict.fromkeys(one.context for one in asked))
    held = [set(words(context)) for context in contexts]
    known = Counter(word for own in held for word in own)
    nearest = []
    for one in asked:
        wanted = {word: math.log(len(contexts) / known[word]) for word in set(words(one.text)) if word in known}
        shared = np.array([sum(weight for word, weight in wanted.items() if word in own) for own in held])
        order = np.argsort(-shared, kind="stable")
        nearest.append([contexts[place] for place in order if contexts[place] != one.context][:NEAREST])
    return nearest


def calibrated(asked: Sequence[ParagraphQuestion], found: Sequence[WindowAnswer]) -> Calibration:
    """The calibration on all of these questions."""
    return Calibration.fitted(
        [one.span for one in found], [one.answers for one in found], [bool(one.answers) for one in asked]
    )


def _score(reader: SpanReader, found: WindowAnswer) -> float:
    return reader.calibration.score(found.span, found.answers)
