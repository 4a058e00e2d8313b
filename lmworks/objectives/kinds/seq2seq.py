"""Sequence to sequence: predict a target's tokens from those before them and a source.

Teacher forcing: the tokens before are those of the right target, not what the network would have written (Sutskever et
al. 2014, https://arxiv.org/abs/1409.3215). The rows are `lmworks.tokens.pairs.PairRows`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lmworks.basics.errors import ConfigError
from lmworks.models.families.bart import MBART
from lmworks.objectives.declaration import FullRow, ObjectiveKind, TokenSettings
from lmworks.objectives.loss import Loss
from lmworks.objectives.token_objective import TokenObjective, require_arrangement

if TYPE_CHECKING:
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class SequenceToSequence(TokenObjective):
    """Cross-entropy of each token of a target, given the ones before it and the source."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch; ConfigError for another arrangement, and for rows without a source."""
        require_arrangement(network, self, "encoder-decoder", "reads a source and writes a target")
        if batch.source is None:
            raise ConfigError("SequenceToSequence needs a source for each target; train on PairRows")
        memory = network.encode(batch.source, batch.source_real)
        # The padding of a target comes after everything that could see it; but experts must not be sent it.
        real = batch.documents >= 0 if network.config.experts is not None else None
        hidden = network.hidden(batch.tokens, real, memory=memory)
        return Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)


def _make(settings: TokenSettings, tokenizer: Any) -> SequenceToSequence:
    return SequenceToSequence(label_smoothing=settings.label_smoothing, z_loss=settings.z_loss)


SEQ2SEQ = ObjectiveKind(
    "seq2seq",
    "a target from its source, from records with a prompt and its response",
    TokenSettings,
    "encoder-decoder",
    _make,
    task="answering",
    network={"family": "mbart", **MBART.fixed, "activation": "relu", "scale_embedding": True},
    row=lambda settings, context: FullRow(context, context, context),
    paired=True,
)
