"""Continuations of real text, by a model and by the people who wrote it: what experiments on sampling compare."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, stdev

import numpy as np

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.text_statistics import distinct_n, repeated
from lmworks.generation.scoring import token_logprobs
from lmworks.generation.strategies import Sample, Strategy
from lmworks.lab.metric import Array, Metric
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document


@dataclass(frozen=True)
class Continuation:
    """What came after a prompt."""

    tokens: list[int]
    logprobs: list[float]
    """Of each token under the model at temperature 1, whoever wrote the text."""

    @property
    def surprise(self) -> float:
        """Bits per token."""
        return -fmean(self.logprobs) / math.log(2)


@dataclass(frozen=True)
class Excerpt:
    """A prompt from a real text, and how the text goes on."""

    prompt: str
    ids: list[int]
    """The prompt's tokens."""
    human: Continuation


def excerpts(
    model: LanguageModel, documents: Sequence[Document], count: int, seed: int, prompt: int, length: int
) -> list[Excerpt]:
    """`count` pieces from random places of the documents; prompt and continuation have these many tokens.

    Raises DataError if the documents do not hold that many without overlap.
    """
    with progress.task("scoring the human text", count, "texts") as advance:
        found = []
        for excerpt in islice(_pieces(model, documents, seed, prompt, length), count):
            found.append(excerpt)
            advance(1)
    if len(found) < count:
        raise DataError(
            f"the text holds {len(found)} pieces of {prompt + length} tokens, and {count} are asked for; give a longer "
            "text, or fewer or shorter pieces"
        )
    return found


def _pieces(
    model: LanguageModel, documents: Sequence[Document], seed: int, prompt: int, length: int
) -> Iterator[Excerpt]:
    """All pieces without overlap, in an order of the seed."""
    size = prompt + length
    places = [
        (at, start) for at, document in enumerate(documents) for start in range(0, len(document.text) // 3 - size, size)
    ]  # a token has 3 letters or more
    random.Random(seed).shuffle(places)
    encoded: dict[int, list[int]] = {}
    for at, start in places:
        if at not in encoded:
            encoded[at] = model.tokenizer.encode(documents[at].text, special=False)
        ids = encoded[at][start : start + size]
        text = model.tokenizer.decode(ids[:prompt])
        # Cut in the middle of a word, a prompt may come back from its text as other tokens.
        if len(ids) == size and model.encode_prompt(text) == ids[:prompt]:
            logprobs = token_logprobs(model.runner, ids, size + 1)[prompt - 1 :]
            yield Excerpt(text, ids[:prompt], Continuation(ids[prompt:], logprobs))


def sampled(
    model: LanguageModel, texts: Sequence[Excerpt], strategy: Strategy, seed: int, length: int
) -> list[Continuation]:
    """The model's continuation of each piece, each with its own random numbers."""
    strategies = seeded_strategies(strategy, seed, len(texts))
    answers = model.generate_batch([excerpt.prompt for excerpt in texts], strategies, max_new_tokens=length)
    return [Continuation(answer.tokens, answer.logprobs) for answer in answers]


def seeded_strategies(strategy: Strategy, seed: int, count: int) -> list[Strategy]:
    """The strategy for each of `count` texts; one that samples has its own random numbers for each."""
    if not isinstance(strategy, Sample):
        return [strategy] * count
    return [strategy.but(seed=1000 * seed + at) for at in range(count)]


FEATURES: Mapping[str, Callable[[Continuation], float]] = {
    "bits per token": lambda one: one.surprise,
    "distinct tokens": lambda one: distinct_n([one.tokens], 1),
    "distinct pairs": lambda one: distinct_n([one.tokens], 2) if len(one.tokens) > 1 else 1.0,
}
"""What a text looks like; distance to human text is measured along each of these."""


def spread(human: Sequence[Continuation]) -> dict[str, float]:
    """The standard deviation of each feature over human texts, which is the unit of `gap`."""
    return {name: max(stdev(map(feature, human)), 1e-6) for name, feature in FEATURES.items()}


def gap(texts: Sequence[Continuation], human: Sequence[Continuation], rod: Mapping[str, float]) -> float:
    """Mean distance to human text over the features, each in standard deviations of human texts.

    0 is text that these features cannot tell from human text.
    """
    return fmean(
        abs(fmean(map(feature, texts)) - fmean(map(feature, human))) / rod[name] for name, feature in FEATURES.items()
    )


def gap_of(sums: Array) -> Array:
    """The same from sums over texts, as `likeness` lays them out: features, those of people, their squares, texts."""
    count = len(FEATURES)
    ours, human, squares, n = np.split(np.asarray(sums), [count, 2 * count, 3 * count], axis=-1)
    variance = squares / n - (human / n) ** 2
    distances: Array = np.abs(ours - human) / n / np.sqrt(np.maximum(variance, 1e-12))
    return distances.mean(axis=-1)


SURPRISE = Metric("surprise under the model itself", "bits/token", margin=0.1)
VARIETY = Metric("different pairs of tokens in a text", margin=0.02, share=True)
REPEATS = Metric("repeated runs of 4 tokens in a text", margin=0.02, share=True)
GAP = Metric("distance to people's text", "deviations", margin=0.1, ideal=0, of=gap_of)
"""A tenth of a standard deviation of people's texts: closer than that is as good."""


def excerpts_by_document(
    model: LanguageModel, documents: Sequence[Document], each: int, prompt: int, length: int
) -> list[tuple[str, Excerpt]]:
    """`each` pieces of every document that is long enough, with its name. DataError where fewer than two are."""
    found: list[tuple[str, Excerpt]] = []
    with progress.task("scoring the human text", len(documents), "documents") as advance:
        for document in documents:
            pieces = list(islice(_pieces(model, [document], 0, prompt, length), each))
            if len(pieces) == each:
                found += [(document.source, one) for one in pieces]
            advance(1)
    if len(found) < 2 * each:
        raise DataError(
            f"{len(found) // each} of {len(documents)} documents hold {each} pieces of {prompt + length} tokens, and "
            "two or more are needed; give a longer text, or fewer or shorter pieces"
        )
    return found


def written(
    model: LanguageModel, asked: Sequence[tuple[str, Excerpt]], strategy: Strategy, length: int
) -> list[Continuation]:
    """What the model writes after each piece, the same each time."""
    return sampled(model, [excerpt for _, excerpt in asked], strategy, 0, length)


def look(
    texts: Sequence[Continuation], asked: Sequence[tuple[str, Excerpt]]
) -> tuple[dict[Metric, list[list[float]]], list[str]]:
    """How texts look, as counts of each document, and the documents' names: what Run.log takes as values and items."""
    rows: dict[Metric, list[list[float]]] = {
        SURPRISE: [[one.surprise, 1.0] for one in texts],
        VARIETY: [[FEATURES["distinct pairs"](one), 1.0] for one in texts],
        REPEATS: [[repeated(one.tokens, 4), 1.0] for one in texts],
        GAP: [likeness(one, excerpt.human) for one, (_, excerpt) in zip(texts, asked, strict=True)],
    }
    names = [source for source, _ in asked]
    return {metric: summed(values, names) for metric, values in rows.items()}, list(dict.fromkeys(names))


def likeness(text: Continuation, human: Continuation) -> list[float]:
    """The counts of one text for `gap_of`."""
    ours, theirs = ([feature(one) for feature in FEATURES.values()] for one in (text, human))
    return [*ours, *theirs, *(value**2 for value in theirs), 1.0]


def summed(rows: Sequence[Sequence[float]], names: Sequence[str]) -> list[list[float]]:
    """Counts [rows, counts] added up by name, in the order in which the names come first."""
    sums: dict[str, list[float]] = {}
    for name, row in zip(names, rows, strict=True):
        sums[name] = [a + b for a, b in zip(sums.get(name, [0.0] * len(row)), row, strict=True)]
    return list(sums.values())
