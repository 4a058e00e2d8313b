"""Texts with classes as token ids, and classifiers that learn from labels: what claims 19 and 39 compare and judge by.

    data = classed("trec-train", "trec-test")
    learnt = drawn(data.train, 200, seed=0)
    tell = logistic(learnt, data)
    share_right(tell, data.test), tell(data.test.ids).max(1)        # accuracy; how sure it is of each text

A classifier is a function from texts to the probability of every class. Its settings are chosen by cross-validation
within the labels that it learns from: it sees no others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from lmworks.basics.arrays import Float, Float64
from lmworks.basics.errors import DataError
from lmworks.inside.probes import logistic_regression
from lmworks.lab.bench.encoders import CONTEXT, prose
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.writers import end_of
from lmworks.models.network import Network, evaluating
from lmworks.models.relatives.generative import GenerativeClassifier
from lmworks.objectives import Classification
from lmworks.tokens.pairs import TextClasses
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.settings import TrainingConfig

Ids = list[int]
Probabilities = Float64[np.ndarray, "texts classes"]
Teller = Callable[[Sequence[Ids]], Probabilities]

COLLECTIONS = ("trec-train", "sst2-train", "subjectivity", "sms-spam-labelled", "ag-news")
"""What questions ask for, sentiment, opinion or report, spam, the topic of news."""
FOLDS = 4
SMOOTHING = (0.1, 0.3, 1.0)
PENALTIES = (1e-1, 1e-2, 1e-3)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, each with its ids and the number of its class."""

    strings: list[str]
    ids: list[Ids]
    classes: list[int]

    def at(self, places: Sequence[int]) -> LabelledTexts:
        """The texts at these places."""
        return LabelledTexts(
            [self.strings[place] for place in places],
            [self.ids[place] for place in places],
            [self.classes[place] for place in places],
        )

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Classed:
    """A text collection in lower case, with a WordPiece tokenizer of its own; all of it is cut at CONTEXT tokens."""

    tokenizer: Tokenizer
    names: tuple[str, ...]
    train: LabelledTexts
    test: LabelledTexts

    def read(self, strings: Sequence[str]) -> list[Ids]:
        """The ids of other texts, cut as these are."""
        return [
            ids[: CONTEXT - 2] for ids in self.tokenizer.encode_batch([one.lower() for one in strings], special=False)
        ]

    @property
    def chance(self) -> float:
        """The accuracy of always giving the most frequent class of the judged texts."""
        return float(np.bincount(self.test.classes).max()) / len(self.test)

    def written(self, ids: Sequence[int]) -> str:
        """The text of some ids."""
        return self.tokenizer.decode(ids)


def classed(reference: str, held_out: str | None = None, vocabulary: int = 4096, judged: int = 600) -> Classed:
    """Read data references of texts with a class; a tenth is held out unless another text is named, and of the
    held-out texts `judged` are used. The tokenizer is trained on the training texts without their classes."""
    text = prose(reference, held_out, vocabulary)
    names = tuple(sorted({one.pair[1] for one in text.documents["train"]}))

    data = Classed(text.tokenizer, names, LabelledTexts([], [], []), LabelledTexts([], [], []))
    kept = text.documents["held out"]
    # At random: collections may be in the order of their classes.
    chosen = random.Random("judged").sample(kept, min(judged, len(kept)))
    for side, documents in ((data.train, text.documents["train"]), (data.test, chosen)):
        side.strings.extend(one.pair[0] for one in documents)
        side.ids.extend(data.read(side.strings))
        side.classes.extend(names.index(one.pair[1]) for one in documents)
    return data


def collections(references: Sequence[str], vocabulary: int, judged: int) -> dict[str, Classed]:
    """Several collections by their references; all judge `judged` texts, so that each counts the same."""
    return {reference: classed(reference, None, vocabulary, judged) for reference in references}


def judged_texts(data: Mapping[str, Classed]) -> list[str]:
    """A name for each judged text of all collections, in order."""
    return [f"{home} {at}" for home, one in data.items() for at in range(len(one.test))]


def foreign(data: Mapping[str, Classed], home: str, count: int) -> list[Ids]:
    """`count` judged texts of the other collections, equally many of each, as one collection reads texts."""
    others = [one.test.strings for name, one in data.items() if name != home]
    each = max(count // len(others), 1)
    return data[home].read([text for strings in others for text in strings[:each]])


def halves(texts: LabelledTexts, seed: int) -> tuple[LabelledTexts, LabelledTexts]:
    """Two parts that share no text: one to learn from, one to train a judge on."""
    places = random.Random(f"halves/{seed}").sample(range(len(texts)), len(texts))
    middle = len(places) // 2
    return texts.at(places[:middle]), texts.at(places[middle:])


def drawn(texts: LabelledTexts, count: int, seed: int) -> LabelledTexts:
    """`count` random texts, at least one of each class among them; DataError where there are fewer."""
    if count > len(texts):
        raise DataError(f"{count:,} labels are asked for, and there are {len(texts):,} to learn from; ask for fewer")
    places = random.Random(f"labels/{seed}").sample(range(len(texts)), len(texts))
    first = {texts.classes[place]: place for place in reversed(places)}
    order = [*first.values(), *(place for place in places if place not in first.values())]
    return texts.at(order[: max(count, len(first))])


def right(tell: Teller, judged: LabelledTexts) -> list[float]:
    """1 for each text whose class is the likeliest, 0 for the others."""
    return (tell(judged.ids).argmax(1) == np.array(judged.classes)).astype(float).tolist()


def share_right(tell: Teller, judged: LabelledTexts) -> float:
    """The share of texts whose class is the likeliest."""
    return fmean(right(tell, judged))


def generative(learnt: LabelledTexts, data: Classed, order: int | None) -> tuple[GenerativeClassifier, Teller]:
    """A language model for each class: n-grams up to that order, over texts with their end; None for naive Bayes."""
    if order is None:
        return _naive_bayes(learnt, data, _chosen(SMOOTHING, _naive_bayes, learnt, data))
    return _n_grams(learnt, data, _chosen(range(1, order + 1), _n_grams, learnt, data))


def logistic(learnt: LabelledTexts, data: Classed) -> Teller:
    """Logistic regression on token counts."""
    return _logistic(learnt, data, _chosen(PENALTIES, lambda *given: (None, _logistic(*given)), learnt, data))


def trained(network: Network, learnt: LabelledTexts, data: Classed, config: TrainingConfig) -> Teller:
    """A network with a classifier, trained on the labels: a decoder classifies by its last token, an encoder by its
    first."""
    fit(network, Classification(), TextClasses(learnt.ids, learnt.classes, data.tokenizer, CONTEXT), config)

    @torch.inference_mode()
    def tell(texts: Sequence[Ids]) -> Probabilities:
        rows, found = TextClasses(texts, [0] * len(texts), data.tokenizer, CONTEXT), []
        with evaluating(network):
            for start in range(0, len(rows), 64):
                batch = rows.batch(range(start, min(start + 64, len(rows))))
                hidden = network.hidden(batch.tokens, documents=batch.documents)
                found.append(network.classify(hidden, batch.documents >= 0).double().softmax(1))
        return torch.cat(found).numpy()

    return tell


def bags(texts: Sequence[Ids], vocabulary: int) -> Float[Tensor, "texts vocab"]:
    """Token counts of each text, as a sparse matrix: ten times as fast to learn from."""
    rows = [row for row, ids in enumerate(texts) for _ in ids]
    places = torch.tensor([rows, [one for ids in texts for one in ids]], dtype=torch.long)
    shape = (len(texts), vocabulary)
    return torch.sparse_coo_tensor(places, torch.ones(len(rows)), shape, check_invariants=True).coalesce()


def _naive_bayes(learnt: LabelledTexts, data: Classed, smoothing: float) -> tuple[GenerativeClassifier, Teller]:
    labels = [data.names[one] for one in learnt.classes]
    model = GenerativeClassifier.train(learnt.ids, labels, data.tokenizer.vocab_size, smoothing=smoothing)
    return model, partial(_by_bayes, model, data, [])


def _n_grams(learnt: LabelledTexts, data: Classed, order: float) -> tuple[GenerativeClassifier, Teller]:
    labels, end = [data.names[one] for one in learnt.classes], end_of(data.tokenizer)
    texts = [[*ids, end] for ids in learnt.ids]
    model = GenerativeClassifier.train(texts, labels, data.tokenizer.vocab_size, order=int(order))
    return model, partial(_by_bayes, model, data, [end])


def _by_bayes(model: GenerativeClassifier, data: Classed, end: Ids, texts: Sequence[Ids]) -> Probabilities:
    joint = model.joint([[*ids, *end] for ids in texts])
    found = np.zeros((len(texts), len(data.names)))
    found[:, [data.names.index(label) for label in model.labels]] = torch.from_numpy(joint).softmax(1).numpy()
    return found


def _logistic(learnt: LabelledTexts, data: Classed, penalty: float) -> Teller:
    size = data.tokenizer.vocab_size
    weights, biases = logistic_regression(bags(learnt.ids, size), torch.tensor(learnt.classes), penalty)
    missing = len(data.names) - len(biases)

    def tell(texts: Sequence[Ids]) -> Probabilities:
        scores = bags(texts, size) @ weights.T + biases
        return np.pad(scores.double().softmax(1).numpy(), ((0, 0), (0, missing)))

    return tell


def _chosen(
    values: Sequence[float],
    fit: Callable[[LabelledTexts, Classed, float], tuple[object, Teller]],
    learnt: LabelledTexts,
    data: Classed,
) -> float:
    """The value with which three quarters of the labels predict the fourth best, over the four quarters."""

    def told(value: float) -> float:
        return fmean(share_right(fit(rest, data, value)[1], part) for rest, part in folds)

    parts = [range(start, len(learnt), FOLDS) for start in range(FOLDS)]
    folds = [
        (learnt.at([place for place in range(len(learnt)) if place not in part]), learnt.at(part)) for part in parts
    ]
    folds = [(rest, part) for rest, part in folds if len(set(rest.classes)) > 1 and len(part)]
    return max(values, key=told) if folds else values[len(values) // 2]
