"""How often a classifier is right, and what guessing would reach."""

from __future__ import annotations

import tiny
from objectives.small_texts import tokenizer

from lmworks.evaluation.labels import accuracy
from lmworks.language_model import LanguageModel
from lmworks.models.families.bert import BERT
from lmworks.text.document import Document

LABELS = ("calm", "glad", "sad")


def classifier() -> LanguageModel:
    settings = {"vocab_size": tokenizer().vocab_size, "kv_heads": 4, "activation": "gelu", "pooler": True}
    return LanguageModel(tiny.network(family="bert", segments=2, labels=LABELS, **settings, **BERT.fixed), tokenizer())


def labelled(*labels: str) -> list[Document]:
    return [
        Document.conversation(
            [{"role": "user", "content": f"{at} words"}, {"role": "assistant", "content": one}], str(at)
        )
        for at, one in enumerate(labels)
    ]


def test_chance_is_always_naming_the_most_frequent_class():
    """Pitfall 34: with unequal classes that is more than one of as many as there are."""
    model, documents = classifier(), labelled(*["glad"] * 7, *["sad"] * 2, "calm")
    told = model.classify([document.pair[0] for document in documents])
    right = sum(one.label == document.pair[1] for one, document in zip(told, documents, strict=True))
    figure = accuracy(model, documents)
    assert (figure.chance, figure.n, figure.value) == (0.7, 10, right / 10)
    assert accuracy(model, labelled("glad", "glad", "glad", "sad")).chance == 0.75
