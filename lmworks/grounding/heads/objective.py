"""What a reader minimises: cross-entropy of where the answer begins and ends, and of whether there is one.

The network's classifier gives three scores for each token: that the answer begins there, that it ends there, and, on
the first token, that there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.grounding.heads.recipe import LABELS
from lmworks.grounding.heads.rows import BEGINS, ENDS
from lmworks.models.network import Network
from lmworks.objectives.loss import Loss, OfStates
from lmworks.tokens.batch import Batch
from lmworks.tokens.labels import IGNORE


@dataclass(eq=False)
class ReadingLoss(OfStates):
    """Of rows that are `ReadingRows`."""

    answers: float = 1.0
    """Weight of whether there is an answer, beside where it is."""

    def fits(self, network: Network) -> None:
        """ConfigError unless the classifier gives the three scores."""
        if network.config.labels != LABELS:
            raise ConfigError(f"reading needs a classifier of tokens with the labels {', '.join(LABELS)}")

    def of_states(self, network: Network, batch: Batch, hidden: Float[Tensor, "batch seq dim"]) -> Loss:
        """The loss, counted in questions."""
        assert batch.classes is not None
        scores, codes = network.classify(hidden), batch.classes
        possible = codes != IGNORE
        places = [((codes & code) > 0).logical_and(possible).int().argmax(1) for code in (BEGINS, ENDS)]
        total = torch.zeros(())
        for number, place in enumerate(places):
            total = (
                total
                + F.cross_entropy(scores[..., number].masked_fill(~possible, -torch.inf), place, reduction="sum") / 2
            )
        there = (places[0] > 0).float()
        total = total + self.answers * F.binary_cross_entropy_with_logits(scores[:, 0, 2], there, reduction="sum")
        return Loss(total, len(codes))

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """Questions."""
        return (len(batch.tokens),)
