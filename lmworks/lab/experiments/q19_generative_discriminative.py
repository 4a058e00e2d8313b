"""Question 19: generative models of the joint probability beside discriminative ones of the conditional.

Five collections of texts with classes. Two pairs learn the same labels: naive Bayes and logistic regression, which see
the same counts of tokens, and n-grams of each class and a network with a classifier, which see their order. All are
asked for the classes of other texts, by how many labels they had. Then the n-gram models write new texts of each class,
which a judge that learnt from other texts tells apart, and are asked which texts are of no collection that they know.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Annotated, Any

from pydantic import Field

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import area_under_curve
from lmworks.evaluation.text_statistics import ngrams
from lmworks.generation.chooser import Chooser
from lmworks.generation.strategies import Sample
from lmworks.lab.bench.classes import (
    Classed,
    Ids,
    LabelledTexts,
    Teller,
    classed,
    drawn,
    generative,
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
from lmworks.models.relatives.generative import GenerativeClassifier
from lmworks.training.settings import TrainingConfig

BAYES, LOGISTIC, NGRAMS, NETWORK = LEARNERS = (
    "naive Bayes (generative)",
    "logistic regression (discriminative)",
    "n-grams of each class (generative)",
    "network (discriminative)",
)
COUNTS, ORDERED = (
    "discriminative minus generative, counts of tokens",
    "discriminative minus generative, tokens in order",
)
ACCURACY, TOLD = "accuracy", "told"
LEAST, MOST = "fewest labels", "most labels"
WRITTEN, REAL = "new texts told as their class", "real texts told as their class"
NOVEL, COPIED = "new runs of four tokens in new texts", "new texts that are copies"
BY_TEXT, BY_CLASS = "unseen texts noticed by p(text)", "unseen texts noticed by the likeliest class"
NOTICED = f"{BY_TEXT} minus {BY_CLASS}"
ORDER, RUN = 3, 4
"""The longest n-grams, and the tokens of a run that is looked for in the learnt texts."""
ROWS, LEAST_STEPS = 16, 60
NETWORKS: dict[str, Any] = {"context": CONTEXT, "rows": ROWS, "warmup": 0.1}
JUDGES = 1500
"""Labels that the judge of new texts learns from; no generator sees them."""


@experiment(
    question=19,
    claim="Generative models (e.g., GPT) model joint probabilities to create new data; discriminative models (e.g., "
    "BERT) model conditional probabilities to distinguish between classes (e.g., sentiment analysis).",
    rule=Rule(
        holds_if=(
            Check(f"{WRITTEN}, above chance", ">", 0),
            Check(NOTICED, ">", 0),
            Check(f"{COUNTS}, {MOST}", ">", 0),
        ),
        only_if=(
            (
                Check(f"{COUNTS}, {LEAST}", ">", 0),
                "there are many labels: from few a generative model tells classes as well or better",
            ),
            (
                Check(f"{ORDERED}, {MOST}", ">", 0),
                "the discriminative model is simple or pretrained: a network that has these labels alone is no better "
                "than n-grams of each class",
            ),
        ),
    ),
)
def roles(
    texts: Annotated[tuple[str, ...], Field(min_length=2)] = scaled(
        ("trec-train", "subjectivity"),
        ("trec-train", "sst2-train", "subjectivity", "sms-spam-labelled", "ag-news"),
    ),
    vocabulary: Count = 4096,
    labels: Annotated[tuple[Count, ...], Field(min_length=2)] = scaled((16, 128, 1024), (8, 32, 128, 512, 2048)),
    epochs: Count = 8,
    most_steps: Count = scaled(200, 300),
    rate: float = 3e-3,
    new: Count = scaled(20, 50),
    judged: Count = scaled(250, 600),
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Accuracy by labels; new texts of each class; texts of other collections noticed."""
    data = {name: classed(name, None, vocabulary, judged) for name in texts}
    accuracy: Accuracy = {}
    found: dict[str, dict[str, dict[int, float]]] = {}
    with progress.task("collections and seeds", len(data) * seeds, "runs") as advance:
        for (name, one), seed in itertools.product(data.items(), range(seeds)):
            with progress.hidden():  # a line for every model that is counted would be too much
                learnt, other = halves(one.train, seed)
                for count in labels:
                    few = drawn(learnt, count, seed)
                    steps = min(max(epochs * count // ROWS, LEAST_STEPS), most_steps)
                    model, tellers = _learnt(
                        few, one, TrainingConfig(**NETWORKS, steps=steps, learning_rate=rate, seed=seed)
                    )
                    for learner, tell in tellers.items():
                        accuracy.setdefault((name, count, learner), {})[seed] = share_right(tell, one.test)
                judge = logistic(drawn(other, min(JUDGES, len(other)), seed), one)
                unseen = one.read([text for home, away in data.items() if home != name for text in away.test.strings])
                asked = _written(model, one, few, judge, new, seed) | _noticed(model, tellers[LOGISTIC], one, unseen)
                for figure, value in asked.items():
                    found.setdefault(figure, {}).setdefault(name, {})[seed] = value
            advance(1)
    chances = {ACCURACY: [one.chance for one in data.values()], TOLD: [1 / len(one.names) for one in data.values()]}
    return Observation(
        measurements=(
            *_accuracies(accuracy, labels, fmean(chances[ACCURACY])),
            *_differences(accuracy, labels),
            *_creating(found, fmean(chances[TOLD])),
        ),
        chart=_chart(accuracy, labels, fmean(chances[ACCURACY])),
        note=NOTE,
    )


NOTE = (
    "Ng and Jordan 2002 (https://papers.nips.cc/paper/2020) is what is known of the first part: a generative model "
    "comes to its best with fewer labels, a discriminative one to a better best with more. Labels are drawn at random "
    "with at least one of each class; smoothing, the order of n-grams and the penalty are chosen by four-fold "
    "cross-validation among those labels, the network's rate and epochs on other seeds than these. The network has two "
    "layers and no pretraining, so it is no BERT. Figures without the name of a collection are means over collections. "
    "New texts are written by the n-grams of each class, equally many of each, and judged by logistic regression that "
    "learnt from texts that no generator saw; it reads no order of words, so it tells topics and not sense. p(text) is "
    "taken by token, over all classes; unseen texts are those of the other collections, among held-out texts of the "
    "one that was learnt. A discriminative model says nothing of how probable a text is; how sure it is of the "
    "likeliest class is what people take in its place."
)
Accuracy = dict[tuple[str, int, str], dict[int, float]]
"""By collection, labels and learner, then by seed."""


def _learnt(
    few: LabelledTexts, data: Classed, config: TrainingConfig
) -> tuple[GenerativeClassifier, dict[str, Teller]]:
    """The n-grams of each class, and all four learners, ready to tell classes."""
    _, by_bayes = generative(few, data, None)
    model, by_ngrams = generative(few, data, ORDER)
    network = small_network(data.tokenizer, config.seed, "encoder", labels=data.names)
    learners = (by_bayes, logistic(few, data), by_ngrams, trained(network, few, data, config))
    return model, dict(zip(LEARNERS, learners, strict=True))


def _written(
    model: GenerativeClassifier, data: Classed, learnt: LabelledTexts, judge: Teller, count: int, seed: int
) -> dict[str, float]:
    """So many new texts of each class: told by the judge as what they were written as, and not in what was learnt."""
    end = end_of(data.tokenizer)
    new = LabelledTexts([], [], [])
    for number, name in enumerate(data.names):
        for at in range(count):
            strategy = Chooser(Sample(seed=10_000 * seed + 100 * number + at))
            ids = model.generate(name, CONTEXT - 2, strategy.choose, {end})
            new.ids.append([one for one in ids if one != end])
            new.classes.append(number)
    real = [
        data.test.at([place for place, one in enumerate(data.test.classes) if one == number])
        for number in sorted(set(data.test.classes))
    ]
    known = set().union(*(ngrams(ids, RUN) for ids in learnt.ids))
    runs = [run for ids in new.ids for run in ngrams(ids, RUN).elements()]
    return {
        WRITTEN: share_right(judge, new),
        REAL: fmean(share_right(judge, one) for one in real),
        NOVEL: sum(run not in known for run in runs) / max(len(runs), 1),
        COPIED: fmean(ids in learnt.ids for ids in new.ids),
    }


def _noticed(model: GenerativeClassifier, tell: Teller, data: Classed, unseen: Sequence[Ids]) -> dict[str, float]:
    """How often a held-out text is more probable, or of a surer class, than one of another collection."""
    end = end_of(data.tokenizer)

    def by_text(texts: Sequence[Ids]) -> list[float]:
        return [model.log_probability([*ids, end]) / (len(ids) + 1) for ids in texts]

    return {
        BY_TEXT: area_under_curve(by_text(data.test.ids), by_text(unseen)).value,
        BY_CLASS: area_under_curve(tell(data.test.ids).max(1), tell(unseen).max(1)).value,
    }


def _mean(by_name: Iterable[Mapping[int, float]]) -> dict[int, float]:
    """The mean over collections, seed by seed."""
    each = list(by_name)
    return {seed: fmean(one[seed] for one in each) for seed in each[0]}


def _over_collections(accuracy: Accuracy, count: int, learner: str) -> dict[int, float]:
    return _mean(by_seed for (_, labels, who), by_seed in accuracy.items() if (labels, who) == (count, learner))


def _accuracies(accuracy: Accuracy, labels: Sequence[int], chance: float) -> list[Measurement]:
    return [
        measured(
            f"{ACCURACY}, {learner}, {count:,} labels",
            _over_collections(accuracy, count, learner),
            chance=chance,
            ideal=1.0,
        )
        for count, learner in itertools.product(labels, LEARNERS)
    ]


def _differences(accuracy: Accuracy, labels: Sequence[int]) -> list[Measurement]:
    """Discriminative minus generative, pair by pair, over all collections and in each."""
    rows = []
    pairs = {COUNTS: (LOGISTIC, BAYES), ORDERED: (NETWORK, NGRAMS)}
    for (name, (ours, other)), (which, count) in itertools.product(
        pairs.items(), ((LEAST, labels[0]), (MOST, labels[-1]))
    ):
        first, second = (_over_collections(accuracy, count, learner) for learner in (ours, other))
        rows.append(difference(f"{name}, {which}", first, second))
        rows += [
            difference(f"{name}, {which}, {home}", accuracy[home, count, ours], accuracy[home, count, other])
            for home in dict.fromkeys(home for home, _, _ in accuracy)
        ]
    return rows


def _creating(found: Mapping[str, Mapping[str, Mapping[int, float]]], chance: float) -> list[Measurement]:
    """What the generative models can besides."""
    mean = {figure: _mean(by_name.values()) for figure, by_name in found.items()}
    above = {seed: value - chance for seed, value in mean[WRITTEN].items()}
    return [
        *(measured(figure, mean[figure], chance=chance, ideal=1.0) for figure in (WRITTEN, REAL)),
        measured(f"{WRITTEN}, above chance", above, chance=0.0, difference=True),
        measured(NOVEL, mean[NOVEL]),
        measured(COPIED, mean[COPIED], ideal=0.0),
        *(
            measured(figure, mean[figure], "area under the curve", chance=0.5, ideal=1.0)
            for figure in (BY_TEXT, BY_CLASS)
        ),
        difference(NOTICED, mean[BY_TEXT], mean[BY_CLASS], "area under the curve"),
    ]


def _chart(accuracy: Accuracy, labels: Sequence[int], chance: float) -> Chart:
    def line(learner: str) -> Series:
        points = [measured(learner, _over_collections(accuracy, count, learner)) for count in labels]
        ends = [point.interval or (point.value, point.value) for point in points]
        return Series(
            name=learner,
            x=tuple(map(float, labels)),
            y=tuple(point.value for point in points),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
        )

    ends = (float(labels[0]), float(labels[-1]))
    return Chart(
        kind="line",
        title="Classes of texts told, by labels that were learnt from",
        x_label="labels",
        y_label=ACCURACY,
        log_x=True,
        series=(*map(line, LEARNERS), Series(name="chance", x=ends, y=(chance, chance))),
    )
