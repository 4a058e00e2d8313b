"""Causal language modelling that stays near a base: KL(base || network) of each token is added.

KL on the new text foretells what is forgotten of the old (Shenfeld et al. 2025, https://arxiv.org/abs/2509.04259).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.models.network import Network
from lmworks.objectives.divergence import divergence
from lmworks.objectives.kinds.causal import CausalLM
from lmworks.objectives.loss import Loss, OfStates
from lmworks.objectives.predicting import BatchPredictions, predictions, predictions_by
from lmworks.objectives.token_objective import require_arrangement
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE


@dataclass(eq=False)
class NearBase(CausalLM):
    """Two parts, each a mean over the supervised tokens: their cross-entropy, and `strength` times the distance."""

    strength: float = 0.3
    base: BatchPredictions | None = None

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch."""
        require_arrangement(network, self, "decoder", "predicts each next token from those before it")
        assert self.base is not None
        hidden = network.hidden(batch.tokens, documents=batch.documents)
        learnt = Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)
        return learnt + DistanceToBase(self.strength, self.base).of_states(network, batch, hidden)

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Supervised tokens, twice."""
        return (batch.supervised, batch.supervised)


@dataclass(eq=False)
class DistanceToBase(OfStates):
    """`strength` times KL(base || network), a mean over the supervised tokens."""

    strength: float
    base: BatchPredictions

    def states(self, network: Network, batch: Batch) -> Float[Tensor, "batch seq dim"]:
        """See OfStates."""
        return network.hidden(batch.tokens, documents=batch.documents)

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The distance of a batch."""
        labels = batch.labels.flatten()
        own = predictions(network, hidden.flatten(0, 1), labels)
        far = divergence(self.base(batch), own, labels != IGNORE)
        return Loss(self.strength * far, batch.supervised)


def base_predictions(
    network: Network, off: Callable[[Network], AbstractContextManager[None]] | None
) -> BatchPredictions:
    """What a network predicts with its adapters off; without adapters, what it predicts now: a copy is kept."""
    base = network if off is not None else copy.deepcopy(network).eval().requires_grad_(False)
    return predictions_by(base, off)
