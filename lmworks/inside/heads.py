"""Attention heads of a network, read and taken away: where each looks, and what becomes of the rest without some of
them.

patterns = attention_patterns(network, tokens)              # [layers, batch, heads, seq, keys]
with hooked(network, without_heads(network, [(3, 0), (3, 5)])):
    logits = network(tokens)                                 # without two heads of layer 3
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lmworks.basics.arrays import Float
from lmworks.basics.errors import ConfigError
from lmworks.models.config import ModelConfig
from lmworks.models.hooks import HookFunction, hooked
from lmworks.models.network import Network
from lmworks.models.stack import Real, Tokens

Head = tuple[int, int]
"""Layer and head, both from 0; heads of a group that share a key count one by one."""


@torch.no_grad()
def attention_patterns(
    network: Network, tokens: Tokens, mask: Real | None = None
) -> Float[Tensor, "layers batch heads seq keys"]:
    """Each head's weights over the keys, of a decoder or an encoder. `mask` is False on padding, whose rows mean
    nothing."""
    _must_have_heads(network)
    seen: dict[int, Tensor] = {}

    def reader(layer: int) -> HookFunction:
        def read(pattern: Tensor) -> None:
            seen[layer] = pattern

        return read

    layers = range(network.config.layers)
    with hooked(network, {f"blocks.{layer}.attention.pattern": reader(layer) for layer in layers}):
        network.hidden(tokens, mask)
    return torch.stack([seen[layer] for layer in layers])


def without_heads(network: Network, heads: Iterable[Head]) -> dict[str, HookFunction]:
    """Functions for `hooked` or `run_with_hooks` that take heads away: what they mixed is zero, so that they add
    nothing to the stream. ConfigError for a head that the network has not got."""
    _must_have_heads(network)
    by_layer: dict[int, set[int]] = {}
    for layer, head in heads:
        if not (0 <= layer < network.config.layers and 0 <= head < network.config.heads):
            raise ConfigError(
                f"there is no head {head} in layer {layer}: the network has {network.config.layers} layers of "
                f"{network.config.heads} heads, both counted from 0"
            )
        by_layer.setdefault(layer, set()).add(head)
    return {f"blocks.{layer}.attention.mixed": _silence(sorted(chosen)) for layer, chosen in by_layer.items()}


def _must_have_heads(network: Network) -> None:
    if not isinstance(network.config, ModelConfig):
        raise ConfigError("the network is recurrent and has no attention heads; give a transformer")
    if network.config.convolution is not None:
        raise ConfigError("some of the network's layers convolve and have no heads; hook into the others by name")


def _silence(heads: list[int]) -> HookFunction:
    def silence(mixed: Float[Tensor, "batch heads seq head_dim"]) -> Tensor:
        left = mixed.clone()
        left[:, heads] = 0
        return left

    return silence
