"""Question 39: discriminative AI labels, generative AI creates; one network in both roles.

The same fresh network is trained twice on the same labelled questions, for as many steps of as many texts: to tell the
class of a text, and to write a text given its class. Both do all three jobs: labels (the writer by Bayes' rule), new
texts of a class (the labeller by searching for tokens of which it is sure), and which texts are like none that were
learnt.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import area_under_curve
from lmworks.evaluation.text_statistics import ngrams
from lmworks.lab.bench.class_writer import ClassWriter, vocab_with_classes
from lmworks.lab.bench.classes import (
    Classed,
    Ids,
    LabelledTexts,
    Teller,
    classed,
    drawn,
    halves,
    logistic,
    share_right,
    trained,
)
from lmworks.lab.bench.encoders import CONTEXT, small_network
from lmworks.lab.bench.writers import end_of
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.network import Network
from lmworks.models.relatives.ngram import Ngram
from lmworks.training.settings import TrainingConfig

LABELLER, WRITER, PEOPLE = "trained to label", "trained to write", "people"
LABELS, TOLD, BITS = "labels right", "new texts told as their class", "bits per token of new texts"
AWAY, DISORDER = UNSEEN = ("texts of another kind noticed", "tokens in no order noticed")
NEW, COPIED, SURE = (
    "new runs of four tokens in new texts",
    "new texts that are copies",
    "how sure it is of its own texts",
)
MINUS = f"{LABELLER} minus {WRITER}"
RUN, AT_ONCE = 4, 3
"""Tokens of a run that is looked for in the learnt texts; tokens that a search changes at once."""
JUDGES = 1500
"""Labels that the judge of classes learns from."""
ROWS = 16
TRAINING: dict[str, Any] = {"context": CONTEXT, "rows": ROWS, "warmup": 0.1}
AREA = "area under the curve"


@experiment(
    question=39,
    claim="Discriminative AI predicts labels based on input features (conditional probabilities); generative AI "
    "creates new data by modeling the underlying distribution (joint probabilities).",
    rule=Rule(
        holds_if=(
            Check(f"{LABELS}, {LABELLER}, above chance", ">", 0),
            Check(f"{TOLD}, {WRITER}, above chance", ">", 0),
            Check(f"{BITS}, {MINUS}", ">", 0),
            Check(f"{DISORDER}, {MINUS}", "<", 0),
        ),
        only_if=(
            (
                Check(f"{LABELS}, {MINUS}", ">", 0),
                "labels are not said to need a discriminative model: by Bayes' rule the generative one tells them as "
                "well",
            ),
            (
                Check(f"{AWAY}, {MINUS}", "<", 0),
                "unseen texts are not told by their words: a labeller's doubt notices those as well",
            ),
        ),
    ),
)
def two_roles(
    text: str = "trec-train",
    away: str = "subjectivity",
    vocabulary: Count = 2048,
    labels: Count = scaled(800, 2400),
    epochs: Count = scaled(5, 7),
    rate: float = 4e-3,
    new: Count = scaled(20, 50),
    changes: Count = scaled(100, 300),
    judged: Count = scaled(200, 500),
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Labels, new texts and unseen texts, by what one network was trained for."""
    data = classed(text, None, vocabulary, judged)
    foreign = data.read(classed(away, None, vocabulary, judged).test.strings)
    found: dict[str, dict[int, float]] = {}
    for seed in range(seeds):
        mine, other = halves(data.train, seed)
        learnt = drawn(mine, labels, seed)
        steps = max(epochs * len(learnt) // ROWS, 2)
        config = TrainingConfig(**TRAINING, steps=steps, learning_rate=rate, seed=seed)
        tell = trained(_fresh(data, seed), learnt, data, config)
        writer = ClassWriter.trained(_fresh(data, seed), learnt, data, config)
        classes = [number for number in range(len(data.names)) for _ in range(new)]
        texts = {
            LABELLER: LabelledTexts([], searched(tell, data, classes, changes, seed), classes),
            WRITER: LabelledTexts([], writer.write(classes, seed), classes),
            PEOPLE: data.test,
        }
        figures = {
            f"{LABELS}, {LABELLER}": share_right(tell, data.test),
            f"{LABELS}, {WRITER}": share_right(writer.tell, data.test),
            f"{SURE}, {LABELLER}": float(tell(texts[LABELLER].ids)[range(len(classes)), classes].mean()),
            **_judged(texts, other, learnt, data, seed),
            **_noticed(tell, writer, data, foreign, seed),
        }
        for name, value in figures.items():
            found.setdefault(name, {})[seed] = value
    measurements = _table(found, data)
    return Observation(measurements=tuple(measurements), chart=_chart(measurements), note=NOTE)


NOTE = (
    "Both trainings begin with the same weights of a decoder of two layers and read the same texts as often, cut at 38 "
    "tokens. The writer predicts each token after a token for the class, and labels by the class under which the text "
    "is most probable. A labeller has no p(text): asked for a new one it begins with tokens drawn at random, as many "
    "as a real text has, and changes three at a time wherever that makes it surer of the class. New texts, equally "
    "many of each class, are judged by others that learnt from texts that neither saw: their class by logistic "
    "regression on counts of tokens, their likeness to questions by a trigram model in bits per token (real questions "
    "beside them). Unseen texts are sentences on films, and held-out questions with their tokens in random order; the "
    "writer notices them by p(text) per token, the labeller by how sure it is of the likeliest class. Networks so "
    "small write nothing that makes sense for long; what is compared is which role each training can fill."
)


def _fresh(data: Classed, seed: int) -> Network:
    return small_network(data.tokenizer, seed, "decoder", vocab_size=vocab_with_classes(data), labels=data.names)


def searched(tell: Teller, data: Classed, classes: Sequence[int], changes: int, seed: int) -> list[Ids]:
    """A text for each of these classes, as long as a real one: random tokens, changed again and again to whatever
    makes the teller surer."""
    draw = np.random.default_rng(seed)
    usual = [one for one in range(data.tokenizer.vocab_size) if one not in data.tokenizer.special]
    texts = [draw.choice(usual, max(len(data.test.ids[at % len(data.test)]), 1)) for at in range(len(classes))]
    rows = range(len(classes))
    sure = tell([text.tolist() for text in texts])[rows, classes]
    for _ in range(changes):
        others = [text.copy() for text in texts]
        for other in others:
            other[draw.integers(len(other), size=AT_ONCE)] = draw.choice(usual, AT_ONCE)
        surer = tell([text.tolist() for text in others])[rows, classes]
        texts = [new if better else old for old, new, better in zip(texts, others, surer > sure, strict=True)]
        sure = np.maximum(sure, surer)
    return [text.tolist() for text in texts]


def _judged(
    texts: Mapping[str, LabelledTexts], other: LabelledTexts, learnt: LabelledTexts, data: Classed, seed: int
) -> dict[str, float]:
    """Class, likeness and novelty of texts, by judges that learnt from other texts."""
    judge = logistic(drawn(other, min(JUDGES, len(other)), seed), data)
    end = end_of(data.tokenizer)
    likely = Ngram.train([[*ids, end] for ids in other.ids], data.tokenizer.vocab_size, order=3)
    known = set().union(*(ngrams(ids, RUN) for ids in learnt.ids))
    found: dict[str, float] = {}
    for who, each in texts.items():
        logprobs = [likely.score([*ids, end]) for ids in each.ids]
        runs = [run for ids in each.ids for run in ngrams(ids, RUN).elements()]
        found |= {
            f"{TOLD}, {who}": share_right(judge, each),
            f"{BITS}, {who}": -float(np.concatenate(logprobs).mean()) / math.log(2),
            f"{NEW}, {who}": sum(run not in known for run in runs) / max(len(runs), 1),
            f"{COPIED}, {who}": fmean(ids in learnt.ids for ids in each.ids),
        }
    return found


def _noticed(tell: Teller, writer: ClassWriter, data: Classed, foreign: Sequence[Ids], seed: int) -> dict[str, float]:
    """How often held-out texts are more probable, or of a surer class, than texts of another kind."""
    draw = random.Random(seed)
    unseen = {AWAY: foreign, DISORDER: [draw.sample(ids, len(ids)) for ids in data.test.ids]}
    known = {LABELLER: tell(data.test.ids).max(1), WRITER: writer.log_probability(data.test.ids)}
    return {
        f"{what}, {who}": area_under_curve(
            known[who], tell(texts).max(1) if who == LABELLER else writer.log_probability(texts)
        ).value
        for what, texts in unseen.items()
        for who in known
    }


def _table(found: Mapping[str, Mapping[int, float]], data: Classed) -> list[Measurement]:
    equal, size = 1 / len(data.names), math.log2(data.tokenizer.vocab_size)
    facts: dict[str, dict[str, Any]] = {
        LABELS: {"chance": data.chance, "ideal": 1.0},
        TOLD: {"chance": equal, "ideal": 1.0},
        BITS: {"unit": "bits", "chance": size},
        **{what: {"unit": AREA, "chance": 0.5, "ideal": 1.0} for what in UNSEEN},
        COPIED: {"ideal": 0.0},
    }
    return [
        *(measured(name, by_seed, **facts.get(name.rpartition(", ")[0], {})) for name, by_seed in found.items()),
        *(
            measured(
                f"{what}, {who}, above chance",
                {seed: value - chance for seed, value in found[f"{what}, {who}"].items()},
                chance=0.0,
                difference=True,
            )
            for what, who, chance in (
                (LABELS, LABELLER, data.chance),
                (LABELS, WRITER, data.chance),
                (TOLD, WRITER, equal),
            )
        ),
        *(
            difference(
                f"{what}, {MINUS}",
                found[f"{what}, {LABELLER}"],
                found[f"{what}, {WRITER}"],
                facts[what].get("unit", ""),
            )
            for what in (LABELS, TOLD, BITS, *UNSEEN)
        ),
    ]


def _chart(measurements: Sequence[Measurement]) -> Chart:
    """What each training is good for."""
    found = {one.name: one for one in measurements}
    jobs = (LABELS, TOLD, *UNSEEN)
    series = []
    for who in (LABELLER, WRITER):
        bars = [found[f"{job}, {who}"] for job in jobs]
        ends = [one.interval or (one.value, one.value) for one in bars]
        series.append(
            Series(
                name=who,
                x=tuple(map(float, range(len(jobs)))),
                y=tuple(one.value for one in bars),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            )
        )
    return Chart(
        kind="bars",
        title="One network, two trainings",
        x_label="asked for",
        y_label="share, or area under the curve",
        categories=jobs,
        series=tuple(series),
    )
