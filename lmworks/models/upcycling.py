"""Upcycling: a mixture of experts from a trained dense network, each expert a copy of its feed-forward.

As the weights of the chosen experts sum to 1, the network answers as before; only the routers are new, and training
pulls the copies apart. Source: Komatsuzaki et al. 2022, https://arxiv.org/abs/2212.05055.
"""

from __future__ import annotations

import re

import torch

from lmworks.basics.errors import ConfigError, ModelError
from lmworks.models.config import ExpertSettings, ModelConfig
from lmworks.models.families import family_of
from lmworks.models.network import Network

PUBLIC = {"llama": "mixtral", "mistral": "mixtral", "qwen2": "qwen2_moe", "qwen3": "qwen3_moe"}
"""The family that the result is saved as, where it can express it; our own else."""


def upcycled_config(config: ModelConfig, experts: ExpertSettings) -> ModelConfig:
    """The config of the network that `upcycle` makes; ConfigError where its answers would not be those of the dense
    one."""
    if config.experts is not None:
        raise ConfigError("the network has experts already; upcycle a dense one")
    if experts.hidden_dim not in (None, config.hidden_dim):
        raise ConfigError(
            f"{{at}}hidden_dim is {experts.hidden_dim}, and each expert begins as the dense feed-forward, which is "
            f"{config.hidden_dim} wide; leave it out"
        )
    if not experts.normalised or experts.scale != 1:
        raise ConfigError(
            "the weights of the chosen experts must sum to 1 to give what the dense network computed; leave out "
            "{at}normalised and {at}scale"
        )
    for family in (PUBLIC.get(config.family, "lmworks"), "lmworks"):
        made = config.but(family=family, experts=experts)
        try:
            family_of(family).config_to(made)
        except ModelError:
            continue
        return made
    raise ConfigError(f"a network of the family {config.family} cannot be saved with experts")


def upcycle(network: Network, experts: ExpertSettings, seed: int = 0) -> Network:
    """A new network with experts that answers as the dense one does; a shared expert begins as one that adds nothing.

    ConfigError for one with experts or adapters.
    """
    made = Network(upcycled_config(network.config, experts)).initialise(seed).to(network.dtype)
    dense, used = network.state_dict(), set()
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            origin = re.sub(r"\.feed_forward\.experts\.\d+\.", ".feed_forward.", name)
            if origin in dense:
                tensor.copy_(dense[origin])
                used.add(origin)
            elif ".shared.down." in name:
                tensor.zero_()
    if left := sorted(set(dense) - used):
        raise ConfigError(f"{left[0]} has no place in a network with experts; merge or remove adapters first")
    return made.train(network.training)
