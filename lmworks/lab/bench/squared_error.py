"""Squared error on probabilities as a training loss, and calibration: what claim 25 compares cross-entropy by.

train(network, text, config, SquaredError())
calibration_error(logits.softmax(-1), targets)
"""

from __future__ import annotations

from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.models.network import Network
from lmworks.objectives import CausalLM, Loss
from lmworks.tokens.batch import Batch

Targets = Int[Tensor, " tokens"]


def squared_error(logits: Float[Tensor, "tokens vocab"], targets: Targets) -> Tensor:
    """The Brier score: sum over the vocabulary of (p - y)^2, averaged over tokens."""
    p = logits.softmax(dim=-1)
    true = p.gather(1, targets[:, None])[:, 0]
    return (p.square().sum(dim=-1) - 2 * true + 1).mean()


class SquaredError(CausalLM):
    """Next-token prediction by squared error in place of cross-entropy."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch; every token is supervised."""
        mean = squared_error(network(batch.tokens).flatten(0, 1), batch.labels.flatten())
        return Loss(mean * batch.supervised, batch.supervised)


def calibration_error(p: Float[Tensor, "tokens vocab"], targets: Targets, count: int = 10) -> float:
    """How far the probability given to the likeliest byte is from how often it came, in ten bins of equal width."""
    given, byte = p.max(dim=-1)
    came = (byte == targets).double()
    place = (given * count).long().clamp(max=count - 1)
    filled = [place == at for at in range(count) if bool((place == at).any())]
    return sum(float(one.double().mean() * (given[one].double().mean() - came[one].mean()).abs()) for one in filled)
