"""The figures of a test: each with n, an interval over documents, and what guessing reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import difference_of_ratios, ratio_of_sums
from lmworks.grounding.self_test.answering import Answered
from lmworks.grounding.self_test.choosing import by_document
from lmworks.grounding.self_test.questions import SelfTestQuestion
from lmworks.grounding.self_test.trials import COUNTED, gain

Array = NDArray[np.float64]
AT = (1, 5, 10)
RIGHT, REFUSED, WRONG = "answered, its place cited", "refused although it is there", "answered, another place cited"
"""What becomes of a question whose answer is there."""
FEW = 0.05
"""Of the questions whose answer is there, the share that is refused where ways to refuse are compared."""


def share(
    name: str, values: Sequence[float], questions: Sequence[SelfTestQuestion], chance: float | None = None
) -> Measurement:
    """A mean over questions, with its interval over documents."""
    sums, counts = by_document(values, questions)
    estimate = ratio_of_sums(sums, counts, bounds=(0, 1))
    return Measurement(
        name=name, value=estimate.value, interval=estimate.interval, n=len(questions), chance=chance, ideal=1
    )


def gained(
    name: str, before: Sequence[float], after: Sequence[float], questions: Sequence[SelfTestQuestion]
) -> Measurement:
    """What a way of searching adds to another, question by question."""
    first, counts = by_document(before, questions)
    second, _ = by_document(after, questions)
    estimate = difference_of_ratios(first, second, counts, bounds=(-1, 1))
    return Measurement(name=name, value=estimate.value, interval=estimate.interval, n=len(questions), difference=True)


def found(way: str, places: Array, questions: Sequence[SelfTestQuestion], chunks: int) -> list[Measurement]:
    """Recall and nDCG of one way of searching; `places` are those of the right passages."""
    shares = [sum(len(one.passages) for one in questions) / len(questions) / chunks * min(k, chunks) for k in AT]
    made = [
        share(f"recall@{k}, {way}", (places < k).astype(float).tolist(), questions, min(level, 1.0))
        for k, level in zip(AT, shares, strict=True)
    ]
    guess = float(gain(np.arange(min(COUNTED, chunks), dtype=float)).sum()) * shares[0]
    return [*made, share(f"nDCG@10, {way}", gain(places).tolist(), questions, min(guess, 1.0))]


def answered(asked: Sequence[Answered]) -> list[Measurement]:
    """How often `ask` is right, and how often it refuses what is there and what is not: as it does, and at the
    threshold that refuses 5 % of what is there."""
    questions = [one.question for one in asked]
    refused = [one.there < one.threshold for one in asked]
    right = [float(one.cited and not no) for one, no in zip(asked, refused, strict=True)]
    wrong = [float(not one.cited and not no) for one, no in zip(asked, refused, strict=True)]
    made = [
        share(RIGHT, right, questions, 0.0),
        share(WRONG, wrong, questions).model_copy(update={"ideal": 0.0}),
        share("answers, exact", [one.exact for one in asked], questions, 0.0),
        share("answers, F1", [one.f1 for one in asked], questions, 0.0),
        share("the answer cited in its passage", [one.cited for one in asked], questions, 0.0),
        share(REFUSED, list(map(float, refused)), questions).model_copy(update={"ideal": 0.0}),
    ]
    few = sorted(one.there for one in asked)[int(FEW * len(asked))]
    for thresholds, how in (([one.threshold for one in asked], ""), ([few] * len(asked), ", 5 % of what is there too")):
        pairs = list(zip(asked, thresholds, strict=True))
        level = sum(one.there < threshold for one, threshold in pairs) / len(pairs)
        gone = [float(one.gone < threshold) for one, threshold in pairs]
        made.append(share(f"refused with its passages taken away{how}", gone, questions, level))
        near = [(one.question, float(one.spoilt < most)) for one, most in pairs if one.spoilt is not None]
        if near:
            spoilt = [value for _, value in near]
            made.append(share(f"refused with its sentence taken out{how}", spoilt, [one for one, _ in near], level))
    return made
