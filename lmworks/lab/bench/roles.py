"""One network in two roles, trained to label and trained to write, each asked to do all jobs. What claim 39 compares.

roles = Roles(data, learnt, epochs=6, rate=4e-3, seed=1)
roles.tell(texts), roles.writer.tell(texts)             # labels by either
roles.new_texts(30, changes=200, seed=1)                # texts of each class by either, and people's
roles.noticed(foreign_texts, seed=1)                    # who notices what is like nothing that was learnt
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from lmworks.evaluation.statistics import area_under_curve
from lmworks.lab.bench.class_writer import ClassWriter, vocab_with_classes
from lmworks.lab.bench.classes import Classed, Ids, LabelledTexts, trained
from lmworks.lab.bench.encoders import CONTEXT, small_network
from lmworks.lab.bench.new_texts import searched
from lmworks.lab.contrast import Condition
from lmworks.lab.metric import Metric
from lmworks.models.network import Network
from lmworks.training.settings import TrainingConfig

LABELLER, WRITER, PEOPLE = Condition.named("trained to label", "trained to write", "people")
AWAY = Metric("texts of another kind noticed", margin=0.02, chance=0.5, ideal=1.0)
DISORDER = Metric("tokens in no order noticed", margin=0.02, chance=0.5, ideal=1.0)
ROWS = 16


class Roles:
    """One fresh network of a collection, trained to label and, from the same weights, to write."""

    def __init__(self, data: Classed, learnt: LabelledTexts, epochs: int, rate: float, seed: int) -> None:
        steps = max(epochs * len(learnt) // ROWS, 2)
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
