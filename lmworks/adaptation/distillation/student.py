"""A student that begins as a part of its teacher: fewer layers, or narrower feed-forwards.

    small = shallower(network, 15)     # of 30: the first 8 and the last 7
    small = narrower(network, 1024)    # the 1,024 units of each feed-forward that weigh most

What is left is copied, so that the student begins with much of what its teacher knows (Sanh et al. 2019,
https://arxiv.org/abs/1910.01108, section 3; Muralidharan et al. 2024, https://arxiv.org/abs/2407.14679).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ModelConfig
from lmworks.models.families import family_of
from lmworks.models.network import Network, build_network

BLOCK = re.compile(r"^blocks\.(\d+)\.")


def kept_layers(layers: int, keep: int) -> list[int]:
    """The layers that stay: from both ends, the first ones one more where `keep` is odd.

    The ends do what no other layer does. SmolLM2 with its first 8 and last 7 layers begins 5.8 nats worse than whole,
    with every other layer 11.2 (docs/distilling.md).
    """
    first = -(-keep // 2)
    return [*range(first), *range(layers - (keep - first), layers)]


def shallower(network: Network, keep: int) -> Network:
    """A new network with this many of a decoder's layers. ConfigError where it has no more than that; `{at}` is the
    settings' path."""
    config = network.config
    must_be_shallower(config, keep)
    kept = kept_layers(config.layers, keep)
    place = {str(layer): str(number) for number, layer in enumerate(kept)}
    tensors = {}
    for name, tensor in network.state_dict().items():
        found = BLOCK.match(name)
        if found is None:
            tensors[name] = tensor.clone()
        elif found[1] in place:
            tensors[f"blocks.{place[found[1]]}.{name[found.end() :]}"] = tensor.clone()
    return _built(_shallower_config(config, kept), tensors)


def must_be_shallower(config: ModelConfig, keep: int) -> None:
    """ConfigError where a teacher of this config has not more than `keep` layers."""
    if not 0 < keep < config.layers:
        raise ConfigError(
            f"{{at}}layers is {keep}, and the teacher has {config.layers}; a student of fewer layers keeps "
            f"{'1' if config.layers == 2 else f'1 to {config.layers - 1}' if config.layers > 1 else 'none'} of them"
        )


def narrower(network: Network, width: int) -> Network:
    """A new network whose feed-forwards have this many units inside, in each layer those that weigh most. ConfigError
    for experts, and where they have no more than that."""
    config = network.config
    must_be_narrower(config, width)
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for layer in range(config.layers):
        up, down = (f"blocks.{layer}.feed_forward.{part}" for part in ("up", "down"))
        columns = tensors[f"{down}.weight"]
        rows = tensors[f"{up}.weight"].float().norm(dim=1).view(-1, config.hidden_dim)  # gate's first, where gated
        weighs = rows.prod(dim=0) * columns.float().norm(dim=0)
        units = weighs.topk(width).indices.sort().values
        every = torch.cat([units + start * config.hidden_dim for start in range(len(rows))])
        for name in (f"{up}.weight", f"{up}.bias"):
            if name in tensors:
                tensors[name] = tensors[name][every].clone()
        tensors[f"{down}.weight"] = columns[:, units].clone()
    return _built(config.but(hidden_dim=width), tensors)


def must_be_narrower(config: ModelConfig, width: int) -> None:
    """ConfigError for a teacher of experts, and where its feed-forwards have not more than `width` units."""
    if config.experts is not None:
        raise ConfigError("{at}hidden_dim is the width of one feed-forward, and the teacher has experts; leave it out")
    if not 0 < width < config.hidden_dim:
        raise ConfigError(
            f"{{at}}hidden_dim is {width}, and the teacher's is {config.hidden_dim}; a narrower student keeps 1 to "
            f"{config.hidden_dim - 1} of them"
        )


def _built(config: ModelConfig, tensors: dict[str, Tensor]) -> Network:
    """The network of a config that can be saved: in its own family, or in ours where that cannot express it."""
    for family in (config.family, "lmworks"):
        made = config.but(family=family)
        try:
            family_of(family).config_to(made)
        except ModelError:
            continue
        return build_network(made, tensors)
    raise ConfigError(f"a network of the family {config.family} cannot be saved with so few layers")


def _shallower_config(config: ModelConfig, kept: Sequence[int]) -> ModelConfig:
    """The config of those layers: what it says of single ones, it says of their new places."""

    def moved(named: Sequence[int] | None) -> tuple[int, ...] | None:
        return None if named is None else tuple(place for place, layer in enumerate(kept) if layer in set(named))

    changes: dict[str, Any] = {"layers": len(kept)}
    changes["rope_layers"] = moved(config.rope_layers)
    changes["window_layers"] = moved(config.window_layers)
    if config.window is not None and changes["window_layers"] == ():
        changes |= {"window": None, "window_layers": None}
    for part in ("convolution", "experts"):
        settings = getattr(config, part)
        if settings is not None and settings.layers is not None:
            layers = moved(settings.layers)
            changes[part] = settings.but(layers=layers) if layers else None
    return config.but(**changes)
