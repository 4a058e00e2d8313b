"""Networks that remember in three ways, and how much of the last byte's gradient reaches bytes far back.

network = remembering("LSTM", data.train, dim=48, steps=400, rate=8e-3, seed=1)
distances(network, byte_batch(data.held_out, LONG, rows=16, seed=1)).far_by_near      # powers of ten
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from statistics import fmean

import torch
from jaxtyping import Int
from torch import Tensor

from lmworks.lab.bench.deep_network import deep_network, logarithm
from lmworks.lab.bench.small_network import BYTES, WARMUP, train
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
    cell = "lstm" if kind == LSTM else "tanh"
    config = RecurrentConfig(cell=cell, vocab_size=BYTES, dim=dim, context=LONG, tied=False)
    return RecurrentNetwork(config).initialise(seed)


def remembering(kind: str, text: Int[Tensor, " bytes"], dim: int, steps: int, rate: float, seed: int) -> Network:
    """The same, trained."""
    config = TrainingConfig(steps=steps, rows=16, learning_rate=rate, warmup=WARMUP, seed=seed)
    return train(memory(kind, dim, seed), text, config)


def distances(network: Network, batch: Batch) -> Distances:
    """Take the loss of the last byte that each row predicts back to all bytes' embeddings."""
    labels = torch.full_like(batch.labels, IGNORE)
    labels[:, -2] = batch.labels[:, -2]  # after a row's last byte none is known
    exact = copy.deepcopy(network).double()  # float32 has nothing below 1e-45
    [gradient] = activation_gradients(exact, CausalLM(), replace(batch, labels=labels), ["embedding"]).values()
    return Distances(gradient.norm(dim=-1).mean(dim=0).tolist())
