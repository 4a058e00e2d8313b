"""An index tests itself: questions from its own documents, its settings chosen by them, and how well it does.

outcome = self_test(index)                     # some minutes; the index keeps what it found and searches by it
print(outcome.table)
figures = self_test(index, questions=100, keep=False).figures
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.grounding.index import Index
from lmworks.grounding.rerank import at_hand, reranker
from lmworks.grounding.self_test import figures
from lmworks.grounding.self_test.answering import asked_of
from lmworks.grounding.self_test.choosing import chosen_weight
from lmworks.grounding.self_test.outcome import SampleQuestion, SelfTestOutcome
from lmworks.grounding.self_test.questions import SelfTestQuestion, questions_of
from lmworks.grounding.self_test.trials import WEIGHTS, Trial, reranked_place, trials

Array = NDArray[np.float64]

QUESTIONS = 200
GAINED = "nDCG@10 gained by reranking"
ASKED = 60
"""Questions that are answered too, which takes longer than searching."""
COMPARED = 100
"""Questions whose passages a cross-encoder reads."""
LEAST = 20
"""Questions below which nothing is chosen: an interval would hold everything."""


def self_test(index: Index, questions: int = QUESTIONS, seed: int = 0, keep: bool = True) -> SelfTestOutcome:
    """Test an index with at most that many questions about its own documents; `keep` what is found in the index."""
    tried = list(trials(index, questions_of(index, seed, questions)))
    if len(tried) < 2:
        return _untested(index, seed, len(tried))
    weight = chosen_weight(tried)
    enough = len(tried) >= LEAST
    made, notes = _searched(tried, weight.judged, len(index)), _missing(tried)
    facts = [one.question for one in tried if one.question.kind == "fact"][:ASKED]
    asked = list(asked_of(index, facts)) if facts else []  # fetches the model that reranking wants, too
    reranked = _reranked(index, tried[:: max(1, len(tried) // COMPARED)], weight.kept)
    made += reranked + (figures.answered(asked) if asked else [])
    if not reranked:
        notes.append("no reranking: its model is not on this machine (lmworks models fetch reranker)")
    outcome = SelfTestOutcome(
        place=index.place,
        questions=len(tried),
        seed=seed,
        digest=index.digest,
        weight=WEIGHTS[weight.kept] if enough else None,
        rerank=enough and _helps(reranked),
        figures=[one.model_copy(update={"seeds": (seed,)}) for one in made],
        samples=[_sample(index, one, weight.kept) for one in _some(tried)],
        notes=notes,
    )
    if keep:
        index.keep_test(outcome.kept)
    return outcome


def _untested(index: Index, seed: int, count: int) -> SelfTestOutcome:
    why = (
        f"{len(index):,} passages give {count} question{'' if count == 1 else 's'}, and nothing can be measured with "
        "fewer than 2; sentences of 8 words and more, and headings, make questions"
    )
    return SelfTestOutcome(place=index.place, questions=count, seed=seed, digest=index.digest, notes=[why])


def _searched(tried: list[Trial], judged: NDArray[np.int64], chunks: int) -> list[Measurement]:
    """Figures of every way of searching; the hybrid one with the weight of the other half."""
    asked = [one.question for one in tried]
    places = np.stack([one.places for one in tried])
    hybrid = places[np.arange(len(tried)), judged]
    usual = places[:, WEIGHTS.index(0.5)]
    made = [
        *figures.found("keywords", places[:, 0], asked, chunks),
        *figures.found("vectors", places[:, -1], asked, chunks),
        *figures.found("hybrid", hybrid, asked, chunks),
        figures.gained(
            "nDCG@10 gained by the chosen weight",
            figures.gain(usual).tolist(),
            figures.gain(hybrid).tolist(),
            asked,
        ),
    ]
    copied = [(one, at) for one, at in zip(tried, judged, strict=True) if one.told is not None]
    if copied:
        told = [float(one.told[at]) for one, at in copied if one.told is not None]
        name = "the passage above a copy without its answer"
        made.append(figures.share(name, told, [one.question for one, _ in copied], 0.5))
    return made


def _reranked(index: Index, tried: list[Trial], weight: int) -> list[Measurement]:
    """Figures with a cross-encoder, and what it gains; none where it is not on this machine."""
    if not at_hand():
        return []
    asked, places, model = [one.question for one in tried], [], reranker()
    with progress.task("reranking", len(tried), "questions") as advance:
        for one in tried:
            places.append(reranked_place(index, one, weight, model))
            advance(1)
    after, before = np.array(places), np.array([one.places[weight] for one in tried])
    kinds = {one.kind for one in asked}
    return [
        *figures.found("reranked", after, asked, len(index)),
        figures.gained(GAINED, figures.gain(before).tolist(), figures.gain(after).tolist(), asked),
        *(_gained_by(kind, before, after, asked) for kind in sorted(kinds)),
    ]


def _gained_by(kind: str, before: Array, after: Array, asked: list[SelfTestQuestion]) -> Measurement:
    own = [at for at, one in enumerate(asked) if one.kind == kind]
    first, second = figures.gain(before[own]).tolist(), figures.gain(after[own]).tolist()
    return figures.gained(f"{GAINED}, of a {kind}", first, second, [asked[at] for at in own])


def _helps(made: list[Measurement]) -> bool:
    """Whether reranking is better beyond the interval in all, and worse for no kind of question."""
    gains = {one.name: one for one in made if one.name.startswith(GAINED)}
    if GAINED not in gains:
        return False
    whole = gains[GAINED].interval
    return whole is not None and whole[0] > 0 and all(one.value >= 0 for one in gains.values())


def _missing(tried: list[Trial]) -> list[str]:
    """What cannot be measured, or not well."""
    notes = []
    if len(tried) < LEAST:
        notes.append(f"{len(tried)} questions are too few to choose settings by; those of a new index stay")
    if len({one.question.passages[0].file for one in tried}) < 2:
        notes.append("all questions are of one document, so that intervals cannot be given")
    there = {one.question.kind for one in tried}
    if "heading" not in there:
        notes.append("no heading of two words or more with few passages: questions about a heading were not asked")
    if "fact" not in there:
        notes.append("no sentences of 8 words or more: answers and refusals were not tested")
    return notes


def _some(tried: list[Trial], count: int = 3) -> list[Trial]:
    """One of each kind where there is one."""
    kinds = list(dict.fromkeys(one.question.kind for one in tried))
    first = [next(one for one in tried if one.question.kind == kind) for kind in kinds]
    return [*first, *(one for one in tried if not any(one is other for other in first))][:count]


def _sample(index: Index, trial: Trial, weight: int) -> SampleQuestion:
    """What a person is shown of a question."""
    best = index.passage(trial.first[weight][0])
    right = trial.question.passages[0]
    place = float(trial.places[weight])
    return SampleQuestion(
        question=trial.question.text,
        kind=trial.question.kind,
        answer=trial.question.answer,
        right=right.file,
        found=best.file if best else "",
        text=" ".join((best.text if best else "").split())[:160],
        place=int(place) + 1,
    )
