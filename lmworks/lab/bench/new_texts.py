"""New texts of a class, by models that write and by a search for what a labeller is sure of, and who judges them.

    judges = Judges.of(other, learnt, data, seed)       # learnt from texts that no writer saw
    judges.figures(by_ngrams(model, data, count=50, seed=1))

What claims 19 and 39 compare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from lmworks.evaluation.text_statistics import ngrams
from lmworks.generation.chooser import Chooser
from lmworks.generation.strategies import Sample
from lmworks.lab.bench.classes import Classed, Ids, LabelledTexts, Teller, drawn, logistic, share_right
from lmworks.lab.bench.encoders import CONTEXT
from lmworks.lab.bench.writers import end_of
from lmworks.lab.metric import Metric
from lmworks.models.relatives.generative import GenerativeClassifier
from lmworks.models.relatives.ngram import Ngram

TOLD = Metric("new texts told as their class", ideal=1.0)
BITS = Metric("new texts under a model of real ones", "bits/token")
NEW = Metric("runs of four tokens that are new")
COPIED = Metric("new texts that are copies", ideal=0.0, share=True)
LABELS, ORDER, FOUR, AT_ONCE = 1500, 3, 4, 3
"""Labels that the judge of classes learns from; the judge's longest n-grams; tokens of a run that is looked for in the
learnt texts; tokens that a search changes at once."""


@dataclass(frozen=True)
class Judges:
    """A classifier and an n-gram model of real texts, and what a writer learnt from."""

    tell: Teller
    likely: Ngram
    learnt: LabelledTexts
    end: int

    @classmethod
    def of(cls, other: LabelledTexts, learnt: LabelledTexts, data: Classed, seed: int) -> Judges:
        """Judges that learn from `other` texts than the writer, which `learnt` these."""
        end = end_of(data.tokenizer)
        likely = Ngram.train([[*ids, end] for ids in other.ids], data.tokenizer.vocab_size, ORDER)
        return cls(logistic(drawn(other, min(LABELS, len(other)), seed), data), likely, learnt, end)

    def figures(self, texts: LabelledTexts) -> dict[Metric, float]:
        """Class, likeness and novelty of texts, whoever wrote them."""
        logprobs = [self.likely.score([*ids, self.end]) for ids in texts.ids]
        known = set().union(*(ngrams(ids, FOUR) for ids in self.learnt.ids))
        runs = [run for ids in texts.ids for run in ngrams(ids, FOUR).elements()]
        return {
            TOLD: share_right(self.tell, texts),
            BITS: -float(np.concatenate(logprobs).mean()) / math.log(2),
            NEW: sum(run not in known for run in runs) / max(len(runs), 1),
            COPIED: fmean(ids in self.learnt.ids for ids in texts.ids),
        }


def by_ngrams(model: GenerativeClassifier, data: Classed, count: int, seed: int) -> LabelledTexts:
    """`count` texts of each class, drawn from the n-grams of that class."""
    end, new = end_of(data.tokenizer), LabelledTexts([], [], [])
    for number, name in enumerate(data.names):
        for at in range(count):
            choose = Chooser(Sample(seed=10_000 * seed + 100 * number + at)).choose
            ids = model.generate(name, CONTEXT - 2, choose, {end})
            new.ids.append([one for one in ids if one != end])
            new.classes.append(number)
    return new


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
