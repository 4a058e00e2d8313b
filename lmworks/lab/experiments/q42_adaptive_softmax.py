"""Question 42: adaptive softmax, fewer computations for rare words, against one softmax over all of them.

Vocabularies of several sizes over the same text, and another text: multiplications and memory are counted, times are
ratios of alternated repeats in one process, and perplexity, overall and on rare words, is that of networks which saw
the same batches. One softmax is computed in two ways: with all logits at once, and a few rows at a time (chunked).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from lmworks.basics import progress
from lmworks.evaluation.measurement import Measurement
from lmworks.lab.bench.costs import peak_memory
from lmworks.lab.bench.training import fit
from lmworks.lab.bench.word_network import WordText, word_network, word_text
from lmworks.lab.chart import Chart, Series
from lmworks.lab.registry import experiment
from lmworks.lab.rule import Check, Observation, Rule
from lmworks.lab.scale import Count, Several, scaled
from lmworks.lab.seeds import measured
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Objective
from lmworks.objectives.loss import Loss
from lmworks.tokens.batch import IGNORE, Batch, batches
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import take_step

SMALLEST, LARGEST = "smallest vocabulary", "largest vocabulary"
OPERATIONS = "the head's multiplications for a word of the text, adaptive by full"
TRAINING = {kind: f"time of a training step, {kind} by adaptive" for kind in ("full", "chunked")}
WRITING = {count: f"time of all probabilities, {count} at once, full by adaptive" for count in (1, 256)}
MEMORY = {kind: f"most memory of a step's results, {kind}" for kind in ("full", "chunked", "adaptive")}
PARAMETERS = "the head's parameters, adaptive by full"
SAME = "largest distance of the chunked loss from the full one, by the loss"
GROUPS = ("frequent", "middle", "rare")
PERPLEXITY = {kind: f"perplexity, {kind}" for kind in ("full", "adaptive")}
RATIO = "perplexity, adaptive by full"
RATIOS = {group: f"perplexity on {group} words, adaptive by full" for group in GROUPS}


def of(name: str, which: str) -> str:
    """A measurement's name for one vocabulary."""
    return f"{name}, {which}"


@experiment(
    question=42,
    claim="Adaptive softmax groups words by frequency, using fewer computations for rare words; it lowers the cost of "
    "handling massive vocabularies, speeding up training and inference in resource-limited settings.",
    rule=Rule(
        holds_if=(
            Check(of(OPERATIONS, LARGEST), "<", 0.5),
            Check(of(TRAINING["full"], LARGEST), ">", 1.2),
            Check(of(TRAINING["chunked"], LARGEST), ">", 1.2),
            Check(of(WRITING[1], LARGEST), ">", 1.2),
        ),
        only_if=(
            (
                Check(of(TRAINING["chunked"], SMALLEST), ">", 1.2),
                "the vocabulary is large: at the smallest one here a step is not a fifth faster",
            ),
            (Check(of(RATIO, LARGEST), "<", 1.02), "more than 2 % of perplexity may be lost"),
            (Check(of(RATIOS["rare"], LARGEST), "<", 1.05), "rare words may be predicted worse by more than 5 %"),
        ),
    ),
)
def adaptive_softmax(
    texts: tuple[str, ...] = ("brown", "state-of-the-union", "wikitext2"),
    other: tuple[str, ...] = ("tinyshakespeare",),
    vocabularies: tuple[int, ...] = scaled((2_000, 16_000), (4_000, 12_000, 32_000)),
    dim: Several = 128,
    steps: Several = scaled(50, 120),
    rows: Count = 8,
    held_out_rows: Several = scaled(100, 150),
    rounds: Several = scaled(5, 9),
    seeds: Count = scaled(3, 4),
) -> Observation:
    """Counts, times, memory and perplexity by vocabulary; perplexity on another text with the smallest."""
    run = _Run(dim, steps, rows, held_out_rows, seeds)
    measurements: list[Measurement] = []
    times: list[dict[str, float]] = []
    words: list[float] = []
    for size in sorted(vocabularies):
        which = {min(vocabularies): SMALLEST, max(vocabularies): LARGEST}.get(size, f"{size:,} words")
        text = word_text(texts, size)
        found, seconds = _costs(text, run, rounds)
        words.append(float(text.size))
        times.append(seconds)
        quality = _quality(text, run) if which in (SMALLEST, LARGEST) else []
        measurements += [one.but(name=of(one.name, which)) for one in (*found, *quality)]
    if other:
        quality = _quality(word_text(other, min(vocabularies)), run)
        measurements += [one.but(name=of(one.name, f"{SMALLEST}, another text")) for one in quality]
    chart = Chart(
        kind="line",
        title=f"A training step of {rows} x 64 words, network 1 x {dim}",
        x_label="words of the vocabulary",
        y_label="microseconds a word",
        log_x=True,
        log_y=True,
        series=tuple(
            Series(name=kind, x=tuple(words), y=tuple(1e6 * seconds[kind] for seconds in times)) for kind in MEMORY
        ),
    )
    seen, whole = steps * rows * 64, sum(len(piece.tokens) for row in text.train for piece in row)
    note = (
        f"{NOTE} Vocabularies of {', '.join(f'{size:,}' for size in sorted(vocabularies))} words. Networks saw "
        f"{seen:,} of {whole:,} words of text."
    )
    return Observation(measurements=tuple(measurements), chart=chart, note=note)


NOTE = (
    "Fewer computations for rare words is not quite how it works: a rare word costs the shortlist and its cluster, "
    "more than a frequent one; what is saved is that most words are not rare, and that the rare cluster is narrow "
    "(Grave et al. 2016, https://arxiv.org/abs/1609.04309). Here the shortlist is a 25th of the vocabulary and the "
    "next cluster ends at a fifth, predicted from dim / 4, the last from dim / 16. All probabilities, as writing needs "
    "them, take every cluster, so the gain there comes from the narrow ones alone. Networks this little trained have "
    "hardly seen rare words: nothing is said of convergence, and equal steps are not equal time, in which the adaptive "
    "head would see more. Words outside of the vocabulary carry no loss; perplexities of different vocabularies cannot "
    "be compared. Large language models with subword vocabularies do not use it: one large product suits a GPU better "
    "than several small ones."
)


@dataclass(frozen=True)
class _Run:
    """What does not depend on the vocabulary."""

    dim: int
    steps: int
    rows: int
    held_out_rows: int
    seeds: int

    def network(self, text: WordText, seed: int, adaptive: bool) -> Network:
        """Fresh weights, with the head ordered by frequency where it is adaptive."""
        cutoffs = (max(text.size // 25, 1), max(text.size // 5, 2)) if adaptive else None
        network = word_network(text.size, seed, dim=self.dim, hidden_dim=2 * self.dim, adaptive_cutoffs=cutoffs)
        if isinstance(network.head, AdaptiveSoftmax):
            network.head.order_by(text.counts)
        return network

    def config(self, seed: int) -> TrainingConfig:
        """Alike for all heads."""
        return TrainingConfig(steps=self.steps, rows=self.rows, learning_rate=2e-3, warmup=0.1, seed=seed)


class FullSoftmax(Objective):
    """The plain form: the logits of all rows at once, and autograd's gradients."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """As `CausalLM`."""
        logits = network.logits(network.hidden(batch.tokens, documents=batch.documents)).flatten(0, 1)
        total = F.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
        return Loss(total, batch.supervised)


OBJECTIVES: dict[str, Objective] = {"full": FullSoftmax(), "chunked": CausalLM(), "adaptive": CausalLM()}


def _costs(text: WordText, run: _Run, rounds: int) -> tuple[list[Measurement], dict[str, float]]:
    """What is counted and timed for one vocabulary, and the seconds a word of a training step."""
    networks = {kind: run.network(text, 0, kind == "adaptive").train() for kind in OBJECTIVES}
    batch = next(batches(text.train, run.rows, 0, 0))
    losses = [float(OBJECTIVES[kind](networks[kind], batch).mean.detach()) for kind in ("full", "chunked")]
    heads = {
        kind: sum(one.numel() for name, one in network.named_parameters() if name.startswith("head."))
        for kind, network in networks.items()
    }
    found = [
        Measurement(name=OPERATIONS, value=operations(text, networks["adaptive"]) / (text.size * run.dim)),
        Measurement(name=PARAMETERS, value=heads["adaptive"] / heads["full"]),
        Measurement(name=SAME, value=abs(losses[0] - losses[1]) / losses[0], ideal=0.0),
    ]
    for kind, network in networks.items():
        step = partial(_gradients, network, OBJECTIVES[kind], batch)
        found.append(Measurement(name=MEMORY[kind], value=peak_memory(step) / 1e6, unit="MB"))
        network.zero_grad()
    optimisers = {kind: adamw(trainable(network), run.config(0)) for kind, network in networks.items()}
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["highest"] = 1e-5  # what is timed should not depend on how far it got
    steps = {
        kind: partial(take_step, network, OBJECTIVES[kind], [batch], optimisers[kind], 1.0, 1.0)
        for kind, network in networks.items()
    }
    seconds = alternately(steps, rounds)
    found += [measured(name, ratios(seconds[kind], seconds["adaptive"])) for kind, name in TRAINING.items()]
    for network in networks.values():
        network.eval()
    for count, name in WRITING.items():
        states = torch.randn(count, run.dim, generator=torch.Generator().manual_seed(0))
        distributions = {kind: partial(_all_probabilities, networks[kind], states) for kind in ("full", "adaptive")}
        writing = alternately(distributions, rounds, repeats=20 if count == 1 else 5)
        found.append(measured(name, ratios(writing["full"], writing["adaptive"])))
    return found, {kind: statistics.median(each) / batch.supervised for kind, each in seconds.items()}


def _gradients(network: Network, objective: Objective, batch: Batch) -> None:
    objective(network, batch).mean.backward()  # type: ignore[no-untyped-call]


@torch.no_grad()
def _all_probabilities(network: Network, states: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows vocab"]:
    """Log-probabilities, which an adaptive head gives at once."""
    logits = network.logits(states)
    return logits if isinstance(network.head, AdaptiveSoftmax) else logits.log_softmax(dim=-1)


def operations(text: WordText, network: Network) -> float:
    """Multiplications of an adaptive head for a word, averaged over the words of the training text."""
    head = network.head
    assert isinstance(head, AdaptiveSoftmax)
    shares = torch.bincount(group_of(head)[: text.size], weights=text.counts.double(), minlength=len(head.starts) + 1)
    shares /= shares.sum()
    clusters = [sum(one.numel() for one in cluster.parameters()) for cluster in head.clusters]
    return head.shortlist.weight.numel() + sum(
        float(share) * size for share, size in zip(shares[1:], clusters, strict=True)
    )


def group_of(head: AdaptiveSoftmax) -> Int[Tensor, " vocab"]:
    """0 for a word of the shortlist, else the number of its cluster."""
    return torch.bucketize(head.rank, torch.tensor(head.starts), right=True)


def alternately(calls: Mapping[str, Callable[[], object]], rounds: int, repeats: int = 5) -> dict[str, list[float]]:
    """Seconds of each call in each round, the shortest of some repeats, which take turns: what else the machine does
    falls on all of them. The first round warms up and is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with progress.task("timing", rounds + 1, "rounds") as advance:
        for _ in range(rounds + 1):
            shortest = dict.fromkeys(calls, math.inf)
            for _ in range(repeats):
                for name, call in calls.items():
                    started = time.perf_counter()
                    call()
                    shortest[name] = min(shortest[name], time.perf_counter() - started)
            for name, each in shortest.items():
                seconds[name].append(each)
            advance(1)
    return {name: each[1:] for name, each in seconds.items()}


def ratios(above: list[float], below: list[float]) -> dict[int, float]:
    """One by the other in each round."""
    return {number: one / other for number, (one, other) in enumerate(zip(above, below, strict=True))}


def _quality(text: WordText, run: _Run) -> list[Measurement]:
    """Held-out perplexity of both heads after the same batches, and their ratio by how frequent words are."""
    nats: dict[str, dict[int, dict[str, float]]] = {kind: {} for kind in PERPLEXITY}
    for seed in range(run.seeds):
        trained = {kind: run.network(text, seed, kind == "adaptive") for kind in nats}
        for network in trained.values():
            fit(network, CausalLM(), text.train, run.config(seed))
        head = trained["adaptive"].head
        assert isinstance(head, AdaptiveSoftmax)
        chosen = text.held_out[:: max(len(text.held_out) // run.held_out_rows, 1)]
        held_out = list(batches(chosen, 8, 0, 0))
        for kind, network in trained.items():
            nats[kind][seed] = _by_group(network, held_out, group_of(head))
    found = [
        measured(name, {seed: math.exp(one["all"]) for seed, one in nats[kind].items()}, ideal=1.0, chance=text.size)
        for kind, name in PERPLEXITY.items()
    ]
    for group, name in {"all": RATIO, **RATIOS}.items():
        by_seed = {
            seed: math.exp(one[group] - nats["full"][seed][group])
            for seed, one in nats["adaptive"].items()
            if group in one
        }
        if len(by_seed) == run.seeds:  # a short text may hold out no rare word
            found.append(measured(name, by_seed))
    return found


@torch.no_grad()
def _by_group(network: Network, held_out: list[Batch], groups: Int[Tensor, " vocab"]) -> dict[str, float]:
    """Nats a word, over all and over those of each group."""
    sums, counts = dict.fromkeys(GROUPS, 0.0), dict.fromkeys(GROUPS, 0)
    for batch in held_out:
        of_label = groups[batch.labels.clamp(min=0)]
        for number, group in enumerate(GROUPS):
            part = replace(batch, labels=batch.labels.where(of_label == number, IGNORE))
            loss = CausalLM()(network, part)
            sums[group] += float(loss.total)
            counts[group] += loss.count
    found = {group: sums[group] / counts[group] for group in GROUPS if counts[group]}
    return found | {"all": sum(sums.values()) / sum(counts.values())}
