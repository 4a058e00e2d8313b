"""A generative classifier: a language model for each class, turned around by Bayes' rule.

    model = GenerativeClassifier.train(texts, labels, vocab_size)            # naive Bayes: tokens without an order
    model = GenerativeClassifier.train(texts, labels, vocab_size, order=3)   # n-grams of each class
    model.posterior(ids)                # {"spam": 0.98, "ham": 0.02}, the likeliest first
    model.log_probability(ids)          # log p(text) over all classes: low where a text looks like none of them
    model.generate("spam", 40, Chooser(Sample(seed=1)).choose, stop={tokenizer.eos})

log p(class, text) = log p(class) + log p(text | class). Texts are token ids of any tokenizer; p(text) is a probability
among all texts where each text that is learnt ends in an end token, and among those of its length where none does.
Naive Bayes is the case in which p(text | class) is a product over tokens: an n-gram model of order 1 with counts
smoothed by addition. Sources: McCallum and Nigam 1998, "A comparison of event models for naive Bayes text
classification" (the multinomial one); Peng, Schuurmans and Wang 2004,
https://doi.org/10.1023/B:INRT.0000011209.19643.e2 (n-gram models of each class).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import numpy as np

from lmworks.basics.arrays import Float, Float64
from lmworks.basics.errors import ConfigError, DataError
from lmworks.models.relatives.ngram import Ids, Level, Ngram


class GenerativeClassifier:
    """p(class) and p(text | class) for every class."""

    def __init__(self, models: dict[str, Ngram], prior: dict[str, float]) -> None:
        self.models, self.prior = models, prior

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in order; the columns of `joint`."""
        return tuple(self.models)

    @classmethod
    def train(
        cls,
        texts: Sequence[Ids],
        labels: Sequence[str],
        vocab_size: int,
        *,
        order: int | None = None,
        smoothing: float = 1.0,
    ) -> GenerativeClassifier:
        """Learn from texts with a label each. With `order`, Kneser-Ney n-grams of that length; without, naive Bayes
        with `smoothing` added to every count.

        Raises DataError for labels that are not one a text, or all the same, for a class without a token and for
        foreign ids; ConfigError for an impossible order or smoothing.
        """
        if len(texts) != len(labels):
            raise DataError(f"there are {len(texts):,} texts and {len(labels):,} labels; give one label a text")
        if len(set(labels)) < 2:
            raise DataError(f"all {len(labels):,} texts have one label; give texts of two classes or more")
        models, prior = {}, {}
        for label in sorted(set(labels)):
            own = [text for text, other in zip(texts, labels, strict=True) if other == label]
            if not any(map(len, own)):
                raise DataError(f"no text of the class {label!r} holds a token; give one that does, or leave it out")
            prior[label] = len(own) / len(labels)
            models[label] = (
                counted(own, vocab_size, smoothing) if order is None else Ngram.train(own, vocab_size, order)
            )
        return cls(models, prior)

    def joint(self, texts: Sequence[Ids]) -> Float64[np.ndarray, "texts classes"]:
        """log p(class, text) of each text and class."""
        return np.array(
            [
                [np.log(self.prior[label]) + model.score(ids).sum() for label, model in self.models.items()]
                for ids in texts
            ]
        ).reshape(len(texts), len(self.models))

    def log_probability(self, ids: Ids) -> float:
        """log p(text): of its being written at all, under whatever class."""
        return float(np.logaddexp.reduce(self.joint([ids])[0]))

    def posterior(self, ids: Ids) -> dict[str, float]:
        """p(class | text) of each class, the likeliest first."""
        (joint,) = self.joint([ids])
        share = np.exp(joint - np.logaddexp.reduce(joint))
        return dict(sorted(zip(self.labels, share.tolist(), strict=True), key=lambda one: -one[1]))

    def generate(
        self,
        label: str,
        tokens: int,
        choose: Callable[[Float[np.ndarray, " vocab"]], int],
        stop: Container[int] = (),
    ) -> list[int]:
        """A new text of a class: up to `tokens` ids, each by `choose`; a token of `stop` is the last one."""
        if label not in self.models:
            raise ConfigError(f"{label!r} is no class of the classifier; it has {', '.join(self.labels)}")
        return self.models[label].generate([], tokens, choose, stop)


def counted(documents: Sequence[Ids], vocab_size: int, smoothing: float) -> Ngram:
    """Single tokens by their counts plus `smoothing`, as an n-gram model of order 1; ConfigError unless it is above
    0."""
    if not 0 < smoothing < float("inf"):
        raise ConfigError(f"smoothing is {smoothing}; give a number above 0, such as 1")
    plain = Ngram.train(documents, vocab_size, order=1)  # checks the ids
    counts = np.bincount(np.concatenate([np.asarray(ids, dtype=np.int64) for ids in documents]), minlength=vocab_size)
    probability = (counts + smoothing) / (counts.sum() + smoothing * vocab_size)
    level = Level(plain.levels[0].keys, np.append(probability, 0.0).astype(np.float32), plain.levels[0].backoff)
    return Ngram([level], vocab_size, plain.discounts)
