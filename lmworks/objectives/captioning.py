"""What is said of images: each caption's tokens, after what a reader of images makes of the image before them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lmworks.objectives.kinds.causal import CausalLM
from lmworks.objectives.loss import Loss

if TYPE_CHECKING:
    from lmworks.models.network import Network
    from lmworks.tokens.batch import Batch


class Captioning(CausalLM):
    """Cross-entropy of each caption's tokens. Every image stands as the first ids past the vocabulary (`SaidImages`),
    and `Batch.states` holds what the image network saw of each, in their order."""

    def __call__(self, network: Network, batch: Batch) -> Loss:
        """The loss of a batch."""
        reader = network.image_reader
        assert reader is not None and batch.states is not None
        with reader.showing(batch.states):
            return super().__call__(network, replace(batch, tokens=reader.numbered(batch.tokens)))
