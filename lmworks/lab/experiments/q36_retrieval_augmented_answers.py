"""Question 36: the steps of retrieval-augmented generation, each off and on.

The paragraphs of XQuAD are searched by keywords, by vectors, by both, and by both with a cross-encoder's order; then
the questions are answered: by a model that has read nothing of them, by the same model with what was found in front,
and by a reader of spans, with and without the step that refuses. Every question is asked once more with its paragraph
taken out of the index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lmworks.basics import progress
from lmworks.grounding.asking import ask
from lmworks.grounding.gate import Gate
from lmworks.grounding.heads.questions import questions
from lmworks.grounding.index import By, Index
from lmworks.grounding.reading import NearestSentence, reader_for
from lmworks.grounding.self_test.trials import gain
from lmworks.lab.bench.continuations import summed
from lmworks.lab.bench.paragraphs import ParagraphQuestion, indexed, place, says, some, with_all, without, written
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part, Requirement
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Several, scaled
from lmworks.language_model import LanguageModel

KEYWORDS, VECTORS, HYBRID, RERANKED, GUESS = Condition.named(
    "keywords", "vectors", "keywords and vectors", "with a cross-encoder's order", "guessing"
)
ALONE, FOUND, READ, NEAREST = Condition.named(
    "the model alone", "the model with what was found", "a reader of what was found", "the nearest sentence"
)
OPEN, GATED = Condition.named("answering always", "refusing where unsure")
FIRST = Metric("nDCG@10", margin=0.01, ideal=1.0, share=True)
RIGHT = Metric("F1 of the answers", margin=0.02, chance=0.0, ideal=1.0)
INVENTED = Metric("answered although the paragraph is gone", margin=0.02, ideal=0.0)
GIVEN = Metric("answered where the paragraph is there", margin=0.02, ideal=1.0)
WAYS: dict[Condition, tuple[By, bool]] = {
    KEYWORDS: ("keywords", False),
    VECTORS: ("vectors", False),
    HYBRID: ("hybrid", False),
    RERANKED: ("hybrid", True),
}
TOKENS = 24
"""Tokens that the model writes."""


@experiment(
    36,
    claim="Retrieval-augmented generation has three steps: retrieval (fetching documents using query embeddings), "
    "ranking (sorting documents by relevance), and generation (using the retrieved context for an accurate response).",
    parts=(
        Part("retrieval: a question's embedding fetches its paragraph", FIRST, VECTORS - GUESS, above=0),
        Part(
            "ranking: sorting what was found by relevance brings the right paragraph further up",
            *(FIRST, RERANKED - HYBRID),
            above=0,
            otherwise="the retrieval's own order is as good as that of a model made for ranking",
        ),
        Part("generation: with what was found a model answers more accurately", RIGHT, FOUND - ALONE, above=0),
    ),
    also=(
        Part(
            "embeddings fetch better than keywords",
            *(FIRST, VECTORS - KEYWORDS),
            above=0,
            otherwise="keywords fetch better than embeddings",
        ),
        Part("both together fetch better than embeddings", FIRST, HYBRID - VECTORS, above=0),
        Part("both together fetch better than keywords", FIRST, HYBRID - KEYWORDS, above=0),
        Part(
            "a reader that was trained for it takes better spans than the nearest sentence",
            RIGHT,
            READ - NEAREST,
            above=0,
        ),
        Part("a reader of spans answers better than a small model that writes", RIGHT, READ - FOUND, above=0),
        Part("a gate lowers the share of answers to what the documents do not say", INVENTED, GATED - OPEN, below=-0.5),
        Part("a gate leaves nine of ten answers that are there", GIVEN, GATED, above=0.9),
    ),
    requires=(Requirement("retrieval finds something at all", FIRST, KEYWORDS, above=0.3),),
    headlines={
        "yyy": "All three steps help: embeddings find the paragraph, ranking brings it further up, and "
        "answers come nearer to the right one."
    },
    picture=Bars((FIRST, RIGHT), of=(KEYWORDS, VECTORS, HYBRID, RERANKED, ALONE, FOUND, READ)),
    not_true_when="retrieval means embeddings alone: keywords find what they miss.",
    not_tested="large models, documents that contradict each other, questions that need several paragraphs.",
    note="Intervals are over articles. MiniLM's vectors and BM25 count half each; MS MARCO's MiniLM orders the first "
    "five; SmolLM2-135M writes a few words, with the first three passages or none in front. It may have read these "
    "articles in its training. Answers are judged on articles that the reader was not trained on, by F1 with the span "
    "that people marked: the nearest sentence and what the model writes are longer than it.",
)
def stages(
    run: Run,
    text: str = "xquad-en",
    trained_on: str = "squad2-half",
    model: str = "smollm2",
    searched: Several = scaled(80, 1190),
    answered: Several = scaled(24, 400),
) -> None:
    """nDCG of the right paragraph, F1 of the answer, and answers to what is not there, by the steps that are on."""
    known = {one.title for one in questions(trained_on)}
    for fixed in run.once():
        with indexed(text) as (index, asked):
            _log_searches(run, fixed, index, some(asked, searched))
            unseen = some([one for one in asked if one.title not in known], answered)
            _log_answers(run, fixed, index, unseen, LanguageModel.load(model))


def _log_searches(run: Run, fixed: None, index: Index, asked: Sequence[ParagraphQuestion]) -> None:
    titles = [one.title for one in asked]
    with progress.task("searching", len(WAYS) * len(asked), "questions") as advance:
        for condition, (by, rerank) in WAYS.items():
            places = []
            for one in asked:
                places.append(place(index, one, by, rerank))
                advance(1)
            _log(run, fixed, condition, FIRST, gain(np.array(places)).tolist(), titles)
    guess = float(gain(np.arange(10.0)).sum()) / len(index)
    _log(run, fixed, GUESS, FIRST, [guess] * len(asked), titles)


def _log_answers(run: Run, fixed: None, index: Index, asked: Sequence[ParagraphQuestion], model: LanguageModel) -> None:
    """Each question in each way; the reader's as if nothing were refused, and then what the gate lets pass."""
    titles, reader = [one.title for one in asked], reader_for(index, asked[0].text)
    nearest, gate = NearestSentence(index.embedder, index.language), Gate.of(index.tested, type(reader).__name__)
    ways: dict[Condition, Callable[[ParagraphQuestion], str]] = {
        ALONE: lambda one: written(model, one.text, [], TOKENS),
        FOUND: lambda one: written(model, one.text, [each.text for each in index.search(one.text, 3)], TOKENS),
        NEAREST: lambda one: says(ask(with_all(index), one.text, reader=nearest)),
    }
    with progress.task("answering", len(asked) * (len(ways) + 2), "questions") as advance:
        for condition, way in ways.items():
            values = []
            for one in asked:
                values.append(one.f1(way(one)))
                advance(1)
            _log(run, fixed, condition, RIGHT, values, titles)
        there, gone = [], []
        for one in asked:
            there.append(ask(with_all(index), one.text, reader=reader))
            gone.append(ask(without(index, one), one.text, reader=reader))
            advance(2)
    _log(run, fixed, READ, RIGHT, [one.f1(says(each)) for one, each in zip(asked, there, strict=True)], titles)
    for metric, answers in ((GIVEN, there), (INVENTED, gone)):
        passed = [float(each.confidence >= gate.threshold) for each in answers]
        _log(run, fixed, GATED, metric, passed, titles)
        _log(run, fixed, OPEN, metric, [1.0] * len(asked), titles)


def _log(
    run: Run, fixed: None, condition: Condition, metric: Metric, values: Sequence[float], titles: Sequence[str]
) -> None:
    """Values by article: questions on the same one are not independent."""
    run.log(fixed, condition, {metric: summed([[one, 1.0] for one in values], titles)}, list(dict.fromkeys(titles)))
