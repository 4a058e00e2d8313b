"""What a network predicts of a batch, for objectives that compare two networks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from lmworks.basics.arrays import Float, Int
from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network, evaluating
from lmworks.objectives.divergence import Predictions
from lmworks.tokens.batch import Batch

BatchPredictions = Callable[[Batch], Predictions]
"""The states of a batch and the head that predicts from them, without gradients."""


def predictions_by(
    base: Network, off: Callable[[Network], AbstractContextManager[None]] | None = None
) -> BatchPredictions:
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
