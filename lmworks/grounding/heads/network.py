"""The encoder that a reader runs: a base's trunk, adapters in its upper layers, and three scores for each token."""

from __future__ import annotations

import torch

from lmworks.adaptation.lora import add_lora, lora_layers
from lmworks.adaptation.lora_config import LoRAConfig
from lmworks.grounding.heads.recipe import LABELS, reading_config
from lmworks.models.network import Network, build_network

HEADS = ("pooler.", "classifier.", "head_transform.", "head_bias")


def reading_network(
    base: Network, dtype: torch.dtype, labels: tuple[str, ...] = LABELS, dropout: float = 0.0
) -> Network:
    """The base's trunk with a fresh classifier of tokens, whose scores are 0."""
    config = reading_config(base.config, labels, dropout)
    trunk = {name: tensor.to(dtype) for name, tensor in base.state_dict().items() if not name.startswith(HEADS)}
    fresh = {
        "classifier.weight": torch.zeros(len(labels), config.dim, dtype=dtype),
        "classifier.bias": torch.zeros(len(labels), dtype=dtype),
    }
    return build_network(config, trunk | fresh)


def add_adapters(network: Network, rank: int, alpha: float, lowest: int, seed: int) -> Network:
    """Adapters on the blocks from `lowest` on; they and the classifier can be trained."""
    add_lora(network, LoRAConfig(rank=rank, alpha=alpha), seed)
    for path, layer in lora_layers(network).items():
        if int(path.split(".")[1]) < lowest:
            network.set_submodule(path, layer.base)
    assert network.classifier is not None  # reading_network made it
    network.classifier.requires_grad_(True)
    return network
