"""How often a classifier names the right class of a text; chance is always naming the most frequent one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lmworks.evaluation import statistics
from lmworks.evaluation.measurement import Measurement
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document
from lmworks.tokens.pairs import require_labels


def accuracy(model: LanguageModel, documents: Sequence[Document]) -> Measurement:
    """The share of labelled texts whose class is named; texts that are longer than the model reads are cut.

    DataError for a document that is no text with its label, and for a label that the model does not know.
    """
    pairs = [document.pair for document in documents]
    require_labels([label for _, label in pairs], model.config.labels, "model")
    told = model.classify([text for text, _ in pairs], cut=True)
    right = sum(one.label == label for one, (_, label) in zip(told, pairs, strict=True))
    estimate = statistics.proportion(right, len(pairs))
    return Measurement(
        name="classes",
        value=estimate.value,
        unit="right",
        interval=estimate.interval,
        n=len(pairs),
        seeds=(0,),
        chance=Counter(label for _, label in pairs).most_common(1)[0][1] / len(pairs),
        ideal=1.0,
    )
