"""Causal language modelling: predict each next token from those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.objectives.declaration import ObjectiveKind, TokenSettings
from lmworks.objectives.loss import Loss
from lmworks.objectives.token_objective import TokenObjective, require_arrangement

if TYPE_CHECKING:
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class CausalLM(TokenObjective):
    """Cross-entropy of each supervised token; packed documents don't see each other."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch.

        ConfigError for label smoothing through an adaptive head, and where tokens see what is to be predicted.
        """
        require_arrangement(network, self, "decoder", "predicts each next token from those before it")
        hidden = network.hidden(batch.tokens, documents=batch.documents)
        return Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)


def _make(settings: TokenSettings, tokenizer: Any) -> CausalLM:
    return CausalLM(label_smoothing=settings.label_smoothing, z_loss=settings.z_loss)


CAUSAL = ObjectiveKind("causal", "each next token", TokenSettings, "decoder", _make)
