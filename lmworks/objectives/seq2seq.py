"""Sequence to sequence: predict a target's tokens from those before them and a source (Sutskever et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives.cross_entropy import cross_entropy
from lmworks.objectives.loss import Loss, Objective, check_strength
from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class SequenceToSequence(Objective):
    """Cross-entropy of each target token with the right ones before it (teacher forcing)."""

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016, section 7)."""

    def __post_init__(self) -> None:
        check_strength("label_smoothing", self.label_smoothing, below=1.0)

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch; ConfigError without an encoder-decoder or without a source."""
        if network.config.arrangement != "encoder-decoder":
            raise ConfigError(
                f"SequenceToSequence reads a source and writes a target, and the network is a {network.config.arrangement}; "
                "train an encoder-decoder with it"
            )
        if batch.source is None:
            raise ConfigError("SequenceToSequence needs a source for each target; give rows of pairs (PairRows)")
        memory = network.encode(batch.source, batch.source_real)
        hidden = network.hidden(batch.tokens, memory=memory)  # padding comes behind all that could see it
        losses = [
            cross_entropy(states, matrix, labels, label_smoothing=self.label_smoothing)
            for states, matrix, labels in network.softmaxes(hidden.flatten(0, 1), batch.labels.flatten())
        ]
        return Loss(torch.stack(losses).sum(), batch.supervised)
