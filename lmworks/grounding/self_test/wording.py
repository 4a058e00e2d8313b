"""Other words for a sentence, so that a question made from it does not simply repeat it.

People ask in their own words: a question that keeps the words of the text is found by keywords alone and tells nothing.
So words without content are left out, some others go, and some are replaced by a near one: a word of the same
documents whose entry in the embedder's table of tokens is nearest. How many: as keywords and vectors share the finding
of real questions (SQuAD's) in about the same way.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from lmworks.grounding.terms import terms
from lmworks.grounding.words import content
from lmworks.language_model import LanguageModel
from lmworks.text.words import WORD as SINGLE
from lmworks.text.words import in_letters

WORD = re.compile(rf"{SINGLE.pattern}(?:['’.-]{SINGLE.pattern})*")
KEPT, REPLACED = 0.8, 0.5
"""The share of content words that stay in a question, and of those the share that another word stands for."""
VOCABULARY = 5000
"""Words that others are replaced by, at most: the commonest."""
NEAREST = 8
"""Near words that are looked at for one with another stem."""


def reworded(words: Iterable[str], language: str, near: Mapping[str, str], draw: random.Random) -> list[str]:
    """Content words in their order, some left out and some replaced; at least two where there are two."""
    own = [word for word in words if _says_something(word, language)]
    kept = [word for word in own if draw.random() < KEPT]
    return [near.get(word.casefold(), word) if draw.random() < REPLACED else word for word in _enough(kept, own)]


def _enough(kept: list[str], own: list[str]) -> list[str]:
    return kept if len(kept) >= 2 else own[:2]


def _says_something(word: str, language: str) -> bool:
    return content(f"{word} 0", language) != ["0"]  # it never gives back nothing, so that a number stands beside


def near_words(texts: Iterable[str], wanted: Iterable[str], embedder: LanguageModel, language: str) -> dict[str, str]:
    """For each wanted word (in lower case) one of the texts' that is near it and has another stem, if there is one."""
    counts = Counter(word.casefold() for text in texts for word in WORD.findall(text))
    usual = (word for word, count in counts.most_common() if count > 1 and len(word) > 2 and in_letters(word))
    known = [word for word in usual if _says_something(word, language)][:VOCABULARY]
    asked = sorted({word.casefold() for word in wanted if in_letters(word)})
    if len(known) < 2 or not asked:
        return {}
    table = embedder.network.embedding.weight.detach().float().cpu().numpy()
    middle = table.mean(axis=0)
    there, here = (_vectors(words, embedder, table - middle) for words in (known, asked))
    near: dict[str, str] = {}
    for word, scores in zip(asked, here @ there.T, strict=True):
        stem = terms(word, language)
        others = (known[at] for at in np.argsort(-scores, kind="stable")[:NEAREST])
        found = next((one for one in others if terms(one, language) != stem), None)
        if found is not None:
            near[word] = found
    return near


def _vectors(words: list[str], embedder: LanguageModel, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean entry of each word's tokens, of length 1."""
    ids = embedder.tokenizer.encode_batch(words, special=False)
    means = np.stack([table[list(one)].mean(axis=0) if len(one) else np.zeros(table.shape[1]) for one in ids])
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9), np.float32)
