"""Question 39: discriminative AI labels, generative AI creates; one network in both roles.

The same fresh network is trained twice on the same labelled texts, for as many steps: to tell the class of a text, and
to write a text given its class. Both do all jobs: labels (the writer by Bayes' rule), new texts of a class (the
labeller by a search for tokens of which it is sure), and noticing texts that are like none that were learnt.
"""

from __future__ import annotations

from statistics import fmean
from typing import Annotated

from pydantic import Field

from lmworks.lab.bench.classes import COLLECTIONS, collections, drawn, foreign, halves, judged_texts, right
from lmworks.lab.bench.new_texts import BITS, COPIED, TOLD, Judges
from lmworks.lab.bench.roles import AWAY, DISORDER, LABELLER, PEOPLE, WRITER, Roles
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Bars
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

CHANCE = Condition("chance")
LABELS = Metric("labels right", margin=0.02, ideal=1.0)


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
    headlines={
        "yyyy": "A network trained to label does that; one trained to write makes new texts of the class that is asked "
        "for, and knows how texts are spread."
    },
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
            roles = Roles(one, learnt, epochs, rate, seed)
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
