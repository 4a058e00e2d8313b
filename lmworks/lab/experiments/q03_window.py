"""Question 3: what a larger context window brings, and what it costs.

A real decoder predicts the same ends of real texts with more and more of them before it, is asked for facts that stand
anywhere in a text, and is timed on prompts and on single tokens that follow texts of growing length.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from statistics import fmean

import torch

from lmworks.basics import progress
from lmworks.basics.errors import ConfigError
from lmworks.evaluation.measurement import Measurement
from lmworks.generation.scoring import token_logprobs
from lmworks.lab.bench.continuations import excerpts
from lmworks.lab.bench.costs import exponent
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.loading import load
from lmworks.text.document import Document
from lmworks.text.sources import read

SMALLEST, STEP = 64, 4
"""Tokens of the smallest window; each further window is this many times as large."""
CITIES = ("Paris", "Rome", "Berlin", "Madrid", "Vienna", "Athens", "Dublin", "Prague")
WORDS = ("amber", "river", "candle", "falcon", "marble", "harbor", "lantern", "meadow")
"""Each is one token after a space, so that the likeliest of them tells a fact."""
READ_AT_ONCE, DECODED, ROUNDS = 512, 32, 5
TOLD = "facts told"
LONGEST_WINS = "bits/byte, the longest window minus the smallest"
LAST_STEP = f"bits/byte, the longest window minus a window {STEP} times smaller"
FOUND, TELLS = f"{TOLD}, the longest window minus the smallest", f"{TOLD}, the longest window"
PROMPT_TIME, MEMORY = (
    "time of a prompt grows with its length to the power",
    "keys and values grow with length to the power",
)
TOKEN_TIME = "time of one token behind the longest text by that behind the shortest"


@experiment(
    question=3,
    claim="The context window is the number of tokens that a model can process at once, its memory for a single task; "
    "a larger one lets it consider more context, which improves coherence in long-form tasks, and larger windows "
    "increase computational costs.",
    rule=Rule(
        holds_if=(
            Check(LONGEST_WINS, "<", 0),
            Check(FOUND, ">", 0),
            Check(PROMPT_TIME, ">", 0.9),
            Check(TOKEN_TIME, ">", 1),
            Check(MEMORY, ">", 0.9),
        ),
        only_if=(
            (
                Check(LAST_STEP, "<", -0.01),
                f"the window was short: its last growth by {STEP} brings under 0.01 bits a byte",
            ),
            (
                Check(TELLS, ">", 0.5),
                "the model can use what it reads: of the facts in its window it tells under half",
            ),
        ),
    ),
)
def window(
    model: str = "smollm2",
    text: str = "wikitext2",
    longest: Several = scaled(1024, 4096),
    target: Several = scaled(64, 128),
    texts: Several = scaled(5, 8),
    questions: Several = 8,
    seeds: Count = scaled(3, 5),
) -> Observation:
    """Bits per byte of the same text by window; facts told by window; time and memory by length."""
    chosen = load(model)
    sizes = [size for power in range(8) if (size := SMALLEST * STEP**power) <= longest]
    if len(sizes) < 2 or sizes[-1] != longest or longest + target > chosen.config.context:
        raise ConfigError(
            f"longest is {longest}; give {SMALLEST} times a power of {STEP} that leaves room for {target} tokens in "
            f"the model's window of {chosen.config.context:,}"
        )
    documents = read(text).documents
    bits: dict[int, dict[int, float]] = {size: {} for size in sizes}
    told: dict[int, dict[int, float]] = {size: {} for size in sizes}
    for seed in range(seeds):
        for size, value in _bits(chosen, documents, sizes, target, texts, seed).items():
            bits[size][seed] = value
        for size, value in _told(chosen, documents, sizes, questions, seed).items():
            told[size][seed] = value
    small, before, large = sizes[0], sizes[-2], sizes[-1]
    chance = 1 / len(CITIES)
    measurements = (
        *(measured(f"bits/byte behind {size:,} tokens", bits[size], "bits/byte", ideal=0.0) for size in sizes),
        difference(LONGEST_WINS, bits[large], bits[small], "bits/byte"),
        difference(LAST_STEP, bits[large], bits[before], "bits/byte"),
        *(measured(f"{TOLD}, {size:,} tokens", told[size], "share", ideal=1.0, chance=chance) for size in sizes[:-1]),
        measured(TELLS, told[large], "share", ideal=1.0, chance=chance),
        difference(FOUND, told[large], told[small], "share"),
        *_costs(chosen, documents, sizes, max(seeds, ROUNDS)),
    )
    return Observation(measurements=measurements, chart=_chart(sizes, measurements), note=NOTE)


NOTE = (
    "Every window predicts the same tokens, the ends of pieces of real articles, with as many tokens before them as it "
    "holds: bits by position would mix what a window brings with what stands where. Facts (the secret word of a city, "
    "eight to a text, evenly spread, one asked for at its end) are told when the right word is the likeliest of the "
    "eight; a window that does not reach back to a fact leaves chance. Answers are not written, so that finding a fact "
    "is measured and not wording. Time is the least of repeated readings, as other work on a machine only adds; "
    "prompts are read 512 tokens at once. At these lengths most of a prompt's time is matrix products, linear in "
    "length; the square of attention shows beyond (question 24). Costs are those of a window that is used: an empty "
    "one costs nothing. A model trained for longer texts may gain more from them; lost facts in the middle of long "
    "texts are known of larger models, too (Liu et al. 2023, https://arxiv.org/abs/2307.03172)."
)


def _bits(
    model: LanguageModel, documents: Sequence[Document], sizes: Sequence[int], target: int, texts: int, seed: int
) -> dict[int, float]:
    """Bits per byte of the ends of texts, by the tokens that are read before them."""
    costs: dict[int, float] = dict.fromkeys(sizes, 0.0)
    length = 0
    chosen = excerpts(model, documents, texts, seed, sizes[-1], target)
    with progress.task("texts by window", len(chosen), "texts") as advance:
        for excerpt in chosen:
            length += len(model.tokenizer.decode(excerpt.human.tokens).encode())
            costs[sizes[-1]] -= sum(excerpt.human.logprobs)
            for size in sizes[:-1]:
                ids = [*excerpt.ids[-size:], *excerpt.human.tokens]
                costs[size] -= sum(token_logprobs(model.runner, ids, len(ids) + 1)[size - 1 :])
            advance(1)
    return {size: cost / math.log(2) / length for size, cost in costs.items()}


@torch.inference_mode()
def _told(
    model: LanguageModel, documents: Sequence[Document], sizes: Sequence[int], questions: int, seed: int
) -> dict[int, float]:
    """Share of facts in texts of the longest size that are told by a window of each size."""
    chooser = random.Random(seed)
    right: dict[int, list[bool]] = {size: [] for size in sizes}
    answers = [model.tokenizer.encode(f" {word}", special=False)[0] for word in WORDS]
    with progress.task("facts by window", questions, "texts") as advance:
        for number in range(questions):
            words = chooser.sample(range(len(WORDS)), len(WORDS))
            asked = number % len(CITIES)  # every depth as often
            ids = _with_facts(model, chooser.choice(documents).text, sizes[-1], words, asked)
            for size in sizes:
                hidden = model.runner.hidden(torch.tensor([ids[-size:]]))
                logits = model.runner.logits(hidden[:, -1])[0, answers]
                right[size].append(int(logits.argmax()) == words[asked])
            advance(1)
    return {size: fmean(one) for size, one in right.items()}


def _with_facts(model: LanguageModel, text: str, size: int, words: Sequence[int], asked: int) -> list[int]:
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
def _costs(model: LanguageModel, documents: Sequence[Document], sizes: Sequence[int], rounds: int) -> list[Measurement]:
    """Seconds of a prompt and of one token after it, and the memory of keys and values."""
    ids = model.tokenizer.encode(max(documents, key=lambda one: len(one.text)).text, special=False)
    prompt = [dict.fromkeys(sizes, math.inf) for _ in range(rounds)]
    token = [dict.fromkeys(sizes, math.inf) for _ in range(rounds)]
    held = {}
    with progress.task("time by length", rounds, "rounds") as advance:
        for at in range(rounds):
            for size in sizes:
                prompt[at][size], token[at][size], held[size] = _cost(model, ids[:size])
            advance(1)
    large = sizes[1:] if len(sizes) > 2 else sizes  # the shortest is mostly overhead
    shortest = [{size: 1000 * min(one[size] for one in seconds) for size in sizes} for seconds in (prompt, token)]
    return [
        measured(PROMPT_TIME, {at: exponent(large, [one[size] for size in large]) for at, one in enumerate(prompt)}),
        measured(TOKEN_TIME, {at: one[sizes[-1]] / one[sizes[0]] for at, one in enumerate(token)}),
        Measurement(name=MEMORY, value=exponent(large, [held[size] for size in large])),
        *(
            Measurement(name=f"prompt of {size:,} tokens", value=shortest[0][size], unit="ms", n=rounds)
            for size in sizes
        ),
        *(
            Measurement(name=f"one token behind {size:,}", value=shortest[1][size], unit="ms", n=rounds)
            for size in sizes
        ),
        *(Measurement(name=f"keys and values of {size:,}", value=held[size] / 2**20, unit="MB") for size in sizes),
    ]


def _cost(model: LanguageModel, ids: Sequence[int]) -> tuple[float, float, float]:
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
        runner.next_logits(torch.tensor([[ids[0]]]), cache)
        quickest = min(quickest, time.perf_counter() - start)
    return seconds, quickest, held


def _chart(sizes: Sequence[int], measurements: Sequence[Measurement]) -> Chart:
    """Bits per byte by window."""
    found = {one.name: one for one in measurements}
    points = [found[f"bits/byte behind {size:,} tokens"] for size in sizes]
    ends = [point.interval or (point.value, point.value) for point in points]
    line = Series(
        name="the same ends of texts",
        x=tuple(map(float, sizes)),
        y=tuple(point.value for point in points),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
    )
    return Chart(
        kind="line",
        title="Prediction by the size of the window",
        x_label="tokens before the text",
        y_label="bits/byte",
        log_x=True,
        series=(line,),
    )
