"""Causal language modelling: predict each next token from those before it."""

from __future__ import annotations

from lmworks.models.network import Network
from lmworks.objectives.cross_entropy import cross_entropy
from lmworks.objectives.loss import Loss, Objective
from lmworks.tokens.batch import Batch


class CausalLM(Objective):
    """Cross-entropy of each supervised token; packed documents don't see each other."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch."""
        hidden = network.hidden(batch.tokens, documents=batch.documents)
        return Loss(cross_entropy(hidden.flatten(0, 1), network.head_weight, batch.labels.flatten()), batch.supervised)
