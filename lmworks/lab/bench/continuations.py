"""Continuations of real text, by a model and by the people who wrote it: what experiments on sampling compare."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.text_statistics import distinct_n, repeated
from lmworks.generation.scoring import token_logprobs
from lmworks.generation.strategies import Sample, Strategy
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
    size = prompt + length
    places = [
        (at, start) for at, document in enumerate(documents) for start in range(0, len(document.text) // 3 - size, size)
    ]  # a token has 3 letters or more
    random.Random(seed).shuffle(places)
    found: list[Excerpt] = []
    encoded: dict[int, list[int]] = {}
    with progress.task("scoring the human text", count, "texts") as advance:
        for at, start in places:
            if len(found) == count:
                break
            if at not in encoded:
                encoded[at] = model.tokenizer.encode(documents[at].text, special=False)
            ids = encoded[at][start : start + size]
            text = model.tokenizer.decode(ids[:prompt])
            # Cut in the middle of a word, a prompt may come back from its text as other tokens.
            if len(ids) == size and model.encode_prompt(text) == ids[:prompt]:
                logprobs = token_logprobs(model.runner, ids, size + 1)[prompt - 1 :]
                found.append(Excerpt(text, ids[:prompt], Continuation(ids[prompt:], logprobs)))
                advance(1)
    if len(found) < count:
        raise DataError(
            f"the text holds {len(found)} pieces of {size} tokens, and {count} are asked for; give a longer "
            "text, or fewer or shorter pieces"
        )
    return found


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


def mean_repeated(texts: Sequence[Continuation], n: int = 4) -> float:
    """Share of runs of `n` tokens that occurred before in their text, averaged over texts."""
    return fmean(repeated(one.tokens, n) for one in texts)
