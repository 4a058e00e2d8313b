"""One network with three ways to compute its head over a large vocabulary: what each costs and how well it predicts.

    full       the logits of all rows at once
    chunked    the same softmax, a few rows at a time: what `CausalLM` does
    adaptive   words grouped by frequency (Grave et al. 2016, https://arxiv.org/abs/1609.04309)

The shortlist is a 25th of the vocabulary and the next cluster ends at a fifth of it, predicted from dim / 4; the last
is predicted from dim / 16.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.lab.bench.costs import alternately, peak_memory
from lmworks.lab.bench.word_network import WordText, word_network
from lmworks.models.adaptive_softmax import AdaptiveSoftmax
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Objective
from lmworks.objectives.loss import Loss
from lmworks.tokens.batch import IGNORE, Batch, batches
from lmworks.training.optimiser import trainable
from lmworks.training.optimisers.adamw import adamw
from lmworks.training.settings import TrainingConfig
from lmworks.training.step import take_step

GROUPS = ("frequent", "middle", "rare")


class FullSoftmax(Objective):
    """The plain form: the logits of all rows at once, and autograd's gradients."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """As `CausalLM`."""
        logits = network.logits(network.hidden(batch.tokens, documents=batch.documents)).flatten(0, 1)
        total = F.cross_entropy(logits, batch.labels.flatten(), ignore_index=IGNORE, reduction="sum")
        return Loss(total, batch.supervised)


OBJECTIVES: dict[str, Objective] = {"full": FullSoftmax(), "chunked": CausalLM(), "adaptive": CausalLM()}


@dataclass(frozen=True)
class Heads:
    """Networks over one text's words, alike but for their heads."""

    text: WordText
    dim: int
    rows: int

    def network(self, seed: int, kind: str) -> Network:
        """Fresh weights, with the head ordered by frequency where it is adaptive."""
        size = self.text.size
        cutoffs = (max(size // 25, 1), max(size // 5, 2)) if kind == "adaptive" else None
        network = word_network(size, seed, dim=self.dim, hidden_dim=2 * self.dim, adaptive_cutoffs=cutoffs)
        if isinstance(network.head, AdaptiveSoftmax):
            network.head.order_by(self.text.counts)
        return network

    def memory(self, kind: str) -> float:
        """Most memory that the results of a training step's loss and gradients hold, MB."""
        network, batch = self.network(0, kind).train(), self._batch(0)
        return peak_memory(partial(_gradients, network, OBJECTIVES[kind], batch)) / 1e6

    def step_seconds(self, seed: int, rounds: int) -> dict[str, float]:
        """Seconds a word of a training step, by kind; the kinds take turns."""
        batch = self._batch(seed)
        steps = {kind: self._step(seed, kind, batch) for kind in OBJECTIVES}
        seconds = alternately(steps, rounds)
        return {kind: statistics.median(each) / batch.supervised for kind, each in seconds.items()}

    def writing_seconds(self, seed: int, at_once: int, rounds: int) -> dict[str, float]:
        """Seconds a word for the probabilities of all words after `at_once` states, by kind."""
        states = torch.randn(at_once, self.dim, generator=torch.Generator().manual_seed(seed))
        calls = {kind: partial(_all_probabilities, self.network(seed, kind), states) for kind in ("full", "adaptive")}
        seconds = alternately(calls, rounds, repeats=20 if at_once == 1 else 5)
        return {kind: statistics.median(each) / at_once for kind, each in seconds.items()}

    def _batch(self, seed: int) -> Batch:
        return next(batches(self.text.train, self.rows, seed, 0))

    def _step(self, seed: int, kind: str, batch: Batch) -> Callable[[], object]:
        network = self.network(seed, kind).train()
        optimiser = adamw(trainable(network), TrainingConfig(learning_rate=1e-5))
        for group in optimiser.param_groups:
            group["highest"] = 1e-5  # what is timed should not depend on how far it got
        return partial(take_step, network, OBJECTIVES[kind], [batch], optimiser, 1.0, 1.0)


def _gradients(network: Network, objective: Objective, batch: Batch) -> None:
    objective(network, batch).mean.backward()  # type: ignore[no-untyped-call]


@torch.no_grad()
def _all_probabilities(network: Network, states: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows vocab"]:
    """Log-probabilities, which an adaptive head gives at once."""
    logits = network.logits(states)
    return logits if isinstance(network.head, AdaptiveSoftmax) else logits.log_softmax(dim=-1)


def operations(text: WordText, network: Network) -> tuple[float, list[float]]:
    """Multiplications of an adaptive head: the mean over the words of the training text, and for a word of each group.

    The shortlist is computed for every word, a cluster for its own words alone.
    """
    head = network.head
    assert isinstance(head, AdaptiveSoftmax)
    shares = torch.bincount(group_of(head)[: text.size], weights=text.counts.double(), minlength=len(head.starts) + 1)
    clusters = [sum(one.numel() for one in cluster.parameters()) for cluster in head.clusters]
    each = [float(head.shortlist.weight.numel() + size) for size in (0, *clusters)]
    return float((shares / shares.sum() * torch.tensor(each, dtype=torch.float64)).sum()), each


def group_of(head: AdaptiveSoftmax) -> Int[Tensor, " vocab"]:
    """0 for a word of the shortlist, else the number of its cluster."""
    return torch.bucketize(head.rank, torch.tensor(head.starts), right=True)


def frequency_nats(text: WordText, held_out: Sequence[Batch]) -> float:
    """Nats a word by how often each came in the training text, one added to every count."""
    logprobs = ((text.counts.double() + 1) / (text.counts.sum() + text.size)).log()
    labels = torch.cat([batch.labels[batch.labels != IGNORE] for batch in held_out])
    return -float(logprobs[labels].mean())


@torch.no_grad()
def nats_by_group(network: Network, held_out: Sequence[Batch], groups: Int[Tensor, " vocab"]) -> dict[str, float]:
    """Nats a word, over all and over those of each group that the text has."""
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
