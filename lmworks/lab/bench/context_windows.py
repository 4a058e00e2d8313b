"""A decoder with windows of several sizes on the same texts: bits of their ends, facts in them, time and memory."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

import numpy as np
import torch

from lmworks.basics import progress
from lmworks.generation.scoring import token_logprobs
from lmworks.lab.bench.continuations import excerpts_by_document
from lmworks.language_model import LanguageModel
from lmworks.text.document import Document

CITIES = ("Paris", "Rome", "Berlin", "Madrid", "Vienna", "Athens", "Dublin", "Prague")
WORDS = ("amber", "river", "candle", "falcon", "marble", "harbor", "lantern", "meadow")
"""Each is one token after a space, so that the likeliest of them tells a fact."""
READ_AT_ONCE, DECODED = 512, 32

ByWindow = dict[int, dict[str, list[float]]]
"""For each window, counts of each document."""


def bits(model: LanguageModel, documents: Sequence[Document], sizes: Sequence[int], target: int) -> ByWindow:
    """Bits and bytes of the ends of texts, by the tokens that are read before them."""
    found: ByWindow = {size: {} for size in sizes}
    chosen = excerpts_by_document(model, documents, 1, sizes[-1], target)
    with progress.task("texts by window", len(chosen), "texts") as advance:
        for name, excerpt in chosen:
            length = len(model.tokenizer.decode(excerpt.human.tokens).encode())
            costs = {sizes[-1]: -sum(excerpt.human.logprobs)}
            for size in sizes[:-1]:
                ids = [*excerpt.ids[-size:], *excerpt.human.tokens]
                costs[size] = -sum(token_logprobs(model.runner, ids, len(ids) + 1)[size - 1 :])
            for size, cost in costs.items():
                found[size][name] = [cost / math.log(2), float(length)]
            advance(1)
    return found


@torch.inference_mode()
def told(model: LanguageModel, documents: Sequence[Document], sizes: Sequence[int]) -> ByWindow:
    """Whether a window of each size recalls a fact in a text of the largest size, one fact a document."""
    chooser = random.Random(0)
    right: ByWindow = {size: {} for size in sizes}
    answers = [model.tokenizer.encode(f" {word}", special=False)[0] for word in WORDS]
    with progress.task("facts by window", len(documents), "texts") as advance:
        for number, document in enumerate(documents):
            words = chooser.sample(range(len(WORDS)), len(WORDS))
            asked = number % len(CITIES)  # every depth as often
            ids = with_facts(model, document.text, sizes[-1], words, asked)
            for size in sizes:
                hidden = model.runner.hidden(torch.tensor([ids[-size:]]))
                logits = model.runner.logits(hidden[:, -1])[0, answers]
                right[size][document.source] = [float(int(logits.argmax()) == words[asked]), 1.0]
            advance(1)
    return right


def with_facts(model: LanguageModel, text: str, size: int, words: Sequence[int], asked: int) -> list[int]:
    """A text of `size` tokens with a fact about each city, evenly spread, which ends with the beginning of one of
    them."""

    def encode(said: str) -> list[int]:
        return model.tokenizer.encode(said, special=False)

    facts = [
        encode(f"\nThe secret word of {city} is {WORDS[word]}.\n") for city, word in zip(CITIES, words, strict=True)
    ]
    question = encode(f"\nThe secret word of {CITIES[asked]} is")
    room = size - sum(map(len, facts)) - len(question)
    filler = encode(text)
    filler = (filler * (1 + room // len(filler)))[:room]
    ids: list[int] = []
    for number, fact in enumerate(facts):
        start, end = (room * at // len(facts) for at in (number, number + 1))
        ids += filler[start : (start + end) // 2] + fact + filler[(start + end) // 2 : end]
    return ids + question


@torch.inference_mode()
def cost(model: LanguageModel, ids: Sequence[int]) -> tuple[float, float, float]:
    """Seconds to read a prompt, seconds of the fastest token after it, bytes of its keys and values."""
    runner = model.runner
    cache = runner.new_cache(1)
    start = time.perf_counter()
    for part in torch.tensor([list(ids)]).split(READ_AT_ONCE, dim=1):
        runner.hidden(part, cache=cache)
    seconds, quickest = time.perf_counter() - start, math.inf
    held = float(cache.bytes)
    for _ in range(DECODED):
        start = time.perf_counter()
        runner.next_logits(np.array([[ids[0]]]), cache)
        quickest = min(quickest, time.perf_counter() - start)
    return seconds, quickest, held
