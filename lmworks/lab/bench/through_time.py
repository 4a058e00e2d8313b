"""Networks that remember in three ways, and how much of the last byte's gradient reaches bytes far back.

memories = Memories(data, dim=48, steps=400)
network = memories.trained("LSTM", rate=memories.rate("LSTM", (4e-3, 1.6e-2)), seed=1)
distances(network, byte_batch(data.held_out, LONG, rows=16, seed=1)).far_by_near      # powers of ten
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from torch import Tensor

from lmworks.basics.arrays import Int
from lmworks.lab.bench.deep_network import deep_network, logarithm
from lmworks.lab.bench.rates import SWEEP, best_rate
from lmworks.lab.bench.small_network import BYTES, WARMUP, ByteText, bits_per_byte, held_out_logits, train
from lmworks.models.network import Network
from lmworks.models.relatives.recurrent import RecurrentNetwork
from lmworks.models.relatives.recurrent_config import RecurrentConfig
from lmworks.objectives import CausalLM
from lmworks.objectives.gradients import activation_gradients
from lmworks.tokens.batch import IGNORE, Batch
from lmworks.training.settings import TrainingConfig

TRANSFORMER, LSTM, TANH = MEMORIES = ("transformer", "LSTM", "tanh network")
LONG = 64
"""Bytes of a text through which gradients go back in time."""
NEAR, FAR = slice(-5, -2), slice(7, 23)
"""Places of such a text: 1 to 3 bytes before the last that predicts one, and 40 to 55."""


@dataclass(frozen=True)
class Distances:
    """How long the gradient of the last byte's loss is at each byte, mean over texts."""

    lengths: list[float]

    @property
    def far_by_near(self) -> float:
        """In powers of ten."""
        return logarithm(fmean(self.lengths[FAR]) / fmean(self.lengths[NEAR]))


def memory(kind: str, dim: int, seed: int) -> Network:
    """A transformer of two blocks, or a recurrent layer with the weights that it is usually given."""
    if kind == TRANSFORMER:
        return deep_network(seed, 2, dim, LONG)
    config = RecurrentConfig(
        cell="lstm" if kind == LSTM else "tanh", vocab_size=BYTES, dim=dim, context=LONG, tied=False
    )
    return RecurrentNetwork(config).initialise(seed)


@dataclass(frozen=True)
class Memories:
    """How such networks are trained: all alike but for the learning rate."""

    data: ByteText
    dim: int
    steps: int
    windows: int = 100

    def trained(self, kind: str, rate: float, seed: int) -> Network:
        """One of them."""
        config = TrainingConfig(steps=self.steps, rows=16, learning_rate=rate, warmup=WARMUP, seed=seed)
        return train(memory(kind, self.dim, seed), self.data.train, config)

    def bits(self, network: Network, judged: Int[Tensor, " bytes"] | None = None) -> float:
        """Bits per byte of the held-out text, or of another."""
        return bits_per_byte(*held_out_logits(network, self.data.held_out if judged is None else judged, self.windows))

    def rate(self, kind: str, rates: Sequence[float]) -> float:
        """The best of these rates on the text for choosing."""
        return best_rate(rates, lambda rate: self.bits(self.trained(kind, rate, SWEEP), self.data.choose))


def distances(network: Network, batch: Batch) -> Distances:
    """Take the loss of the last byte that each row predicts back to all bytes' embeddings."""
    labels = torch.full_like(batch.labels, IGNORE)
    labels[:, -2] = batch.labels[:, -2]  # after a row's last byte none is known
    exact = copy.deepcopy(network).double()  # float32 has nothing below 1e-45
    [gradient] = activation_gradients(exact, CausalLM(), replace(batch, labels=labels), ["embedding"]).values()
    return Distances(gradient.norm(dim=-1).mean(dim=0).tolist())
