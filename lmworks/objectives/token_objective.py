"""Cross-entropy of tokens through a network's head: what every language modelling objective has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lmworks.basics.errors import ConfigError
from lmworks.objectives.loss import Objective, check_strength
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:  # recipes are read without torch
    from torch import Tensor

    from lmworks.basics.arrays import Float, Int
    from lmworks.models.network import Network
    from lmworks.objectives.labels import WrongLabels
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class TokenObjective(Objective):
    """An objective that predicts tokens; a child says from which states."""

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over the vocabulary (Szegedy et al. 2016, section 7)."""

    z_loss: float = 0.0
    """Times the square of the softmax's log normaliser is added, which keeps logits from drifting; PaLM takes 1e-4
    (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, section 5). An adaptive head has it on each softmax."""

    def __post_init__(self) -> None:
        check_strength("label_smoothing", self.label_smoothing, below=1.0)
        check_strength("z_loss", self.z_loss)

    def token_loss(
        self, network: Network, hidden: Float[Tensor, "batch seq dim"], labels: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, ""]:
        """Summed over the labels that are not IGNORE, in nats; no other state goes through the head.

        ConfigError for label smoothing through an adaptive head.
        """
        import torch

        from lmworks.objectives.cross_entropy import cross_entropy

        if self.label_smoothing and network.config.adaptive_cutoffs is not None:
            raise ConfigError(
                "label_smoothing spreads over the whole vocabulary, which an adaptive softmax never computes in "
                "training; leave out label_smoothing, or adaptive_cutoffs"
            )
        states, wanted = hidden.flatten(0, 1), labels.flatten()
        if network.head_transform is not None:  # a layer of its own, which the states of masked tokens alone are worth
            rows = (wanted != IGNORE).nonzero()[:, 0]
            states, wanted = states[rows], wanted[rows]
        losses = [
            cross_entropy(
                states_of,
                matrix,
                labels_of,
                label_smoothing=self.label_smoothing,
                z_loss=self.z_loss,
                logit_cap=network.config.logit_cap,
            )
            for states_of, matrix, labels_of in network.softmaxes(states, wanted)
        ]
        return torch.stack(losses).sum()

    def wrong_labels(self, plain: Batch, prepared: Batch) -> WrongLabels:
        """See Objective: the labels are the next tokens."""
        from lmworks.objectives.labels import next_tokens

        return next_tokens(prepared)


def require_arrangement(network: Network, objective: Objective, arrangement: str, why: str) -> None:
    """ConfigError unless the network is so arranged."""
    found = network.config.arrangement
    if found != arrangement:
        article = "an" if arrangement[0] == "e" else "a"
        raise ConfigError(
            f"{type(objective).__name__} {why}, and the network is {'an' if found[0] == 'e' else 'a'} {found}; "
            f"train {article} {arrangement} with it"
        )
