"""Question 22: several heads look at different things, and are worth having.

Two halves. Small networks of equally many parameters, whose width is split into few or many heads, and heads that share
keys and values: what does the loss say? And a real decoder: how unlike are the patterns of heads in one layer, what do
some of them do (the token before; the token that followed last time), what is lost when each is taken away, and how
many can go?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.errors import DataError
from lmworks.evaluation.measurement import Measurement
from lmworks.inside.heads import Head, attention_patterns, without_heads
from lmworks.lab.bench.small_network import WARMUP, bits_per_byte, byte_text, held_out_logits, small_network, train
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.language_model import LanguageModel
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.text.sources import read
from lmworks.training.settings import TrainingConfig

SPLITS = (1, 2, 4, 8)
"""Heads that a width is split into."""
ONE = "1 head"
MANY, SHARED = 8, (2, 1)
"""Query heads, and the key heads that they share: grouped and multi-query attention."""
COPIES = 5
"""Heads that copy most, which are taken away together."""
DRAWS = 5
"""Times that as many others of the same layers are taken away."""
SPARE = 5
"""One head in this many is removed as the least needed."""
REPEATED = 32
"""Random tokens in a text that is then said again."""
ROWS = 2
"""Documents of a seed whose beginnings the real decoder reads."""
BYTES, BITS = "bits/byte", "bits/token"

FRESH = "distance of two heads' patterns in one layer (0 alike, 1 disjoint), small network, untrained"
TRAINED = "the same, trained"
UNLIKE = "the same, real decoder"
PREVIOUS = "largest mean weight of a head on the token before"
PREVIOUS_HEADS = "heads that give it more than half of their weight"
SINKS = "share of heads that give the first token more than half of their weight"
COPYING = "largest mean weight of a head on what followed the same token before"
COPY_LOSS = "loss of copying without the 5 heads that do so most, minus with all"
COPY_RANDOM = "loss of copying without 5 others of the same layers, minus with all"
COPY = "loss of copying, without the 5 that copy minus without 5 others"
TOP = "share of the damage that the tenth of heads does that matter most"
PRUNED = "loss without a fifth of the heads, those that mattered least on another text, minus with all"
PRUNED_RANDOM = "loss without a fifth at random, minus with all"
PRUNING = "loss without the fifth that mattered least, minus without a fifth at random"
LOSSES = (COPY_LOSS, COPY_RANDOM, PRUNED, PRUNED_RANDOM)
SPLIT = "held-out text, 4 heads minus 1"


@experiment(
    question=22,
    claim="Multi-head attention splits queries, keys and values into several subspaces, which lets the model focus on "
    "different aspects of the input at once (one head for syntax, another for semantics).",
    rule=Rule(
        holds_if=(
            Check(UNLIKE, ">", 0.2),
            Check(COPY, ">", 0),
            Check(SPLIT, "<", 0),
        ),
        only_if=(
            (Check(PRUNED, ">", 0.1), "not every head counts (a fifth can go for at most 0.1 bits a token)"),
            (
                Check(f"held-out text, {MANY} heads on 1 key minus {MANY} on {MANY}", ">", 0),
                "queries are split (keys and values need not be)",
            ),
        ),
    ),
)
def heads(
    model: str = "smollm2",
    text: str = "wikitext2",
    tokens: Several = scaled(96, 128),
    every: Count = scaled(4, 2),
    learnt: str = "tinyshakespeare",
    steps: Several = scaled(60, 1500),
    dim: Several = 96,
    context: Several = 64,
    held_out_windows: Several = scaled(64, 400),
    seeds: Several = 3,
) -> Observation:
    """Loss by heads and by shared keys; patterns, roles and removal of heads, of every second or fourth layer."""
    small, unlike = _small_networks(learnt, steps, dim, context, held_out_windows, seeds)
    reader = LanguageModel.load(model, compress="none")
    network = reader.network
    texts = [_rows(reader, text, part, seeds + 1, tokens) for part in range(seeds + 1)]
    chosen = [(layer, head) for layer in range(0, network.config.layers, every) for head in range(network.config.heads)]
    looks = [_look(network, texts[seed], seed) for seed in range(seeds)]
    damage = [_damage(network, texts[seed], chosen, seed) for seed in range(seeds)]
    found: dict[str, dict[int, float]] = {}

    def note(name: str, seed: int, value: float) -> None:
        found.setdefault(name, {})[seed] = value

    for seed, look in enumerate(looks):
        for name, value in look.figures.items():
            note(name, seed, value)
        copying, others = _copying(network, look.copiers, seed)
        note(COPY_LOSS, seed, copying)
        note(COPY_RANDOM, seed, others)
        # What was chosen on a seed's text is judged on the next one's.
        other = texts[seed + 1]
        spare = sorted(chosen, key=damage[seed].__getitem__)[: max(len(chosen) // SPARE, 1)]
        with_all = loss(network, other)
        note(PRUNED, seed, loss(network, other, spare) - with_all)
        drawn = [_drawn(chosen, len(spare), 100 * seed + draw) for draw in range(DRAWS)]
        note(PRUNED_RANDOM, seed, fmean(loss(network, other, some) for some in drawn) - with_all)
        note(TOP, seed, _top(list(damage[seed].values())))
    chance = {TOP: 0.1}

    def row(name: str) -> Measurement:
        lost = name in LOSSES
        return measured(name, found[name], BITS if lost else "", chance=chance.get(name), difference=lost)

    measurements = [
        *small,
        *(measured(name, by_seed) for name, by_seed in unlike.items()),
        *map(row, (UNLIKE, PREVIOUS, PREVIOUS_HEADS, SINKS, COPYING, COPY_LOSS, COPY_RANDOM)),
        difference(COPY, found[COPY_LOSS], found[COPY_RANDOM], BITS),
        *map(row, (TOP, PRUNED, PRUNED_RANDOM)),
        difference(PRUNING, found[PRUNED], found[PRUNED_RANDOM], BITS),
    ]
    return Observation(
        measurements=tuple(measurements),
        chart=_chart(damage, chosen),
        note=f"{NOTE} Heads were taken away one by one in every layer."
        if every == 1
        else f"{NOTE} One layer in {every} was looked at for what is lost.",
    )


NOTE = (
    "A head is taken away by setting what it mixes to zero. Small networks have the same number of parameters whatever "
    "their heads: a width is split, and what shared keys save goes into the feed-forward. A pattern's distance is half "
    "the sum of absolute differences of weights, mean over tokens. Heads that copy are those that look after an "
    "earlier occurrence of the present token (Olsson et al. 2022, https://arxiv.org/abs/2209.11895); they are chosen "
    "on other random texts than they are judged on. That most heads can go one by one: Michel et al. 2019, "
    "https://arxiv.org/abs/1905.10650. Heads with a syntactic role are question 2's; nothing here shows a head for "
    "semantics."
)


def _small_networks(
    learnt: str, steps: int, dim: int, context: int, count: int, seeds: int
) -> tuple[list[Measurement], dict[str, dict[int, float]]]:
    """Losses by heads and shared keys, and how unlike the heads of one of the networks are before and after
    training."""
    data = byte_text(learnt)
    ways = {f"{split} head{'s'[: split - 1]}": (split, split) for split in SPLITS}
    ways |= {f"{MANY} heads on {keys} key{'s'[: keys - 1]}": (MANY, keys) for keys in SHARED}
    bits: dict[str, dict[int, float]] = {way: {} for way in ways}
    unlike: dict[str, dict[int, float]] = {FRESH: {}, TRAINED: {}}
    for seed in range(seeds):
        config = TrainingConfig(steps=steps, rows=16, learning_rate=3e-3, warmup=WARMUP, seed=seed)
        for way, (split, keys) in ways.items():
            network = split_network(seed, dim, split, keys, context)
            sample = data.held_out[: 4 * context].view(4, context)
            if (split, keys) == (MANY, MANY):
                unlike[FRESH][seed] = distance_of_heads(attention_patterns(network, sample))
            train(network, data.train, config)
            if (split, keys) == (MANY, MANY):
                unlike[TRAINED][seed] = distance_of_heads(attention_patterns(network, sample))
            bits[way][seed] = bits_per_byte(*held_out_logits(network, data.held_out, count))
    rows = [measured(f"held-out text, {way}", bits[way], BYTES, chance=8.0, ideal=0.0) for way in ways]
    rows += [
        difference(f"held-out text, {split} heads minus 1", bits[f"{split} heads"], bits[ONE], BYTES)
        for split in SPLITS[1:]
    ]
    rows += [
        difference(f"held-out text, {way} minus {MANY} on {MANY}", bits[way], bits[f"{MANY} heads"], BYTES)
        for way in ways
        if " on " in way
    ]
    return rows, unlike


def split_network(seed: int, dim: int, heads: int, keys: int, context: int) -> Network:
    """A small decoder whose width is split into heads; what shared keys and values save goes into the feed-forward."""
    config = small_network(seed, dim=dim, heads=heads, context=context).config
    saved = 2 * dim * (heads - keys) * config.head_dim
    per_row = 3 * dim  # gate, up and down
    return Network(config.but(kv_heads=keys, hidden_dim=config.hidden_dim + saved // per_row)).initialise(seed)


def distance_of_heads(patterns: Float[Tensor, "layers batch heads seq keys"]) -> float:
    """Half the sum of absolute differences of two heads' weights: mean over tokens, pairs of heads of a layer, layers.
    The first token, which sees nothing else, is left out."""
    each = patterns[..., 1:, :].float()
    heads = each.shape[2]
    pairs = [
        0.5 * (each[:, :, one] - each[:, :, other]).abs().sum(dim=-1).mean()
        for one in range(heads)
        for other in range(one)
    ]
    return float(torch.stack(pairs).mean())


def _rows(model: LanguageModel, text: str, part: int, parts: int, tokens: int) -> Int[Tensor, "batch seq"]:
    """The beginnings of documents that no other part has."""
    found: list[list[int]] = []
    for document in read(text).documents[part::parts]:
        ids = model.tokenizer.encode(document.text[: 12 * tokens], special=False)
        if len(ids) >= tokens:
            found.append(ids[:tokens])
        if len(found) == ROWS:
            return torch.tensor(found)
    raise DataError(
        f"{text} has {len(found)} documents of {tokens} tokens in part {part + 1} of {parts}, and {ROWS} are wanted; "
        "give another text, or fewer tokens"
    )


@torch.no_grad()
def loss(network: Network, rows: Int[Tensor, "batch seq"], gone: Iterable[Head] = (), start: int = 0) -> float:
    """Bits per token from place `start` on, without some heads."""
    with hooked(network, without_heads(network, gone)):
        logits = network.logits(network.hidden(rows)[:, start:-1])
    return float(F.cross_entropy(logits.flatten(0, 1), rows[:, start + 1 :].flatten())) / 0.6931471805599453


def _damage(network: Network, rows: Int[Tensor, "batch seq"], heads: Sequence[Head], seed: int) -> dict[Head, float]:
    """What is lost without each head alone."""
    with_all, found = loss(network, rows), {}
    with progress.task(f"taking heads away, seed {seed}", len(heads), "heads") as advance:
        for head in heads:
            found[head] = loss(network, rows, [head]) - with_all
            advance(1)
    return found


@dataclass(frozen=True)
class Look:
    """Where the heads of the real decoder look."""

    figures: dict[str, float]
    copiers: list[Head]
    """Those that copy most."""


def _look(network: Network, rows: Int[Tensor, "batch seq"], seed: int) -> Look:
    patterns = attention_patterns(network, rows).float()
    previous = patterns.diagonal(-1, dim1=-2, dim2=-1).mean(dim=(1, 3))
    first = patterns[..., 8:, 0].mean(dim=(1, 3))
    copying = copy_scores(network, said_twice(network, seed))
    order = copying.flatten().argsort(descending=True)[:COPIES].tolist()
    return Look(
        {
            UNLIKE: distance_of_heads(patterns),
            PREVIOUS: float(previous.max()),
            PREVIOUS_HEADS: float((previous > 0.5).sum()),
            SINKS: float((first > 0.5).float().mean()),
            COPYING: float(copying.max()),
        },
        [divmod(place, network.config.heads) for place in order],
    )


def said_twice(network: Network, seed: int, rows: int = 4) -> Int[Tensor, "batch seq"]:
    """Random tokens, and the same again."""
    generator = torch.Generator().manual_seed(seed)
    once = torch.randint(1_000, network.config.vocab_size, (rows, REPEATED), generator=generator)
    return torch.cat([once, once], dim=1)


def copy_scores(network: Network, twice: Int[Tensor, "batch seq"]) -> Float[Tensor, "layers heads"]:
    """Mean weight, in the second half, on the token after the same token in the first half."""
    weights = attention_patterns(network, twice).float().diagonal(1 - REPEATED, dim1=-2, dim2=-1)
    return weights[..., 1:].mean(dim=(1, 3))


def _copying(network: Network, copiers: Sequence[Head], seed: int) -> tuple[float, float]:
    """What the second half costs more without the heads that copy, and without as many others of their layers."""
    twice = said_twice(network, 1_000 + seed)
    with_all = loss(network, twice, start=REPEATED)
    lost = loss(network, twice, copiers, start=REPEATED) - with_all
    others = [_beside(network, copiers, 100 * seed + draw) for draw in range(DRAWS)]
    return lost, fmean(loss(network, twice, some, start=REPEATED) for some in others) - with_all


def _beside(network: Network, heads: Sequence[Head], seed: int) -> list[Head]:
    """For each head another one of its layer, none twice."""
    generator, taken = torch.Generator().manual_seed(seed), set(heads)
    for layer, _ in heads:
        free = [head for head in range(network.config.heads) if (layer, head) not in taken]
        if free:
            taken.add((layer, free[int(torch.randint(len(free), (1,), generator=generator))]))
    return sorted(taken - set(heads))


def _drawn(heads: Sequence[Head], count: int, seed: int) -> list[Head]:
    order = torch.randperm(len(heads), generator=torch.Generator().manual_seed(seed))
    return [heads[at] for at in order[:count].tolist()]


def _top(damage: list[float]) -> float:
    """Of all that heads cost, where they cost anything, the share of the costliest tenth."""
    costs = sorted((max(one, 0.0) for one in damage), reverse=True)
    return sum(costs[: max(len(costs) // 10, 1)]) / max(sum(costs), 1e-12)


def _chart(damage: Sequence[dict[Head, float]], heads: Sequence[Head]) -> Chart:
    """Each head's damage by its layer, mean over texts."""
    return Chart(
        kind="scatter",
        title="What is lost without one head of the real decoder",
        x_label="layer (heads side by side)",
        y_label=BITS,
        series=(
            Series(
                name="a head",
                x=tuple(layer + 0.08 * head for layer, head in heads),
                y=tuple(fmean(one[head] for one in damage) for head in heads),
            ),
        ),
    )
