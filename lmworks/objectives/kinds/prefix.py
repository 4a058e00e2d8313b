"""Prefix language modelling: the first part of a text is read from both sides, the rest is predicted token by token.

In a recipe: `objective.kind = "prefix"`.

Source: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 3.2.1; Dong et al. 2019 (UniLM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lmworks.objectives.declaration import ObjectiveKind, TokenSettings
from lmworks.objectives.loss import Loss
from lmworks.objectives.token_objective import TokenObjective, require_arrangement
from lmworks.tokens.labels import IGNORE

if TYPE_CHECKING:
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


@dataclass(eq=False)
class PrefixLM(TokenObjective):
    """Cross-entropy of the tokens after each document's prefix, which all of the document sees.

    Rows may say what their prefix is. Where they don't, its length is drawn for each document, evenly from nothing to
    all but the last token, so that a network trained by it also predicts without a prefix, as a causal one does.
    """

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch that `prepare` gave a prefix; ConfigError for a network that is no decoder."""
        require_arrangement(network, self, "decoder", "predicts what follows a prefix")
        hidden = network.hidden(batch.tokens, documents=batch.documents, prefix=batch.prefix)
        return Loss(self.token_loss(network, hidden, batch.labels), batch.supervised)

    def prepare(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """The batch with a prefix for each document, none of whose tokens is predicted; a batch that has one stays.
        `seeds` has one for each row."""
        if batch.prefix is not None:
            return batch
        import torch

        prefix = torch.zeros_like(batch.tokens, dtype=torch.bool)
        for row, seed in enumerate(seeds):
            generator = np.random.default_rng(seed)
            numbers, sizes = torch.unique_consecutive(batch.documents[row], return_counts=True)
            start = 0
            for document, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
                if document >= 0:
                    # The label at a prefix's last token is the first token after it.
                    prefix[row, start : start + int(generator.integers(size))] = True
                start += size
        inside = prefix.clone()  # a token whose successor is in the prefix too
        inside[:, :-1] &= prefix[:, 1:]  # the row's last token is in no prefix
        return replace(batch, prefix=prefix, labels=batch.labels.masked_fill(inside, IGNORE))


def _make(settings: TokenSettings, tokenizer: Any) -> PrefixLM:
    return PrefixLM(label_smoothing=settings.label_smoothing, z_loss=settings.z_loss)


# It is validated as a causal model, which it is too: the prefix that is drawn may be empty.
PREFIX = ObjectiveKind(
    "prefix", "the tokens after a part of the text that is read from both sides", TokenSettings, "decoder", _make
)
