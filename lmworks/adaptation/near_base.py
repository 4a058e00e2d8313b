"""Causal language modelling that stays near a base: KL(base || network) of each token is added.

KL on the new text foretells what is forgotten of the old (Shenfeld et al. 2025, https://arxiv.org/abs/2509.04259).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network, evaluating
from lmworks.objectives.divergence import Predictions, divergence
from lmworks.objectives.kinds.causal import CausalLM
from lmworks.objectives.loss import Loss, OfStates
from lmworks.objectives.token_objective import require_arrangement
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE

BasePredictions = Callable[[Batch], Predictions]
"""The base's states of a batch and its head, without gradients."""


@dataclass(eq=False)
class NearBase(CausalLM):
    """Two parts, each a mean over the supervised tokens: their cross-entropy, and `strength` times the distance."""

    strength: float = 0.3
    base: BasePredictions | None = None

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
    base: BasePredictions

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
) -> BasePredictions:
    """What a network predicts with its adapters off; without adapters, what it predicts now: a copy is kept."""
    base = network if off is not None else copy.deepcopy(network).eval().requires_grad_(False)
    return predictions_by(base, off)


def predictions_by(
    base: Network, off: Callable[[Network], AbstractContextManager[None]] | None = None
) -> BasePredictions:
    """What a frozen network predicts of a batch, without dropout; with its adapters off where `off` does that."""

    def of(batch: Batch) -> Predictions:
        # Nothing requires a gradient here. Inside no_grad every matrix would be packed anew for inference.
        quiet = evaluating(base) if base.config.dropout else nullcontext()
        with quiet, nullcontext() if off is None else off(base):
            hidden = base.hidden(batch.tokens, documents=batch.documents).detach()
            return predictions(base, hidden.flatten(0, 1), batch.labels.flatten())

    return of


def predictions(network: Network, states: Float[Tensor, "rows dim"], labels: Int[Tensor, " rows"]) -> Predictions:
    """What a network with a plain head predicts from its states; ConfigError for an adaptive one."""
    found = list(network.softmaxes(states, labels))
    if len(found) != 1:
        raise ConfigError("an adaptive softmax never computes all predictions, which are compared here")
    return Predictions(found[0][0], found[0][1], network.config.logit_cap)
