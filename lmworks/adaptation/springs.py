"""The springs of a network that is about to be trained: on the matrices that change, or that adapters move."""

from __future__ import annotations

from collections.abc import Sequence

from lmworks.adaptation.elastic import Spring
from lmworks.adaptation.fisher import diagonal_fisher
from lmworks.adaptation.lora import adapters_off, lora_layers
from lmworks.models.network import Network
from lmworks.tokens.batch import Row


def springs_of(network: Network, rows: Sequence[Row], seed: int) -> list[Spring]:
    """Measured on rows of old text; the network is left as it was."""
    layers = list(lora_layers(network).values())
    if not layers:
        matrices = [one for one in network.parameters() if one.requires_grad and one.ndim > 1]
        found = diagonal_fisher(network, rows, matrices, seed)
        rests = [one.detach().float().clone() for one in matrices]
        return [Spring(*spring) for spring in zip(found, matrices, rests, strict=True)]
    weights = [layer.base.weight for layer in layers]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        with adapters_off(network):
            found = diagonal_fisher(network, rows, weights, seed)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    return [Spring(stiffness, layer=layer) for stiffness, layer in zip(found, layers, strict=True)]
