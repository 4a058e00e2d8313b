"""Causal language modelling: predict each next token from those before it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lmworks.basics.errors import ConfigError
from lmworks.models.network import Network
from lmworks.objectives.cross_entropy import cross_entropy
from lmworks.objectives.loss import Loss, Objective, check_strength
from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class CausalLM(Objective):
    """Cross-entropy of each supervised token; packed documents don't see each other."""

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016, section 7)."""

    z_loss: float = 0.0
    """Times the square of the softmax's log normaliser is added, which keeps logits from drifting; PaLM takes 1e-4
    (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, section 5). An adaptive head has it on each softmax."""

    def __post_init__(self) -> None:
        check_strength("label_smoothing", self.label_smoothing, below=1.0)
        check_strength("z_loss", self.z_loss)

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch; ConfigError for label smoothing through an adaptive head, and where tokens see what is to be
        predicted."""
        if network.config.arrangement != "decoder":
            raise ConfigError(
                f"CausalLM predicts each next token from those before it, and the network is an {network.config.arrangement}; "
                "train a decoder with it"
            )
        if self.label_smoothing and network.config.adaptive_cutoffs is not None:
            raise ConfigError(
                "label_smoothing spreads over the whole vocabulary, which an adaptive softmax never computes in "
                "training; leave out label_smoothing, or adaptive_cutoffs"
            )
        hidden = network.hidden(batch.tokens, documents=batch.documents)
        losses = [
            cross_entropy(
                states,
                matrix,
                labels,
                label_smoothing=self.label_smoothing,
                z_loss=self.z_loss,
                logit_cap=network.config.logit_cap,
            )
            for states, matrix, labels in network.softmaxes(hidden.flatten(0, 1), batch.labels.flatten())
        ]
        return Loss(torch.stack(losses).sum(), batch.supervised)
