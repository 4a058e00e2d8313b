"""Question 9: autoregressive models, which predict the next token, beside masked ones, which restore hidden tokens.

One network is trained twice on the same questions, steps and batches. Each writes new questions (the masked one fills
rows of masks, token by token, and goes over them again), is asked what a held-out question costs from the left, fills
gaps, and gives what it learnt to a classifier of what is asked for: as frozen features, and tuned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.class_writer import written
from lmworks.lab.bench.continuations import Continuation, gap, spread
from lmworks.lab.bench.encoders import CONTEXT, labelled, probed, prose, tuned
from lmworks.lab.bench.gaps import BOTH_SIDES, NEXT_TOKEN, TUNING_RATES, Gap, at_gaps, gaps_of, pretrained
from lmworks.lab.bench.writers import end_of
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.network import Network, evaluating
from lmworks.models.relatives.ngram import Ngram
from lmworks.tokens.sentence_pairs import Sentences
from lmworks.tokens.tokenizer import Tokenizer
from lmworks.training.settings import TrainingConfig

CAUSAL, MASKED, PEOPLE = "autoregressive", "masked", "people"
DISTANCE, BITS, COST = "distance to real questions", "bits per token of new questions", "bits per token from the left"
NATS, RIGHT = "nats at a gap", "right at a gap"
FROZEN, TUNED = "accuracy, frozen", "accuracy, tuned"
BY_ALL = f"{CAUSAL}, every token tried in the gap"
MINUS = f"{MASKED} minus {CAUSAL}"
SHARE, TUNING_STEPS = 0.2, 60
"""Of tokens that are masked; steps on the labels."""
TRAINING: dict[str, Any] = {
    "context": CONTEXT,
    "rows": 32,
    "optimiser": "muon",
    "embedding_learning_rate": 4e-3,
    "warmup": 0.05,
    "schedule": "linear",
    "final": 0.0,
    "weight_decay": 0.01,
}
Ids = list[int]


@experiment(
    question=9,
    claim="Autoregressive models (e.g., GPT) predict tokens sequentially based on prior tokens; they excel in "
    "generative tasks like text completion. Masked models (e.g., BERT) predict masked tokens using bidirectional "
    "context, making them ideal for comprehension tasks like classification.",
    rule=Rule(
        holds_if=(
            Check(f"{DISTANCE}, {MINUS}", ">", 0),
            Check(f"{COST}, {MINUS}", ">", 0),
            Check(f"{TUNED}, {MINUS}", ">", 0),
        ),
        only_if=(
            (
                Check(f"{FROZEN}, {MINUS}", ">", 0),
                "the network is tuned on the labels: frozen features of an autoregressive one do as well",
            ),
            (
                Check(f"{NATS}, {MINUS}", "<", 0),
                "both have made as many predictions: at equal steps an autoregressive network, asked in front of a "
                "gap, fills it as well",
            ),
            (
                Check(f"{NATS}, {MASKED} minus {BY_ALL}", "<", 0),
                "an autoregressive network is asked in front of the gap alone: where every token is tried in the gap "
                "and the whole question scored, it sees both sides and fills it as well",
            ),
        ),
    ),
)
def two_objectives(
    text: str = "trec-train",
    held_out: str | None = "trec-test",
    steps: Count = scaled(200, 900),
    rate: float = 0.02,
    new: Several = scaled(100, 300),
    again: Count = 3,
    labels: Count = 200,
    gaps: Count = scaled(200, 500),
    tried: Count = scaled(10, 40),
    seeds: Count = scaled(3, 4),
) -> Observation:
    """New questions, gaps and classes, by what one network was trained for."""
    questions = prose(text, held_out)
    tokenizer = questions.tokenizer
    people = ids_of(questions.held_out)[:new]
    learnt = [[*ids, end_of(tokenizer)] for ids in ids_of(questions.train)]
    likely = Ngram.train(learnt, tokenizer.vocab_size, order=3)
    asked = gaps_of(questions, gaps)
    found: dict[str, dict[int, float]] = {}
    examples: dict[str, str] = {}
    for seed in range(seeds):
        data = labelled(questions, labels, seed)
        config = TrainingConfig(**TRAINING, steps=steps, learning_rate=rate, seed=seed)
        networks = {
            name: pretrained(questions, how, SHARE, config)
            for name, how in ((CAUSAL, NEXT_TOKEN), (MASKED, BOTH_SIDES))
        }
        texts = {
            CAUSAL: written(networks[CAUSAL], tokenizer, [list(tokenizer.prefix)] * len(people), seed),
            MASKED: filled(networks[MASKED], tokenizer, [len(ids) for ids in people], again, seed),
        }
        figures = _likeness(texts, people, likely, end_of(tokenizer))
        for name, network in networks.items():
            figures[f"{COST}, {name}"] = cost(network, tokenizer, people, name == CAUSAL)
            figures[f"{NATS}, {name}"], figures[f"{RIGHT}, {name}"] = at_gaps(network, asked, name == CAUSAL)
            figures[f"{FROZEN}, {name}"] = probed(network, tokenizer, data)
            figures[f"{TUNED}, {name}"] = tuned(network, tokenizer, data, seed, TUNING_STEPS, TUNING_RATES)
            examples[name] = " / ".join(tokenizer.decode(ids) for ids in texts[name][:3])
        some = asked[:: max(len(asked) // tried, 1)][:tried]
        figures[f"{NATS}, {BY_ALL}"], figures[f"{RIGHT}, {BY_ALL}"] = tried_at_gaps(networks[CAUSAL], some)
        figures[SAME_GAPS], _ = at_gaps(networks[MASKED], some, False)
        for figure, value in figures.items():
            found.setdefault(figure, {})[seed] = value
    measurements = _table(found, data.chance, tokenizer.vocab_size)
    written_by = "; ".join(f"{name}: {shown}" for name, shown in examples.items())
    return Observation(
        measurements=tuple(measurements),
        chart=_chart(measurements),
        note=f"{NOTE} Written by the last seed's networks: {written_by}",
    )


SAME_GAPS = f"{NATS}, {MASKED}, those gaps"
NOTE = (
    "Both networks have the same blocks and fresh weights' law, steps and batches of TREC's questions, without their "
    "classes; the autoregressive one learns from every token, the masked one from a fifth of them. New questions are "
    "drawn at temperature 1. A masked network has no order of writing and no end: it is told the lengths of real "
    "questions, fills masks in random order, and draws every token again in the light of the others (Wang and Cho "
    "2019, https://arxiv.org/abs/1902.04094). Distance to real questions is the mean over bits per token by a trigram "
    "model of the training text and the shares of distinct tokens and pairs, each in its standard deviation among "
    "TREC's test questions. From the left, a masked network reads masks in the place of what is to come, as many as "
    "there are, which no training showed it. A gap is one hidden token of a test question; an autoregressive network "
    "is asked in front of it, or, for some gaps, scores the whole question with each token of the vocabulary in the "
    "gap, which takes thousands of times the work. Frozen features are means over the last states; tuned, a decoder "
    "judges by its last token and an encoder by its first. These networks are a thousand times smaller than BERT or "
    "GPT."
)


def ids_of(texts: Sentences) -> list[Ids]:
    """The texts that hold a token, cut as a network reads them."""
    joined = ([int(one) for sentence in texts.document(at) for one in sentence] for at in range(len(texts)))
    return [ids[: CONTEXT - 2] for ids in joined if ids]


@torch.inference_mode()
def filled(network: Network, tokenizer: Tokenizer, lengths: Sequence[int], again: int, seed: int) -> list[Ids]:
    """New texts of these lengths by a network that restores masks: every place once in random order, then `again`
    times more."""
    draw, order = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    opening, closing, mask = list(tokenizer.prefix), list(tokenizer.suffix), tokenizer.require_mask()
    width = max(lengths) + len(opening) + len(closing)
    rows = [[*opening, *[mask] * length, *closing] for length in lengths]
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    real = torch.tensor([[at < len(row) for at in range(width)] for row in rows])
    with evaluating(network):
        for _ in range(1 + again):
            places = [len(opening) + order.permutation(length) for length in lengths]
            for turn in range(max(lengths)):
                at = [number for number, row in enumerate(places) if turn < len(row)]
                where = [int(places[number][turn]) for number in at]
                tokens[at, where] = mask
                states = network.hidden(tokens[at], real[at])[range(len(at)), where]
                p = _usual(network.logits(states), tokenizer).softmax(-1)
                tokens[at, where] = torch.multinomial(p, 1, generator=draw)[:, 0]
    return [row[len(opening) : len(opening) + length] for row, length in zip(tokens.tolist(), lengths, strict=True)]


def _usual(logits: Float[Tensor, "rows vocab"], tokenizer: Tokenizer) -> Float[Tensor, "rows vocab"]:
    """Without the special tokens: they are not of the text."""
    logits[:, list(tokenizer.special)] = -math.inf
    return logits


@torch.inference_mode()
def cost(network: Network, tokenizer: Tokenizer, texts: Sequence[Ids], causal: bool) -> float:
    """Bits per token of texts of known length, each token from those before it: for a masked network, masks follow
    them."""
    nats = 0.0
    opening, closing, mask = list(tokenizer.prefix), list(tokenizer.suffix), tokenizer.require_mask()
    with evaluating(network):
        for ids in texts:
            wanted, at = torch.tensor(ids), torch.arange(len(ids))
            if causal:
                states = network.hidden(torch.tensor([[*opening, *ids]]))[0, len(opening) - 1 : -1]
            else:
                rows = [[*opening, *ids[:known], *[mask] * (len(ids) - known), *closing] for known in range(len(ids))]
                states = network.hidden(torch.tensor(rows))[at, len(opening) + at]
            nats -= float(network.logits(states).log_softmax(-1)[at, wanted].sum())
    return nats / math.log(2) / sum(map(len, texts))


@torch.inference_mode()
def tried_at_gaps(network: Network, gaps: Sequence[Gap]) -> tuple[float, float]:
    """The mean of -log p of the hidden tokens, and the share that is the likeliest, where each token of the vocabulary
    is tried in the gap: p(token | the rest) is the share of its text among all."""
    nats, right = 0.0, 0
    with evaluating(network):
        for one in gaps:
            rows = torch.tensor(one.tokens).repeat(network.config.vocab_size, 1)
            rows[:, one.at] = torch.arange(len(rows))
            p = torch.cat([_from(network, some, one.at) for some in rows.split(256)]).log_softmax(0)
            nats -= float(p[one.token])
            right += int(p.argmax()) == one.token
    return nats / len(gaps), right / len(gaps)


def _from(network: Network, rows: Int[Tensor, "rows seq"], at: int) -> Float[Tensor, " rows"]:
    """log p of each row from a place on."""
    logits = network.logits(network.hidden(rows)[:, at - 1 : -1])
    return (logits.gather(2, rows[:, at:, None])[..., 0] - logits.logsumexp(2)).sum(1)


def _likeness(texts: Mapping[str, Sequence[Ids]], people: Sequence[Ids], likely: Ngram, end: int) -> dict[str, float]:
    """How far new texts are from those of people, by a model that judges both."""

    def judged(each: Sequence[Ids]) -> list[Continuation]:
        return [Continuation(ids, likely.score([*ids, end]).tolist()) for ids in each if len(ids) > 1]

    human = judged(people)
    rod = spread(human)
    each = {who: judged(ids) for who, ids in texts.items()}
    return {f"{DISTANCE}, {who}": gap(new, human, rod) for who, new in each.items()} | {
        f"{BITS}, {who}": fmean(one.surprise for one in some) for who, some in (each | {PEOPLE: human}).items()
    }


def _table(found: Mapping[str, Mapping[int, float]], chance: float, vocabulary: int) -> list[Measurement]:
    guess = math.log(vocabulary)
    facts: dict[str, dict[str, Any]] = {
        DISTANCE: {"unit": "standard deviations", "ideal": 0.0},
        BITS: {"unit": "bits", "chance": guess / math.log(2)},
        COST: {"unit": "bits", "chance": guess / math.log(2), "ideal": 0.0},
        NATS: {"unit": "nats", "chance": guess, "ideal": 0.0},
        RIGHT: {"chance": 0.0, "ideal": 1.0},
        **{way: {"chance": chance, "ideal": 1.0} for way in (FROZEN, TUNED)},
    }

    def of(name: str) -> dict[str, Any]:
        return next(known for start, known in facts.items() if name.startswith(start))

    rows = [measured(name, by_seed, **of(name)) for name, by_seed in found.items()]
    for what in (DISTANCE, COST, NATS, FROZEN, TUNED):
        unit = facts[what].get("unit", "")
        rows.append(difference(f"{what}, {MINUS}", found[f"{what}, {MASKED}"], found[f"{what}, {CAUSAL}"], unit))
    rows.append(difference(f"{NATS}, {MASKED} minus {BY_ALL}", found[SAME_GAPS], found[f"{NATS}, {BY_ALL}"], "nats"))
    return rows


def _chart(measurements: Sequence[Measurement]) -> Chart:
    """Bits of new and of real questions, nats at gaps: lower is nearer to the language that people write."""
    found = {one.name: one for one in measurements}
    jobs = (BITS, COST, NATS)
    series = []
    for who in (CAUSAL, MASKED):
        bars = [found[f"{job}, {who}"] for job in jobs]
        ends = [one.interval or (one.value, one.value) for one in bars]
        series.append(
            Series(
                name=who,
                x=tuple(map(float, range(len(jobs)))),
                y=tuple(one.value for one in bars),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            )
        )
    return Chart(
        kind="bars",
        title="One network, two objectives",
        x_label="asked for",
        y_label="bits, or nats at a gap",
        categories=jobs,
        series=tuple(series),
    )
