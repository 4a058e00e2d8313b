"""Question 26: the chain rule moves embeddings. Which rows, how far, and is the loss lower afterwards?

First the laws, in float64 on rows of a real text: the gradient against finite differences and against the chain rule
by hand, dense against sparse. Then training: how far frequent and rare words move, and how much of it in steps whose
batch does not have the word. Last, whether words become more alike where people find them alike.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import islice

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.evaluation.statistics import spearman
from lmworks.evaluation.word_vectors import read_pairs, similarity
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.word_network import WordText, word_network, word_text
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import difference, measured
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.models.relatives.vectors import embedding_vectors
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch, stack
from lmworks.training.loop import first_batches
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import take_step

Rows = Float[Tensor, "vocab dim"]

GRADIENT = "largest error against finite differences, by the largest gradient"
CHAIN = "largest distance of a row's gradient from the sum over its places"
LESS = "loss behind a step of the embedding alone, minus before"
OUTSIDE = "rows with a gradient that are not in the batch"
TIED = "share of rows with a gradient, head tied to the embedding"
SPARSE = "largest distance of the sparse gradient from the dense"
LAZY = "rows without a gradient that a step of sparse Adam moves"
BYTES = "bytes of the sparse gradient, by the dense"
TIME = "time of gradient and step, dense by sparse"
OPTIMISERS = ("SGD", "AdamW", "AdamW, decay 0.1")
ABSENT = {name: f"share of the movement in steps without the word, {name}" for name in OPTIMISERS}
ONCE = "the same for words that came once, AdamW"
RANK = {name: f"rank correlation of how often a word came and how far it moved, {name}" for name in OPTIMISERS}
ALIKE, BEFORE = "word similarity (MEN), trained", "word similarity (MEN), before"
REFINED = "word similarity (MEN), trained minus before"


@experiment(
    question=26,
    claim="Embedding gradients are computed with the chain rule during backpropagation; they adjust the embedding "
    "vectors to minimize loss, refining their semantic representation.",
    rule=Rule(
        holds_if=(
            Check(GRADIENT, "<", 1e-6),
            Check(CHAIN, "<", 1e-10),
            Check(SPARSE, "<", 1e-10),
            Check(OUTSIDE, "<", 1),
            Check(LESS, "<", 0),
            Check(ABSENT["SGD"], "<", 1e-6),
        ),
        only_if=(
            (
                Check(ABSENT["AdamW"], "<", 0.05),
                "a gradient is not taken for the step: with AdamW rows move that have none (momentum, and decay)",
            ),
            (Check(REFINED, ">", 0), "refined means a lower loss: here words do not become alike as people see them"),
        ),
    ),
)
def embedding_gradients(
    texts: tuple[str, ...] = ("brown",),
    vocabulary: Several = scaled(4_000, 8_000),
    dim: Several = 64,
    steps: Several = scaled(60, 150),
    long: Several = scaled(120, 1000),
    pairs: str = "men",
    seeds: Count = 3,
) -> Observation:
    """Laws of the gradient; movement of each word under three optimisers; similarity before and after."""
    text = word_text(texts, vocabulary)
    laws = {seed: _laws(text, seed) for seed in range(seeds)}
    measurements = [
        measured(name, {seed: law[name] for seed, law in laws.items()}, unit, ideal=ideal)
        for name, unit, ideal in (
            (GRADIENT, "", 0.0),
            (CHAIN, "", 0.0),
            (LESS, "nats", None),
            (OUTSIDE, "rows", 0.0),
            (TIED, "", None),
            (SPARSE, "", 0.0),
            (LAZY, "rows", 0.0),
        )
    ]
    measurements += _costs(text, dim)
    moved: dict[str, dict[int, Movement]] = {name: {} for name in OPTIMISERS}
    scores: dict[str, dict[int, float]] = {BEFORE: {}, ALIKE: {}}
    known = read_pairs(pairs)
    for seed in range(seeds):
        for name in OPTIMISERS:
            moved[name][seed] = _movement(name, text, dim, steps, seed)
        network = word_network(
            text.size, seed, dim=dim, adaptive_cutoffs=(max(text.size // 20, 1), max(text.size // 5, 2))
        )
        network.head.order_by(text.counts)  # type: ignore[union-attr,operator]
        scores[BEFORE][seed] = similarity(embedding_vectors(network, text.tokenizer), known).value
        fit(network, CausalLM(), text.train, _config(long, seed, rows=16))
        after = similarity(embedding_vectors(network, text.tokenizer), known)
        scores[ALIKE][seed] = after.value
    for name in OPTIMISERS:
        measurements += [
            measured(ABSENT[name], {seed: one.absent() for seed, one in moved[name].items()}),
            measured(RANK[name], {seed: one.rank() for seed, one in moved[name].items()}, chance=0.0),
        ]
    once = {seed: one.absent(one.times == 1) for seed, one in moved["AdamW"].items()}
    measurements += [
        measured(ONCE, once),
        *(measured(name, by_seed, chance=0.0, ideal=1.0) for name, by_seed in scores.items()),
        difference(REFINED, scores[ALIKE], scores[BEFORE]),
    ]
    note = f"{NOTE} Similarity is measured on {after.n:,} of {len(known):,} pairs, the others have unknown words."
    return Observation(measurements=tuple(measurements), chart=_chart(moved), note=note)


NOTE = (
    "A row's gradient is the sum, over the places of its word in the batch, of what reaches that place from above; so "
    "without weight tying only rows of the batch have one, and with it all rows do, from the softmax. The step is "
    "another matter: AdamW (Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101) keeps a mean of gradients, "
    "so a word that came once goes on for tens of steps. With betas of 0.9 and 0.95 its step in the t-th step after is "
    "0.447 x 0.923^t of the learning rate, which puts 92 % of its movement into steps without it, in the middle of a "
    "long run. Sparse Adam moves only the batch's rows, and is another optimiser therefore. Movement is the sum of the "
    "lengths of all steps of a row."
)


def _laws(text: WordText, seed: int, rows: int = 8) -> dict[str, float]:
    """The gradient of a batch of the text in float64, looked at from all sides."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(text.train), generator=generator)[: 2 * rows].tolist()
    batch, other = (stack([text.train[at] for at in part]) for part in (chosen[:rows], chosen[rows:]))
    network = word_network(text.size, seed, dim=16, layers=2).double()
    dense, places = _gradient(network, batch)
    by_hand = torch.zeros_like(dense).index_add_(0, batch.tokens.flatten(), places.flatten(0, 1))
    network.embedding.sparse = True
    sparse, _ = _gradient(network, batch)
    tied, _ = _gradient(word_network(text.size, seed, dim=16, layers=2, tied=True).double(), batch)
    return {
        GRADIENT: _against_differences(network, batch, dense, generator),
        CHAIN: float((dense - by_hand).abs().max()),
        SPARSE: float((dense - sparse.to_dense()).abs().max()),
        OUTSIDE: float((dense.any(dim=1) & ~present(batch, text.size)).sum()),
        TIED: float(tied.any(dim=1).double().mean()),
        LESS: _after_a_step(network, batch, dense),
        LAZY: _lazily_moved(network, [batch, other]),
    }


def _loss(network: Network, batch: Batch) -> Tensor:
    return CausalLM()(network, batch).mean


def _gradient(network: Network, batch: Batch) -> tuple[Rows, Float[Tensor, "batch seq dim"]]:
    """The gradient of the embedding, and that of each place's vector."""
    places: list[Tensor] = []

    def keep(activation: Tensor) -> None:
        activation.retain_grad()
        places.append(activation)

    network.zero_grad()
    with hooked(network, {"embedding": keep}):
        _loss(network, batch).backward()  # type: ignore[no-untyped-call]
    gradient, at_places = network.embedding.weight.grad, places[0].grad
    assert gradient is not None and at_places is not None
    return gradient.clone(), at_places


@torch.no_grad()
def _against_differences(
    network: Network, batch: Batch, gradient: Rows, generator: torch.Generator, numbers: int = 40, step: float = 1e-5
) -> float:
    """Central differences at numbers of rows of the batch, and at a few of other rows."""
    weight, inside = network.embedding.weight, present(batch, len(gradient))
    worst = 0.0
    for rows, several in ((inside.nonzero()[:, 0], numbers), ((~inside).nonzero()[:, 0], numbers // 4)):
        for _ in range(several):
            row = int(rows[torch.randint(len(rows), (), generator=generator)])
            column = int(torch.randint(weight.shape[1], (), generator=generator))
            kept, losses = float(weight[row, column]), []
            for moved in (kept + step, kept - step):
                weight[row, column] = moved
                losses.append(float(_loss(network, batch)))
            weight[row, column] = kept
            worst = max(worst, abs((losses[0] - losses[1]) / (2 * step) - float(gradient[row, column])))
    return worst / float(gradient.abs().max())


@torch.no_grad()
def _after_a_step(network: Network, batch: Batch, gradient: Rows, rate: float = 0.01) -> float:
    """The loss's change where the embedding alone goes a little way down its gradient; it is put back."""
    before = float(_loss(network, batch))
    network.embedding.weight -= rate * gradient
    after = float(_loss(network, batch))
    network.embedding.weight += rate * gradient
    return after - before


def _lazily_moved(network: Network, two: list[Batch]) -> float:
    """Rows that sparse Adam moves in its second step though the second batch has not got them."""
    optimiser = torch.optim.SparseAdam([network.embedding.weight], lr=1e-3)
    for batch in two:
        before = network.embedding.weight.detach().clone()
        _gradient(network, batch)
        optimiser.step()
    moved = (network.embedding.weight.detach() != before).any(dim=1)
    return float((moved & ~present(two[-1], len(moved))).sum())


def present(batch: Batch, vocabulary: int) -> Bool[Tensor, " vocab"]:
    """Which words a batch has, padding's included."""
    found = torch.zeros(vocabulary, dtype=torch.bool)
    found[batch.tokens.flatten()] = True
    return found


def _costs(text: WordText, dim: int, rounds: int = 7, steps: int = 20) -> list[Measurement]:
    """A batch's gradient with respect to an embedding and Adam's step, alternately dense and sparse."""
    batch = stack(text.train[:16])
    weights = {kind: torch.zeros(text.size, dim, requires_grad=True) for kind in ("dense", "sparse")}
    steppers = {
        "dense": torch.optim.Adam([weights["dense"]], fused=True),
        "sparse": torch.optim.SparseAdam([weights["sparse"]]),
    }

    def once(kind: str) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            steppers[kind].zero_grad()
            rows = F.embedding(batch.tokens, weights[kind], sparse=kind == "sparse")
            rows.square().sum().backward()  # type: ignore[no-untyped-call]
            steppers[kind].step()
        return time.perf_counter() - started

    for kind in weights:
        once(kind)
    ratios = {number: once("dense") / once("sparse") for number in range(rounds)}
    sparse = weights["sparse"].grad
    assert sparse is not None
    sparse = sparse.coalesce()
    size = sum(part.numel() * part.element_size() for part in (sparse.indices(), sparse.values()))
    return [
        Measurement(name=BYTES, value=size / (4 * text.size * dim)),
        measured(TIME, ratios),
    ]


@dataclass
class Movement:
    """How far each row of an embedding went, step by step."""

    weight: Rows
    path: Tensor = field(init=False)
    """Lengths of all steps of each row, summed up."""
    without: Tensor = field(init=False)
    """Of these, in steps whose batch has not got the word."""
    times: Int[Tensor, " vocab"] = field(init=False)
    """How often the word came."""

    def __post_init__(self) -> None:
        self.start = self.weight.detach().clone()
        self._last = self.start.clone()
        self.path, self.without = (torch.zeros(len(self.weight)) for _ in range(2))
        self.times = torch.zeros(len(self.weight), dtype=torch.long)

    def observe(self, batch: Batch) -> None:
        """Look at where the rows are after a step on a batch."""
        now = self.weight.detach()
        lengths = (now - self._last).norm(dim=1)
        self.path += lengths
        self.without += lengths * ~present(batch, len(now))
        real = batch.tokens[batch.documents >= 0]
        self.times += torch.bincount(real, minlength=len(now))
        self._last.copy_(now)

    def absent(self, words: Bool[Tensor, " vocab"] | None = None) -> float:
        """The share of the movement that happened in steps without the word; of some words, or all that came."""
        words = self.times > 0 if words is None else words
        return float(self.without[words].sum() / self.path[words].sum().clamp(min=1e-30))

    def far(self) -> Float[Tensor, " vocab"]:
        """From where each row began to where it is."""
        return (self.weight.detach() - self.start).norm(dim=1)

    def rank(self) -> float:
        """Spearman's correlation of how often a word came and how far it is from where it began, of those that came."""
        came = self.times > 0
        return spearman(self.times[came].tolist(), self.far()[came].tolist()).value


def _movement(name: str, text: WordText, dim: int, steps: int, seed: int) -> Movement:
    network = word_network(text.size, seed, dim=dim)
    config = _config(steps, seed, rows=8, weight_decay=0.1 if "decay" in name else 0.0)
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0) if name == "SGD" else adamw(trainable(network), config)
    for group in optimiser.param_groups:
        group["highest"] = group["lr"]
    movement = Movement(network.embedding.weight)
    network.train()
    with progress.task(f"{name}, seed {seed}", steps, "steps") as advance:
        # Step by step and not by the loop: between two steps every row is looked at.
        for step, batch in enumerate(islice(first_batches(text.train, config, CausalLM()), steps)):
            take_step(network, CausalLM(), [batch], optimiser, config.share_at_step(step, steps), config.clip)
            movement.observe(batch)
            advance(1)
    return movement


def _config(steps: int, seed: int, rows: int, weight_decay: float = 0.0) -> TrainingConfig:
    return TrainingConfig(steps=steps, rows=rows, learning_rate=2e-3, warmup=0.1, seed=seed, weight_decay=weight_decay)


def _chart(moved: dict[str, dict[int, Movement]]) -> Chart:
    """How far words moved by how often they came, in classes that double, the last seed's."""
    series = []
    for name, by_seed in moved.items():
        one = by_seed[max(by_seed)]
        far, classes = one.far(), one.times.clamp(min=1).log2().long()
        means = [
            (float(one.times[inside].double().mean()), float(far[inside].mean()))
            for at in range(int(classes.max()) + 1)
            if (inside := (classes == at) & (one.times > 0)).any()
        ]
        series.append(Series(name=name, x=tuple(x for x, _ in means), y=tuple(y for _, y in means)))
    return Chart(
        kind="line",
        title="How far a word's vector is from where it began, by how often the word came",
        x_label="times that it came",
        y_label="distance (vectors begin with deviation 0.02)",
        series=tuple(series),
        log_x=True,
        log_y=True,
    )
