"""Two generative and two discriminative learners of classes, in pairs that see the same of a text. What claim 19
compares.

    model, tellers = learners(few, data, epochs=8, most_steps=300, rate=3e-3, seed=1)
    tellers[LOGISTIC](texts), model.log_probability(ids)
"""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.evaluation.statistics import area_under_curve
from lmworks.lab.bench.classes import Classed, Ids, LabelledTexts, Teller, generative, logistic, trained
from lmworks.lab.bench.encoders import CONTEXT, small_network
from lmworks.lab.bench.new_texts import ORDER
from lmworks.lab.bench.writers import end_of
from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Metric
from lmworks.models.relatives.generative import GenerativeClassifier
from lmworks.training.settings import TrainingConfig

BAYES, LOGISTIC, NGRAMS, NETWORK = LEARNERS = Condition.named(
    "naive Bayes (generative)",
    "logistic regression (discriminative)",
    "n-grams of each class (generative)",
    "network (discriminative)",
)
BY_TEXT, BY_CLASS = Condition.named("p(text)", "the likeliest class")
NOTICED = Metric("texts of other collections noticed", margin=0.02, chance=0.5, ideal=1.0)
ROWS, LEAST_STEPS = 16, 60


def learners(
    few: LabelledTexts, data: Classed, epochs: int, most_steps: int, rate: float, seed: int
) -> tuple[GenerativeClassifier, dict[Condition, Teller]]:
    """The n-grams of each class, and all four learners, ready to tell classes."""
    _, by_bayes = generative(few, data, None)
    model, by_order = generative(few, data, ORDER)
    steps = min(max(epochs * len(few) // ROWS, LEAST_STEPS), most_steps)
    config = TrainingConfig(context=CONTEXT, rows=ROWS, warmup=0.1, steps=steps, learning_rate=rate, seed=seed)
    network = small_network(data.tokenizer, seed, "encoder", labels=data.names)
    tellers = (by_bayes, logistic(few, data), by_order, trained(network, few, data, config))
    return model, dict(zip(LEARNERS, tellers, strict=True))


def noticed(
    model: GenerativeClassifier, tell: Teller, data: Classed, unseen: Sequence[Ids]
) -> dict[tuple[Condition, Metric], float]:
    """How often a judged text is more probable, or of a surer class, than one of another collection."""
    end = end_of(data.tokenizer)

    def by_text(texts: Sequence[Ids]) -> list[float]:
        return [model.log_probability([*ids, end]) / (len(ids) + 1) for ids in texts]

    return {
        (BY_TEXT, NOTICED): area_under_curve(by_text(data.test.ids), by_text(unseen)).value,
        (BY_CLASS, NOTICED): area_under_curve(tell(data.test.ids).max(1), tell(unseen).max(1)).value,
    }
