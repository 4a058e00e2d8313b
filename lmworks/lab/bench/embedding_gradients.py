"""The gradient of an embedding looked at from all sides, and how far each of its rows moves in training.

laws(text, seed=0)      # against finite differences, against the chain rule by hand, dense against sparse
moved = movement(text, network, optimiser, config)
moved.absent()          # the share of the movement in steps whose batch does not have the word
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from lmworks.basics import progress
from lmworks.basics.arrays import Bool, Float, Int
from lmworks.lab.bench.word_network import WordText, word_network
from lmworks.models.hooks import hooked
from lmworks.models.network import Network
from lmworks.objectives import CausalLM
from lmworks.tokens.batch import Batch, stack
from lmworks.training.loop import first_batches
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import take_step

Rows = Float[Tensor, "vocab dim"]


class Laws(NamedTuple):
    """What holds of the gradient of one batch."""

    differences: float
    """Largest error against finite differences, by the largest gradient."""
    by_hand: float
    """Largest distance of a row's gradient from the sum over the places of its word."""
    outside: float
    """Rows with a gradient whose word is not in the batch."""
    tied: float
    """Share of all rows that have a gradient, where the head is tied to the embedding."""
    sparse: float
    """Largest distance of the sparse gradient from the dense one."""
    lazy: float
    """Rows without a gradient that a step of sparse Adam moves."""
    before: float
    """The loss, nats."""
    after: float
    """The loss when the embedding alone has gone a little way down its gradient."""


def laws(text: WordText, seed: int, rows: int = 8) -> Laws:
    """The gradient of a batch of the text in float64, looked at from all sides."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(text.train), generator=generator)[: 2 * rows].tolist()
    batch, other = (stack([text.train[at] for at in part]) for part in (chosen[:rows], chosen[rows:]))
    network = word_network(text.size, seed, dim=16, layers=2).double()
    dense, places = gradient_of(network, batch)
    by_hand = torch.zeros_like(dense).index_add_(0, batch.tokens.flatten(), places.flatten(0, 1))
    network.embedding.sparse = True
    sparse, _ = gradient_of(network, batch)
    tied, _ = gradient_of(word_network(text.size, seed, dim=16, layers=2, tied=True).double(), batch)
    before, after = _after_a_step(network, batch, dense)
    return Laws(
        differences=against_differences(network, batch, dense, generator),
        by_hand=float((dense - by_hand).abs().max()),
        outside=float((dense.any(dim=1) & ~present(batch, text.size)).sum()),
        tied=float(tied.any(dim=1).double().mean()),
        sparse=float((dense - sparse.to_dense()).abs().max()),
        lazy=lazily_moved(network, [batch, other]),
        before=before,
        after=after,
    )


def _loss(network: Network, batch: Batch) -> Tensor:
    return CausalLM()(network, batch).mean


def gradient_of(network: Network, batch: Batch) -> tuple[Rows, Float[Tensor, "batch seq dim"]]:
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
def against_differences(
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
def _after_a_step(network: Network, batch: Batch, gradient: Rows, rate: float = 0.01) -> tuple[float, float]:
    """The loss before and after the embedding alone goes a little way down its gradient; it is put back."""
    before = float(_loss(network, batch))
    network.embedding.weight -= rate * gradient
    after = float(_loss(network, batch))
    network.embedding.weight += rate * gradient
    return before, after


def lazily_moved(network: Network, two: list[Batch]) -> float:
    """Rows that sparse Adam moves in its second step though the second batch does not have them."""
    optimiser = torch.optim.SparseAdam([network.embedding.weight], lr=1e-3)
    for batch in two:
        before = network.embedding.weight.detach().clone()
        gradient_of(network, batch)
        optimiser.step()
    moved = (network.embedding.weight.detach() != before).any(dim=1)
    return float((moved & ~present(two[-1], len(moved))).sum())


def present(batch: Batch, vocabulary: int) -> Bool[Tensor, " vocab"]:
    """Which words a batch has, padding's included."""
    found = torch.zeros(vocabulary, dtype=torch.bool)
    found[batch.tokens.flatten()] = True
    return found


@dataclass
class Movement:
    """How far each row of an embedding went, step by step."""

    weight: Rows
    path: Tensor = field(init=False)
    """Lengths of all steps of each row, summed up."""
    without: Tensor = field(init=False)
    """Of these, in steps whose batch does not have the word."""
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


def movement(
    text: WordText, network: Network, optimiser: torch.optim.Optimizer, config: TrainingConfig, name: str
) -> Movement:
    """Train `config.steps` steps and look at every row after each."""
    steps = config.steps or 0
    for group in optimiser.param_groups:
        group["highest"] = group["lr"]
    moved = Movement(network.embedding.weight)
    network.train()
    with progress.task(f"{name}, seed {config.seed}", steps, "steps") as advance:
        # Step by step and not by the loop: between two steps every row is looked at.
        for step, batch in enumerate(islice(first_batches(text.train, config, CausalLM()), steps)):
            take_step(network, CausalLM(), [batch], optimiser, config.share_at_step(step, steps), config.clip)
            moved.observe(batch)
            advance(1)
    return moved
