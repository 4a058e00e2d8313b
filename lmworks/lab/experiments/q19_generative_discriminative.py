"""Question 19: generative models of the joint probability beside discriminative ones of the conditional.

Five collections of texts with classes. Two pairs learn the same labels: naive Bayes and logistic regression, which see
the same counts of tokens, and n-grams of each class and a network with a classifier, which see their order. The n-grams
write new texts of each class, which a judge that learnt from other texts tells apart; all tell the classes of texts.
"""

from __future__ import annotations

import itertools
from statistics import fmean
from typing import Annotated

from pydantic import Field

from lmworks.basics import progress
from lmworks.lab.bench.classes import COLLECTIONS, collections, drawn, foreign, halves, judged_texts, right
from lmworks.lab.bench.learners import (
    BAYES,
    BY_CLASS,
    BY_TEXT,
    LEARNERS,
    LOGISTIC,
    NETWORK,
    NGRAMS,
    NOTICED,
    learners,
    noticed,
)
from lmworks.lab.bench.new_texts import COPIED, TOLD, Judges, by_ngrams
from lmworks.lab.contrast import Condition
from lmworks.lab.experiment import experiment
from lmworks.lab.metric import Metric
from lmworks.lab.parts import Part
from lmworks.lab.pictures import Lines
from lmworks.lab.run import Run
from lmworks.lab.scale import Count, scaled

PEOPLE, CHANCE = Condition.named("people", "chance")
ACCURACY = Metric("classes of texts told", margin=0.02, ideal=1.0)
FEWEST, MOST = "fewest labels", "most labels"


@experiment(
    19,
    claim="Generative models (e.g., GPT) model joint probabilities to create new data; discriminative models (e.g., "
    "BERT) model conditional probabilities to distinguish between classes (e.g., sentiment analysis).",
    parts=(
        Part("a generative model creates new texts of the class it is asked for", TOLD, NGRAMS - CHANCE, above=0),
        Part("fewer than one in twenty of a generative model's new texts is a copy", COPIED, NGRAMS, below=0.05),
        Part(
            "a generative model knows how probable a text is: it notices texts of other collections better than "
            "a discriminative one",
            *(NOTICED, BY_TEXT - BY_CLASS),
            above=0,
        ),
        Part(
            "a discriminative model tells classes apart, from counts of tokens",
            *(ACCURACY, LOGISTIC[MOST] - CHANCE),
            above=0,
        ),
        Part(
            "a discriminative network tells classes apart, from tokens in their order",
            ACCURACY,
            NETWORK[MOST] - CHANCE,
            above=0,
        ),
    ),
    also=tuple(
        Part(
            f"{first} tells classes better than {second} from the {count}",
            *(ACCURACY, one[count] - other[count]),
            above=0,
            otherwise="a generative model tells classes as well or better",
        )
        for first, second, one, other in (
            ("logistic regression", "naive Bayes", LOGISTIC, BAYES),
            ("a network", "n-grams of each class", NETWORK, NGRAMS),
        )
        for count in (FEWEST, MOST)
    ),
    picture=Lines(ACCURACY, of=(*LEARNERS, CHANCE), x="labels", title="Classes told, by labels", log_x=True),
    not_true_when="it is read as a division of labour: by Bayes' rule generative models tell classes too, from few "
    "labels often better (Ng and Jordan 2002)",
    headlines={
        "yyyyy": "What models whole texts writes new ones of a class and notices foreign ones; what models labels "
        "tells classes apart."
    },
    not_tested="GPT and BERT themselves: all models here are small and learn from these labels alone.",
    note="Means over five collections (questions, sentiment, opinion, spam, news). Settings are chosen by four-fold "
    "cross-validation among the labels that are learnt from. New texts are judged by logistic regression that learnt "
    "from texts that no writer saw; it reads no order, so it tells topics and not sense. Noticed: the share of pairs "
    "of a known text and a foreign one in which the known one has the higher p(text) by token, or the surer class. Ng "
    "and Jordan 2002: https://papers.nips.cc/paper/2020.",
    minutes=45,
)
def roles(
    run: Run,
    texts: Annotated[tuple[str, ...], Field(min_length=2)] = COLLECTIONS,
    vocabulary: Count = 4096,
    labels: Annotated[tuple[Count, ...], Field(min_length=2)] = scaled((16, 64, 256), (16, 128, 1024)),
    most_steps: Count = scaled(80, 300),
    epochs: Count = 8,
    rate: float = 3e-3,
    new: Count = scaled(10, 50),
    judged: Count = scaled(100, 400),
) -> None:
    """Classes told by labels; new texts of each class; texts of other collections noticed."""
    data = collections(texts, vocabulary, judged)
    for fixed in run.once():
        run.log(fixed, CHANCE, {ACCURACY: fmean(one.chance for one in data.values())})
        run.log(fixed, CHANCE, {TOLD: fmean(1 / len(one.names) for one in data.values())})
    for seed in run.seeds:
        hits: dict[Condition, list[float]] = {}
        figures: dict[tuple[Condition, Metric], list[float]] = {}
        with progress.hidden():  # a line for every model that is counted would be too much
            for home, one in data.items():
                mine, other = halves(one.train, seed)
                for count in labels:
                    few = drawn(mine, count, seed)
                    model, tellers = learners(few, one, epochs, most_steps, rate, seed)
                    for learner, tell in tellers.items():
                        hits.setdefault(learner[count], []).extend(right(tell, one.test))
                judges = Judges.of(other, few, one, seed)
                found = {
                    (NGRAMS, metric): value
                    for metric, value in judges.figures(by_ngrams(model, one, new, seed)).items()
                }
                found |= {(PEOPLE, metric): value for metric, value in judges.figures(one.test).items()}
                found |= noticed(model, tellers[LOGISTIC], one, foreign(data, home, 4 * judged))
                for at, value in found.items():
                    figures.setdefault(at, []).append(value)
        for (who, metric), values in figures.items():
            run.log(seed, who, {metric: fmean(values)})
        for learner, count in itertools.product(LEARNERS, labels):
            run.log(seed, learner[count], {ACCURACY: fmean(hits[learner[count]])})
        for learner, (which, count) in itertools.product(LEARNERS, ((FEWEST, labels[0]), (MOST, labels[-1]))):
            run.log(seed, learner[which], {ACCURACY: hits[learner[count]]}, items=judged_texts(data))
