"""The figures of a test: each with n, an interval over documents, and what guessing reaches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import difference_of_ratios, ratio_of_sums
from lmworks.grounding.self_test.answering import Asked
from lmworks.grounding.self_test.choosing import by_document, half_of
from lmworks.grounding.self_test.questions import Question
from lmworks.grounding.self_test.trials import COUNTED, gain

Array = NDArray[np.float64]
FALSE_REFUSALS = 0.05
"""The share of answerable questions that may be refused."""
AT = (1, 5, 10)
RIGHT, REFUSED, WRONG = "answered, its place cited", "refused although it is there", "answered, another place cited"
"""What becomes of a question whose answer is there."""


def share(
    name: str, values: Sequence[float], questions: Sequence[Question], chance: float | None = None
) -> Measurement:
    """A mean over questions, resampled by document."""
    sums, counts = by_document(values, questions)
    estimate = ratio_of_sums(sums, counts)
    return Measurement(
        name=name, value=estimate.value, interval=estimate.interval, n=len(questions), chance=chance, ideal=1
    )


def gained(name: str, before: Sequence[float], after: Sequence[float], questions: Sequence[Question]) -> Measurement:
    """What a way of searching adds to another, question by question."""
    first, counts = by_document(before, questions)
    second, _ = by_document(after, questions)
    estimate = difference_of_ratios(first, second, counts)
    return Measurement(name=name, value=estimate.value, interval=estimate.interval, n=len(questions), difference=True)


def found(way: str, places: Array, questions: Sequence[Question], chunks: int) -> list[Measurement]:
    """Recall and nDCG of one way of searching; `places` are those of the right passages."""
    shares = [sum(len(one.passages) for one in questions) / len(questions) / chunks * min(k, chunks) for k in AT]
    made = [
        share(f"recall@{k}, {way}", (places < k).astype(float).tolist(), questions, min(level, 1.0))
        for k, level in zip(AT, shares, strict=True)
    ]
    guess = float(gain(np.arange(min(COUNTED, chunks), dtype=float)).sum()) * shares[0]
    return [*made, share(f"nDCG@10, {way}", gain(places).tolist(), questions, min(guess, 1.0))]


def threshold(asked: Iterable[Asked]) -> float:
    """The confidence below which `FALSE_REFUSALS` of the answerable questions are."""
    there = sorted(one.there for one in asked)
    return float(np.quantile(there, FALSE_REFUSALS)) if there else 0.0


def answered(asked: Sequence[Asked]) -> list[Measurement]:
    """How often answers are right, and how often what is not there is refused."""
    questions = [one.question for one in asked]
    halves = [half_of(one.passages[0].file) for one in questions]
    of_other = [threshold(one for one, half in zip(asked, halves, strict=True) if half != which) for which in (0, 1)]
    limits = [of_other[half] for half in halves]
    refused = [one.there < limit for one, limit in zip(asked, limits, strict=True)]
    right = [float(one.cited and not no) for one, no in zip(asked, refused, strict=True)]
    wrong = [float(not one.cited and not no) for one, no in zip(asked, refused, strict=True)]
    made = [
        share(RIGHT, right, questions, 0.0),
        share(WRONG, wrong, questions).model_copy(update={"ideal": 0.0}),
        share("answers, exact", [one.exact for one in asked], questions, 0.0),
        share("answers, F1", [one.f1 for one in asked], questions, 0.0),
        share("the answer cited in its passage", [one.cited for one in asked], questions, 0.0),
        share(REFUSED, list(map(float, refused)), questions, FALSE_REFUSALS).model_copy(update={"ideal": 0.0}),
        share(
            "refused with its passages taken away",
            [float(one.gone < limit) for one, limit in zip(asked, limits, strict=True)],
            questions,
            FALSE_REFUSALS,
        ),
    ]
    near = [(one, limit) for one, limit in zip(asked, limits, strict=True) if one.spoilt is not None]
    if near:
        spoilt = [float(one.spoilt < limit) for one, limit in near if one.spoilt is not None]
        name = "refused with its sentence taken out"
        made.append(share(name, spoilt, [one.question for one, _ in near], FALSE_REFUSALS))
    return made
