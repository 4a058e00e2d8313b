"""Question 39: discriminative AI labels, generative AI creates; one network in both roles.

The same fresh network is trained twice on the same labelled texts, for as many steps: to tell the class of a text, and
to write a text given its class. Both do all jobs: labels (the writer by Bayes' rule), new texts of a class (the
labeller by a search for tokens of which it is sure), and noticing texts that are like none that were learnt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field

from lmworks.evaluation.statistics import area_under_curve
from lmworks.lab.bench.class_writer import ClassWriter, vocab_with_classes
from lmworks.lab.bench.classes import (
    COLLECTIONS,
    Classed,
    Ids,
    LabelledTexts,
    collections,
    drawn,
    foreign,
    halves,
    judged_texts,
    right,
    trained,
)
from lmworks.lab.bench.encoders import CONTEXT, small_network
from lmworks.lab.bench.new_texts import BITS, COPIED, TOLD, Judges, searched
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled
from lmworks.models.network import Network
from lmworks.training.settings import TrainingConfig

LABELLER, WRITER, PEOPLE, CHANCE = Condition.named("trained to label", "trained to write", "people", "chance")
LABELS = Metric("labels right", margin=0.02, ideal=1.0)
AWAY = Metric("texts of another kind noticed", margin=0.02, chance=0.5, ideal=1.0)
DISORDER = Metric("tokens in no order noticed", margin=0.02, chance=0.5, ideal=1.0)
ROWS = 16


@experiment(
    39,
    claim="Discriminative AI predicts labels based on input features (conditional probabilities); generative AI "
    "creates new data by modeling the underlying distribution (joint probabilities).",
    parts=(
        Part("a network that is trained to label predicts labels", LABELS, LABELLER - CHANCE, above=0),
        Part(
            "a network that is trained to write creates new texts of the class it is asked for",
            *(TOLD, WRITER - CHANCE),
            above=0,
        ),
        Part(
            "the writer's texts are likelier, to a model of real ones, than what a search finds the labeller surest of",
            *(BITS, WRITER - LABELLER),
            below=0,
        ),
        Part(
            "the writer models how texts are distributed, and the labeller does not: it tells better whether tokens "
            "are in order",
            *(DISORDER, WRITER - LABELLER),
            above=0,
        ),
    ),
    also=(
        Part(
            "the labeller gets more labels right than the writer",
            *(LABELS, LABELLER - WRITER),
            above=0,
            otherwise="by Bayes' rule the generative network tells labels as well",
        ),
        Part(
            "texts of another kind are noticed better by the writer",
            *(AWAY, WRITER - LABELLER),
            above=0,
            otherwise="a labeller's doubt notices texts of another kind as well",
        ),
        Part("fewer than one in twenty of the writer's texts is a copy", COPIED, WRITER, below=0.05),
    ),
    picture=Bars((LABELS, TOLD, AWAY, DISORDER), of=(LABELLER, WRITER), title="One network, two trainings"),
    not_true_when="labels are wanted of a model that writes: Bayes' rule gives them",
    not_tested="large or pretrained models; whether what is written makes sense.",
    note="Means over five collections (questions, sentiment, opinion, spam, news). Both trainings begin with the same "
    "decoder of two layers and read the same texts as often. The writer predicts each token after one for the class. A "
    "labeller has no p(text): it begins with random tokens and changes three wherever that makes it surer. New texts "
    "are judged by logistic regression and trigrams that learnt from other texts. Noticed: the share of pairs in which "
    "the known text is more probable (writer) or of a surer class (labeller).",
    minutes=45,
)
def two_roles(
    run: Run,
    texts: Annotated[tuple[str, ...], Field(min_length=2)] = COLLECTIONS,
    vocabulary: Count = 2048,
    labels: Count = scaled(300, 1000),
    epochs: Count = scaled(4, 6),
    rate: float = 4e-3,
    new: Count = scaled(6, 30),
    changes: Count = scaled(20, 200),
    judged: Count = scaled(100, 400),
) -> None:
    """Labels, new texts and unseen texts, by what one network was trained for."""
    data = collections(texts, vocabulary, judged)
    for fixed in run.once():
        chance = {LABELS: fmean(one.chance for one in data.values())}
        run.log(fixed, CHANCE, chance | {TOLD: fmean(1 / len(one.names) for one in data.values())})
    for seed in run.seeds:
        hits: dict[Condition, list[float]] = {LABELLER: [], WRITER: []}
        figures: dict[Condition, dict[Metric, list[float]]] = {LABELLER: {}, WRITER: {}, PEOPLE: {}}
        for home, one in data.items():
            mine, other = halves(one.train, seed)
            learnt = drawn(mine, labels, seed)
            roles = Roles(one, learnt, max(epochs * len(learnt) // ROWS, 2), rate, seed)
            hits[LABELLER] += right(roles.tell, one.test)
            hits[WRITER] += right(roles.writer.tell, one.test)
            judges = Judges.of(other, learnt, one, seed)
            written = {who: judges.figures(new_) for who, new_ in roles.new_texts(new, changes, seed).items()}
            noticed = roles.noticed(foreign(data, home, judged), seed)
            for who, found in figures.items():
                for metric, value in (written[who] | noticed.get(who, {})).items():
                    found.setdefault(metric, []).append(value)
        for who, found in figures.items():
            run.log(seed, who, {metric: fmean(values) for metric, values in found.items()})
        for who, each in hits.items():
            run.log(seed, who, {LABELS: each}, items=judged_texts(data))


class Roles:
    """One fresh network of a collection, trained to label and, from the same weights, to write."""

    def __init__(self, data: Classed, learnt: LabelledTexts, steps: int, rate: float, seed: int) -> None:
        config = TrainingConfig(context=CONTEXT, rows=ROWS, warmup=0.1, steps=steps, learning_rate=rate, seed=seed)
        self.data = data
        self.tell = trained(self._fresh(seed), learnt, data, config)
        self.writer = ClassWriter.trained(self._fresh(seed), learnt, data, config)

    def _fresh(self, seed: int) -> Network:
        size = vocab_with_classes(self.data)
        return small_network(self.data.tokenizer, seed, "decoder", vocab_size=size, labels=self.data.names)

    def new_texts(self, count: int, changes: int, seed: int) -> dict[Condition, LabelledTexts]:
        """`count` texts of each class, by either; and texts of people."""
        classes = [number for number in range(len(self.data.names)) for _ in range(count)]
        found = searched(self.tell, self.data, classes, changes, seed)
        return {
            LABELLER: LabelledTexts([], found, classes),
            WRITER: LabelledTexts([], self.writer.write(classes, seed), classes),
            PEOPLE: self.data.test,
        }

    def noticed(self, away: Sequence[Ids], seed: int) -> dict[Condition, dict[Metric, float]]:
        """How often judged texts are more probable, or of a surer class, than others and than their own tokens in
        random order."""
        draw, known = random.Random(seed), self.data.test.ids
        unseen = {AWAY: away, DISORDER: [draw.sample(ids, len(ids)) for ids in known]}
        measures = {LABELLER: lambda texts: self.tell(texts).max(1), WRITER: self.writer.log_probability}
        return {
            who: {metric: area_under_curve(of(known), of(others)).value for metric, others in unseen.items()}
            for who, of in measures.items()
        }
