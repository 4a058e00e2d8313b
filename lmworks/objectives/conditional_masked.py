"""Conditional masked language modelling: hidden tokens of a target are predicted from the rest and the source.

Source: Ghazvininejad et al. 2019 (mask-predict), https://arxiv.org/abs/1904.09324, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lmworks.objectives.loss import Loss
from lmworks.objectives.token_objective import TokenObjective, require_arrangement
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:  # recipes are read without torch
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False, kw_only=True)
class ConditionalMaskedLM(TokenObjective):
    """Cross-entropy of the hidden tokens: of each row's labelled tokens one to all, every number equally likely.

    Rows label each token of a target with itself and the source not at all; both are in `tokens`.
    """

    mask: int
    """The id of the mask token."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch that `prepare` hid tokens in; ConfigError for a network that is no encoder."""
        require_arrangement(network, self, "encoder", "fills gaps from both sides")
        hidden = network.hidden(batch.tokens, documents=batch.documents, segments=batch.segments)
        return Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The batch with the mask in place of the hidden tokens, which alone keep their labels."""
        import torch

        gaps = torch.zeros_like(batch.labels, dtype=torch.bool)
        for row, seed in enumerate(seeds):
            generator = np.random.default_rng(seed)
            places = np.flatnonzero(batch.labels[row].numpy() != IGNORE)
            gaps[row, generator.choice(places, 1 + int(generator.integers(len(places))), replace=False)] = True
        return replace(
            batch,
            tokens=batch.tokens.masked_fill(gaps, self.mask),
            labels=batch.labels.masked_fill(~gaps, IGNORE),
        )
